package transfer

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/snapferry/snapferry/internal/objectstore"
)

// watch ends a request that makes no progress. It is paused while the request waits for something
// other than its connection: our own bandwidth limit, or the other side of a pipe.
type watch struct {
	stats *Stats
	op    string
	key   string
	timer *time.Timer
	end   context.CancelFunc
	fired atomic.Bool
}

// watched gives the context for a request that must make progress within limit.
func (m *Mover) watched(ctx context.Context, op, key string, limit time.Duration) (context.Context, *watch) {
	w := &watch{stats: m.options.Stats, op: op, key: key}
	ctx, w.end = context.WithCancel(ctx)
	w.timer = time.AfterFunc(limit, func() {
		w.fired.Store(true)
		w.end()
	})
	return ctx, w
}

func (w *watch) pause() { w.timer.Stop() }

func (w *watch) resume(limit time.Duration) { w.timer.Reset(limit) }

func (w *watch) close() {
	w.timer.Stop()
	w.end()
}

// explain replaces an error that a stall has caused by one that says so.
func (w *watch) explain(err error) error {
	if err == nil || !w.fired.Load() {
		return err
	}
	w.stats.Stalls.Add(1)
	return &objectstore.Error{
		Kind: objectstore.Transient, Op: w.op, Key: w.key,
		Message: "stalled: the connection made no progress for too long",
	}
}

// answerTime is how long a service may take to answer a complete request. To complete an upload of
// many parts is slow.
func (m *Mover) answerTime() time.Duration { return 8 * m.options.Stall }

func (m *Mover) tries() tries { return tries{retry: m.options.Retry, stats: m.options.Stats} }

// ask sends a request without a body and waits for its answer. It tries again as Retry says.
func ask[T any](ctx context.Context, m *Mover, op, key string, request func(context.Context) (T, error)) (T, error) {
	return try(ctx, m.tries(), func() (T, error) {
		ctx, w := m.watched(ctx, op, key, m.answerTime())
		defer w.close()
		result, err := request(ctx)
		return result, w.explain(err)
	})
}

// command is ask for requests that give no result.
func command(ctx context.Context, m *Mover, op, key string, request func(context.Context) error) error {
	_, err := ask(ctx, m, op, key, func(ctx context.Context) (struct{}, error) { return struct{}{}, request(ctx) })
	return err
}
