package transfer_test

import (
	"context"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/objectstore/memory"
	"github.com/snapferry/snapferry/internal/transfer"
)

// stallingSource opens bodies that stop in their middle, or never open, until stalls are used up.
type stallingSource struct {
	*memory.Store
	stalls  atomic.Int64
	opening bool
}

func (s *stallingSource) ReadRange(ctx context.Context, key, etag string, offset,
	length int64,
) (objectstore.Body, error) {
	body, err := s.Store.ReadRange(ctx, key, etag, offset, length)
	if err != nil || s.stalls.Add(-1) < 0 {
		return body, err
	}
	if s.opening {
		<-ctx.Done()
		return objectstore.Body{}, failed(ctx)
	}
	body.ReadCloser = &stallingBody{ReadCloser: body.ReadCloser, ctx: ctx, left: length / 2}
	return body, nil
}

func failed(ctx context.Context) error {
	return (&objectstore.Error{Kind: objectstore.Transient, Message: "use of closed connection"}).Because(ctx.Err())
}

type stallingBody struct {
	io.ReadCloser
	ctx  context.Context
	left int64
}

func (b *stallingBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		<-b.ctx.Done()
		return 0, failed(b.ctx)
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// stallingSink takes a part of a body, or all of it, and then does nothing, until stalls are used
// up.
type stallingSink struct {
	*memory.Store
	stalls atomic.Int64
	all    bool
}

func (s *stallingSink) swallow(ctx context.Context, body io.Reader, size int64) (bool, error) {
	if s.stalls.Add(-1) < 0 {
		return false, nil
	}
	if !s.all {
		size /= 2
	}
	if _, err := io.CopyN(io.Discard, body, size); err != nil {
		return true, err
	}
	<-ctx.Done()
	return true, failed(ctx)
}

func (s *stallingSink) Put(ctx context.Context, key string, body io.Reader, size int64,
	metadata map[string]string,
) (objectstore.PutResult, error) {
	if stalled, err := s.swallow(ctx, body, size); stalled {
		return objectstore.PutResult{}, err
	}
	return s.Store.Put(ctx, key, body, size, metadata)
}

func (s *stallingSink) UploadPart(ctx context.Context, u objectstore.Upload, n int, body io.Reader,
	size int64,
) (objectstore.Part, error) {
	if stalled, err := s.swallow(ctx, body, size); stalled {
		return objectstore.Part{}, err
	}
	return s.Store.UploadPart(ctx, u, n, body, size)
}

func TestStalls(t *testing.T) {
	const stall = 10 * time.Second
	for name, tt := range map[string]struct {
		source, opening bool
		all             bool
		least           time.Duration
	}{
		"a source that stops":          {source: true, least: 2 * stall},
		"a source that doesn't answer": {source: true, opening: true, least: 2 * stall},
		"a sink that stops":            {least: 2 * stall},
		"a sink that doesn't answer":   {all: true, least: 2 * 8 * stall},
	} {
		for _, key := range []string{"small/plain", "piped/plain", "large/large", "large/plain"} {
			t.Run(name+", "+key, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					source, sink := &stallingSource{Store: w.source, opening: tt.opening}, &stallingSink{
						Store: w.sink,
						all:   tt.all,
					}
					if tt.source {
						source.stalls.Store(2)
					} else {
						sink.stalls.Store(2)
					}
					m := transfer.New(source, sink, transfer.Options{
						Concurrency: 1, Buffers: w.buffers,
						PutLimit: putLimit, Stall: stall, Stats: &w.stats,
						Retry: transfer.Retry{First: time.Millisecond, Most: time.Millisecond},
					})
					began := time.Now()
					_, err := m.CopyOne(t.Context(), w.find(key))
					require.NoError(t, err)
					require.Equal(t, w.source.Objects()[key], w.sink.Objects()[key])
					require.Equal(t, int64(2), w.stats.Stalls.Load())
					require.Equal(t, int64(2), w.stats.Retries.Load())
					require.InDelta(t, tt.least.Seconds(), time.Since(began).Seconds(), 0.1)
				})
			})
		}
	}
}

// A request that stalls each time ends as what may pass, so that the activity is tried again.
func TestStallsForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		source := &stallingSource{Store: w.source, opening: true}
		source.stalls.Store(1000)
		m := transfer.New(source, w.sink, transfer.Options{
			Buffers: w.buffers, Stats: &w.stats,
			Retry: transfer.Retry{Attempts: 3},
		})
		_, err := m.CopyOne(t.Context(), w.find("piped/plain"))
		require.Equal(t, objectstore.Transient, objectstore.KindOf(err), "%v", err)
		require.NotErrorIs(t, err, context.Canceled)
		require.ErrorContains(t, err, "stalled")
		require.Equal(t, int64(3), w.stats.Stalls.Load())
	})
}

// obedientSource ends a body as soon as its request is given up, as a connection does.
type obedientSource struct{ *memory.Store }

func (s obedientSource) ReadRange(ctx context.Context, key, etag string, offset,
	length int64,
) (objectstore.Body, error) {
	body, err := s.Store.ReadRange(ctx, key, etag, offset, length)
	body.ReadCloser = obedientBody{body.ReadCloser, ctx}
	return body, err
}

type obedientBody struct {
	io.ReadCloser
	ctx context.Context
}

func (b obedientBody) Read(p []byte) (int, error) {
	if b.ctx.Err() != nil {
		return 0, failed(b.ctx)
	}
	return b.ReadCloser.Read(p)
}

// obedientSink fails a request that was given up.
type obedientSink struct{ *memory.Store }

func (s obedientSink) Put(ctx context.Context, key string, body io.Reader, size int64,
	metadata map[string]string,
) (objectstore.PutResult, error) {
	result, err := s.Store.Put(ctx, key, body, size, metadata)
	if ctx.Err() != nil {
		err = failed(ctx)
	}
	return result, err
}

func (s obedientSink) UploadPart(ctx context.Context, u objectstore.Upload, n int, body io.Reader,
	size int64,
) (objectstore.Part, error) {
	part, err := s.Store.UploadPart(ctx, u, n, body, size)
	if ctx.Err() != nil {
		err = failed(ctx)
	}
	return part, err
}

// While another one holds the memory, or our own limit holds back, no connection is given up.
func TestWaitingIsNoStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		m := transfer.New(obedientSource{w.source}, obedientSink{w.sink},
			transfer.Options{
				Concurrency: 6, Buffers: w.buffers, PutLimit: putLimit,
				Stats: &w.stats, Stall: time.Millisecond,
				Limits: []*transfer.Limit{transfer.NewLimit(64 << 10)},
			})
		for _, key := range []string{"small/plain", "piped/plain", "large/large", "large/parts", "parts/plain"} {
			_, err := m.CopyOne(t.Context(), w.find(key))
			require.NoError(t, err)
		}
		require.Zero(t, w.stats.Stalls.Load())
		require.Zero(t, w.stats.Retries.Load())
	})
}
