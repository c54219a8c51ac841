package activities

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"

	"github.com/snapferry/snapferry/internal/objectstore/memory"
	"github.com/snapferry/snapferry/migration"
)

const (
	wfCompleted  = enums.WORKFLOW_EXECUTION_STATUS_COMPLETED
	wfFailed     = enums.WORKFLOW_EXECUTION_STATUS_FAILED
	wfTerminated = enums.WORKFLOW_EXECUTION_STATUS_TERMINATED
	wfRunning    = enums.WORKFLOW_EXECUTION_STATUS_RUNNING
)

var everyKind = []migration.RemainsKind{
	migration.RemainsBlocks, migration.RemainsRunning, migration.RemainsThrottles, migration.RemainsIndices,
	migration.RemainsSnapshots, migration.RemainsRepositories, migration.RemainsUploads, migration.RemainsObjects,
}

// songsFolder is the run's folder of another plan that has the same base path.
const songsFolder = "0badc0de"

// keysOf are those of a store, in order.
func keysOf(store *memory.Store) []string { return slices.Sorted(maps.Keys(store.Objects())) }

// newRun is a world after two rounds of a run that Temporal calls run-1.
func newRun(t *testing.T) (*world, migration.OpenResult) {
	w := newWorld(t)
	w.run.Token = migration.TokenOf("run-1")
	w.prepared()
	opened := w.round("movies-r0000-a1")
	for _, store := range []*memory.Store{w.inS3, w.inOSS} {
		store.Store(w.run.Token+"/index-0", []byte(`{}`))
		store.Store(w.run.Token+"/indices/a/0/__0", []byte("blob"))
		store.Store(songsFolder+"/index-0", []byte(`{"snapshots":[{"name":"songs-r0000-a1","uuid":"u"}],"indices":{}}`))
		store.Store("readme", []byte("a person's"))
	}
	return w, opened
}

func (w *world) ended(status enums.WorkflowExecutionStatus) *recordedRun {
	return w.temporal.ran(migration.WorkflowID("movies"), "run-1", status)
}

// blockedBy blocks the source as a run does, and has its history tell so.
func (w *world) blockedBy(e *recordedRun) {
	w.t.Helper()
	found := must[migration.Blocks](w, w.activities.ReadBlocks, w.request())
	e.did(migration.ActivityReadBlocks, w.request(), found)
	must[any](w, w.activities.BlockWrites, w.request())
	e.did(migration.ActivityBlockWrites, w.request(), nil)
}

func (w *world) remains(kinds ...migration.RemainsKind) migration.Remains {
	w.t.Helper()
	return w.remainsOf(migration.RemainsRequest{Plan: w.run.Plan}, kinds...)
}

// remainsOf also makes sure that looking changes nothing.
func (w *world) remainsOf(request migration.RemainsRequest, kinds ...migration.RemainsKind) migration.Remains {
	w.t.Helper()
	if len(kinds) == 0 {
		kinds = everyKind
	}
	before := w.text()
	found := must[migration.Remains](w, w.activities.FindRemains,
		migration.FindRemainsRequest{RemainsRequest: request, Kinds: kinds})
	require.Equal(w.t, before, w.text(), "to look changes nothing")
	return found
}

// remove removes kinds one after another, each twice: nothing is left to do the second time.
func (w *world) remove(request migration.RemainsRequest, kinds ...migration.RemainsKind) (all []migration.Removed) {
	w.t.Helper()
	request.Plan = w.run.Plan
	for _, kind := range kinds {
		in := migration.RemoveRemainsRequest{RemainsRequest: request, Kind: kind}
		removed := must[migration.Removed](w, w.activities.RemoveRemains, in)
		all = append(all, removed)
		if removed.LeftCount == 0 {
			require.Zero(w.t, must[migration.Removed](w, w.activities.RemoveRemains, in).Count, "%s", kind)
		}
	}
	return all
}

func (w *world) removeAll(kinds ...migration.RemainsKind) []migration.Removed {
	w.t.Helper()
	return w.remove(migration.RemainsRequest{Remove: []migration.RemainsKind{migration.RemainsAll}}, kinds...)
}

