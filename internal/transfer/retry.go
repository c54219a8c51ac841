package transfer

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/snapferry/snapferry/internal/objectstore"
)

// Retry is how often and how fast a request is tried again. The OSS SDK retries nothing by itself, and what an SDK does
// ends with the head of an answer. The zero value of a field means its default.
type Retry struct {
	// Attempts in all, default 8: with the pauses about half a minute. What lasts longer is left to the activity's retries,
	// which are seen in the UI.
	Attempts int
	First    time.Duration // pause after the first failure, half more after each; default 200ms
	Most     time.Duration // longest pause; default 10s
}

const (
	defaultAttempts = 8
	defaultFirst    = 200 * time.Millisecond
	defaultMost     = 10 * time.Second
	// longestWish bounds what a service may ask us to wait.
	longestWish = time.Minute
)

func (r Retry) backoff() backoff.BackOff {
	b := backoff.NewExponentialBackOff() // jitter of half the pause both ways
	b.InitialInterval, b.MaxInterval = defaultFirst, defaultMost
	if r.First > 0 {
		b.InitialInterval = r.First
	}
	if r.Most > 0 {
		b.MaxInterval = r.Most
	}
	return b
}

// Do runs a request until it succeeds, fails for good or has failed too often. Throttled and Transient errors are retried,
// the former after the time that the service asks for, and damage on the way.
func Do[T any](ctx context.Context, r Retry, request func() (T, error)) (T, error) {
	attempts := r.Attempts
	if attempts <= 0 {
		attempts = defaultAttempts
	}
	var last error
	result, err := backoff.Retry(ctx, func() (T, error) {
		result, err := request()
		last = err
		return result, retryable(err)
	}, backoff.WithBackOff(r.backoff()), backoff.WithMaxTries(uint(attempts)), backoff.WithMaxElapsedTime(0))
	if err == nil {
		return result, nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return result, cause
	}
	return result, last // as it was, without the library's marks
}

func retryable(err error) error {
	if err == nil || errors.Is(err, errDamaged) {
		return err
	}
	failure, ok := errors.AsType[*objectstore.Error](err)
	if !ok || errors.Is(err, context.Canceled) {
		return backoff.Permanent(err)
	}
	switch failure.Kind {
	case objectstore.Throttled, objectstore.Transient:
		if failure.RetryAfter > 0 {
			wait := min(failure.RetryAfter, longestWish)
			// All workers are told the same: spread their return.
			return &backoff.RetryAfterError{Duration: wait + rand.N(wait/4+1)}
		}
		return err
	}
	return backoff.Permanent(err)
}
