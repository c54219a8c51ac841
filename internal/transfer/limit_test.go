package transfer_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/objectstore/memory"
	"github.com/snapferry/snapferry/internal/transfer"
)

// limited is a Mover between stores in memory, with four blobs of 256 KiB and one of 1 MiB in the
// source: 2 MiB.
func limited(t *testing.T,
	limits ...*transfer.Limit,
) (m *transfer.Mover, blobs []transfer.Blob, stats *transfer.Stats) {
	source, sink := memory.NewSource(), memory.NewSink()
	for i, size := range []int{256 << 10, 256 << 10, 256 << 10, 256 << 10, 1 << 20} {
		source.Store(string(rune('a'+i)), content(uint64(i), size))
	}
	for o, err := range source.List(t.Context(), "") {
		require.NoError(t, err)
		blobs = append(blobs, transfer.Blob{Key: o.Key, Size: o.Size, ETag: o.ETag})
	}
	stats = &transfer.Stats{}
	return transfer.New(source, sink, transfer.Options{Concurrency: 3, Limits: limits, Stats: stats}), blobs, stats
}

// The clock of a bubble stands still unless everybody waits, so what these tests measure is what
// the limits make of it.
func TestLimit(t *testing.T) {
	for name, limits := range map[string][]int64{
		"one": {512 << 10}, "both hold": {512 << 10, 1 << 20},
		"the other order": {1 << 20, 512 << 10}, "none": {0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var all []*transfer.Limit
				for _, l := range limits {
					all = append(all, transfer.NewLimit(l))
				}
				m, blobs, stats := limited(t, all...)
				began := time.Now()
				require.NoError(t, m.Copy(t.Context(), slices.Values(blobs), func(transfer.Stored) {}))
				took := time.Since(began)
				if name == "none" {
					require.Zero(t, took)
					return
				}
				require.InDelta(t, 4.0, took.Seconds(), 0.1, "2 MiB at 512 KiB a second")
				require.Zero(t, stats.Retries.Load(), "waiting for the limit is no stall")
			})
		})
	}
}

func TestLimitChangesUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limit := transfer.NewLimit(1) // portions of 512 bytes: the first one alone takes minutes
		m, blobs, stats := limited(t, limit)
		result := make(chan error, 1)
		go func() { result <- m.Copy(t.Context(), slices.Values(blobs), func(transfer.Stored) {}) }()
		time.Sleep(time.Minute) // of the bubble
		read := stats.BytesRead.Load()
		require.LessOrEqual(t, read, int64(3*512))
		began := time.Now()
		limit.Set(1 << 20)
		time.Sleep(time.Second)
		require.InDelta(t, 1<<20, stats.BytesRead.Load()-read, 400<<10)
		limit.Set(0)
		require.NoError(t, <-result)
		require.Equal(t, time.Second, time.Since(began), "without a limit nothing waits any longer")
		require.Zero(t, stats.Retries.Load())
	})
}

func TestLimitIsLeftWhenCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, blobs, _ := limited(t, transfer.NewLimit(1))
		stopping := errors.New("the worker is stopping")
		ctx, cancel := context.WithCancelCause(t.Context())
		result := make(chan error, 1)
		go func() { result <- m.Copy(ctx, slices.Values(blobs), func(transfer.Stored) {}) }()
		synctest.Wait()
		cancel(stopping)
		require.ErrorIs(t, <-result, stopping)
	})
}
