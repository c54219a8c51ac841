package workflows

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// hookKinds are the ways in which a hook can be called.
var hookKinds = []string{"http", "activity", "workflow"}

// hooked puts one hook of a kind into a plan, at each of these moments. Its name is the moment's, in
// lower case.
func hooked(plan, kind string, moments ...migration.HookMoment) string {
	var lists []string
	for _, moment := range moments {
		lists = append(lists, fmt.Sprintf(`%q: [%s]`, moment, hookJSON(strings.ToLower(string(moment)), kind)))
	}
	return strings.Replace(plan, `"rounds"`, `"hooks": {`+strings.Join(lists, ", ")+`}, "rounds"`, 1)
}

func hookJSON(name, kind string) string {
	target := `"activity": {"type": "Ours", "taskQueue": "ours"}`
	switch kind {
	case "http":
		target = `"http": {"url": "https://hooks.example.com/x", "signingSecret": "env:S"}`
	case "workflow":
		target = `"workflow": {"type": "OurWorkflow", "taskQueue": "ours"}`
	}
	return fmt.Sprintf(`{"name": %q, %s, "timeout": "1m", "attempts": 3}`, name, target)
}

// theirs are the hooks of the user's own. say answers a call; it may block.
type theirs struct {
	inputs []migration.HookInput
	say    func(ctx context.Context, n int, in migration.HookInput) (migration.HookAnswer, error)
}

// registerHooks makes hooks of all kinds known. All answer alike.
func registerHooks(env *testsuite.TestWorkflowEnvironment, f *fakes) *theirs {
	t := &theirs{}
	answer := func(ctx context.Context, in migration.HookInput) (migration.HookAnswer, error) {
		f.mu.Lock()
		t.inputs = append(t.inputs, in)
		n, say := len(t.inputs), t.say
		f.mu.Unlock()
		if say == nil {
			return migration.HookAnswer{Message: "well"}, nil
		}
		return say(ctx, n, in)
	}
	env.RegisterActivityWithOptions(answer, activity.RegisterOptions{Name: "Ours"})
	env.RegisterActivityWithOptions(func(ctx context.Context, in migration.CallHookRequest) (migration.HookAnswer,
		error,
	) {
		return answer(ctx, in.Input)
	}, activity.RegisterOptions{Name: migration.ActivityCallHook})
	env.RegisterWorkflowWithOptions(func(ctx workflow.Context, in migration.HookInput) (migration.HookAnswer, error) {
		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
			StartToCloseTimeout: time.Minute, RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 1},
		})
		var said migration.HookAnswer
		err := workflow.ExecuteActivity(ctx, "Ours", in).Get(ctx, &said)
		var failure *temporal.ApplicationError
		if errors.As(err, &failure) {
			return said, failure
		}
		return said, err
	}, workflow.RegisterOptions{Name: "OurWorkflow"})
	return t
}

// moments are those of all calls, in order.
func (t *theirs) moments() []migration.HookMoment {
	var moments []migration.HookMoment
	for _, in := range t.inputs {
		moments = append(moments, in.Moment)
	}
	return moments
}

// no is the refusal of a hook of each kind.
func no(kind string) (migration.HookAnswer, error) {
	if kind == "http" {
		return migration.HookAnswer{}, temporal.NewNonRetryableApplicationError("a job runs",
			string(migration.ErrorHookRefused), nil)
	}
	proceed := false
	return migration.HookAnswer{Proceed: &proceed, Reason: "a job runs"}, nil
}

var everyMoment = migration.HookMoments()

