package workflows

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// testdata/replay holds histories of real migrations and of their guards, one per branch, exported
// from a lab by
//
//	make histories
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
	something := func(ctx workflow.Context) {
		_ = workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, quickCall("")), "SomethingNew").Get(ctx, nil)
	}
	for history, change := range map[string]struct {
		name     string
		workflow any
	}{
		"abortwindow": {
			migration.WorkflowType,
			func(ctx workflow.Context, input migration.Input, carried *Carried) (migration.Report, error) {
				something(ctx)
				return Migration(ctx, input, carried)
			},
		},
		"guard-handover": {
			migration.GuardWorkflowType,
			func(ctx workflow.Context, input migration.GuardInput) (migration.GuardStatus, error) {
				something(ctx)
				return Guard(ctx, input)
			},
		},
	} {
		replayer := worker.NewWorkflowReplayer()
		replayer.RegisterWorkflowWithOptions(change.workflow, workflow.RegisterOptions{Name: change.name})
		file := filepath.Join(filepath.Dir(histories), history+".json")
		require.Error(t, replayer.ReplayWorkflowHistoryFromJSONFile(nil, file), history)
	}
}
