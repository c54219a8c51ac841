package workflows

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// The hooks of a plan: how one is called, by a migration or by its guard, and what its answer means.
// What becomes of a step that a hook refuses is in hooked.go and guard_hooks.go.

// hookContext is what the input of a hook says of the window.
type hookContext struct {
	run         migration.Run
	workflowID  string
	untilMillis int64
	indices     []string
	total       int
	reason      string
}

// input is what a hook is told when it is called for the nth time in the window.
func (c hookContext) input(moment migration.HookMoment, hook migration.Hook, attempt int) migration.HookInput {
	input := migration.HookInput{
		Migration: c.run.Plan.Name, WorkflowID: c.workflowID, Moment: moment, Hook: hook.Name, Attempt: attempt,
		// Migration and guard know a window alike by its deadline: no two windows have the same.
		IdempotencyKey: fmt.Sprintf("%s-%d-%s-%s-%d", c.run.Token, c.untilMillis, moment, hook.Name, attempt),
		Indices:        c.indices[:min(len(c.indices), migration.HookIndices)], IndicesTotal: c.total,
		Source: c.run.Plan.Source.Endpoint, Target: c.run.Plan.Target.Endpoint, Reason: c.reason,
	}
	if moment != migration.HookAfterThaw && moment != migration.HookAfterHandover && c.untilMillis > 0 {
		input.Until = time.UnixMilli(c.untilMillis).UTC().Format(time.RFC3339)
	}
	return input
}

// callHook calls a hook and says what became of it. The error is that of the context: then nobody
// waits for the answer any more.
func callHook(ctx workflow.Context, call migration.CallHookRequest) (migration.HookCall, error) {
	began := workflow.Now(ctx)
	made := migration.HookCall{Moment: call.Input.Moment, Name: call.Hook.Name, AtMillis: began.UnixMilli()}
	answer, err := answerOf(ctx, call)
	made.Millis = workflow.Now(ctx).Sub(began).Milliseconds()
	if ctx.Err() != nil {
		made.Outcome = migration.HookLeft
		if call.Hook.HTTP.URL == "" {
			made.Message = call.Hook.What() // perhaps nobody serves the queue
		}
		return made, ctx.Err()
	}
	outcome, message := judgeHook(call.Hook, answer, err)
	made.Outcome, made.Message = outcome, human.Shorten(human.Line(message), migration.LongestHookMessage)
	workflow.GetLogger(ctx).Info("hook", "moment", made.Moment, "name", made.Name, "outcome", outcome)
	return made, nil
}

// answerOf waits for the answer, but no longer than the context: a hook of the user's own need not
// notice that it is cancelled.
func answerOf(ctx workflow.Context, call migration.CallHookRequest) (answer migration.HookAnswer, err error) {
	const tries, pause = 5, 2 * time.Second
	for try := 1; ; try++ {
		answering := startHook(ctx, call)
		if err := workflow.Await(ctx, answering.IsReady); err != nil {
			return answer, err
		}
		err := answering.Get(ctx, &answer)
		// The server is still ending the one that a terminated guard or migration has started.
		var running *temporal.ChildWorkflowExecutionAlreadyStartedError
		if !errors.As(err, &running) || try == tries {
			return answer, err
		}
		if err := workflow.Sleep(ctx, pause); err != nil {
			return answer, err
		}
	}
}

func startHook(ctx workflow.Context, call migration.CallHookRequest) workflow.Future {
	hook, summary := call.Hook, string(call.Input.Moment)+": "+call.Hook.Name
	retries := &temporal.RetryPolicy{
		InitialInterval: migration.HookFirstPause, BackoffCoefficient: 2, MaximumInterval: migration.HookLongestPause,
		MaximumAttempts: int32(hook.Attempts),
	}
	if hook.Workflow.Type != "" {
		ctx = workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
			WorkflowID: "hook/" + call.Input.Migration + "/" + call.Input.IdempotencyKey,
			TaskQueue:  hook.Workflow.TaskQueue, WorkflowRunTimeout: hook.Timeout.Std(),
			WorkflowExecutionTimeout: hook.Span(), RetryPolicy: retries, StaticSummary: summary,
		})
		return workflow.ExecuteChildWorkflow(ctx, hook.Workflow.Type, call.Input)
	}
	options := workflow.ActivityOptions{
		TaskQueue: hook.Activity.TaskQueue, StartToCloseTimeout: hook.Timeout.Std(),
		ScheduleToCloseTimeout: hook.Span(), RetryPolicy: retries, Summary: summary,
	}
	if hook.Activity.Type != "" {
		return workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, options), hook.Activity.Type, call.Input)
	}
	options.TaskQueue, options.HeartbeatTimeout = migration.TaskQueue, migration.HeartbeatTimeout
	options.StartToCloseTimeout += migration.HookSlack // the activity itself keeps to the time limit
	return workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, options), migration.ActivityCallHook, call)
}

// judgeHook says what an answer means.
func judgeHook(hook migration.Hook, answer migration.HookAnswer, err error) (migration.HookOutcome, string) {
	var failure *temporal.ApplicationError
	var timeout *temporal.TimeoutError
	isFailure := errors.As(err, &failure)
	switch {
	case err == nil && answer.Refuses():
		if answer.Says() == "" {
			return migration.HookRefused, "it gave no reason"
		}
		return migration.HookRefused, answer.Says()
	case err == nil:
		return migration.HookDone, answer.Says()
	case errors.As(err, &timeout):
		text := fmt.Sprintf("%s did not answer in time (%s, attempts: %d)", hook.What(), hook.Timeout, hook.Attempts)
		if isFailure {
			text += "; its last failure: " + failure.Message()
		}
		return migration.HookFailed, text
	case isFailure && failure.NonRetryable() &&
		(hook.HTTP.URL == "" || migration.ErrorType(failure.Type()) == migration.ErrorHookRefused):
		return migration.HookRefused, failure.Message()
	case isFailure:
		return migration.HookFailed, failure.Message()
	}
	return migration.HookFailed, hook.What() + ": " + innermost(err).Error()
}

// innermost is an error without what is wrapped around it.
func innermost(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

// hookLog is what the hooks said, and when.
type hookLog struct {
	Hooks        []migration.HookCall `json:"hooks,omitempty"`
	HooksOmitted int                  `json:"hooksOmitted,omitempty"`
}

// mostCalls is how many calls a run keeps, and carriedCalls how many it hands to the next run: those
// of a window and some more, and what fits into the state.
const (
	mostCalls    = 30
	carriedCalls = 3
)

func (l *hookLog) add(calls ...migration.HookCall) {
	l.Hooks = slices.Concat(l.Hooks, calls)
	*l = l.newest(mostCalls)
}

func (l hookLog) newest(most int) hookLog {
	if drop := len(l.Hooks) - most; drop > 0 {
		return hookLog{Hooks: l.Hooks[drop:], HooksOmitted: l.HooksOmitted + drop}
	}
	return l
}
