package elastic

import (
	"context"
	"sync"
	"time"

	"github.com/snapferry/snapferry/internal/pause"
)

// Pace bounds how many documents a second are read, by all reads together that share it. Nil is no
// bound.
type Pace struct {
	mu        sync.Mutex
	perSecond float64
	free      time.Time // when what was read so far is paid for

	now func() time.Time // for tests
}

// NewPace makes a Pace of so many documents a second. 0 or less means no bound.
func NewPace(perSecond float64) *Pace { return &Pace{perSecond: perSecond, now: time.Now} }

// debt is how long to wait after n more documents were read, before the next are asked for. Time
// in which nothing was read is not made up for: a cluster must not feel a burst.
func (p *Pace) debt(n int) time.Duration {
	if p == nil || p.perSecond <= 0 || n <= 0 {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if p.free.Before(now) {
		p.free = now
	}
	p.free = p.free.Add(time.Duration(float64(n) / p.perSecond * float64(time.Second)))
	return p.free.Sub(now)
}

// wait pays for n documents.
func (p *Pace) wait(ctx context.Context, n int, sleep func(context.Context, time.Duration) error) error {
	debt := p.debt(n)
	if debt <= 0 {
		return nil
	}
	if sleep == nil {
		sleep = pause.For
	}
	return sleep(ctx, debt)
}

const (
	// longestPaged is how long a page of a slow Pace takes: it is much less than for how long a
	// scroll is kept, also if many scans share the pace.
	longestPaged = 2 * time.Second
	leastPage    = 10
)

// page is how many documents one request should ask for, at most size.
func (p *Pace) page(size int) int {
	if p == nil || p.perSecond <= 0 {
		return size
	}
	return min(size, max(leastPage, int(p.perSecond*longestPaged.Seconds())))
}
