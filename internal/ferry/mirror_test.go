package ferry

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

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
