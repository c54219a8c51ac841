package ferry

import (
	"context"
	"fmt"
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
)

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
