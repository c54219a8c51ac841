package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"runtime/pprof"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"google.golang.org/grpc"

	"github.com/snapferry/snapferry/activities"
	"github.com/snapferry/snapferry/internal/heartbeat"
	"github.com/snapferry/snapferry/internal/secrets"
	"github.com/snapferry/snapferry/migration"
	"github.com/snapferry/snapferry/worker/serving"
	"github.com/snapferry/snapferry/workflows"
)

// workerOptions are the flags of a worker process.
type workerOptions struct {
	address, namespace string
	copiesOnly         bool   // serve the copy queue alone
	ready              string // a file that is made once the worker polls
	profile            string // folder for CPU and heap profiles
}

// work runs a worker with the worker command's own options, without its metrics, until ctx ends.
func work(ctx context.Context, o workerOptions) (err error) {
	if o.profile != "" {
		stop, failure := startProfiles(o.profile)
		if failure != nil {
			return failure
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	c, err := client.DialContext(ctx, client.Options{
		HostPort: o.address, Namespace: o.namespace,
		Logger: log.NewStructuredLogger(slog.New(slog.NewTextHandler(os.Stderr,
			&slog.HandlerOptions{Level: slog.LevelWarn}))),
		ConnectionOptions: client.ConnectionOptions{DialOptions: []grpc.DialOption{heartbeat.DialOption()}},
	})
	if err != nil {
		return fmt.Errorf("no connection to Temporal at %s: %w", o.address, err)
	}
	defer c.Close()

	copier := worker.New(c, migration.CopyTaskQueue, serving.Options(migration.CopyTaskQueue, serving.Defaults()))
	activities.NewCopier(secrets.Fence{}).Register(copier)
	workers := []worker.Worker{copier}
	if !o.copiesOnly {
		story := worker.New(c, migration.TaskQueue, serving.Options(migration.TaskQueue, serving.Defaults()))
		story.RegisterWorkflowWithOptions(workflows.Copy, workflow.RegisterOptions{Name: copyWorkflowType})
		workers = append(workers, story)
	}
	for _, w := range workers {
		if err := w.Start(); err != nil {
			return fmt.Errorf("the worker can't be started: %w", err)
		}
		defer w.Stop()
	}
	if err := os.WriteFile(o.ready, nil, 0o644); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// copyWorkflowType is the name under which [workflows.Copy] is registered: the step of a migration
// that copies a snapshot.
const copyWorkflowType = "Copy"

// startProfiles writes a CPU profile from now to stop, and the heap at its end.
func startProfiles(dir string) (stop func() error, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	name := func(kind string) string { return fmt.Sprintf("%s/%s-%d.pprof", dir, kind, os.Getpid()) }
	cpu, err := os.Create(name("cpu"))
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return nil, errors.Join(err, cpu.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		heap, err := os.Create(name("heap"))
		if err != nil {
			return errors.Join(err, cpu.Close())
		}
		runtime.GC() // what is live
		err = pprof.Lookup("heap").WriteTo(heap, 0)
		return cmp.Or(err, heap.Close(), cpu.Close())
	}, nil
}