func TestAMigrationCallsItsHooks(t *testing.T) {
	for _, kind := range hookKinds {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t)
			w.plan = hooked(w.plan, kind, everyMoment...)
			ours := registerHooks(w.env, w.fakes)
			blocked, writable := map[migration.HookMoment]bool{}, map[migration.HookMoment]bool{}
			ours.say = func(_ context.Context, _ int, in migration.HookInput) (migration.HookAnswer, error) {
				w.change(func() { blocked[in.Moment], writable[in.Moment] = w.blocked, w.targetWritable })
				return migration.HookAnswer{Message: "well"}, nil
			}
			w.usualRequests()
			w.run()
			report := w.completed()
			require.Equal(t, everyMoment[:4], ours.moments(), "no thaw, no hook after one")
			for moment, want := range map[migration.HookMoment][2]bool{
				migration.HookBeforeBlock: {false, false}, migration.HookAfterBlock: {true, false},
				migration.HookBeforeHandover: {true, false}, migration.HookAfterHandover: {true, true},
			} {
				require.Equal(t, want, [2]bool{blocked[moment], writable[moment]}, moment)
			}
			keys := map[string]bool{}
			for _, in := range ours.inputs {
				keys[in.IdempotencyKey] = true
				require.Equal(t, "movies", in.Migration)
				require.Equal(t, migration.WorkflowID("movies"), in.WorkflowID)
				require.Equal(t, 1, in.Attempt)
				require.Equal(t, []string{"catalog", "movies"}, in.Indices)
				require.Equal(t, 2, in.IndicesTotal)
				require.Equal(t, "http://es.example.com:9200", in.Target)
				require.Equal(t, in.Moment == migration.HookAfterHandover, in.Until == "")
			}
			require.Len(t, keys, 4)
			require.Len(t, report.Hooks, 4)
			for _, made := range report.Hooks {
				require.Equal(t, migration.HookDone, made.Outcome)
				require.Equal(t, "well", made.Message)
			}
			require.NotContains(t, w.guard.asks, migration.AskHooks)
			require.Equal(t, report.FrozenWindow.DownSinceMillis, report.Hooks[0].AtMillis)
			require.GreaterOrEqual(t, report.FrozenWindow.DownMillis, report.FrozenWindow.BlockedMillis)
		})
	}
}

// A plan without hooks asks nothing more of anybody, and measures what it measured.
func TestAMigrationWithoutHooks(t *testing.T) {
	w := newWorld(t)
	w.usualRequests()
	w.run()
	report := w.completed()
	require.Empty(t, report.Hooks)
	require.Zero(t, report.FrozenWindow.DownMillis)
	require.Zero(t, w.called(migration.ActivityCallHook))
	require.NotContains(t, w.guard.asks, migration.AskHooks)
}

// A veto before the block leaves the source untouched, a veto after it frees the source at once. The
// guard starts the writers again in both cases, and rounds go on.
func TestAVetoAtTheBlock(t *testing.T) {
	for _, kind := range hookKinds {
		for _, moment := range []migration.HookMoment{migration.HookBeforeBlock, migration.HookAfterBlock} {
			t.Run(kind+" "+string(moment), func(t *testing.T) {
				w := newWorld(t)
				w.plan = hooked(w.plan, kind, moment, migration.HookAfterThaw)
				ours := registerHooks(w.env, w.fakes)
				ours.say = func(_ context.Context, n int, _ migration.HookInput) (migration.HookAnswer, error) {
					if n == 1 {
						return no(kind)
					}
					return migration.HookAnswer{}, nil
				}
				w.guard.hooks = []migration.HookCall{{
					Moment: migration.HookAfterThaw, Name: "afterthaw", Outcome: migration.HookFailed,
					Message: "no worker", Guard: true,
				}}
				w.at(20*time.Minute, migration.RequestFreeze)
				w.env.RegisterDelayedCallback(func() {
					status := w.status()
					require.Equal(t, migration.PhaseRounds, status.Phase)
					require.Nil(t, status.Attention, "nobody has to do anything")
					require.False(t, w.isBlocked())
					warnings := strings.Join(status.Warnings, "|")
					require.Contains(t, warnings, "the hook "+strings.ToLower(string(moment))+" ("+string(moment)+
						") refused: a job runs")
					require.Contains(t, warnings, "afterthaw (afterThaw) failed: no worker. Start the writers yourself")
					require.Equal(t, migration.HookRefused, status.Hooks[0].Outcome)
					require.True(t, status.Hooks[1].Guard)
					if moment == migration.HookBeforeBlock {
						require.Zero(t, w.called(migration.ActivityBlockSource))
						require.NotContains(t, w.guard.asks, migration.AskAnnounce)
						require.Contains(t, warnings, "the freeze ended before writes were blocked")
					} else {
						require.Equal(t, 1, w.called(migration.ActivityUnblockSource))
						require.Contains(t, warnings, "the write block is removed: the hook")
					}
				}, 22*time.Minute)
				w.at(40*time.Minute, migration.RequestFreeze)
				w.at(50*time.Minute, migration.RequestCutover)
				w.run()
				report := w.completed()
				require.Len(t, ours.inputs, 2)
				require.NotEqual(t, ours.inputs[0].IdempotencyKey, ours.inputs[1].IdempotencyKey,
					"another window is another call")
				require.Len(t, report.Hooks, 3)
			})
		}
	}
}

