package workflows

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// A data node that dies in the middle of a snapshot needs no person: the round takes another
// snapshot, and the report tells why.
func TestAFailedSnapshotIsTakenAgainWithoutAPerson(t *testing.T) {
	w := newWorld(t)
	w.fails(migration.ActivityTakeSnapshot, len(pausesBefore), migration.ErrorSnapshotFailed)
	w.usualRequests()
	w.run()
	report := w.completed()
	require.Equal(t, []string{"movies-r0000-a4", "movies-r0001-a1", "movies-r0002-a1"}, w.snapshots)
	require.Equal(t, 4, report.Rounds[0].Attempt)
	require.Len(t, report.Failed, 3)
	for i, failed := range report.Failed {
		require.Equal(t, migration.FailedSnapshot{
			Round: 0, Attempt: i + 1, Snapshot: fmt.Sprintf("movies-r0000-a%d", i+1), AtMillis: failed.AtMillis,
			Reason: fmt.Sprintf("TakeSnapshot failed (%d)", i+1), Again: true,
		}, failed)
	}
	for i, pause := range pausesBefore[:2] {
		require.GreaterOrEqual(t, report.Failed[i+1].AtMillis-report.Failed[i].AtMillis, pause.Milliseconds())
	}
	require.Equal(t, primariesUsually.Milliseconds(), w.taken[0].PrimariesMillis, "it waits for what is missing")
	require.Zero(t, w.taken[1].PrimariesMillis, "the next round begins as any other")
	require.Len(t, report.Decisions, 2, "nobody sent retry")
}

// What fails more often needs a person, whose retry takes one more snapshot.
func TestASnapshotThatFailsAgainAndAgainNeedsAPerson(t *testing.T) {
	w := newWorld(t)
	w.fails(migration.ActivityTakeSnapshot, len(pausesBefore)+2, migration.ErrorSnapshotFailed)
	var parked []migration.Status
	for _, after := range []time.Duration{10 * time.Minute, 12 * time.Minute} {
		w.env.RegisterDelayedCallback(func() {
			parked = append(parked, w.status())
			w.env.SignalWorkflow(string(migration.RequestRetry), nil)
		}, after)
	}
	w.at(40*time.Minute, migration.RequestFreeze)
	w.at(50*time.Minute, migration.RequestCutover)
	w.run()
	report := w.completed()
	for i, status := range parked {
		require.NotNil(t, status.Attention)
		require.Equal(t, string(migration.ErrorSnapshotFailed), status.Attention.Type)
		require.Equal(t, migration.PhaseBaseline, status.Phase)
		require.Len(t, status.Failed, len(pausesBefore)+1+i)
		require.False(t, status.Failed[len(pausesBefore)+i].Again)
	}
	require.Len(t, parked, 2)
	require.Equal(t, 6, report.Rounds[0].Attempt)
	require.Len(t, report.Failed, 5)
}

// The same rule holds while writes are blocked, and so does the deadline of the window.
func TestAFailedSnapshotIsTakenAgainInTheWindow(t *testing.T) {
	for name, failures := range map[string]int{"it passes": 2, "it doesn't": 1000} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			failed := 0
			w.on[migration.ActivityTakeSnapshot] = func(int) error {
				if w.isBlocked() && failed < failures {
					failed++
					return failing(migration.ErrorSnapshotFailed)
				}
				return nil
			}
			w.at(20*time.Minute, migration.RequestFreeze)
			if failures > 3 {
				var parked, later migration.Status
				w.env.RegisterDelayedCallback(func() { parked = w.status() }, 30*time.Minute)
				w.env.RegisterDelayedCallback(func() { later = w.status() }, 170*time.Minute)
				w.at(171*time.Minute, migration.RequestAbort)
				w.run()
				w.aborted()
				require.Equal(t, string(migration.ErrorSnapshotFailed), parked.Attention.Type)
				require.Equal(t, migration.PhaseFinalRound, parked.Phase)
				require.Equal(t, 4, failed)
				require.Nil(t, later.Attention, "freeze.maxDuration is over, and the source takes writes")
				require.Contains(t, strings.Join(later.Warnings, " "), "passed without a cutover")
				require.Greater(t, len(w.restored), 2, "rounds go on")
				return
			}
			w.at(30*time.Minute, migration.RequestCutover)
			w.run()
			report := w.completed()
			require.Equal(t, "movies-r0002-a3", w.snapshots[len(w.snapshots)-1])
			require.Len(t, report.Failed, failures)
			require.Equal(t, 2, report.Failed[0].Round)
			last := w.taken[len(w.taken)-1]
			require.Equal(t, primariesFrozen.Milliseconds(), last.PrimariesMillis, "writers wait")
			require.GreaterOrEqual(t, report.FrozenWindow.Millis, pausesBefore[1].Milliseconds())
		})
	}
}

