package rig

import (
	"context"
	"fmt"

	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/history/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
)

// Reset begins a workflow again with the workflow task that gave the command which pick chooses
// among the events, or with the first one.
func Reset(ctx context.Context, c client.Client, workflowID string, pick func([]*history.HistoryEvent) int) error {
	var events []*history.HistoryEvent
	iterator := c.GetWorkflowHistory(ctx, workflowID, "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for iterator.HasNext() {
		event, err := iterator.Next()
		if err != nil {
			return fmt.Errorf("the history of %s can't be read: %w", workflowID, err)
		}
		events = append(events, event)
	}
	from, picked := int64(0), pick(events)
	for i, event := range events {
		if event.GetEventType() == enums.EVENT_TYPE_WORKFLOW_TASK_COMPLETED && (from == 0 || i <= picked) {
			from = event.GetEventId()
		}
	}
	described, err := c.DescribeWorkflowExecution(ctx, workflowID, "")
	if err != nil {
		return fmt.Errorf("%s can't be found: %w", workflowID, err)
	}
	runID := described.GetWorkflowExecutionInfo().GetExecution().GetRunId()
	_, err = c.ResetWorkflowExecution(ctx, &workflowservice.ResetWorkflowExecutionRequest{
		Namespace:         client.DefaultNamespace,
		WorkflowExecution: &common.WorkflowExecution{WorkflowId: workflowID, RunId: runID},
		Reason:            "a test", WorkflowTaskFinishEventId: from, RequestId: runID,
	})
	if err != nil {
		return fmt.Errorf("%s can't be reset to event %d: %w", workflowID, from, err)
	}
	return nil
}
