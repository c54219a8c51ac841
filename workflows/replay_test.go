package workflows

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// testdata/replay holds histories of real migrations, one per branch, exported from a lab by
//
//	go test -tags lab ./lab/e2e -histories "$PWD/workflows/testdata/replay"
//
// They are made from released code only and kept for ever: a migration that runs while workers are
// updated must go on.
const histories = "testdata/replay/*.json"

func TestHistoriesReplay(t *testing.T) {
	files, err := filepath.Glob(histories)
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			replayer := worker.NewWorkflowReplayer()
			Register(replayer)
			require.NoError(t, replayer.ReplayWorkflowHistoryFromJSONFile(nil, file))
		})
	}
}

// A replay that can't fail would prove nothing: a workflow that does one thing more must be
// refused.
func TestReplayNoticesAChange(t *testing.T) {
	files, err := filepath.Glob(histories)
	require.NoError(t, err)
	require.NotEmpty(t, files)
	changed := func(ctx workflow.Context, input migration.Input, carried *Carried) (migration.Report, error) {
		_ = workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, quickCall("")), "SomethingNew").Get(ctx, nil)
		return Migration(ctx, input, carried)
	}
	replayer := worker.NewWorkflowReplayer()
	replayer.RegisterWorkflowWithOptions(changed, workflow.RegisterOptions{Name: migration.WorkflowType})
	require.Error(t, replayer.ReplayWorkflowHistoryFromJSONFile(nil, files[0]))
}
