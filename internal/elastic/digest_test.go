package elastic

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Sums are doubles, which hold whole numbers up to 2^53 only.
func TestSumsOfADigestAreExact(t *testing.T) {
	for _, p := range []int64{0, 1, 999, 1000, 123456, 1e6, 9e7, 1e8, 3e9, 1e10, 1e12, 1e15} {
		width := digestWidth(p)
		require.Positive(t, width)
		require.LessOrEqual(t, float64(width)*float64(p), math.Pow(2, 53), "p %d, width %d", p, width)
		if p <= 9e7 {
			require.Greater(t, width, p, "one sum for %d", p)
		}
		if p <= 1e9 {
			require.LessOrEqual(t, p/(width*digestBuckets), int64(0), "one request for %d", p)
		}
	}
}

func TestAPaceMakesNothingUp(t *testing.T) {
	now := time.Unix(1000, 0)
	pace := NewPace(1000)
	pace.now = func() time.Time { return now }
	require.Equal(t, 2*time.Second, pace.debt(2000))
	now = now.Add(time.Second)
	require.Equal(t, time.Second+500*time.Millisecond, pace.debt(500))
	now = now.Add(time.Hour)
	require.Equal(t, time.Second, pace.debt(1000), "the hour before gives no credit")
	require.Zero(t, NewPace(0).debt(1000))
	require.Equal(t, 2000, NewPace(5000).page(2000))
	require.Equal(t, 200, NewPace(100).page(2000))
	require.Equal(t, leastPage, NewPace(1).page(2000))
	require.Equal(t, 2000, NewPace(0).page(2000))
}
