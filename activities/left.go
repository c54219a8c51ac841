package activities

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/migration"
)

// A guard that was terminated together with its migration leaves our block on the source. For the
// next migration, of this plan or of another one that shares the index, that block must not be one
// that the index has of itself: nobody would remove it. The histories of the guards tell, as they
// do for `starter recover`: see history.go.

// What is asked is bounded. The time is as well, since it may be asked just before a freeze.
const (
	// mostOthers bounds the other plans whose guards are asked about.
	mostOthers = 10
	// evidenceTime bounds all questions together.
	evidenceTime = 15 * time.Second
)

// endedEarly finds guards that ended before they were done.
var endedEarly = fmt.Sprintf("WorkflowType = '%s' AND ExecutionStatus IN ('%s', '%s', '%s', '%s')",
	migration.GuardWorkflowType,
	enums.WORKFLOW_EXECUTION_STATUS_TERMINATED, enums.WORKFLOW_EXECUTION_STATUS_FAILED,
	enums.WORKFLOW_EXECUTION_STATUS_TIMED_OUT, enums.WORKFLOW_EXECUTION_STATUS_CANCELED)

// clusterOf tells a plan's source from other clusters: its uuid, or its endpoint if it has none.
func clusterOf(info elastic.Info, plan migration.Plan) string {
	return cmp.Or(info.ClusterUUID, plan.Source.Endpoint)
}

