package main

import (
	"bytes"
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/serviceerror"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/snapferry/snapferry/migration"
)

// now is the time in all tests.
var now = time.Date(2026, 3, 2, 22, 30, 0, 0, time.UTC)

func at(ago time.Duration) int64 { return now.Add(-ago).UnixMilli() }

// moment is the server's answers at one point of a migration's life.
type moment struct {
	state      enums.WorkflowExecutionStatus
	status     *migration.Status
	activities []*workflowpb.PendingActivityInfo
	// taskAttempt is the workflow task's.
	taskAttempt int32
	queue       string
	describeErr error
}

// fakeTemporal stands in for a server with one migration. Each sleep of a command goes on to the
// next moment.
type fakeTemporal struct {
	t       *testing.T
	id      string
	moments []moment
	// guard is what the plan's guard answers, if there is one.
	guard *migration.GuardStatus
	// plan is the input of the migration's start.
	plan any
	// pollers are the queues that a worker polls.
	pollers map[string]bool
	// result is how the closed workflow's result is got.
	result error
	report migration.Report

	startErr  error
	started   *client.StartWorkflowOptions
	input     any
	updateErr error
	answer    migration.Answer
	updates   []client.UpdateWorkflowOptions
	signals   []string
	signalled []any
	signalErr error
	closed    int
}

func newFake(t *testing.T, moments ...moment) *fakeTemporal {
	return &fakeTemporal{
		t: t, id: "migration/movies", moments: moments,
		pollers: map[string]bool{migration.TaskQueue: true, migration.CopyTaskQueue: true},
	}
}

func (f *fakeTemporal) now() moment { return f.moments[0] }

func (f *fakeTemporal) advance() {
	if len(f.moments) > 1 {
		f.moments = f.moments[1:]
	}
}

func (f *fakeTemporal) find(id string) error {
	if len(f.moments) == 0 || id != f.id {
		return serviceerror.NewNotFound("workflow not found for ID: " + id)
	}
	return f.now().describeErr
}

func (f *fakeTemporal) DescribeWorkflowExecution(_ context.Context, id,
	_ string,
) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	if err := f.find(id); err != nil {
		return nil, err
	}
	m := f.now()
	if m.queue == "" {
		m.queue = migration.TaskQueue
	}
	if m.state == enums.WORKFLOW_EXECUTION_STATUS_UNSPECIFIED {
		m.state = enums.WORKFLOW_EXECUTION_STATUS_RUNNING
	}
	response := &workflowservice.DescribeWorkflowExecutionResponse{
		ExecutionConfig: &workflowpb.WorkflowExecutionConfig{TaskQueue: &taskqueuepb.TaskQueue{Name: m.queue}},
		WorkflowExecutionInfo: &workflowpb.WorkflowExecutionInfo{
			Execution: &commonpb.WorkflowExecution{WorkflowId: id, RunId: "run-1"},
			StartTime: timestamppb.New(now.Add(-90 * time.Minute)), Status: m.state,
		},
		PendingActivities: m.activities,
	}
	if m.state != enums.WORKFLOW_EXECUTION_STATUS_RUNNING {
		response.WorkflowExecutionInfo.CloseTime = timestamppb.New(now.Add(-time.Minute))
	}
	if m.taskAttempt > 0 {
		response.PendingWorkflowTask = &workflowpb.PendingWorkflowTaskInfo{Attempt: m.taskAttempt}
	}
	return response, nil
}

func (f *fakeTemporal) GetWorkflowHistory(_ context.Context, id, _ string, _ bool,
	_ enums.HistoryEventFilterType,
) client.HistoryEventIterator {
	return &fakeHistory{f: f, err: f.find(id)}
}

// fakeHistory has the event with which the migration was started.
type fakeHistory struct {
	f    *fakeTemporal
	err  error
	read bool
}

func (h *fakeHistory) HasNext() bool { return !h.read }

func (h *fakeHistory) Next() (*historypb.HistoryEvent, error) {
	h.read = true
	if h.err != nil {
		return nil, h.err
	}
	payloads, err := converter.GetDefaultDataConverter().ToPayloads(h.f.plan)
	require.NoError(h.f.t, err)
	return &historypb.HistoryEvent{Attributes: &historypb.HistoryEvent_WorkflowExecutionStartedEventAttributes{
		WorkflowExecutionStartedEventAttributes: &historypb.WorkflowExecutionStartedEventAttributes{Input: payloads},
	}}, nil
}

func (f *fakeTemporal) ListWorkflow(context.Context,
	*workflowservice.ListWorkflowExecutionsRequest,
) (*workflowservice.ListWorkflowExecutionsResponse, error) {
	f.t.Fatal("only a list asks for workflows")
	return nil, nil
}

