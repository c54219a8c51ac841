package activities

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/objectstore/memory"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/repository/repositorytest"
	"github.com/snapferry/snapferry/migration"
)

// Whatever dies after any write, a reader sees the old repository or the new
// one, and the next attempt ends well.
func TestCopyCrashes(t *testing.T) {
	eachLayout(t, func(t *testing.T, _ *copyWorld) {
		for _, carriedOut := range []bool{false, true} {
			for n := 0; ; n++ {
				if !crashOnce(t, n, carriedOut) {
					require.Greater(t, n, 20)
					break
				}
			}
		}
	})
}

func crashOnce(t *testing.T, n int, carriedOut bool) (crashed bool) {
	w := newCopyWorld(layouts[t.Name()[len("TestCopyCrashes/"):]])
	r0 := w.snapshot("r0", repositorytest.CreateIndex("movies", 2))
	if n%2 == 0 { // every other time it is the baseline that dies
		w.carry(t, r0)
		r0 = w.snapshot("r1", repositorytest.AddSegments("movies", 2, 300), repositorytest.CreateIndex("logs", 1))
	} else {
		r0 = w.snapshot("r0-a2", repositorytest.AddSegments("movies", 2, 300))
	}
	died := w.crashAt(n, carriedOut)
	_, err := w.run(t, w.request(r0))
	w.sink.SetHooks(memory.Hooks{})
	root := requireReadable(t, w.sink.Objects())
	if !died() {
		require.NoError(t, err)
		return false
	}
	require.Error(t, err)
	if root != nil && root.Generation == w.Generation() {
		require.True(t, n > 10, "published after %d writes?", n)
	}
	w.carry(t, r0)
	return true
}

// The same with the source going on: the died attempt's snapshot stays behind
// and the next one is carried instead.
func TestCopyCrashThenNewSnapshot(t *testing.T) {
	eachLayout(t, func(t *testing.T, _ *copyWorld) {
		layout := layouts[t.Name()[len("TestCopyCrashThenNewSnapshot/"):]]
		for n := 0; n < 40; n += 3 {
			w := newCopyWorld(layout)
			w.carry(t, w.snapshot("r0", repositorytest.CreateIndex("movies", 2)))
			a1 := w.snapshot("r1-a1", repositorytest.AddSegments("movies", 2, 300))
			died := w.crashAt(n, true)
			_, err := w.run(t, w.request(a1))
			w.sink.SetHooks(memory.Hooks{})
			requireReadable(t, w.sink.Objects())
			if !died() {
				require.NoError(t, err)
				return
			}
			if root := requireReadable(t, w.sink.Objects()); root.Generation == w.Generation() {
				continue // it was published: the workflow would repeat the copy
			}
			if n%2 == 0 {
				w.Delete("r1-a1")
			}
			w.carry(t, w.snapshot("r1-a2", repositorytest.AddSegments("movies", 2, 300)))
		}
	})
}

// What goes wrong on the way and passes isn't seen, and nothing wrong arrives.
func TestCopyThroughFaults(t *testing.T) {
	eachLayout(t, func(t *testing.T, w *copyWorld) {
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
		w.source.SetHooks(memory.Hooks{Before: everyFew, Read: damage})
		w.sink.SetHooks(memory.Hooks{Before: everyFew, After: everyFew, Write: damage})
		w.carry(t, w.snapshot("r0", repositorytest.CreateIndex("movies", 3), repositorytest.AddSegments("movies", 3, 300)))
		w.carry(t, w.snapshot("r1", repositorytest.AddSegments("movies", 3, 300)))
	})
}

