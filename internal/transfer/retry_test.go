package transfer_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/transfer"
)

// pauses are those between the calls of a request that fails always, and how often it was called.
func pauses(t *testing.T, r transfer.Retry, err error, takes time.Duration) (between []time.Duration, last error) {
	synctest.Test(t, func(t *testing.T) {
		var ended time.Time
		_, last = transfer.Do(t.Context(), r, func() (struct{}, error) {
			if !ended.IsZero() {
				between = append(between, time.Since(ended))
			}
			time.Sleep(takes) // of the bubble
			ended = time.Now()
			return struct{}{}, err
		})
	})
	return between, last
}

func TestBackOff(t *testing.T) {
	transient := &objectstore.Error{Kind: objectstore.Transient}
	shortest, sum := time.Hour, time.Duration(0)
	for range 50 {
		between, err := pauses(t, transfer.Retry{Attempts: 6, First: time.Second, Most: 4 * time.Second}, transient, 0)
		require.Same(t, transient, err, "the last error as it was")
		require.Len(t, between, 5)
		for i, most := range []time.Duration{1, 2, 4, 4, 4} {
			require.LessOrEqual(t, between[i], most*time.Second)
			shortest, sum = min(shortest, between[i]), sum+between[i]
		}
	}
	// Full jitter draws from all of it: 250 draws of a mean of half the longest pauses, which are
	// 15 s a run. That they miss these bounds by chance is less likely than 1 in 10^9.
	require.Less(t, shortest, 500*time.Millisecond)
	require.InDelta(t, 50*7.5, sum.Seconds(), 100)
}

func TestRetryAfter(t *testing.T) {
	throttled := &objectstore.Error{Kind: objectstore.Throttled, RetryAfter: 8 * time.Second}
	between, err := pauses(t, transfer.Retry{Attempts: 20, First: time.Millisecond, Most: time.Millisecond}, throttled,
		0)
	require.Equal(t, objectstore.Throttled, objectstore.KindOf(err))
	require.Len(t, between, 19)
	for _, pause := range between {
		require.GreaterOrEqual(t, pause, 8*time.Second, "never earlier than the service asks for")
		require.LessOrEqual(t, pause, 10*time.Second)
	}
	throttled.RetryAfter = time.Hour
	between, _ = pauses(t, transfer.Retry{Attempts: 2}, throttled, 0)
	require.Len(t, between, 1)
	require.LessOrEqual(t, between[0], 75*time.Second, "but no hour")
}

func TestRetriesAreBounded(t *testing.T) {
	transient := &objectstore.Error{Kind: objectstore.Transient}
	for _, tt := range []struct {
		retry transfer.Retry
		err   error
		takes time.Duration
		tries int
	}{
		{transfer.Retry{}, transient, 0, 8},
		// the second begins after the first's end, the third would begin an hour later
		{transfer.Retry{Attempts: 3}, transient, time.Hour, 2},
		// failures after 0, 25, 50 and 75 s
		{transfer.Retry{Attempts: 100, Within: time.Minute, Most: time.Millisecond}, transient, 25 * time.Second, 4},
		{transfer.Retry{}, fmt.Errorf("while it was read: %w", transient), 0, 8},
		{transfer.Retry{}, &objectstore.Error{Kind: objectstore.NotFound}, 0, 1},
		{transfer.Retry{}, &objectstore.Error{Kind: objectstore.Changed}, 0, 1},
		{transfer.Retry{}, &objectstore.Error{Kind: objectstore.Forbidden, RetryAfter: time.Second}, 0, 1},
		{transfer.Retry{}, &objectstore.Error{Kind: objectstore.Invalid}, 0, 1},
		{transfer.Retry{}, errors.New("something else"), 0, 1},
		{transfer.Retry{}, (&objectstore.Error{Kind: objectstore.Transient}).Because(context.Canceled), 0, 1},
	} {
		between, err := pauses(t, tt.retry, tt.err, tt.takes)
		require.Len(t, between, tt.tries-1, "%+v, %v", tt.retry, tt.err)
		require.Equal(t, tt.err, err)
	}
}

// The pause ends with the context, and so does the request, with the context's cause.
func TestRetryIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stopping := errors.New("the worker is stopping")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(stopping) })
		began := time.Now()
		_, err := transfer.Do(ctx, transfer.Retry{}, func() (int, error) {
			return 0, &objectstore.Error{Kind: objectstore.Throttled, RetryAfter: time.Minute}
		})
		require.Equal(t, stopping, err)
		require.Equal(t, time.Second, time.Since(began))
	})
}
