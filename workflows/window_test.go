package workflows

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

// The block keeps nobody from deleting an index. The freeze begins again with those that are left,
// without a person: no retry of the step would help.
func TestAnIndexThatIsDeletedInTheWindow(t *testing.T) {
	for activity, failure := range map[string]migration.ErrorType{
		migration.ActivityBlockSource:     migration.ErrorMissing,
		migration.ActivityAwaitStandstill: migration.ErrorMissing,
		migration.ActivityTakeSnapshot:    migration.ErrorSnapshotFailed,
		migration.ActivityVerifyTarget:    migration.ErrorMissing,
	} {
		t.Run(activity, func(t *testing.T) {
			w := newWorld(t)
			w.fails(activity, 1, failure)
			fail := w.on[activity]
			failed := false
			w.on[activity] = func(int) error {
				if failed || !w.isBlocked() && activity != migration.ActivityBlockSource {
					return nil
				}
				failed = true
				w.change(func() { w.indices = w.indices[1:] }) // catalog
				return fail(1)
			}
			w.at(20*time.Minute, migration.RequestFreeze)
			w.at(40*time.Minute, migration.RequestCutover)
			w.run()
			require.NoError(t, w.env.GetWorkflowError())
			var report migration.Report
			require.NoError(t, w.env.GetWorkflowResult(&report))
			require.Len(t, report.Indices, 1)
			require.Equal(t, "movies", report.Indices[0].Name)
			require.Less(t, report.FrozenWindow.Millis, time.Minute.Milliseconds())
			require.Contains(t, report.Warnings[0], "the plan's indices changed while writes were blocked (2 before, "+
				"1 after)")
		})
	}
}

// One that the plan names itself can't be done without: a person decides.
func TestWhatFailsForGoodInTheWindowParksStill(t *testing.T) {
	w := newWorld(t)
	w.fails(migration.ActivityAwaitStandstill, 1, migration.ErrorMissing)
	w.at(20*time.Minute, migration.RequestFreeze)
	w.env.RegisterDelayedCallback(func() {
		require.NotNil(t, w.status().Attention)
		w.env.SignalWorkflow(string(migration.RequestRetry), nil)
	}, 25*time.Minute)
	w.at(40*time.Minute, migration.RequestCutover)
	w.run()
	w.completed()
}

// An index that was deleted and created again has its name and not our block.
func TestAnIndexThatIsMadeAnewInTheWindowIsBlockedToo(t *testing.T) {
	w := newWorld(t)
	w.indices[0].UUID = "first"
	w.during(migration.ActivityAwaitStandstill, 1, func() {
		w.change(func() {
			w.indices[0].UUID = "second"
			delete(w.blockedNames, w.indices[0].Name)
		})
	})
	w.at(20*time.Minute, migration.RequestFreeze)
	w.at(40*time.Minute, migration.RequestCutover)
	w.run()
	w.completed()
	require.Equal(t, 2, w.called(migration.ActivityBlockSource))
	require.Equal(t, 2, w.called(migration.ActivityReadSourceBlocks))
}

// An index that isn't there for a moment comes back with our block, which must not be taken for one
// that was found: the source would keep it for ever.
func TestAnIndexThatComesBackKeepsNoBlockOfOurs(t *testing.T) {
	w := newWorld(t)
	all := w.indices
	w.during(migration.ActivityBlockSource, 1, func() { w.change(func() { w.indices = all[1:] }) })
	w.during(migration.ActivityTakeSnapshot, 3, func() { w.change(func() { w.indices = all }) })
	w.at(20*time.Minute, migration.RequestFreeze)
	w.at(40*time.Minute, migration.RequestCutover)
	w.run()
	w.completed()
	require.Equal(t, 1, w.called(migration.ActivityReadSourceBlocks))
}

// Between the verification and the cutover, somebody removes the block, updates a document and sets
// it again: every count is as it was.
func TestAWriteAfterTheVerificationIsCarriedToo(t *testing.T) {
	for name, stored := range map[string]bool{"lists": false, "stored lists": true} {
		t.Run(name, func(t *testing.T) { writeAfterTheVerification(t, stored) })
	}
}

func writeAfterTheVerification(t *testing.T, stored bool) {
	w := newWorld(t)
	w.storesStandstill = stored
	w.at(20*time.Minute, migration.RequestFreeze)
	w.env.RegisterDelayedCallback(func() {
		w.change(func() { w.mark = "another" })
		w.env.SignalWorkflow(string(migration.RequestCutover), nil)
	}, 40*time.Minute)
	w.env.RegisterDelayedCallback(func() {
		require.Equal(t, migration.PhaseAwaitCutover, w.status().Phase, "the person is asked again")
		require.False(t, w.targetWritable)
		w.env.SignalWorkflow(string(migration.RequestCutover), nil)
	}, 50*time.Minute)
	w.run()
	report := w.completed()
	require.Equal(t, []string{
		migration.RoundBaseline, migration.RoundIncremental, migration.RoundFinal,
		migration.RoundFinal,
	}, kinds(report))
	require.Contains(t, report.Warnings[0], "index movies changed on the source after it was verified")
	require.Less(t, report.FrozenWindow.Millis, time.Minute.Milliseconds(),
		"the wait for a person is no part of the window")
	require.Less(t, report.FrozenWindow.BlockMillis, time.Minute.Milliseconds())
}

