package osstest

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limits shape the traffic of one access key, or of all. The zero value limits nothing.
type Limits struct {
	// Bandwidth is the bytes per second of all bodies, both directions together, that all
	// connections share: as OSS caps an account.
	Bandwidth int64 `json:"bandwidth,omitempty"`
	// Received and Sent are the bytes per second of all bodies in each direction, that all
	// connections share: what a line gives.
	Received int64 `json:"received,omitempty"`
	Sent     int64 `json:"sent,omitempty"`
	// RequestBandwidth is the bytes per second of each body alone: what one connection over a long
	// way gives.
	RequestBandwidth int64 `json:"requestBandwidth,omitempty"`
	// Latency is waited before a request is done and so before the first byte of its answer: a
	// round trip.
	Latency time.Duration `json:"latency,omitempty"`
}

// shaper knows the limits by access key; those of "" are for all.
type shaper struct {
	mu   sync.RWMutex
	keys map[string]*limit
}

type limit struct {
	Limits
	bandwidth, received, sent *rate.Limiter // nil for none
}

// limiters are what limits one request, by direction.
type limiters struct{ received, sent []*rate.Limiter }

func (l *limiters) both(limiter *rate.Limiter) {
	if limiter != nil {
		l.received, l.sent = append(l.received, limiter), append(l.sent, limiter)
	}
}

const burst = 256 << 10 // more than any single read or write of a body

// SetLimits replaces the limits of an access key; "" is for all requests together, in addition to
// their key's. They apply to requests that begin afterwards.
func (s *Server) SetLimits(accessKey string, l Limits) {
	s.shaper.change(accessKey, func(old *Limits) { *old = l })
}

// SetBandwidth caps the bytes per second of all bodies, both directions together; 0 removes the
// cap. It applies to requests that begin afterwards.
func (s *Server) SetBandwidth(bytesPerSecond int64) { s.SetKeyBandwidth("", bytesPerSecond) }

// SetKeyBandwidth does the same for one access key, as OSS caps an account.
func (s *Server) SetKeyBandwidth(accessKey string, bytesPerSecond int64) {
	s.shaper.change(accessKey, func(l *Limits) { l.Bandwidth = bytesPerSecond })
}

func (s *shaper) change(accessKey string, f func(*Limits)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys == nil {
		s.keys = map[string]*limit{}
	}
	l := &limit{}
	if old := s.keys[accessKey]; old != nil {
		l.Limits = old.Limits
	}
	f(&l.Limits)
	l.bandwidth, l.received, l.sent = newLimiter(l.Bandwidth), newLimiter(l.Received), newLimiter(l.Sent)
	s.keys[accessKey] = l
}

func newLimiter(bytesPerSecond int64) *rate.Limiter {
	if bytesPerSecond <= 0 {
		return nil
	}
	l := rate.NewLimiter(rate.Limit(bytesPerSecond), burst)
	l.AllowN(time.Now(), burst) // start empty: a test's first bytes shall be capped as well
	return l
}

// of gives what limits one request of an access key.
func (s *shaper) of(accessKey string) (found limiters, latency time.Duration) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, key := range []string{"", accessKey} {
		l := s.keys[key]
		if l == nil {
			continue
		}
		latency += l.Latency
		found.both(l.bandwidth)
		found.both(newLimiter(l.RequestBandwidth))
		if l.received != nil {
			found.received = append(found.received, l.received)
		}
		if l.sent != nil {
			found.sent = append(found.sent, l.sent)
		}
	}
	return found, latency
}

func throttle(ctx context.Context, limits []*rate.Limiter, n int) error {
	for _, l := range limits {
		for left := n; left > 0; left -= burst {
			if err := l.WaitN(ctx, min(left, burst)); err != nil {
				return err
			}
		}
	}
	return nil
}
