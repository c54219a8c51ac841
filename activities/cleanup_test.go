package activities

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/objectstore/memory"
	"github.com/snapferry/snapferry/migration"
)

// others are what belongs to somebody else: none of it may be touched.
func (w *world) others() {
	w.t.Helper()
	other := w.run
	other.Plan.Name = "movies-eu"
	other.Plan.Source.Repository.BasePath = "snapferry/movies-eu"
	other.Plan.Target.Repository.BasePath = "snapferry/movies-eu"
	must[any](w, w.activities.RegisterRepositories, other)
	stranger := w.run
	stranger.Token = "ffffffff" // a repository of our name in a folder that is not ours
	stranger.Plan.Source.Repository.BasePath, stranger.Plan.Target.Repository.BasePath = "x", "x"
	must[any](w, w.activities.RegisterRepositories, stranger)
	w.to.Create("cats", 1, nil)
	w.to.Create("catlog", 1, map[string]string{"index.blocks.write": "true"})
}

func (w *world) othersStand() {
	w.t.Helper()
	for _, name := range []string{"snapferry-movies-eu-" + w.run.Token, "snapferry-movies-ffffffff"} {
		kind, _ := w.to.Repository(name)
		require.Equal(w.t, "oss", kind, name)
		kind, _ = w.from.Repository(name)
		require.Equal(w.t, "s3", kind, name)
	}
	require.True(w.t, w.to.Has("cats"))
	require.True(w.t, w.to.Has("catlog"))
	for _, store := range []*memory.Store{w.inS3, w.inOSS} {
		require.Equal(w.t, []string{songsFolder + "/index-0", "readme"}, keysOf(store))
	}
}

func TestCleanupOfAnAbortedRunLeavesNothing(t *testing.T) {
	w, _ := newRun(t)
	w.others()
	w.ended(wfFailed)
	found := w.remains(migration.CleanupKinds...)
	require.Equal(t, []string{
		"kept objects 1 ", "kept objects 1 ",
		"ours indices 2 catalog,movies",
		"ours objects 2 ", "ours objects 2 ",
		"ours repositories 1 " + w.run.RepositoryName(), "ours repositories 1 " + w.run.RepositoryName(),
		"ours snapshots 1 movies-r0000-a1",
	}, summary(found))
	require.Contains(t, strings.Join(found.Warnings, "\n"), "snapferry-movies-ffffffff on the target")

	objects := w.removeAll(migration.RemainsObjects)[0]
	require.EqualValues(t, 4, objects.LeftCount, "a cluster could write there again")
	require.Contains(t, objects.Left[0], "is still registered")
	for _, kind := range w.removeAll(migration.CleanupKinds...) {
		require.Empty(t, kind.Left, "%+v", kind)
	}
	require.Equal(t, []string{"kept objects 1 ", "kept objects 1 "}, summary(w.remains(migration.CleanupKinds...)))
	require.False(t, w.to.Has("movies"))
	require.False(t, w.to.Has("catalog"))
	w.othersStand()
	require.NoError(t, w.from.Index("movies", "later"), "the source is not touched")
}

func TestCleanupOfACompletedRunLeavesItsProduct(t *testing.T) {
	w, _ := newRun(t)
	w.others()
	w.ended(wfCompleted)
	removeBlock(w, onTarget, "movies") // and somebody has blocked catalog again, for reasons of his own
	target := w.to.World()[:strings.Index(w.to.World(), "repository ")]
	for _, kind := range w.removeAll(migration.CleanupKinds...) {
		require.Empty(t, kind.Left, "%+v", kind)
	}
	require.Equal(t, target, w.to.World()[:strings.Index(w.to.World(), "repository ")])
	require.Equal(t, []string{"kept indices 2 catalog,movies", "kept objects 1 ", "kept objects 1 "},
		summary(w.remains(migration.CleanupKinds...)))
	w.othersStand()
}

// Temporal has forgotten the run: what the clusters and buckets show themselves is enough for the
// repositories; for indices and objects a person must name them.
func TestCleanupOfAForgottenRun(t *testing.T) {
	w, _ := newRun(t)
	require.Contains(t, summary(w.remains(migration.RemainsIndices)), "perhaps indices 2 catalog,movies")
	w.removeAll(migration.RemainsIndices, migration.RemainsSnapshots, migration.RemainsRepositories)
	require.True(t, w.to.Has("movies"))
	require.Equal(t, []string{"kept objects 1 ", "kept objects 1 ", "perhaps objects 2 ", "perhaps objects 2 "},
		summary(w.remains(migration.RemainsObjects)),
		"the repository is gone, and its root can't be read")

	w.removeAll(migration.RemainsObjects)
	require.NotEmpty(t, w.inOSS.Objects())
	all := []migration.RemainsKind{migration.RemainsAll}
	named := migration.RemainsRequest{Remove: all, Token: w.run.Token, Indices: []string{"movies"}}
	w.remove(named, migration.RemainsObjects, migration.RemainsIndices)
	require.Equal(t, []string{songsFolder + "/index-0", "readme"}, keysOf(w.inOSS))
	require.False(t, w.to.Has("movies"))
	require.True(t, w.to.Has("catalog"), "it was not named")
}

// Of many indices the history has only a digest: the list lies in OSS, beside the repository.
func TestIndicesAreKnownByAStoredList(t *testing.T) {
	w, opened := newRun(t)
	stored, err := store(t.Context(), w.activities.lists, w.run, opened.Counters)
	require.NoError(t, err)
	w.ended(wfFailed).did(migration.ActivityOpenTarget, w.request(), migration.OpenResult{CountersOf: stored})
	w.inOSS.Store(w.run.Token+"-lists/"+stored.Digest, []byte("a list"))
	w.to.RestartNode()
	require.Equal(t, []string{"ours indices 2 catalog,movies"}, summary(w.remains(migration.RemainsIndices)))
	w.removeAll(migration.CleanupKinds...)
	require.Equal(t, []string{songsFolder + "/index-0", "readme"}, keysOf(w.inOSS), "the lists are gone as well")
}

