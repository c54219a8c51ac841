package main

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/pause"
)

// after does something after each pause.
func after(what string, d time.Duration) repeated {
	return repeated{what, func(ctx context.Context, done func()) error {
		for pause.For(ctx, d) == nil {
			done()
		}
		return nil
	}}
}

func TestAMeasurementLastsUntilEachThingWasDoneOnce(t *testing.T) {
	for name, tt := range map[string]struct{ least, want time.Duration }{
		"its time is enough":    {time.Minute, time.Minute},
		"its time is too short": {time.Millisecond, 20 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				took, err := together(t.Context(), tt.least, []repeated{
					after("search", time.Second), after("comparison", 20*time.Second), after("write", 5*time.Second),
				})
				require.NoError(t, err)
				require.Equal(t, tt.want, took)
			})
		})
	}
}

func TestAMeasurementThatEndsTooEarlySaysWhatDidNotHappen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err := together(ctx, time.Second, []repeated{
			after("search", time.Hour), after("write", time.Second), after("comparison", time.Hour),
		})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "of 1s ended after 10s, without a search, without a comparison: context")
	})
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err := together(ctx, time.Minute, []repeated{after("search", time.Second)})
		require.ErrorContains(t, err, "of 1m0s ended after 10s: context")
	})
}

func TestAFailureEndsAMeasurementAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, refused := time.Now(), errors.New("refused")
		_, err := together(t.Context(), time.Minute, []repeated{
			after("search", time.Second), {"write", func(context.Context, func()) error { return refused }},
		})
		require.ErrorIs(t, err, refused)
		require.Zero(t, time.Since(began))
	})
}

// A node that falls behind is sent no more than it has place for, and what waits here counts.
func TestRequestsThatHaveNoAnswerAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second+time.Millisecond)
		defer cancel()
		var open, most, answered atomic.Int64
		took, err := regularly(ctx, 2*mostUnanswered, func(ctx context.Context) error {
			if now := open.Add(1); now > most.Load() {
				most.Store(now)
			}
			defer open.Add(-1)
			return pause.For(ctx, time.Second) // half as fast as it is asked
		}, func() { answered.Add(1) })
		require.NoError(t, err)
		require.EqualValues(t, mostUnanswered, most.Load())
		require.EqualValues(t, len(took), answered.Load())
		require.InDelta(t, 9*mostUnanswered, len(took), mostUnanswered)
		require.Equal(t, time.Second, took[0])
		require.InDelta(t, 5, took[len(took)-1].Seconds(), 1, "the last ones had been due for half of the time")
	})
}
