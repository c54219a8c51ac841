package workflows

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

// Nothing but the next request to the guard finds then that it has ended.
func TestAWatchOfTheGuardThatFailsIsTold(t *testing.T) {
	w := newWorld(t)
	w.watchFails = refusal(migration.ErrorUnauthorized, "403")
	w.usualRequests()
	w.run()
	require.Contains(t, strings.Join(w.completed().Warnings, "|"), "nobody watches the guard")
}

// A reset sends the freeze again that was sent to the run which it replaces. It counts for nothing;
// one that is sent to the new run does.
func TestAFreezeThatAResetSendsAgain(t *testing.T) {
	for name, reset := range map[string]func(w *world){
		"to the first task": func(w *world) {
			w.guard.reset = true
			w.env.RegisterDelayedCallback(func() { w.skip(migration.RequestFreeze, nil) }, 0)
		},
		"to a later one": func(w *world) {
			w.during(migration.ActivityOpenTarget, 2, func() {
				w.change(func() { w.guard.reset = true })
				w.env.SignalWorkflow(string(migration.RequestFreeze), nil)
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			reset(w)
			w.env.RegisterDelayedCallback(func() {
				status := w.status()
				require.Equal(t, migration.PhaseRounds, status.Phase)
				require.False(t, status.FreezeRequested)
				require.Contains(t, strings.Join(status.Warnings, "|"), "count for nothing")
			}, 70*time.Minute)
			w.at(80*time.Minute, migration.RequestFreeze)
			w.at(90*time.Minute, migration.RequestCutover)
			w.run()
			report := w.completed()
			require.Equal(t, 1, strings.Count(strings.Join(report.Warnings, "|"), "count for nothing"))
		})
	}
}

// A run that was reset in the window finds that the guard doesn't serve it: wherever it stands, it
// goes back to rounds, and the block is removed.
func TestARunThatWasResetInTheWindow(t *testing.T) {
	for _, activity := range []string{
		migration.ActivityReadSourceBlocks, migration.ActivityBlockSource, migration.ActivityAwaitStandstill,
		migration.ActivityTakeSnapshot, migration.ActivityVerifyTarget, migration.ActivityCheckHandover,
	} {
		t.Run(activity, func(t *testing.T) {
			w := newWorld(t)
			call := 1
			if activity == migration.ActivityTakeSnapshot {
				call = 3
			}
			w.after[activity] = func(n int) {
				if n == call {
					w.change(func() {
						w.guard.reset = true
						w.guard.phase, w.guard.cause = migration.GuardRemoved, "the migration is no longer running "+
							"(Terminated)"
						w.blocked, w.blockedNames = false, nil
					})
				}
			}
			if activity == migration.ActivityBlockSource || activity == migration.ActivityAwaitStandstill ||
				activity == migration.ActivityTakeSnapshot {
				w.during(activity, call, func() {
					w.change(func() {
						w.guard.reset = true
						w.guard.phase, w.guard.cause = migration.GuardRemoved, "the migration is no longer running "+
							"(Terminated)"
						w.blocked, w.blockedNames = false, nil
					})
					w.guardSays(migration.GuardAnswer{RunID: "run-2", Phase: migration.GuardRemoved})
				})
			}
			w.at(20*time.Minute, migration.RequestFreeze)
			w.at(25*time.Minute, migration.RequestCutover)
			w.env.RegisterDelayedCallback(func() {
				require.Equal(t, migration.PhaseRounds, w.status().Phase)
				require.False(t, w.status().CutoverRequested)
				require.False(t, w.blocked)
			}, 50*time.Minute)
			w.at(time.Hour, migration.RequestAbort)
			w.run()
			report := w.aborted()
			require.Contains(t, strings.Join(report.Warnings, "|"), "the frozen window ended without a cutover")
			require.Empty(t, w.handovers)
		})
	}
}

// A run that finds that an earlier one has begun the cutover only reports: it closes nothing on the
// target, and removes nothing.
func TestARunThatOnlyReports(t *testing.T) {
	for name, test := range map[string]struct {
		at    time.Duration
		abort bool
	}{
		"from the rounds": {10 * time.Minute, false}, "from the first task": {0, false},
		"from an abort": {10 * time.Minute, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			closed := 0
			begin := func() {
				w.change(func() {
					w.guard.reset, w.guard.told = true, true
					w.guard.phase, w.blocked, w.targetWritable = migration.GuardHandedOver, true, true
					w.guard.late = []migration.LateIndex{{Name: "catalog-2", New: true, Docs: 3}}
					closed = len(w.closes)
				})
			}
			if test.at == 0 {
				begin()
			}
			w.env.RegisterDelayedCallback(func() {
				begin()
				if test.abort {
					w.env.SignalWorkflow(string(migration.RequestAbort), nil)
				}
			}, test.at)
			w.run()
			require.NoError(t, w.env.GetWorkflowError())
			var report migration.Report
			require.NoError(t, w.env.GetWorkflowResult(&report))
			require.Equal(t, migration.ResultCompleted, report.Result)
			require.Contains(t, strings.Join(report.Warnings, "|"), "this run only reports it")
			require.Equal(t, "catalog-2", report.Late[0].Name)
			require.Len(t, w.closes, closed)
			require.Empty(t, w.webhook)
			require.True(t, w.blocked)
			require.True(t, w.targetWritable)
			require.Zero(t, w.called(migration.ActivityUnblockSource))
		})
	}
}

