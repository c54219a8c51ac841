package workflows

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// permanentError is one that no retry fixes.
func permanentError(errorType migration.ErrorType) error {
	return temporal.NewApplicationErrorWithOptions("it failed", string(errorType),
		temporal.ApplicationErrorOptions{NonRetryable: true})
}

// took are the names of the indices that each round's restore took.
func (w *world) took() [][]string {
	var names [][]string
	for _, r := range w.restores {
		names = append(names, migration.IndexNames(r.Indices))
	}
	return names
}

func TestARoundTakesOnlyWhatChanged(t *testing.T) {
	w := newWorld(t)
	w.still("catalog")
	w.during(migration.ActivityTakeSnapshot, 2, func() {
		w.change(func() { w.idle["catalog"] = false }) // it is written after the round has looked
	})
	w.usualRequests()
	w.run()
	report := w.completed()
	all, movies := []string{"catalog", "movies"}, []string{"movies"}
	require.Equal(t, [][]string{all, movies, all}, w.took())
	for i, r := range w.taken {
		require.Equal(t, w.took()[i], r.Indices)
	}
	require.Equal(t, movies, w.closes[1].Indices)
	require.Contains(t, w.closes[1].Expected, "catalog", "the counters of what is skipped stay known")

	require.Equal(t, map[migration.Reason]int{migration.ReasonFull: 2}, report.Rounds[0].Taken)
	round := report.Rounds[1]
	require.Equal(t, map[migration.Reason]int{migration.ReasonWritten: 1}, round.Taken)
	require.Equal(t, 1, round.Skipped)
	require.Equal(t, 2, round.Indices)
	require.Equal(t, int64(14), round.Docs, "of all indices")
}

// No index changed: to Elasticsearch, an empty list of indices would mean all of them.
func TestARoundAndAWindowThatTakeNothing(t *testing.T) {
	w := newWorld(t)
	w.still("catalog", "movies")
	w.usualRequests()
	w.run()
	report := w.completed()
	require.Len(t, w.took(), 1, "the baseline's")
	for _, activity := range []string{
		migration.ActivityTakeSnapshot, migration.ActivityCopySnapshot, migration.ActivityCloseTarget,
		migration.ActivityRestoreSnapshot, migration.ActivityOpenTarget,
	} {
		require.Equal(t, 1, w.called(activity), activity)
	}
	require.Equal(t, 1, w.called(migration.ActivityVerifyTarget), "all indices are verified")
	last := report.Rounds[len(report.Rounds)-1]
	require.Equal(t, migration.RoundFinal, last.Kind)
	require.Empty(t, last.Snapshot)
	require.Empty(t, last.Taken)
	require.Equal(t, 2, last.Skipped)
	require.Positive(t, last.StartTimeMillis)
	require.Zero(t, report.FrozenWindow.SnapshotMillis+report.FrozenWindow.CopyMillis+report.FrozenWindow.RestoreMillis)
	require.Equal(t, 1, w.called(migration.ActivityTryHandover), "nothing was restored since the trial")
}

// The standstill finds what takes part in the final round, so that no other activity is needed.
func TestTheWindowAsksForNothingMore(t *testing.T) {
	w := newWorld(t)
	w.still("catalog")
	asked := 0
	w.on[migration.ActivityFindChanged] = func(int) error {
		assert.False(t, w.isBlocked())
		asked++
		return nil
	}
	w.usualRequests()
	w.run()
	w.completed()
	require.Equal(t, len(w.asked)-1, asked)
	require.NotEmpty(t, w.asked[len(w.asked)-1].Restored)
	require.NotEmpty(t, w.asked[len(w.asked)-1].Expected)
}

// The attempt with another snapshot looks again: the marks of the first may be old.
func TestAnotherAttemptLooksAgain(t *testing.T) {
	w := newWorld(t)
	w.still("catalog")
	w.on[migration.ActivityCopySnapshot] = func(n int) error {
		if n == 2 {
			return permanentError(migration.ErrorSnapshotUnusable)
		}
		return nil
	}
	w.at(17*time.Minute, migration.RequestRetry)
	w.usualRequests()
	w.run()
	w.completed()
	require.Equal(t, []string{"movies-r0000-a1", "movies-r0001-a1", "movies-r0001-a2", "movies-r0002-a1"}, w.snapshots)
	require.Len(t, w.asked, 4)
}

