package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/failure/v1"
	"go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/snapferry/snapferry/migration"
)

// execution is what Temporal itself knows about a migration, without any worker. Times are epoch
// milliseconds.
type execution struct {
	RunID string `json:"runId"`
	// State is running, completed, failed, canceled, terminated or timedOut.
	State         string `json:"state"`
	TaskQueue     string `json:"taskQueue"`
	StartedMillis int64  `json:"startedMillis"`
	ClosedMillis  int64  `json:"closedMillis,omitempty"`
	// WorkflowTaskAttempt is above 1 while the workflow's own code fails or no worker answers.
	WorkflowTaskAttempt int32      `json:"workflowTaskAttempt,omitempty"`
	Activities          []activity `json:"pendingActivities,omitempty"`

	// token is that of the migration: each of its runs has it.
	token string
}

// activity is a step that runs, or that waits for a worker or for its next attempt.
type activity struct {
	ID   string `json:"id"`
	Type string `json:"type"`
	// State is scheduled, started, cancelRequested or paused.
	State             string              `json:"state"`
	Attempt           int32               `json:"attempt"`
	ScheduledMillis   int64               `json:"scheduledMillis,omitempty"`
	StartedMillis     int64               `json:"startedMillis,omitempty"`
	NextAttemptMillis int64               `json:"nextAttemptMillis,omitempty"`
	HeartbeatMillis   int64               `json:"heartbeatMillis,omitempty"`
	Worker            string              `json:"worker,omitempty"`
	LastFailure       string              `json:"lastFailure,omitempty"`
	Progress          *migration.Progress `json:"progress,omitempty"`
}

const stateRunning = "running"

// The states of an activity.
const (
	stateScheduled       = "scheduled"
	stateStarted         = "started"
	stateCancelRequested = "cancelRequested"
	statePaused          = "paused"
)

func (e execution) running() bool { return e.State == stateRunning }

// waitsForWorker reports whether no worker has begun a step yet. Of many pages most may wait for a
// free slot, as long as one runs.
func (e execution) waitsForWorker() bool {
	begun := slices.ContainsFunc(e.Activities, func(a activity) bool { return a.isPage() && a.State == stateStarted })
	return slices.ContainsFunc(e.Activities, func(a activity) bool {
		return a.State == stateScheduled && a.Attempt <= 1 && !(begun && a.isPage())
	})
}

func describe(ctx context.Context, c *connection, t target) (execution, error) {
	response, err := within(ctx, callTimeout,
		func(ctx context.Context) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
			return c.DescribeWorkflowExecution(ctx, t.id, "")
		})
	if err != nil {
		return execution{}, err
	}
	info := response.GetWorkflowExecutionInfo()
	e := execution{
		RunID:               info.GetExecution().GetRunId(),
		State:               state(info.GetStatus()),
		TaskQueue:           response.GetExecutionConfig().GetTaskQueue().GetName(),
		StartedMillis:       millis(info.GetStartTime()),
		ClosedMillis:        millis(info.GetCloseTime()),
		WorkflowTaskAttempt: response.GetPendingWorkflowTask().GetAttempt(),
		token:               tokenOf(info),
	}
	for _, pending := range response.GetPendingActivities() {
		e.Activities = append(e.Activities, newActivity(pending))
	}
	return e, nil
}

// tokenOf is the token of a migration, which its first run gives.
func tokenOf(info *workflow.WorkflowExecutionInfo) string {
	first := info.GetFirstRunId()
	if first == "" { // an older server
		first = info.GetExecution().GetRunId()
	}
	return migration.TokenOf(first)
}

func newActivity(pending *workflow.PendingActivityInfo) activity {
	a := activity{
		ID: pending.GetActivityId(), Type: pending.GetActivityType().GetName(), Attempt: pending.GetAttempt(),
		ScheduledMillis: millis(pending.GetScheduledTime()), StartedMillis: millis(pending.GetLastStartedTime()),
		NextAttemptMillis: millis(pending.GetNextAttemptScheduleTime()),
		HeartbeatMillis:   millis(pending.GetLastHeartbeatTime()),
		Worker:            pending.GetLastWorkerIdentity(), LastFailure: describeFailure(pending.GetLastFailure()),
	}
	switch pending.GetState() {
	case enums.PENDING_ACTIVITY_STATE_STARTED:
		a.State = stateStarted
	case enums.PENDING_ACTIVITY_STATE_CANCEL_REQUESTED:
		a.State = stateCancelRequested
	case enums.PENDING_ACTIVITY_STATE_PAUSED, enums.PENDING_ACTIVITY_STATE_PAUSE_REQUESTED:
		a.State = statePaused
	default:
		a.State = stateScheduled
	}
	if details := pending.GetHeartbeatDetails(); details != nil {
		var progress migration.Progress
		if converter.GetDefaultDataConverter().FromPayloads(details, &progress) == nil {
			a.Progress = &progress
		}
	}
	return a
}

