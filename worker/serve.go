package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/snapferry/snapferry/activities"
	"github.com/snapferry/snapferry/internal/heartbeat"
	"github.com/snapferry/snapferry/internal/pause"
	"github.com/snapferry/snapferry/internal/version"
	"github.com/snapferry/snapferry/migration"
	"github.com/snapferry/snapferry/worker/serving"
	"github.com/snapferry/snapferry/workflows"
)

// serve runs the workers until the context ends or one of them fails.
func serve(ctx context.Context, c config) error {
	logger, temporalLogger := newLogger(c, os.Stderr)
	defer func() { _ = logger.Sync() }() // a terminal can't sync
	c.client.Logger = temporalLogger

	// Metrics and health outlive ctx, so that people can watch a stop.
	observing, done := context.WithCancel(context.WithoutCancel(ctx))
	defer done()
	var o *observation
	if c.metricsAddr != "" {
		var err error
		if o, err = newObservation(logger); err != nil {
			return err
		}
		if err := o.listen(observing, c.metricsAddr, logger); err != nil {
			return err
		}
		c.client.MetricsHandler = o.metrics
	}

	refused := newRefusals()
	c.client.ConnectionOptions.DialOptions = dialOptions(c.client.ConnectionOptions.DialOptions, refused)
	o.set("waiting for Temporal at " + c.client.HostPort)
	temporal, err := connect(ctx, c.client, logger, pause.For)
	if err != nil {
		if ctx.Err() != nil {
			return nil // stopped before it began
		}
		return err
	}
	defer temporal.Close()

	warnOfOldPlans(ctx, temporal, c.client.Namespace, c.fence, logger)
	copier := activities.NewCopier(c.fence)
	if err := copier.SetMemory(c.memoryBytes()); err != nil {
		return wrong("--copy-memory %s: %w", c.copyMemory, err)
	}
	o.count(copier.Stats())
	if c.bandwidth != "" {
		ticker := time.NewTicker(bandwidthInterval)
		defer ticker.Stop()
		var following sync.WaitGroup
		defer following.Wait()
		following.Go(func() { followBandwidth(observing, c.bandwidth, ticker.C, copier.SetBandwidth, logger) })
		defer done()
	}

	if slices.Contains(c.queues, migration.TaskQueue) {
		watching, stopWatching := context.WithCancel(observing)
		var watches sync.WaitGroup
		defer watches.Wait()
		defer stopWatching()
		watches.Go(func() {
			ticker := time.NewTicker(attributesInterval)
			defer ticker.Stop()
			followAttributes(watching, attributesOf(temporal, c.client.Namespace), refused, ticker.C,
				time.Now, workflows.SetSearchable, logger)
		})
		if o != nil {
			watches.Go(func() { o.watch(watching, temporal, c, logger) })
		}
	}
	fatal := make(chan error, len(served(c.queues)))
	workers, err := start(temporal, c, copier, func(err error) { fatal <- err })
	if err != nil {
		return err
	}
	o.set("")
	logger.Info("worker has started", zap.Stringer("version", version.Get()), zap.Strings("queues", c.queues),
		zap.String("address", c.client.HostPort), zap.String("namespace", c.client.Namespace),
		zap.Int("maxActivities", c.maxActivities), zap.Int("maxCopies", c.maxCopies),
		zap.Bool("versioned", c.versioned()))

	var failure error
	select {
	case <-ctx.Done():
		logger.Info("stopping: the worker accepts no new work", zap.Duration("stopTimeout", c.stopTimeout))
	case failure = <-fatal:
		failure = fmt.Errorf("the worker can't continue: %w", failure)
	}
	o.set("stopping")
	stop(workers)
	logger.Info("worker has stopped")
	return failure
}

// dialOptions adds to those of the configuration what a worker needs.
func dialOptions(configured []grpc.DialOption, refused refusals) []grpc.DialOption {
	return append(slices.Clone(configured), heartbeat.DialOption(), grpc.WithChainUnaryInterceptor(refused.intercept))
}

