package activities

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/objectstore/memory"
	"github.com/snapferry/snapferry/migration"
)

// newRehearsal is a world whose plan is rehearsed, with a target that has an index and an alias of
// the names that a migration would need.
func newRehearsal(t *testing.T) *world {
	w := newWorld(t)
	w.run.Plan.Rehearsal = true
	w.to.Create("movies", 1, map[string]string{"index.refresh_interval": "5s"})
	w.to.AddAlias("movies", "films")
	require.NoError(t, w.to.Index("movies", "theirs"))
	w.to.Create("other", 1, nil)
	w.to.AddAlias("other", "catalog")
	return w
}

func (w *world) rehearsed(opened migration.OpenResult) migration.RehearsedIndicesRequest {
	return migration.RehearsedIndicesRequest{Run: w.run, Indices: w.indices(), Expected: opened.Counters}
}

// A whole rehearsal, each step twice: in the end nothing of it is there.
func TestARehearsalLeavesEverythingAsItWas(t *testing.T) {
	w := newRehearsal(t)
	a, before := w.activities, w.text()
	found := twice[migration.PreflightResult](w, a.Preflight, w.run)
	twice[any](w, a.EnsureTargetBucket, w.run)
	require.Equal(t, before, w.text())
	require.Len(t, found.Problems, 2, "index movies and alias catalog: %q", found.Problems)
	twice[any](w, a.RegisterRepositories, w.run)
	require.Equal(t, "snapferry-rehearsal-movies-t0ken", w.run.RepositoryName())

	var opened migration.OpenResult
	for _, name := range []string{"movies-r0000-a1", "movies-r0001-a1"} {
		require.NoError(t, w.from.Index("movies", name))
		snapshot := twice[migration.Snapshot](w, a.TakeSnapshot,
			migration.SnapshotRequest{Run: w.run, Snapshot: name, Indices: both2})
		w.s3.Copy(w.oss)
		twice[any](w, a.CloseTarget, migration.CloseRequest{Run: w.run, Indices: both2, Expected: opened.Counters})
		twice[migration.RestoreResult](w, a.RestoreSnapshot,
			migration.RestoreRequest{Run: w.run, Snapshot: snapshot, Indices: w.indices()})
		opened = twice[migration.OpenResult](w, a.OpenTarget, w.request())
		require.ElementsMatch(t, both2, sorted(opened.Counters), "the workflow knows only the source's names")
	}
	var body map[string]any
	require.NoError(t, json.Unmarshal([]byte(w.to.Bodies("POST /_snapshot/*/movies-r0001-a1/_restore")[0]), &body))
	require.Equal(t, "catalog,movies", body["indices"])
	require.Equal(t, "^(.+)$", body["rename_pattern"])
	require.Equal(t, "snapferry-rehearsal-t0ken-$1", body["rename_replacement"])
	require.Equal(t, false, body["include_aliases"])
	require.Equal(t, "true", w.to.Setting("snapferry-rehearsal-t0ken-movies", "index.blocks.write"))
	for line := range strings.Lines(w.to.World()) {
		if strings.HasPrefix(line, "index snapferry-rehearsal-") {
			require.Contains(t, line, "aliases=[]\n")
		}
	}

	verified := must[migration.VerifyResult](w, a.VerifyTarget,
		migration.VerifyRequest{Run: w.run, Indices: w.indices(), Counters: opened.Counters})
	for _, index := range verified.Indices {
		require.True(t, index.Equal, "%+v", index)
		require.NotEmpty(t, index.Checksum)
		require.Empty(t, index.Differences, "aliases are left out on purpose")
	}

	w.inS3.Store("index-3", []byte("root"))
	w.inOSS.Store("index-3", []byte("root"))
	w.inOSS.Store("indices/a/0/__0", []byte("blob"))
	_, err := w.inOSS.CreateUpload(t.Context(), "indices/a/0/__1", nil)
	require.NoError(t, err)
	footprint := twice[migration.Footprint](w, a.MeasureFootprint, w.rehearsed(opened))
	require.Equal(t, migration.Footprint{
		TargetBytes: 1000, TargetBytesAfterCutover: 500*2 + 500*3, S3Bytes: 4, S3Objects: 1, OSSBytes: 8, OSSObjects: 2,
	}, footprint)

	deleted := must[migration.DeletedIndices](w, a.DeleteRehearsedIndices, w.rehearsed(opened))
	require.Equal(t, migration.DeletedIndices{Deleted: 2}, deleted)
	require.Zero(t, must[migration.DeletedIndices](w, a.DeleteRehearsedIndices, w.rehearsed(opened)))
	snapshots := must[migration.DeletedSnapshots](w, a.DeleteSnapshots, w.run)
	require.Equal(t, migration.DeletedSnapshots{Deleted: 2, LeftObjects: 1, LeftBytes: 4}, snapshots)
	require.Zero(t, must[migration.DeletedSnapshots](w, a.DeleteSnapshots, w.run).Deleted)
	twice[any](w, a.UnregisterRepositories, w.run)
	require.Zero(t, must[migration.DeletedSnapshots](w, a.DeleteSnapshots, w.run).Deleted, "the repository is gone")
	copies := must[migration.DeletedCopies](w, a.DeleteCopies, w.run)
	require.Equal(t, migration.DeletedCopies{Objects: 2, Bytes: 8, Uploads: 1}, copies)
	require.Zero(t, must[migration.DeletedCopies](w, a.DeleteCopies, w.run))
	require.Empty(t, w.inOSS.Objects())
	require.Zero(t, w.inOSS.OpenUploads())

	after := w.text()
	w.forget(&before, "movies-r0000-a1", "movies-r0001-a1")
	w.forget(&after, "movies-r0000-a1", "movies-r0001-a1")
	require.Equal(t, before, after)
	for _, refusedRequest := range []string{
		"POST /movies/*", "PUT /movies/*", "DELETE /movies", "PUT /catalog/*",
		"POST /films/*",
	} {
		require.Empty(t, w.to.Requests(refusedRequest), refusedRequest)
	}
	require.Empty(t, w.from.Requests("PUT /*/_settings"), "the source's settings are never touched")
}

