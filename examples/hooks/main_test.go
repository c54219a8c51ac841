package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"

	"github.com/snapferry/snapferry/migration"
)

func call(ctx context.Context, t *testing.T, command string) (migration.HookAnswer, error) {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	env.SetWorkerOptions(worker.Options{BackgroundActivityContext: ctx})
	env.RegisterActivityWithOptions(shell(command), activity.RegisterOptions{Name: "hook"})
	value, err := env.ExecuteActivity("hook", migration.HookInput{
		Migration: "movies", Moment: migration.HookBeforeBlock, IdempotencyKey: "key-1",
	})
	var said migration.HookAnswer
	if err == nil {
		require.NoError(t, value.Get(&said))
	}
	return said, err
}

func TestHowACommandEndsIsItsAnswer(t *testing.T) {
	said, err := call(t.Context(), t, "echo stopping; echo 3 writers stopped")
	require.NoError(t, err)
	require.False(t, said.Refuses())
	require.Equal(t, "3 writers stopped", said.Says())

	said, err = call(t.Context(), t, "echo a job runs >&2; exit 3")
	require.NoError(t, err)
	require.True(t, said.Refuses())
	require.Equal(t, "a job runs", said.Says())

	_, err = call(t.Context(), t, "echo no such unit; exit 5")
	require.ErrorContains(t, err, "exit status 5: no such unit")
}

func TestACommandGetsTheInput(t *testing.T) {
	said, err := call(t.Context(), t, `grep -o '"idempotencyKey":"key-1"'`)
	require.NoError(t, err)
	require.Equal(t, `"idempotencyKey":"key-1"`, said.Says())
}

// A command must not act once the hook is cancelled, nor may what it has started.
func TestACancelledHookKillsItsCommand(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	began := filepath.Join(t.TempDir(), "began")
	require.NoError(t, exec.Command("mkfifo", began).Run())
	go func() {
		_, _ = os.ReadFile(began) // returns once the command has opened it
		cancel()
	}()
	_, err := call(ctx, t, "echo >"+began+"; sleep 300 & wait")
	require.Error(t, err)
	require.ErrorIs(t, ctx.Err(), context.Canceled)
}

// What the example says is a plan.
func TestTheExampleIsAPlan(t *testing.T) {
	plan, err := os.ReadFile("../../starter/examples/plan-minimal.yaml")
	require.NoError(t, err)
	hooks, err := os.ReadFile("hooks.yaml")
	require.NoError(t, err)
	decoded, err := migration.Decode(append(plan, hooks...))
	require.NoError(t, err)
	require.Len(t, decoded.Hooks.AfterHandover, 2)
	require.Empty(t, decoded.Exposed())
}
