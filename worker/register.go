package main

import (
	"go.temporal.io/sdk/worker"

	"github.com/snapferry/snapferry/activities"
	"github.com/snapferry/snapferry/migration"
	"github.com/snapferry/snapferry/workflows"
)

// register makes known what is served on a queue: copies have one of their own,
// so that a copy never keeps an unblock waiting for a slot.
func register(registry worker.Registry, queue string, copier *activities.Copier) {
	if queue == migration.CopyTaskQueue {
		copier.Register(registry)
		return
	}
	workflows.Register(registry)
	activities.New().Register(registry)
}
