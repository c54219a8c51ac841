package ferry

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/objectstore/memory"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/repository/repositorytest"
	"github.com/snapferry/snapferry/internal/sides/sidestest"
	"github.com/snapferry/snapferry/migration"
)

func TestMirrorRounds(t *testing.T) {
	w := newMirrorWorld()
	r0 := w.Take("movies-r0000-a1", repositorytest.CreateIndex("movies", 12), repositorytest.CreateIndex("logs", 1),
		repositorytest.AddSegments("movies", 3, 2000))
	result := w.Copy(t, r0)
	blobs := w.LegacyBlobs(r0)
	var all int64
	for _, length := range blobs {
		all += length
	}
	require.Equal(t, migration.CopyResult{
		Generation: -1, BlobsCopied: int64(len(blobs)), BytesCopied: all,
		Proven: int64(len(blobs)),
	}, result)

	r1 := w.Take("movies-r0001-a1", repositorytest.AddSegments("movies", 1, 500))
	writes := sidestest.CountData(w.Sink)
	w.Sink.ResetCounts()
	result = w.Copy(t, r1)
	var added, bytes, whole int64
	for key, length := range w.LegacyBlobs(r1) {
		whole++
		if _, old := blobs[key]; !old {
			added++
			bytes += length
		}
	}
	require.Equal(t, added, result.BlobsCopied)
	require.Equal(t, bytes, result.BytesCopied)
	require.Equal(t, int(added), writes())
	require.Equal(t, whole-added, result.BlobsSkipped)
	require.Zero(t, result.Proven, "only a baseline is listed once more")
	require.Zero(t, w.Sink.Count("Head"), "ETags that are the same MD5 need no look")

	w.Sink.SetHooks(memory.Hooks{})
	w.Copy(t, w.Take("movies-r0002-a1", repositorytest.Merge("logs"), repositorytest.CreateIndex("new", 2)))
	w.Copy(t, w.Take("movies-r0003-a1", repositorytest.DeleteIndex("logs"), repositorytest.CreateIndex("movies", 2)))
}

// What real nodes of 2.4.6 wrote, before and after a snapshot was deleted whose blobs' names came
// back.
func TestMirrorOfWhatRealNodesWrote(t *testing.T) {
	w := newMirrorWorld()
	before := sidestest.Archive(t, "../repository/testdata/2.4.6-plain-before.tar.gz")
	after := sidestest.Archive(t, "../repository/testdata/2.4.6-plain.tar.gz")
	for _, round := range []struct {
		objects map[string][]byte
		name    string
	}{{before, "two"}, {after, "four"}} {
		w.Source.Replace(round.objects)
		w.Names[round.name] = round.name
		_, err := w.Run(t, w.Request(round.name))
		require.NoError(t, err)
		got := w.Sink.Objects()
		require.NotNil(t, requireRealLegacy(t, got, round.name))
		for key, data := range round.objects {
			if repository.Classify(key).Class.Stage() != repository.StageNone {
				require.Equal(t, data, got[key], key)
			}
		}
		w.Base = round.name
	}
	require.Contains(t, w.Sink.Objects(), "snap-two.dat", "what was deleted at the source stays")
	cameBack := 0
	for key, data := range after {
		if old, ok := before[key]; ok && sidestest.IsData(key) && !bytes.Equal(old, data) {
			cameBack++
		}
	}
	require.Positive(t, cameBack)

	w.Names["failed"] = "failed"
	_, err := w.Run(t, w.Request("failed"))
	requireKind(t, Unusable, err)
	require.ErrorContains(t, err, "its state in index is FAILED")

	chunked := newMirrorWorld()
	for key, data := range sidestest.Archive(t, "../repository/testdata/2.4.6-chunked.tar.gz") {
		chunked.Source.Store(key, data)
	}
	chunked.Names["four"] = "four"
	_, err = chunked.Run(t, chunked.Request("four"))
	require.NoError(t, err)
	requireRealLegacy(t, chunked.Sink.Objects(), "four")
}

// requireRealLegacy is requireLegacyReadable for Lucene's own checksums, which a deep audit
// compares; here it is enough that all blobs are there.
func requireRealLegacy(t *testing.T, objects map[string][]byte, name string) *repository.Root {
	t.Helper()
	root, err := repository.ParseRoot(-1, objects[repository.LegacyRootKey])
	require.NoError(t, err)
	info, err := repository.ParseSnapshotInfo(objects["snap-"+name+".dat"])
	require.NoError(t, err)
	require.NoError(t, root.Complete([]*repository.SnapshotInfo{info}))
	require.NotEmpty(t, root.IndicesOf(name))
	for _, index := range root.IndicesOf(name) {
		metadata, err := repository.ParseIndexMetadata(objects["indices/"+index.ID+"/meta-"+name+".dat"])
		require.NoError(t, err)
		for n := range metadata.Shards {
			shard := repository.ShardID{IndexID: index.ID, Number: n}
			files, err := repository.ParseShardSnapshot(objects[fmt.Sprintf("indices/%s/%d/snap-%s.dat", index.ID, n,
				name)])
			require.NoError(t, err)
			blobs, err := repository.ShardBlobs(shard, files)
			require.NoError(t, err)
			for _, b := range blobs {
				require.Len(t, objects[b.Key], int(b.Length), b.Key)
			}
		}
	}
	return root
}

