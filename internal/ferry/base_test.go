package ferry

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/objectstore/memory"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/repository/repositorytest"
	"github.com/snapferry/snapferry/internal/sides/sidestest"
	"github.com/snapferry/snapferry/migration"
)

// roundName names the snapshot of a round as a migration does.
func roundName(n int) string { return migration.SnapshotName("movies", n, 1) }

// asked counts requests, by key.
type asked struct {
	mu   sync.Mutex
	keys map[string]int
}

func (a *asked) hooks() memory.Hooks {
	return memory.Hooks{Before: func(c memory.Call) error {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.keys == nil {
			a.keys = map[string]int{}
		}
		a.keys[c.Op+" "+c.Key]++
		return nil
	}}
}

// infos are how often snapshots' own objects were read.
func (a *asked) infos() (n int) {
	for call, times := range a.keys {
		if strings.HasPrefix(call, "Get snap-") {
			n += times
		}
	}
	return n
}

func (a *asked) all() (n int) {
	for _, times := range a.keys {
		n += times
	}
	return n
}

// copyFirst copies a snapshot of which nothing was copied before: so what the base has is all that
// is known to be there.
func (w *world) copyFirst(t *testing.T, uuid string) migration.CopyResult {
	t.Helper()
	w.Begun = false
	return w.Copy(t, uuid)
}

// newBlobs are those of a snapshot that none of the others has.
func (w *world) newBlobs(of string, others ...string) (n int64) {
	had := map[string]bool{}
	for _, other := range others {
		for key := range w.Blobs(other) {
			had[key] = true
		}
	}
	for key := range w.Blobs(of) {
		if !had[key] {
			n++
		}
	}
	return n
}

// An index takes part in rounds 0 and 3 only: round 3 copies what it has got since round 0, without
// a look at what is there, and although nothing of it is in the snapshots between.
func TestTheBaseOfADeltaIsAMatterOfEachIndex(t *testing.T) {
	eachLayout(t, func(t *testing.T, w *world) {
		r0 := w.Take(roundName(0), repositorytest.CreateIndex("movies", 2), repositorytest.CreateIndex("logs", 2),
			repositorytest.AddSegments("movies", 3, 300))
		w.Copy(t, r0)
		for n := 1; n <= 2; n++ {
			w.Copy(t, w.Take(roundName(n), repositorytest.AddSegments("logs", 1, 300), repositorytest.Only("logs")))
		}
		r2 := w.Base
		r3 := w.Take(roundName(3), repositorytest.AddSegments("movies", 1, 300),
			repositorytest.AddSegments("logs", 1, 300), repositorytest.CreateIndex("new", 1))
		var source, sink asked
		w.Source.SetHooks(source.hooks())
		w.Sink.SetHooks(sink.hooks())
		result := w.copyFirst(t, r3)
		require.Equal(t, w.newBlobs(r3, r0, r2), result.BlobsCopied, "only the real delta")
		require.Equal(t, int64(len(w.Blobs(r3)))-result.BlobsCopied, result.BlobsSkipped)
		require.Zero(t, sink.infos(), "the names of our snapshots give their order")
	})
}

// What a round asks for follows from its delta: neither the number of rounds nor that of indices
// that it leaves out plays a role.
func TestRequestsGrowWithTheDelta(t *testing.T) {
	eachLayout(t, func(t *testing.T, w *world) {
		indices := []repositorytest.Change{
			repositorytest.CreateIndex("movies", 1), repositorytest.CreateIndex("old", 1),
		}
		for n := range 20 {
			indices = append(indices, repositorytest.CreateIndex(fmt.Sprintf("idle-%d", n), 2))
		}
		w.Copy(t, w.Take(roundName(0), indices...))
		ask := func(n int) (source, sink *asked) {
			source, sink = &asked{}, &asked{}
			uuid := w.Take(roundName(n), repositorytest.Merge("movies"), repositorytest.Merge("old"),
				repositorytest.Only("movies", "old"))
			w.Source.SetHooks(source.hooks())
			w.Sink.SetHooks(sink.hooks())
			w.copyFirst(t, uuid)
			w.Source.SetHooks(memory.Hooks{})
			w.Sink.SetHooks(memory.Hooks{})
			return source, sink
		}
		fromFew, toFew := ask(1)
		for n := 2; n < 50; n++ {
			w.Copy(t, w.Take(roundName(n), repositorytest.Merge("movies"), repositorytest.Only("movies")))
		}
		fromMany, toMany := ask(50)
		require.Equal(t, fromFew.all(), fromMany.all(), "%v", fromMany.keys)
		require.Equal(t, toFew.all(), toMany.all(), "%v", toMany.keys)
	})
}

