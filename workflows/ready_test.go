package workflows

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// with adds fields to the plan of a world: an object's text without braces.
func (w *world) with(fields string) {
	w.plan = strings.Replace(w.plan, `"indices"`, fields+`, "indices"`, 1)
}

func (w *world) withFreeze(fields string) {
	w.plan = strings.Replace(w.plan, `"maxDuration": "2h"`, `"maxDuration": "2h", `+fields, 1)
}

func kinds(report migration.Report) (kinds []string) {
	for _, round := range report.Rounds {
		kinds = append(kinds, round.Kind)
	}
	return kinds
}

func TestAHotRoundRunsWhenMuchWasWritten(t *testing.T) {
	for name, test := range map[string]struct {
		freeze string
		hot    bool
	}{
		"always":                {`"hotRound": "always"`, true},
		"never":                 {`"hotRound": "never"`, false},
		"auto, little to carry": {`"hotRound": "auto"`, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.withFreeze(test.freeze)
			w.usualRequests()
			w.run()
			want := []string{migration.RoundBaseline, migration.RoundIncremental, migration.RoundFinal}
			if test.hot {
				want = []string{
					migration.RoundBaseline, migration.RoundIncremental, migration.RoundHot,
					migration.RoundFinal,
				}
			}
			report := w.completed()
			require.Equal(t, want, kinds(report))
			require.Len(t, w.slots, 1)
		})
	}
}

func TestAutoMeansWhatCarryingIsPredictedToTake(t *testing.T) {
	m := &run{plan: migration.Plan{Freeze: migration.Freeze{
		HotRound:      migration.HotRoundAuto,
		HotRoundAbove: migration.Duration(10 * time.Second),
	}}}
	m.Prediction = &migration.Prediction{
		BlockMillis: 9000, SnapshotMillis: 6000, CopyMillis: 1000, RestoreMillis: 3000,
		VerifyMillis: 9000,
	}
	require.False(t, m.wantsHotRound(m.plan.Freeze), "block and verification stay as they are")
	m.Prediction.RestoreMillis++
	require.True(t, m.wantsHotRound(m.plan.Freeze))
}

func TestThrottlesAreLiftedToMeasureAndForTheWindow(t *testing.T) {
	w := newWorld(t)
	var standing []string
	w.after[migration.ActivityTakeSnapshot] = func(int) {
		w.change(func() { standing = append(standing, string(w.throttles.Snapshot)) })
	}
	w.at(16*time.Minute, migration.RequestRound)
	w.usualRequests()
	w.run()
	report := w.completed()
	require.Equal(t, []string{"", "4gb", "", "4gb"}, standing,
		"baseline, the round that measures, another, the final one")
	for i, round := range report.Rounds {
		require.Equal(t, standing[i] == "4gb", round.Lifted)
	}
	require.Equal(t, 1, w.called(migration.ActivityReadThrottles))
	require.Equal(t, 1, w.called(migration.ActivityRestoreThrottles))

	w = newWorld(t)
	w.with(
		`"throttles": {"rounds": {"snapshot": "10mb"}, "window": {"snapshot": "keep", "restore": "keep", "recovery": "keep"}}`)
	standing = nil
	w.after[migration.ActivityTakeSnapshot] = func(int) {
		w.change(func() { standing = append(standing, string(w.throttles.Snapshot)) })
	}
	w.usualRequests()
	w.run()
	w.completed()
	require.Equal(t, []string{"10mb", "10mb", "10mb"}, standing)
}

// Wherever it ends, the throttles are those that were found: the world checks it.
func TestThrottlesComeBack(t *testing.T) {
	for _, activity := range []string{
		migration.ActivitySetThrottles, migration.ActivityAwaitFreeSlot,
		migration.ActivityBlockSource, migration.ActivityVerifyTarget,
	} {
		t.Run("abort in "+activity, func(t *testing.T) {
			w := newWorld(t)
			w.usualRequests()
			w.during(activity, 1, func() { w.env.SignalWorkflow(string(migration.RequestAbort), nil) })
			w.run()
			w.aborted()
			require.Equal(t, 1, w.called(migration.ActivityRestoreThrottles))
		})
		t.Run("cancel in "+activity, func(t *testing.T) {
			w := newWorld(t)
			w.usualRequests()
			w.during(activity, 1, func() { w.env.CancelWorkflow() })
			w.run()
			require.Error(t, w.env.GetWorkflowError())
			w.untouched()
		})
	}
	t.Run("dead man's switch", func(t *testing.T) {
		w := newWorld(t)
		w.at(20*time.Minute, migration.RequestFreeze)
		w.env.RegisterDelayedCallback(func() {
			require.Equal(t, migration.PhaseRounds, w.status().Phase)
			w.untouched()
		}, 3*time.Hour)
		w.at(4*time.Hour, migration.RequestAbort)
		w.run()
		w.aborted()
	})
	t.Run("they can't be restored", func(t *testing.T) {
		w := newWorld(t)
		w.fails(migration.ActivityRestoreThrottles, 1000, migration.ErrorUnauthorized)
		w.usualRequests()
		w.run()
		require.NoError(t, w.env.GetWorkflowError())
		var report migration.Report
		require.NoError(t, w.env.GetWorkflowResult(&report))
		require.Contains(t, strings.Join(report.Warnings, "|"),
			"throttles are restored. Set them to what was found: max_snapshot_bytes_per_sec 20mb on the source's "+
				"repository, max_restore_bytes_per_sec unset")
	})
}

