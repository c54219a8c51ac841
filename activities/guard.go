package activities

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"golang.org/x/sync/errgroup"

	"github.com/snapferry/snapferry/migration"
)

// Temporal is what a Guards needs of a Temporal client.
type Temporal interface {
	ExecuteWorkflow(ctx context.Context, options client.StartWorkflowOptions, workflow any, args ...any) (
		client.WorkflowRun, error)
	GetWorkflow(ctx context.Context, workflowID, runID string) client.WorkflowRun
	QueryWorkflow(ctx context.Context, workflowID, runID, queryType string, args ...any) (
		converter.EncodedValue, error)
	UpdateWorkflow(ctx context.Context, options client.UpdateWorkflowOptions) (client.WorkflowUpdateHandle, error)
	DescribeWorkflowExecution(ctx context.Context, workflowID, runID string) (
		*workflowservice.DescribeWorkflowExecutionResponse, error)
	ListWorkflow(ctx context.Context, request *workflowservice.ListWorkflowExecutionsRequest) (
		*workflowservice.ListWorkflowExecutionsResponse, error)
}

// Guards are the activities with which migrations and guards talk. A workflow can't ask another one
// and wait for its answer, so an activity does.
type Guards struct {
	*Activities
	temporal Temporal
	// pause is between two looks at a guard that is closing.
	pause time.Duration
}

// NewGuards makes the activities for a worker.
func NewGuards(a *Activities, temporal Temporal) *Guards {
	return &Guards{Activities: a, temporal: temporal, pause: time.Second}
}

// Register registers each method under its activity name.
func (g *Guards) Register(registry worker.ActivityRegistry) {
	for name, method := range map[string]any{
		migration.ActivityAskGuard:       g.AskGuard,
		migration.ActivityWatchGuard:     g.WatchGuard,
		migration.ActivityWatchMigration: g.WatchMigration,
		migration.ActivityReadGuard:      g.ReadGuard,
	} {
		registry.RegisterActivityWithOptions(method, activity.RegisterOptions{Name: name})
	}
}

// AskGuard asks something of the plan's guard and waits for the answer. It starts the guard that a
// window needs, and one that has ended before it was done. Asking twice has one effect: each update
// has the run, the request's number and the batch as its id, and means nothing to another window.
func (g *Guards) AskGuard(ctx context.Context, in migration.GuardRequest) (migration.GuardAnswer, error) {
	return perform(ctx, g, "asking the guard: "+string(in.Ask),
		func(ctx context.Context, _ *pulse) (migration.GuardAnswer, error) {
			answer, err := g.ask(ctx, in)
			if in.Look != nil && in.Look.Snapshot != "" && answer.Snapshot == "" {
				if answer.Snapshot = migration.NotAsked; repeated(ctx) {
					answer.Snapshot = migration.AskedInVain // an earlier attempt may have asked
				}
			}
			return answer, err
		})
}

