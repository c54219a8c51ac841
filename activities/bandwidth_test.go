package activities

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/transfer"
	"github.com/snapferry/snapferry/migration"
)

// An activity holds to its share of the migration's limit as the workflow tells it, and to what it
// was told last while nobody answers.
func TestBandwidthFollowsTheWorkflow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		share, err := int64(40e6), error(nil)
		answer := func(now int64, failure error) {
			mu.Lock()
			defer mu.Unlock()
			share, err = now, failure
		}
		c := &Copier{ask: func(context.Context) (int64, error) {
			mu.Lock()
			defer mu.Unlock()
			return share, err
		}}
		limit, stop := c.followBandwidth(t.Context(), migration.Copy{Bandwidth: 160e6, Pages: 16})
		require.Equal(t, int64(40e6), limit.BytesPerSecond(), "asked before the first byte")
		after := func(now int64, failure error, want int64) {
			answer(now, failure)
			time.Sleep(bandwidthInterval) // of the bubble's clock
			synctest.Wait()
			require.Equal(t, want, limit.BytesPerSecond())
		}
		after(80e6, nil, 80e6)
		after(0, errors.New("no worker answers"), 80e6)
		after(0, nil, 0)
		stop()

		answer(0, errors.New("no worker answers"))
		limit, stop = c.followBandwidth(t.Context(), migration.Copy{Bandwidth: 160e6, Pages: 16})
		require.Equal(t, int64(10e6), limit.BytesPerSecond(), "the least that it may be")
		stop()

		limit, stop = c.followBandwidth(t.Context(), migration.Copy{Pages: 16})
		require.Zero(t, limit.BytesPerSecond())
		stop()
	})
}

// A limit below the number of pages is none of nothing, which would mean no limit.
func TestATinyLimitIsOne(t *testing.T) {
	limit, stop := (&Copier{}).followBandwidth(t.Context(), migration.Copy{Pages: 1000, Bandwidth: 999})
	defer stop()
	require.EqualValues(t, 1, limit.BytesPerSecond())
}

// However many copies a worker runs, their migration is asked once in an interval.
func TestTheCopiesOfAWorkerAskOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		asked := 0
		shared := &sharedAsk{now: time.Now, of: func(context.Context) string { return "migration/movies" }}
		shared.ask = func(context.Context) (int64, error) {
			mu.Lock()
			defer mu.Unlock()
			asked++
			return int64(asked), nil
		}
		c := &Copier{ask: shared.get}
		var stops []func()
		var limits []*transfer.Limit
		for range 50 {
			limit, stop := c.followBandwidth(t.Context(), migration.Copy{Bandwidth: 160e6, Pages: 50})
			limits, stops = append(limits, limit), append(stops, stop)
			time.Sleep(bandwidthInterval / 100)
		}
		time.Sleep(10 * bandwidthInterval)
		synctest.Wait()
		mu.Lock()
		require.LessOrEqual(t, asked, 15, "each copy asks by itself")
		newest := int64(asked)
		mu.Unlock()
		for _, limit := range limits {
			require.GreaterOrEqual(t, limit.BytesPerSecond(), newest-1, "a copy has fallen behind")
		}
		for _, stop := range stops {
			stop()
		}
	})
}

// A copy that is being stopped waits for no other one's question.
func TestACopyWaitsForNoOtherOnesQuestion(t *testing.T) {
	held, asking := make(chan struct{}), make(chan struct{})
	shared := &sharedAsk{now: time.Now, of: func(context.Context) string { return "migration/movies" }}
	shared.ask = func(context.Context) (int64, error) { close(asking); <-held; return 7, nil }
	go func() { _, _ = shared.get(t.Context()) }()
	<-asking
	_, err := shared.get(t.Context())
	require.ErrorIs(t, err, errBeingAsked)
	close(held)
}