// forget takes out of a world's text what the test itself did: the documents that it wrote, and the
// fake OSS's snapshots, whose objects are the memory store's.
func (w *world) forget(text *string, documents ...string) {
	var kept []string
	for line := range strings.Lines(*text) {
		for _, document := range documents {
			line = strings.ReplaceAll(line, fmt.Sprintf(" %s:{doc %s  1}", document, document), "")
		}
		if !strings.HasPrefix(line, "snapshot ") {
			kept = append(kept, line)
		}
	}
	*text = strings.Join(kept, "")
}

func sorted[V any](m map[string]V) (keys []string) {
	for key := range m {
		keys = append(keys, key)
	}
	return keys
}

// The names prove nothing: what the rehearsal didn't restore stays.
func TestARehearsalDeletesOnlyWhatItRestored(t *testing.T) {
	w := newRehearsal(t)
	w.prepared()
	opened := w.round("s")
	name := w.run.TargetIndex("movies")
	client := clientOf(w, onTarget)
	require.NoError(t, client.DeleteIndices(t.Context(), []string{name}))
	w.to.Create(name, 1, nil)
	before := len(w.to.Requests("DELETE /*"))
	request := w.rehearsed(opened)
	result := must[migration.DeletedIndices](w, w.activities.DeleteRehearsedIndices, request)
	require.Equal(t, migration.DeletedIndices{Deleted: 1, Left: []string{name}}, result)
	require.True(t, w.to.Has(name))
	require.True(t, w.to.Has("movies"))
	require.Len(t, w.to.Requests("DELETE /*"), before+1)

	// One whose first restore was begun and not seen to end is its own, closed or not.
	request.Expected, request.Begun = nil, []string{"movies"}
	require.NoError(t, client.BlockWrites(t.Context(), []string{name})) // as a restore does
	w.to.SetOpen(name, false)
	require.Equal(t, migration.DeletedIndices{Deleted: 1},
		must[migration.DeletedIndices](w, w.activities.DeleteRehearsedIndices, request))
	require.False(t, w.to.Has(name))

	// So is one of which only the shards tell.
	w.restored(w.snapshot("t"))
	result = must[migration.DeletedIndices](w, w.activities.DeleteRehearsedIndices,
		migration.RehearsedIndicesRequest{Run: w.run, Indices: w.indices()})
	require.Equal(t, migration.DeletedIndices{Deleted: 2}, result)
}