// Each stage is complete before the next begins, and the root in S3 is read once more right before
// it is written.
func TestMirrorOrder(t *testing.T) {
	for _, held := range []int{0, 3} { // with metadata that is listed once more
		w := newMirrorWorld()
		w.world.pages.held = held
		w.Copy(t, w.Take("r0", repositorytest.CreateIndex("movies", 4), repositorytest.CreateIndex("logs", 2)))
		r1 := w.Take("r1", repositorytest.AddSegments("movies", 2, 300), repositorytest.AddSegments("logs", 2, 300))
		var mu sync.Mutex
		var calls []memory.Call
		record := func(c memory.Call) error {
			mu.Lock()
			defer mu.Unlock()
			calls = append(calls, c)
			return nil
		}
		w.Sink.SetHooks(memory.Hooks{After: func(c memory.Call) error {
			if c.Op == "Put" {
				return record(c)
			}
			return nil
		}})
		w.Source.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
			if c.Key == repository.LegacyRootKey {
				return record(c)
			}
			return nil
		}})
		w.Copy(t, r1)
		last, puts := repository.StageNone, map[repository.Stage]int{}
		for _, c := range calls {
			if c.Op == "Put" {
				stage := repository.Classify(c.Key).Class.Stage()
				require.GreaterOrEqual(t, stage, last, c.Key)
				last = stage
				puts[stage]++
			}
		}
		require.Equal(t, map[repository.Stage]int{
			repository.StageData:          puts[repository.StageData],
			repository.StageShards:        puts[repository.StageShards],
			repository.StageIndexMetadata: 2, repository.StageSnapshots: 2, repository.StageRoot: 1,
		}, puts)
		require.GreaterOrEqual(t, puts[repository.StageShards], 6)
		require.Equal(t, "Put", calls[len(calls)-1].Op)
		require.Equal(t, "Get", calls[len(calls)-2].Op, "the fence")
	}
}

func TestMirrorTwice(t *testing.T) {
	w := newMirrorWorld()
	w.Copy(t, w.Take("r0", repositorytest.CreateIndex("movies", 2)))
	r1 := w.Take("r1", repositorytest.AddSegments("movies", 2, 500))
	request := w.Request(r1)
	w.Copy(t, r1)
	before := w.Sink.Objects()
	w.Sink.ResetCounts()
	result, err := w.Run(t, request)
	require.NoError(t, err)
	require.Zero(t, w.Sink.Count("Put"))
	require.Equal(t, before, w.Sink.Objects())
	require.Equal(t, int64(-1), result.Generation)
	require.Zero(t, result.BlobsCopied)
	require.Equal(t, int64(len(w.LegacyBlobs(r1))), result.Proven)

	w.Sink.Remove(slices.Min(slices.Collect(maps.Keys(w.LegacyBlobs(r1)))))
	_, err = w.Run(t, request)
	requireKind(t, Conflict, err)
	require.ErrorContains(t, err, "index there needs it")
}

// Uploads in parts that a killed attempt has left are ended, once the snapshot is published.
func TestMirrorEndsUploadsOfKilledAttempts(t *testing.T) {
	w := newMirrorWorld()
	r0 := w.Take("r0", repositorytest.CreateIndex("movies", 1))
	_, err := w.Sink.CreateUpload(t.Context(), "indices/movies/0/__0", nil)
	require.NoError(t, err)
	request := w.Request(r0)
	request.Again = true
	_, err = w.Run(t, request)
	require.NoError(t, err)
	w.RequirePublished(t, r0)
}

// Whatever dies after any write, a reader sees the old repository or the new one, and the next
// attempt ends well.
func TestMirrorCrashes(t *testing.T) {
	for _, reached := range []bool{false, true} {
		for n := 0; mirrorCrash(t, n, reached); n++ {
			require.Less(t, n, 500)
		}
	}
}

