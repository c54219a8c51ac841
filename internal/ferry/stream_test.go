package ferry

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/objectstore/memory"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/repository/repositorytest"
	"github.com/snapferry/snapferry/internal/sides/sidestest"
	"github.com/snapferry/snapferry/internal/transfer"
	"github.com/snapferry/snapferry/migration"
)

// running leaves in S3 what a snapshot that still runs has written: everything but the root's
// files.
func (w *world) running(t *testing.T, before map[string][]byte) {
	t.Helper()
	objects := w.Objects()
	for key := range objects {
		switch repository.Classify(key).Class {
		case repository.ClassRootIndex, repository.ClassLatest, repository.ClassSnapshot,
			repository.ClassSnapshotMetadata, repository.ClassIncompatible:
			delete(objects, key)
		}
	}
	for key, data := range before {
		switch repository.Classify(key).Class {
		case repository.ClassRootIndex, repository.ClassLatest, repository.ClassSnapshot,
			repository.ClassSnapshotMetadata, repository.ClassIncompatible:
			objects[key] = data
		}
	}
	w.Source.Replace(objects)
}

func (w *world) stream(t *testing.T, uuid string,
	shards ...migration.SnapshotShard,
) (migration.CopyShardsResult, error) {
	t.Helper()
	request := w.Request(uuid)
	return w.ferry(w.Source, request.Plan.Copy.Concurrency).Stream(t.Context(),
		migration.CopyShardsRequest{
			Run: request.Run, Snapshot: request.Snapshot.Name, UUID: uuid, Base: w.Base,
			Shards: shards,
		}, false)
}

func shardsOf(index string, shards int) (all []migration.SnapshotShard) {
	for n := range shards {
		all = append(all, migration.SnapshotShard{Index: index, Shard: n})
	}
	return all
}

// What was copied while the snapshot ran isn't written again, in every layout, with and without
// pages, at the baseline and later, and for an index that is new.
func TestCopyOfAStreamedSnapshot(t *testing.T) {
	eachLayout(t, func(t *testing.T, w *world) {
		var mu sync.Mutex
		written := map[string]int{}
		w.Sink.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
			if c.Op == "Put" && repository.Classify(c.Key).Class == repository.ClassData {
				mu.Lock()
				defer mu.Unlock()
				written[c.Key]++
			}
			return nil
		}})
		copyRound := func(name string, shards []migration.SnapshotShard, changes ...repositorytest.Change) {
			before := w.Objects()
			uuid := w.Take(name, changes...)
			w.running(t, before)
			streamed, err := w.stream(t, uuid, shards...)
			require.NoError(t, err)
			require.NotEmpty(t, streamed.Carried)
			require.Empty(t, streamed.Why)
			require.Equal(t, int64(len(written)), streamed.BlobsCopied)
			w.Sync()
			request := w.Request(uuid)
			request.Carried = streamed.Carried
			result, err := w.Run(t, request)
			require.NoError(t, err)
			w.RequirePublished(t, uuid)
			w.Base, w.BaseGeneration = uuid, result.Generation
			for key, times := range written {
				require.Equal(t, 1, times, key)
			}
			require.Equal(t, int64(len(written)), streamed.BlobsCopied+result.BlobsCopied)
			clear(written)
		}
		copyRound("r0", shardsOf("movies", 2), repositorytest.CreateIndex("movies", 3),
			repositorytest.AddSegments("movies", 2, 500))
		copyRound("r1", append(shardsOf("movies", 1), shardsOf("new", 2)...),
			repositorytest.AddSegments("movies", 3, 300), repositorytest.CreateIndex("new", 2),
			repositorytest.AddSegments("new", 2, 300))
	})
}

// Shards that were copied against another base than the copy takes count for nothing, and neither
// do those whose blobs were lost since.
func TestCopyTrustsNoStreamThatDoesntFit(t *testing.T) {
	for name, pages := range map[string]Paging{"in one": onePage, "in pages": smallPages} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(repositorytest.Layout55)
			w.pages = pages
			r0 := w.Take("r0", repositorytest.CreateIndex("movies", 2), repositorytest.AddSegments("movies", 2, 500))
			streamed, err := w.stream(t, r0, shardsOf("movies", 2)...)
			require.NoError(t, err)
			request := w.Request(r0)
			request.Carried = streamed.Carried
			lost := sidestest.Keys(w.Sink.Objects())[0]
			w.Sink.Remove(lost)
			_, err = w.Run(t, request)
			requireKind(t, Conflict, err)
			require.Nil(t, sidestest.RequireReadable(t, w.Sink.Objects()))

			request.Carried = nil // as after a person's retry with another attempt
			_, err = w.Run(t, request)
			require.NoError(t, err)
			w.RequirePublished(t, r0)
		})
	}
}

// As long as OSS lists a snapshot that is deleted in S3, its blobs stay as they are: the names of
// the running snapshot may be theirs.
func TestStreamOverwritesNothingThatIsPublished(t *testing.T) {
	w := newWorld(repositorytest.Layout55)
	w.Copy(t, w.Take("r0", repositorytest.CreateIndex("movies", 1), repositorytest.AddSegments("movies", 2, 500)))
	r1 := w.Take("r1", repositorytest.AddSegments("movies", 2, 300))
	w.Copy(t, r1)
	published := w.Sink.Objects()
	w.Delete("r1")
	w.Sync()
	before := w.Objects()
	r2 := w.Take("r2", repositorytest.AddSegments("movies", 2, 300))
	w.running(t, before)
	result, err := w.stream(t, r2, shardsOf("movies", 1)...)
	require.NoError(t, err)
	require.Empty(t, result.Carried)
	require.Contains(t, result.Why, "r1, which is deleted in S3")
	require.Equal(t, published, w.Sink.Objects())
}

