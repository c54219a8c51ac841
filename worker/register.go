package main

import (
	"go.temporal.io/sdk/worker"

	"github.com/snapferry/snapferry/activities"
	"github.com/snapferry/snapferry/migration"
	"github.com/snapferry/snapferry/workflows"
)

// register makes known what is served on a queue: copies have one of their own,
// so that a copy never keeps an unblock waiting for a slot.
func register(registry worker.Registry, queue string) {
	if queue == migration.CopyTaskQueue {
		activities.NewCopier().Register(registry)
		return
	}
	workflows.Register(registry)
	activities.New().Register(registry)
}