func mirrorCrash(t *testing.T, n int, reached bool) (crashed bool) {
	w := newMirrorWorld()
	name := w.Take("r0", repositorytest.CreateIndex("movies", 2))
	if n%2 == 0 {
		w.Copy(t, name)
		name = w.Take("r1", repositorytest.AddSegments("movies", 2, 300), repositorytest.CreateIndex("logs", 1))
	} else {
		name = w.Take("r0-a2", repositorytest.AddSegments("movies", 2, 300))
	}
	died := w.CrashAt(n, reached)
	_, err := w.Run(t, w.Request(name))
	w.Sink.SetHooks(memory.Hooks{})
	before := w.Sink.Objects()
	root := sidestest.RequireLegacyReadable(t, before)
	if !died() {
		require.NoError(t, err)
		require.Greater(t, n, 20)
		return false
	}
	require.Error(t, err)
	if root != nil {
		_, published := root.Snapshot(name)
		require.False(t, published && n < 10, "published after %d writes?", n)
	}
	// What has arrived doesn't travel again.
	lacked := 0
	for key := range w.LegacyObjects() {
		if _, ok := before[key]; !ok && sidestest.IsData(key) {
			lacked++
		}
	}
	writes := sidestest.CountData(w.Sink)
	w.Copy(t, name)
	require.Equal(t, lacked, writes(), "n=%d", n)
	return true
}

func TestMirrorCrashThenNewSnapshot(t *testing.T) {
	for n := 0; n < 60; n += 3 {
		w := newMirrorWorld()
		w.Copy(t, w.Take("r0", repositorytest.CreateIndex("movies", 2)))
		a1 := w.Take("r1-a1", repositorytest.AddSegments("movies", 2, 300))
		died := w.CrashAt(n, true)
		_, err := w.Run(t, w.Request(a1))
		w.Sink.SetHooks(memory.Hooks{})
		root := sidestest.RequireLegacyReadable(t, w.Sink.Objects())
		if !died() {
			require.NoError(t, err)
			require.Positive(t, n)
			return
		}
		if _, published := root.Snapshot(a1); published {
			continue // the workflow would repeat the copy
		}
		if n%2 == 0 {
			w.Remove(a1) // names come back
		}
		w.Copy(t, w.Take("r1-a2", repositorytest.AddSegments("movies", 2, 300)))
	}
}

// The same name, the same length, other bytes.
func TestMirrorReusedNames(t *testing.T) {
	w := newMirrorWorld()
	w.Copy(t, w.Take("r0", repositorytest.CreateIndex("movies", 1)))
	a1 := w.Take("r1-a1", repositorytest.AddSegments("movies", 2, 300))
	old := w.LegacyObjects()
	w.Sink.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
		if c.Op == "Put" && !sidestest.IsData(c.Key) {
			return sidestest.ErrCrash
		}
		return nil
	}})
	_, err := w.Run(t, w.Request(a1))
	require.Error(t, err)
	w.Sink.SetHooks(memory.Hooks{})
	require.Subset(t, sidestest.Keys(w.Sink.Objects()), sidestest.Keys(w.LegacyBlobs(a1)))
	w.Remove(a1)
	a2 := w.Take("r1-a2", repositorytest.Merge("movies"), repositorytest.AddSegments("movies", 2, 300))
	reused := 0
	for key, data := range w.LegacyObjects() {
		if before, ok := old[key]; ok && sidestest.IsData(key) && len(before) == len(data) &&
			!bytes.Equal(before, data) {
			reused++
			require.Equal(t, before, w.Sink.Objects()[key])
		}
	}
	require.NotZero(t, reused, "this test needs names that come back with the same length")
	w.Copy(t, a2)
}

// What each kind of key is skipped for, and that nothing is for its length.
func TestMirrorSkips(t *testing.T) {
	const small, parted = "indices/movies/0/__zz", "indices/movies/0/__zy"
	content, other := bytes.Repeat([]byte("content "), 100), bytes.Repeat([]byte("another "), 100)
	for name, tt := range map[string]struct {
		prepare func(w *mirrorWorld)
		key     string
		wrote   bool
		heads   int
	}{
		"same MD5, whoever wrote it": {key: small, prepare: func(w *mirrorWorld) {
			w.Source.Store(small, content)
			w.Sink.Store(small, content)
		}},
		"same length, other bytes": {key: small, wrote: true, heads: 1, prepare: func(w *mirrorWorld) {
			w.Source.Store(small, content)
			w.Sink.Store(small, other)
		}},
		"another length": {key: small, wrote: true, prepare: func(w *mirrorWorld) {
			w.Source.Store(small, content)
			w.Sink.Store(small, content[1:])
		}},
		"in parts, copied before": {key: parted, heads: 1, prepare: func(w *mirrorWorld) {
			w.Source.StoreParts(parted, content, 300)
		}},
		"in parts, no proof": {key: parted, wrote: true, heads: 1, prepare: func(w *mirrorWorld) {
			w.Source.StoreParts(parted, content, 300)
			w.Sink.Store(parted, content)
		}},
		"encrypted, no proof": {key: small, wrote: true, heads: 1, prepare: func(w *mirrorWorld) {
			w.Source.StoreEncrypted(small, content)
			w.Sink.Store(small, content)
		}},
		"shard index with a number": {
			key: "indices/movies/0/index-77", wrote: true, heads: 1,
			prepare: func(w *mirrorWorld) {
				w.Source.Store("indices/movies/0/index-77", content)
				w.Sink.Store("indices/movies/0/index-77", other)
			},
		},
		"index metadata": {key: "indices/movies/meta-old.dat", wrote: true, heads: 1, prepare: func(w *mirrorWorld) {
			w.Source.Store("indices/movies/meta-old.dat", content)
			w.Sink.Store("indices/movies/meta-old.dat", other)
		}},
		"root metadata": {key: "meta-r0.dat", wrote: true, prepare: func(w *mirrorWorld) {
			w.Sink.Store("meta-r0.dat", make([]byte, len(w.LegacyObjects()["meta-r0.dat"])))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newMirrorWorld()
			r0 := w.Take("r0", repositorytest.CreateIndex("movies", 1))
			tt.prepare(w)
			if strings.Contains(name, "copied before") {
				_, err := w.Run(t, w.Request(r0))
				require.NoError(t, err)
				w.Base = r0
			}
			r1 := "r1"
			w.Snapshot(r1)
			w.Names[r1] = r1
			for key, data := range w.LegacyObjects() {
				w.Source.Store(key, data)
			}
			var wrote atomic.Bool
			var heads atomic.Int64
			w.Sink.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
				if c.Key == tt.key && c.Op == "Put" {
					wrote.Store(true)
				}
				if c.Key == tt.key && c.Op == "Head" {
					heads.Add(1)
				}
				return nil
			}})
			_, err := w.Run(t, w.Request(r1))
			require.NoError(t, err)
			require.Equal(t, tt.wrote, wrote.Load())
			require.EqualValues(t, tt.heads, heads.Load())
			require.Equal(t, w.Source.Objects()[tt.key], w.Sink.Objects()[tt.key])
		})
	}
}

