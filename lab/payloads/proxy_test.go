package payloads

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/command/v1"
	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// fakeServer is Temporal's front end, as far as this needs.
type fakeServer struct {
	workflowservice.UnimplementedWorkflowServiceServer
	mu      sync.Mutex
	reached []string
	header  metadata.MD
}

func (f *fakeServer) reach(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reached = append(f.reached, what)
}

func (f *fakeServer) GetSystemInfo(ctx context.Context, _ *workflowservice.GetSystemInfoRequest,
) (*workflowservice.GetSystemInfoResponse, error) {
	f.header, _ = metadata.FromIncomingContext(ctx)
	return &workflowservice.GetSystemInfoResponse{}, nil
}

func (f *fakeServer) StartWorkflowExecution(_ context.Context, r *workflowservice.StartWorkflowExecutionRequest,
) (*workflowservice.StartWorkflowExecutionResponse, error) {
	f.reach("start " + r.GetWorkflowId())
	if r.GetWorkflowId() == "twice" {
		started := serviceerror.NewWorkflowExecutionAlreadyStarted("it runs", "request", "the run")
		return nil, serviceerror.ToStatus(started).Err()
	}
	return &workflowservice.StartWorkflowExecutionResponse{RunId: "run"}, nil
}

func (f *fakeServer) PollActivityTaskQueue(context.Context, *workflowservice.PollActivityTaskQueueRequest,
) (*workflowservice.PollActivityTaskQueueResponse, error) {
	return &workflowservice.PollActivityTaskQueueResponse{
		TaskToken: []byte("token"), ActivityType: &common.ActivityType{Name: "VerifyTarget"},
		WorkflowExecution: &common.WorkflowExecution{WorkflowId: "movies"},
	}, nil
}

func (f *fakeServer) RecordActivityTaskHeartbeat(context.Context, *workflowservice.RecordActivityTaskHeartbeatRequest,
) (*workflowservice.RecordActivityTaskHeartbeatResponse, error) {
	f.reach("heartbeat")
	return &workflowservice.RecordActivityTaskHeartbeatResponse{}, nil
}

// proxied is a client that reaches a fake server through the proxy.
func proxied(t *testing.T) (*Proxy, *fakeServer, client.Client) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	fake, server := &fakeServer{}, grpc.NewServer()
	workflowservice.RegisterWorkflowServiceServer(server, fake)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	p, err := NewProxy(listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	c, err := client.DialContext(t.Context(), client.Options{
		HostPort: p.Address(), Logger: log.NewStructuredLogger(slog.New(slog.DiscardHandler)),
	})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return p, fake, c
}

var (
	largest  = strings.Repeat("x", Largest-2) // with quotes
	tooLarge = largest + "x"
)

func encoded(text string) *common.Payloads {
	return &common.Payloads{Payloads: []*common.Payload{{Data: []byte("1")}, {Data: []byte(`"` + text + `"`)}}}
}

func TestAPayloadAboveTheLimitIsRefusedAndNamed(t *testing.T) {
	p, fake, c := proxied(t)
	start := func(id, argument string) error {
		options := client.StartWorkflowOptions{ID: id, TaskQueue: "q"}
		_, err := c.ExecuteWorkflow(t.Context(), options, "Migration", argument)
		return err
	}
	require.NoError(t, start("small", largest))
	require.Empty(t, p.TakeTooLarge())
	require.ErrorContains(t, start("large", tooLarge), "a payload of 262145 bytes in StartWorkflowExecution "+
		"(StartWorkflowExecutionRequest, workflow id large, workflow type Migration): at most 262144 are possible")
	require.Equal(t, []string{"start small"}, fake.reached)
	require.Len(t, p.TakeTooLarge(), 1)
	require.Empty(t, p.TakeTooLarge())

	service := c.WorkflowService()
	_, err := service.RespondWorkflowTaskCompleted(t.Context(), &workflowservice.RespondWorkflowTaskCompletedRequest{
		Commands: []*command.Command{{
			CommandType: enums.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK,
			Attributes: &command.Command_ScheduleActivityTaskCommandAttributes{
				ScheduleActivityTaskCommandAttributes: &command.ScheduleActivityTaskCommandAttributes{
					ActivityType: &common.ActivityType{Name: "BlockSource"}, Input: encoded(tooLarge),
				},
			},
		}},
	})
	require.ErrorContains(t, err, "in RespondWorkflowTaskCompleted (ScheduleActivityTaskCommandAttributes, "+
		"activity type BlockSource)")

	_, err = service.PollActivityTaskQueue(t.Context(), &workflowservice.PollActivityTaskQueueRequest{})
	require.NoError(t, err)
	beat := &workflowservice.RecordActivityTaskHeartbeatRequest{TaskToken: []byte("token"), Details: encoded(largest)}
	_, err = service.RecordActivityTaskHeartbeat(t.Context(), beat)
	require.NoError(t, err)
	beat.Details = encoded(tooLarge)
	_, err = service.RecordActivityTaskHeartbeat(t.Context(), beat)
	require.ErrorContains(t, err, "activity VerifyTarget of movies")
	_, err = service.RespondActivityTaskCompleted(t.Context(),
		&workflowservice.RespondActivityTaskCompletedRequest{TaskToken: []byte("token"), Result: encoded(tooLarge)})
	require.ErrorContains(t, err, "in RespondActivityTaskCompleted (RespondActivityTaskCompletedRequest, "+
		"activity VerifyTarget of movies)")
	require.Len(t, p.TakeTooLarge(), 3)
	require.Empty(t, p.tasks, "a task that has ended is forgotten")
}

func TestTheProxyBeforeTemporalPassesTheRestOnAsItIs(t *testing.T) {
	_, fake, c := proxied(t)
	require.Equal(t, []string{"temporal-go"}, fake.header.Get("client-name"))
	_, err := c.WorkflowService().StartWorkflowExecution(t.Context(),
		&workflowservice.StartWorkflowExecutionRequest{WorkflowId: "twice"})
	var started *serviceerror.WorkflowExecutionAlreadyStarted
	require.ErrorAs(t, err, &started)
	require.Equal(t, "the run", started.RunId, "an error keeps its details")
	_, err = c.CheckHealth(t.Context(), nil)
	var unimplemented *serviceerror.Unimplemented
	require.ErrorAs(t, err, &unimplemented, "the fake's own answer")
}

func TestWhoWaitsIsToldOfAPayloadThatWasTooLarge(t *testing.T) {
	p, _, c := proxied(t)
	ctx, stop := p.Limited(t.Context())
	defer stop()
	require.NoError(t, ctx.Err())
	_, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: "large", TaskQueue: "q"}, "Migration", tooLarge)
	require.Error(t, err)
	<-ctx.Done()
	require.ErrorContains(t, context.Cause(ctx), "workflow id large")
	p.TakeTooLarge()
	fresh, stopFresh := p.Limited(t.Context())
	require.NoError(t, fresh.Err(), "the next test has nothing to do with it")
	stopFresh()
	require.True(t, errors.Is(fresh.Err(), context.Canceled))
}