// ETags that say nothing of the bytes, as S3 gives them with KMS, cost no copy of what earlier
// rounds have published.
func TestRequestsGrowWithTheDeltaWithKMS(t *testing.T) {
	eachLayout(t, func(t *testing.T, w *world) {
		encrypted := map[string][]byte{}
		ask := func(n int) (source, sink *asked) {
			source, sink = &asked{}, &asked{}
			changes := []repositorytest.Change{repositorytest.CreateIndex("movies", 1)}
			if n > 0 {
				changes = []repositorytest.Change{repositorytest.Merge("movies")}
			}
			uuid := w.Take(roundName(n), changes...)
			for key, data := range w.Objects() {
				if !bytes.Equal(encrypted[key], data) {
					w.Source.StoreEncrypted(key, data)
					encrypted[key] = data
				}
			}
			w.Source.SetHooks(source.hooks())
			w.Sink.SetHooks(sink.hooks())
			w.copyFirst(t, uuid)
			w.Source.SetHooks(memory.Hooks{})
			w.Sink.SetHooks(memory.Hooks{})
			return source, sink
		}
		ask(0)
		fromFew, toFew := ask(1)
		for n := 2; n < 20; n++ {
			ask(n)
		}
		fromMany, toMany := ask(20)
		require.Equal(t, fromFew.all(), fromMany.all(), "%v", fromMany.keys)
		require.Equal(t, toFew.all(), toMany.all(), "%v", toMany.keys)
	})
}

// The same where the workflow doesn't know what was published last: an attempt's answer got lost.
func TestAnUnknownPublishCostsNoLookAtEachSnapshot(t *testing.T) {
	eachLayout(t, func(t *testing.T, w *world) {
		w.Copy(t, w.Take(roundName(0), repositorytest.CreateIndex("movies", 1), repositorytest.CreateIndex("old", 1)))
		r0 := w.Base
		for n := 1; n < 20; n++ {
			w.Copy(t, w.Take(roundName(n), repositorytest.AddSegments("movies", 1, 100), repositorytest.Only("movies")))
		}
		last := w.Base
		w.Base, w.BaseGeneration = "", -1
		uuid := w.Take(roundName(20), repositorytest.AddSegments("movies", 1, 100))
		var sink asked
		w.Sink.SetHooks(sink.hooks())
		result := w.copyFirst(t, uuid)
		require.Equal(t, w.newBlobs(uuid, r0, last), result.BlobsCopied)
		require.Zero(t, sink.infos())
	})
}

