package main

import (
	"go.temporal.io/sdk/worker"

	"github.com/snapferry/snapferry/activities"
	"github.com/snapferry/snapferry/internal/secrets"
	"github.com/snapferry/snapferry/migration"
	"github.com/snapferry/snapferry/workflows"
)

// register registers what a worker serves on a queue. Copies have a queue of their own, so that a
// copy never delays an unblock.
func register(registry worker.Registry, queue string, fence secrets.Fence, copier *activities.Copier,
	temporal activities.Temporal,
) {
	switch queue {
	case migration.CopyTaskQueue:
		copier.Register(registry)
	case migration.GuardTaskQueue:
		activities.NewGuards(activities.New(fence), temporal).Register(registry)
	default:
		workflows.Register(registry)
		activities.New(fence).Register(registry)
	}
}
