package human

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestFormats(t *testing.T) {
	for millis, want := range map[int64]string{
		0: "0s", 7: "7ms", 999: "999ms", 1250: "1.3s", 59_900: "59.9s", 61_000: "1m1s", 60_000: "1m", 70_000: "1m10s",
		4_200_000: "1h10m", 600_000: "10m", 3_600_000: "1h", 36_000_000: "10h", 7_530_000: "2h6m",
		2 * 24 * 3_600_000: "2d0h", 51*3_600_000 + 1: "2d3h", -1500: "-1.5s",
	} {
		require.Equal(t, want, Span(millis))
	}
	require.Equal(t, "1.5 MiB", Size(3<<20/2))
	require.Equal(t, "1.0 MiB/s", Rate(2<<20, 2000))
	require.Empty(t, Rate(1, 0))
	require.Equal(t, "1,000", Count(1000))
	require.Equal(t, "512 MiB", Size(512<<20), "as everywhere, and not 512.0 MiB")
	require.Equal(t, "?", Size(-1))
	require.Equal(t, "50 MB/s", DecimalRate(50_000_000))
	require.Equal(t, "1,234.50", Amount(1234.5))
	require.Equal(t, "0.02", Amount(0.0151))
	require.Equal(t, "<0.01", Amount(0.0009))
	require.Equal(t, "0", Amount(0))
	require.Equal(t, "1 index", Things(1, "index", "indices"))
	require.Equal(t, "10,000 indices", Things(10_000, "index", "indices"))
	require.Equal(t, "2026-03-02 22:00:00 UTC", Clock(1772488800000, time.UTC))
	require.Empty(t, Clock(0, time.UTC))
}