func TestTheBlockWaitsForAFreeSlot(t *testing.T) {
	w := newWorld(t)
	w.slot = migration.FreeSlot{Obstacles: []string{"cs-automated-1 runs on the source"}}
	w.on[migration.ActivityAwaitFreeSlot] = func(n int) error {
		if n < 3 {
			return errors.New("no answer")
		}
		return nil
	}
	w.usualRequests()
	w.run()
	report := w.completed()
	require.Contains(t, strings.Join(report.Warnings, "|"),
		"another snapshot may delay the final round: cs-automated-1 runs on the source")
	require.Len(t, w.slots, 1)
	require.Positive(t, w.slots[0].PredictedWindowMillis)
	began := report.Decisions[0].AtMillis
	require.Equal(t, began+time.Hour.Milliseconds(), w.slots[0].DeadlineMillis,
		"an attempt after a crash does not begin the wait again")
	require.Less(t, 0, w.called(migration.ActivityBlockSource))
}

func TestRoundsUntilTheWindowIsShortEnough(t *testing.T) {
	w := newWorld(t)
	w.with(`"rounds": {"interval": "15m", "until": {"window": "60s"}}`)
	w.plan = strings.Replace(w.plan, `"rounds": {"interval": "15m"},`, "", 1)
	w.withFreeze(`"auto": true`)
	w.at(time.Hour, migration.RequestCutover)
	w.run()
	report := w.completed()
	require.Equal(t, []string{migration.RoundBaseline, migration.RoundIncremental, migration.RoundFinal}, kinds(report),
		"the first round is close enough")
	require.Equal(t, "freeze.auto", report.Decisions[0].By)
	require.NotNil(t, report.Prediction)
	require.Less(t, report.EndedMillis-report.StartedMillis, (2 * time.Hour).Milliseconds())
}

func TestThePredictionIsShown(t *testing.T) {
	w := newWorld(t)
	w.written = 100
	w.usualRequests()
	var before *migration.Prediction
	w.during(migration.ActivityReadSourceBlocks, 1, func() { before = w.status().Prediction })
	w.run()
	report := w.completed()
	require.NotNil(t, before)
	require.Equal(t, before, report.Prediction)
	require.Positive(t, before.Writes)
	require.Positive(t, before.DeltaBytes)
	require.Equal(t, int64(200), report.Rounds[1].Writes, "two indices were written since the baseline's snapshot")
	require.Equal(t, before.BlockMillis+before.CarryMillis()+before.VerifyMillis, before.Millis)
}

// The baseline knows of no writes, so what it predicts is no measure of progress: the first round
// after it never ends the convergence by having grown.
func TestConvergenceIsJudgedFromTheSecondRoundOn(t *testing.T) {
	m := &run{plan: migration.Plan{Rounds: migration.Rounds{Until: migration.Until{Window: migration.Duration(
		time.Minute)}}}}
	env := newEnvironment(t)
	env.ExecuteWorkflow(func(ctx workflow.Context) error {
		m.work, m.root = ctx, ctx
		for number, seconds := range []int64{60, 300, 290} {
			round := migration.Round{
				Number: number, Kind: migration.RoundIncremental, SnapshotMillis: seconds * 1000,
				RestoreMillis: seconds * 1000,
				Writes:        1000, BytesCopied: 1 << 30, StartTimeMillis: int64(number+1) * 1000,
			}
			m.Rounds = append(m.Rounds, round)
			m.planNextRound()
			require.Equal(t, number == 2, m.CloseEnough, "after round %d: %d ms", number, m.Prediction.Millis)
		}
		return nil
	})
	require.NoError(t, env.GetWorkflowError())
}
