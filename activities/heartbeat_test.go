package activities

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/internal/heartbeat"
	"github.com/snapferry/snapferry/lab/payloads"
	"github.com/snapferry/snapferry/migration"
)

// A worker that stops hands back what it does, even in the middle of a call that would take long.
func TestWorkerThatStopsHandsBack(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	held := make(chan struct{})
	t.Cleanup(func() { close(held) })
	w.from.On("GET /_snapshot/*/s", 1, func(http.ResponseWriter, *http.Request) bool {
		close(w.stop)
		<-held
		return false
	})
	passes(w, retryWorkerStopping, w.activities.TakeSnapshot, w.snapshotRequest("s"))
	require.Empty(t, w.from.Requests("PUT /_snapshot/*/s"))
}

func TestCancelledActivityEndsAtOnceAndSaysCancelled(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	held := make(chan struct{})
	t.Cleanup(func() { close(held) })
	var given error
	_, _ = do[any](w, func(ctx context.Context, in migration.SnapshotRequest) error {
		ctx, cancel := context.WithCancel(ctx)
		w.from.On("GET /_snapshot/*/s", 1, func(http.ResponseWriter, *http.Request) bool {
			cancel()
			<-held
			return false
		})
		_, given = w.activities.TakeSnapshot(ctx, in)
		return nil
	}, w.snapshotRequest("s"))
	require.ErrorIs(t, given, context.Canceled)
}

func TestHeartbeatsGoOutDuringALongCall(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	w.from.On("GET /_snapshot/*/s", 1, func(http.ResponseWriter, *http.Request) bool {
		beats := 0
		w.awaitHeartbeat(func(p migration.Progress) bool {
			if p.Doing == "taking snapshot s" {
				beats++
			}
			return beats == 3
		})
		return false
	})
	must[migration.Snapshot](w, w.activities.TakeSnapshot, w.snapshotRequest("s"))
}

// A heartbeat that waits for its answer must not look like a process that stands still. It knows when the
// work has ended.
func TestTheClockIsLookedAtWhileAHeartbeatWaits(t *testing.T) {
	var begun, ticks atomic.Int64
	enough := make(chan struct{})
	h := heart{
		beat: time.Microsecond,
		heartbeat: func(ctx context.Context, _ ...any) {
			begun.Add(1)
			work, told := heartbeat.Work(ctx)
			if assert.True(t, told) {
				<-work.Done()
			}
		},
		clock: func() time.Time {
			if ticks.Add(1) == 100 {
				close(enough)
			}
			return time.Now()
		},
	}
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	under := func(ctx context.Context) (string, error) {
		return perform(ctx, &h, "working", func(ctx context.Context, _ *pulse) (string, error) {
			select {
			case <-enough:
				assert.LessOrEqual(t, begun.Load(), int64(1), "one at a time")
				return "done", ctx.Err()
			case <-ctx.Done():
				return "", context.Cause(ctx)
			}
		})
	}
	env.RegisterActivity(under)
	result, err := env.ExecuteActivity(under)
	require.NoError(t, err)
	var done string
	require.NoError(t, result.Get(&done))
	require.Equal(t, "done", done)
}

// What nobody understands is retried some times and then shown to a person.
func TestUnknownErrorIsShownAtLast(t *testing.T) {
	for _, tt := range []struct {
		attempt     int32
		since       time.Duration
		permanently bool
	}{
		{1, time.Second, false},
		{attemptsOnInternal - 1, time.Minute, false},
		{attemptsOnInternal, time.Minute, true},
		// Each of these took minutes.
		{fewerOnInternal, timeOnInternal - time.Second, false},
		{fewerOnInternal, timeOnInternal, true},
		{fewerOnInternal - 1, 10 * timeOnInternal, false},
	} {
		err := afterAttempt(tt.attempt, tt.since, classify(errors.New("no idea")))
		require.Equal(t, tt.permanently, permanent(err), "%+v", tt)
	}
	require.False(t, permanent(afterAttempt(1000, 1000*time.Hour, passing(retryUnavailable, "down", 0))),
		"what is known to pass goes on")
	require.NoError(t, afterAttempt(1000, 1000*time.Hour, nil))
}

func TestBackoffGrowsToItsMost(t *testing.T) {
	a := &Activities{}
	var pauses []time.Duration
	a.sleep = func(_ context.Context, d time.Duration) error { pauses = append(pauses, d); return nil }
	pace := statusPace()
	for range 120 {
		require.NoError(t, a.wait(context.Background(), &pace))
	}
	require.Equal(t, 50*time.Millisecond, pauses[0])
	require.Equal(t, 52500*time.Microsecond, pauses[1])
	require.Equal(t, 5*time.Second, pauses[119])
}

func TestStandingStillForHalfTheHeartbeatTimeout(t *testing.T) {
	start := time.Now()
	watch := standing{limit: 5 * time.Second}
	require.False(t, watch.tooLong(start))
	require.False(t, watch.tooLong(start.Add(4*time.Second)))
	require.False(t, watch.tooLong(start.Add(8*time.Second)))
	require.True(t, watch.tooLong(start.Add(14*time.Second)))
	require.False(t, watch.tooLong(start.Add(15*time.Second)))
	require.True(t, watch.tooLong(start.Add(time.Hour).Round(0)),
		"the wall clock alone went on, as in a suspended machine")
	never := standing{}
	require.False(t, never.tooLong(start))
	require.False(t, never.tooLong(start.Add(time.Hour)))
}

// A worker that was suspended finds the activity given to another one: it must not go on beside
// that.
func TestSuspendedWorkerEndsItsWork(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	var suspended atomic.Bool
	looked := make(chan struct{})
	looks := sync.OnceFunc(func() { close(looked) })
	w.activities.clock = func() time.Time {
		defer looks()
		if suspended.Load() {
			return time.Now().Add(time.Hour)
		}
		return time.Now()
	}
	w.from.On("GET /_snapshot/*/s", 1, func(_ http.ResponseWriter, r *http.Request) bool {
		<-looked
		suspended.Store(true)
		<-r.Context().Done()
		return true
	})
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestWorkflowEnvironment()
	env.SetTestTimeout(slowest)
	env.SetDataConverter(payloads.Converter(func(problem string) { t.Error(problem) }))
	env.RegisterActivityWithOptions(w.activities.TakeSnapshot, activity.RegisterOptions{Name: "under test"})
	env.ExecuteWorkflow(func(ctx workflow.Context) error {
		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
			StartToCloseTimeout: slowest, HeartbeatTimeout: slowest,
			RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 1},
		})
		return workflow.ExecuteActivity(ctx, "under test", w.snapshotRequest("s")).Get(ctx, nil)
	})
	var failure *temporal.ApplicationError
	require.ErrorAs(t, env.GetWorkflowError(), &failure)
	for inner := failure; errors.As(errors.Unwrap(inner), &inner); {
		failure = inner
	}
	require.Equal(t, retrySuspended, failure.Type(), "%v", failure)
	require.False(t, failure.NonRetryable())
	require.Empty(t, w.from.Requests("PUT /_snapshot/*/s"))
}

func TestAWrongClockIsNoticed(t *testing.T) {
	now := time.Now()
	for off, want := range map[time.Duration]time.Duration{
		0: 0, 59 * time.Second: 0, -59 * time.Second: 0, 20 * time.Minute: 20 * time.Minute, -time.Hour: -time.Hour,
	} {
		require.Equal(t, want, clockOff(now.Add(-off), now), off)
	}
	require.Zero(t, clockOff(time.Time{}, now))
}
