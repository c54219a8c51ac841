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
