package workflows

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

func TestMigrationGoesThroughItsPhases(t *testing.T) {
	w := newWorld(t)
	w.usualRequests()
	w.run()
	report := w.completed()
	require.Equal(t, []string{"movies-r0000-a1", "movies-r0001-a1", "movies-r0002-a1"}, w.snapshots)
	require.Equal(t, w.snapshots, w.restored)
	require.False(t, w.registered, "the repositories are unregistered")
	require.Equal(t, "migration/movies", migration.WorkflowID(report.Plan))
	require.EqualValues(t, 20, report.Rounds[0].BlobsCopied+report.Rounds[1].BlobsCopied)
	require.NotNil(t, report.FrozenWindow)
	require.NotEmpty(t, report.Remains)
	require.Empty(t, w.webhook, "no webhook in the plan")
}

func TestRoundsGoOnAtTheInterval(t *testing.T) {
	w := newWorld(t)
	w.at(5*time.Hour+7*time.Minute, migration.RequestFreeze)
	w.at(5*time.Hour+8*time.Minute, migration.RequestCutover)
	w.run()
	require.Len(t, w.completed().Rounds, 1+20+1)
}

func TestRoundStartsTheNextRoundNow(t *testing.T) {
	w := newWorld(t)
	w.at(time.Minute, migration.RequestRound)
	w.at(3*time.Minute, migration.RequestRound)
	w.at(5*time.Minute, migration.RequestFreeze)
	w.at(6*time.Minute, migration.RequestCutover)
	w.run()
	require.Len(t, w.completed().Rounds, 1+2+1)
}

// Every request in every phase, by signal: nothing may hang, no invariant break (the world checks
// them), and only abort before cutover ends the migration.
func TestEveryRequestInEveryPhase(t *testing.T) {
	for _, place := range phases {
		for _, request := range migration.Requests() {
			t.Run(fmt.Sprintf("%s in %s (%s)", request, place.phase, place.activity), func(t *testing.T) {
				w := newWorld(t)
				w.usualRequests()
				w.at(10*time.Minute, migration.RequestResume) // in case that it was pause
				w.during(place.activity, place.call, func() {
					require.Equal(t, place.phase, w.status().Phase)
					w.env.SignalWorkflow(string(request), nil)
					w.env.SignalWorkflow(string(request), migration.RequestInput{By: "ann", Reason: "twice"})
				})
				if place.phase == migration.PhaseRounds || place.phase == migration.PhaseReady {
					w.at(25*time.Minute, migration.RequestResume)
				}
				w.run()
				if request == migration.RequestAbort && place.phase != migration.PhaseCutover {
					require.NotNil(t, w.aborted().Decisions)
					return
				}
				report := w.completed()
				decided := 0
				for _, d := range report.Decisions {
					if d.By == "ann" {
						decided++
						require.Equal(t, request, d.Request)
					}
				}
				require.Equal(t, 1, decided, "each request is recorded")
			})
		}
	}
}

func TestRequestsWhileItWaits(t *testing.T) {
	for _, request := range migration.Requests() {
		t.Run(string(request), func(t *testing.T) {
			w := newWorld(t)
			w.at(5*time.Minute, request)
			w.at(5*time.Minute+time.Second, request)
			w.at(6*time.Minute, migration.RequestResume)
			w.usualRequests()
			w.at(25*time.Minute, request) // in awaitCutover
			w.run()
			if request == migration.RequestAbort {
				w.aborted()
				return
			}
			w.completed()
		})
	}
}

func TestFreezeBeforeTheBaselineIsRemembered(t *testing.T) {
	w := newWorld(t)
	w.during(migration.ActivityPreflight, 1, func() { w.env.SignalWorkflow(string(migration.RequestFreeze), nil) })
	w.at(time.Minute, migration.RequestCutover)
	w.run()
	require.Len(t, w.completed().Rounds, 2, "baseline and final round")
}

