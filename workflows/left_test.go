package workflows

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

// registerLeft stands in for what keeps the target to what the source has.
func (w *world) registerLeft() {
	register(w, migration.ActivityClearTarget, func(r migration.ClearRequest) (migration.ClearResult, error) {
		assert.False(w.t, w.targetWritable, "a handed over target is cleared")
		w.clears = append(w.clears, r)
		return w.cleared, nil
	})
	register(w, migration.ActivityTryDefinitions, func(migration.Run) (migration.TryResult, error) {
		assert.Empty(w.t, w.snapshots, "definitions are tried after something was copied")
		return migration.TryResult{Tried: 2, Warnings: w.tried}, nil
	})
	register(w, migration.ActivityCheckDependencies, func(migration.Run) (any, error) {
		assert.False(w.t, w.blocked, "pipelines are looked for while writes are blocked")
		return nil, nil
	})
}

// leaves has the index movies leave the source after the baseline's snapshot.
func (w *world) leaves() {
	w.during(migration.ActivityCopySnapshot, 1, func() { w.change(func() { w.indices = w.indices[:1] }) })
}

// finished runs the workflow to its end, with however many indices.
func (w *world) finished() migration.Report {
	w.env.ExecuteWorkflow(Migration, inputOf(w.t, w.plan), nil)
	require.NoError(w.t, w.env.GetWorkflowError())
	var report migration.Report
	require.NoError(w.t, w.env.GetWorkflowResult(&report))
	return report
}

func TestWhatLeftTheSourceIsClearedOnceAndBeforeTheRestore(t *testing.T) {
	w := newWorld(t)
	w.leaves()
	w.on[migration.ActivityClearTarget] = func(int) error {
		assert.Equal(t, 1, w.called(migration.ActivityRestoreSnapshot), "it comes before the restore of its round")
		assert.Equal(t, 1, w.called(migration.ActivityCloseTarget))
		return nil
	}
	w.cleared.Warnings = []string{"films was removed"}
	w.usualRequests()
	report := w.finished()
	require.Len(t, w.clears, 1, "the window doesn't do it again")
	require.Equal(t, []string{"catalog"}, migration.IndexNames(w.clears[0].Indices))
	require.Equal(t, migration.Counter{UUID: "u-movies", Docs: 7}, w.clears[0].Expected["movies"])
	require.Equal(t, []string{
		"films was removed",
		"these indices are no longer on the source, and stay on the target as they were last restored, without " +
			"aliases: movies",
	}, report.Warnings)
}

func TestWhatThePlanHadDeletedIsForgotten(t *testing.T) {
	w := newWorld(t)
	w.plan = strings.Replace(planJSON, `"freeze"`, `"restore": {"deletedIndices": "delete"}, "freeze"`, 1)
	w.leaves()
	w.cleared = migration.ClearResult{
		Deleted: 1, Counters: migration.WriteCounters{"catalog": {UUID: "u-catalog", Docs: 7}},
		Warnings: []string{"movies was deleted"},
	}
	w.usualRequests()
	report := w.finished()
	require.Len(t, w.clears, 1)
	require.Equal(t, migration.DeletedRemoved, w.clears[0].Plan.Restore.DeletedIndices)
	require.Equal(t, []string{"movies was deleted"}, report.Warnings)
	for _, remains := range report.Remains {
		require.NotContains(t, remains, "no longer on the source")
	}
}

// A closed index, for example: it is asked for again, since it may be deleted later.
func TestWhatTheSourceStillHasIsAskedForAgain(t *testing.T) {
	w := newWorld(t)
	w.leaves()
	w.cleared.Back = 1
	w.usualRequests()
	report := w.finished()
	require.Equal(t, len(report.Rounds)-1, len(w.clears))
}

func TestTheTargetIsClearedForARemadeIndex(t *testing.T) {
	w := newWorld(t)
	w.indices[1].UUID = "old"
	w.during(migration.ActivityCopySnapshot, 1, func() {
		w.change(func() { w.indices[1].UUID, w.indices[1].Shards = "new", 4 })
	})
	w.usualRequests()
	w.run()
	w.completed()
	require.Len(t, w.clears, 1)
	require.Equal(t, 4, w.clears[0].Indices[1].Shards)
}

// What comes or goes inside the window: closing waits for the clearing then.
func TestTheTargetIsClearedInsideTheWindow(t *testing.T) {
	w := newWorld(t)
	w.during(migration.ActivityAwaitFreeSlot, 1, func() { w.change(func() { w.indices[1].UUID = "new" }) })
	w.on[migration.ActivityClearTarget] = func(int) error {
		assert.True(t, w.isBlocked())
		assert.Equal(t, 2, w.called(migration.ActivityCloseTarget))
		return nil
	}
	w.plan = strings.Replace(planJSON, `"maxDuration": "2h"`, `"maxDuration": "2h", "hotRound": "never"`, 1)
	w.usualRequests()
	w.run()
	w.completed()
	require.Len(t, w.clears, 1)
}

func TestWritesToACopyThatIsToGoNeedAPerson(t *testing.T) {
	w := newWorld(t)
	w.leaves()
	w.fails(migration.ActivityClearTarget, 1, migration.ErrorTargetWritten)
	w.at(18*time.Minute, migration.RequestRetry)
	w.usualRequests()
	w.finished()
	require.Len(t, w.clears, 1)
	require.True(t, w.clears[0].AcceptWrites)
}

func TestAPipelineThatIsMissingHoldsTheFreezeUp(t *testing.T) {
	w := newWorld(t)
	w.fails(migration.ActivityCheckDependencies, 1, migration.ErrorMissing)
	w.at(25*time.Minute, migration.RequestRetry)
	w.usualRequests()
	w.env.RegisterDelayedCallback(func() {
		require.Equal(t, migration.PhaseReady, w.status().Phase)
		require.False(t, w.isBlocked())
	}, 22*time.Minute)
	w.run()
	w.completed()
}

func TestWhatTheTargetCantUseIsToldBeforeTheCopy(t *testing.T) {
	w := newWorld(t)
	w.fails(migration.ActivityTryDefinitions, 1, migration.ErrorPreflight)
	w.tried = []string{"the target may refuse movies"}
	w.at(time.Minute, migration.RequestRetry)
	w.usualRequests()
	w.env.RegisterDelayedCallback(func() {
		require.Equal(t, string(migration.ErrorPreflight), w.status().Attention.Type)
		require.Zero(t, w.called(migration.ActivityRegisterRepositories))
	}, 30*time.Second)
	w.run()
	require.Equal(t, w.tried, w.completed().Warnings)
}

// It goes on, as it does after what preflight finds.
func TestARehearsalReportsWhatTheTargetCantUse(t *testing.T) {
	w := newRehearsal(t)
	w.fails(migration.ActivityTryDefinitions, 1, migration.ErrorPreflight)
	w.run()
	report := w.rehearsed()
	require.Equal(t, string(migration.ErrorPreflight), report.Rehearsal.Attention[0].Type)
	require.Empty(t, w.clears)
	require.Zero(t, w.called(migration.ActivityCheckDependencies))
}
