package activities

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/converter"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/migration"
)

// past is what Temporal remembers of a plan's runs. Histories expire, so it may be nothing.
type past struct {
	// runs are those of the plan's migrations and rehearsals, by token.
	runs map[string]*pastRun
	// blocks are the indices of the source on which a run set our block that no run removed.
	blocks map[string]pastBlock
	// newest is the migration that began last; nil if none is known.
	newest *pastRun
	// warnings say what could not be read.
	warnings []string
}

// pastRun is a migration or rehearsal that has ended.
type pastRun struct {
	token     string
	rehearsal bool
	began     time.Time
	status    enums.WorkflowExecutionStatus
	// handover says that the cutover has begun, as far as the history tells.
	handover bool
	// unread says that its history could not be read.
	unread bool
	// restored are the uuids of the indices that it restored on the target, listed a list of more.
	restored map[string]bool
	listed   migration.Stored[migration.WriteCounters]
	// throttles are those that stood on the clusters, if it raised some and did not restore them.
	throttles *migration.ThrottlesFound
}

// product tells whether the run's indices on the target are, or may be, the product of a migration.
func (r *pastRun) product() bool {
	return r.handover || r.unread || r.status == enums.WORKFLOW_EXECUTION_STATUS_COMPLETED && !r.rehearsal
}

// pastBlock is our block on an index: the token of the run that set it, the blocks that the index
// had before, and its uuid if the history tells.
type pastBlock struct {
	token, uuid string
	found       map[string]string
}

// How far back it looks: so many executions of a workflow, and the histories of so many of them.
const (
	longestPast = 50
	mostRead    = 10
)

// remember asks Temporal for the plan's runs.
func (a *Activities) remember(ctx context.Context, plan migration.Plan) (*past, error) {
	return a.rememberOf(ctx, plan, append(workflowsOf(plan), migration.RecoverWorkflowID(plan.Name)))
}

