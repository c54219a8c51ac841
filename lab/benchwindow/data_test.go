package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDocumentsDependOnTheSeedAlone(t *testing.T) {
	require.Equal(t, newItem(1, 7), newItem(1, 7))
	require.NotEqual(t, newItem(1, 7).Preview, newItem(2, 7).Preview)
	require.NotEqual(t, newItem(1, 7).Preview, newItem(1, 8).Preview)
	var sum int
	const many = 1000
	for n := range many {
		preview := len(newItem(1, n).Preview)
		require.GreaterOrEqual(t, preview, leastPreview)
		require.Less(t, preview, mostPreview)
		sum += preview
	}
	require.InEpsilon(t, itemBytes, sum*4/3/many+500, 0.03)
}

// Medians of one, three and five runs are of the size that the case is called by.
func TestDeltasOfRunsDiffer(t *testing.T) {
	s := size{delta: 1000}
	var deltas []int64
	for turn := range 5 {
		deltas = append(deltas, s.deltaOf(turn))
		require.Equal(t, s.deltaOf(turn), s.deltaOf(turn+5))
	}
	require.ElementsMatch(t, []int64{800, 900, 1000, 1100, 1200}, deltas)
	require.EqualValues(t, 1000, s.deltaOf(0), "of a single run, too")
	require.ElementsMatch(t, []int64{800, 1000, 1200}, deltas[:3])
}
