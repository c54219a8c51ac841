package main

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.uber.org/zap"

	"github.com/snapferry/snapferry/internal/secrets"
	"github.com/snapferry/snapferry/migration"
)

const (
	// lookTimeout bounds the look at running migrations, which holds up the start of a worker.
	lookTimeout = 15 * time.Second
	// mostLooked and mostNamed bound what is read, and what is said.
	mostLooked = 1000
	mostNamed  = 20
)

// warnOfOldPlans says which running migrations name what this worker refuses. They began with a
// worker that had another fence, or none. Their next step would wait for a person; the removal of
// their write block never does.
func warnOfOldPlans(ctx context.Context, temporal client.Client, namespace string, fence secrets.Fence,
	logger *zap.Logger,
) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	found, err := oldPlans(ctx, temporal, namespace, fence)
	if err != nil {
		logger.Warn("can't tell whether running migrations have plans whose secrets this worker refuses; if one "+
			"needs attention for that, it says so", zap.Error(err))
	}
	for i, plan := range found {
		if i == mostNamed {
			logger.Warn("more running migrations name secrets or endpoints that this worker refuses",
				zap.Int("more", len(found)-mostNamed))
			return
		}
		logger.Warn("a running migration names secrets or endpoints that this worker refuses; its next step will "+
			"need attention. To let it go on, restart every worker with these flags. Removing its write block "+
			"works anyway",
			zap.String("workflow", plan.workflow), zap.Strings("refused", plan.refused),
			zap.String("flags", strings.Join(plan.flags, " ")))
	}
}

// oldPlan is a running migration whose plan the fence refuses.
type oldPlan struct {
	workflow string
	refused  []string // field and reference
	flags    []string
}

// oldPlans looks at the plans of all workflows of ours that run.
func oldPlans(ctx context.Context, temporal client.Client, namespace string, fence secrets.Fence) ([]oldPlan, error) {
	var found []oldPlan
	var failures []error
	request := &workflowservice.ListWorkflowExecutionsRequest{
		Namespace: namespace,
		Query:     "ExecutionStatus = 'Running' AND TaskQueue = '" + migration.TaskQueue + "'",
	}
	for looked := 0; looked < mostLooked; {
		page, err := temporal.ListWorkflow(ctx, request)
		if err != nil {
			return found, err
		}
		for _, info := range page.GetExecutions() {
			looked++
			plan, err := planOf(ctx, temporal, info.GetExecution())
			if err != nil {
				failures = append(failures, err)
				continue
			}
			if old, ok := refusedBy(fence, plan); ok {
				old.workflow = info.GetExecution().GetWorkflowId()
				found = append(found, old)
			}
		}
		if request.NextPageToken = page.GetNextPageToken(); len(request.NextPageToken) == 0 {
			break
		}
	}
	return found, errors.Join(failures...)
}

// planOf is the plan with which a workflow was started; empty if its input holds none.
func planOf(ctx context.Context, temporal client.Client,
	execution *commonpb.WorkflowExecution,
) (migration.Plan, error) {
	events := temporal.GetWorkflowHistory(ctx, execution.GetWorkflowId(), execution.GetRunId(), false,
		enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	event, err := events.Next()
	if err != nil {
		return migration.Plan{}, err
	}
	payloads := event.GetWorkflowExecutionStartedEventAttributes().GetInput().GetPayloads()
	if len(payloads) == 0 {
		return migration.Plan{}, nil
	}
	// A migration's input is the plan itself; an audit's and a guard's holds it.
	var input json.RawMessage
	if converter.GetDefaultDataConverter().FromPayload(payloads[0], &input) != nil {
		return migration.Plan{}, nil //nolint:nilerr // whoever reads it says what is wrong
	}
	var plan migration.Plan
	var holder struct {
		Plan migration.Plan `json:"plan"`
	}
	if json.Unmarshal(input, &holder) == nil && holder.Plan.Source.Endpoint != "" {
		return holder.Plan, nil
	}
	_ = json.Unmarshal(input, &plan) // what doesn't fit is left out
	return plan, nil
}

// refusedBy is what a fence refuses of a plan.
func refusedBy(fence secrets.Fence, plan migration.Plan) (old oldPlan, refused bool) {
	note := func(field string, err error) {
		refusal, ok := errors.AsType[*secrets.Refusal](err)
		if !ok {
			return
		}
		old.refused = append(old.refused, field+": "+refusal.What)
		if flag := "--" + refusal.Flag; refusal.Flag != "" && !slices.Contains(old.flags, flag) {
			old.flags = append(old.flags, flag)
		}
	}
	for _, r := range plan.References() {
		if r.Ref.Validate() == nil {
			note(r.Field, fence.Check(string(r.Ref)))
		}
	}
	for _, e := range plan.Endpoints() {
		note(e.Field, fence.Endpoint(e.URL))
	}
	return old, len(old.refused) > 0
}
