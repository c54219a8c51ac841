package transfer

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/pause"
)

// Retry says how often and how fast a request is tried again. The OSS SDK retries nothing, and the
// AWS SDK only up to the head of an answer. The zero value of a field means its default.
type Retry struct {
	// Attempts in all, default 8: with the pauses about half a minute. After that the caller
	// decides; a Temporal activity is retried then, which its UI shows.
	Attempts int
	First    time.Duration // longest pause after the first failure, twice that after each further one; default 400ms
	Most     time.Duration // longest pause of all; default 20s
	// Within is how long after its first failure a request may begin again. Default 10 minutes,
	// which matters only if each attempt takes long.
	Within time.Duration
}

const (
	defaultAttempts = 8
	defaultFirst    = 400 * time.Millisecond
	defaultMost     = 20 * time.Second
	defaultWithin   = 10 * time.Minute
	// longestWish is how long a service may ask us to wait at most.
	longestWish = time.Minute
)

// tries are those of one request.
type tries struct {
	retry    Retry
	pauses   *backoff.ExponentialBackOff
	failures int
	since    time.Time // of the first failure
	stats    *Stats
}

// fullJitter draws each pause between 0 and its longest, so that requests that failed at the same
// time don't come back at the same time (AWS: Exponential Backoff And Jitter).
func (r Retry) fullJitter() *backoff.ExponentialBackOff {
	first, most := r.First, r.Most
	if first <= 0 {
		first = defaultFirst
	}
	if most <= 0 {
		most = defaultMost
	}
	// The library draws between 0 and twice its interval.
	return &backoff.ExponentialBackOff{
		InitialInterval: min(first, most) / 2, RandomizationFactor: 1, Multiplier: 2,
		MaxInterval: most / 2,
	}
}

// again waits before the next try. If there is no next try, it gives the error that ends the
// request: the context's cause, or err.
func (t *tries) again(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	wish, passes := mayPass(err)
	if !passes {
		return err
	}
	if t.failures == 0 {
		t.since, t.pauses = time.Now(), t.retry.fullJitter()
	}
	t.failures++
	attempts, within := t.retry.Attempts, t.retry.Within
	if attempts <= 0 {
		attempts = defaultAttempts
	}
	if within <= 0 {
		within = defaultWithin
	}
	wait := t.pauses.NextBackOff()
	if wish > 0 {
		wish = min(wish, longestWish)
		wait = wish + rand.N(wish/4+1) // all workers get the same answer: spread their next tries
	}
	if t.failures >= attempts || time.Since(t.since)+wait > within {
		return err
	}
	if t.stats != nil {
		t.stats.Retries.Add(1)
	}
	if pause.For(ctx, wait) != nil {
		return context.Cause(ctx)
	}
	return nil
}

// forget sets the count of failures to 0 after progress.
func (t *tries) forget() { t.failures = 0 }

// Do runs a request until it succeeds, fails for good or has failed too often. It retries damage on
// the way, and errors of kind Throttled and Transient; Throttled ones after the time that the
// service asks for.
func Do[T any](ctx context.Context, r Retry, request func() (T, error)) (T, error) {
	return try(ctx, tries{retry: r}, request)
}

func try[T any](ctx context.Context, t tries, request func() (T, error)) (T, error) {
	for {
		result, err := request()
		if err == nil {
			return result, nil
		}
		if err = t.again(ctx, err); err != nil {
			return result, err
		}
	}
}

// mayPass reports whether another try may help, and how long the service asks to wait before it.
func mayPass(err error) (wish time.Duration, passes bool) {
	if _, done := errors.AsType[*final](err); done {
		return 0, false
	}
	if errors.Is(err, errDamaged) {
		return 0, true
	}
	failure, ok := errors.AsType[*objectstore.Error](err)
	if !ok || errors.Is(err, context.Canceled) {
		return 0, false
	}
	return failure.RetryAfter, failure.Kind == objectstore.Throttled || failure.Kind == objectstore.Transient
}