func (g *Guards) ask(ctx context.Context, in migration.GuardRequest) (migration.GuardAnswer, error) {
	me := activity.GetInfo(ctx).WorkflowExecution.RunID
	reset := in.KnownRun != "" && in.KnownRun != me || in.KnownRun == "" && in.OriginalRun != me
	answer := migration.GuardAnswer{RunID: me, Reset: reset}
	listed, endListing := g.listAhead(ctx, in.Ask)
	defer endListing()
	found, err := g.look(ctx, in.Plan.Name)
	if err != nil {
		return answer, err
	}
	// What was decided, for a run that may do nothing more, or that only wants to know.
	known := func() migration.GuardAnswer {
		if found.Token == in.Token {
			answer.Phase, answer.Cause = found.Phase, found.Cause
			answer.GuardOutcome = found.GuardOutcome
			answer.Told, answer.Hooks = found.Ended != "" || found.Released, found.Hooks
		}
		return answer
	}
	switch {
	case in.Ask == migration.AskMeet, reset && in.Ask != migration.AskRemove && in.Ask != migration.AskHandOver &&
		in.Ask != migration.AskHooks:
		return known(), nil
	case found.state == guardDone && found.Token == in.Token && found.Phase.Begun():
		return known(), nil
	case found.state != guardRuns && in.Ask == migration.AskOpen, found.state == guardEndedEarly &&
		found.Token == in.Token:
		if found, err = g.start(ctx, in, found); err != nil {
			return answer, err
		}
		// Whoever looked while no guard of ours ran has not seen it.
		listed = func() ([]string, error) { return g.runningGuards(ctx) }
	case found.state != guardRuns:
		return known(), nil
	}
	if found.Token != in.Token {
		return answer, g.occupied(in, found)
	}
	if in.Ask == migration.AskBlock || in.Ask == migration.AskBegin {
		warnings, err := g.checkOthers(ctx, in, found, listed)
		if err != nil {
			return answer, err
		}
		answer.Warnings = warnings
	}
	warnings := answer.Warnings
	calls, leftOut, err := g.callsOf(ctx, in, me)
	if err != nil {
		return answer, err
	}
	for number, call := range calls {
		if in.Ask == migration.AskAnnounce {
			if call.Indices, err = queryGuard[[]migration.SourceIndex](ctx, g, in.Plan.Name, "",
				migration.QueryGuardUnknown, call.Indices); err != nil {
				return answer, err
			}
			if len(call.Indices) == 0 && number > 0 {
				continue
			}
			var left []string
			if call.Indices, left, err = g.readBlocks(ctx, in.Run, call.Indices); err != nil {
				return answer, err
			}
			call.Read, warnings = true, append(warnings, left...)
		}
		own, omitted := answer.Own, answer.OwnOmitted
		if answer, err = g.update(ctx, in, fmt.Sprintf("%s/%d/%d", me, in.Sequence, number), call); err != nil {
			return answer, err
		}
		answer.RunID, answer.Reset, answer.Warnings, answer.LeftOut = me, reset, warnings, leftOut
		answer.Own = append(own, answer.Own...)
		answer.OwnOmitted += omitted
		if len(answer.Own) > migration.GuardNamed {
			answer.OwnOmitted += len(answer.Own) - migration.GuardNamed
			answer.Own = answer.Own[:migration.GuardNamed]
		}
		if in.Ask == migration.AskOpen && !answer.Served && !answer.Phase.Holds() {
			return answer, passing(retryGuardClosing, "open a window: the last guard of the plan is about to end",
				g.pause)
		}
		if !answer.Served {
			break
		}
	}
	if in.Ask == migration.AskBlock && in.Look != nil && answer.Served && len(answer.Refused) == 0 {
		answer.Look, answer.Snapshot = g.lookAtBlocked(ctx, in)
	}
	return answer, nil
}

// lookAtBlocked finds out how the blocked source stands, with what the migration asks next anyway, and
// asks for the final snapshot unless an earlier attempt may have. nil leaves the look to the migration,
// which shows why it fails.
func (g *Guards) lookAtBlocked(ctx context.Context, in migration.GuardRequest) (*migration.FrozenLook,
	migration.AskedAhead,
) {
	var ahead *askingAhead
	if in.Look.Snapshot != "" && !repeated(ctx) {
		if client, err := g.cluster(ctx, onSource, in.Run); err == nil {
			ahead = &askingAhead{client: client, repository: in.RepositoryName(), snapshot: in.Look.Snapshot}
		}
	}
	var look migration.FrozenLook
	find := in.Look.Find
	if find != nil {
		find.Run = in.Run
	}
	both, working := errgroup.WithContext(ctx)
	both.Go(func() (err error) {
		look.Standstill, err = g.standStill(working, migration.StandstillRequest{
			IndicesRequest: migration.IndicesRequest{
				Run: in.Run, Indices: in.Look.Indices, IndicesOf: in.Look.IndicesOf,
			}, Store: true, Find: find,
		}, ahead)
		return err
	})
	both.Go(func() (err error) {
		look.Indices, err = g.ResolveIndices(working, migration.ResolveRequest{
			Run: in.Run, Seen: in.Look.Seen, SeenOf: in.Look.SeenOf, LeaveOut: true, Frozen: true,
		})
		return err
	})
	if err := both.Wait(); err != nil {
		activity.GetLogger(ctx).Warn("the migration looks at the blocked source itself", "error", err)
		ahead.void()
		return nil, ahead.became()
	}
	return &look, ahead.became()
}