// A group whose snapshot fails is repeated when the others have ended, and nobody is asked.
func TestAGroupWhoseSnapshotFailedTakesAnother(t *testing.T) {
	w := newWorld(t)
	w.indices = append(w.indices, migration.Index{Name: "catalog-2", Shards: 1, Docs: 9})
	inGroups(w, 3)
	w.on[migration.ActivityTakeSnapshot] = func(n int) error {
		if n == 3 || n == 6 { // the first group, twice
			return failing(migration.ErrorSnapshotFailed)
		}
		return nil
	}
	w.run()
	require.NoError(t, w.env.GetWorkflowError())
	var report migration.Report
	require.NoError(t, w.env.GetWorkflowResult(&report))
	require.Equal(t, "movies-r0002-g1-a5", w.snapshots[len(w.snapshots)-1])
	require.Equal(t, 1, groupOf(w.restored[len(w.restored)-1]))
	require.Len(t, report.Failed, 2)
	require.Equal(t, "movies-r0002-g1-a1", report.Failed[0].Snapshot)
	require.Equal(t, "movies-r0002-g1-a4", report.Failed[1].Snapshot)
	require.Equal(t, []int{1, 4}, []int{report.Failed[0].Attempt, report.Failed[1].Attempt})
	require.Len(t, report.Decisions, 2, "nobody sent retry")
}

// Groups have no more attempts than a round has.
func TestAGroupWhoseSnapshotFailsAgainAndAgainNeedsAPerson(t *testing.T) {
	w := newWorld(t)
	inGroups(w, 2)
	failed := 0
	w.on[migration.ActivityTakeSnapshot] = func(n int) error {
		if n >= 3 && failed < len(pausesBefore)+1 {
			failed++
			return failing(migration.ErrorSnapshotFailed)
		}
		return nil
	}
	var parked migration.Status
	w.env.RegisterDelayedCallback(func() {
		parked = w.status()
		w.env.SignalWorkflow(string(migration.RequestRetry), nil)
	}, 25*time.Minute)
	w.run()
	report := w.completed()
	require.NotNil(t, parked.Attention)
	require.Equal(t, string(migration.ErrorSnapshotFailed), parked.Attention.Type)
	require.Len(t, parked.Failed, len(pausesBefore)+1)
	require.Len(t, report.Failed, len(pausesBefore)+1)
}

// A run of an older shape gives the commands that it gave: it asks a person at once.
func TestARunOfAnOlderShapeAsksAPersonAboutAFailedSnapshot(t *testing.T) {
	w := newWorld(t)
	w.env.OnGetVersion("shape", workflow.Version(shapeFirst), workflow.Version(newestShape)).
		Return(workflow.Version(shapeGuarded))
	w.fails(migration.ActivityTakeSnapshot, 1, migration.ErrorSnapshotFailed)
	var parked migration.Status
	w.env.RegisterDelayedCallback(func() {
		parked = w.status()
		w.env.SignalWorkflow(string(migration.RequestRetry), nil)
	}, time.Minute)
	w.usualRequests()
	w.run()
	require.Empty(t, w.completed().Failed)
	require.NotNil(t, parked.Attention)
}

func TestTheNewestFailedSnapshotsAreKept(t *testing.T) {
	var l attemptLog
	for i := range maxFailed + 3 {
		l.noteFailed(migration.FailedSnapshot{Round: i, Reason: strings.Repeat("r", 2*longestReason)})
	}
	require.Len(t, l.Failed, maxFailed)
	require.Equal(t, 3, l.FailedOmitted)
	require.Equal(t, maxFailed+2, l.Failed[maxFailed-1].Round)
	require.LessOrEqual(t, len(l.Failed[0].Reason), longestReason+5)
}
