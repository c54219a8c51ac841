package migration_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

// rounds of a cluster that takes so many milliseconds whatever a snapshot holds, and so many bytes
// a millisecond: throttled at first, then not.
func predictable(fixed, slow, fast int64) []migration.Round {
	round := func(kind string, writes, bytes, perMilli int64, lifted bool) migration.Round {
		took := fixed + bytes/perMilli
		return migration.Round{
			Kind: kind, Writes: writes, BytesCopied: bytes, SnapshotMillis: took,
			CopyMillis: took / 2, RestoreMillis: took, Lifted: lifted, Docs: 1_000_000,
		}
	}
	return []migration.Round{
		round(migration.RoundBaseline, 0, 1_000_000_000, slow, false),
		round(migration.RoundIncremental, 20_000, 20_000_000, fast, true),
		round(migration.RoundIncremental, 50_000, 50_000_000, slow, false),
		round(migration.RoundIncremental, 10, 10_000, slow, false),
	}
}

func TestPredictKnowsWhatTheRoundsHaveShown(t *testing.T) {
	m := migration.Measured{Rounds: predictable(500, 40_000, 400_000)}
	for _, writes := range []int64{0, 1000, 50_000, 600_000} {
		p := m.Predict(writes)
		require.Equal(t, writes, p.Writes)
		require.Equal(t, writes*1000, p.DeltaBytes, "a kilobyte an operation")
		expected := 500 + writes*1000/400_000
		require.InDelta(t, expected, p.SnapshotMillis, float64(expected)*0.1)
		require.InDelta(t, expected/2, p.CopyMillis, float64(expected)*0.1)
		require.InDelta(t, expected, p.RestoreMillis, float64(expected)*0.1)
		require.Equal(t, p.BlockMillis+p.CarryMillis()+p.VerifyMillis, p.Millis)
	}
}

func TestPredictWithLittleToGoBy(t *testing.T) {
	require.Positive(t, migration.Measured{}.Predict(1000).Millis, "block and verification at least")
	require.Zero(t, migration.Measured{}.Predict(1000).CarryMillis())

	all := predictable(500, 40_000, 400_000)
	baseline := migration.Measured{Rounds: all[:1]}.Predict(10_000)
	require.Equal(t, int64(10_000_000), baseline.DeltaBytes, "a kilobyte a document")
	require.Positive(t, baseline.SnapshotMillis)

	// A round with next to nothing in it says little of how fast bytes go: not slower than in the
	// baseline.
	small := migration.Round{
		Kind: migration.RoundIncremental, Writes: 1, BytesCopied: 1000, SnapshotMillis: 500,
		Lifted: true,
	}
	p := migration.Measured{Rounds: []migration.Round{all[0], small}}.Predict(100_000)
	require.LessOrEqual(t, p.SnapshotMillis, p.DeltaBytes/39_000+500)

	empty := migration.Round{Kind: migration.RoundIncremental, Lifted: true, SnapshotMillis: 700}
	p = migration.Measured{Rounds: []migration.Round{all[0], empty, empty}}.Predict(0)
	require.Equal(t, int64(700), p.SnapshotMillis)

	shrinking := []migration.Round{
		{Kind: migration.RoundIncremental, Writes: 10, BytesCopied: 10_000_000, SnapshotMillis: 100, Lifted: true},
		{Kind: migration.RoundIncremental, Writes: 20, BytesCopied: 20_000_000, SnapshotMillis: 50, Lifted: true},
	}
	require.GreaterOrEqual(t, migration.Measured{Rounds: shrinking}.Predict(1_000_000).SnapshotMillis, int64(0))
}

func TestPredictTakesTheLastWindowsBlockAndVerification(t *testing.T) {
	m := migration.Measured{Docs: 4_000_000, Checksums: true}
	require.Greater(t, m.Predict(0).VerifyMillis, int64(90_000), "each document is read")
	m.Checksums = false
	require.Less(t, m.Predict(0).VerifyMillis, int64(1000))
	m.Window = &migration.FrozenWindow{BlockMillis: 11, VerifyMillis: 22}
	p := m.Predict(0)
	require.Equal(t, []int64{11, 22, 33}, []int64{p.BlockMillis, p.VerifyMillis, p.Millis})
}