// An index that has left the source since is deleted as well.
func TestARehearsalDeletesWhatHasLeftTheSource(t *testing.T) {
	w := newRehearsal(t)
	w.prepared()
	opened := w.round("s")
	request := w.rehearsed(opened)
	request.Indices = request.Indices[:1]
	require.Equal(t, 2, must[migration.DeletedIndices](w, w.activities.DeleteRehearsedIndices, request).Deleted)
}

func TestAMigrationDeletesNothing(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	opened := w.round("s")
	w.inOSS.Store("index-0", nil)
	before := w.text()
	for _, run := range []migration.Run{w.run, {Plan: w.run.Plan}} {
		refused(w, migration.ErrorRefused, w.activities.DeleteRehearsedIndices,
			migration.RehearsedIndicesRequest{Run: run, Indices: w.indices(), Expected: opened.Counters},
			"only a rehearsal deletes")
		refused(w, migration.ErrorRefused, w.activities.DeleteSnapshots, run, "only a rehearsal deletes")
		refused(w, migration.ErrorRefused, w.activities.DeleteCopies, run, "only a rehearsal deletes")
	}
	require.Equal(t, before, w.text())
	require.Len(t, w.inOSS.Objects(), 1)
	tokenless := w.run
	tokenless.Plan.Rehearsal, tokenless.Token = true, ""
	refused(w, migration.ErrorRefused, w.activities.DeleteCopies, tokenless)
	require.Len(t, w.inOSS.Objects(), 1)
}

// Whatever is in the way of a delete, or gets its answer lost, it comes to its end.
func TestSnapshotsAreDeletedWhateverIsInTheWay(t *testing.T) {
	w := newRehearsal(t)
	w.prepared()
	w.snapshot("s")
	w.snapshot("t")
	w.from.Refuse("DELETE /_snapshot/*/*", 2, http.StatusServiceUnavailable, "concurrent_snapshot_execution_exception",
		"a snapshot is already running")
	w.from.Lose("DELETE /_snapshot/*/*", 1)
	result := must[migration.DeletedSnapshots](w, w.activities.DeleteSnapshots, w.run)
	require.GreaterOrEqual(t, result.Deleted, 1, "one answer was lost")
	require.Empty(t, w.from.Snapshot(w.run.RepositoryName(), "s"))
	require.Empty(t, w.from.Snapshot(w.run.RepositoryName(), "t"))

	w.inS3.SetHooks(memory.Hooks{Before: func(c memory.Call) error { return memory.Failure(objectstore.Forbidden, c) }})
	require.NotEmpty(t, must[migration.DeletedSnapshots](w, w.activities.DeleteSnapshots, w.run).Unseen,
		"what is left can't be seen")
}

func TestCopiesThatMayNotBeDeletedAreTold(t *testing.T) {
	w := newRehearsal(t)
	for _, key := range []string{"index-0", "index-1", "snap-a.dat"} {
		w.inOSS.Store(key, []byte("x"))
	}
	w.inOSS.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
		if c.Op == "Delete" && c.Key == "index-1" {
			return memory.Failure(objectstore.Forbidden, c)
		}
		return nil
	}})
	refused(w, migration.ErrorUnauthorized, w.activities.DeleteCopies, w.run)
	require.Contains(t, w.inOSS.Objects(), "index-1")

	w.inOSS.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
		if c.Op == "List" {
			return memory.Failure(objectstore.Transient, c)
		}
		return nil
	}})
	passes(w, retryUnavailable, w.activities.DeleteCopies, w.run)

	// A key that may not list uploads deletes objects anyway.
	w.inOSS.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
		if c.Op == "ListUploads" {
			return memory.Failure(objectstore.Forbidden, c)
		}
		return nil
	}})
	require.Positive(t, must[migration.DeletedCopies](w, w.activities.DeleteCopies, w.run).Objects)
	require.Empty(t, w.inOSS.Objects())
}

