//go:build lab

package activities

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	sdklog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"

	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/lab/payloads"
	"github.com/snapferry/snapferry/lab/rig"
	"github.com/snapferry/snapferry/migration"
	"github.com/snapferry/snapferry/workflows"
)

// These tests have a real Temporal server, the workflows and the activities as they are, and
// clusters that are fakes: what ends a migration is Temporal's, and takes no time to reach here.
// Package e2e has the same on real clusters.

// soon is how long the guard may take, with nobody acting. It takes a second; this is for a slow
// computer that is busy. A guard that fails to watch its migration looks again after ten minutes,
// and the window of these migrations ends after an hour: that would be too late.
const soon = 5 * time.Minute

// stricken is a migration that something ends.
type stricken struct {
	*world
	temporal client.Client
	name     string
	id       string
	worker   worker.Worker
	// handing is closed when the target is about to be handed over, and go on lets it.
	mu       sync.Mutex
	handing  chan struct{}
	goOn     chan struct{}
	handed   bool
	hold     bool
	released sync.Once
	// refuseOnce is an index that the first try to hand over refuses.
	refuseOnce string
}

var devServer struct {
	once     sync.Once
	server   *testsuite.DevServer
	payloads *payloads.Proxy
	client   client.Client
	err      error
}

// temporalServer is shared by these tests; TestMain ends it. A test fails if it sends a
// payload that is too large.
func temporalServer(t *testing.T) client.Client {
	t.Helper()
	devServer.once.Do(func() { devServer.err = startDevServer() })
	require.NoError(t, devServer.err)
	t.Cleanup(func() {
		for _, problem := range devServer.payloads.TakeTooLarge() {
			t.Error(problem)
		}
	})
	return devServer.client
}

func startDevServer() error {
	server, err := startTemporal()
	if err != nil {
		return err
	}
	devServer.server = server
	if devServer.payloads, err = payloads.NewProxy(server.FrontendHostPort()); err != nil {
		return err
	}
	options := withoutLog()
	options.HostPort = devServer.payloads.Address()
	devServer.client, err = client.DialContext(context.Background(), options)
	return err
}

// stopDevServer ends what startDevServer has started.
func stopDevServer() error {
	if devServer.client != nil {
		devServer.client.Close()
	}
	var all error
	if devServer.payloads != nil {
		all = errors.Join(all, devServer.payloads.Close())
	}
	if devServer.server != nil {
		all = errors.Join(all, devServer.server.Stop())
	}
	return all
}

func startTemporal() (*testsuite.DevServer, error) {
	root, err := lab.Root()
	if err != nil {
		return nil, err
	}
	options := withoutLog()
	return testsuite.StartDevServer(context.Background(), testsuite.DevServerOptions{
		ExistingPath: filepath.Join(root, ".lab", "bin", "temporal"), LogLevel: "error",
		Stdout: io.Discard, Stderr: io.Discard, ClientOptions: &options,
	})
}

func withoutLog() client.Options {
	return client.Options{Logger: sdklog.NewStructuredLogger(slog.New(slog.DiscardHandler))}
}

func newStricken(t *testing.T, name string) *stricken {
	return newStrickenOn(t, temporalServer(t), name)
}

func newStrickenOn(t *testing.T, temporal client.Client, name string) *stricken {
	e := &stricken{
		world: newWorld(t), temporal: temporal, name: name, id: migration.WorkflowID(name),
		handing: make(chan struct{}), goOn: make(chan struct{}),
	}
	e.activities.heartbeat = activity.RecordHeartbeat
	e.activities.beat = 100 * time.Millisecond
	plan := &e.world.run.Plan
	plan.Name = name
	plan.Rounds.Interval = migration.Duration(time.Hour)
	plan.Freeze.HotRound = migration.HotRoundNever
	plan.Freeze.MaxDuration = migration.Duration(time.Hour)
	plan.Cutover.Webhook = migration.Webhook{}
	e.start()
	t.Cleanup(func() {
		ctx := context.Background()
		_ = e.temporal.TerminateWorkflow(ctx, e.id, "", "the test has ended")
		_ = e.temporal.TerminateWorkflow(ctx, migration.GuardID(name), "", "the test has ended")
		e.letGo()
		e.worker.Stop()
	})
	return e
}

// start starts a worker that serves both queues as one.
func (e *stricken) start() {
	// Two places: as few as a worker may have.
	e.worker = worker.New(e.temporal, migration.TaskQueue, worker.Options{
		MaxConcurrentActivityExecutionSize: 2,
		Identity:                           e.name,
		WorkerStopTimeout:                  time.Second,
		MaxHeartbeatThrottleInterval:       500 * time.Millisecond,
		DefaultHeartbeatThrottleInterval:   500 * time.Millisecond,
	})
	workflows.Register(e.worker)
	replaced := map[string]any{
		migration.ActivityCopySnapshot: func(_ context.Context, r migration.CopyRequest) (migration.CopyResult, error) {
			e.s3.Copy(e.oss)
			return migration.CopyResult{Generation: r.BaseGeneration + 1}, nil
		},
		migration.ActivityAwaitShards: func(context.Context, migration.ShardsRequest) (migration.DoneShards, error) {
			return migration.DoneShards{Ended: true}, nil
		},
		migration.ActivityCheckHandover: func(context.Context, migration.CheckHandoverRequest) error { return nil },
		migration.ActivityHandOver:      e.handOver,
	}
	e.activities.Register(allBut{e.worker, replaced})
	waiting := worker.New(e.temporal, migration.GuardTaskQueue, worker.Options{
		Identity: e.name, MaxHeartbeatThrottleInterval: 500 * time.Millisecond,
		DefaultHeartbeatThrottleInterval: 500 * time.Millisecond,
	})
	NewGuards(e.activities, e.temporal).Register(waiting)
	require.NoError(e.t, waiting.Start())
	e.t.Cleanup(waiting.Stop)
	for name, fake := range replaced {
		e.worker.RegisterActivityWithOptions(fake, activity.RegisterOptions{Name: name})
	}
	copies := worker.New(e.temporal, migration.CopyTaskQueue, worker.Options{Identity: e.name})
	copies.RegisterActivityWithOptions(replaced[migration.ActivityCopySnapshot],
		activity.RegisterOptions{Name: migration.ActivityCopySnapshot})
	require.NoError(e.t, e.worker.Start())
	require.NoError(e.t, copies.Start())
	e.t.Cleanup(copies.Stop)
}