func TestStreamLeavesWhatItCantFind(t *testing.T) {
	w := newWorld(repositorytest.Layout710)
	before := w.Objects()
	r0 := w.Take("r0", repositorytest.CreateIndex("movies", 1), repositorytest.AddSegments("movies", 2, 500))
	w.running(t, before)
	result, err := w.stream(t, r0, shardsOf("movies", 5)...)
	require.NoError(t, err)
	require.Len(t, result.Carried, 1, "the others aren't there")

	for key := range w.Blobs(r0) {
		w.Source.Remove(key)
		break
	}
	result, err = w.stream(t, r0, shardsOf("movies", 1)...)
	require.NoError(t, err)
	require.Empty(t, result.Carried)
	require.Contains(t, result.Why, "vanished")
}

// A snapshot that is lost is taken again under its name, with as many blobs of the same names and
// lengths. What was copied of the first is none of the second.
func TestCopyTrustsNoStreamOfALostSnapshot(t *testing.T) {
	eachLayout(t, func(t *testing.T, w *world) {
		w.Copy(t, w.Take("r0", repositorytest.CreateIndex("movies", 1), repositorytest.AddSegments("movies", 2, 500)))
		before := w.Objects()
		lost := w.Take("r1", repositorytest.Merge("movies"))
		w.running(t, before)
		streamed, err := w.stream(t, lost, shardsOf("movies", 1)...)
		require.NoError(t, err)
		require.NotEmpty(t, streamed.Carried)
		w.Delete("r1")
		again := w.Take("r1", repositorytest.Merge("movies"))
		request := w.Request(again)
		request.Carried = streamed.Carried
		_, err = w.Run(t, request)
		require.NoError(t, err)
		w.RequirePublished(t, again)

		// Nor if it is said to be of this one.
		for i := range request.Carried {
			request.Carried[i].UUID = again
		}
		plan := &shardDelta{blobs: []repository.Blob{{Key: "k", Length: 1, Checksum: "other"}}}
		r := newRound(&job{snapshot: request.Snapshot}, request)
		_, ok := r.streamed(repository.ShardID{IndexID: request.Carried[0].Range.IndexID},
			shardTask{snapshots: []string{again}}, plan)
		require.False(t, ok)
	})
}

// Every round looks at what was copied before, not only the baseline.
func TestCopyProvesWhatWasStreamed(t *testing.T) {
	eachLayout(t, func(t *testing.T, w *world) {
		w.Copy(t, w.Take("r0", repositorytest.CreateIndex("movies", 1), repositorytest.AddSegments("movies", 2, 500)))
		published := w.Sink.Objects()
		before := w.Objects()
		r1 := w.Take("r1", repositorytest.AddSegments("movies", 2, 300))
		w.running(t, before)
		streamed, err := w.stream(t, r1, shardsOf("movies", 1)...)
		require.NoError(t, err)
		w.Sync()
		for key := range w.Sink.Objects() {
			if published[key] == nil && sidestest.IsData(key) {
				w.Sink.Remove(key)
			}
		}
		request := w.Request(r1)
		request.Carried = streamed.Carried
		_, err = w.Run(t, request)
		requireKind(t, Conflict, err)
		require.EqualValues(t, 0, sidestest.RequireReadable(t, w.Sink.Objects()).Generation)
	})
}

// Shards are planned side by side: two that fit alone and not together are never both taken for
// copied.
func TestWhatIsStreamedAtOnceFitsTogether(t *testing.T) {
	for range 20_000 {
		p := newPlan(Paging{Blobs: 1 << 62, Bytes: pageBytes}, []string{"u"})
		var racing sync.WaitGroup
		var fits [2]bool
		start := make(chan struct{})
		for n := range fits {
			racing.Go(func() {
				<-start
				d := &shardDelta{blobs: []repository.Blob{{Key: "k", Length: pageBytes / 5 * 3}}}
				fits[n] = p.addIfInline(repository.ShardID{IndexID: "i", Number: n}, d,
					[]transfer.Blob{{Key: "k", Size: pageBytes / 5 * 3}})
			})
		}
		close(start)
		racing.Wait()
		require.NotEqual(t, fits[0], fits[1])
		require.Len(t, p.blobs, 1)
	}
}

// A shard of which a blob was not copied after all is none that was.
func TestAShardThatIsNotAllCarriedIsNone(t *testing.T) {
	d := &shardDelta{blobs: []repository.Blob{{Key: "a", Length: 1}, {Key: "b", Length: 1}}}
	p := newPlan(DefaultPaging, []string{"u"})
	p.stored = map[string]string{"a": "etag"}
	_, ok := p.streamedShard(repository.ShardID{IndexID: "i"}, "u", d)
	require.False(t, ok)
	p.stored["b"] = "etag"
	_, ok = p.streamedShard(repository.ShardID{IndexID: "i"}, "u", d)
	require.True(t, ok)
}
