package activities

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"

	"github.com/snapferry/snapferry/internal/objectstore/memory"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/repository/repositorytest"
	"github.com/snapferry/snapferry/migration"
)

// running leaves in S3 what a snapshot that still runs has written: everything but
// the root's files.
func (w *copyWorld) running(t *testing.T, before map[string][]byte) {
	t.Helper()
	objects := w.Objects()
	for key := range objects {
		switch repository.Classify(key).Class {
		case repository.ClassRootIndex, repository.ClassLatest, repository.ClassSnapshot, repository.ClassSnapshotMetadata, repository.ClassIncompatible:
			delete(objects, key)
		}
	}
	for key, data := range before {
		switch repository.Classify(key).Class {
		case repository.ClassRootIndex, repository.ClassLatest, repository.ClassSnapshot, repository.ClassSnapshotMetadata, repository.ClassIncompatible:
			objects[key] = data
		}
	}
	w.source.Replace(objects)
}

func (w *copyWorld) stream(t *testing.T, uuid string, shards ...migration.SnapshotShard) (migration.CopyShardsResult, error) {
	t.Helper()
	c := w.copier()
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(quiet{})
	env := suite.NewTestActivityEnvironment()
	c.Register(env)
	request := w.request(uuid)
	return runActivity[migration.CopyShardsResult](env, c.CopyShards,
		migration.CopyShardsRequest{Run: request.Run, Snapshot: request.Snapshot.Name, UUID: uuid, Base: w.base, Shards: shards})
}

func shardsOf(index string, shards int) (all []migration.SnapshotShard) {
	for n := range shards {
		all = append(all, migration.SnapshotShard{Index: index, Shard: n})
	}
	return all
}

// What was carried while the snapshot ran isn't written again, in every layout,
// with and without pages, at the baseline and later, and for an index that is new.
func TestCopyOfAStreamedSnapshot(t *testing.T) {
	eachLayout(t, func(t *testing.T, w *copyWorld) {
		var mu sync.Mutex
		written := map[string]int{}
		w.sink.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
			if c.Op == "Put" && repository.Classify(c.Key).Class == repository.ClassData {
				mu.Lock()
				defer mu.Unlock()
				written[c.Key]++
			}
			return nil
		}})
		carry := func(name string, shards []migration.SnapshotShard, changes ...repositorytest.Change) {
			before := w.Objects()
			uuid := w.snapshot(name, changes...)
			w.running(t, before)
			streamed, err := w.stream(t, uuid, shards...)
			require.NoError(t, err)
			require.NotEmpty(t, streamed.Carried)
			require.Empty(t, streamed.Why)
			require.Equal(t, int64(len(written)), streamed.BlobsCopied)
			w.sync()
			request := w.request(uuid)
			request.Carried = streamed.Carried
			result, err := w.run(t, request)
			require.NoError(t, err)
			w.requirePublished(t, uuid)
			w.base, w.generation = uuid, result.Generation
			for key, times := range written {
				require.Equal(t, 1, times, key)
			}
			require.Equal(t, int64(len(written)), streamed.BlobsCopied+result.BlobsCopied)
			clear(written)
		}
		carry("r0", shardsOf("movies", 2), repositorytest.CreateIndex("movies", 3), repositorytest.AddSegments("movies", 2, 500))
		carry("r1", append(shardsOf("movies", 1), shardsOf("new", 2)...), repositorytest.AddSegments("movies", 3, 300), repositorytest.CreateIndex("new", 2), repositorytest.AddSegments("new", 2, 300))
	})
}

// Shards that were carried against another base than the copy takes count for
// nothing, and neither do those whose blobs were lost since.
func TestCopyTrustsNoStreamThatDoesntFit(t *testing.T) {
	for name, pages := range map[string]paging{"in one": onePage, "in pages": smallPages} {
		t.Run(name, func(t *testing.T) {
			w := newCopyWorld(repositorytest.Layout55)
			w.pages = pages
			r0 := w.snapshot("r0", repositorytest.CreateIndex("movies", 2), repositorytest.AddSegments("movies", 2, 500))
			streamed, err := w.stream(t, r0, shardsOf("movies", 2)...)
			require.NoError(t, err)
			request := w.request(r0)
			request.Carried = streamed.Carried
			lost := keys(w.sink.Objects())[0]
			w.sink.Remove(lost)
			_, err = w.run(t, request)
			requireType(t, migration.ErrorRepository, err)
			require.Nil(t, requireReadable(t, w.sink.Objects()))

			request.Carried = nil // as after a person's retry with another attempt
			_, err = w.run(t, request)
			require.NoError(t, err)
			w.requirePublished(t, r0)
		})
	}
}

// As long as OSS lists a snapshot that is deleted in S3, its blobs stay as they are:
// the names of the running snapshot may be theirs.
func TestStreamOverwritesNothingThatIsPublished(t *testing.T) {
	w := newCopyWorld(repositorytest.Layout55)
	w.carry(t, w.snapshot("r0", repositorytest.CreateIndex("movies", 1), repositorytest.AddSegments("movies", 2, 500)))
	r1 := w.snapshot("r1", repositorytest.AddSegments("movies", 2, 300))
	w.carry(t, r1)
	published := w.sink.Objects()
	w.Delete("r1")
	w.sync()
	before := w.Objects()
	r2 := w.snapshot("r2", repositorytest.AddSegments("movies", 2, 300))
	w.running(t, before)
	result, err := w.stream(t, r2, shardsOf("movies", 1)...)
	require.NoError(t, err)
	require.Empty(t, result.Carried)
	require.Contains(t, result.Why, "r1, which is deleted in S3")
	require.Equal(t, published, w.sink.Objects())
}

func TestStreamLeavesWhatItCantFind(t *testing.T) {
	w := newCopyWorld(repositorytest.Layout710)
	before := w.Objects()
	r0 := w.snapshot("r0", repositorytest.CreateIndex("movies", 1), repositorytest.AddSegments("movies", 2, 500))
	w.running(t, before)
	result, err := w.stream(t, r0, shardsOf("movies", 5)...)
	require.NoError(t, err)
	require.Len(t, result.Carried, 1, "the others aren't there")

	for key := range w.Blobs(r0) {
		w.source.Remove(key)
		break
	}
	result, err = w.stream(t, r0, shardsOf("movies", 1)...)
	require.NoError(t, err)
	require.Empty(t, result.Carried)
	require.Contains(t, result.Why, "vanished")
}