// The newest snapshot that holds an index is deleted at the source: the one before is its base. If
// none is left, all of the index is copied.
func TestTheBaseOfAnIndexWasDeleted(t *testing.T) {
	eachLayout(t, func(t *testing.T, w *world) {
		w.Copy(t, w.Take(roundName(0), repositorytest.CreateIndex("movies", 2), repositorytest.CreateIndex("logs", 1)))
		r0 := w.Base
		w.Copy(t, w.Take(roundName(1), repositorytest.AddSegments("movies", 2, 300), repositorytest.Only("movies")))
		w.Copy(t, w.Take(roundName(2), repositorytest.AddSegments("logs", 1, 300), repositorytest.Only("logs")))
		w.Delete(roundName(1))
		r3 := w.Take(roundName(3), repositorytest.AddSegments("movies", 1, 300), repositorytest.Only("movies"))
		result := w.copyFirst(t, r3)
		if w.pages == onePage { // pages look at what is there
			require.Equal(t, w.newBlobs(r3, r0), result.BlobsCopied, "what round 1 had may be overwritten by now")
		}

		w.Delete(roundName(0))
		w.Delete(roundName(3))
		r4 := w.Take(roundName(4), repositorytest.AddSegments("movies", 1, 300), repositorytest.Only("movies"))
		result = w.copyFirst(t, r4)
		require.Equal(t, int64(len(w.Blobs(r4))), result.BlobsCopied)
	})
}

// An index that was deleted and created again keeps its id in the repository, whether it takes part
// in the next round or in a later one, with more shards or fewer.
func TestTheBaseOfAnIndexThatWasCreatedAgain(t *testing.T) {
	eachLayout(t, func(t *testing.T, w *world) {
		w.Copy(t, w.Take(roundName(0), repositorytest.CreateIndex("movies", 2), repositorytest.CreateIndex("logs", 1)))
		w.Copy(t, w.Take(roundName(1), repositorytest.AddSegments("logs", 1, 300), repositorytest.Only("logs")))
		for n, shards := range []int{4, 1, 2} {
			r := w.Take(roundName(2+n), repositorytest.DeleteIndex("movies"),
				repositorytest.CreateIndex("movies", shards), repositorytest.Only("movies"))
			result := w.copyFirst(t, r)
			require.Equal(t, int64(len(w.Blobs(r))), result.BlobsCopied)
		}
	})
}

// Snapshots whose names say nothing tell their times themselves: each is read once, and only if an
// index has the choice.
func TestForeignSnapshotsTellTheirTimes(t *testing.T) {
	eachLayout(t, func(t *testing.T, w *world) {
		w.Copy(t, w.Take(roundName(0), repositorytest.CreateIndex("movies", 2), repositorytest.CreateIndex("logs", 2),
			repositorytest.CreateIndex("old", 1)))
		r0 := w.Base
		w.Copy(t, w.Take(roundName(1), repositorytest.AddSegments("movies", 1, 300), repositorytest.Only("movies")))
		w.Take("theirs-b", repositorytest.AddSegments("movies", 2, 300), repositorytest.AddSegments("logs", 2, 300),
			repositorytest.Only("movies", "logs"))
		theirs := w.Take("theirs-a", repositorytest.AddSegments("movies", 2, 300),
			repositorytest.AddSegments("logs", 2, 300), repositorytest.Only("movies", "logs"))
		w.Copy(t, w.Take(roundName(2), repositorytest.AddSegments("old", 1, 300), repositorytest.Only("old")))
		r3 := w.Take(roundName(3), repositorytest.AddSegments("movies", 1, 300),
			repositorytest.AddSegments("logs", 1, 300), repositorytest.Only("movies", "logs"))
		var sink asked
		w.Sink.SetHooks(sink.hooks())
		result := w.copyFirst(t, r3)
		require.Equal(t, w.newBlobs(r3, theirs), result.BlobsCopied)
		if w.pages == onePage {
			require.Equal(t, 4, sink.infos(), "two of theirs, rounds 0 and 1 to compare them with: %v", sink.keys)
		}
		require.NotZero(t, w.newBlobs(theirs, r0))
	})
}

