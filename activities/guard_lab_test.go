//go:build lab

package activities

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/history/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	sdklog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"

	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/migration"
	"github.com/snapferry/snapferry/workflows"
)

// These tests have a real Temporal server, the workflows and the activities as they are, and clusters
// that are fakes: what ends a migration is Temporal's, and takes no time to reach here. Package e2e
// has the same on real clusters.

// soon is how long the guard may take, with nobody acting.
const soon = 30 * time.Second

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
}

var devServer struct {
	once   sync.Once
	server *testsuite.DevServer
	err    error
}

// temporalServer is shared by these tests and ends with the process.
func temporalServer(t *testing.T) client.Client {
	t.Helper()
	devServer.once.Do(func() {
		root, err := lab.Root()
		if err != nil {
			devServer.err = err
			return
		}
		devServer.server, devServer.err = testsuite.StartDevServer(context.Background(), testsuite.DevServerOptions{
			ExistingPath: filepath.Join(root, ".lab", "bin", "temporal"), LogLevel: "error",
			Stdout: io.Discard, Stderr: io.Discard,
			ClientOptions: &client.Options{Logger: sdklog.NewStructuredLogger(slog.New(slog.DiscardHandler))},
		})
	})
	require.NoError(t, devServer.err)
	return devServer.server.Client()
}