// describeFailure is an activity's last failure in words, with its type.
func describeFailure(f *failure.Failure) string {
	if f == nil {
		return ""
	}
	message := f.GetMessage()
	if cause := f.GetCause(); cause != nil && cause.GetMessage() != "" &&
		!strings.Contains(message, cause.GetMessage()) {
		message += ": " + cause.GetMessage()
	}
	if class := f.GetApplicationFailureInfo().GetType(); class != "" {
		return class + ": " + message
	}
	if f.GetTimeoutFailureInfo() != nil {
		return "Timeout: " + message
	}
	return message
}

func state(status enums.WorkflowExecutionStatus) string {
	switch status {
	case enums.WORKFLOW_EXECUTION_STATUS_COMPLETED:
		return "completed"
	case enums.WORKFLOW_EXECUTION_STATUS_FAILED:
		return "failed"
	case enums.WORKFLOW_EXECUTION_STATUS_CANCELED:
		return "canceled"
	case enums.WORKFLOW_EXECUTION_STATUS_TERMINATED:
		return "terminated"
	case enums.WORKFLOW_EXECUTION_STATUS_TIMED_OUT:
		return "timedOut"
	}
	// Running, paused by an operator of Temporal, or between two runs.
	return stateRunning
}

func millis(t *timestamppb.Timestamp) int64 {
	if t == nil || t.AsTime().Unix() <= 0 {
		return 0
	}
	return t.AsTime().UnixMilli()
}

// pollerFreshness is how recent a worker's last poll must be for the worker to count as running. A
// long poll lasts a minute at most.
const pollerFreshness = 100 * time.Second

// missingWorkers names the task queues of a migration that no worker polls. served reports whether
// a worker polls the workflow's own queue. If the server does not tell, both assume that there is a
// worker.
func (c *connection) missingWorkers(ctx context.Context, now time.Time,
	workflowQueue string,
) (problems []string, served bool) {
	if workflowQueue == "" {
		workflowQueue = migration.TaskQueue
	}
	served = c.polled(ctx, now, workflowQueue, enums.TASK_QUEUE_TYPE_WORKFLOW)
	switch {
	case !served && workflowQueue != migration.TaskQueue:
		problems = append(problems, fmt.Sprintf("it was started on task queue %s, which no worker polls: "+
			"terminate it and start it again on %s, which snapferry's workers "+
			"poll", workflowQueue, migration.TaskQueue))
	case !served || !c.polled(ctx, now, migration.TaskQueue, enums.TASK_QUEUE_TYPE_ACTIVITY):
		problems = append(problems, fmt.Sprintf("no worker polls task queue %s in namespace %s: nothing "+
			"moves; start a worker (TEMPORAL_ADDRESS=%s "+
			"worker)", migration.TaskQueue, c.namespace, c.address))
	}
	if !c.polled(ctx, now, migration.CopyTaskQueue, enums.TASK_QUEUE_TYPE_ACTIVITY) {
		problems = append(problems, fmt.Sprintf("no worker polls task queue %s: nothing is copied; start a "+
			"worker (worker --queues %s)", migration.CopyTaskQueue, migration.CopyTaskQueue))
	}
	return problems, served
}

func (c *connection) polled(ctx context.Context, now time.Time, queue string, kind enums.TaskQueueType) bool {
	response, err := within(ctx, callTimeout,
		func(ctx context.Context) (*workflowservice.DescribeTaskQueueResponse, error) {
			return c.DescribeTaskQueue(ctx, queue, kind)
		})
	if err != nil {
		return true
	}
	for _, poller := range response.GetPollers() {
		if now.Sub(poller.GetLastAccessTime().AsTime()) < pollerFreshness {
			return true
		}
	}
	return false
}