// After a restart the target's shards don't tell any more where they came from: the history does.
func TestIndicesAreKnownByTheirUUID(t *testing.T) {
	for name, did := range map[string]func(*world, *recordedRun, migration.OpenResult){
		"opened alone": func(w *world, e *recordedRun, opened migration.OpenResult) {
			e.did(migration.ActivityOpenTarget, w.request(), opened)
		},
		"opened by the restore": func(w *world, e *recordedRun, opened migration.OpenResult) {
			e.did(migration.ActivityRestoreSnapshot, migration.RestoreRequest{Run: w.run},
				migration.RestoreResult{Opened: &opened})
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, opened := newRun(t)
			did(w, w.ended(wfFailed), opened)
			w.to.RestartNode()
			w.to.SetOpen("movies", false)
			require.Equal(t, []string{"ours indices 2 catalog,movies"}, summary(w.remains(migration.RemainsIndices)))
			w.removeAll(migration.RemainsIndices)
			require.False(t, w.to.Has("movies"))
		})
	}
}

// An index whose block somebody has removed may hold writes.
func TestAnIndexThatTakesWritesIsNotDeleted(t *testing.T) {
	w, _ := newRun(t)
	w.ended(wfFailed)
	removeBlock(w, onTarget, "movies")
	require.Equal(t, []string{"perhaps indices 2 catalog,movies"}, summary(w.remains(migration.RemainsIndices)))
	w.remove(migration.RemainsRequest{
		Remove: []migration.RemainsKind{migration.RemainsIndices}, Indices: []string{"movies", "catalog"},
	}, migration.RemainsIndices)
	require.True(t, w.to.Has("movies"))
	require.False(t, w.to.Has("catalog"), "it is behind our block, and was named")
}

// The snapshots in a root tell whose folder it is, where several plans share a base path.
func TestFoldersOfOtherPlansStay(t *testing.T) {
	w := newWorld(t)
	for token, snapshot := range map[string]string{"00000001": "movies-r0001-a1", "00000002": "songs-r0001-a1"} {
		w.inOSS.Store(token+"/index-3", []byte(`{"snapshots":[{"name":"`+snapshot+`","uuid":"u"}],"indices":{}}`))
	}
	require.Equal(t, []string{"kept objects 1 ", "ours objects 1 "}, summary(w.remains(migration.RemainsObjects)))
	w.remove(migration.RemainsRequest{
		Remove: []migration.RemainsKind{migration.RemainsAll}, Token: "00000002",
	}, migration.RemainsObjects)
	w.removeAll(migration.RemainsObjects)
	require.Equal(t, []string{"00000002/index-3"}, keysOf(w.inOSS))
}

// The worker's usual key may not delete in S3: the report says what is left, and how to go on.
func TestObjectsThatTheWorkerMayNotDelete(t *testing.T) {
	w, _ := newRun(t)
	w.ended(wfFailed)
	w.removeAll(migration.RemainsSnapshots, migration.RemainsRepositories)
	w.inS3.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
		if c.Op == "Delete" {
			return &objectstore.Error{Kind: objectstore.Forbidden, Op: "DeleteObject", Code: "AccessDenied"}
		}
		return nil
	}})
	removed := w.removeAll(migration.RemainsObjects)[0]
	require.EqualValues(t, 2, removed.Count, "those in OSS")
	require.EqualValues(t, 2, removed.LeftCount)
	require.Contains(t, removed.Left[0], "s3:DeleteObject")
}

// What a server or a cluster doesn't tell becomes a warning, or an error that a retry may fix.
func TestALookThatSeesNotEverything(t *testing.T) {
	w, _ := newRun(t)
	w.ended(wfFailed)
	w.temporal.unlisted = errors.New("no visibility store")
	w.from.Refuse("GET /_snapshot", 1, 403, "security_exception", "not yours")
	found := w.remains(migration.CleanupKinds...)
	require.Contains(t, summary(found), "ours indices 2 catalog,movies")
	require.Contains(t, strings.Join(found.Warnings, "\n"), "no visibility store")
	require.Contains(t, strings.Join(found.Warnings, "\n"), "the repositories of the source can't be listed")

	// Without the target nobody knows whether it has taken over.
	must[any](w, w.activities.BlockWrites, w.request())
	w.to.Password = "changed"
	found = w.remains(migration.RemainsBlocks)
	require.Equal(t, []string{"kept blocks 2 catalog,movies"}, summary(found))
	require.Contains(t, strings.Join(found.Warnings, "\n"), "the target can't be asked whether it has taken over")
}

// A result stays small, whatever was found.
func TestRemainsAreBounded(t *testing.T) {
	l := &search{}
	for i := range 10_000 {
		for _, kind := range everyKind {
			l.found = append(l.found, remnant{
				kind: kind, origin: migration.OriginOurs, token: fmt.Sprintf("%08x", i%300),
				why:   strings.Repeat("w", 100),
				where: strings.Repeat("x", 200), name: fmt.Sprintf("%0100d", i),
			})
		}
	}
	for range 100 {
		l.warnings = append(l.warnings, strings.Repeat("w", longestWarning))
	}
	found := l.grouped()
	text, err := json.Marshal(found)
	require.NoError(t, err)
	require.Less(t, len(text), 100<<10)
	require.Contains(t, found.Warnings[len(found.Warnings)-1], "more things are not listed")
}
