package activities

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"

	"github.com/snapferry/snapferry/internal/heartbeat"
	"github.com/snapferry/snapferry/migration"
)

var errWorkerStopping = errors.New("the worker is stopping")

// errSuspended ends the work of a process that stood still: Temporal may have given the activity to
// another one since then, and both would be at work.
var errSuspended = errors.New("this worker stood still for so long that another one may have taken over")

const retrySuspended = "Suspended"

// pulse heartbeats the newest progress from a ticker, so that a slow call to a cluster delays no
// heartbeat: only by heartbeats does an activity learn that it was cancelled.
type pulse struct {
	mu       sync.Mutex
	progress migration.Progress
}

// set replaces what the next heartbeat says.
func (p *pulse) set(progress migration.Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.progress = progress
}

// update changes a part of what the next heartbeat says.
func (p *pulse) update(change func(*migration.Progress)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.progress)
}

func (p *pulse) read() migration.Progress {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.progress
}

// An answer that makes no sense, such as a server error without a known meaning, is retried before
// a person sees it: a restart of a node may cause some, a defect would cause them for ever.
const (
	// attemptsOnInternal is how often at most.
	attemptsOnInternal = 10
	// Attempts that take long must not keep it unseen: after half an hour fewer are enough.
	fewerOnInternal = 5
	timeOnInternal  = 30 * time.Minute
)

// heart records heartbeats. Activities and Copier each have one.
type heart struct {
	// heartbeat is called every beat, unless the last one still waits; the SDK sends fewer.
	heartbeat func(context.Context, ...any)
	beat      time.Duration
	// clock is [time.Now] but in tests; nil means that.
	clock func() time.Time
}

// beating is what perform needs of those whose activities it runs.
type beating interface {
	keepBeating(ctx, working context.Context, cancel context.CancelCauseFunc, p *pulse)
	// transcribe keeps what the activity changes; end comes after it.
	transcribe(ctx context.Context) (_ context.Context, end func())
}

// transcribe implements [beating] for activities that change no cluster.
func (h *heart) transcribe(ctx context.Context) (context.Context, func()) { return ctx, func() {} }

// perform runs the work of an activity: it heartbeats, ends the work promptly when the activity is
// cancelled or the worker stops, and classifies the error. An error without a known meaning becomes
// permanent at last.
func perform[T any](ctx context.Context, b beating, doing string,
	work func(context.Context, *pulse) (T, error),
) (T, error) {
	result, err := performForEver(ctx, b, doing, work)
	return result, showAtLast(ctx, err)
}

// performForEver is perform for what must go on trying whatever comes back. It doesn't decide when
// that is shown: the step that calls it does so, and begins again (package workflows: bound).
func performForEver[T any](ctx context.Context, b beating, doing string,
	work func(context.Context, *pulse) (T, error),
) (T, error) {
	info := activity.GetInfo(ctx)
	if off := clockOff(info.StartedTime, time.Now()); off != 0 {
		activity.GetLogger(ctx).Warn("this computer's clock differs from Temporal's: set it. If it is fast, steps "+
			"that are bounded time out here without an answer", "ahead", off.String())
	}
	working, cancel := context.WithCancelCause(ctx)
	working, end := b.transcribe(working)
	defer end()
	p := &pulse{progress: migration.Progress{Doing: doing, Reads: earlierReads(ctx)}}
	var beats sync.WaitGroup
	beats.Go(func() { b.keepBeating(ctx, working, cancel, p) })
	result, err := work(working, p)
	cause, cancelled := context.Cause(working), ctx.Err() != nil // the last heartbeat may still end ctx
	cancel(nil)
	beats.Wait()

	var none T
	switch {
	case err == nil:
		return result, nil
	case errors.Is(cause, errSuspended) && !cancelled:
		return none, passing(retrySuspended, errSuspended.Error()+", while "+doing, 0)
	case errors.Is(cause, errWorkerStopping) && !cancelled:
		// Another worker, or this one after its restart, takes over at once instead of after the
		// back-off of an earlier failure.
		return none, passing(retryWorkerStopping, errWorkerStopping.Error()+" while "+doing, time.Second)
	}
	return none, classify(err)
}

// earlierReads is what the attempt before has read, and the next one needn't read again either.
func earlierReads(ctx context.Context) []migration.ShardRead {
	var before migration.Progress
	if !activity.HasHeartbeatDetails(ctx) || activity.GetHeartbeatDetails(ctx, &before) != nil {
		return nil
	}
	return before.Reads
}