const (
	retryGuardClosing  = "GuardClosing"
	retryGuardOccupied = "GuardOccupied"
)

// occupied says that the guard is another migration's.
func (g *Guards) occupied(in migration.GuardRequest, found foundGuard) error {
	if found.Phase == migration.GuardWatching || found.Phase == migration.GuardRemoving ||
		found.Phase == migration.GuardHandingOver {
		return fail(migration.ErrorRefused, "ask the guard %s: it guards the source for another migration of the plan "+
			"%s (workflow %s). End that one first", migration.GuardID(in.Plan.Name), in.Plan.Name, found.WorkflowID)
	}
	return passing(retryGuardOccupied, "ask the guard "+migration.GuardID(in.Plan.Name)+": it still looks after the "+
		"last migration of the plan, for some minutes", 10*time.Second)
}

// longestAnnouncement bounds the indices of an announcement, in bytes of JSON: their blocks, which
// are read later, take up to four times as much again.
const longestAnnouncement = migration.LongestBatch / 2

// callsOf are the updates that a request takes: lists go in batches. For a handover it also tells
// which settings the indices won't have.
func (g *Guards) callsOf(ctx context.Context, in migration.GuardRequest,
	me string,
) ([]migration.GuardCall, []migration.LeftOut, error) {
	call := migration.GuardCall{
		Token: in.Token, RunID: me, Window: in.Window, UntilMillis: in.UntilMillis, LeaveOut: in.LeaveOut,
	}
	indices, err := fetch(ctx, g.lists, in.Run, in.Indices, in.IndicesOf)
	if err != nil || len(indices) == 0 {
		return []migration.GuardCall{call}, nil, err
	}
	calls := []migration.GuardCall{}
	if in.Ask == migration.AskList {
		prepared, err := g.prepareHandover(ctx, in, indices)
		if err != nil {
			return nil, nil, err
		}
		for _, batch := range migration.Batches(prepared.indices, migration.LongestBatch) {
			call.Handover, call.First = batch, len(calls) == 0
			calls = append(calls, call)
		}
		return calls, prepared.leftOut, nil
	}
	announced := make([]migration.SourceIndex, len(indices))
	for i, index := range indices {
		announced[i] = migration.SourceIndex{Name: index.Name, UUID: index.UUID}
	}
	for _, batch := range migration.Batches(announced, longestAnnouncement) {
		call.Indices = batch
		calls = append(calls, call)
	}
	return calls, nil, nil
}

// readBlocks reads the blocks of indices that will be blocked, and warns of those that a guard of
// another plan has left: they don't count as the index's own. The guard would need a request and a
// result in its history for that.
func (g *Guards) readBlocks(ctx context.Context, run migration.Run, indices []migration.SourceIndex) (
	found []migration.SourceIndex, warnings []string, err error,
) {
	if len(indices) == 0 {
		return nil, nil, nil
	}
	client, err := g.cluster(ctx, onSource, run)
	if err != nil {
		return nil, nil, err
	}
	names := make([]string, len(indices))
	for i, index := range indices {
		names[i] = index.Name
	}
	if found, err = ownBlocksOf(ctx, client, names); err == nil {
		warnings, err = g.withoutLeft(ctx, client, run.Plan, found)
	}
	return found, warnings, err
}

// update sends an update and waits for its end.
func (g *Guards) update(ctx context.Context, in migration.GuardRequest, id string,
	call migration.GuardCall,
) (answer migration.GuardAnswer, err error) {
	handle, err := g.temporal.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		WorkflowID: migration.GuardID(in.Plan.Name), UpdateID: id, UpdateName: string(in.Ask),
		WaitForStage: client.WorkflowUpdateStageCompleted, Args: []any{call},
	})
	if err == nil {
		err = handle.Get(ctx, &answer)
	}
	return answer, g.explain(ctx, err)
}

