//go:build lab

package main

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/lab"
)

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