// freeze.auto doesn't freeze again and again against a veto.
func TestFreezeAutoAndAVeto(t *testing.T) {
	w := newWorld(t)
	w.plan = hooked(strings.Replace(w.plan, `"maxDuration": "2h"`, `"maxDuration": "2h", "auto": true`, 1), "activity",
		migration.HookBeforeBlock)
	w.plan = strings.Replace(w.plan, `"interval": "15m"`, `"interval": "15m", "until": {"window": "10h"}`, 1)
	ours := registerHooks(w.env, w.fakes)
	ours.say = func(context.Context, int, migration.HookInput) (migration.HookAnswer, error) { return no("activity") }
	w.at(5*time.Hour, migration.RequestAbort)
	w.run()
	w.aborted()
	require.Len(t, ours.inputs, 1)
}

// The refusal of an activity or workflow may be an error that no retry helps against.
func TestANonRetryableErrorIsAVeto(t *testing.T) {
	for _, kind := range []string{"activity", "workflow"} {
		w := newWorld(t)
		w.plan = hooked(w.plan, kind, migration.HookBeforeBlock)
		ours := registerHooks(w.env, w.fakes)
		ours.say = func(context.Context, int, migration.HookInput) (migration.HookAnswer, error) {
			return migration.HookAnswer{}, temporal.NewNonRetryableApplicationError("a job runs", "Busy", nil)
		}
		w.at(20*time.Minute, migration.RequestFreeze)
		w.at(40*time.Minute, migration.RequestAbort)
		w.run()
		report := w.aborted()
		require.Equal(t, "the hook beforeblock (beforeBlock) refused: a job runs", report.Hooks[0].Sentence(), kind)
		require.Len(t, ours.inputs, 1, kind)
	}
}

// What may pass is tried again, with the same key, and no more often than the plan says.
func TestAHookIsTriedAgain(t *testing.T) {
	for _, kind := range hookKinds {
		t.Run(kind, func(t *testing.T) {
			for failures, outcome := range map[int]migration.HookOutcome{
				2: migration.HookDone, 9: migration.HookFailed,
			} {
				w := newWorld(t)
				w.plan = hooked(w.plan, kind, migration.HookBeforeBlock)
				ours := registerHooks(w.env, w.fakes)
				ours.say = func(_ context.Context, n int, _ migration.HookInput) (migration.HookAnswer, error) {
					if n <= failures {
						return migration.HookAnswer{}, fmt.Errorf("no answer")
					}
					return migration.HookAnswer{}, nil
				}
				w.at(20*time.Minute, migration.RequestFreeze)
				w.at(40*time.Minute, migration.RequestAbort)
				w.run()
				report := w.aborted()
				require.Equal(t, outcome, report.Hooks[0].Outcome)
				require.Len(t, ours.inputs, 3)
				require.Equal(t, ours.inputs[0], ours.inputs[2])
				if outcome == migration.HookFailed {
					require.Contains(t, report.Hooks[0].Message, "no answer")
				}
			}
		})
	}
}