// A snapshot that OSS lists as anything but a success is nobody's base.
func TestASnapshotThatFailedIsNoBase(t *testing.T) {
	eachLayout(t, func(t *testing.T, w *world) {
		w.Copy(t, w.Take(roundName(0), repositorytest.CreateIndex("movies", 2), repositorytest.CreateIndex("logs", 1)))
		r0 := w.Base
		w.Take(roundName(1), repositorytest.Outcome(repository.StatePartial),
			repositorytest.AddSegments("movies", 2, 300), repositorytest.Only("movies"))
		w.Copy(t, w.Take(migration.SnapshotName("movies", 1, 2), repositorytest.AddSegments("logs", 1, 300),
			repositorytest.Only("logs")))
		r2 := w.Take(roundName(2), repositorytest.AddSegments("movies", 1, 300), repositorytest.Only("movies"))
		result := w.copyFirst(t, r2)
		require.Equal(t, w.newBlobs(r2, r0), result.BlobsCopied)
	})
}

// Roots before 5.3 give no states: of the snapshots that OSS lists none is read again for that.
func TestRootsWithoutStatesCostNoLookAtEachSnapshot(t *testing.T) {
	w := newWorld(repositorytest.Layout55)
	w.pages = onePage
	stateless := func() {
		for key, data := range w.Objects() {
			if repository.Classify(key).Class == repository.ClassRootIndex {
				w.Source.Store(key, withoutStates(data))
			}
		}
	}
	copyOf := func(uuid string) migration.CopyResult {
		stateless()
		w.Begun = false
		result, err := w.Run(t, w.Request(uuid))
		require.NoError(t, err)
		w.Base, w.BaseGeneration = uuid, result.Generation
		return result
	}
	r0 := w.Take(roundName(0), repositorytest.CreateIndex("movies", 1), repositorytest.CreateIndex("logs", 1))
	copyOf(r0)
	for n := 1; n < 10; n++ {
		copyOf(w.Take(roundName(n), repositorytest.AddSegments("logs", 1, 100), repositorytest.Only("logs")))
	}
	r10 := w.Take(roundName(10), repositorytest.AddSegments("movies", 1, 100), repositorytest.Only("movies"))
	var source, sink asked
	w.Source.SetHooks(source.hooks())
	w.Sink.SetHooks(sink.hooks())
	require.Equal(t, w.newBlobs(r10, r0), copyOf(r10).BlobsCopied)
	require.LessOrEqual(t, source.infos(), 2, "itself, to judge and to publish it: %v", source.keys)
	require.Equal(t, 1, sink.infos(), "the base: %v", sink.keys)
	require.Equal(t, w.Sink.Objects()[repository.RootIndexKey(w.Generation())],
		withoutStates(w.Objects()[repository.RootIndexKey(w.Generation())]))
	for n := range maps.Keys(w.Blobs(r10)) {
		require.Contains(t, w.Sink.Objects(), n)
	}
}

func withoutStates(root []byte) []byte {
	return []byte(strings.NewReplacer(`"state":1,`, "", `,"state":1`, "").Replace(string(root)))
}

// While a snapshot runs, its shards are copied against the newest snapshot that holds their index,
// and the copy of the complete snapshot takes that for what it is.
func TestStreamTakesTheBaseOfEachIndex(t *testing.T) {
	eachLayout(t, func(t *testing.T, w *world) {
		r0 := w.Take(roundName(0), repositorytest.CreateIndex("movies", 2), repositorytest.CreateIndex("logs", 2),
			repositorytest.AddSegments("movies", 3, 300))
		w.Copy(t, r0)
		w.Copy(t, w.Take(roundName(1), repositorytest.AddSegments("logs", 1, 300), repositorytest.Only("logs")))
		r1 := w.Base
		before := w.Objects()
		r2 := w.Take(roundName(2), repositorytest.AddSegments("movies", 1, 300),
			repositorytest.AddSegments("logs", 1, 300))
		w.running(t, before)
		streamed, err := w.stream(t, r2, append(shardsOf("movies", 2), shardsOf("logs", 2)...)...)
		require.NoError(t, err)
		require.Len(t, streamed.Carried, 4)
		require.Equal(t, w.newBlobs(r2, r0, r1), streamed.BlobsCopied)
		w.Sync()
		writes := sidestest.CountData(w.Sink)
		request := w.Request(r2)
		request.Carried = streamed.Carried
		w.Begun = false
		_, err = w.Run(t, request)
		require.NoError(t, err)
		w.RequirePublished(t, r2)
		require.Zero(t, writes())
	})
}

