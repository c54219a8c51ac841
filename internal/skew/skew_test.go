package skew

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func answer(at time.Time) http.Header {
	return http.Header{"Date": {at.UTC().Format(http.TimeFormat)}}
}

// The clock follows the service's, and comes back when this computer's is right again.
func TestTheClockFollowsTheService(t *testing.T) {
	local := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	var c Clock
	require.Equal(t, local, c.Now(local))

	slow := answer(local.Add(-20 * time.Minute))
	require.True(t, c.Learn(slow, local, 0))
	require.Equal(t, local.Add(-20*time.Minute), c.Now(local))
	require.True(t, c.Learn(slow, local, 0), "a request that was under way is worth another attempt")
	require.False(t, c.Learn(slow, local, c.Ahead()), "the same signature again changes nothing")

	require.True(t, c.Learn(answer(local.Add(time.Second)), local, c.Ahead()))
	require.Zero(t, c.Ahead())
}

// What an answer says is believed within bounds only.
func TestWhatIsNotLearnt(t *testing.T) {
	local := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	for name, header := range map[string]http.Header{
		"no date": {}, "no time": {"Date": {"today"}}, "seconds": answer(local.Add(10 * time.Second)),
		"days": answer(local.Add(25 * time.Hour)), "days ago": answer(local.Add(-25 * time.Hour)),
	} {
		var c Clock
		require.False(t, c.Learn(header, local, 0), name)
		require.Zero(t, c.Ahead(), name)
	}
}
