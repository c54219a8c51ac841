package activities

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What start times tell, in minutes.
func TestScheduleFromStartTimes(t *testing.T) {
	at := func(minutes float64) time.Time {
		return time.Unix(1_700_000_000, 0).Add(time.Duration(minutes * float64(time.Minute)))
	}
	for name, test := range map[string]struct {
		starts                []float64
		now                   float64
		interval, slack, next float64
	}{
		"regular":               {[]float64{0, 60, 120}, 130, 60, 1, 180},
		"in any order":          {[]float64{120, 0, 60}, 130, 60, 1, 180},
		"one skipped":           {[]float64{0, 60, 180, 240, 300}, 310, 60, 1, 360},
		"one by hand":           {[]float64{0, 60, 120, 130, 180, 240, 300}, 310, 60, 1, 360},
		"unsteady":              {[]float64{0, 58, 121, 180, 242, 299}, 310, 59, 6, 358},
		"very unsteady":         {[]float64{0, 20, 120, 150, 240}, 250, 90, 22.5, 330},
		"late, within slack":    {[]float64{0, 60, 120}, 180.5, 60, 1, 180},
		"late, so it's skipped": {[]float64{0, 60, 120}, 182, 60, 1, 240},
		"twice at once":         {[]float64{0, 60, 60, 120}, 130, 60, 1, 180},
		"every ten minutes":     {[]float64{0, 10, 20}, 21, 10, 1, 30},
		"every minute":          {[]float64{0, 1, 2}, 2.5, 1, 0.1, 3},
		"usual":                 {[]float64{0}, 5, 60, 1, 60},
	} {
		t.Run(name, func(t *testing.T) {
			var starts []time.Time
			for _, minutes := range test.starts {
				starts = append(starts, at(minutes))
			}
			var s schedule
			s.learn(starts, time.Hour)
			require.InDelta(t, test.interval, s.interval.Minutes(), 0.01)
			require.InDelta(t, test.slack, s.slack.Minutes(), 0.01)
			require.Equal(t, at(test.next), s.next(at(test.now)))
			require.True(t, s.predicted(at(test.now)))
		})
	}
}

// Only the last intervals count, so that another schedule is noticed.
func TestScheduleForgets(t *testing.T) {
	var starts []time.Time
	now := time.Unix(1_700_000_000, 0)
	for i := range 50 {
		starts = append(starts, now.Add(time.Duration(i-50)*24*time.Hour))
	}
	for i := range remembered {
		starts = append(starts, now.Add(time.Duration(i)*time.Hour))
	}
	var s schedule
	s.learn(starts, 0)
	require.Equal(t, time.Hour, s.interval, fmt.Sprint(starts))
}