// The guard removes the block by itself: the migration notices when it next asks, and goes on with
// rounds.
func TestAGuardThatHasRemovedTheBlock(t *testing.T) {
	w := newWorld(t)
	w.at(20*time.Minute, migration.RequestFreeze)
	w.env.RegisterDelayedCallback(func() {
		w.change(func() { w.guard.phase, w.guard.cause, w.blocked = migration.GuardRemoved, "because", false })
		w.env.SignalWorkflow(string(migration.RequestCutover), nil)
	}, 40*time.Minute)
	w.env.RegisterDelayedCallback(func() { require.Equal(t, migration.PhaseRounds, w.status().Phase) }, 41*time.Minute)
	w.at(time.Hour, migration.RequestAbort)
	w.blocked = false
	w.run()
	var report migration.Report
	require.Error(t, w.env.GetWorkflowError())
	_ = report
	require.Empty(t, w.handovers)
}

// An index that refuses the block is named, and a person is asked, while nothing is blocked.
func TestAnIndexThatCannotBeBlocked(t *testing.T) {
	w := newWorld(t)
	w.guard.refused = []migration.Refusal{{Index: "movies", Message: "403 read_only", Remedy: "Remove the block."}}
	w.at(20*time.Minute, migration.RequestFreeze)
	w.env.RegisterDelayedCallback(func() {
		status := w.status()
		require.Equal(t, migration.PhaseFreeze, status.Phase)
		require.Contains(t, status.Attention.Message, "1 index can't be blocked")
		require.Contains(t, status.Attention.Message, "movies (403 read_only) Remove the block.")
		require.False(t, w.blocked)
		w.env.SignalWorkflow(string(migration.RequestRetry), nil)
	}, 25*time.Minute)
	w.at(40*time.Minute, migration.RequestCutover)
	w.run()
	w.completed()
}

// An abort ends although an index keeps the block, and says which, and what to do.
func TestAnAbortEndsAlthoughAnIndexKeepsTheBlock(t *testing.T) {
	w := newWorld(t)
	w.guard.remains = []migration.Refusal{{Index: "movies", Message: "403 read_only"}}
	w.at(20*time.Minute, migration.RequestFreeze)
	w.at(40*time.Minute, migration.RequestAbort)
	w.run()
	report := w.aborted()
	require.Contains(t, strings.Join(report.Remains, "|"), "may still be on movies (403 read_only)")
	require.NotContains(t, strings.Join(report.Remains, "|"), "which was checked")
}

// A freeze that begins again and again ends its window, long before the server ends the workflow.
func TestAFreezeThatBeginsAgainAndAgain(t *testing.T) {
	w := newWorld(t)
	w.after[migration.ActivityTakeSnapshot] = func(n int) {
		w.change(func() {
			if !w.blocked {
				return
			}
			w.indices = append(w.indices, migration.Index{
				Name:   "catalog-" + strings.Repeat("x", len(w.indices)),
				Shards: 1,
			})
		})
	}
	w.at(20*time.Minute, migration.RequestFreeze)
	w.env.RegisterDelayedCallback(func() {
		require.Equal(t, migration.PhaseRounds, w.status().Phase)
		require.False(t, w.blocked)
	}, 50*time.Minute)
	w.at(time.Hour, migration.RequestAbort)
	w.run()
	report := w.aborted()
	require.Equal(t, maxPasses, w.called(migration.ActivityVerifyTarget))
	require.Contains(t, strings.Join(report.Warnings, "|"), "the freeze began 5 times in one window")
}

