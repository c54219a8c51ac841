package workflows

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// once returns a refusal of one index, the first so many times.
func once(w *world, index string, times int) func(string) *migration.Refusal {
	asked := 0
	return func(name string) *migration.Refusal {
		if name != index {
			return nil
		}
		if asked++; asked > 2*times { // the fake asks twice
			return nil
		}
		return &migration.Refusal{
			Index: name, Setting: "index.own", Message: "unknown setting [archived.index.own]", Remedy: "Remove it.",
		}
	}
}

func all(report migration.Report) string { return strings.Join(report.Warnings, "|") }

// What the target refuses is found out before anything is blocked, in the trial after the baseline,
// and holds no rounds.
func TestTheTrialAfterTheBaselineHoldsNoRounds(t *testing.T) {
	w := newWorld(t)
	w.tries = once(w, "movies", 1)
	w.usualRequests()
	w.run()
	report := w.completed()
	require.Contains(t, all(report), "the handover would be refused now")
	require.Equal(t, 2, w.called(migration.ActivityTryHandover), "after the baseline, and after the round")
	require.Empty(t, w.restores[0].IgnoreSettings)
	require.Equal(t, []string{"index.own"}, w.restores[1].IgnoreSettings, "the next restore leaves it out")
	require.Equal(t, "index.own", report.SettingsLeftOut[0].Setting)
}

// Before the freeze a person is asked. Retry runs a round first, since what was corrected on the
// source has to reach the target.
func TestTheTrialBeforeTheFreezeParks(t *testing.T) {
	w := newWorld(t)
	w.tries = once(w, "movies", 3)
	w.usualRequests()
	w.env.RegisterDelayedCallback(func() {
		status := w.status()
		require.Equal(t, migration.PhaseReady, status.Phase)
		require.Equal(t, string(migration.ErrorHandoverTrial), status.Attention.Type)
		require.Contains(t, status.Attention.Message, "movies: unknown setting")
		require.Contains(t, status.Attention.Message, "Remove it.")
		require.Contains(t, status.Attention.Remedy, "runs a round")
		require.Zero(t, w.called(migration.ActivityBlockSource))
		w.env.SignalWorkflow(string(migration.RequestRetry), nil)
	}, 25*time.Minute)
	w.run()
	report := w.completed()
	require.Equal(t, 4, w.called(migration.ActivityTryHandover))
	require.Len(t, report.Rounds, 4, "baseline, a round, the one before the second trial, the final one")
}

// What somebody sets on the source while rounds go on is seen after the next round, and not only when
// a person wants to freeze.
func TestTheTrialAfterEachRound(t *testing.T) {
	for name, test := range map[string]struct {
		shape  shape
		trials int // until the freeze, of which there are three rounds before
	}{
		"now":                   {newestShape, 4},
		"a run of an old shape": {shapeGuarded, 2},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if test.shape != newestShape {
				w.env.OnGetVersion("shape", workflow.Version(shapeFirst), workflow.Version(newestShape)).
					Return(workflow.Version(test.shape))
			}
			w.at(50*time.Minute, migration.RequestFreeze)
			w.at(60*time.Minute, migration.RequestCutover)
			trials, checks := 0, 0
			w.on[migration.ActivityBlockSource] = func(int) error {
				trials, checks = w.called(migration.ActivityTryHandover), w.called(migration.ActivityCheckShardLimit)
				return nil
			}
			w.run()
			w.completed()
			require.Equal(t, test.trials, trials)
			require.Positive(t, checks, "the shard limit is checked before the freeze")
		})
	}
}

// A trial that can't be made holds no rounds.
func TestATrialThatFailsHoldsNoRounds(t *testing.T) {
	w := newWorld(t)
	w.usualRequests()
	w.on[migration.ActivityTryHandover] = func(n int) error {
		if n <= 2 {
			return refusal(migration.ErrorUnauthorized, "403")
		}
		return nil
	}
	w.run()
	report := w.completed()
	require.Contains(t, all(report), "403")
	require.Equal(t, 3, w.called(migration.ActivityTryHandover))
}

// An abort in the trial leaves the source as it was.
func TestAbortInTheTrial(t *testing.T) {
	w := newWorld(t)
	w.tries = once(w, "movies", 100)
	w.at(20*time.Minute, migration.RequestFreeze)
	w.at(25*time.Minute, migration.RequestAbort)
	w.run()
	w.aborted()
	require.Zero(t, w.called(migration.ActivityBlockSource))
}

// A setting that appears after the trial is tried in the window, and only then.
func TestTheTrialInTheWindow(t *testing.T) {
	w := newWorld(t)
	w.usualRequests()
	w.on[migration.ActivityBlockSource] = func(int) error {
		w.change(func() {
			w.archived = []migration.LeftOut{{Setting: "index.late", Indices: 1, Names: []string{"movies"}}}
		})
		return nil
	}
	w.run()
	report := w.completed()
	require.Equal(t, 3, w.called(migration.ActivityTryHandover))
	require.Contains(t, all(report), "index.late")
	require.Equal(t, "index.late", report.SettingsLeftOut[0].Setting)
}