// summary is what was found, a line each.
func summary(found migration.Remains) (lines []string) {
	for _, g := range found.Found {
		lines = append(lines, fmt.Sprintf("%s %s %d %s", g.Origin, g.Kind, g.Count, strings.Join(g.Names, ",")))
	}
	slices.Sort(lines)
	return lines
}

// A migration is terminated in its window, and its guard as well.
func TestRecoverFindsWhatATerminatedRunLeft(t *testing.T) {
	w, opened := newRun(t)
	e := w.ended(wfTerminated)
	e.did(migration.ActivityOpenTarget, w.request(), opened)
	found := must[migration.ThrottlesFound](w, w.activities.ReadThrottles, w.run)
	e.did(migration.ActivityReadThrottles, w.run, found)
	raise := migration.SetThrottlesRequest{Run: w.run, Found: found, Wanted: w.run.Plan.Throttles.Window}
	must[any](w, w.activities.SetThrottles, raise)
	e.did(migration.ActivitySetThrottles, raise, nil)
	w.blockedBy(e)
	w.from.Looks = 1000
	require.NoError(t, clientOf(w, onSource).CreateSnapshot(t.Context(), w.run.RepositoryName(), "movies-r0001-a1",
		both2))
	_, err := w.inOSS.CreateUpload(t.Context(), w.run.Token+"/indices/a/0/__1", nil)
	require.NoError(t, err)

	require.Equal(t, []string{
		"ours blocks 2 catalog,movies",
		"ours indices 2 catalog,movies",
		"ours repositories 1 " + w.run.RepositoryName(),
		"ours repositories 1 " + w.run.RepositoryName(),
		"ours runningSnapshots 1 movies-r0001-a1",
		"ours throttles 1 max_restore_bytes_per_sec: 4gb",
		"ours throttles 1 max_snapshot_bytes_per_sec: 4gb",
		"ours uploads 1 " + w.run.Token + "/indices/a/0/__1",
	}, summary(w.remains(migration.RecoverKinds...)))

	removed := w.removeAll(migration.RecoverKinds...)
	for _, kind := range removed {
		require.Positive(t, kind.Count, "%+v", kind)
		require.Empty(t, kind.Left)
	}
	require.NoError(t, w.from.Index("movies", "later"))
	require.NoError(t, w.from.Index("catalog", "later"))
	require.Equal(t, "false", w.from.Setting("catalog", "index.blocks.write"), "exactly as it was found")
	require.False(t, w.to.Has("movies"))
	require.Zero(t, w.inOSS.OpenUploads())
	require.Empty(t, summary(w.remains(migration.RecoverKinds...)))
	require.NotEmpty(t, w.inOSS.Objects(), "objects are for cleanup")
}

// The limit of recoveries is the cluster's, so what stood there before must be known.
func TestTheRecoveryThrottleIsRestored(t *testing.T) {
	for name, test := range map[string]struct {
		remembered bool
		otherPlan  bool
		origin     migration.RemainsOrigin
		after      string
	}{
		"remembered":              {true, false, migration.OriginOurs, "60mb"},
		"forgotten":               {false, false, migration.OriginPerhaps, ""},
		"another run may need it": {true, true, migration.OriginPerhaps, "60mb"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.run.Token = migration.TokenOf("run-1")
			w.to.Version = "7.10.2"
			target := clientOf(w, onTarget)
			require.NoError(t, target.PutClusterSettings(t.Context(), nil, map[string]any{recoveryThrottle: "4gb"}))
			if test.remembered {
				w.ended(wfTerminated).continued(map[string]any{
					"lifted": "window",
					"throttles": migration.ThrottlesFound{
						Recovery: &migration.RecoveryFound{Transient: "60mb"},
					},
				})
			}
			if test.otherPlan {
				other := w.run
				other.Plan.Name = "songs"
				must[any](w, w.activities.RegisterRepositories, other)
			}
			found := w.remains(migration.RemainsThrottles).Found
			require.Len(t, found, 1)
			require.Equal(t, test.origin, found[0].Origin, "%+v", found[0])
			w.remove(migration.RemainsRequest{Remove: []migration.RemainsKind{migration.RemainsThrottles}},
				migration.RemainsThrottles)
			settings, err := target.ClusterSettings(t.Context())
			require.NoError(t, err)
			require.Equal(t, test.after, settings.Transient[recoveryThrottle])
		})
	}
}