// Writes stay blocked for freeze.maxDuration if nobody comes. They must not be blocked again and
// again by themselves, for the rest of the night.
func TestAutoFreezesOnce(t *testing.T) {
	w := newWorld(t)
	w.untilSixtySeconds()
	w.env.RegisterDelayedCallback(func() { require.Contains(t, w.status().Convergence(), "freezes no more") },
		23*time.Hour)
	w.at(24*time.Hour, migration.RequestFreeze) // a person may
	w.at(24*time.Hour+time.Minute, migration.RequestCutover)
	w.run()
	w.completed()
	require.Equal(t, 2, w.called(migration.ActivityBlockSource))
}

// A window that gets no shorter and is longer than the plan wants is for a person to begin.
func TestAutoFreezesOnlyAtItsAim(t *testing.T) {
	w := newWorld(t)
	w.indices[0].Docs = 100_000_000 // verification takes far longer than the aim
	w.untilSixtySeconds()
	w.env.RegisterDelayedCallback(func() {
		status := w.status()
		require.Equal(t, migration.PhaseRounds, status.Phase)
		require.Greater(t, status.Prediction.Millis, time.Minute.Milliseconds())
		require.Contains(t, status.Convergence(), "longer than rounds.until (1m)")
		w.env.SignalWorkflow(string(migration.RequestAbort), nil)
	}, 6*time.Hour)
	w.run()
	w.aborted()
	require.Zero(t, w.called(migration.ActivityBlockSource))
}

// The block is removed by the dead man's switch, whoever pauses.
func TestAPauseKeepsNoBlock(t *testing.T) {
	w := newWorld(t)
	w.fails(migration.ActivityUnblockSource, 1, migration.ErrorUnauthorized)
	w.at(20*time.Minute, migration.RequestFreeze)
	w.at(145*time.Minute, migration.RequestPause)
	w.at(146*time.Minute, migration.RequestRetry)
	w.env.RegisterDelayedCallback(func() { require.False(t, w.blocked) }, 147*time.Minute)
	w.at(5*time.Hour, migration.RequestAbort)
	w.run()
	w.aborted()
}

// Throttles that could not be put back after the dead man's switch are put back by what comes next.
func TestThrottlesAreTriedAgain(t *testing.T) {
	w := newWorld(t)
	w.fails(migration.ActivityRestoreThrottles, 1, migration.ErrorUnauthorized)
	w.at(20*time.Minute, migration.RequestFreeze)
	w.at(4*time.Hour, migration.RequestAbort)
	w.run()
	w.aborted()
}

// While the free slot was waited for, writes went on: what they make carrying take is copied before
// the block.
func TestAHotRoundFollowsALongWaitForTheSlot(t *testing.T) {
	for name, test := range map[string]struct {
		failures int // of the look, each of which is followed by a pause
		writes   int64
		hot      int
	}{"much was written": {6, 1_000_000, 1}, "little was": {6, 1, 0}, "it was short": {1, 1_000_000, 0}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.written = 1
			w.on[migration.ActivityCopySnapshot] = func(n int) error {
				if n == 2 {
					return errors.New("no answer") // or nothing would ever take time
				}
				return nil
			}
			w.on[migration.ActivityAwaitFreeSlot] = func(n int) error {
				w.change(func() { w.written = test.writes })
				if n <= test.failures {
					return errors.New("no answer")
				}
				return nil
			}
			w.usualRequests()
			w.at(2*time.Hour, migration.RequestCutover)
			w.env.ExecuteWorkflow(Migration, inputOf(t, w.plan), nil)
			var report migration.Report
			require.NoError(t, w.env.GetWorkflowResult(&report))
			hot := 0
			for _, kind := range kinds(report) {
				if kind == migration.RoundHot {
					hot++
				}
			}
			require.Equal(t, test.hot, hot)
		})
	}
}

// What is written while everything is made ready may make the window longer than the plan wants it:
// then nobody's wish is no reason to block.
func TestAutoDoesNotFreezeWhatHasGrownMeanwhile(t *testing.T) {
	w := newWorld(t)
	w.untilSixtySeconds()
	w.withFreeze(`"hotRound": "never"`)
	w.written = 1
	w.on[migration.ActivityCopySnapshot] = func(n int) error {
		if n == 2 {
			return errors.New("no answer") // or nothing would ever take time
		}
		return nil
	}
	w.after[migration.ActivityAwaitFreeSlot] = func(n int) {
		w.change(func() {
			if w.written = 1; n == 1 {
				w.written = 1_000_000
			}
			require.False(t, w.blocked)
		})
	}
	w.after[migration.ActivityTakeSnapshot] = func(n int) {
		w.change(func() { w.written = 1 })
	}
	w.at(6*time.Hour, migration.RequestAbort)
	w.run()
	report := w.aborted()
	require.Contains(t, strings.Join(report.Warnings, "|"), "freeze.auto did not freeze")
	require.GreaterOrEqual(t, w.called(migration.ActivityAwaitFreeSlot), 2, "it tries again")
}

// untilSixtySeconds has rounds follow each other until the window is predicted to take a minute,
// and freeze by themselves then.
func (w *world) untilSixtySeconds() {
	w.plan = strings.Replace(w.plan, `"rounds": {"interval": "15m"}`,
		`"rounds": {"interval": "15m", "until": {"window": "60s"}}`, 1)
	w.withFreeze(`"auto": true`)
}
