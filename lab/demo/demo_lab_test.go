//go:build lab

package demo

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/worker"

	"github.com/snapferry/snapferry/workflows"
)

// The demo itself, with fewer documents: what it writes is what its users rely on.
func TestDemo(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, Run(t.Context(), Options{Dir: dir, Out: os.Stderr, Documents: 5000}))

	text, err := os.ReadFile(filepath.Join(dir, "report.json"))
	require.NoError(t, err)
	var report Report
	require.NoError(t, json.Unmarshal(text, &report))
	require.NoError(t, report.check())
	require.Len(t, report.Indices, 2)
	for _, round := range report.Rounds {
		require.NotEmpty(t, round.UUID)
		require.Positive(t, round.StartTimeMillis)
		require.GreaterOrEqual(t, round.EndTimeMillis, round.StartTimeMillis)
	}

	replayer := worker.NewWorkflowReplayer()
	workflows.Register(replayer)
	require.NoError(t, replayer.ReplayWorkflowHistoryFromJSONFile(nil, filepath.Join(dir, "history.json")))
}