// Pages of a worker's older version have one base for all indices.
func TestPagesWithOneBase(t *testing.T) {
	w := newWorld(repositorytest.Layout710)
	w.pages = smallPages
	r0 := w.Take(roundName(0), repositorytest.CreateIndex("movies", 2), repositorytest.CreateIndex("logs", 2))
	w.Copy(t, r0)
	r1 := w.Take(roundName(1), repositorytest.AddSegments("logs", 2, 300), repositorytest.AddSegments("movies", 2, 300))
	request := w.Request(r1)
	steps := w.Steps(t)
	planned, err := steps.Copy(request)
	require.NoError(t, err)
	require.NotNil(t, planned.Pages)
	require.Equal(t, r0, planned.Pages.Delta.Base)
	planned.Pages.Delta.Bases = 0
	publish := migration.PublishRequest{CopyRequest: request, Delta: planned.Pages.Delta}
	for _, page := range planned.Pages.Pages {
		require.False(t, slices.ContainsFunc(page.Shards, func(r migration.ShardRange) bool { return r.Base != "" }))
		done, err := steps.Page(migration.PageRequest{
			Run: request.Run, Snapshot: request.Snapshot, Delta: planned.Pages.Delta, Page: page,
		})
		require.NoError(t, err)
		require.False(t, done.Moved)
		publish.Blobs += page.Blobs
		publish.Digest += done.Digest
	}
	done, err := steps.Publish(publish)
	require.NoError(t, err)
	require.False(t, done.Moved)
	w.RequirePublished(t, r1)
}

// Between plan and publish the base of an index goes: the pages are planned again, and nothing is
// published that rests on the one that went.
func TestPagesWhoseBaseGoes(t *testing.T) {
	for name, layout := range sidestest.Layouts {
		t.Run(name, func(t *testing.T) {
			w := newWorld(layout)
			w.pages = smallPages
			r0 := w.Take(roundName(0), repositorytest.CreateIndex("movies", 2), repositorytest.CreateIndex("logs", 2))
			w.Copy(t, r0)
			w.Copy(t, w.Take(roundName(1), repositorytest.AddSegments("logs", 2, 300), repositorytest.Only("logs")))
			request := w.Request(w.Take(roundName(2), repositorytest.AddSegments("logs", 2, 300),
				repositorytest.AddSegments("movies", 2, 300), repositorytest.CreateIndex("new", 1)))
			steps := w.Steps(t)
			planned, err := steps.Copy(request)
			require.NoError(t, err)
			bases := map[string]string{}
			for _, page := range planned.Pages.Pages {
				for _, r := range page.Shards {
					bases[r.IndexID] = r.Base
				}
			}
			other := r0
			if planned.Pages.Delta.Base == r0 {
				other = w.Base
			}
			require.ElementsMatch(t, []string{"", other, noBase}, slices.Collect(maps.Values(bases)))
			publish := migration.PublishRequest{CopyRequest: request, Delta: planned.Pages.Delta}
			for _, page := range planned.Pages.Pages {
				done, err := steps.Page(migration.PageRequest{
					Run: request.Run, Snapshot: request.Snapshot, Delta: planned.Pages.Delta, Page: page,
				})
				require.NoError(t, err)
				publish.Blobs += page.Blobs
				publish.Digest += done.Digest
			}
			publish.Delta.Bases++
			done, err := steps.Publish(publish)
			require.NoError(t, err)
			require.True(t, done.Moved)
			publish.Delta.Bases--
			done, err = steps.Publish(publish)
			require.NoError(t, err)
			require.False(t, done.Moved)
			w.RequirePublished(t, request.Snapshot.UUID)
		})
	}
}