func TestCutoverIsNeverRememberedFromBeforeTheFreeze(t *testing.T) {
	w := newWorld(t)
	w.at(time.Minute, migration.RequestCutover)
	w.at(20*time.Minute, migration.RequestFreeze)
	w.env.RegisterDelayedCallback(func() {
		require.Equal(t, migration.PhaseAwaitCutover, w.status().Phase)
		require.False(t, w.targetWritable)
		w.env.SignalWorkflow(string(migration.RequestCutover), nil)
	}, time.Hour)
	w.run()
	report := w.completed()
	require.Equal(t, migration.Ignored, report.Decisions[0].Verdict)
}

func TestCutoverDuringTheWindowWaitsForTheProof(t *testing.T) {
	w := newWorld(t)
	w.at(20*time.Minute, migration.RequestFreeze)
	w.during(migration.ActivityAwaitStandstill, 1, func() {
		w.env.SignalWorkflow(string(migration.RequestCutover),
			nil)
	})
	w.on[migration.ActivityVerifyTarget] = func(int) error {
		w.change(func() {
			require.False(t,
				w.targetWritable)
		})
		return nil
	}
	w.run()
	w.completed()
}

func TestCancelInEveryPhase(t *testing.T) {
	for _, place := range phases {
		t.Run(fmt.Sprintf("%s (%s)", place.phase, place.activity), func(t *testing.T) {
			w := newWorld(t)
			w.usualRequests()
			w.during(place.activity, place.call, func() { w.env.CancelWorkflow() })
			w.run()
			if place.phase == migration.PhaseCutover {
				w.completed()
				return
			}
			var cancelled *temporal.CanceledError
			require.True(t, errors.As(w.env.GetWorkflowError(), &cancelled), "%v", w.env.GetWorkflowError())
			var report migration.Report
			require.NoError(t, cancelled.Details(&report))
			require.Equal(t, migration.ResultAborted, report.Result)
			w.untouched()
		})
	}
}

func TestAbortStopsTheRunningSnapshotAfterLiftingTheBlock(t *testing.T) {
	w := newWorld(t)
	w.usualRequests()
	w.during(migration.ActivityTakeSnapshot, 3, func() { w.env.SignalWorkflow(string(migration.RequestAbort), nil) })
	w.run()
	w.aborted()
	// What watches the snapshot, and what closes the target beside it, may begin after all of these.
	calls := slices.DeleteFunc(slices.Clone(w.calls), func(name string) bool {
		return name == migration.ActivityAwaitShards || name == migration.ActivityCloseTarget
	})
	n := len(calls)
	require.Equal(t, []string{
		migration.ActivityUnblockSource, migration.ActivityAbortSnapshot,
		migration.ActivityRestoreThrottles,
	}, calls[n-3:])
}

func TestAbortGoesOnWhenLiftingFails(t *testing.T) {
	w := newWorld(t)
	w.usualRequests()
	w.during(migration.ActivityVerifyTarget, 1, func() { w.env.SignalWorkflow(string(migration.RequestAbort), nil) })
	w.fails(migration.ActivityUnblockSource, 1, migration.ErrorUnauthorized)
	w.env.RegisterDelayedCallback(func() {
		status := w.status()
		require.Equal(t, migration.PhaseAborting, status.Phase)
		require.NotNil(t, status.Attention)
		w.env.SignalWorkflow(string(migration.RequestRetry), nil)
	}, time.Hour)
	w.run()
	w.aborted()
}

func TestPauseHoldsTheNextStepBack(t *testing.T) {
	w := newWorld(t)
	w.at(5*time.Minute, migration.RequestPause)
	w.env.RegisterDelayedCallback(func() {
		status := w.status()
		require.True(t, status.Paused)
		require.Equal(t, 1, w.called(migration.ActivityTakeSnapshot), "no round while paused")
		require.Contains(t, status.Next, "starter resume movies")
		w.env.SignalWorkflow(string(migration.RequestResume), nil)
	}, 3*time.Hour)
	w.at(3*time.Hour+20*time.Minute, migration.RequestFreeze)
	w.at(3*time.Hour+30*time.Minute, migration.RequestCutover)
	w.run()
	w.completed()
}