// start starts a worker for each queue. If one fails to start, it stops the others.
func start(temporal client.Client, c config, copier *activities.Copier, fatal func(error)) ([]worker.Worker, error) {
	var workers []worker.Worker
	for _, queue := range served(c.queues) {
		w := worker.New(temporal, queue, options(c, queue, fatal))
		settle := register(w, queue, c.fence, copier, temporal)
		if err := w.Start(); err != nil {
			stop(workers)
			return nil, fmt.Errorf("can't start the worker for task queue %s: %w", queue, err)
		}
		workers = append(workers, settling{w, settle})
	}
	return workers, nil
}

// settling is a worker that also waits for what its activities write in the background.
type settling struct {
	worker.Worker
	settle func()
}

// Stop implements [worker.Worker].
func (s settling) Stop() {
	s.Worker.Stop()
	s.settle()
}

// served are the queues that are served when a person wants these: with the workflows come the
// activities by which they wait for each other.
func served(queues []string) []string {
	if slices.Contains(queues, migration.TaskQueue) {
		return append(slices.Clone(queues), migration.GuardTaskQueue)
	}
	return queues
}

// stop stops all workers at the same time, since each may take the stop timeout.
func stop(workers []worker.Worker) {
	var stopping sync.WaitGroup
	for _, w := range workers {
		stopping.Go(w.Stop)
	}
	stopping.Wait()
}

func options(c config, queue string, fatal func(error)) worker.Options {
	o := serving.Options(queue, serving.Limits{
		Activities: c.maxActivities, Copies: c.maxCopies,
		StopTimeout: c.stopTimeout,
	})
	o.OnFatalError = fatal
	if c.versioned() {
		o.DeploymentOptions = worker.DeploymentOptions{
			UseVersioning: true,
			Version:       worker.WorkerDeploymentVersion{DeploymentName: c.deployment, BuildID: c.buildID},
			// A migration lasts for days and must never be left without a worker while writes are
			// blocked: it moves on to the newest version, which replays the histories of the
			// earlier ones in its tests.
			DefaultVersioningBehavior: workflow.VersioningBehaviorAutoUpgrade,
		}
	}
	return o
}

// connect waits until Temporal answers and knows the namespace. An error that another try can't fix
// ends the wait.
func connect(
	ctx context.Context, options client.Options, logger *zap.Logger, wait func(context.Context, time.Duration) error,
) (client.Client, error) {
	const first, most = time.Second, 15 * time.Second
	for next := first; ; next = min(2*next, most) {
		temporal, err := dial(ctx, options)
		if err == nil {
			return temporal, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err := hopeless(err, options); err != nil {
			return nil, err
		}
		logger.Warn("waiting for Temporal; set TEMPORAL_ADDRESS or --address if this is the wrong one",
			zap.String("address", options.HostPort), zap.Duration("nextTry", next), zap.Error(err))
		if err := wait(ctx, next); err != nil {
			return nil, err
		}
	}
}

func dial(ctx context.Context, options client.Options) (client.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	temporal, err := client.DialContext(ctx, options)
	if err != nil {
		return nil, err
	}
	_, err = temporal.WorkflowService().DescribeNamespace(ctx,
		&workflowservice.DescribeNamespaceRequest{Namespace: options.Namespace})
	if err != nil {
		temporal.Close()
		return nil, err
	}
	return temporal, nil
}

// hopeless explains an error that waiting can't fix; nil for any other.
func hopeless(err error, options client.Options) error {
	if _, ok := errors.AsType[*serviceerror.NamespaceNotFound](err); ok {
		return wrong("Temporal at %s has no namespace %s: set TEMPORAL_NAMESPACE or --namespace, or create it "+
			"(temporal operator namespace create)", options.HostPort, options.Namespace)
	}
	if _, ok := errors.AsType[*serviceerror.PermissionDenied](err); ok {
		return wrong("Temporal at %s refuses access to namespace %s: %w; check TEMPORAL_API_KEY or the "+
			"client certificate",
			options.HostPort, options.Namespace, err)
	}
	return nil
}