// A veto before the handover leaves everything as it is: verified and blocked. A person has the hook
// called again, or skips it.
func TestAVetoBeforeTheHandover(t *testing.T) {
	for _, skips := range []bool{false, true} {
		t.Run(fmt.Sprint(skips), func(t *testing.T) {
			w := newWorld(t)
			w.plan = hooked(w.plan, "activity", migration.HookBeforeHandover)
			ours := registerHooks(w.env, w.fakes)
			ours.say = func(_ context.Context, n int, _ migration.HookInput) (migration.HookAnswer, error) {
				if n == 1 || skips {
					return no("activity")
				}
				return migration.HookAnswer{}, nil
			}
			w.usualRequests()
			w.env.RegisterDelayedCallback(func() {
				status := w.status()
				require.Equal(t, migration.PhaseAwaitCutover, status.Phase)
				require.Equal(t, string(migration.ErrorHookRefused), status.Attention.Type)
				require.Contains(t, status.Attention.Message, "a job runs")
				require.Contains(t, status.Attention.Remedy, "--skip-hook")
				require.Contains(t, status.Attention.Remedy, "An abort removes the write block")
				require.Contains(t, status.Next, "starter retry movies --skip-hook")
				require.True(t, w.isBlocked())
				require.NotContains(t, w.guard.asks, migration.AskBegin)
			}, 40*time.Minute)
			w.env.RegisterDelayedCallback(func() {
				w.env.SignalWorkflow(string(migration.RequestRetry),
					migration.RequestInput{By: "ann", Reason: "the job is mine", SkipHook: skips})
			}, 45*time.Minute)
			w.run()
			report := w.completed()
			last := report.Hooks[len(report.Hooks)-1]
			if skips {
				require.Equal(t, migration.HookSkipped, last.Outcome)
				require.Contains(t, strings.Join(report.Warnings, "|"), "was skipped by a person")
				require.Len(t, ours.inputs, 1)
				return
			}
			require.Equal(t, migration.HookDone, last.Outcome)
			require.Equal(t, 2, ours.inputs[1].Attempt)
			require.NotEqual(t, ours.inputs[0].IdempotencyKey, ours.inputs[1].IdempotencyKey)
		})
	}
}

// Nobody comes: the source takes writes again at the deadline.
func TestAVetoBeforeTheHandoverAndNobodyComes(t *testing.T) {
	w := newWorld(t)
	w.plan = hooked(w.plan, "activity", migration.HookBeforeHandover, migration.HookAfterThaw)
	ours := registerHooks(w.env, w.fakes)
	ours.say = func(context.Context, int, migration.HookInput) (migration.HookAnswer, error) { return no("activity") }
	w.usualRequests()
	w.env.RegisterDelayedCallback(func() {
		require.Equal(t, migration.PhaseRounds, w.status().Phase)
		require.Contains(t, strings.Join(w.status().Warnings, "|"), "the requested cutover did not happen: the hook "+
			"beforehandover (beforeHandover) refused: a job runs")
	}, 3*time.Hour)
	w.at(4*time.Hour, migration.RequestAbort)
	w.run()
	w.aborted()
	require.Contains(t, w.guard.asks, migration.AskHooks)
}

// After the handover there is nothing to stop. A person decides whether it is called again.
func TestAHookAfterTheHandoverThatFails(t *testing.T) {
	w := newWorld(t)
	w.plan = hooked(w.plan, "workflow", migration.HookAfterHandover)
	ours := registerHooks(w.env, w.fakes)
	ours.say = func(_ context.Context, n int, _ migration.HookInput) (migration.HookAnswer, error) {
		if n <= 3 {
			return migration.HookAnswer{}, fmt.Errorf("the zone is locked")
		}
		return migration.HookAnswer{}, nil
	}
	w.usualRequests()
	w.env.RegisterDelayedCallback(func() {
		status := w.status()
		require.Equal(t, migration.PhaseCutover, status.Phase)
		require.Equal(t, string(migration.ErrorHookFailed), status.Attention.Type)
		require.Contains(t, status.Attention.Message, "the zone is locked")
		require.NotContains(t, status.Attention.Remedy, "abort")
		require.True(t, w.targetWritable)
	}, 50*time.Minute)
	w.at(time.Hour, migration.RequestRetry)
	w.run()
	report := w.completed()
	require.Len(t, report.Hooks, 2)
	require.GreaterOrEqual(t, report.FrozenWindow.DownMillis, (30 * time.Minute).Milliseconds(),
		"nobody could write until the service was switched over")
	require.Less(t, report.FrozenWindow.BlockedMillis, (15 * time.Minute).Milliseconds())
}

