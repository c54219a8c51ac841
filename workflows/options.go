package workflows

import (
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// The presets of activity options. All wait for a cancelled activity to end before the workflow
// goes on: a block that a late attempt sets after the abort has removed it would leave the source
// blocked for ever. None bounds the number of attempts: what may pass is retried for as long as it
// takes, what can't pass ends the attempt with a non-retryable error. A step bounds it (bound), so
// that what keeps failing is shown.

// quickCall is for a few requests to a cluster: two minutes per attempt are several times what a
// busy master takes. Every activity heartbeats, so a killed worker is noticed within the heartbeat
// timeout.
func quickCall(summary string) workflow.ActivityOptions {
	return workflow.ActivityOptions{
		TaskQueue:           migration.TaskQueue,
		StartToCloseTimeout: 2 * time.Minute,
		HeartbeatTimeout:    migration.HeartbeatTimeout,
		WaitForCancellation: true,
		Summary:             summary,
		RetryPolicy:         retries(30 * time.Second),
	}
}

// pollUntilDone is for what the clusters do for as long as it takes: snapshots, restores, scans.
func pollUntilDone(summary string) workflow.ActivityOptions {
	options := quickCall(summary)
	options.StartToCloseTimeout = 30 * 24 * time.Hour
	return options
}

// copyActivity is for the copy, on its own queue.
func copyActivity(summary string) workflow.ActivityOptions {
	options := pollUntilDone(summary)
	options.TaskQueue = migration.CopyTaskQueue
	return options
}

// watchSnapshot is for watching only: nobody waits for its end, and it is given up at once.
func watchSnapshot(summary string) workflow.ActivityOptions {
	options := pollUntilDone(summary)
	options.WaitForCancellation = false
	return options
}

// tryOnce is for what something else does as well, if it fails.
func tryOnce(options workflow.ActivityOptions) workflow.ActivityOptions {
	retries := *options.RetryPolicy
	retries.MaximumAttempts = 1
	options.RetryPolicy = &retries
	return options
}

// bestEffort is for what must not keep a finished migration from ending: it is retried for a while
// and then given up.
func bestEffort(summary string) workflow.ActivityOptions {
	options := quickCall(summary)
	options.ScheduleToCloseTimeout = 10 * time.Minute
	return options
}

// waiting is for the activities of migrations and guards that wait for each other, on their own
// queue.
func waiting(options workflow.ActivityOptions) workflow.ActivityOptions {
	options.TaskQueue = migration.GuardTaskQueue
	return options
}

// sendNow is for a message that is to arrive now.
func sendNow(receiver string) workflow.ActivityOptions {
	options := quickCall("tell " + receiver)
	options.StartToCloseTimeout = 45 * time.Second // a little more than one try takes at most
	options.ScheduleToCloseTimeout = firstTries
	options.RetryPolicy = retries(10 * time.Second)
	return options
}

// sendLater is for a message to a receiver that is in trouble for longer.
func sendLater(receiver string, left time.Duration) workflow.ActivityOptions {
	options := sendNow(receiver)
	options.ScheduleToCloseTimeout = left
	options.RetryPolicy = retries(5 * time.Minute)
	options.RetryPolicy.InitialInterval = 10 * time.Second
	return options
}

// tellOf is for the workflow that tells of an event. It goes on when whoever started it has ended,
// and the server refuses a second one of the same id.
func tellOf(n migration.Notification) workflow.ChildWorkflowOptions {
	return workflow.ChildWorkflowOptions{
		WorkflowID: n.ID, TaskQueue: migration.TaskQueue,
		ParentClosePolicy:     enums.PARENT_CLOSE_POLICY_ABANDON,
		WorkflowIDReusePolicy: enums.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
		StaticSummary:         human.Shorten(string(n.Event)+" of "+n.Plan+": "+n.Title, 180),
	}
}

// urgent shortens the pauses between attempts while writes are blocked.
func urgent(options workflow.ActivityOptions) workflow.ActivityOptions {
	options.RetryPolicy = retries(3 * time.Second)
	return options
}

// firstRetry is the pause before the second attempt, also of an activity whose worker was killed.
const firstRetry = 500 * time.Millisecond

func retries(longest time.Duration) *temporal.RetryPolicy {
	return &temporal.RetryPolicy{
		InitialInterval:    firstRetry,
		BackoffCoefficient: 2,
		MaximumInterval:    longest,
	}
}

// bound is how long Temporal retries an activity of a step before the step shows what keeps failing
// and begins again. Without it, a timeout or a cluster that is away would be retried for ever, and
// nobody would see why nothing moves.
type bound struct {
	// attempts count for activities that may take days, whose failures may be hours apart.
	attempts int32
	// quick is for those that take a moment.
	quick time.Duration
}

// With the pauses between attempts, these attempts take about half an hour and two minutes if each
// fails at once.
var (
	usualBound  = bound{attempts: 65, quick: 30 * time.Minute}
	frozenBound = bound{attempts: 40, quick: 5 * time.Minute}
)

// shown is the bound once the failure is shown: there is no hurry to show it again, and each time
// costs events of the history.
func (b bound) shown() bound { return bound{attempts: 10 * b.attempts, quick: 10 * b.quick} }

func (b bound) apply(options workflow.ActivityOptions) workflow.ActivityOptions {
	retries := *options.RetryPolicy
	if retries.MaximumAttempts == 0 {
		retries.MaximumAttempts = b.attempts
	}
	options.RetryPolicy = &retries
	if options.StartToCloseTimeout < b.quick && options.ScheduleToCloseTimeout == 0 {
		options.ScheduleToCloseTimeout = b.quick
	}
	return options
}

type boundKey struct{}

// bounded hands the bound of a step to the activities that it calls.
func bounded(ctx workflow.Context, b bound) workflow.Context {
	return workflow.WithValue(ctx, boundKey{}, b)
}

// withOptions sets an activity's options, within the bound of the step.
func withOptions(ctx workflow.Context, options workflow.ActivityOptions) workflow.Context {
	if b, ok := ctx.Value(boundKey{}).(bound); ok {
		options = b.apply(options)
	}
	return workflow.WithActivityOptions(ctx, options)
}