// explain tells the guard's own failures, which are classified already, from those of Temporal. A
// guard that ends while it is asked is looked at again by the next attempt.
func (g *Guards) explain(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	if failure, ok := errors.AsType[*temporal.ApplicationError](err); ok && failure.Type() != updateOfEndedWorkflow {
		return failure
	}
	return passing(retryGuardClosing, "ask the guard: "+err.Error(), g.pause)
}

// updateOfEndedWorkflow is the type of Temporal's failure of an update whose workflow ended before
// it was answered.
const updateOfEndedWorkflow = "AcceptedUpdateCompletedWorkflow"

// guardState is what became of a plan's newest guard.
type guardState int

const (
	guardNone guardState = iota
	guardRuns
	// guardDone has ended by itself, guardEndedEarly has not: it was terminated.
	guardDone
	guardEndedEarly
)

// foundGuard is a plan's newest guard.
type foundGuard struct {
	migration.GuardStatus
	state guardState
	runID string
}

// look finds the newest guard of a plan, and what it has decided.
func (g *Guards) look(ctx context.Context, plan string) (foundGuard, error) {
	var found foundGuard
	id := migration.GuardID(plan)
	described, err := g.temporal.DescribeWorkflowExecution(ctx, id, "")
	if missing(err) {
		return found, nil
	}
	if err != nil {
		return found, unavailable("look at the guard "+id, err)
	}
	info := described.GetWorkflowExecutionInfo()
	found.runID = info.GetExecution().GetRunId()
	switch info.GetStatus() {
	case enums.WORKFLOW_EXECUTION_STATUS_RUNNING:
		found.state = guardRuns
	case enums.WORKFLOW_EXECUTION_STATUS_COMPLETED:
		found.state = guardDone
		err := g.temporal.GetWorkflow(ctx, id, found.runID).Get(ctx, &found.GuardStatus)
		if err != nil {
			return found, unavailable("read the result of the guard "+id, err)
		}
		return found, nil
	default:
		found.state = guardEndedEarly
	}
	found.GuardStatus, err = queryGuard[migration.GuardStatus](ctx, g, plan, found.runID, migration.QueryStatus)
	return found, err
}

// start starts a guard. If an earlier one has left something to do, the new one goes on with it.
func (g *Guards) start(ctx context.Context, in migration.GuardRequest, before foundGuard) (foundGuard, error) {
	me := activity.GetInfo(ctx).WorkflowExecution.RunID
	input := migration.GuardInput{Run: in.Run, WorkflowID: in.WorkflowID, RunID: me, Cluster: before.Cluster}
	if input.Cluster == "" || before.Token != in.Token {
		source, err := g.cluster(ctx, onSource, in.Run)
		if err != nil {
			return before, err
		}
		info, err := source.Info(ctx)
		if err != nil {
			return before, err
		}
		input.Cluster = clusterOf(info, in.Plan)
	}
	if before.state == guardEndedEarly || before.state == guardDone && len(before.Remains) > 0 {
		input.Before, input.From = &before.GuardStatus, before.runID
		if before.TakesOver != "" {
			input.From = before.TakesOver
		}
	}
	_, err := g.temporal.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: migration.GuardID(in.Plan.Name), TaskQueue: migration.TaskQueue,
		WorkflowIDReusePolicy:    enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		WorkflowIDConflictPolicy: enums.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
		StaticSummary:            "Guards the source of " + in.Plan.Name + " while it may be blocked",
	}, migration.GuardWorkflowType, input)
	if err != nil {
		return before, unavailable("start the guard "+migration.GuardID(in.Plan.Name), err)
	}
	return g.look(ctx, in.Plan.Name)
}

