//go:build lab

package rig

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/lab/payloads"
)

// A worker's payload that is too large ends the wait for its effect, on a real server.
func TestLabAPayloadOfAWorkerThatIsTooLargeEndsTheWait(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), lab.Patience)
	defer cancel()
	l, err := lab.Start(ctx, lab.Options{Dir: t.TempDir(), Parts: []lab.Part{lab.PartTemporal}})
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	r, err := Connect(ctx, l, "")
	require.NoError(t, err)
	defer r.Close()

	const queue = "queue"
	w := worker.New(r.Client, queue, worker.Options{})
	w.RegisterActivityWithOptions(func(_ context.Context, size int) (string, error) {
		return strings.Repeat("x", size-2), nil // with quotes
	}, activity.RegisterOptions{Name: "Make"})
	w.RegisterWorkflowWithOptions(func(ctx workflow.Context, size int) error {
		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Hour})
		return workflow.ExecuteActivity(ctx, "Make", size).Get(ctx, nil)
	}, workflow.RegisterOptions{Name: "Making"})
	require.NoError(t, w.Start())
	defer w.Stop()
	begin := func(id string, size int) {
		_, err := r.Client.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: id, TaskQueue: queue}, "Making", size)
		require.NoError(t, err)
	}
	begin("small", payloads.Largest)
	require.NoError(t, r.Client.GetWorkflow(ctx, "small", "").Get(ctx, nil))
	require.Empty(t, r.Payloads.TakeTooLarge())

	begin("large", payloads.Largest+1)
	_, err = r.Report(ctx, "large")
	require.ErrorContains(t, err, "activity Make of large")
	require.ErrorContains(t, err, "262145 bytes in RespondActivityTaskCompleted")
	require.NotEmpty(t, r.Payloads.TakeTooLarge())
}