// allBut registers all but those that are replaced.
type allBut struct {
	worker.ActivityRegistry
	replaced map[string]any
}

func (w allBut) RegisterActivityWithOptions(a any, options activity.RegisterOptions) {
	if _, replaced := w.replaced[options.Name]; !replaced {
		w.ActivityRegistry.RegisterActivityWithOptions(a, options)
	}
}

func (e *stricken) handOver(ctx context.Context, r migration.HandOverRequest) (migration.HandOverResult, error) {
	e.mu.Lock()
	hold := e.hold
	if hold && !e.handed {
		select {
		case <-e.handing:
		default:
			close(e.handing)
		}
	}
	e.mu.Unlock()
	if hold {
		select {
		case <-e.goOn:
		case <-ctx.Done():
			return migration.HandOverResult{}, ctx.Err()
		}
	}
	var result migration.HandOverResult
	for _, index := range r.Indices {
		if index.Name == e.refuseOnce {
			e.refuseOnce = ""
			result.Refused = append(result.Refused, migration.Refusal{Index: index.Name, Message: "unknown setting"})
			continue
		}
		if !forbidden(blocksOf(map[string]string{writeBlock: e.from.Setting(index.Name, writeBlock)})) {
			e.t.Errorf("%s is handed over although the source takes writes", index.Name)
		}
		e.to.SetSetting(index.Name, writeBlock, "")
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.handed = true
	return result, nil
}

func (e *stricken) letGo() { e.released.Do(func() { close(e.goOn) }) }

func (e *stricken) startOnly() {
	e.t.Helper()
	_, err := e.temporal.ExecuteWorkflow(e.t.Context(), client.StartWorkflowOptions{
		ID: e.id, TaskQueue: migration.TaskQueue,
	}, migration.WorkflowType, e.world.run.Plan)
	require.NoError(e.t, err)
}

func (e *stricken) begin() {
	e.t.Helper()
	e.startOnly()
	e.await("the first round", func(s migration.Status) bool {
		return s.RoundsEnded >= 1 &&
			s.Phase == migration.PhaseRounds
	})
}

func (e *stricken) signal(r migration.Request) {
	require.NoError(e.t, e.temporal.SignalWorkflow(e.t.Context(), e.id, "", string(r), nil))
}

func (e *stricken) status() (status migration.Status, err error) {
	value, err := e.temporal.QueryWorkflow(e.t.Context(), e.id, "", migration.QueryStatus)
	if err == nil {
		err = value.Get(&status)
	}
	return status, err
}

func (e *stricken) await(what string, is func(migration.Status) bool) migration.Status {
	e.t.Helper()
	var status migration.Status
	for until := time.Now().Add(lab.Patience); ; time.Sleep(20 * time.Millisecond) {
		var err error
		if status, err = e.status(); err == nil && is(status) {
			return status
		}
		if time.Now().After(until) {
			e.t.Fatalf("%s never came; phase %s, step %q, attention %+v, warnings %v, %v", what, status.Phase,
				status.Step,
				status.Attention, status.Warnings, err)
		}
	}
}

func (e *stricken) guardStatus() (status migration.GuardStatus) {
	value, err := e.temporal.QueryWorkflow(e.t.Context(), migration.GuardID(e.name), "", migration.QueryStatus)
	if err == nil {
		_ = value.Get(&status)
	}
	return status
}

// held has the first request to the source that matches wait until it is let go.
func (e *stricken) held(pattern string) (arrived <-chan struct{}) {
	came := make(chan struct{})
	e.from.On(pattern, 1, func(_ http.ResponseWriter, r *http.Request) bool {
		close(came)
		select {
		case <-e.goOn: // and then it has its effect, however late
		case <-e.t.Context().Done():
		}
		return false
	})
	return came
}

func (e *stricken) awaitHeld(arrived <-chan struct{}) {
	e.t.Helper()
	select {
	case <-arrived:
	case <-time.After(lab.Patience):
		status, err := e.status()
		e.t.Fatalf("the request that is to be held never came; phase %s, attention %+v, %v", status.Phase,
			status.Attention, err)
	}
}

func (e *stricken) terminate(id string) {
	require.NoError(e.t, e.temporal.TerminateWorkflow(e.t.Context(), id, "", "a test"))
}

// reset begins the migration again, as [rig.Reset] says.
func (e *stricken) reset(pick func([]*history.HistoryEvent) int) {
	e.t.Helper()
	require.NoError(e.t, rig.Reset(e.t.Context(), e.temporal, e.id, pick))
}
