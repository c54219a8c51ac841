package ferry

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/objectstore/memory"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/repository/repositorytest"
	"github.com/snapferry/snapferry/internal/sides/sidestest"
	"github.com/snapferry/snapferry/migration"
)

func TestPagesHoldEachBlobOnce(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 200 {
		sizes := map[repository.ShardID][]int64{}
		var count, bytes, largest int64
		for range random.IntN(20) {
			shard := repository.ShardID{IndexID: string(rune('a' + random.IntN(5))), Number: random.IntN(4)}
			count -= int64(len(sizes[shard]))
			for _, size := range sizes[shard] {
				bytes -= size
			}
			sizes[shard] = nil
			for range random.IntN(300) {
				size := random.Int64N(1000)
				sizes[shard] = append(sizes[shard], size)
				bytes, count, largest = bytes+size, count+1, max(largest, size)
			}
		}
		g := Paging{Blobs: 1 + random.Int64N(100), Bytes: 1 + random.Int64N(20_000), Most: 1 + random.Int64N(50)}
		pages := g.cut(sizes, random.IntN(20))
		require.LessOrEqual(t, int64(len(pages)), 2*g.Most+1)
		next := map[repository.ShardID]int{}
		for _, page := range pages {
			var blobs, size int64
			for _, r := range page.Shards {
				shard := repository.ShardID{IndexID: r.IndexID, Number: r.Shard}
				require.Equal(t, next[shard], r.From)
				require.Greater(t, r.To, r.From)
				next[shard] = r.To
				for _, s := range sizes[shard][r.From:r.To] {
					blobs, size = blobs+1, size+s
				}
			}
			require.Positive(t, blobs)
			require.Equal(t, migration.CopyPage{Shards: page.Shards, Blobs: blobs, Bytes: size}, page)
			require.LessOrEqual(t, blobs, max(g.Blobs, count/g.Most+1)*5/4)
			require.LessOrEqual(t, size, max(max(g.Bytes, bytes/g.Most+1)*3/2+largest/2+1, largest))
		}
		for shard, of := range sizes {
			require.Equal(t, len(of), next[shard])
		}
	}
}

// A shard of 200 GB in blobs of 1 GB spreads, and what is much larger has larger pages instead of
// more.
func TestPagesSpreadAndStayFew(t *testing.T) {
	g := DefaultPaging
	shard := repository.ShardID{IndexID: "i"}
	large := make([]int64, 200)
	for i := range large {
		large[i] = 1 << 30
	}
	require.Len(t, g.cut(map[repository.ShardID][]int64{shard: large}, 16), 200)
	large = make([]int64, 20_000)
	for i := range large {
		large[i] = 1 << 30
	}
	require.LessOrEqual(t, len(g.cut(map[repository.ShardID][]int64{shard: large}, 16)), int(DefaultPaging.Most))
	small := map[repository.ShardID][]int64{}
	for n := range 200 {
		small[repository.ShardID{IndexID: "i", Number: n}] = make([]int64, 500)
	}
	require.Len(t, g.cut(small, 1), 50, "small shards share pages")
	require.Len(t, g.cut(small, 16), 64, "each of 16 at once has several in turn")
	// A little more than four pages are four, and not five with a small one that all wait for.
	require.Len(t,
		g.cut(map[repository.ShardID][]int64{shard: append(slices.Repeat([]int64{64 << 20}, 32), 1000, 1000)}, 16), 4)
	few := map[repository.ShardID][]int64{shard: make([]int64, DefaultPaging.Blobs+1)}
	require.Len(t, g.cut(few, 16), 8, "pages are never tiny")
}

// What is lost or replaced in OSS between the pages and the publish stops it, until a person
// retries.
func TestPagesAreProvenBeforeThePublish(t *testing.T) {
	for name, harm := range map[string]func(w *world, key string){
		"lost":     func(w *world, key string) { w.Sink.Remove(key) },
		"replaced": func(w *world, key string) { w.Sink.Store(key, make([]byte, len(w.Objects()[key]))) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(repositorytest.Layout55)
			w.pages = smallPages
			r0 := w.Take("r0", repositorytest.CreateIndex("movies", 2))
			var mu sync.Mutex // several shards are listed at once
			harmed := ""
			w.Sink.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
				mu.Lock()
				defer mu.Unlock()
				copied := sidestest.Keys(w.Sink.Objects())
				if c.Op == "List" && len(copied) == len(w.Blobs(r0)) && harmed == "" {
					harmed = copied[len(copied)/2]
					harm(w, harmed)
				}
				return nil
			}})
			_, err := w.Run(t, w.Request(r0))
			requireKind(t, Conflict, err)
			require.ErrorContains(t, err, harmed)
			require.Nil(t, sidestest.RequireReadable(t, w.Sink.Objects()))
			// A person's retry fixes it.
			w.Copy(t, r0)
		})
	}
}

// After a page that died, its next attempt reads nothing again that stands in OSS.
func TestAPageGoesOnWhereItDied(t *testing.T) {
	w := newWorld(repositorytest.Layout55)
	w.pages = Paging{Blobs: 40, Bytes: 1 << 30, Most: DefaultPaging.Most}
	r0 := w.Take("r0", repositorytest.CreateIndex("movies", 2), repositorytest.AddSegments("movies", 30, 300))
	var puts atomic.Int64
	w.Sink.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
		if c.Op == "Put" && puts.Add(1) == 25 {
			return memory.Failure(objectstore.Forbidden, c)
		}
		return nil
	}})
	request := w.Request(r0)
	request.Plan.Copy.Concurrency = 1
	_, err := w.Run(t, request)
	require.Error(t, err)
	w.Sink.SetHooks(memory.Hooks{})
	stood := w.Sink.Objects()
	var mu sync.Mutex
	read := map[string]int{}
	w.Source.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
		if c.Op == "ReadRange" {
			mu.Lock()
			defer mu.Unlock()
			read[c.Key]++
		}
		return nil
	}})
	_, err = w.Run(t, request)
	require.NoError(t, err)
	w.RequirePublished(t, r0)
	for key := range stood {
		if repository.Classify(key).Class == repository.ClassData {
			require.Zero(t, read[key], key)
		}
	}
}
