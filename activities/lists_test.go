package activities

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/objectstore/memory"
	"github.com/snapferry/snapferry/migration"
)

func TestAListIsStoredOnceUnderItsDigest(t *testing.T) {
	kept := memory.NewSink()
	l := lists{
		open:    func(context.Context, migration.Run) (objectstore.Sink, error) { return kept, nil },
		longest: migration.LongestInline,
	}
	var run migration.Run
	short := []string{"catalog", "movies"}
	inline, stored, err := storeIfLong(t.Context(), l, run, short)
	require.NoError(t, err)
	require.Equal(t, short, inline)
	require.True(t, stored.IsZero())
	require.Empty(t, kept.Objects())

	var long []string
	for i := range 1000 {
		long = append(long, fmt.Sprintf("%s-%04d", strings.Repeat("n", 95), i))
	}
	for range 2 {
		inline, stored, err = storeIfLong(t.Context(), l, run, long)
		require.NoError(t, err)
		require.Nil(t, inline)
		require.Equal(t, 1000, stored.Entries)
		require.Len(t, kept.Objects(), 1)
	}
	back, err := fetch(t.Context(), l, run, nil, stored)
	require.NoError(t, err)
	require.Equal(t, long, back)

	text, err := stored.MarshalText()
	require.NoError(t, err)
	var again migration.Stored[[]string]
	require.NoError(t, again.UnmarshalText(text))
	require.Equal(t, stored, again)
	require.Error(t, again.UnmarshalText([]byte("deadbeef/3")))

	// Somebody changes it, and somebody deletes it.
	_, err = kept.Put(t.Context(), stored.Digest, strings.NewReader("[]"), 2, nil)
	require.NoError(t, err)
	_, err = fetch(t.Context(), l, run, nil, stored)
	require.Equal(t, migration.ErrorRepository, typeOf(err))
	require.NoError(t, kept.Delete(t.Context(), stored.Digest))
	_, err = fetch(t.Context(), l, run, nil, stored)
	require.Equal(t, migration.ErrorMissing, typeOf(err))
	require.Contains(t, messageOf(err), run.ListsPath())
}

// Two rounds in which the workflow sees no list: an index comes, and one goes.
func TestRoundsWithStoredLists(t *testing.T) {
	w := newWorld(t)
	w.activities.lists.longest = 0
	w.run.Plan.Indices = []string{"*"}
	a := w.activities
	found := twice[migration.PreflightResult](w, a.Preflight, w.run).Indices
	require.True(t, found.Stored())
	require.Empty(t, w.kept.Objects(), "a preflight writes nothing")
	require.True(t, found.Of().IsZero())
	require.Equal(t, 2, found.Len())
	require.Equal(t, []string{"catalog", "movies"}, migration.IndexNames(found.First(5)))
	require.EqualValues(t, 8, found.Docs())
	must[any](w, a.RegisterRepositories, w.run)
	found = twice[migration.IndexList](w, a.ResolveIndices, migration.ResolveRequest{Run: w.run})

	restored := func(snapshot string, found migration.IndexList, before migration.OpenResult,
		begun ...migration.Stored[[]migration.Index],
	) migration.OpenResult {
		taken := twice[migration.Snapshot](w, a.TakeSnapshot,
			migration.SnapshotRequest{Run: w.run, Snapshot: snapshot, IndicesOf: found.Of()})
		w.s3.Copy(w.oss)
		twice[any](w, a.CloseTarget, migration.CloseRequest{
			Run: w.run, IndicesOf: found.Of(), ExpectedOf: before.CountersOf, BegunOf: begun,
		})
		twice[migration.RestoreResult](w, a.RestoreSnapshot,
			migration.RestoreRequest{Run: w.run, Snapshot: taken, IndicesOf: found.Of()})
		return twice[migration.OpenResult](w, a.OpenTarget, migration.OpenRequest{
			IndicesRequest: migration.IndicesRequest{Run: w.run, IndicesOf: found.Of()}, KnownOf: before.CountersOf,
		})
	}
	baseline := restored("movies-r0000-a1", found, migration.OpenResult{})
	require.Empty(t, baseline.Counters)
	require.EqualValues(t, 8, baseline.Opened.Docs)
	require.EqualValues(t, 3, baseline.Opened.First["movies"].Docs)
	require.Zero(t, baseline.Opened.LeftCount)

	w.from.Create("new", 1, nil)
	require.NoError(t, w.from.Index("new", "n"))
	require.NoError(t, w.from.Index("movies", "dune", "eden"))
	require.NoError(t, clientOf(w, onSource).DeleteIndices(t.Context(), []string{"catalog"}))
	now := twice[migration.IndexList](w, a.ResolveIndices,
		migration.ResolveRequest{Run: w.run, SeenOf: found.About.CountedOf, Pick: []string{"new", "movies", "absent"}})
	require.False(t, now.SameIndices(found))
	require.EqualValues(t, 3, now.About.Since, "one of new, two of movies")
	require.Equal(t, []string{"movies", "new"}, migration.IndexNames(now.First(5)))
	require.Equal(t, []string{"new", "movies", "absent"}, now.About.Moved)
	opened := restored("movies-r0001-a1", now, baseline, now.Of())
	require.EqualValues(t, 6, opened.Opened.Docs)
	require.Equal(t, []string{"catalog"}, opened.Opened.Left)
	require.Equal(t, 1, opened.Opened.LeftCount)

	counters, err := fetch(t.Context(), a.lists, w.run, nil, opened.CountersOf)
	require.NoError(t, err)
	require.Len(t, counters, 3, "those of what has left stay")
	require.EqualValues(t, 5, counters["movies"].Docs)
}

// An index is begun only as long as it has no counters.
func TestBegunAreThoseWithoutCounters(t *testing.T) {
	w := newWorld(t)
	l := w.activities.lists
	stored, err := store(t.Context(), l, w.run, []migration.Index{{Name: "a"}, {Name: "b"}})
	require.NoError(t, err)
	begun, err := l.begun(t.Context(), w.run, []string{"b", "c"}, []migration.Stored[[]migration.Index]{stored},
		migration.WriteCounters{"a": {}})
	require.NoError(t, err)
	require.Equal(t, []string{"b", "c"}, begun)
}
