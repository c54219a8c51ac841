package main

import (
	"go.temporal.io/sdk/worker"

	"github.com/snapferry/snapferry/activities"
	"github.com/snapferry/snapferry/internal/secrets"
	"github.com/snapferry/snapferry/migration"
	"github.com/snapferry/snapferry/workflows"
)

// register registers what a worker serves on a queue. Copies have a queue of their own, so that a
// copy never delays an unblock. Once the worker has stopped, settle waits for what it still writes.
func register(registry worker.Registry, queue string, fence secrets.Fence, copier *activities.Copier,
	temporal activities.Temporal,
) (settle func()) {
	if queue == migration.CopyTaskQueue {
		copier.Register(registry)
		return func() {}
	}
	steps := activities.New(fence)
	if queue == migration.GuardTaskQueue {
		activities.NewGuards(steps, temporal).Register(registry)
	} else {
		workflows.Register(registry)
		steps.Register(registry)
	}
	return steps.Settle
}
