package ferry

import (
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/objectstore/memory"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/repository/repositorytest"
	"github.com/snapferry/snapferry/internal/sides/sidestest"
)

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