// rememberOf asks for the runs of some of the plan's workflows.
func (a *Activities) rememberOf(ctx context.Context, plan migration.Plan, ids []string) (*past, error) {
	p := &past{runs: map[string]*pastRun{}, blocks: map[string]pastBlock{}}
	var all []*workflowpb.WorkflowExecutionInfo
	for _, id := range ids {
		executions, err := a.executions(ctx, plan, id, p)
		if err != nil {
			return nil, err
		}
		all = append(all, executions...)
	}
	// In the order in which they began: a later run's removal counts for an earlier one's block.
	slices.SortStableFunc(all, func(a, b *workflowpb.WorkflowExecutionInfo) int {
		return a.GetStartTime().AsTime().Compare(b.GetStartTime().AsTime())
	})
	histories := map[string]int{}
	for _, e := range slices.Backward(all) {
		histories[e.GetExecution().GetWorkflowId()]++
		if histories[e.GetExecution().GetWorkflowId()] > mostRead {
			e.HistoryLength = 0 // not to be read
		}
	}
	for _, e := range all {
		if err := a.recall(ctx, plan, e, p); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// executions lists the ended executions of a workflow, as the server describes each.
func (a *Activities) executions(ctx context.Context, plan migration.Plan, id string,
	p *past,
) ([]*workflowpb.WorkflowExecutionInfo, error) {
	runIDs := []string{""} // the newest one first: the list may be a moment behind
	listed, err := a.server(ctx).ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{
		PageSize: longestPast, Query: fmt.Sprintf("WorkflowId = '%s'", id),
	})
	if err != nil {
		if canceled(err) {
			return nil, err
		}
		p.warnings = append(p.warnings, fmt.Sprintf("Temporal does not list the executions of %s, so only its newest "+
			"one is known: %s", id, shorten(err.Error())))
	}
	for _, e := range listed.GetExecutions() {
		if e.GetStatus() != enums.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW {
			runIDs = append(runIDs, e.GetExecution().GetRunId())
		}
	}
	var found []*workflowpb.WorkflowExecutionInfo
	for _, runID := range runIDs {
		described, err := a.server(ctx).DescribeWorkflowExecution(ctx, id, runID)
		if unknownWorkflow(err) {
			continue
		}
		if err != nil {
			return nil, serverFailed("read workflow "+id, err)
		}
		e := described.GetWorkflowExecutionInfo()
		known := slices.ContainsFunc(found, func(other *workflowpb.WorkflowExecutionInfo) bool {
			return other.GetExecution().GetRunId() == e.GetExecution().GetRunId()
		})
		// What a guard that still runs has removed or handed over counts as well.
		if !known && (closed(e.GetStatus()) || id == migration.GuardID(plan.Name)) {
			found = append(found, e)
		}
	}
	return found, nil
}

// recall adds what one execution did.
func (a *Activities) recall(ctx context.Context, plan migration.Plan, e *workflowpb.WorkflowExecutionInfo,
	p *past,
) error {
	id, runID := e.GetExecution().GetWorkflowId(), e.GetExecution().GetRunId()
	var run *pastRun
	if id != migration.GuardID(plan.Name) && id != migration.RecoverWorkflowID(plan.Name) {
		first := e.GetFirstRunId()
		if first == "" { // an older server
			first = runID
		}
		token := migration.TokenOf(first)
		// A run that was reset has the token of the one that it came from, and what that one did
		// counts as well.
		if run = p.runs[token]; run == nil {
			run = &pastRun{token: token, restored: map[string]bool{}}
			p.runs[token] = run
		}
		run.rehearsal = id == migration.RehearsalWorkflowID(plan.Name)
		run.began = e.GetStartTime().AsTime()
		if run.status != enums.WORKFLOW_EXECUTION_STATUS_COMPLETED {
			run.status = e.GetStatus()
		}
		if !run.rehearsal {
			p.newest = run
		}
	}
	if e.GetHistoryLength() == 0 {
		if run != nil && e.GetStatus() != enums.WORKFLOW_EXECUTION_STATUS_FAILED &&
			e.GetStatus() != enums.WORKFLOW_EXECUTION_STATUS_CANCELED {
			run.unread = true
		}
		return nil
	}
	reading := reading{past: p, run: run, scheduled: map[int64]*historypb.ActivityTaskScheduledEventAttributes{}}
	events := a.server(ctx).GetWorkflowHistory(ctx, id, runID, false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		if err != nil {
			if unknownWorkflow(err) {
				return nil
			}
			return serverFailed("read the history of "+id, err)
		}
		reading.event(event)
	}
	return nil
}

// reading is a history under way.
type reading struct {
	past      *past
	run       *pastRun // nil for one of a guard, or of a recovery
	scheduled map[int64]*historypb.ActivityTaskScheduledEventAttributes
	throttles *migration.ThrottlesFound
	raised    bool
	found     map[string]map[string]string
}

// event takes from an event what it says of blocks, throttles and the target's indices. What can't
// be decoded says nothing.
func (r *reading) event(event *historypb.HistoryEvent) {
	if started := event.GetWorkflowExecutionStartedEventAttributes(); started != nil {
		r.began(started)
	}
	if scheduled := event.GetActivityTaskScheduledEventAttributes(); scheduled != nil {
		r.scheduled[event.GetEventId()] = scheduled
		r.asked(scheduled)
	}
	if completed := event.GetActivityTaskCompletedEventAttributes(); completed != nil {
		if scheduled := r.scheduled[completed.GetScheduledEventId()]; scheduled != nil {
			r.done(scheduled, completed.GetResult())
		}
	}
	if ended := event.GetWorkflowExecutionCompletedEventAttributes(); ended != nil && r.run == nil {
		if guard, ok := payload[migration.GuardStatus](ended.GetResult()); ok && guard.Phase.Begun() {
			r.past.handedOver(guard.Token)
		}
	}
	if r.run != nil {
		r.run.throttles = nil
		if r.raised {
			r.run.throttles = r.throttles
		}
	}
}

// began reads what continue-as-new carried along.
func (r *reading) began(started *historypb.WorkflowExecutionStartedEventAttributes) {
	inputs := started.GetInput().GetPayloads()
	if r.run == nil || len(inputs) < 2 {
		return
	}
	carried, ok := payload[struct {
		Throttles  *migration.ThrottlesFound                 `json:"throttles"`
		Raised     string                                    `json:"lifted"`
		Counters   migration.WriteCounters                   `json:"counters"`
		CountersOf migration.Stored[migration.WriteCounters] `json:"countersOf"`
	}](&commonpb.Payloads{Payloads: inputs[1:2]})
	if !ok {
		return
	}
	r.throttles, r.raised = carried.Throttles, carried.Raised != ""
	r.restored(carried.Counters, carried.CountersOf)
}

func (r *reading) restored(counters migration.WriteCounters, stored migration.Stored[migration.WriteCounters]) {
	if r.run == nil {
		return
	}
	r.run.add(counters)
	if !stored.IsZero() {
		r.run.listed = stored // it holds those of the lists before
	}
}

func (r *pastRun) add(counters migration.WriteCounters) {
	for counter := range maps.Values(counters) {
		if counter.UUID != "" {
			r.restored[counter.UUID] = true
		}
	}
}

// asked is an activity that was scheduled: it may have been carried out, whatever came of it.
func (r *reading) asked(scheduled *historypb.ActivityTaskScheduledEventAttributes) {
	switch scheduled.GetActivityType().GetName() {
	case migration.ActivityBlockWrites:
		if in, ok := payload[migration.IndicesRequest](scheduled.GetInput()); ok {
			names := in.Indices
			if !in.IndicesOf.IsZero() { // what is blocked was read before
				names = slices.Sorted(maps.Keys(r.found))
			}
			for _, name := range names {
				r.blocked(name, pastBlock{token: in.Token, found: r.found[name]})
			}
		}
	case migration.ActivityBlockSource:
		if in, ok := payload[migration.BlockRequest](scheduled.GetInput()); ok {
			for _, index := range in.Indices {
				r.blocked(index.Name, pastBlock{token: in.Token, uuid: index.UUID, found: index.Blocks})
			}
		}
	case migration.ActivityOpenTargetForWrites, migration.ActivityHandOver:
		if in, ok := payload[migration.Run](scheduled.GetInput()); ok {
			r.past.handedOver(in.Token)
		}
	case migration.ActivitySetThrottles:
		r.raised = true
	}
}

// handedOver notes that a run has begun the cutover.
func (p *past) handedOver(token string) {
	run := p.runs[token]
	if run == nil { // a guard's history may outlive its migration's
		run = &pastRun{
			token: token, restored: map[string]bool{}, status: enums.WORKFLOW_EXECUTION_STATUS_TERMINATED,
		}
		p.runs[token] = run
	}
	run.handover = true
}

// recovered forgets the blocks that a recovery has removed.
func (p *past) recovered(in migration.RemainsRequest) {
	maps.DeleteFunc(p.blocks, func(name string, block pastBlock) bool {
		run := p.runs[block.token]
		switch {
		case block.found[writeBlock] == "true", in.Token != "" && in.Token != block.token:
			return false
		case run != nil && run.product():
			return slices.Contains(in.Indices, name)
		}
		return len(in.Indices) == 0 || slices.ContainsFunc(in.Indices,
			func(pattern string) bool { return elastic.Matches(pattern, name) })
	})
}

// blocked remembers our block. What an index had before the first one is what it had of itself.
func (r *reading) blocked(name string, block pastBlock) {
	if known, ok := r.past.blocks[name]; ok && (known.uuid == "" || known.uuid == block.uuid) {
		return
	}
	r.past.blocks[name] = block
}

// done is an activity that has completed.
func (r *reading) done(scheduled *historypb.ActivityTaskScheduledEventAttributes, result *commonpb.Payloads) {
	switch scheduled.GetActivityType().GetName() {
	case migration.ActivityReadBlocks:
		if found, ok := payload[migration.Blocks](result); ok {
			if r.found == nil {
				r.found = map[string]map[string]string{}
			}
			maps.Copy(r.found, found)
		}
	case migration.ActivityBlockSource:
		// The index that was blocked may be another than the one that was read.
		if blocked, ok := payload[migration.BlockResult](result); ok {
			for _, index := range blocked.Blocked {
				if block, known := r.past.blocks[index.Name]; known {
					block.uuid = index.UUID
					r.past.blocks[index.Name] = block
				}
			}
		}
	case migration.ActivityLiftBlock:
		if in, ok := payload[migration.LiftRequest](scheduled.GetInput()); ok {
			for name := range in.Found {
				delete(r.past.blocks, name)
			}
		}
	case migration.ActivityUnblockSource:
		in, ok := payload[migration.UnblockRequest](scheduled.GetInput())
		if !ok {
			return
		}
		left, _ := payload[migration.UnblockResult](result)
		for _, index := range in.Indices {
			if !slices.ContainsFunc(left.Refused, func(r migration.Refusal) bool { return r.Index == index.Name }) {
				delete(r.past.blocks, index.Name)
			}
		}
	case migration.ActivityRemoveRemains:
		in, ok := payload[migration.RemoveRemainsRequest](scheduled.GetInput())
		removed, decoded := payload[migration.Removed](result)
		if ok && decoded && in.Kind == migration.RemainsBlocks && removed.LeftCount == 0 {
			r.past.recovered(in.RemainsRequest)
		}
	case migration.ActivityRestoreSnapshot: // it opens what it has restored
		if result, ok := payload[migration.RestoreResult](result); ok && result.Opened != nil {
			r.restored(result.Opened.Counters, result.Opened.CountersOf)
		}
	case migration.ActivityOpenTarget:
		if opened, ok := payload[migration.OpenResult](result); ok {
			r.restored(opened.Counters, opened.CountersOf)
		}
	case migration.ActivityReadThrottles:
		if found, ok := payload[migration.ThrottlesFound](result); ok {
			r.throttles = &found
		}
	case migration.ActivityRestoreThrottles:
		r.raised = false
	}
}

// payload decodes the first of an event's payloads; false if it is something else.
func payload[T any](payloads *commonpb.Payloads) (value T, ok bool) {
	if len(payloads.GetPayloads()) == 0 {
		return value, false
	}
	err := converter.GetDefaultDataConverter().FromPayload(payloads.GetPayloads()[0], &value)
	return value, err == nil
}
