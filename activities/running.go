package activities

import (
	"context"
	"errors"
	"fmt"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"github.com/snapferry/snapferry/migration"
)

// server is what activities ask the Temporal server.
type server interface {
	DescribeWorkflowExecution(ctx context.Context, workflowID,
		runID string) (*workflowservice.DescribeWorkflowExecutionResponse, error)
	ListWorkflow(ctx context.Context,
		request *workflowservice.ListWorkflowExecutionsRequest) (*workflowservice.ListWorkflowExecutionsResponse, error)
	QueryWorkflow(ctx context.Context, workflowID, runID, queryType string,
		args ...any) (converter.EncodedValue, error)
	GetWorkflowHistory(ctx context.Context, workflowID, runID string, isLongPoll bool,
		filterType enums.HistoryEventFilterType) client.HistoryEventIterator
}

// workersServer is the server that the worker itself is connected to.
func workersServer(ctx context.Context) server { return activity.GetClient(ctx) }

// workflowsOf are the ids of the workflows that work on a plan's clusters.
func workflowsOf(plan migration.Plan) []string {
	return []string{
		migration.WorkflowID(plan.Name), migration.RehearsalWorkflowID(plan.Name), migration.GuardID(plan.Name),
	}
}

// notRunning makes sure that no run of the plan is under way.
func (a *Activities) notRunning(ctx context.Context, plan migration.Plan) error {
	for _, id := range workflowsOf(plan) {
		described, err := a.server(ctx).DescribeWorkflowExecution(ctx, id, "")
		if unknownWorkflow(err) {
			continue
		}
		if err != nil {
			return serverFailed("ask whether workflow "+id+" is running", err)
		}
		if closed(described.GetWorkflowExecutionInfo().GetStatus()) ||
			id == migration.GuardID(plan.Name) && a.onlyLooksAgain(ctx, id) {
			continue
		}
		return fail(migration.ErrorRunning, "look for what the runs of plan %s left behind: workflow %s is running, "+
			"and what it uses is not left behind: wait until it has ended, or abort it", plan.Name, id)
	}
	return nil
}

// onlyLooksAgain tells whether a guard has done its work. For some minutes more it looks at the
// source, for a request that comes late, and needs nothing else. One that does not answer counts as
// at work.
func (a *Activities) onlyLooksAgain(ctx context.Context, id string) bool {
	answer, err := a.server(ctx).QueryWorkflow(ctx, id, "", migration.QueryStatus)
	if err != nil {
		return false
	}
	var status migration.GuardStatus
	if answer.Get(&status) != nil {
		return false
	}
	return status.Phase == migration.GuardRemoved || status.Phase == migration.GuardHandedOver
}

// closed tells whether a workflow has ended for good. One that continues as new has not.
func closed(status enums.WorkflowExecutionStatus) bool {
	switch status {
	case enums.WORKFLOW_EXECUTION_STATUS_COMPLETED, enums.WORKFLOW_EXECUTION_STATUS_FAILED,
		enums.WORKFLOW_EXECUTION_STATUS_CANCELED, enums.WORKFLOW_EXECUTION_STATUS_TERMINATED,
		enums.WORKFLOW_EXECUTION_STATUS_TIMED_OUT:
		return true
	}
	return false
}

func unknownWorkflow(err error) bool {
	_, unknown := errors.AsType[*serviceerror.NotFound](err)
	return unknown
}

// serverFailed is the error of a call to Temporal. A permission doesn't come by itself; anything
// else passes.
func serverFailed(what string, err error) error {
	if _, refused := errors.AsType[*serviceerror.PermissionDenied](err); refused {
		return fail(migration.ErrorUnauthorized, "%s: Temporal refuses this worker: %w", what, err)
	}
	if canceled(err) {
		return err
	}
	return passing(retryUnavailable, fmt.Sprintf("%s: Temporal answered: %s", what, err), 0)
}