// A block that nobody remembers may be a user's own: only who names it removes it.
func TestABlockThatNobodyRemembers(t *testing.T) {
	w := newWorld(t)
	must[any](w, w.activities.BlockWrites, w.request())
	require.Equal(t, []string{"perhaps blocks 2 catalog,movies"}, summary(w.remains(migration.RemainsBlocks)))

	w.removeAll(migration.RemainsBlocks)
	require.Error(t, w.from.Index("movies", "later"), "nothing is proven")

	blocks := []migration.RemainsKind{migration.RemainsBlocks}
	w.remove(migration.RemainsRequest{Remove: blocks, Indices: []string{"mov*"}}, migration.RemainsBlocks)
	require.NoError(t, w.from.Index("movies", "later"))
	require.Error(t, w.from.Index("catalog", "later"), "it was not named")

	w.remove(migration.RemainsRequest{Remove: blocks}, migration.RemainsBlocks)
	require.NoError(t, w.from.Index("catalog", "later"))
}

// The source of a completed migration stays blocked, whoever asks for blocks.
func TestASourceThatWasHandedOverStaysBlocked(t *testing.T) {
	for name, prepare := range map[string]func(*world){
		"Temporal knows that it completed": func(w *world) { w.ended(wfCompleted) },
		"it was terminated in the cutover": func(w *world) {
			e := w.ended(wfTerminated)
			w.blockedBy(e)
			e.asked(migration.ActivityOpenTargetForWrites, migration.HandoverRequest{Run: w.run})
		},
		"the guard handed over": func(w *world) {
			w.blockedBy(w.ended(wfTerminated))
			w.temporal.ran("guard/movies", "guard-1", wfFailed).asked(migration.ActivityHandOver,
				migration.HandOverRequest{Run: w.run})
		},
		"nobody knows, but the target takes writes": func(w *world) {
			for _, index := range both2 {
				removeBlock(w, onTarget, index)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := newRun(t)
			prepare(w)
			must[any](w, w.activities.BlockWrites, w.request())
			found := summary(w.remains(migration.RemainsBlocks, migration.RemainsIndices))
			require.Contains(t, found, "kept blocks 2 catalog,movies")
			require.Contains(t, found, "kept indices 2 catalog,movies")

			kinds := []migration.RemainsKind{migration.RemainsBlocks, migration.RemainsIndices}
			for _, request := range []migration.RemainsRequest{
				{Remove: kinds}, {Remove: kinds, Indices: []string{"*"}},
			} {
				require.Zero(t, w.remove(request, migration.RemainsBlocks)[0].Count)
				require.Zero(t, w.remove(request, migration.RemainsIndices)[0].Count)
			}
			require.Error(t, w.from.Index("movies", "later"))

			byName := migration.RemainsRequest{Remove: kinds, Indices: []string{"movies"}}
			require.EqualValues(t, 1, w.remove(byName, migration.RemainsBlocks)[0].Count)
			require.NoError(t, w.from.Index("movies", "later"), "a person may want exactly that")
			require.Zero(t, w.remove(byName, migration.RemainsIndices)[0].Count)
			require.True(t, w.to.Has("movies"), "the product of a migration is never deleted")
		})
	}
}