func TestEveryActivityThatFailsForGoodParksAndRetries(t *testing.T) {
	activities := []string{
		migration.ActivityPreflight, migration.ActivityEnsureTargetBucket, migration.ActivityRegisterRepositories,
		migration.ActivityResolveIndices, migration.ActivityTakeSnapshot, migration.ActivityCopySnapshot,
		migration.ActivityCloseTarget, migration.ActivityRestoreSnapshot, migration.ActivityOpenTarget,
		migration.ActivityReadSourceBlocks, migration.ActivityBlockSource, migration.ActivityAwaitStandstill,
		migration.ActivityVerifyTarget, migration.ActivityCheckShardLimit, migration.ActivityCheckHandover,
		migration.ActivityHandOver,
	}
	for _, name := range activities {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.fails(name, 1, migration.ErrorRefused)
			parked := false
			var look func()
			look = func() {
				status := w.status()
				if status.Attention != nil {
					parked = true
					require.Equal(t, string(migration.ErrorRefused), status.Attention.Type)
					require.Contains(t, status.Attention.Message, name+" failed (1)")
					require.NotEmpty(t, status.Attention.Remedy)
					require.Contains(t, status.Next, "starter retry movies")
					w.env.SignalWorkflow(string(migration.RequestRetry), nil)
				}
				if !status.Phase.Ended() {
					w.env.RegisterDelayedCallback(look, time.Minute)
				}
			}
			w.env.RegisterDelayedCallback(look, 30*time.Second)
			w.usualRequests()
			w.run()
			w.completed()
			require.True(t, parked)
		})
	}
}

func TestActivitiesThatMayPassAreRetriedWithoutAPerson(t *testing.T) {
	w := newWorld(t)
	w.on[migration.ActivityCopySnapshot] = func(n int) error {
		if n < 8 {
			return errors.New("connection reset")
		}
		return nil
	}
	w.usualRequests()
	w.run()
	w.completed()
	require.Greater(t, w.called(migration.ActivityCopySnapshot), 8)
}

func TestAFailedSnapshotIsTakenAnewUnderTheNextAttempt(t *testing.T) {
	for _, test := range []struct {
		activity string
		kind     migration.ErrorType
		names    []string
	}{
		{
			migration.ActivityTakeSnapshot, migration.ErrorSnapshotFailed,
			[]string{"movies-r0000-a2", "movies-r0001-a1", "movies-r0002-a1"},
		},
		{
			migration.ActivityCopySnapshot, migration.ErrorSnapshotUnusable,
			[]string{"movies-r0000-a1", "movies-r0000-a2", "movies-r0001-a1", "movies-r0002-a1"},
		},
	} {
		t.Run(test.activity, func(t *testing.T) {
			w := newWorld(t)
			w.fails(test.activity, 1, test.kind)
			w.at(time.Minute, migration.RequestRetry) // only the copy waits for it
			w.usualRequests()
			w.run()
			require.Equal(t, 2, w.completed().Rounds[0].Attempt)
			require.Equal(t, test.names, w.snapshots)
		})
	}
}

func TestWritesOnTheTargetParkUntilAPersonAcceptsTheirLoss(t *testing.T) {
	w := newWorld(t)
	w.on[migration.ActivityCloseTarget] = func(n int) error {
		if n == 2 {
			return temporal.NewApplicationErrorWithOptions("movies was written to",
				string(migration.ErrorTargetWritten), temporal.ApplicationErrorOptions{NonRetryable: true})
		}
		return nil
	}
	w.at(18*time.Minute, migration.RequestRetry)
	w.usualRequests()
	w.run()
	w.completed()
	require.Len(t, w.closes, 3)
	require.Empty(t, w.closes[0].Expected)
	require.True(t, w.closes[1].AcceptWrites)
	require.Equal(t, "u-movies", w.closes[1].Expected["movies"].UUID)
	require.False(t, w.closes[2].AcceptWrites, "the next round asks again")
}