// clockOff is by how much this computer's clock is ahead of Temporal's, which says when an attempt was
// handed out; 0 if that is no more than the way takes.
func clockOff(handedOut, now time.Time) time.Duration {
	const most = time.Minute
	off := now.Round(0).Sub(handedOut).Round(time.Second)
	if handedOut.IsZero() || off.Abs() <= most {
		return 0
	}
	return off
}

// keepBeating heartbeats until the work is done, and ends the work when the worker stops, or was
// suspended.
func (h *heart) keepBeating(ctx, working context.Context, cancel context.CancelCauseFunc, p *pulse) {
	clock := h.clock
	if clock == nil {
		clock = time.Now
	}
	ticker := time.NewTicker(h.beat)
	defer ticker.Stop()
	watch := standing{limit: activity.GetInfo(ctx).HeartbeatTimeout / 2}
	// A heartbeat that waits for its answer must not look like a process that stands still.
	var telling sync.WaitGroup
	defer telling.Wait()
	var waits atomic.Bool
	for {
		if watch.tooLong(clock()) {
			cancel(errSuspended)
			return
		}
		// On the activity's own context: the work's ends with the work, which a heartbeat on its
		// way would log as a failure.
		if waits.CompareAndSwap(false, true) {
			telling.Go(func() {
				defer waits.Store(false)
				h.heartbeat(heartbeat.During(ctx, working), p.read())
			})
		}
		select {
		case <-working.Done():
			return
		case <-activity.GetWorkerStopChannel(ctx):
			cancel(errWorkerStopping)
			return
		case <-ticker.C:
		}
	}
}

// standing notices that a process stood still between two ticks of its clock: it was stopped, or
// its machine was suspended.
type standing struct {
	limit time.Duration // none if not above 0
	last  time.Time
}

func (s *standing) tooLong(now time.Time) bool {
	last := s.last
	s.last = now
	if last.IsZero() || s.limit <= 0 {
		return false
	}
	// The monotonic clock stands still with the machine, the other one may be set back.
	return max(now.Sub(last), now.Round(0).Sub(last.Round(0))) > s.limit
}

// showAtLast ends the retries of an error whose meaning nobody knows, so that a migration doesn't
// hang on it unseen.
func showAtLast(ctx context.Context, err error) error {
	info := activity.GetInfo(ctx)
	return afterAttempt(info.Attempt, time.Since(info.ScheduledTime), err)
}

func afterAttempt(attempt int32, since time.Duration, err error) error {
	unknown, ok := errors.AsType[*temporal.ApplicationError](err)
	if !ok || unknown.NonRetryable() || unknown.Type() != retryInternal {
		return err
	}
	if attempt < attemptsOnInternal && (attempt < fewerOnInternal || since < timeOnInternal) {
		return err
	}
	return fail(migration.ErrorRefused, "%s (%d attempts)", unknown.Message(), attempt)
}

// backoff is a growing interval between polls.
type backoff struct {
	next, most time.Duration
	growth     time.Duration // see usualGrowth; 0 means that
}

// statusPace is the pace at which a snapshot is watched, and what else takes long: small ones take well
// under a second, and large ones need none of the load.
func statusPace() backoff {
	return backoff{next: 50 * time.Millisecond, most: 5 * time.Second}
}

// paceOf is statusPace, or one that begins sooner and grows less: what ends in the frozen window is
// noticed within a hundredth of its time.
func paceOf(frozen bool) backoff {
	pace := statusPace()
	if frozen {
		pace.next, pace.growth = 25*time.Millisecond, frozenGrowth
	}
	return pace
}

// A pace grows by one part in so many with each pause, so that what ends during a pause is noticed no
// later than that part of the time that it took.
const (
	usualGrowth  = 20
	frozenGrowth = 100
)

// slotPace is the pace at which a place in the cluster's only snapshot slot is asked for.
func (a *Activities) slotPace() backoff {
	return backoff{next: 50 * time.Millisecond, most: 10 * time.Second}
}

// wait pauses for the interval and lets it grow.
func (a *Activities) wait(ctx context.Context, b *backoff) error { return a.sleep(ctx, b.step()) }

// step returns the interval and lets it grow.
func (b *backoff) step() time.Duration {
	pause, growth := b.next, cmp.Or(b.growth, time.Duration(usualGrowth))
	b.next = min(b.next*(growth+1)/growth, b.most)
	return pause
}