// A restore that was begun and whose end nobody saw: what the target holds is not known.
func TestARestoreInDoubtIsTakenAgain(t *testing.T) {
	w := newWorld(t)
	w.still("catalog")
	w.plan = strings.Replace(planJSON, `"2h"`, `"10m"`, 1)
	w.on[migration.ActivityRestoreSnapshot] = func(n int) error {
		if n == 3 { // the final round's: the window ends without it
			return permanentError(migration.ErrorRestoreFailed)
		}
		return nil
	}
	w.at(20*time.Minute, migration.RequestFreeze)
	w.at(40*time.Minute, migration.RequestRound)
	w.at(50*time.Minute, migration.RequestFreeze)
	w.at(55*time.Minute, migration.RequestCutover)
	w.run()
	w.completed()
	var doubted []int
	for i, r := range w.asked[1:] {
		require.Contains(t, r.Restored, "catalog")
		if _, known := r.Restored["movies"]; !known {
			doubted = append(doubted, i+1)
		}
	}
	require.Len(t, doubted, 1, "the next restore has ended")
	after := w.answered[doubted[0]]
	require.Contains(t, after.Because,
		migration.TakenBecause{Reason: migration.ReasonUnknown, Indices: 1, First: []string{"movies"}})
	require.Equal(t, 1, after.Skipped, "catalog")
}

func TestEveryNthRoundTakesAll(t *testing.T) {
	w := newWorld(t)
	w.still("catalog", "movies")
	w.plan = strings.Replace(planJSON, `{"interval": "15m"}`, `{"interval": "15m", "fullEvery": 2}`, 1)
	w.at(50*time.Minute, migration.RequestFreeze)
	w.at(60*time.Minute, migration.RequestCutover)
	w.run()
	report := w.completed()
	require.Len(t, report.Rounds, 5)
	full := map[migration.Reason]int{migration.ReasonFull: 2}
	for i, taken := range []map[migration.Reason]int{full, nil, full, nil, nil} {
		require.Equal(t, taken, report.Rounds[i].Taken, "round %d; the final one never takes all", i)
	}
}

// What left the source is cleared in a round that takes nothing, too.
func TestWhatLeftIsClearedInARoundThatTakesNothing(t *testing.T) {
	w := newWorld(t)
	w.still("catalog", "movies")
	w.leaves()
	w.usualRequests()
	w.finished()
	require.Len(t, w.clears, 1)
	require.Equal(t, []string{"catalog"}, migration.IndexNames(w.clears[0].Indices))
	require.Len(t, w.took(), 1)
}

// The target lost what was restored: it is restored again, although the source hasn't changed.
func TestWhatTheTargetLostTakesPart(t *testing.T) {
	w := newWorld(t)
	w.still("catalog", "movies")
	w.during(migration.ActivityTakeSnapshot, 1, func() {
		w.change(func() { w.spoilt = map[string]bool{"movies": true} })
	})
	w.during(migration.ActivityRestoreSnapshot, 2, func() { w.change(func() { w.spoilt = nil }) })
	w.usualRequests()
	w.run()
	report := w.completed()
	require.Equal(t, [][]string{{"catalog", "movies"}, {"movies"}}, w.took())
	require.Equal(t, map[migration.Reason]int{migration.ReasonTarget: 1}, report.Rounds[1].Taken)
}

// Only what was restored since is tried.
func TestTheTrialIsOfWhatWasRestored(t *testing.T) {
	w := newWorld(t)
	w.still("catalog")
	w.usualRequests()
	w.run()
	w.completed()
	var tried [][]string
	for _, r := range w.trials {
		tried = append(tried, r.Indices)
	}
	require.Equal(t, [][]string{{"catalog", "movies"}, {"movies"}}, tried)
}