func TestVerificationThatFailsShowsTheVerdicts(t *testing.T) {
	w := newWorld(t)
	w.on[migration.ActivityVerifyTarget] = func(n int) error {
		if n > 1 {
			return nil
		}
		return temporal.NewApplicationErrorWithOptions("movies: 5 documents, expected 7",
			string(migration.ErrorVerification),
			temporal.ApplicationErrorOptions{
				NonRetryable: true,
				Details: []any{migration.VerifyResult{Indices: []migration.IndexResult{{
					Name: "movies", SourceDocs: 7,
					TargetDocs: 5,
				}}}},
			})
	}
	w.at(20*time.Minute, migration.RequestFreeze)
	w.at(25*time.Minute, migration.RequestCutover)
	w.env.RegisterDelayedCallback(func() {
		status := w.status()
		require.Equal(t, migration.PhaseVerify, status.Phase)
		require.True(t, status.CutoverRequested)
		require.False(t, w.targetWritable, "no cutover without proof")
		for _, index := range status.Indices {
			if index.Name == "movies" {
				require.False(t, *index.Equal)
				require.EqualValues(t, 5, index.TargetDocs)
			}
		}
		w.env.SignalWorkflow(string(migration.RequestRetry), nil)
	}, 30*time.Minute)
	w.run()
	window := w.completed().FrozenWindow
	require.Less(t, window.Millis, (2 * time.Minute).Milliseconds(), "the wait for a person is no part of the window")
}

// The dead man's switch: without a cutover the block is removed after freeze.maxDuration, whatever
// the window is busy with, and rounds go on.
func TestDeadMansSwitch(t *testing.T) {
	t.Run("while it waits for cutover", func(t *testing.T) {
		w := newWorld(t)
		w.at(20*time.Minute, migration.RequestFreeze)
		w.env.RegisterDelayedCallback(func() {
			require.Equal(t, migration.PhaseRounds, w.status().Phase)
			require.False(t, w.blocked)
		}, 2*time.Hour+30*time.Minute)
		w.at(3*time.Hour, migration.RequestCutover) // too late: ignored
		w.at(4*time.Hour, migration.RequestFreeze)
		w.at(4*time.Hour+time.Minute, migration.RequestCutover)
		w.run()
		report := w.completed()
		require.Len(t, report.Warnings, 1)
		require.Contains(t, report.Warnings[0], "freeze.maxDuration (2h)")
	})
	for _, name := range []string{
		migration.ActivityAwaitStandstill, migration.ActivityTakeSnapshot,
		migration.ActivityCopySnapshot, migration.ActivityRestoreSnapshot, migration.ActivityVerifyTarget,
	} {
		t.Run("in "+name, func(t *testing.T) {
			w := newWorld(t)
			w.at(5*time.Minute, migration.RequestFreeze)
			w.on[name] = func(int) error {
				if w.isBlocked() && w.called(migration.ActivityUnblockSource) == 0 {
					return errors.New("no answer") // retried until the switch
				}
				return nil
			}
			w.at(6*time.Minute, migration.RequestCutover) // forgotten with the window
			w.env.RegisterDelayedCallback(func() {
				require.Equal(t, migration.PhaseRounds, w.status().Phase)
				require.False(t, w.blocked)
				require.False(t, w.targetWritable)
			}, 2*time.Hour+6*time.Minute)
			w.at(3*time.Hour, migration.RequestFreeze)
			w.at(3*time.Hour+time.Minute, migration.RequestCutover)
			w.run()
			w.completed()
		})
	}
}

func TestIndicesThatAppearWhileTheBlockIsSetAreBlockedToo(t *testing.T) {
	w := newWorld(t)
	w.at(5*time.Minute, migration.RequestFreeze)
	w.at(10*time.Minute, migration.RequestCutover)
	late := migration.Index{Name: "catalog-2", Shards: 1}
	w.during(migration.ActivityBlockSource, 1, func() { w.change(func() { w.indices = append(w.indices, late) }) })
	w.env.ExecuteWorkflow(Migration, inputOf(t, planJSON), nil)
	require.NoError(t, w.env.GetWorkflowError())
	require.Equal(t, 2, w.called(migration.ActivityBlockSource))
	var report migration.Report
	require.NoError(t, w.env.GetWorkflowResult(&report))
	require.Len(t, report.Indices, 3)
}

