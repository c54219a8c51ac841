package transfer

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// largestPortion is how many bytes one read has at most under a limit, and the burst of a
	// limit.
	largestPortion = 128 << 10
	leastPortion   = 512
	// portionsPerSecond keeps the pauses of a slow limit short, so that neither side closes the
	// connection.
	portionsPerSecond = 16
)

// Limit is a bandwidth in bytes per second, shared by all who read under it. Its zero value is no
// limit.
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

// Set changes the limit, also for reads under way; 0 or less means none.
func (l *Limit) Set(bytesPerSecond int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bytes, l.limiter = max(bytesPerSecond, 0), nil
	if l.bytes > 0 {
		l.limiter = rate.NewLimiter(rate.Limit(l.bytes), largestPortion)
		// begin without a burst, else the bursts of many changes would add up
		l.limiter.AllowN(time.Now(), largestPortion)
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

// portion is how many bytes one read should have.
func (l *Limit) portion() int {
	rate := l.BytesPerSecond()
	if rate == 0 {
		return largestSlab
	}
	return int(min(max(rate/portionsPerSecond, leastPortion), largestPortion))
}

// pay waits until n bytes that were read are within the limit. If the limit changes, it waits
// again, under the new one.
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