func TestTheShardLimitIsCheckedBeforeTheFreeze(t *testing.T) {
	w := newWorld(t)
	w.usualRequests()
	w.fails(migration.ActivityCheckShardLimit, 1, migration.ErrorShardLimit)
	w.env.RegisterDelayedCallback(func() {
		require.Equal(t, migration.PhaseReady, w.status().Phase)
		require.Contains(t, w.status().Attention.Remedy, "cluster.max_shards_per_node")
		require.Zero(t, w.called(migration.ActivityBlockSource))
		w.env.SignalWorkflow(string(migration.RequestRetry), nil)
	}, 25*time.Minute)
	w.run()
	w.completed()
	require.Equal(t, 4, w.called(migration.ActivityCheckShardLimit),
		"twice before the slot, once after it, once before the cutover")
}

// A person can end the cutover without an index, by name.
func TestRetryLeavesOut(t *testing.T) {
	w := newWorld(t)
	w.usualRequests()
	w.guard.unready = []migration.Refusal{{Index: "movies", Message: "unknown setting", Remedy: "Remove it."}}
	var answer outcome
	leaveOut := func(names ...string) migration.RequestInput {
		return migration.RequestInput{By: "ann", LeaveOut: names}
	}
	w.env.RegisterDelayedCallback(func() {
		status := w.status()
		require.Equal(t, migration.PhaseCutover, status.Phase)
		require.Equal(t, string(migration.ErrorHandover), status.Attention.Type)
		require.Contains(t, status.Attention.Message, "movies: unknown setting. Remove it.")
		require.NotContains(t, status.Attention.Remedy, "bort")
		require.Contains(t, status.Attention.Remedy, "--leave-out")
		w.env.SignalWorkflow(string(migration.RequestRetry), leaveOut("catalog"))
		require.NotNil(t, w.status().Attention)
		w.env.UpdateWorkflow(string(migration.RequestRetry), "u", answer.callbacks(), leaveOut("catalog", "movies"))
	}, 40*time.Minute)
	w.env.RegisterDelayedCallback(func() {
		require.ErrorContains(t, answer.rejected, "not refused: catalog")
		status := w.status()
		require.NotNil(t, status.Attention, "catalog can't be left out: it is handed over")
		require.Contains(t, status.Notes[len(status.Notes)-1].Commentary, "not refused: catalog")
		w.env.SignalWorkflow(string(migration.RequestRetry), leaveOut("movies"))
	}, 41*time.Minute)
	w.run()
	report := w.completed()
	require.Len(t, report.NotHandedOver, 1)
	require.Equal(t, "movies", report.NotHandedOver[0].Index)
	require.Contains(t, strings.Join(report.Remains, "|"), "movies")
	require.Contains(t, report.Decisions[len(report.Decisions)-1].Commentary, "without movies")
	require.Equal(t, []string{"movies"}, w.guard.leftOut)
}

// Before the cutover there is nothing to leave out.
func TestNothingIsLeftOutBeforeTheCutover(t *testing.T) {
	w := newWorld(t)
	w.usualRequests()
	w.fails(migration.ActivityTakeSnapshot, 1, migration.ErrorRefused)
	w.env.RegisterDelayedCallback(func() {
		w.env.SignalWorkflow(string(migration.RequestRetry), migration.RequestInput{LeaveOut: []string{"movies"}})
	}, time.Minute)
	w.env.RegisterDelayedCallback(func() {
		require.NotNil(t, w.status().Attention)
		w.env.SignalWorkflow(string(migration.RequestRetry), nil)
	}, 2*time.Minute)
	w.run()
	w.completed()
}

// A run that began before there was a trial hands over as it always did.
func TestAnOlderRunHandsOverAsItDid(t *testing.T) {
	w := newWorld(t)
	w.firstShape()
	w.usualRequests()
	w.fails(migration.ActivityOpenTargetForWrites, 1, migration.ErrorTargetWritten)
	w.at(40*time.Minute, migration.RequestRetry)
	w.run()
	w.completed()
	require.Len(t, w.opened, 1)
	require.Nil(t, w.opened[0].Counters, "a person accepts what was written")
	for _, name := range []string{
		migration.ActivityTryHandover, migration.ActivityCheckHandover, migration.ActivityHandOver,
		migration.ActivityCheckShardLimit,
	} {
		require.Zero(t, w.called(name), name)
	}
}

// A rehearsal tries the handover, notes what a migration would wait for, and goes on.
func TestARehearsalTriesTheHandover(t *testing.T) {
	w := newRehearsal(t)
	w.tries = once(w, "movies", 100)
	w.run()
	require.NoError(t, w.env.GetWorkflowError())
	var report migration.Report
	require.NoError(t, w.env.GetWorkflowResult(&report))
	require.Equal(t, migration.ResultRehearsed, report.Result)
	require.Empty(t, report.Rehearsal.EndedIn)
	require.Equal(t, string(migration.ErrorHandoverTrial), report.Rehearsal.Attention[0].Type)
	require.Contains(t, report.Rehearsal.Attention[0].Message, "movies")
}