// A hook that hangs never keeps the source blocked for longer than the plan allows.
func TestAHookThatHangs(t *testing.T) {
	for _, moment := range []migration.HookMoment{
		migration.HookBeforeBlock, migration.HookAfterBlock, migration.HookBeforeHandover,
	} {
		for name, timeout := range map[string]string{
			"until its time limit": "1m", "until the window's end": "59m",
		} {
			t.Run(string(moment)+" "+name, func(t *testing.T) {
				w := newWorld(t)
				w.plan = strings.Replace(hooked(w.plan, "activity", moment, migration.HookAfterThaw),
					`"timeout": "1m"`, `"timeout": "`+timeout+`"`, 1)
				w.plan = strings.Replace(w.plan, `"maxDuration": "2h"`, `"maxDuration": "1h"`, 1)
				ours := registerHooks(w.env, w.fakes)
				ours.say = func(context.Context, int, migration.HookInput) (migration.HookAnswer, error) {
					return migration.HookAnswer{}, activity.ErrResultPending // nobody ever completes it
				}
				w.usualRequests()
				w.env.RegisterDelayedCallback(func() {
					status := w.status()
					require.Equal(t, migration.PhaseRounds, status.Phase)
					require.False(t, w.isBlocked())
					require.Contains(t, strings.Join(status.Warnings, "|"), "the hook "+strings.ToLower(string(moment)))
				}, 4*time.Hour)
				w.at(5*time.Hour, migration.RequestAbort)
				w.run()
				w.aborted()
				require.Contains(t, w.guard.asks, migration.AskHooks)
				require.Empty(t, w.handovers)
			})
		}
	}
}

// An abort does not wait for a hook.
func TestAnAbortWhileAHookIsCalled(t *testing.T) {
	w := newWorld(t)
	w.plan = hooked(w.plan, "activity", migration.HookBeforeBlock, migration.HookAfterThaw)
	ours := registerHooks(w.env, w.fakes)
	ours.say = func(context.Context, int, migration.HookInput) (migration.HookAnswer, error) {
		w.env.RegisterDelayedCallback(func() { w.env.SignalWorkflow(string(migration.RequestAbort), nil) }, 0)
		return migration.HookAnswer{}, activity.ErrResultPending
	}
	w.guard.hooks = []migration.HookCall{
		{Moment: migration.HookAfterThaw, Name: "afterthaw", Outcome: migration.HookDone},
	}
	w.at(20*time.Minute, migration.RequestFreeze)
	w.run()
	report := w.aborted()
	require.Equal(t, migration.HookLeft, report.Hooks[0].Outcome)
	require.Contains(t, report.Hooks[0].Message, " on task queue ", "perhaps nobody serves it")
	require.Equal(t, migration.HookAfterThaw, report.Hooks[1].Moment)
	require.Zero(t, w.called(migration.ActivityBlockSource))
	require.Contains(t, w.guard.asks, migration.AskRemove)
}

// A skip means something only for a hook that waits.
func TestASkipWithoutAHook(t *testing.T) {
	w := newWorld(t)
	w.fails(migration.ActivityPreflight, 1, migration.ErrorUnauthorized)
	w.env.RegisterDelayedCallback(func() {
		w.env.SignalWorkflow(string(migration.RequestRetry), migration.RequestInput{SkipHook: true})
	}, time.Minute)
	w.env.RegisterDelayedCallback(func() {
		notes := w.status().Notes
		require.Equal(t, migration.Ignored, notes[len(notes)-1].Verdict)
		require.NotNil(t, w.status().Attention)
	}, 2*time.Minute)
	w.at(3*time.Minute, migration.RequestAbort)
	w.run()
	w.aborted()
}

func TestARehearsalCallsNoHook(t *testing.T) {
	w := newRehearsal(t)
	w.plan = hooked(w.plan, "activity", everyMoment...)
	ours := registerHooks(w.env, w.fakes)
	w.run()
	require.NoError(t, w.env.GetWorkflowError())
	assert.Empty(t, ours.inputs)
}

// A freeze that begins again in the same window calls its hooks once: the writers have stopped.
func TestAFreezeThatBeginsAgainCallsItsHooksOnce(t *testing.T) {
	w := newWorld(t)
	w.plan = hooked(w.plan, "activity", migration.HookBeforeBlock, migration.HookAfterBlock)
	ours := registerHooks(w.env, w.fakes)
	w.fails(migration.ActivityAwaitStandstill, 1, migration.ErrorNoStandstill)
	w.usualRequests()
	w.at(25*time.Minute, migration.RequestRetry)
	w.run()
	w.completed()
	require.Equal(t, 2, w.called(migration.ActivityBlockSource))
	require.Equal(t, []migration.HookMoment{migration.HookBeforeBlock, migration.HookAfterBlock}, ours.moments())
}
