package workflows

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/snapferry/snapferry/migration"
)

// While rounds go on, batches are proven; the verification gets the proofs and the marks for which
// they hold.
func TestProofsAreMadeWhileRoundsGoOn(t *testing.T) {
	w := newWorld(t)
	w.unproven, w.docsProven = 40, 53
	w.still("catalog", "movies")
	w.at(20*time.Minute, migration.RequestFreeze)
	w.at(40*time.Minute, migration.RequestCutover)
	w.run()
	w.completed()
	require.Len(t, w.proved, 40)
	require.Zero(t, w.unproven)
	require.Zero(t, w.inWindow, "nothing is proven while writes are blocked")
	rates := 0
	for _, request := range w.proved[:batchesInFlight] {
		rates += request.Rate
	}
	require.Equal(t, migration.DefaultVerifyRate, rates, "those in flight share the rate")
	first := w.planned[0]
	require.Equal(t, migration.DefaultVerifyRate*batchSeconds(first.Plan.Rounds)/batchesInFlight, first.BatchDocs)
	last := w.planned[len(w.planned)-1]
	require.Zero(t, last.Batches, "right before the block nothing more is begun")
	require.Len(t, w.verifiedWith, 1)
	require.Len(t, w.verifiedWith[0].Proofs, batchesPlanned, "the fake names its batches alike")
	require.NotEmpty(t, w.verifiedWith[0].Marks)
}

// A plan that demands the full scan, and a rehearsal, prove nothing before.
func TestAFullScanInTheWindow(t *testing.T) {
	w := newWorld(t)
	w.plan = strings.Replace(planJSON, `"freeze":`, `"verify": {"checksum": "versions-in-window"}, "freeze":`, 1)
	w.unproven = 3
	w.at(20*time.Minute, migration.RequestFreeze)
	w.at(40*time.Minute, migration.RequestCutover)
	w.run()
	w.completed()
	require.Empty(t, w.planned)
	require.Empty(t, w.proved)
	require.Empty(t, w.verifiedWith[0].Proofs)
	require.Empty(t, w.verifiedWith[0].Marks)
}

// What keeps failing is shown, stops nothing, and is tried again after the next round.
func TestProofsThatFail(t *testing.T) {
	w := newWorld(t)
	w.unproven = 3
	w.on[migration.ActivityProve] = func(int) error {
		return temporal.NewApplicationErrorWithOptions("401", string(migration.ErrorUnauthorized),
			temporal.ApplicationErrorOptions{NonRetryable: true})
	}
	w.env.RegisterDelayedCallback(func() {
		status := w.status()
		require.Nil(t, status.Attention)
		require.NotEmpty(t, status.Prove)
		require.NotNil(t, status.Proven)
	}, 5*time.Minute)
	w.at(50*time.Minute, migration.RequestFreeze)
	w.at(70*time.Minute, migration.RequestCutover)
	w.run()
	report := w.completed()
	require.Empty(t, w.proved)
	require.Contains(t, report.Warnings[0], "comparing before the freeze is held up")
	require.Less(t, w.n[migration.ActivityProve], 20, "it is not tried all the time")
}

// A shard that is unequal although it stands still is told at once.
func TestAnUnequalShardIsToldBeforeTheFreeze(t *testing.T) {
	w := newWorld(t)
	w.unlikeShards = 1
	w.env.RegisterDelayedCallback(func() {
		require.Contains(t, w.status().Warnings, "compared before the freeze, 1 shard is not equal: [movies][0]: the "+
			"checksums differ")
	}, 5*time.Minute)
	w.at(20*time.Minute, migration.RequestAbort)
	w.run()
}

// Each restore compares its files; the verification is told what the last one found, and of which
// indices. Older rounds keep the numbers.
func TestWhatARestoreRecoveredIsEvidence(t *testing.T) {
	w := newWorld(t)
	w.unlikeFiles = []string{"movies"}
	w.at(20*time.Minute, migration.RequestFreeze)
	w.at(40*time.Minute, migration.RequestCutover)
	w.run()
	report := w.completed()
	for _, restore := range w.restores {
		require.True(t, restore.Files)
	}
	require.Len(t, w.verifiedWith, 1)
	told := w.verifiedWith[0]
	require.Equal(t, []string{"catalog", "movies"}, slices.Sorted(slices.Values(migration.IndexNames(told.Taken))))
	require.Equal(t, &migration.RestoredFiles{
		Named: true, Shards: 1, Files: 2, Bytes: 200, UnlikeCount: 1,
		Unlike: []migration.UnlikeFiles{{Index: "movies", Why: "_0.cfs is shorter"}},
	}, told.Files)
	require.Contains(t, report.Warnings, "of 1 shard the restore recovered other files than the snapshot lists, first "+
		"[movies][0]: _0.cfs is shorter")
	last := len(report.Rounds) - 1
	require.Equal(t, told.Files, report.Rounds[last].Files)
	require.Equal(t, told.Files.Brief(), report.Rounds[0].Files)
}

// What is proven shortens the predicted window.
func TestThePredictionKnowsWhatIsProven(t *testing.T) {
	measured := migration.Measured{
		Rounds: []migration.Round{{Kind: migration.RoundBaseline}}, Docs: 100_000_000, Shards: 1000, Checksums: true,
		Delta: true,
	}
	before := measured.Predict(0)
	measured.Proven = &migration.Proven{
		Shards: 1000, OfShards: 1000, Docs: 100_000_000, OfDocs: 100_000_000, BeyondShards: 3,
	}
	require.Less(t, measured.Predict(0).VerifyMillis, int64(200))
	require.Greater(t, before.VerifyMillis, int64(1_000_000))
	require.Greater(t, measured.Predict(1_000_000).VerifyMillis, int64(100_000), "what was written is read again")
	measured.ReadRate = migration.ReadRate{Docs: 1_000_000, Millis: 20_000}
	require.Equal(t, int64(150+3*10+10_000), measured.Predict(1_000_000).VerifyMillis)
	measured.Window = &migration.FrozenWindow{VerifyDocs: 1_000_000, VerifyMillis: 5000}
	require.Equal(t, int64(150+3*10+5000), measured.Predict(1_000_000).VerifyMillis)
}