// What Elasticsearch left unfinished, what it doesn't write, and what the root doesn't list stays
// behind.
func TestMirrorLeavesBehind(t *testing.T) {
	w := newMirrorWorld()
	r0 := w.Take("r0", repositorytest.CreateIndex("movies", 1))
	for _, key := range []string{
		"pending-index", "pending-snap-r1.dat", "indices/movies/0/pending-index-3", "tests-x1/master.dat",
		"tests-x1-master",
		"notes.txt", "indices/readme", "indices/movies/0/__a b", "indices/movies/0/sub/__a", "indices/movies/x/__a",
		"other/indices/movies/0/__a",
		"snap-running.dat", "meta-running.dat", "snapshot-old",
	} {
		w.Source.Store(key, []byte("left"))
	}
	w.Source.Store("indices/gone/0/__a", []byte("an orphan, which is harmless"))
	want := w.LegacyObjects()
	want["indices/gone/0/__a"] = []byte("an orphan, which is harmless")
	result, err := w.Run(t, w.Request(r0))
	require.NoError(t, err)
	require.ElementsMatch(t, sidestest.Keys(want), sidestest.Keys(w.Sink.Objects()))
	require.Equal(t, int64(len(w.LegacyBlobs(r0))), result.Proven)
	require.Equal(t, result.Proven+1, result.BlobsCopied)
}

// Deletions at the source, of a snapshot or of the base itself, are not followed.
func TestMirrorAfterADelete(t *testing.T) {
	w := newMirrorWorld()
	w.Copy(t, w.Take("r0", repositorytest.CreateIndex("movies", 2), repositorytest.CreateIndex("old", 1),
		repositorytest.AddSegments("movies", 2, 300)))
	w.Copy(t, w.Take("r1", repositorytest.DeleteIndex("old"), repositorytest.AddSegments("movies", 1, 300)))
	before := sidestest.Keys(w.Sink.Objects())
	w.Remove("r0")
	w.Copy(t, w.Take("r2", repositorytest.AddSegments("movies", 3, 300)))
	require.Subset(t, sidestest.Keys(w.Sink.Objects()), before)
	require.Contains(t, w.Sink.Objects(), "indices/old/meta-r0.dat")
	w.Remove("r2")
	w.Base = "r1"
	w.Copy(t, w.Take("r3", repositorytest.Merge("movies"), repositorytest.AddSegments("movies", 3, 300)))
}

// A snapshot that succeeded and was never copied is listed by the next root, so it must be complete
// as well.
func TestMirrorIncludesEarlierAttempts(t *testing.T) {
	w := newMirrorWorld()
	w.Take("before", repositorytest.CreateIndex("other", 1))
	w.Take("partial", repositorytest.Outcome(repository.StatePartial), repositorytest.CreateIndex("movies", 2))
	w.Copy(t, w.Take("r0", repositorytest.DeleteIndex("other")))
	w.Take("r1-a1", repositorytest.AddSegments("movies", 2, 300))
	w.Take("failed", repositorytest.Outcome(repository.StateFailed))
	w.Copy(t, w.Take("r1-a2", repositorytest.Merge("movies"), repositorytest.CreateIndex("movies", 3)))
}