// checkOthers refuses if another running guard of the same cluster holds one of this guard's
// indices. Both make theirs known before they look, so that at least one of them sees the other.
func (g *Guards) checkOthers(ctx context.Context, in migration.GuardRequest, own foundGuard,
	listed func() ([]string, error),
) ([]string, error) {
	others, err := listed()
	if err != nil {
		return nil, err
	}
	var warnings []string
	for _, id := range others {
		plan := strings.TrimPrefix(id, migration.GuardID(""))
		if plan == in.Plan.Name {
			continue
		}
		status, err := queryGuard[migration.GuardStatus](ctx, g, plan, "", migration.QueryStatus)
		if err == nil && (status.Cluster != own.Cluster || !status.Phase.Holds()) {
			continue
		}
		var shared []string
		if err == nil {
			shared, err = g.shared(ctx, in.Plan.Name, plan)
		}
		if err != nil && activity.GetInfo(ctx).Attempt < attemptsOnInternal {
			return nil, err
		}
		if err != nil { // a guard that can't answer must not keep every other plan waiting for ever
			warnings = append(warnings, "the guard "+id+" does not say which indices it guards: "+messageOf(err))
		}
		if len(shared) > 0 {
			return nil, fail(migration.ErrorRefused, "block the source: %s. Its guard %s is at work on the same "+
				"cluster. End that migration, or take the indices out of one of the plans",
				named("the plan "+plan+" freezes, too: ", shared), id)
		}
	}
	return warnings, nil
}

// listAhead lists the guards that run while the own one is looked at, if they will be checked. The
// first function returns them, the second one ends the listing. The own indices are announced
// already, by an earlier request.
func (g *Guards) listAhead(ctx context.Context, ask migration.GuardAsk) (listed func() ([]string, error), end func()) {
	if ask != migration.AskBlock && ask != migration.AskBegin {
		return func() ([]string, error) { return g.runningGuards(ctx) }, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var ids []string
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		ids, err = g.runningGuards(ctx)
	}()
	listed = func() ([]string, error) {
		<-done
		return ids, err
	}
	return listed, func() {
		cancel()
		<-done
	}
}

// runningGuards are the ids of all guards that run.
func (g *Guards) runningGuards(ctx context.Context) ([]string, error) {
	var ids []string
	request := &workflowservice.ListWorkflowExecutionsRequest{
		Query: "WorkflowType = '" + migration.GuardWorkflowType + "' AND ExecutionStatus = 'Running'",
	}
	for {
		listed, err := g.temporal.ListWorkflow(ctx, request)
		if err != nil {
			return nil, unavailable("list the running guards", err)
		}
		for _, e := range listed.GetExecutions() {
			if id := e.GetExecution().GetWorkflowId(); strings.HasPrefix(id, migration.GuardID("")) {
				ids = append(ids, id)
			}
		}
		if request.NextPageToken = listed.GetNextPageToken(); len(request.NextPageToken) == 0 {
			slices.Sort(ids)
			return slices.Compact(ids), nil
		}
	}
}

// shared names indices of a plan's guard that another one holds, too.
func (g *Guards) shared(ctx context.Context, plan, other string) ([]string, error) {
	for from := 0; ; {
		page, err := queryGuard[migration.GuardPage](ctx, g, plan, "", migration.QueryGuardPage,
			migration.GuardPageRequest{List: migration.GuardAnnounced, From: from})
		if err != nil {
			return nil, err
		}
		names := make([]string, len(page.Indices))
		for i, index := range page.Indices {
			names[i] = index.Name
		}
		held, err := queryGuard[[]string](ctx, g, other, "", migration.QueryGuardHolds, names)
		if err != nil || len(held) > 0 {
			return held, err
		}
		if from = page.Next; from == 0 {
			return nil, nil
		}
	}
}

// queryGuard asks a guard that runs or has ended.
func queryGuard[T any](ctx context.Context, g *Guards, plan, run, query string, args ...any) (answer T, err error) {
	id := migration.GuardID(plan)
	value, err := g.temporal.QueryWorkflow(ctx, id, run, query, args...)
	if err == nil {
		err = value.Get(&answer)
	}
	if missing(err) && run != "" {
		return answer, fail(migration.ErrorMissing, "ask the guard %s (run %s) what it knew: its history is gone. "+
			"`starter recover` finds what it has left", id, run)
	}
	if err != nil {
		return answer, unavailable("ask the guard "+id+" for its "+query, err)
	}
	return answer, nil
}

func missing(err error) bool {
	_, ok := errors.AsType[*serviceerror.NotFound](err)
	return ok
}

// unavailable is a failure of Temporal's service, which passes.
func unavailable(what string, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return passing(retryUnavailable, what+": "+err.Error(), 0)
}