func (f *fakeTemporal) DescribeTaskQueue(_ context.Context, queue string,
	_ enums.TaskQueueType,
) (*workflowservice.DescribeTaskQueueResponse, error) {
	last := now.Add(-10 * time.Minute) // the server remembers dead workers for a while
	if f.pollers[queue] {
		last = now.Add(-20 * time.Second)
	}
	pollers := []*taskqueuepb.PollerInfo{{LastAccessTime: timestamppb.New(last)}}
	return &workflowservice.DescribeTaskQueueResponse{Pollers: pollers}, nil
}

func (f *fakeTemporal) QueryWorkflow(_ context.Context, id, _, query string, _ ...any) (converter.EncodedValue, error) {
	require.Equal(f.t, migration.QueryStatus, query)
	if f.guard != nil && id == migration.GuardID("movies") {
		payloads, err := converter.GetDefaultDataConverter().ToPayloads(f.guard)
		require.NoError(f.t, err)
		return client.NewValue(payloads), nil
	}
	if err := f.find(id); err != nil {
		return nil, err
	}
	if f.now().status == nil {
		return nil, serviceerror.NewFailedPrecondition("no poller seen for task queue recently, worker may be down")
	}
	payloads, err := converter.GetDefaultDataConverter().ToPayloads(f.now().status)
	require.NoError(f.t, err)
	return client.NewValue(payloads), nil
}

func (f *fakeTemporal) ExecuteWorkflow(_ context.Context, options client.StartWorkflowOptions, workflow any,
	args ...any,
) (client.WorkflowRun, error) {
	require.Equal(f.t, migration.WorkflowType, workflow)
	require.Len(f.t, args, 1, "the second argument is continue-as-new's own")
	if f.startErr != nil {
		return nil, f.startErr
	}
	f.started, f.input = &options, args[0]
	return &fakeRun{fake: f}, nil
}

func (f *fakeTemporal) GetWorkflow(_ context.Context, _, _ string) client.WorkflowRun {
	return &fakeRun{fake: f}
}

func (f *fakeTemporal) SignalWorkflow(_ context.Context, id, _, name string, arg any) error {
	if f.signalErr != nil {
		return f.signalErr
	}
	if err := f.find(id); err != nil {
		return err
	}
	f.signals, f.signalled = append(f.signals, name), append(f.signalled, arg)
	return nil
}

func (f *fakeTemporal) UpdateWorkflow(ctx context.Context,
	options client.UpdateWorkflowOptions,
) (client.WorkflowUpdateHandle, error) {
	if err := f.find(options.WorkflowID); err != nil {
		return nil, err
	}
	f.updates = append(f.updates, options)
	if f.updateErr != nil {
		return nil, f.updateErr
	}
	return fakeHandle{f.answer}, nil
}

func (f *fakeTemporal) Close() { f.closed++ }

type fakeRun struct {
	client.WorkflowRun
	fake *fakeTemporal
}

func (r *fakeRun) GetID() string    { return r.fake.id }
func (r *fakeRun) GetRunID() string { return "run-1" }
func (r *fakeRun) Get(_ context.Context, into any) error {
	if r.fake.result == nil {
		*into.(*migration.Report) = r.fake.report
	}
	return r.fake.result
}

type fakeHandle struct{ answer migration.Answer }

func (h fakeHandle) WorkflowID() string { return "" }
func (h fakeHandle) RunID() string      { return "" }
func (h fakeHandle) UpdateID() string   { return "" }
func (h fakeHandle) Get(_ context.Context, into any) error {
	*into.(*migration.Answer) = h.answer
	return nil
}

// console is a starter with a person, or a script, in front of it.
type console struct {
	t        *testing.T
	fake     *fakeTemporal
	deps     deps
	options  client.Options
	out, err bytes.Buffer
}

type variables map[string]string

func (v variables) LookupEnv(name string) (string, bool) { value, ok := v[name]; return value, ok }
func (v variables) Environ() []string                    { return nil }

func newConsole(t *testing.T, fake *fakeTemporal) *console {
	c := &console{t: t, fake: fake}
	empty := filepath.Join(t.TempDir(), "temporal.toml")
	c.deps = deps{
		in: bytes.NewReader(nil), out: &c.out, err: &c.err,
		dial: func(_ context.Context, options client.Options) (temporalClient, error) {
			c.options = options
			return c.fake, nil
		},
		environment: variables{"TEMPORAL_CONFIG_FILE": empty},
		now:         func() time.Time { return now },
		sleep: func(ctx context.Context, _ time.Duration) error {
			c.fake.advance()
			return ctx.Err()
		},
		zone: time.UTC,
		user: func() string { return "ann" },
	}
	return c
}

// run runs a command line and expects an exit code.
func (c *console) run(code int, args ...string) (out, err string) {
	c.t.Helper()
	c.out.Reset()
	c.err.Reset()
	got := execute(context.Background(), c.deps, args)
	require.Equal(c.t, code, got, "starter %v\n%s%s", args, c.out.String(), c.err.String())
	return c.out.String(), c.err.String()
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
