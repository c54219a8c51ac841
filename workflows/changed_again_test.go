package workflows

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"

	"github.com/snapferry/snapferry/migration"
)

// A run that was reset finds the snapshots of the run before. They are older than the marks that it
// reads, so it takes others, and nobody has to send retry.
func TestSnapshotsOfARunThatWasResetAreNotUsed(t *testing.T) {
	w := newWorld(t)
	w.earlier = []string{"movies-r0001-a1", "movies-r0001-a2", "movies-r0002-a1"}
	w.usualRequests()
	w.run()
	w.completed()
	require.Equal(t, []string{"movies-r0000-a1", "movies-r0001-a3", "movies-r0002-a2"}, w.snapshots)
	require.Equal(t, w.snapshots, w.restored)
	require.Len(t, w.asked, 6, "each attempt looks again")
}

func TestSnapshotsOfGroupsOfARunThatWasResetAreNotUsed(t *testing.T) {
	w := newWorld(t)
	inGroups(w, 2)
	w.earlier = []string{"movies-r0002-g1-a1", "movies-r0002-g2-a2"}
	w.run()
	w.completed()
	groups := slices.Clone(w.snapshots[2:])
	slices.Sort(groups)
	require.Equal(t, []string{"movies-r0002-g1-a3", "movies-r0002-g2-a4"}, groups)
}

// Such a snapshot may still run, and an abort stops it, also once the groups have ended.
func TestAnAbortStopsSnapshotsOfGroupsThatNobodyKnows(t *testing.T) {
	w := newWorld(t)
	inGroups(w, 2)
	w.earlier = []string{"movies-r0002-g1-a1"}
	w.during(migration.ActivityVerifyTarget, 1, func() { w.env.SignalWorkflow(string(migration.RequestAbort), nil) })
	w.run()
	w.aborted()
	require.Equal(t, w.earlier, w.stopped)
}

// A step that is repeated asks for its own snapshot once more: it may be there.
func TestAStepThatIsRepeatedAdoptsItsSnapshot(t *testing.T) {
	w := newWorld(t)
	w.fails(migration.ActivityTakeSnapshot, 1, migration.ErrorUnauthorized)
	w.usualRequests()
	w.at(time.Minute, migration.RequestRetry)
	w.run()
	w.completed()
	require.Equal(t, "movies-r0000-a1", w.taken[0].Snapshot)
	require.False(t, w.taken[0].New)
	require.True(t, w.taken[1].New)
}

// What closes the target ahead of the restores must have ended before the freeze begins again: it
// might close what the next attempt has restored.
func TestGroupsThatEndWaitForWhatClosesTheTarget(t *testing.T) {
	w := newWorld(t)
	w.indices = append(w.indices, migration.Index{Name: "catalog-2", Shards: 1, Docs: 9})
	inGroups(w, 3)
	var g gates
	var failed, closed atomic.Int32
	w.on[migration.ActivityCopySnapshot] = func(n int) error {
		if n < 3 || n > 5 { // those of the groups
			return nil
		}
		if failed.Add(1) == 3 {
			w.change(func() {
				w.indices = slices.DeleteFunc(slices.Clone(w.indices), func(i migration.Index) bool {
					return i.Name == "catalog-2"
				})
			})
		}
		return failing(migration.ErrorMissing)
	}
	w.env.SetOnActivityCompletedListener(func(info *activity.Info, _ converter.EncodedValue, _ error) {
		if info.ActivityType.Name == migration.ActivityResolveIndices && failed.Load() == 3 && closed.Add(1) == 1 {
			close(g.gate("an index is missing"))
		}
	})
	w.on[migration.ActivityCloseTarget] = func(n int) error {
		if n != 3 {
			return nil
		}
		<-g.gate("an index is missing")
		for range 3 { // the workflow makes of it what it can
			w.inLoop(func() { require.Equal(t, migration.PhaseFinalRound, w.status().Phase) })
		}
		return nil
	}
	w.run()
	require.NoError(t, w.env.GetWorkflowError())
	require.NotZero(t, closed.Load())
}

// A group's snapshot that was given up may still run when the next group's begins: an abort stops
// both.
func TestAnAbortStopsTheSnapshotsOfAllGroups(t *testing.T) {
	w := newWorld(t)
	inGroups(w, 2)
	w.on[migration.ActivityTakeSnapshot] = func(n int) error {
		if n == 3 {
			return failing(migration.ErrorUnauthorized) // the answer: the snapshot itself may run
		}
		return nil
	}
	w.during(migration.ActivityTakeSnapshot, 4, func() { w.env.SignalWorkflow(string(migration.RequestAbort), nil) })
	w.run()
	w.aborted()
	require.ElementsMatch(t, []string{"movies-r0002-g1-a1", "movies-r0002-g2-a2"}, w.stopped)
}

// The write index of an alias moved from an index of one group to one of another. The target refuses
// the second until the first is restored. That needs no person, and no other snapshot.
func TestAGroupThatNeedsAnotherOneIsRestoredAfterIt(t *testing.T) {
	w := newWorld(t)
	inGroups(w, 2)
	w.on[migration.ActivityRestoreSnapshot] = func(n int) error {
		if n == 3 {
			return failing(migration.ErrorSnapshotFailed)
		}
		return nil
	}
	w.run()
	w.completed()
	require.Equal(t, []string{"movies-r0002-g2-a2", "movies-r0002-g1-a1"}, w.restored[2:])
}

// The index from which it moved takes no part in the round: with another snapshot it does.
func TestARestoreThatNeedsAnotherIndexBeginsTheRoundAgain(t *testing.T) {
	for name, groups := range map[string]int{"in one": 1, "in groups": 2} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			inGroups(w, groups)
			failures := 0
			w.on[migration.ActivityRestoreSnapshot] = func(n int) error {
				if n >= 3 && failures < groups {
					failures++
					return failing(migration.ErrorSnapshotFailed)
				}
				if groups > 1 && n == 5 {
					return failing(migration.ErrorSnapshotFailed)
				}
				return nil
			}
			w.at(25*time.Minute, migration.RequestRetry)
			w.at(26*time.Minute, migration.RequestRetry)
			w.run()
			report := w.completed()
			require.Greater(t, len(w.asked), 3, "the marks are read again")
			require.Len(t, report.Rounds, 3)
		})
	}
}
