package report

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

func TestFailedSnapshotsSayWhatCameNext(t *testing.T) {
	failed := migration.FailedSnapshot{
		Round: 3, Attempt: 2, Snapshot: "m-r0003-a2", AtMillis: begin, Reason: "it ended as FAILED", Again: true,
	}
	last := failed
	last.Again = false
	require.Equal(t, []string{
		"4 snapshots before these",
		"2026-03-02 22:00:00 UTC, round 3, attempt 2, m-r0003-a2: it ended as FAILED. snapferry took another one.",
		"2026-03-02 22:00:00 UTC, round 3, attempt 2, m-r0003-a2: it ended as FAILED. The next one needs a person.",
	}, FailedSnapshots([]migration.FailedSnapshot{failed, last}, 4, time.UTC))
	require.Empty(t, FailedSnapshots(nil, 0, time.UTC))
}
