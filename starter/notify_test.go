package main

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/snapferry/snapferry/internal/golden"
	"github.com/snapferry/snapferry/migration"
)

// notifyTemporal is a server that tries receivers.
type notifyTemporal struct {
	*fakeTemporal
	result  migration.NotifyResult
	failure error
	input   migration.NotifyInput
}

func (f *notifyTemporal) ExecuteWorkflow(_ context.Context, options client.StartWorkflowOptions, workflow any,
	args ...any,
) (client.WorkflowRun, error) {
	require.Equal(f.t, migration.NotifyWorkflowType, workflow)
	require.Equal(f.t, "notify-test/movies", options.ID)
	require.Equal(f.t, migration.TaskQueue, options.TaskQueue)
	f.input = args[0].(migration.NotifyInput)
	return notifyRun{fake: f}, f.startErr
}

type notifyRun struct {
	client.WorkflowRun
	fake *notifyTemporal
}

func (r notifyRun) Get(_ context.Context, into any) error {
	*into.(*migration.NotifyResult) = r.fake.result
	return r.fake.failure
}

func newNotifyConsole(t *testing.T, deliveries ...migration.Delivery) (*console, *notifyTemporal) {
	fake := &notifyTemporal{fakeTemporal: newFake(t), result: migration.NotifyResult{Deliveries: deliveries}}
	c := newConsole(t, fake.fakeTemporal)
	c.deps.dial = func(context.Context, client.Options) (temporalClient, error) { return fake, nil }
	return c, fake
}

var told = migration.Delivery{Receiver: "search-room", Kind: migration.KindDingTalk, State: migration.Delivered}

// The exit code is that of the worst answer, and the table has all of them.
func TestNotifyTest(t *testing.T) {
	c, fake := newNotifyConsole(t, told)
	out, _ := c.run(exitOK, "notify", "test", "-f", "examples/plan.yaml")
	require.Contains(t, out, "search-room")
	require.Equal(t, migration.EventTest, fake.input.Notification.Event)
	require.Len(t, fake.input.Receivers, 3, "each of the plan's, whatever it wants")
	require.NotContains(t, fake.input.Notification.ID, " ")

	c, _ = newNotifyConsole(t, told, migration.Delivery{
		Receiver: "oncall", Kind: migration.KindEmail, State: migration.DeliveryFailed,
		Error:  "its mail server: 535 5.7.8 wrong password",
		Remedy: migration.ErrorReceiver.RemedyAfterwards(),
	})
	out, _ = c.run(exitFailed, "notify", "test", "-f", "examples/plan.yaml")
	golden.Equal(t, "testdata/notify-test.txt", out)
	out, _ = c.run(exitFailed, "notify", "test", "-f", "examples/plan.yaml", "-o", "json")
	require.Contains(t, out, `"state": "failed"`)
}

func TestNotifyTestThatCantBe(t *testing.T) {
	c, fake := newNotifyConsole(t, told)
	_, errs := c.run(exitUsage, "notify", "test", "-f", "examples/plan-minimal.yaml")
	require.Contains(t, errs, "has no receivers")
	_, errs = c.run(exitUsage, "notify", "tset")
	require.Contains(t, errs, "did you mean test?")

	fake.startErr = serviceerror.NewWorkflowExecutionAlreadyStarted("started", "", "")
	_, errs = c.run(exitFailed, "notify", "test", "-f", "examples/plan.yaml")
	require.Contains(t, errs, "is running already")
	fake.startErr = nil
	for failure, says := range map[error]string{
		temporal.NewCanceledError(): "was cancelled", &temporal.TerminatedError{}: "was terminated",
		errors.New("no answer"): "no answer",
	} {
		fake.failure = failure
		_, errs = c.run(exitFailed, "notify", "test", "-f", "examples/plan.yaml")
		require.Contains(t, errs, says)
	}
	fake.failure = nil
	fake.pollers = nil
	_, errs = c.run(exitOK, "notify", "test", "-f", "examples/plan.yaml")
	require.Contains(t, errs, "Warning: ")
}