func TestMirrorFence(t *testing.T) {
	for name, meddle := range map[string]func(*mirrorWorld){
		"another snapshot": func(w *mirrorWorld) { w.Take("beside", repositorytest.AddSegments("movies", 1, 200)) },
		"a delete":         func(w *mirrorWorld) { w.Remove("old") },
	} {
		for _, moment := range []string{"among the data", "at the metadata", "at the last moment"} {
			t.Run(name+" "+moment, func(t *testing.T) {
				w := newMirrorWorld()
				w.Take("old", repositorytest.CreateIndex("movies", 2), repositorytest.AddSegments("movies", 1, 300))
				r0 := w.Take("r0", repositorytest.Merge("movies"), repositorytest.AddSegments("movies", 1, 200))
				var once sync.Once
				w.Sink.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
					class := repository.Classify(c.Key).Class
					if c.Op == "Put" && (moment == "among the data" && class == repository.ClassData ||
						moment == "at the metadata" && class == repository.ClassIndexMetadata ||
						moment == "at the last moment" && c.Key == "snap-r0.dat") {
						once.Do(func() { meddle(w) })
					}
					return nil
				}})
				_, err := w.Run(t, w.Request(r0))
				require.NoError(t, err)
				w.RequirePublished(t, r0)
			})
		}
	}
	t.Run("for ever", func(t *testing.T) {
		w := newMirrorWorld()
		r0 := w.Take("r0", repositorytest.CreateIndex("movies", 1))
		var mu sync.Mutex
		n := 0
		w.Sink.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
			if c.Op == "Put" && strings.HasPrefix(c.Key, "snap-") {
				mu.Lock()
				defer mu.Unlock()
				n++
				w.Take(fmt.Sprintf("beside-%d", n))
			}
			return nil
		}})
		_, err := w.Run(t, w.Request(r0))
		requireKind(t, Moving, err)
		require.Nil(t, sidestest.RequireLegacyReadable(t, w.Sink.Objects()), "nothing was published")
	})
}

// Elasticsearch 5.x takes the repository over at the last moment: from then on its own root is the
// truth.
func TestMirrorOfARepositoryThatIsTakenOver(t *testing.T) {
	w := newMirrorWorld()
	r0 := w.Take("r0", repositorytest.CreateIndex("movies", 2))
	const root = `{"snapshots":[{"name":"r0","uuid":"r0","state":1}],"indices":{"movies":{"id":"movies","snapshots":["r0"]}}}`
	w.Sink.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
		if c.Op == "Put" && c.Key == "snap-r0.dat" {
			w.Source.Store("index-0", []byte(root))
		}
		return nil
	}})
	result, err := w.Run(t, w.Request(r0))
	require.NoError(t, err)
	require.Zero(t, result.Generation)
	require.NotContains(t, w.Sink.Objects(), repository.LegacyRootKey)
	require.Equal(t, root, string(w.Sink.Objects()["index-0"]))
	_, ok := sidestest.RequireReadable(t, w.Sink.Objects()).Snapshot(r0)
	require.True(t, ok)
}

// A snapshot was deleted and another taken under its name: the root has the same bytes and ETag,
// and is a later one.
func TestMirrorFenceSeesARootThatWasWrittenAgain(t *testing.T) {
	w := newMirrorWorld()
	r0 := w.Take("r0", repositorytest.CreateIndex("movies", 1))
	again := &rewritten{Store: w.Source}
	_, err := w.world.steps(t, again).Copy(w.Request(r0))
	requireKind(t, Moving, err)
	require.Equal(t, int64(2*Rounds), again.reads.Load(), "at the beginning and at the fence of each round")
	require.NotContains(t, w.Sink.Objects(), repository.LegacyRootKey)
}

// rewritten is a source whose root is written again, with the same bytes, before each time that it
// is read.
type rewritten struct {
	*memory.Store
	reads atomic.Int64
}

func (s *rewritten) Get(ctx context.Context, key string, limit int64) ([]byte, objectstore.Info, error) {
	data, info, err := s.Store.Get(ctx, key, limit)
	if key == repository.LegacyRootKey {
		info.LastModified = info.LastModified.Add(time.Duration(s.reads.Add(1)) * time.Second)
	}
	return data, info, err
}