// The source moves on while a rehearsal compares: that is seen and no failure, and what differs in
// the settings is told.
func TestARehearsalsComparisonFailsForNothing(t *testing.T) {
	w := newRehearsal(t)
	w.prepared()
	opened := w.round("s")
	require.NoError(t, w.from.Index("movies", "dogville"))
	require.NoError(t, clientOf(w, onTarget).PutIndexSettings(t.Context(), []string{w.run.TargetIndex("catalog")},
		map[string]any{"index.max_result_window": "17"}))
	result := must[migration.VerifyResult](w, w.activities.VerifyTarget,
		migration.VerifyRequest{Run: w.run, Indices: w.indices(), Counters: opened.Counters})
	catalog, movies := result.Indices[0], result.Indices[1]
	require.True(t, catalog.Equal)
	require.Contains(t, strings.Join(catalog.Differences, "|"),
		"setting index.max_result_window is \"17\" on the target and not set on the source")
	require.False(t, movies.Equal)
	require.Equal(t, []int64{4, 3}, []int64{movies.SourceDocs, movies.TargetDocs})
}

func TestPreflightOfARehearsal(t *testing.T) {
	t.Run("a name that gets too long", func(t *testing.T) {
		w := newRehearsal(t)
		long := strings.Repeat("n", 240)
		w.from.Create(long, 1, nil)
		w.run.Plan.Indices = []string{"movies", long}
		refused(w, migration.ErrorPreflight, w.activities.Preflight, w.run, "can't be rehearsed", "leave the index out")
		w.run.Plan.Rehearsal = false
		_, err := do[any](w, w.activities.Preflight, w.run)
		require.NotContains(t, errors.Unwrap(err).Error(), "can't be rehearsed")
	})
	t.Run("a name that is taken", func(t *testing.T) {
		w := newRehearsal(t)
		w.to.Create(w.run.TargetIndex("movies"), 1, nil)
		refused(w, migration.ErrorPreflight, w.activities.Preflight, w.run, "snapferry-rehearsal-t0ken-movies is taken")
	})
	t.Run("a bucket that would stay", func(t *testing.T) {
		w := newRehearsal(t)
		w.run.Plan.Target.Repository.CreateBucket = true
		w.buckets.to = targetBucket{}
		refused(w, migration.ErrorPreflight, w.activities.Preflight, w.run, "a rehearsal creates none")
		refused(w, migration.ErrorMissing, w.activities.EnsureTargetBucket, w.run, "a rehearsal creates none")
		require.Zero(t, w.buckets.created)
	})
}

// What an activity gives must fit into a payload.
func TestARehearsalTellsWhatDiffersOfTheFirstIndicesOnly(t *testing.T) {
	var results []migration.IndexResult
	metadata := map[string][]string{}
	for i := range 3 * mostUnequal {
		name := fmt.Sprint("index-", i)
		results = append(results, migration.IndexResult{Name: name, Differences: []string{"the mappings differ"}})
		metadata[name] = []string{"the mappings differ"}
	}
	results = append(results, migration.IndexResult{Name: "equal", Equal: true})
	result := rehearsedResult(results, metadata, 0)
	require.Len(t, result.Indices, 3*mostUnequal+1)
	require.Len(t, result.Metadata, mostUnequal)
	told := 0
	for _, index := range result.Indices {
		told += len(index.Differences)
	}
	require.Equal(t, mostUnequal, told)
}
