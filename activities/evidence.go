package activities

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"github.com/snapferry/snapferry/migration"
)

// Whoever could set the source's block may remove it. A worker may be upgraded, or get another
// fence, while a migration runs whose plan names what the fence refuses. Then writes must not stay
// blocked until a person has found the right flag. So the steps that remove the block get the
// source's password anyway, if the history of the workflow that asks shows that a step succeeded
// with the same password at the same endpoint: nothing goes anywhere where it was not before.
// Nobody can get such a history by starting a workflow, since the fence refuses those steps to
// them. docs/adr/0022-secrets-fence.md says what else was considered.

// removesBlock tells whether an activity only gives the source back.
func removesBlock(activityType string) bool {
	return activityType == migration.ActivityLiftBlock || activityType == migration.ActivityUnblockSource
}

// usesSource are activities that can't succeed without the source's password.
var usesSource = []string{
	migration.ActivityResolveIndices, migration.ActivityTakeSnapshot, migration.ActivityReadBlocks,
	migration.ActivityBlockWrites, migration.ActivityAwaitStandstill, migration.ActivityReadSourceBlocks,
	migration.ActivityBlockSource,
}

// mostHistories bounds how many histories are read: that of the workflow that asks, and those that it
// goes on from. A guard goes on for its migration, for a guard that was terminated, or for its own
// run before.
const mostHistories = 5

// sentBefore reads the history of the workflow that asks.
func sentBefore(ctx context.Context, source migration.Source) (bool, error) {
	info := activity.GetInfo(ctx)
	temporal := activity.GetClient(ctx)
	read := func(at execution) client.HistoryEventIterator {
		return temporal.GetWorkflowHistory(ctx, at.id, at.run, false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	}
	return sentIn(read, execution{info.WorkflowExecution.ID, info.WorkflowExecution.RunID}, info.TaskQueue, source)
}

// execution is one run of a workflow; without a run it is the newest.
type execution struct{ id, run string }

func sentIn(read func(execution) client.HistoryEventIterator, first execution, queue string,
	source migration.Source,
) (bool, error) {
	all := []execution{first}
	for n := 0; n < len(all) && n < mostHistories; n++ {
		e := evidence{queue: queue, at: all[n], scheduled: map[int64]bool{}}
		for events := read(all[n]); events.HasNext(); {
			event, err := events.Next()
			if hopeless(err) {
				break
			}
			if err != nil {
				return false, passing(retryUnavailable, fmt.Sprintf("read the history of %s, to see whether its write "+
					"block may be removed with a secret that this worker's fence refuses: %v", all[n].id, err), 0)
			}
			if e.shows(event, source) {
				return true, nil
			}
		}
		for _, before := range e.before {
			if !slices.Contains(all, before) {
				all = append(all, before)
			}
		}
	}
	return false, nil
}

// hopeless tells that a history can't be read, however often it is tried: the error of the fence
// then says what helps.
func hopeless(err error) bool {
	for _, reason := range []any{
		new(*serviceerror.NotFound), new(*serviceerror.PermissionDenied), new(*serviceerror.InvalidArgument),
	} {
		if err != nil && errors.As(err, reason) {
			return true
		}
	}
	return false
}

// evidence collects what a history shows.
type evidence struct {
	queue     string // of the workers that this one belongs to
	at        execution
	scheduled map[int64]bool
	before    []execution // what this one goes on from
}

// shows tells whether an event completes a step that used this source.
func (e *evidence) shows(event *historypb.HistoryEvent, source migration.Source) bool {
	if started := event.GetWorkflowExecutionStartedEventAttributes(); started != nil {
		e.goesOnFrom(started)
		return false
	}
	if asked := event.GetActivityTaskScheduledEventAttributes(); asked != nil {
		var in struct {
			Plan struct {
				Source migration.Source `json:"source"`
			} `json:"plan"`
		}
		if asked.GetTaskQueue().GetName() == e.queue &&
			slices.Contains(usesSource, asked.GetActivityType().GetName()) &&
			converter.GetDefaultDataConverter().FromPayloads(asked.GetInput(), &in) == nil &&
			sameAccess(in.Plan.Source, source) {
			e.scheduled[event.GetEventId()] = true
		}
		return false
	}
	done := event.GetActivityTaskCompletedEventAttributes()
	return done != nil && e.scheduled[done.GetScheduledEventId()]
}

// goesOnFrom notes the executions for which this one goes on. Whoever starts a workflow may name any:
// what counts is that the same password went to the same endpoint.
func (e *evidence) goesOnFrom(started *historypb.WorkflowExecutionStartedEventAttributes) {
	if run := started.GetContinuedExecutionRunId(); run != "" {
		e.before = append(e.before, execution{e.at.id, run})
	}
	var guard migration.GuardInput
	payloads := started.GetInput().GetPayloads()
	if len(payloads) == 0 || converter.GetDefaultDataConverter().FromPayload(payloads[0], &guard) != nil {
		return
	}
	if guard.From != "" {
		e.before = append(e.before, execution{e.at.id, guard.From})
	}
	if guard.WorkflowID != "" && guard.RunID != "" {
		e.before = append(e.before, execution{guard.WorkflowID, guard.RunID})
	}
	if guard.WorkflowID != "" {
		e.before = append(e.before, execution{guard.WorkflowID, ""})
	}
}

func sameAccess(a, b migration.Source) bool {
	return a.Endpoint == b.Endpoint && a.Auth == b.Auth && a.CAFile == b.CAFile
}