func TestMirrorConflicts(t *testing.T) {
	for name, meddle := range map[string]func(w *mirrorWorld){
		"an index-N, as a cluster writes that may write": func(w *mirrorWorld) {
			w.Sink.Store("index-0",
				w.Objects()[repository.RootIndexKey(w.Generation())])
		},
		"a root of somebody else": func(w *mirrorWorld) {
			w.Sink.Store("index",
				[]byte(`{"snapshots":["theirs"]}`))
		},
		"our root, written by somebody else": func(w *mirrorWorld) {
			w.Sink.Store("index",
				w.Sink.Objects()["index"])
		},
		"no root": func(w *mirrorWorld) { w.Sink.Remove("index") },
		"rubbish": func(w *mirrorWorld) { w.Sink.Store("index", []byte("{")) },
		"a foreign repository": func(w *mirrorWorld) {
			other := newMirrorWorld()
			other.Take("theirs", repositorytest.CreateIndex("x", 1))
			w.Sink.Replace(other.LegacyObjects())
			w.Base = ""
		},
		"another base path's copy": func(w *mirrorWorld) {
			w.Base = "" // as a second migration into the same folder would have it
			w.Remove("r0")
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newMirrorWorld()
			w.Copy(t, w.Take("r0", repositorytest.CreateIndex("movies", 1)))
			r1 := w.Take("r1", repositorytest.AddSegments("movies", 1, 200))
			meddle(w)
			before := w.Sink.Objects()
			_, err := w.Run(t, w.Request(r1))
			requireKind(t, Conflict, err)
			require.Equal(t, before, w.Sink.Objects(), "nothing may be written")
			if _, there := before["index-0"]; there {
				require.ErrorContains(t, err, "a cluster on which the repository isn't readonly has written it")
			}
		})
	}
}

// Another root appears in OSS between the check and the commit.
func TestMirrorConflictAtTheLastMoment(t *testing.T) {
	w := newMirrorWorld()
	r0 := w.Take("r0", repositorytest.CreateIndex("movies", 1))
	w.Sink.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
		if c.Op == "Put" && c.Key == "snap-r0.dat" {
			w.Sink.Store("index", []byte(`{"snapshots":["theirs"]}`))
		}
		return nil
	}})
	_, err := w.Run(t, w.Request(r0))
	requireKind(t, Conflict, err)
	require.Equal(t, `{"snapshots":["theirs"]}`, string(w.Sink.Objects()["index"]))
}

// Somebody writes a root right after ours.
func TestMirrorConflictAfterTheCommit(t *testing.T) {
	w := newMirrorWorld()
	r0 := w.Take("r0", repositorytest.CreateIndex("movies", 1))
	w.Sink.SetHooks(memory.Hooks{After: func(c memory.Call) error {
		if c.Op == "Put" && c.Key == repository.LegacyRootKey {
			w.Sink.Store("index", []byte(`{"snapshots":["theirs"]}`))
		}
		return nil
	}})
	_, err := w.Run(t, w.Request(r0))
	requireKind(t, Conflict, err)
	require.ErrorContains(t, err, "was replaced right after it was written")
}

// An attempt that hangs right before it writes the root comes back when a newer one stands there,
// and replaces it: 2.x has one name for all roots. The next round fixes that.
func TestMirrorAfterALateAttempt(t *testing.T) {
	w := newMirrorWorld()
	w.Copy(t, w.Take("r0", repositorytest.CreateIndex("movies", 1)))
	r1 := w.Take("r1", repositorytest.AddSegments("movies", 1, 300))
	stale := w.Request(r1)
	var held atomic.Bool
	w.Sink.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
		if c.Op == "Put" && c.Key == repository.LegacyRootKey && held.CompareAndSwap(false, true) {
			w.Copy(t, r1) // the attempt that took over
			w.Copy(t, w.Take("r2", repositorytest.AddSegments("movies", 1, 300)))
		}
		return nil
	}})
	_, err := w.Run(t, stale)
	require.NoError(t, err)
	require.True(t, held.Load())
	root := sidestest.RequireLegacyReadable(t, w.Sink.Objects())
	_, listed := root.Snapshot("r2")
	require.False(t, listed)
	require.Equal(t, "r2", w.Base)
	w.Copy(t, w.Take("r3", repositorytest.AddSegments("movies", 1, 300)))
}

// The baseline was published, but the workflow never heard of it.
func TestMirrorOntoAnUnknownPublish(t *testing.T) {
	w := newMirrorWorld()
	w.Copy(t, w.Take("r0-a1", repositorytest.CreateIndex("movies", 2)))
	w.Base = ""
	w.Copy(t, w.Take("r0-a2", repositorytest.AddSegments("movies", 1, 300)))
}