// What doesn't pass soon is left to Temporal's retries, and forbidden is not.
func TestCopyFailures(t *testing.T) {
	w := newCopyWorld(repositorytest.Layout55)
	r0 := w.snapshot("r0", repositorytest.CreateIndex("movies", 1))
	for kind, permanent := range map[objectstore.Kind]migration.ErrorType{
		objectstore.Throttled: "", objectstore.Transient: "", objectstore.Forbidden: migration.ErrorUnauthorized, objectstore.BucketMissing: migration.ErrorMissing,
	} {
		w.sink.SetHooks(memory.Hooks{Before: func(c memory.Call) error { return memory.Failure(kind, c) }})
		_, err := w.run(t, w.request(r0))
		if permanent == "" {
			requireRetryable(t, err)
		} else {
			requireType(t, permanent, err)
		}
	}
	_, err := newCopyWorld(repositorytest.Layout55).run(t, w.request(r0))
	requireType(t, migration.ErrorMissing, err)
}

func TestCopyEndsWhenTheWorkerStops(t *testing.T) {
	w := newCopyWorld(repositorytest.Layout55)
	r0 := w.snapshot("r0", repositorytest.CreateIndex("movies", 1))
	stop := make(chan struct{})
	var once sync.Once
	c := &Copier{
		pages:   onePage,
		source:  func(context.Context, migration.Run) (objectstore.Source, error) { return w.source, nil },
		sink:    func(context.Context, migration.Run) (objectstore.Sink, error) { return w.sink, nil },
		beating: NewCopier().beating,
	}
	w.sink.SetHooks(memory.Hooks{Before: func(call memory.Call) error {
		if call.Op == "Put" {
			once.Do(func() { close(stop) })
			return memory.Failure(objectstore.Transient, call) // and so on for half a minute
		}
		return nil
	}})
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(quiet{})
	env := suite.NewTestActivityEnvironment()
	env.SetWorkerStopChannel(stop)
	env.RegisterActivity(c.CopySnapshot)
	request := w.request(r0)
	request.Plan.Copy.Concurrency = 1
	_, err := env.ExecuteActivity(c.CopySnapshot, request)
	requireRetryable(t, err)
	require.ErrorContains(t, err, errWorkerStopping.Error())
}

// A baseline rests on a full listing: what was lost or replaced in OSS after its
// PUT stops the publish.
func TestCopyBaselineIsProven(t *testing.T) {
	for name, harm := range map[string]func(w *copyWorld, key string){
		"lost":     func(w *copyWorld, key string) { w.sink.Remove(key) },
		"replaced": func(w *copyWorld, key string) { w.sink.Store(key, make([]byte, len(w.Objects()[key]))) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newCopyWorld(repositorytest.Layout55)
			r0 := w.snapshot("r0", repositorytest.CreateIndex("movies", 2))
			w.sink.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
				copied := keys(w.sink.Objects())
				if c.Op == "List" && len(copied) > 0 {
					harm(w, slices.Min(copied))
				}
				return nil
			}})
			_, err := w.run(t, w.request(r0))
			requireType(t, migration.ErrorRepository, err)
			require.Nil(t, requireReadable(t, w.sink.Objects()))
		})
	}
}

// An attempt that was given up and hangs right before it writes index-N comes
// back when a newer snapshot is published already.
func TestCopyThatComesBackLateLeavesTheNewerPublishAlone(t *testing.T) {
	eachLayout(t, func(t *testing.T, w *copyWorld) {
		w.carry(t, w.snapshot("r0", repositorytest.CreateIndex("movies", 1)))
		r1 := w.snapshot("r1", repositorytest.AddSegments("movies", 1, 300))
		stale := w.request(r1)
		var held atomic.Bool
		var r2 string
		w.sink.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
			if c.Op == "Put" && c.Key == repository.RootIndexKey(1) && held.CompareAndSwap(false, true) {
				w.carry(t, r1) // the attempt that took over
				r2 = w.snapshot("r2", repositorytest.AddSegments("movies", 1, 300))
				w.carry(t, r2)
			}
			return nil
		}})
		_, err := w.run(t, stale)
		require.NoError(t, err)
		require.True(t, held.Load())
		w.requirePublished(t, r2)
		require.Equal(t, repository.EncodeLatest(2), w.sink.Objects()[repository.LatestKey])
	})
}