// So does the inner loop of one freeze: an index that appears whenever the block is set.
func TestAFreezeThatNeverHoldsEverything(t *testing.T) {
	w := newWorld(t)
	w.after[migration.ActivityAwaitStandstill] = func(int) {
		w.change(func() {
			w.indices = append(w.indices, migration.Index{
				Name:   "catalog-" + strings.Repeat("x", len(w.indices)),
				Shards: 1,
			})
		})
	}
	w.after[migration.ActivityBlockSource] = func(int) {
		w.change(func() {
			w.indices = append(w.indices, migration.Index{
				Name:   "catalog-" + strings.Repeat("x", len(w.indices)),
				Shards: 1,
			})
		})
	}
	w.at(20*time.Minute, migration.RequestFreeze)
	w.at(time.Hour, migration.RequestAbort)
	w.run()
	report := w.aborted()
	require.LessOrEqual(t, w.called(migration.ActivityBlockSource), maxPasses)
	require.Contains(t, strings.Join(report.Warnings, "|"), "in one window")
}

// A window whose history has become long ends. None continues as new.
func TestAWindowWithALongHistoryEnds(t *testing.T) {
	w := newWorld(t)
	w.at(20*time.Minute, migration.RequestFreeze)
	w.during(migration.ActivityAwaitStandstill, 1, func() {
		w.env.SetCurrentHistoryLength(maxWindowHistory + 1)
		w.change(func() { w.indices = w.indices[:1] })
	})
	w.env.RegisterDelayedCallback(func() {
		w.env.SetCurrentHistoryLength(10)
		require.False(t, w.blocked)
	}, 30*time.Minute)
	w.at(time.Hour, migration.RequestAbort)
	w.env.ExecuteWorkflow(Migration, inputOf(t, w.plan), nil)
	require.True(t, w.env.IsWorkflowCompleted())
	require.False(t, w.blocked)
}

// What is refused in the cutover is shown by index, and retry asks the guard again.
func TestAnIndexThatTheTargetRefuses(t *testing.T) {
	w := newWorld(t)
	w.guard.unready = []migration.Refusal{{Index: "movies", Setting: "index.x", Message: "unknown setting [index.x]"}}
	w.usualRequests()
	w.env.RegisterDelayedCallback(func() {
		require.Equal(t, migration.PhaseCutover, w.status().Phase)
		require.Contains(t, w.status().Attention.Message, "movies: unknown setting [index.x]")
		w.env.SignalWorkflow(string(migration.RequestRetry), nil)
	}, 40*time.Minute)
	w.run()
	w.completed()
	require.Len(t, w.handovers, 2)
	require.True(t, w.guard.released)
}

// What the target gets stands with the guard before the cutover begins, since it may have to hand
// over alone.
func TestTheGuardKnowsWhatToHandOver(t *testing.T) {
	w := newWorld(t)
	w.usualRequests()
	w.run()
	w.completed()
	require.Equal(t, []migration.HandoverIndex{
		{Name: "catalog", UUID: "u-catalog"},
		{Name: "movies", UUID: "u-movies"},
	},
		w.handovers[0])
}

// An abort that comes while the guard is asked to begin is too late if it has begun, and wins if
// not.
func TestAnAbortWhileTheCutoverBegins(t *testing.T) {
	for name, begun := range map[string]bool{"begun": true, "not begun": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.usualRequests()
			w.onAsk[migration.AskBegin] = func() error {
				if begun { // before the abort, whose request to remove the block comes at once
					w.change(func() { w.guard.phase = migration.GuardHandingOver })
				}
				w.inLoop(func() { w.env.SignalWorkflow(string(migration.RequestAbort), nil) })
				return refusal(migration.ErrorRefused, "the answer is lost")
			}
			w.run()
			if !begun {
				w.aborted()
				return
			}
			report := w.completed()
			require.Contains(t, strings.Join(report.Warnings, "|"), "the abort came too late")
		})
	}
}

// What took writes on the source after the cutover is in the report.
func TestLateIndicesAreReported(t *testing.T) {
	w := newWorld(t)
	w.usualRequests()
	w.on[migration.ActivityHandOver] = func(int) error {
		w.change(func() { w.guard.late = []migration.LateIndex{{Name: "catalog-2", New: true, Docs: 7}} })
		return nil
	}
	w.run()
	require.Equal(t, []migration.LateIndex{{Name: "catalog-2", New: true, Docs: 7}}, w.completed().Late)
}