func TestMirrorUnusable(t *testing.T) {
	shard := func(name string) string { return "indices/movies/1/" + name }
	largest := func(w *mirrorWorld) string {
		blobs := w.LegacyBlobs("r1")
		return slices.MaxFunc(slices.Sorted(maps.Keys(blobs)),
			func(a, b string) int { return int(blobs[a] - blobs[b]) })
	}
	for name, tt := range map[string]struct {
		harm func(w *mirrorWorld)
		kind Kind
		says string
	}{
		"a blob is lost": {
			func(w *mirrorWorld) { w.Source.Remove(largest(w)) }, Unusable,
			"not in the listing",
		},
		"a blob is cut": {
			func(w *mirrorWorld) { w.Source.Store(largest(w), []byte("x")) }, Unusable,
			"the snapshot says",
		},
		"a shard's list is lost": {
			func(w *mirrorWorld) { w.Source.Remove(shard("snap-r1.dat")) }, Unusable,
			"snap-r1.dat",
		},
		"a shard is lost": {func(w *mirrorWorld) {
			for key := range w.LegacyObjects() {
				if strings.HasPrefix(key, shard("")) {
					w.Source.Remove(key)
				}
			}
		}, Unusable, "indices/movies/1/"},
		"an index is lost": {func(w *mirrorWorld) {
			for key := range w.LegacyObjects() {
				if strings.HasPrefix(key, "indices/movies/") {
					w.Source.Remove(key)
				}
			}
		}, Unusable, "indices/movies/meta-r"},
		"an index's metadata is lost": {
			func(w *mirrorWorld) { w.Source.Remove("indices/movies/meta-r1.dat") },
			Unusable, "meta-r1.dat",
		},
		"an index's metadata is damaged": {func(w *mirrorWorld) {
			w.Source.Store("indices/movies/meta-r1.dat",
				[]byte("x"))
		}, Unusable, "can't be understood"},
		"its own object is lost": {
			func(w *mirrorWorld) { w.Source.Remove("snap-r1.dat") }, Unusable,
			"snap-r1.dat",
		},
		"its own object is damaged": {
			func(w *mirrorWorld) { w.Source.Store("snap-r1.dat", []byte("x")) },
			Unusable, "can't be understood",
		},
		"its own object is another's": {func(w *mirrorWorld) {
			w.Source.Store("snap-r1.dat",
				w.LegacyObjects()["snap-r0.dat"])
		}, Unusable, "another snapshot"},
		"its global metadata is lost": {
			func(w *mirrorWorld) { w.Source.Remove("meta-r1.dat") }, Unusable,
			"meta-r1.dat",
		},
		"the root doesn't list it": {func(w *mirrorWorld) {
			w.Source.Store("index",
				[]byte(`{"snapshots":["r0"]}`))
		}, Unusable, "index in S3 doesn't list it"},
		"the root is damaged": {
			func(w *mirrorWorld) { w.Source.Store("index", []byte(`{"snapshots":`)) },
			Damaged, "can't be understood",
		},
		"the root has a hostile name": {func(w *mirrorWorld) {
			w.Source.Store("index",
				[]byte(`{"snapshots":["r1","../../r2"]}`))
		}, Damaged, "slash"},
		"there is no repository": {func(w *mirrorWorld) { w.Source.Remove("index") }, Missing, "no repository"},
		"the other snapshot lost a blob": {
			func(w *mirrorWorld) { w.Source.Remove(shardBlobOf(w, "r0")) }, Unusable,
			"It belongs to another snapshot",
		},
		"the repository is one of 1.x": {func(w *mirrorWorld) {
			w.Source.Replace(map[string][]byte{
				"index": []byte(`{"snapshots":["r1"]}`), "snapshot-r1": []byte("x"),
				"metadata-r1": []byte("x"),
			})
		}, Refused, "Elasticsearch 1.x"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newMirrorWorld()
			w.Take("r0", repositorytest.CreateIndex("movies", 2), repositorytest.CreateIndex("only0", 1))
			w.Take("r1", repositorytest.DeleteIndex("only0"), repositorytest.AddSegments("movies", 2, 900))
			tt.harm(w)
			_, err := w.Run(t, w.Request("r1"))
			requireKind(t, tt.kind, err)
			require.ErrorContains(t, err, tt.says)
			require.NotContains(t, w.Sink.Objects(), "index")
		})
	}
	for _, state := range []repository.State{repository.StateFailed, repository.StatePartial} {
		w := newMirrorWorld()
		r0 := w.Take("r0", repositorytest.Outcome(state), repositorytest.CreateIndex("movies", 1))
		_, err := w.Run(t, w.Request(r0))
		requireKind(t, Unusable, err)
		require.ErrorContains(t, err, state.String())
		require.Empty(t, w.Sink.Objects())
	}
}

// Metadata that was read to find out what is needed must still be there to be copied.
func TestMirrorWhileMetadataVanishes(t *testing.T) {
	for _, key := range []string{"indices/movies/meta-r0.dat", "indices/movies/1/snap-r0.dat", "snap-r0.dat"} {
		t.Run(key, func(t *testing.T) {
			w := newMirrorWorld()
			r0 := w.Take("r0", repositorytest.CreateIndex("movies", 2))
			w.Source.SetHooks(memory.Hooks{After: func(c memory.Call) error {
				if c.Key == key && c.Op == "Get" {
					w.Source.Remove(key)
				}
				return nil
			}})
			_, err := w.Run(t, w.Request(r0))
			requireKind(t, Unusable, err)
			require.ErrorContains(t, err, key)
			require.NotContains(t, w.Sink.Objects(), "index")
		})
	}
}

