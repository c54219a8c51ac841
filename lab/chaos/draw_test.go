package main

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// A seed says everything about what happens, so that a run that failed can be had again.
func TestASeedDrawsTheSame(t *testing.T) {
	for seed := range uint64(200) {
		require.Equal(t, draw(seed), draw(seed))
	}
	require.NotEqual(t, draw(1), draw(2))
}

// The runs that found a fault have the faults that found it.
func TestSeedsThatFoundAFault(t *testing.T) {
	require.Contains(t, draw(136), blow{"the source's node is killed", moment{targetVerified, 1}})
}

// A campaign of two hundred runs comes to each fault and to each moment.
func TestACampaignDrawsEverything(t *testing.T) {
	faultsSeen, momentsSeen, counts := map[string]bool{}, map[moment]bool{}, map[int]bool{}
	for seed := uint64(1); seed <= 200; seed++ {
		blows := draw(seed)
		counts[len(blows)] = true
		var names []string
		for _, b := range blows {
			faultsSeen[b.Fault], momentsSeen[b.At] = true, true
			require.NotContains(t, names, b.Fault, "seed %d", seed)
			names = append(names, b.Fault)
			chosen := faultNamed(b.Fault)
			require.True(t, len(chosen.at) == 0 || slices.Contains(chosen.at, b.At.Event), "seed %d: %s", seed, b)
		}
	}
	require.Len(t, counts, mostBlows)
	require.Len(t, faultsSeen, len(faults))
	require.Len(t, momentsSeen, len(moments()))
}
