//go:build lab

package main

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/lab"
)

// foundFaults are seeds of runs that found a fault of snapferry's. Whoever adds a fault or a moment
// changes what seeds draw: then look for seeds that draw the same again.
var foundFaults = []uint64{
	175, // a node that had just been started seemed to have lost its indices
}

// Three migrations while everything around them fails.
func TestLabCampaign(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*lab.Patience)
	defer cancel()
	all, err := campaign(ctx, t.TempDir(), options{runs: 2, seed: 1, also: foundFaults}, t.Output())
	require.NoError(t, err)
	require.Len(t, all.Runs, 2+len(foundFaults))
	for _, one := range all.Runs {
		require.Empty(t, one.Violations)
		require.NotEmpty(t, one.Faults)
		require.Positive(t, one.Acknowledged)
	}
}
