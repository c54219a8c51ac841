package ferry

import (
	"slices"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/objectstore/memory"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/repository/repositorytest"
	"github.com/snapferry/snapferry/internal/sides/sidestest"
)

// Whatever dies after any write, a reader sees the old repository or the new one, and the next
// attempt ends well.
func TestCopyCrashes(t *testing.T) {
	eachLayout(t, func(t *testing.T, _ *world) {
		for _, reached := range []bool{false, true} {
			for n := 0; ; n++ {
				if !crashOnce(t, n, reached) {
					require.Greater(t, n, 20)
					break
				}
			}
		}
	})
}

func crashOnce(t *testing.T, n int, reached bool) (crashed bool) {
	w := newWorld(sidestest.Layouts[t.Name()[len("TestCopyCrashes/"):]])
	r0 := w.Take("r0", repositorytest.CreateIndex("movies", 2))
	if n%2 == 0 { // every other time it is the baseline that dies
		w.Copy(t, r0)
		r0 = w.Take("r1", repositorytest.AddSegments("movies", 2, 300), repositorytest.CreateIndex("logs", 1))
	} else {
		r0 = w.Take("r0-a2", repositorytest.AddSegments("movies", 2, 300))
	}
	died := w.CrashAt(n, reached)
	_, err := w.Run(t, w.Request(r0))
	w.Sink.SetHooks(memory.Hooks{})
	root := sidestest.RequireReadable(t, w.Sink.Objects())
	if !died() {
		require.NoError(t, err)
		return false
	}
	require.Error(t, err)
	if root != nil && root.Generation == w.Generation() {
		require.True(t, n > 10, "published after %d writes?", n)
	}
	w.Copy(t, r0)
	return true
}

// The same with the source going on: the died attempt's snapshot stays behind and the next one is
// copied instead.
func TestCopyCrashThenNewSnapshot(t *testing.T) {
	eachLayout(t, func(t *testing.T, _ *world) {
		layout := sidestest.Layouts[t.Name()[len("TestCopyCrashThenNewSnapshot/"):]]
		for n := 0; n < 40; n += 3 {
			w := newWorld(layout)
			w.Copy(t, w.Take("r0", repositorytest.CreateIndex("movies", 2)))
			a1 := w.Take("r1-a1", repositorytest.AddSegments("movies", 2, 300))
			died := w.CrashAt(n, true)
			_, err := w.Run(t, w.Request(a1))
			w.Sink.SetHooks(memory.Hooks{})
			sidestest.RequireReadable(t, w.Sink.Objects())
			if !died() {
				require.NoError(t, err)
				return
			}
			if root := sidestest.RequireReadable(t, w.Sink.Objects()); root.Generation == w.Generation() {
				continue // it was published: the workflow would repeat the copy
			}
			if n%2 == 0 {
				w.Delete("r1-a1")
			}
			w.Copy(t, w.Take("r1-a2", repositorytest.AddSegments("movies", 2, 300)))
		}
	})
}

// What goes wrong on the way and passes isn't seen, and nothing wrong arrives.
func TestCopyThroughFaults(t *testing.T) {
	eachLayout(t, func(t *testing.T, w *world) {
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
	})
}

// A baseline rests on a full listing: what was lost or replaced in OSS after its PUT stops the
// publish.
func TestCopyBaselineIsProven(t *testing.T) {
	for name, harm := range map[string]func(w *world, key string){
		"lost":     func(w *world, key string) { w.Sink.Remove(key) },
		"replaced": func(w *world, key string) { w.Sink.Store(key, make([]byte, len(w.Objects()[key]))) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(repositorytest.Layout55)
			r0 := w.Take("r0", repositorytest.CreateIndex("movies", 2))
			w.Sink.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
				copied := slices.DeleteFunc(sidestest.Keys(w.Sink.Objects()),
					func(key string) bool { return !sidestest.IsData(key) })
				if c.Op == "List" && len(copied) > 0 {
					harm(w, slices.Min(copied))
				}
				return nil
			}})
			_, err := w.Run(t, w.Request(r0))
			requireKind(t, Conflict, err)
			require.Nil(t, sidestest.RequireReadable(t, w.Sink.Objects()))
		})
	}
}

// An attempt that was given up and hangs right before it writes index-N comes back when a newer
// snapshot is published already.
func TestCopyThatComesBackLateLeavesTheNewerPublishAlone(t *testing.T) {
	eachLayout(t, func(t *testing.T, w *world) {
		w.Copy(t, w.Take("r0", repositorytest.CreateIndex("movies", 1)))
		r1 := w.Take("r1", repositorytest.AddSegments("movies", 1, 300))
		stale := w.Request(r1)
		var held atomic.Bool
		var r2 string
		w.Sink.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
			if c.Op == "Put" && c.Key == repository.RootIndexKey(1) && held.CompareAndSwap(false, true) {
				w.Copy(t, r1) // the attempt that took over
				r2 = w.Take("r2", repositorytest.AddSegments("movies", 1, 300))
				w.Copy(t, r2)
			}
			return nil
		}})
		_, err := w.Run(t, stale)
		require.NoError(t, err)
		require.True(t, held.Load())
		w.RequirePublished(t, r2)
		require.Equal(t, repository.EncodeLatest(2), w.Sink.Objects()[repository.LatestKey])
	})
}
