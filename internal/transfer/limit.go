package transfer

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// largestPortion is how much is read at once under a limit, and what a limit lets through in one go.
	largestPortion = 128 << 10
	leastPortion   = 512
	// portionsPerSecond keeps the pauses of a slow limit short, so that neither end takes the connection for a dead one.
	portionsPerSecond = 16
)

// Limit is a bandwidth in bytes per second, shared by all who read under it. Its zero value lets everything through.
type Limit struct {
	mu      sync.Mutex
	limiter *rate.Limiter // nil for none
	bytes   int64
	changed chan struct{} // closed by Set
}

// NewLimit makes a Limit of bytesPerSecond; 0 or less means none.
func NewLimit(bytesPerSecond int64) *Limit {
	l := &Limit{}
	l.Set(bytesPerSecond)
	return l
}

// Set changes the limit, at once also for what is under way; 0 or less means none.
func (l *Limit) Set(bytesPerSecond int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bytes, l.limiter = max(bytesPerSecond, 0), nil
	if l.bytes > 0 {
		l.limiter = rate.NewLimiter(rate.Limit(l.bytes), largestPortion)
		l.limiter.AllowN(time.Now(), largestPortion) // begin without savings, or many changes would add up
	}
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}

// BytesPerSecond is what was set, 0 for none.
func (l *Limit) BytesPerSecond() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bytes
}

// portion is how much should be read at once.
func (l *Limit) portion() int {
	rate := l.BytesPerSecond()
	if rate == 0 {
		return largestSlab
	}
	return int(min(max(rate/portionsPerSecond, leastPortion), largestPortion))
}

// pay waits until n bytes that were read are within the limit. Whoever waits when the limit is changed waits anew, for what then
// holds.
func (l *Limit) pay(ctx context.Context, n int) error {
	for n > 0 {
		l.mu.Lock()
		limiter := l.limiter
		if limiter == nil {
			l.mu.Unlock()
			return nil
		}
		if l.changed == nil {
			l.changed = make(chan struct{})
		}
		part, changed := min(n, largestPortion), l.changed
		wait := limiter.ReserveN(time.Now(), part).Delay()
		l.mu.Unlock()
		if wait > 0 {
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-changed:
				timer.Stop()
				continue
			case <-ctx.Done():
				timer.Stop()
				return context.Cause(ctx)
			}
		}
		n -= part
	}
	return nil
}
