package workflows

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"

	"github.com/snapferry/snapferry/migration"
)

// What may pass is retried for as long as it takes, but not unseen.
func TestWhatKeepsFailingIsShownWhileItIsTriedAgain(t *testing.T) {
	for name, failure := range map[string]error{
		"Unavailable": temporal.NewApplicationError("restore snapshot s: 503", "Unavailable"),
		"TimedOut":    temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_START_TO_CLOSE, nil),
	} {
		for _, at := range []struct {
			activity string
			phase    migration.Phase
			within   time.Duration
		}{
			{migration.ActivityPreflight, migration.PhasePreflight, time.Hour},
			{migration.ActivityRestoreSnapshot, migration.PhaseBaseline, time.Hour},
			{migration.ActivityAwaitStandstill, migration.PhaseFreeze, 6 * time.Minute},
			{migration.ActivityHandOver, migration.PhaseCutover, 6 * time.Minute},
		} {
			t.Run(name+" in "+string(at.phase), func(t *testing.T) {
				w := newWorld(t)
				var began, shown time.Time
				var seen migration.Status
				recovered, failures, failed := false, 0, 0
				w.on[at.activity] = func(int) (err error) {
					w.change(func() {
						if recovered {
							return
						}
						failures++
						if err = failure; began.IsZero() {
							began = w.env.Now()
						}
					})
					return err
				}
				recovers := func() { w.change(func() { recovered = true }) }
				w.env.RegisterDelayedCallback(recovers, 10*time.Hour)
				var look func()
				look = func() {
					if status := w.status(); status.Attention != nil && shown.IsZero() {
						seen, shown = status, w.env.Now()
						w.change(func() { failed = failures })
						w.env.RegisterDelayedCallback(recovers, 20*time.Minute)
					}
					if shown.IsZero() {
						w.env.RegisterDelayedCallback(look, 10*time.Second)
					}
				}
				w.env.RegisterDelayedCallback(look, time.Second)
				w.at(150*time.Minute, migration.RequestFreeze)
				w.at(200*time.Minute, migration.RequestCutover)
				w.run()
				w.completed()
				require.False(t, shown.IsZero(), "it was never shown")
				// The test environment itself bounds by ten attempts what has no bound.
				require.GreaterOrEqual(t, failed, 40, "it is retried for a while before that")
				require.Less(t, shown.Sub(began), at.within)
				require.Equal(t, at.phase, seen.Phase)
				require.Equal(t, name, seen.Attention.Type)
				require.True(t, seen.Attention.Retrying)
				require.Contains(t, seen.Attention.Remedy, "no retry is needed")
				require.NotContains(t, seen.Attention.Remedy, "send retry")
				require.Contains(t, seen.WaitsFor, "keeps trying")
				require.Nil(t, w.status().Attention, "it is over")
			})
		}
	}
}
