package activities

import (
	"context"
	"slices"
	"strings"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// fakeServer is a Temporal server that remembers workflows.
type fakeServer struct {
	executions []*recordedRun // the oldest first
	unlisted   error          // of the list
	lists      int            // so many were asked for
	histories  int            // so many were read
}

// recordedRun is one run of a workflow, with its history.
type recordedRun struct {
	id, runID, firstRunID string
	status                enums.WorkflowExecutionStatus
	answer                any // to the status query
	events                []*historypb.HistoryEvent
}

// ran adds an recordedRun that is the first of its chain.
func (s *fakeServer) ran(id, runID string, status enums.WorkflowExecutionStatus) *recordedRun {
	e := &recordedRun{id: id, runID: runID, firstRunID: runID, status: status}
	s.executions = append(s.executions, e)
	e.add(&historypb.HistoryEvent{})
	return e
}

func (e *recordedRun) add(event *historypb.HistoryEvent) {
	event.EventId = int64(len(e.events) + 1)
	e.events = append(e.events, event)
}

func encoded(values ...any) *commonpb.Payloads {
	payloads, err := converter.GetDefaultDataConverter().ToPayloads(values...)
	if err != nil {
		panic(err)
	}
	return payloads
}

// began has the recordedRun begin with an input.
func (e *recordedRun) began(input any) {
	e.events[0].Attributes = &historypb.HistoryEvent_WorkflowExecutionStartedEventAttributes{
		WorkflowExecutionStartedEventAttributes: &historypb.WorkflowExecutionStartedEventAttributes{
			Input: encoded(input),
		},
	}
}

// continued has the recordedRun begin with what continue-as-new carried along.
func (e *recordedRun) continued(carried any) {
	e.events[0].Attributes = &historypb.HistoryEvent_WorkflowExecutionStartedEventAttributes{
		WorkflowExecutionStartedEventAttributes: &historypb.WorkflowExecutionStartedEventAttributes{
			Input: encoded("the plan", carried),
		},
	}
}

// asked adds an activity that was scheduled and has not ended.
func (e *recordedRun) asked(name string, input any) {
	e.add(&historypb.HistoryEvent{Attributes: &historypb.HistoryEvent_ActivityTaskScheduledEventAttributes{
		ActivityTaskScheduledEventAttributes: &historypb.ActivityTaskScheduledEventAttributes{
			ActivityType: &commonpb.ActivityType{Name: name}, Input: encoded(input),
		},
	}})
}

// did adds an activity that has completed.
func (e *recordedRun) did(name string, input, result any) {
	e.asked(name, input)
	e.add(&historypb.HistoryEvent{Attributes: &historypb.HistoryEvent_ActivityTaskCompletedEventAttributes{
		ActivityTaskCompletedEventAttributes: &historypb.ActivityTaskCompletedEventAttributes{
			ScheduledEventId: int64(len(e.events)), Result: encoded(result),
		},
	}})
}

// completed adds the end of a workflow with its result.
func (e *recordedRun) completed(result any) {
	e.add(&historypb.HistoryEvent{Attributes: &historypb.HistoryEvent_WorkflowExecutionCompletedEventAttributes{
		WorkflowExecutionCompletedEventAttributes: &historypb.WorkflowExecutionCompletedEventAttributes{
			Result: encoded(result),
		},
	}})
}

func (s *fakeServer) info(e *recordedRun) *workflowpb.WorkflowExecutionInfo {
	return &workflowpb.WorkflowExecutionInfo{
		Execution: &commonpb.WorkflowExecution{WorkflowId: e.id, RunId: e.runID}, FirstRunId: e.firstRunID,
		Status: e.status, HistoryLength: int64(len(e.events)),
		StartTime: timestamppb.New(time.Unix(int64(slices.Index(s.executions, e)), 0)),
	}
}

func (s *fakeServer) DescribeWorkflowExecution(_ context.Context, id,
	runID string,
) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	for _, e := range slices.Backward(s.executions) {
		if e.id == id && (runID == "" || e.runID == runID) {
			return &workflowservice.DescribeWorkflowExecutionResponse{WorkflowExecutionInfo: s.info(e)}, nil
		}
	}
	return nil, serviceerror.NewNotFound("no such workflow")
}

func (s *fakeServer) ListWorkflow(_ context.Context,
	request *workflowservice.ListWorkflowExecutionsRequest,
) (*workflowservice.ListWorkflowExecutionsResponse, error) {
	if s.unlisted != nil {
		return nil, s.unlisted
	}
	s.lists++
	var found []*workflowpb.WorkflowExecutionInfo
	for _, e := range slices.Backward(s.executions) {
		early := strings.HasPrefix(request.GetQuery(), "WorkflowType = 'Guard'") && strings.HasPrefix(e.id, "guard/") &&
			strings.Contains(request.GetQuery(), "'"+e.status.String()+"'")
		if (early || request.GetQuery() == "WorkflowId = '"+e.id+"'") &&
			(request.GetPageSize() == 0 || len(found) < int(request.GetPageSize())) {
			found = append(found, s.info(e))
		}
	}
	return &workflowservice.ListWorkflowExecutionsResponse{Executions: found}, nil
}

func (s *fakeServer) QueryWorkflow(_ context.Context, id, _, query string, _ ...any) (converter.EncodedValue, error) {
	for _, e := range slices.Backward(s.executions) {
		if e.id == id && e.answer != nil && query == "status" {
			return client.NewValue(encoded(e.answer)), nil
		}
	}
	return nil, serviceerror.NewFailedPrecondition("no worker answers")
}

func (s *fakeServer) GetWorkflowHistory(_ context.Context, id, runID string, _ bool,
	_ enums.HistoryEventFilterType,
) client.HistoryEventIterator {
	s.histories++
	for _, e := range s.executions {
		if e.id == id && e.runID == runID {
			return &fakeEvents{e.events}
		}
	}
	return &fakeEvents{}
}

type fakeEvents struct{ left []*historypb.HistoryEvent }

func (e *fakeEvents) HasNext() bool { return len(e.left) > 0 }

func (e *fakeEvents) Next() (*historypb.HistoryEvent, error) {
	next := e.left[0]
	e.left = e.left[1:]
	return next, nil
}