func newStricken(t *testing.T, name string) *stricken {
	e := &stricken{
		world: newWorld(t), temporal: temporalServer(t), name: name, id: migration.WorkflowID(name),
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
	e.worker = worker.New(e.temporal, migration.TaskQueue, worker.Options{
		Identity: e.name, WorkerStopTimeout: time.Second, MaxHeartbeatThrottleInterval: 500 * time.Millisecond,
		DefaultHeartbeatThrottleInterval: 500 * time.Millisecond,
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
	e.activities.Register(without{e.worker, replaced})
	NewGuards(e.activities, e.temporal).Register(e.worker)
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

// without registers all but those that are replaced.
type without struct {
	worker.ActivityRegistry
	replaced map[string]any
}

func (w without) RegisterActivityWithOptions(a any, options activity.RegisterOptions) {
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
	for _, index := range r.Indices {
		if !forbidden(blocksOf(map[string]string{writeBlock: e.from.Setting(index.Name, writeBlock)})) {
			e.t.Errorf("%s is handed over although the source takes writes", index.Name)
		}
		e.to.SetSetting(index.Name, writeBlock, "")
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.handed = true
	return migration.HandOverResult{}, nil
}

func (e *stricken) letGo() { e.released.Do(func() { close(e.goOn) }) }

func (e *stricken) begin() {
	_, err := e.temporal.ExecuteWorkflow(e.t.Context(), client.StartWorkflowOptions{
		ID: e.id, TaskQueue: migration.TaskQueue,
	}, migration.WorkflowType, e.world.run.Plan)
	require.NoError(e.t, err)
	e.await("the first round", func(s migration.Status) bool { return s.RoundsEnded >= 1 && s.Phase == migration.PhaseRounds })
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
	for until := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		var err error
		if status, err = e.status(); err == nil && is(status) {
			return status
		}
		if time.Now().After(until) {
			e.t.Fatalf("%s never came; phase %s, step %q, attention %+v, warnings %v, %v", what, status.Phase, status.Step,
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
	case <-time.After(time.Minute):
		status, err := e.status()
		e.t.Fatalf("the request that is to be held never came; phase %s, attention %+v, %v", status.Phase,
			status.Attention, err)
	}
}

func (e *stricken) terminate(id string) {
	require.NoError(e.t, e.temporal.TerminateWorkflow(e.t.Context(), id, "", "a test"))
}

// reset begins the migration again with the workflow task that gave the command which pick chooses
// among the events, or with the first one.
func (e *stricken) reset(pick func([]*history.HistoryEvent) int) {
	e.t.Helper()
	var events []*history.HistoryEvent
	iterator := e.temporal.GetWorkflowHistory(e.t.Context(), e.id, "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for iterator.HasNext() {
		event, err := iterator.Next()
		require.NoError(e.t, err)
		events = append(events, event)
	}
	from := int64(0)
	for i, event := range events {
		if event.GetEventType() == enums.EVENT_TYPE_WORKFLOW_TASK_COMPLETED && (from == 0 || i <= pick(events)) {
			from = event.GetEventId()
		}
	}
	described, err := e.temporal.DescribeWorkflowExecution(e.t.Context(), e.id, "")
	require.NoError(e.t, err)
	_, err = e.temporal.WorkflowService().ResetWorkflowExecution(e.t.Context(),
		&workflowservice.ResetWorkflowExecutionRequest{
			Namespace: client.DefaultNamespace,
			WorkflowExecution: &common.WorkflowExecution{
				WorkflowId: e.id, RunId: described.GetWorkflowExecutionInfo().GetExecution().GetRunId(),
			},
			Reason: "a test", WorkflowTaskFinishEventId: from, RequestId: e.name,
			ResetReapplyType: enums.RESET_REAPPLY_TYPE_ALL_ELIGIBLE,
		})
	require.NoError(e.t, err)
}

var endings = []struct {
	name string
	do   func(*stricken)
}{
	{"terminate", func(e *stricken) { e.terminate(e.id) }},
	{"reset-first", func(e *stricken) { e.reset(func([]*history.HistoryEvent) int { return 0 }) }},
	{"reset-before", func(e *stricken) {
		e.reset(func(events []*history.HistoryEvent) int {
			for i, event := range events {
				for _, payload := range event.GetActivityTaskScheduledEventAttributes().GetInput().GetPayloads() {
					if strings.Contains(string(payload.GetData()), `"ask":"open"`) {
						return i
					}
				}
			}
			return len(events) - 1
		})
	}},
	{"reset-last", func(e *stricken) { e.reset(func(events []*history.HistoryEvent) int { return len(events) - 1 }) }},
}

// stages are where the migration stands when it is ended. reach brings it there.
var stages = []struct {
	name  string
	begun bool
	reach func(e *stricken)
}{
	{"ready", false, func(e *stricken) {
		arrived := e.held("GET /_snapshot/_status")
		e.signal(migration.RequestFreeze)
		e.awaitHeld(arrived)
	}},
	{"block", false, func(e *stricken) { e.frozenAt("PUT /*/_settings") }},
	{"standstill", false, func(e *stricken) { e.frozenAt("POST /*/_refresh") }},
	{"final", false, func(e *stricken) { e.frozenAt("PUT /_snapshot/*/*-r0001-*") }},
	{"verify", false, func(e *stricken) { e.frozenAt("POST /*/_search") }},
	{"waiting", false, func(e *stricken) { e.waiting() }},
	{"cutover", true, func(e *stricken) {
		e.hold = true
		e.waiting()
		e.signal(migration.RequestCutover)
		e.awaitHeld(e.handing)
	}},
}

func (e *stricken) frozenAt(pattern string) {
	arrived := e.held(pattern)
	e.signal(migration.RequestFreeze)
	e.awaitHeld(arrived)
	if status, err := e.status(); err == nil && status.Phase.Frozen() {
		e.signal(migration.RequestCutover) // which counts for nothing after a reset
	}
}

func (e *stricken) waiting() {
	e.signal(migration.RequestFreeze)
	e.await("the wait for cutover", func(s migration.Status) bool { return s.Phase == migration.PhaseAwaitCutover })
}

// takesWrites tells whether a cluster takes a write to an index.
func takesWrites(c interface {
	Index(name string, ids ...string) error
},
) bool {
	return c.Index("movies", fmt.Sprint(time.Now().UnixNano())) == nil && c.Index("catalog", "x") == nil
}

func (e *stricken) soon(what string, is func() bool) {
	e.t.Helper()
	began := time.Now()
	for !is() {
		if time.Since(began) > soon {
			status, err := e.status()
			e.t.Fatalf("%s: not within %s. Guard: %+v. Migration: phase %s, step %q, attention %+v, warnings %v, %v", what,
				soon, e.guardStatus(), status.Phase, status.Step, status.Attention, status.Warnings, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	e.t.Logf("%s after %.1f s", what, time.Since(began).Seconds())
}

func TestLabWhateverEndsAMigration(t *testing.T) {
	for _, stage := range stages {
		for _, ending := range endings {
			t.Run(stage.name+"/"+ending.name, func(t *testing.T) {
				e := newStricken(t, "ends-"+stage.name+"-"+ending.name)
				e.begin()
				stage.reach(e)
				ending.do(e)
				if stage.name != "block" {
					e.letGo()
				}
				outcome := func() {
					if stage.begun {
						e.soon("handed over", func() bool { e.mu.Lock(); defer e.mu.Unlock(); return e.handed })
						require.False(t, takesWrites(e.from), "two writable clusters")
						return
					}
					e.soon("writable", func() bool { return takesWrites(e.from) })
					require.False(t, e.handed)
				}
				outcome()
				e.letGo()
				if ending.name == "terminate" {
					return
				}
				e.soon("at rest", func() bool {
					status, err := e.status()
					require.NoError(t, err)
					if stage.begun {
						return status.Phase == migration.PhaseCompleted
					}
					// From its first task on, it finds what it has restored itself on the target.
					return status.Phase == migration.PhaseRounds && status.Step == "" ||
						status.Phase == migration.PhasePreflight && status.Attention != nil
				})
				outcome()
				if status, _ := e.status(); !stage.begun {
					require.False(t, status.FreezeRequested)
				}
			})
		}
	}
}

func TestLabTheGuardIsTerminated(t *testing.T) {
	revived := func(e *stricken) {
		old := e.guardRun()
		e.terminate(migration.GuardID(e.name))
		e.soon("a guard again", func() bool {
			return e.guardRun() != old && e.guardStatus().TakesOver == "" && e.guardStatus().Phase.Holds()
		})
	}
	t.Run("and the migration goes on", func(t *testing.T) {
		e := newStricken(t, "guard-alone")
		e.begin()
		e.waiting()
		revived(e)
		e.signal(migration.RequestCutover)
		var report migration.Report
		require.NoError(t, e.temporal.GetWorkflow(t.Context(), e.id, "").Get(t.Context(), &report))
		require.Equal(t, migration.ResultCompleted, report.Result)
		require.True(t, e.handed)
		require.False(t, takesWrites(e.from))
	})
	t.Run("and then the migration", func(t *testing.T) {
		e := newStricken(t, "guard-and-migration")
		e.begin()
		e.waiting()
		revived(e)
		e.terminate(e.id)
		e.soon("writable", func() bool { return takesWrites(e.from) })
	})
	t.Run("while it hands over", func(t *testing.T) {
		e := newStricken(t, "guard-in-cutover")
		e.begin()
		e.hold = true
		e.waiting()
		e.signal(migration.RequestCutover)
		e.awaitHeld(e.handing)
		revived(e)
		e.letGo()
		var report migration.Report
		require.NoError(t, e.temporal.GetWorkflow(t.Context(), e.id, "").Get(t.Context(), &report))
		require.True(t, e.handed)
		require.False(t, takesWrites(e.from))
	})
}

func (e *stricken) guardRun() string {
	described, err := e.temporal.DescribeWorkflowExecution(e.t.Context(), migration.GuardID(e.name), "")
	if err != nil {
		return ""
	}
	return described.GetWorkflowExecutionInfo().GetExecution().GetRunId()
}

// A completed migration whose run is reset only reports: it restores nothing over what is handed
// over.
func TestLabACompletedMigrationIsReset(t *testing.T) {
	e := newStricken(t, "reset-completed")
	e.begin()
	e.waiting()
	e.signal(migration.RequestCutover)
	var report migration.Report
	require.NoError(t, e.temporal.GetWorkflow(t.Context(), e.id, "").Get(t.Context(), &report))
	closes := len(e.to.Requests("POST /*/_close"))
	e.reset(func([]*history.HistoryEvent) int { return 0 })
	require.NoError(t, e.temporal.GetWorkflow(t.Context(), e.id, "").Get(t.Context(), &report))
	require.Contains(t, strings.Join(report.Warnings, "|"), "this run only reports it")
	require.Len(t, e.to.Requests("POST /*/_close"), closes)
	require.False(t, takesWrites(e.from))
}

// Two plans with an index in common: the second is refused before anything of it is blocked.
func TestLabTwoPlansThatShareAnIndex(t *testing.T) {
	first := newStricken(t, "shares-one")
	first.begin()
	first.waiting()
	plan := first.world.run.Plan
	plan.Name = "shares-two"
	plan.Indices = []string{"catalog"}
	second := first.world.run
	second.Plan, second.Token = plan, "other"
	ctx := t.Context()
	guards := NewGuards(first.activities, first.temporal)
	ask := func(a migration.GuardAsk) (migration.GuardAnswer, error) {
		env := (&testsuite.WorkflowTestSuite{}).NewTestActivityEnvironment()
		env.RegisterActivityWithOptions(guards.AskGuard, activity.RegisterOptions{Name: migration.ActivityAskGuard})
		run := "default-test-run-id"
		value, err := env.ExecuteActivity(migration.ActivityAskGuard, migration.GuardRequest{
			Run: second, Ask: a, WorkflowID: "migration/shares-two", OriginalRun: run, Window: 1,
			Sequence: len(string(a)), UntilMillis: time.Now().Add(time.Hour).UnixMilli(),
			Indices: []migration.Index{{Name: "catalog", UUID: "index-2"}},
		})
		var answer migration.GuardAnswer
		if err == nil {
			err = value.Get(&answer)
		}
		return answer, err
	}
	t.Cleanup(func() { _ = first.temporal.TerminateWorkflow(context.Background(), "guard/shares-two", "", "ended") })
	// The guard ends its window as soon as it sees that there is no such migration.
	_, _ = first.temporal.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: "migration/shares-two", TaskQueue: "nobody",
	}, migration.WorkflowType, plan)
	_, err := ask(migration.AskOpen)
	require.NoError(t, err)
	_, err = ask(migration.AskAnnounce)
	require.NoError(t, err)
	_, err = ask(migration.AskBlock)
	require.ErrorContains(t, err, "the plan shares-one freezes, too: catalog")
	require.True(t, errors.Is(err, err))
}