// A baseline and one round, as measured on 5.5.2 with 20 ms to S3 and OSS: most of each part is
// requests in a row, which a single point doesn't tell from bytes. The larger round does, throttled
// or not.
func TestALargerRoundTellsWhatGrowsWithTheBytes(t *testing.T) {
	m := migration.Measured{Rounds: []migration.Round{
		{
			Kind: migration.RoundBaseline, Docs: 3226, BytesCopied: 105_468_869, SnapshotMillis: 4100, CopyMillis: 606,
			RestoreMillis: 3936,
		},
		{
			Kind: migration.RoundIncremental, Writes: 548, BytesCopied: 18_278_036,
			SnapshotMillis: 2376, CopyMillis: 415,
			RestoreMillis: 1383, Lifted: true,
		},
	}}
	const window = 4584 // with the block, for 1,613 operations
	p := m.Predict(1613)
	require.InDelta(t, window, p.Millis, window*0.3)
	require.Greater(t, p.SnapshotMillis, int64(2376))

	m.Rounds = m.Rounds[1:] // a migration whose baseline is no longer kept
	require.Greater(t, m.Predict(1613).SnapshotMillis, p.SnapshotMillis, "rather too much than too little")
}

// A verification took 20.6 s with 900 shards of few documents, and 36.7, 9.2 and 4.8 s where 23, 6.3
// and 3.7 s were predicted in all.
func TestThePredictedVerificationCountsShardsAndDocuments(t *testing.T) {
	few := migration.Measured{Checksums: true, Docs: 9000, Shards: 900}.Predict(0)
	require.Greater(t, few.VerifyMillis, int64(9000))
	many := migration.Measured{Checksums: true, Docs: 1_000_000, Shards: 5}.Predict(0)
	require.Greater(t, many.VerifyMillis, int64(1_000_000/15))
	require.Less(t, migration.Measured{Docs: 1_000_000, Shards: 5}.Predict(0).VerifyMillis, int64(1000), "counts only")
	old := migration.Measured{Checksums: true, Docs: 1_000_000}.Predict(0)
	require.EqualValues(t, 150+1_000_000/40, old.VerifyMillis, "histories of earlier versions were decided by it")
	measured := migration.Measured{
		Checksums: true, Docs: 1_000_000, Shards: 5, Window: &migration.FrozenWindow{VerifyMillis: 17},
	}.Predict(0)
	require.EqualValues(t, 17, measured.VerifyMillis)
}

// 2,000 indices of which 20 take part in each round: what each index takes whatever its size must
// neither count for the bytes nor for the next window.
func TestThePredictionKnowsThatFewIndicesTakePart(t *testing.T) {
	round := func(kind string, taken int, bytes, millis int64) migration.Round {
		r := migration.Round{
			Kind: kind, Indices: 2000, Skipped: 2000 - taken, Writes: bytes / 1000, BytesCopied: bytes, Docs: 1 << 20,
			SnapshotMillis: millis, CopyMillis: millis, RestoreMillis: millis, Snapshot: "s",
			Taken: map[migration.Reason]int{migration.ReasonWritten: taken},
		}
		if kind == migration.RoundBaseline {
			r.Taken = map[migration.Reason]int{migration.ReasonFull: taken}
		}
		return r
	}
	baseline := round(migration.RoundBaseline, 2000, 1<<30, 80_000)
	few := round(migration.RoundIncremental, 20, 1<<20, 900)
	full := round(migration.RoundIncremental, 2000, 1<<20, 60_000)
	full.Taken = map[migration.Reason]int{migration.ReasonFull: 2000}
	nothing := migration.Round{Kind: migration.RoundIncremental, Indices: 2000, Skipped: 2000}
	for what, rounds := range map[string][]migration.Round{
		"rounds":                          {baseline, few, few, few},
		"one that took nothing":           {baseline, few, nothing, few, nothing},
		"one that took all":               {baseline, few, full, few},
		"one with the window's throttles": {baseline, few, raised(few)},
	} {
		p := migration.Measured{Rounds: rounds}.Predict(few.Writes)
		for part, millis := range map[string]int64{
			"snapshot": p.SnapshotMillis, "copy": p.CopyMillis, "restore": p.RestoreMillis,
		} {
			require.InDelta(t, 900, millis, 200, "%s: %s", what, part)
		}
	}
	p := migration.Measured{Rounds: []migration.Round{baseline}}.Predict(1000)
	require.Greater(t, p.SnapshotMillis, int64(30_000), "without any other round there is nothing better")
}

func raised(r migration.Round) migration.Round {
	r.Lifted = true
	return r
}
