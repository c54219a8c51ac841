//go:build lab

package main

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/lab"
)

// Three migrations while everything around them fails.
func TestLabCampaign(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*lab.Patience)
	defer cancel()
	all, err := campaign(ctx, t.TempDir(), options{runs: 3, seed: 1}, t.Output())
	require.NoError(t, err)
	require.Len(t, all.Runs, 3)
	for _, one := range all.Runs {
		require.Empty(t, one.Violations)
		require.NotEmpty(t, one.Faults)
		require.Positive(t, one.Acknowledged)
	}
}