// shardBlobOf is a data blob that only this snapshot needs.
func shardBlobOf(w *mirrorWorld, name string) string {
	for _, key := range slices.Sorted(maps.Keys(w.LegacyBlobs(name))) {
		if strings.HasPrefix(key, "indices/only0/") {
			return key
		}
	}
	return ""
}

// An object that no snapshot needs is gone when the copy comes to it: the tail of a delete.
func TestMirrorWhileOrphansVanish(t *testing.T) {
	const orphan = "indices/movies/0/__0orphan"
	w := newMirrorWorld()
	r0 := w.Take("r0", repositorytest.CreateIndex("movies", 2))
	w.Source.Store(orphan, []byte("x"))
	w.Source.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
		if c.Op == "ReadRange" && c.Key == orphan {
			w.Source.Remove(orphan)
		}
		return nil
	}})
	result, err := w.Run(t, w.Request(r0))
	require.NoError(t, err)
	w.RequirePublished(t, r0)
	require.NotContains(t, w.Sink.Objects(), orphan)
	require.Equal(t, int64(len(w.LegacyBlobs(r0))), result.BlobsCopied)

	// One that a snapshot needs may not.
	w.Copy(t, r0)
	r1 := w.Take("r1", repositorytest.AddSegments("movies", 2, 300))
	w.Source.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
		if _, needed := w.LegacyBlobs(r1)[c.Key]; c.Op == "ReadRange" && needed {
			w.Source.Remove(c.Key)
		}
		return nil
	}})
	_, err = w.Run(t, w.Request(r1))
	requireKind(t, Unusable, err)
}

// A baseline rests on a second listing: what was lost or replaced in OSS after its PUT stops the
// publish.
func TestMirrorBaselineIsProven(t *testing.T) {
	for name, harm := range map[string]func(w *mirrorWorld, key string){
		"lost":     func(w *mirrorWorld, key string) { w.Sink.Remove(key) },
		"replaced": func(w *mirrorWorld, key string) { w.Sink.Store(key, make([]byte, len(w.LegacyObjects()[key]))) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newMirrorWorld()
			r0 := w.Take("r0", repositorytest.CreateIndex("movies", 2))
			w.Sink.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
				if copied := sidestest.Keys(w.Sink.Objects()); c.Op == "List" && len(copied) > 0 {
					harm(w, slices.Min(copied))
				}
				return nil
			}})
			_, err := w.Run(t, w.Request(r0))
			requireKind(t, Conflict, err)
			require.NotContains(t, w.Sink.Objects(), "index")
		})
	}
}

// What goes wrong on the way and passes isn't seen, and nothing wrong arrives.
func TestMirrorThroughFaults(t *testing.T) {
	w := newMirrorWorld()
	var n atomic.Int64
	everyFew := func(c memory.Call) error {
		if n.Add(1)%7 != 0 {
			return nil
		}
		if n.Load()%2 == 0 {
			return memory.Failure(objectstore.Throttled, c)
		}
		return memory.Failure(objectstore.Transient, c)
	}
	damage := func(_ memory.Call, data []byte) []byte {
		if len(data) > 0 && n.Add(1)%61 == 0 {
			data[0] ^= 1
		}
		return data
	}
	w.Source.SetHooks(memory.Hooks{Before: everyFew, Read: damage})
	w.Sink.SetHooks(memory.Hooks{Before: everyFew, After: everyFew, Write: damage})
	w.Copy(t, w.Take("r0", repositorytest.CreateIndex("movies", 3), repositorytest.AddSegments("movies", 3, 300)))
	w.Copy(t, w.Take("r1", repositorytest.AddSegments("movies", 3, 300)))
}

// Whatever keys stand in S3, nothing is written but what Elasticsearch writes below the base path.
func TestMirrorOfHostileKeys(t *testing.T) {
	w := newMirrorWorld()
	r0 := w.Take("r0", repositorytest.CreateIndex("movies", 1))
	for _, key := range []string{
		"indices/../__a", "indices/../../etc/passwd", "indices//0/__a", "indices/movies//__a", "indices/movies/0/__a\n",
		"indices/movies/0/../__a",
		"indices/movies/-1/__a", "indices/movies/99999999999999999999/__a", "indices/movies/00/__a",
		"indices/movies/0/__a.part", "indices/movies/0/__a.part-1",
		"indices/movies/0/__", "indices/" + strings.Repeat("x", 300) + "/0/__a", "indices/mo\\vies/0/__a", "index-",
		"index-x", "index-99999999999999999999",
		"indices/movies/0/snap-.dat", "snap-.dat", "indices/./0/__a",
	} {
		w.Source.Store(key, []byte("hostile"))
	}
	_, err := w.Run(t, w.Request(r0))
	require.NoError(t, err)
	require.ElementsMatch(t, sidestest.Keys(w.LegacyObjects()), sidestest.Keys(w.Sink.Objects()))
}