// A run that continues one of an older shape knows no marks: everything takes part, once.
func TestARunWithoutMarksTakesAllOnce(t *testing.T) {
	w := newWorld(t)
	w.still("catalog", "movies")
	w.registered, w.published, w.generation = true, "uuid-old", 3
	now := w.env.Now().UnixMilli()
	w.at(20*time.Minute, migration.RequestFreeze)
	w.at(30*time.Minute, migration.RequestCutover)
	w.continuedWith(Carried{
		Token: "t0ken", StartedMillis: now, Phase: migration.PhaseRounds, PlanResolved: false,
		roundLog: roundLog{Rounds: []migration.Round{{Kind: migration.RoundBaseline}}, RoundNumber: 1},
		targetState: targetState{
			Registered: true, Published: &published{UUID: "uuid-old", Generation: 3},
			counters: counters{Counters: migration.WriteCounters{
				"catalog": {UUID: "u-catalog", Docs: 7}, "movies": {UUID: "u-movies", Docs: 7},
			}},
		},
	})
	w.completed()
	require.Equal(t, [][]string{{"catalog", "movies"}}, w.took())
}

// Runs of older shapes ask for nothing new.
func TestOlderShapesTakeAll(t *testing.T) {
	for _, older := range []shape{shapeFirst, shapeGuarded} {
		w := newWorld(t)
		w.still("catalog", "movies")
		w.env.OnGetVersion("shape", workflow.Version(shapeFirst),
			workflow.Version(newestShape)).Return(workflow.Version(older))
		w.usualRequests()
		w.run()
		report := w.completed()
		require.Empty(t, w.asked, "shape %d", older)
		require.Len(t, w.took(), len(report.Rounds))
		require.Empty(t, report.Rounds[1].Taken)
	}
}

// 10,000 indices of 10 shards with names of 100 bytes: the converter of the tests refuses payloads
// that are too large.
func TestManyIndicesOfWhichFewTakePart(t *testing.T) {
	w := newWorld(t)
	list, names := manyIndices(10_000)
	w.stores(list, names[:20])
	w.usualRequests()
	report := w.finished()
	require.Len(t, w.restores, len(report.Rounds))
	require.Equal(t, list.Of(), w.restores[0].IndicesOf)
	for i, r := range w.restores[1:] {
		require.Len(t, r.Indices, 20, "round %d", i+1)
		require.True(t, r.IndicesOf.IsZero())
	}
	require.Equal(t, 9980, report.Rounds[1].Skipped)
	require.Equal(t, 10_000, report.Rounds[1].Indices)
	require.Equal(t, int64(70_000), report.Rounds[1].Docs)
	for _, r := range w.asked {
		require.Equal(t, list.Of(), r.IndicesOf)
		require.Empty(t, r.Restored)
	}
	require.False(t, w.asked[len(w.asked)-1].RestoredOf.IsZero())
	for _, r := range w.opens[1:] {
		require.Len(t, r.Indices, 20)
		require.Equal(t, list.Of(), r.AllOf)
	}
}

// manyIndices is a list of which the workflow sees only what stands for it, and its names.
func manyIndices(many int) (migration.IndexList, []migration.Index) {
	indices := make([]migration.Index, many)
	for i := range indices {
		name := fmt.Sprintf("log-%05d-", i)
		indices[i] = migration.Index{
			Name: name + strings.Repeat("n", 100-len(name)), UUID: fmt.Sprintf("%022d", i), Shards: 10, Docs: 7,
		}
	}
	return migration.IndexList{About: &migration.AboutIndices{
		IndicesOf: migration.Stored[[]migration.Index]{Digest: strings.Repeat("a", 64), Entries: many},
		Count:     many, Shards: int64(10 * many), Docs: int64(7 * many), Identity: migration.IdentityOf(indices),
		First:     indices[:migration.StatusIndices],
		CountedOf: migration.Stored[map[string]int64]{Digest: strings.Repeat("b", 64), Entries: many},
	}}, indices
}
