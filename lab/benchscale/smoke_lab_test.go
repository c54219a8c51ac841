//go:build lab

package main

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/lab/byhand"
)

// A migration of a few indices on real nodes, without the script.
func TestLabManyIndices(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), lab.Patience)
	defer cancel()
	one, err := manyIndices(ctx, t.TempDir(), "", 3, t.Output())
	require.NoError(t, err)
	require.Equal(t, 3, one.Count)
	require.Positive(t, one.WindowSeconds)
	require.Positive(t, one.RoundSeconds)
	require.Len(t, one.Steps, len(byhand.Steps()))
}

// So many indices that their list fits no payload, through a whole migration on a real server.
func TestLabScale(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), lab.Patience)
	defer cancel()
	one, err := measure(ctx, t.TempDir(), 500, 2, t.Output())
	require.NoError(t, err)
	require.NoError(t, one.check())
	require.Positive(t, one.LargestPayloadBytes)
	require.NotEmpty(t, one.LargestPayloadOf)
	require.Positive(t, one.LargestHistoryEvents)
	require.Positive(t, one.LargestHistoryBytes)
	t.Logf("%+v", one)
}

// A busy cluster is searched and written while documents are compared, and while they aren't.
func TestLabRates(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), lab.Patience)
	defer cancel()
	cases, err := comparingRates(ctx, t.TempDir(), []int{noRate, unlimited}, time.Millisecond, 5_000, t.Output())
	require.NoError(t, err)
	require.Len(t, cases, 2)
	require.Zero(t, cases[0].ReadPerSecond)
	require.Positive(t, cases[1].ReadPerSecond)
	for _, one := range cases {
		require.Positive(t, one.Search.Requests)
		require.Positive(t, one.Write.Requests)
	}
}
