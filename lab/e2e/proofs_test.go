//go:build lab

package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/report"
	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/migration"
)

// What stands still is proven while rounds go on, and what is written to up to a sequence number. The
// window reads only what came after that, and the report says of each index by which evidence it was
// found equal.
func TestProofsBeforeTheFreeze(t *testing.T) {
	t.Parallel()
	doubling(t, "proofs", 8*time.Second, provenBetweenRounds)
}

// provenBetweenRounds tells whether all was proven within the time from a round to the next one.
func provenBetweenRounds(t *testing.T, name string, interval time.Duration) (inTime bool) {
	const documents, stillDocuments, stillShards, mostRounds = 20_000, 10_000, 2, 12
	s := newScenario(t, labs.take(t, from6to7), name, documents)
	still := name + "-still"
	require.NoError(t, lab.LoadCatalog(s.ctx, s.lab.Source.Direct(),
		lab.CatalogOptions{Index: still, Documents: stillDocuments, Shards: stillShards}))
	s.plan.Indices = append(s.plan.Indices, still)
	// A round restores the index that is written to: what is compared meanwhile is not proven.
	s.plan.Rounds.Interval, s.plan.Verify.Rate = migration.Duration(interval), 50_000
	s.write()
	s.worker()
	s.start()
	status := s.await(func(status migration.Status) bool {
		p := status.Proven
		inTime = p != nil && p.Indices >= 1 && p.BeyondShards > 0 && p.Shards == p.OfShards &&
			time.Until(time.UnixMilli(status.NextRoundMillis)) > interval/2 // enough for the request to freeze
		return status.RoundsEnded >= 3 && inTime || status.RoundsEnded >= mostRounds
	})
	if !inTime {
		return false
	}
	t.Log(report.ProvenBefore(*status.Proven, status.Prediction))
	require.Zero(t, status.Proven.UnlikeShards)
	require.Empty(t, status.Prove)

	ended := s.finish()
	require.NotNil(t, ended.Evidence)
	t.Logf("evidence: %+v; files of the last restore: %+v", *ended.Evidence, ended.Rounds[len(ended.Rounds)-1].Files)
	require.Less(t, ended.Evidence.Read, int64(documents), "the window reads what came after the proof")
	require.Len(t, ended.Indices, 2)
	for _, index := range ended.Indices {
		require.True(t, index.Equal)
		t.Logf("%s: %s, %d documents read in the window", index.Name, index.Evidence.Text(), index.Evidence.Read)
		if index.Name == still {
			require.Equal(t, stillShards, index.Evidence.Proven)
			require.Zero(t, index.Evidence.Read)
			continue
		}
		require.Positive(t, index.Evidence.Beyond)
		require.Zero(t, index.Evidence.Scanned)
		require.Equal(t, index.Evidence.Shards(), index.Evidence.Files, "its shards recovered the snapshot's files")
	}
	for _, round := range ended.Rounds {
		if round.Files != nil {
			require.Zero(t, round.Files.UnlikeCount)
			require.Empty(t, round.Files.Why)
		}
	}
	return true
}