func TestAnIndexThatLeavesTheSourceIsReported(t *testing.T) {
	w := newWorld(t)
	w.during(migration.ActivityCopySnapshot, 1, func() { w.change(func() { w.indices = w.indices[:1] }) })
	w.usualRequests()
	w.env.ExecuteWorkflow(Migration, inputOf(t, planJSON), nil)
	require.NoError(t, w.env.GetWorkflowError())
	var report migration.Report
	require.NoError(t, w.env.GetWorkflowResult(&report))
	require.Len(t, report.Warnings, 1)
	require.Contains(t, report.Warnings[0], "no longer on the source, and stay on the target as they were last "+
		"restored, without aliases: movies")
}

func TestContinueAsNewCarriesEverything(t *testing.T) {
	w := newWorld(t)
	w.env.SetContinueAsNewSuggested(true)
	w.during(migration.ActivityOpenTarget, 1, func() {
		// The freeze arrives in the last moment of this run.
		w.env.SignalWorkflow(string(migration.RequestFreeze), migration.RequestInput{By: "ann"})
	})
	w.env.ExecuteWorkflow(Migration, inputOf(t, planJSON), nil)
	var next *workflow.ContinueAsNewError
	require.True(t, errors.As(w.env.GetWorkflowError(), &next), "%v", w.env.GetWorkflowError())
	require.Equal(t, migration.WorkflowType, next.WorkflowType.Name)

	carried := carriedIn(t, next)
	require.True(t, carried.FreezeRequested)
	require.Equal(t, migration.PhaseRounds, carried.Phase)
	require.Len(t, carried.Rounds, 1)
	require.Equal(t, 1, carried.RoundNumber)
	require.Equal(t, "uuid-movies-r0000-a1", carried.Published.UUID)

	second := newWorld(t)
	second.registered, second.published, second.generation = true, carried.Published.UUID, carried.Published.Generation
	second.at(time.Hour, migration.RequestCutover)
	second.continuedWith(carried)
	report := second.completed()
	require.Len(t, report.Rounds, 2)
	require.Equal(t, "ann", report.Decisions[0].By)
	require.Zero(t, second.called(migration.ActivityPreflight), "a new run goes on where the last one stood")
}

func TestWebhookGetsTheReportAndCannotHoldTheEndBack(t *testing.T) {
	plan := planJSON[:len(planJSON)-2] + `, "cutover": {"webhook": {"url": "https://example.com/hook"}}}`
	t.Run("called", func(t *testing.T) {
		w := newWorld(t)
		w.usualRequests()
		w.env.ExecuteWorkflow(Migration, inputOf(t, plan), nil)
		w.completed()
		require.Len(t, w.webhook, 1)
		require.Equal(t, migration.ResultCompleted, w.webhook[0].Result)
	})
	t.Run("refused", func(t *testing.T) {
		w := newWorld(t)
		w.usualRequests()
		w.fails(migration.ActivityCallWebhook, 1, migration.ErrorWebhook)
		w.env.ExecuteWorkflow(Migration, inputOf(t, plan), nil)
		require.Contains(t, w.completed().Warnings[0], "could not call the webhook")
	})
}

func TestInvalidPlans(t *testing.T) {
	for name, test := range map[string]struct{ input, says string }{
		"none":          {`null`, "no plan was given"},
		"not an object": {`[1]`, "must be an object"},
		"unknown field": {
			planJSON[:len(planJSON)-2] + `, "verfy": {}}`,
			"verfy is not a field of a plan; did you mean verify?",
		},
		"wrong type": {
			planJSON[:len(planJSON)-2] + `, "copy": {"concurrency": "many"}}`,
			`copy.concurrency ("many") must be a whole number; for example concurrency: 64`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.env.ExecuteWorkflow(Migration, inputOf(t, test.input), nil)
			var failure *temporal.ApplicationError
			require.True(t, errors.As(w.env.GetWorkflowError(), &failure))
			require.Equal(t, string(migration.ErrorInvalidPlan), failure.Type())
			require.Contains(t, failure.Message(), test.says)
			require.Empty(t, w.calls)
		})
	}
}
