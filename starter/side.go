package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/snapferry/snapferry/migration"
)

// side is a workflow beside a migration. A command starts it, waits for its end, and prints its
// result.
type side struct {
	id, workflowType, summary string
	// title says what it is and whose, as in "an audit of movies"; name is short, as in "the audit".
	title, name string
	// limit ends it, also if no worker is there; 0 doesn't.
	limit time.Duration
	// copies says that it needs a worker of the queue for copies.
	copies bool
	// lost is what to know if it was stopped; "it has no result" if empty.
	lost string
	// explain says more of a failure of its own; nil, or a nil result, says no more.
	explain func(*temporal.ApplicationError) error
}

// runSide starts a side workflow and waits for its result.
func runSide[T any](ctx context.Context, a *app, c *connection, s side, input ...any) (T, error) {
	var result T
	t := target{id: s.id}
	run, err := within(ctx, callTimeout, func(ctx context.Context) (client.WorkflowRun, error) {
		return c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
			ID: s.id, TaskQueue: migration.TaskQueue, StaticSummary: s.summary,
			WorkflowExecutionTimeout:                 s.limit,
			WorkflowIDReusePolicy:                    enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
			WorkflowExecutionErrorWhenAlreadyStarted: true,
		}, s.workflowType, input...)
	})
	if _, ok := errors.AsType[*serviceerror.WorkflowExecutionAlreadyStarted](err); ok {
		exit := fail(exitFailed, "%s is running already (workflow %s)", s.title, s.id)
		exit.next = "temporal workflow result --workflow-id " + s.id + " to wait for its result, " +
			"or temporal workflow cancel --workflow-id " + s.id
		return result, exit
	}
	if err != nil {
		return result, c.explain(err, t)
	}
	c.warnOfWorkers(ctx, a, s.copies)
	if err := run.Get(ctx, &result); err != nil {
		return result, s.failed(ctx, c, err)
	}
	return result, nil
}

// warnOfWorkers says that nobody is there who does the work.
func (c *connection) warnOfWorkers(ctx context.Context, a *app, copies bool) {
	if copies {
		warnings, _ := c.missingWorkers(ctx, a.now(), migration.TaskQueue)
		for _, warning := range warnings {
			fmt.Fprintf(a.err, "Warning: %s\n", warning)
		}
		return
	}
	if !c.polled(ctx, a.now(), migration.TaskQueue, enums.TASK_QUEUE_TYPE_ACTIVITY) {
		fmt.Fprintf(a.err, "Warning: no worker polls task queue %s in namespace %s: nothing moves; start a worker\n",
			migration.TaskQueue, c.namespace)
	}
}

// failed explains a side workflow that has no result.
func (s side) failed(ctx context.Context, c *connection, err error) error {
	if ctx.Err() != nil {
		exit := fail(exitInterrupted, "interrupted; %s goes on as workflow %s", s.name, s.id)
		exit.next = "temporal workflow result --workflow-id " + s.id
		return exit
	}
	lost := cmp.Or(s.lost, "it has no result")
	if failure, ok := errors.AsType[*temporal.ApplicationError](err); ok {
		if s.explain != nil {
			if exit := s.explain(failure); exit != nil {
				return exit
			}
		}
		message := strings.TrimPrefix(failure.Message(), strings.TrimPrefix(s.name, "the ")+": ")
		return fail(exitFailed, "%s failed: %s (%s)", s.name, message, failure.Type())
	}
	if temporal.IsCanceledError(err) {
		return fail(exitFailed, "%s was cancelled; %s", s.name, lost)
	}
	if _, ok := errors.AsType[*temporal.TerminatedError](err); ok {
		return fail(exitFailed, "%s was terminated; %s", s.name, lost)
	}
	return c.explain(err, target{id: s.id})
}