// leftBlocks tells of indices with a write block, given with their uuids, which of them have it from
// a guard that has ended without having removed it: by index, the plan of that guard. With an error,
// it is what could be found out.
func (a *Activities) leftBlocks(ctx context.Context, plan migration.Plan, cluster string,
	blocked map[string]string,
) (map[string]string, error) {
	left := map[string]string{}
	if len(blocked) == 0 {
		return left, nil
	}
	limited, cancel := context.WithTimeout(ctx, evidenceTime)
	defer cancel()
	failure := a.leftBy(limited, plan.Name, blocked, left)
	others, err := a.plansOfEndedGuards(limited, plan.Name, cluster)
	failure = errors.Join(failure, err)
	for _, other := range others {
		if len(left) == len(blocked) {
			break
		}
		failure = errors.Join(failure, a.leftBy(limited, other, blocked, left))
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return left, failure
}

// leftBy adds what the guards of one plan have left. A guard that runs still removes what is its own,
// and what it has taken over.
func (a *Activities) leftBy(ctx context.Context, plan string, blocked, left map[string]string) error {
	id := migration.GuardID(plan)
	described, err := a.server(ctx).DescribeWorkflowExecution(ctx, id, "")
	if unknownWorkflow(err) {
		return nil
	}
	if err != nil {
		return serverFailed("ask for the guard "+id, err)
	}
	if !closed(described.GetWorkflowExecutionInfo().GetStatus()) {
		return nil
	}
	p, err := a.rememberOf(ctx, migration.Plan{Name: plan}, []string{id, migration.RecoverWorkflowID(plan)})
	if err != nil {
		return err
	}
	l := search{past: p}
	for name, uuid := range blocked {
		if uuid == "" || p.blocks[name].uuid != uuid {
			continue
		}
		found := remnant{name: name, uuid: uuid}
		l.judgeBlock(&found, false, false)
		if found.origin == migration.OriginOurs {
			left[name] = plan
		}
	}
	return nil
}

// plansOfEndedGuards are the other plans that had a guard of the same cluster which ended early, the
// last one first.
func (a *Activities) plansOfEndedGuards(ctx context.Context, own, cluster string) (plans []string, err error) {
	listed, err := a.server(ctx).ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{
		PageSize: longestPast, Query: endedEarly,
	})
	if err != nil {
		return nil, serverFailed("list the guards that ended early", err)
	}
	for _, e := range listed.GetExecutions() {
		id, runID := e.GetExecution().GetWorkflowId(), e.GetExecution().GetRunId()
		plan, guard := strings.CutPrefix(id, migration.GuardID(""))
		if !guard || plan == own || slices.Contains(plans, plan) {
			continue
		}
		if len(plans) == mostOthers {
			break
		}
		events := a.server(ctx).GetWorkflowHistory(ctx, id, runID, false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
		if !events.HasNext() {
			continue
		}
		first, err := events.Next()
		if unknownWorkflow(err) {
			continue
		}
		if err != nil {
			return plans, serverFailed("read the history of "+id, err)
		}
		input, ok := payload[migration.GuardInput](first.GetWorkflowExecutionStartedEventAttributes().GetInput())
		if ok && input.Cluster == cluster {
			plans = append(plans, plan)
		}
	}
	return plans, nil
}

// leftBlocks finds those of the indices with a write block that have it from a guard.
func (f *preflight) leftBlocks(ctx context.Context) (map[string]string, error) {
	blocked := map[string]string{}
	for _, index := range f.indices {
		if index.Settings[writeBlock] == "true" {
			blocked[index.Name] = index.UUID
		}
	}
	left, err := f.Activities.leftBlocks(ctx, f.run.Plan, clusterOf(f.source, f.run.Plan), blocked)
	if ctx.Err() != nil {
		return nil, err
	}
	if err != nil {
		f.warn("it can't be looked up whether a guard has left some of the write blocks on the source: %s",
			shorten(messageOf(err)))
	}
	byPlan := namesByPlan(left)
	for _, plan := range slices.Sorted(maps.Keys(byPlan)) {
		then := recoverCommand(plan)
		if plan == f.run.Plan.Name && !f.run.Plan.Rehearsal { // a rehearsal ends by itself
			then = "Abort this migration: while it runs, nothing of the plan is recovered. Then " + then
		}
		text := func(name string) string {
			return fmt.Sprintf("index %s has index.blocks.write on the source. The guard %s of the plan %s set that "+
				"block, and ended before it had removed it. %s (the file of the plan %s) shows what is left, and "+
				"removes it with --yes", name, migration.GuardID(plan), plan, then, plan)
		}
		others := eachOf(byPlan[plan], func(name string) { f.problemOfMigration("%s", text(name)) })
		if others != "" {
			f.problemOfMigration("%s (%s)", others, text(byPlan[plan][0]))
		}
	}
	return left, nil
}

// namesByPlan are the indices that the guards of each plan have left blocked, in order.
func namesByPlan(left map[string]string) map[string][]string {
	byPlan := map[string][]string{}
	for _, name := range slices.Sorted(maps.Keys(left)) {
		byPlan[left[name]] = append(byPlan[left[name]], name)
	}
	return byPlan
}

// recoverCommand shows and removes what the runs of a plan have left in force.
func recoverCommand(plan string) string { return "starter recover -f " + plan + ".yaml" }

// withoutLeft takes the write blocks that a guard has left out of the blocks that indices have of
// themselves: they are ours. It says so, and what could not be looked up.
func (a *Activities) withoutLeft(ctx context.Context, client *elastic.Client, plan migration.Plan,
	indices []migration.SourceIndex,
) (warnings []string, err error) {
	blocked := map[string]string{}
	for _, index := range indices {
		if index.Blocks[writeBlock] == "true" {
			blocked[index.Name] = index.UUID
		}
	}
	if len(blocked) == 0 {
		return nil, nil
	}
	info, err := client.Info(ctx)
	if err != nil {
		return nil, err
	}
	left, err := a.leftBlocks(ctx, plan, clusterOf(info, plan), blocked)
	if ctx.Err() != nil {
		return nil, err
	}
	if err != nil {
		warnings = append(warnings, "it can't be looked up whether a guard has left some of the write blocks on the "+
			"source: "+shorten(messageOf(err)))
	}
	for _, index := range indices {
		if left[index.Name] != "" {
			delete(index.Blocks, writeBlock)
		}
	}
	byPlan := namesByPlan(left)
	for _, other := range slices.Sorted(maps.Keys(byPlan)) {
		warnings = append(warnings, named("the guard "+migration.GuardID(other)+" had left its write block on these "+
			"indices. If this window ends without a cutover, the block is removed from them: ", byPlan[other]))
	}
	return warnings, nil
}