// A block that the index had before the run's is a user's own.
func TestABlockFromBeforeTheRunStays(t *testing.T) {
	w, _ := newRun(t)
	require.NoError(t, clientOf(w, onSource).BlockWrites(t.Context(), []string{"movies"}))
	w.blockedBy(w.ended(wfTerminated))
	require.Equal(t, []string{"kept blocks 1 movies", "ours blocks 1 catalog"},
		summary(w.remains(migration.RemainsBlocks)))
	for _, request := range []migration.RemainsRequest{
		{Remove: []migration.RemainsKind{migration.RemainsAll}},
		{Remove: []migration.RemainsKind{migration.RemainsBlocks}, Indices: []string{"movies"}},
	} {
		w.remove(request, migration.RemainsBlocks)
	}
	require.NoError(t, w.from.Index("catalog", "later"))
	require.Error(t, w.from.Index("movies", "later"))
}

// Our block that a later run removed, and that somebody has set since, is not ours any more.
func TestABlockIsOursUntilARunHasRemovedIt(t *testing.T) {
	w, _ := newRun(t)
	w.blockedBy(w.ended(wfTerminated))
	guard := w.temporal.ran("guard/movies", "guard-1", wfCompleted)
	guard.did(migration.ActivityUnblockSource, migration.UnblockRequest{
		Run: w.run, Indices: []migration.SourceIndex{{Name: "movies"}, {Name: "catalog"}},
	}, migration.UnblockResult{Refused: []migration.Refusal{{Index: "catalog"}}})
	require.Equal(t, []string{"ours blocks 1 catalog", "perhaps blocks 1 movies"},
		summary(w.remains(migration.RemainsBlocks)))
}

// While a run is under way nothing is left behind, and nobody may take it away.
func TestNothingIsLeftBehindWhileARunIsUnderWay(t *testing.T) {
	for _, id := range []string{"migration/movies", "rehearsal/movies", "guard/movies"} {
		w, _ := newRun(t)
		w.temporal.ran(id, "run-2", wfRunning)
		before := w.text()
		refused(w, migration.ErrorRunning, w.activities.FindRemains,
			migration.FindRemainsRequest{RemainsRequest: migration.RemainsRequest{Plan: w.run.Plan}, Kinds: everyKind},
			id+" is running")
		for _, kind := range everyKind {
			refused(w, migration.ErrorRunning, w.activities.RemoveRemains, migration.RemoveRemainsRequest{
				RemainsRequest: migration.RemainsRequest{Plan: w.run.Plan, Remove: []migration.RemainsKind{kind}},
				Kind:           kind,
			}, id+" is running")
		}
		require.Equal(t, before, w.text())
	}
}

// A guard looks at the source for some minutes after its work is done. That keeps nobody from
// cleaning up.
func TestAGuardThatOnlyLooksAgain(t *testing.T) {
	for phase, ends := range map[migration.GuardPhase]bool{
		migration.GuardIdle: false, migration.GuardWatching: false, migration.GuardRemoving: false,
		migration.GuardHandingOver: false, migration.GuardRemoved: true, migration.GuardHandedOver: true,
	} {
		w, _ := newRun(t)
		w.ended(wfFailed)
		w.temporal.ran("guard/movies", "guard-1", wfRunning).answer = migration.GuardStatus{Phase: phase}
		_, err := do[migration.Remains](w, w.activities.FindRemains, migration.FindRemainsRequest{
			RemainsRequest: migration.RemainsRequest{Plan: w.run.Plan}, Kinds: migration.CleanupKinds,
		})
		require.Equal(t, ends, err == nil, "%s: %v", phase, err)
	}
}

// A run that begins between look and removal is noticed before each batch.
func TestARunThatBeginsDuringTheRemoval(t *testing.T) {
	w, _ := newRun(t)
	w.ended(wfFailed)
	w.to.During("GET /*/_recovery", func() { w.temporal.ran("migration/movies", "run-2", wfRunning) })
	refused(w, migration.ErrorRunning, w.activities.RemoveRemains, migration.RemoveRemainsRequest{
		RemainsRequest: migration.RemainsRequest{
			Plan: w.run.Plan, Remove: []migration.RemainsKind{migration.RemainsAll},
		}, Kind: migration.RemainsIndices,
	})
	require.True(t, w.to.Has("movies"))
}
