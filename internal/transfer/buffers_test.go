package transfer

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

func TestNewBuffers(t *testing.T) {
	for limit, block := range map[int64]int{
		LeastMemory: 128 << 10, LeastMemory + 1: 128 << 10, 1 << 20: 256 << 10, 100 << 20: 8 << 20, 0: 8 << 20,
		8 << 30: 8 << 20,
	} {
		b, err := NewBuffers(limit)
		require.NoError(t, err)
		require.Equal(t, block, b.block, "%d", limit)
		if limit == 0 {
			limit = DefaultMemory
		}
		require.LessOrEqual(t, int64(len(b.blocks)*b.block), limit)
		require.Greater(t, int64((len(b.blocks)+1)*b.block), limit, "all of it is used")
		for _, block := range b.blocks {
			require.Equal(t, b.block, block.room())
		}
	}
	for _, limit := range []int64{-1, 1, LeastMemory - 1} {
		_, err := NewBuffers(limit)
		require.ErrorContains(t, err, "at least 524288")
	}
}

// Whoever asks for whatever sizes: slabs never overlap, never exceed the limit, and end up whole
// again.
func TestBuffersHoldTheirLimit(t *testing.T) {
	const limit, workers, rounds = 1 << 20, 16, 400
	b, err := NewBuffers(limit)
	require.NoError(t, err)
	// First all of it: not a byte more is given then.
	var frees []func()
	for range limit / smallestSlab {
		_, free, err := b.get(t.Context(), 1)
		require.NoError(t, err)
		frees = append(frees, free)
	}
	require.Equal(t, int64(limit), b.InUse())
	full, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("it is full"))
	_, _, err = b.get(full, 1)
	require.ErrorContains(t, err, "it is full")
	for _, free := range frees {
		free()
	}
	var inUse, most atomic.Int64
	var done sync.WaitGroup
	for worker := range workers {
		done.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(worker), 1))
			for range rounds {
				n := 1 + rng.Int64N(int64(1)<<(rng.IntN(18)+1)) // up to a block
				slab, free, err := b.get(t.Context(), n)
				if err != nil || int64(len(slab)) != n {
					t.Errorf("%d bytes: got %d, %v", n, len(slab), err)
					return
				}
				now := inUse.Add(int64(cap(slab)))
				for m := most.Load(); now > m && !most.CompareAndSwap(m, now); m = most.Load() {
				}
				mark := byte(worker + 1)
				slab[0], slab[n/2], slab[n-1] = mark, mark, mark
				runtime.Gosched()
				if b.InUse() > limit {
					t.Errorf("%d bytes are handed out", b.InUse())
				}
				if slab[0] != mark || slab[n/2] != mark || slab[n-1] != mark {
					t.Error("somebody else has the same slab")
				}
				inUse.Add(-int64(cap(slab)))
				free()
			}
		})
	}
	done.Wait()
	require.LessOrEqual(t, most.Load(), int64(limit))
	require.Zero(t, b.InUse())
	for _, block := range b.blocks {
		require.Equal(t, b.block, block.room(), "its pieces are joined again")
	}
}

// A large slab is not overtaken by small ones, and those behind it go on when it is given up.
func TestBuffersServeInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := NewBuffers(LeastMemory)
		require.NoError(t, err)
		var frees []func()
		take := func(n int) {
			_, free, err := b.get(t.Context(), int64(n))
			require.NoError(t, err)
			frees = append(frees, free)
		}
		for range len(b.blocks) - 1 {
			take(b.block)
		}
		take(b.block / 2)
		var mu sync.Mutex
		served := map[string]error{}
		ask := func(ctx context.Context, name string, n int) {
			go func() {
				_, free, err := b.get(ctx, int64(n))
				mu.Lock()
				defer mu.Unlock()
				served[name] = err
				if err == nil {
					free()
				}
			}()
			synctest.Wait()
		}
		given := errors.New("no longer")
		ctx, cancel := context.WithCancelCause(t.Context())
		ask(ctx, "large", b.block)
		ask(t.Context(), "small", 1)
		require.Empty(t, served, "the small one would fit, but is behind")
		cancel(given)
		synctest.Wait()
		require.Equal(t, map[string]error{"large": given, "small": nil}, served)
		clear(served)
		ask(t.Context(), "large", b.block)
		ask(t.Context(), "small", 1)
		require.Empty(t, served)
		frees[0]()
		synctest.Wait()
		require.Equal(t, map[string]error{"large": nil, "small": nil}, served)
		for _, free := range frees[1:] {
			free()
		}
		require.Zero(t, b.InUse())
	})
}
