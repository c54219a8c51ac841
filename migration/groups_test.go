package migration_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

func TestGroupsAreOfAboutTheSameWeight(t *testing.T) {
	require.Equal(t, [][]int{{1, 2}, {0, 3}}, migration.CutGroups([]int64{50, 30, 20, 10}, 2))
	require.Equal(t, [][]int{{0, 2, 4}, {1, 3}}, migration.CutGroups([]int64{0, 0, 0, 0, 0}, 2), "nothing is known")
	require.Equal(t, [][]int{{0}}, migration.CutGroups([]int64{7}, 3), "no group is empty")
	require.Equal(t, [][]int{{0, 1, 2}}, migration.CutGroups([]int64{1, 2, 3}, 1))

	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		weights := make([]int64, 1+random.IntN(40))
		var all, heaviest int64
		for i := range weights {
			weights[i] = random.Int64N(1000)
			all += weights[i]
			heaviest = max(heaviest, weights[i])
		}
		n := 1 + random.IntN(8)
		groups := migration.CutGroups(weights, n)
		require.Equal(t, groups, migration.CutGroups(weights, n), "the same weights give the same groups")
		require.Len(t, groups, min(n, len(weights)))
		var members []int
		last := int64(-1)
		for _, group := range groups {
			var weight int64
			for _, i := range group {
				weight += weights[i]
			}
			require.LessOrEqual(t, weight, all/int64(len(groups))+heaviest)
			require.GreaterOrEqual(t, weight, last, "the lightest first")
			last = weight
			members = append(members, group...)
		}
		require.Len(t, members, len(weights))
		slices.Sort(members)
		require.Len(t, slices.Compact(members), len(weights), "each index is in one group")
	}
}

// measuredSlowly are rounds that show what 60 MB/s give: each step takes a second for each 60 MB.
func measuredSlowly(weights ...int64) migration.Measured {
	const mb = 1_000_000
	return migration.Measured{
		Pipeline: migration.Pipeline{From: 20_000_000_000},
		Weights:  weights,
		Rounds: []migration.Round{
			{
				Kind: migration.RoundBaseline, Docs: 60_000, BytesCopied: 600 * mb,
				SnapshotMillis: 10_200, CopyMillis: 10_200, RestoreMillis: 10_200,
			},
			{
				Kind: migration.RoundIncremental, Writes: 6_000, BytesCopied: 60 * mb, Lifted: true,
				SnapshotMillis: 1_200, CopyMillis: 1_200, RestoreMillis: 1_200,
			},
			{
				Kind: migration.RoundIncremental, Writes: 12_000, BytesCopied: 120 * mb, Lifted: true,
				SnapshotMillis: 2_200, CopyMillis: 2_200, RestoreMillis: 2_200,
			},
		},
	}
}

func TestAPipelineIsPredictedWhereItPays(t *testing.T) {
	even := []int64{1, 1, 1, 1, 1, 1, 1, 1}
	serial := measuredSlowly()
	large := serial.Predict(60_000)
	require.Zero(t, large.Groups, "nothing is known of the indices")
	require.InDelta(t, 30_600, large.CarryMillis(), 10)

	m := measuredSlowly(even...)
	p := m.Predict(60_000)
	require.Greater(t, p.Groups, 2)
	require.Less(t, float64(p.GroupedMillis), 0.6*float64(large.CarryMillis()))
	require.Equal(t, p.GroupedMillis, p.CarryMillis())
	require.Equal(t, large.Millis-large.CarryMillis()+p.GroupedMillis, p.Millis, "the window that is predicted")
	require.Equal(t, p.Groups, p.Window().Groups)

	require.Zero(t, m.Predict(6_000).Groups, "a window of 4 s is below the bound")
	m.Pipeline.From = 1_000_000_000
	require.NotZero(t, m.Predict(18_000).Groups)
	require.Zero(t, m.Predict(3_000).Groups, "less than a second is to be gained")
	require.Zero(t, m.Predict(100).Groups, "each step takes what it takes for any delta: more of them gain nothing")

	m = measuredSlowly(1)
	require.Zero(t, m.Predict(60_000).Groups, "one index")
	m = measuredSlowly(1000, 1, 1, 1)
	require.Zero(t, m.Predict(60_000).Groups, "as good as one index")

	m = measuredSlowly(even...)
	m.Pipeline.Groups = 1
	require.Zero(t, m.Predict(60_000).Groups, "turned off")
	m.Pipeline.Groups = 3
	require.Equal(t, 3, m.Predict(60_000).Groups)
	require.Equal(t, 3, m.Predict(100).Groups, "as many as the plan wants, whatever they gain")
	m.Weights = even[:2]
	require.Equal(t, 2, m.Predict(60_000).Groups, "no more than indices")

	m = measuredSlowly(even...)
	grouped := m.Rounds[1]
	grouped.Kind, grouped.Groups, grouped.SnapshotMillis = migration.RoundFinal, 4, 99_999
	m.Rounds = append(m.Rounds, grouped)
	require.Equal(t, p.SnapshotMillis, m.Predict(60_000).SnapshotMillis, "a round in groups tells nothing of its steps")
}

// Rounds of about the same size say nothing of what a step takes whatever its size. Several groups
// must not seem to take that several times.
func TestGroupsAfterRoundsOfOneSize(t *testing.T) {
	m := measuredSlowly(1, 1, 1, 1, 1, 1, 1, 1)
	for i := range m.Rounds {
		if r := &m.Rounds[i]; r.Kind == migration.RoundIncremental {
			r.Writes, r.BytesCopied = 6_000, 60_000_000+int64(i)
			r.SnapshotMillis, r.CopyMillis, r.RestoreMillis = 10_000, 10_000, 10_000
		}
	}
	p := m.Predict(6_000)
	require.EqualValues(t, 10_000, p.SnapshotMillis)
	require.GreaterOrEqual(t, p.Groups, 4)
	require.Less(t, p.GroupedMillis, int64(20_000))
}
