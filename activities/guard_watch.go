package activities

import (
	"context"
	"errors"
	"strings"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"

	"github.com/snapferry/snapferry/migration"
)

// WatchGuard returns once the guard no longer serves the run. A guard that is terminated is started
// again with what it knew.
func (g *Guards) WatchGuard(ctx context.Context, in migration.GuardRequest) (migration.GuardAnswer, error) {
	return perform(ctx, g, "watching the guard",
		func(ctx context.Context, _ *pulse) (migration.GuardAnswer, error) { return g.watchGuard(ctx, in) })
}

func (g *Guards) watchGuard(ctx context.Context, in migration.GuardRequest) (migration.GuardAnswer, error) {
	me := activity.GetInfo(ctx).WorkflowExecution.RunID
	for {
		found, err := g.look(ctx, in.Plan.Name)
		if err == nil && found.state == guardEndedEarly && found.Token == in.Token {
			found, err = g.start(ctx, in, found)
		}
		if err != nil {
			return migration.GuardAnswer{}, err
		}
		if found.state != guardRuns || found.Token != in.Token || found.Phase != migration.GuardWatching ||
			found.RunID != me || found.Window != in.Window {
			return migration.GuardAnswer{RunID: me, Phase: found.Phase, Cause: found.Cause}, nil
		}
		if err := g.awaitEnd(ctx, migration.GuardID(in.Plan.Name), found.runID); err != nil {
			return migration.GuardAnswer{}, err
		}
	}
}

// awaitEnd returns when a run of a workflow has ended, or is unknown.
func (g *Guards) awaitEnd(ctx context.Context, id, run string) error {
	err := g.temporal.GetWorkflow(ctx, id, run).GetWithOptions(ctx, nil,
		client.WorkflowRunGetOptions{DisableFollowingRuns: true})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var service serviceerror.ServiceError
	if errors.As(err, &service) && !missing(err) {
		return unavailable("wait for the end of "+id, err)
	}
	return nil // any other error says how it has ended
}

// WatchMigration returns when a run of the migration has ended, however it did.
func (g *Guards) WatchMigration(ctx context.Context, in migration.WatchRequest) (migration.MigrationEnd, error) {
	return perform(ctx, g, "watching the migration",
		func(ctx context.Context, _ *pulse) (migration.MigrationEnd, error) {
			for {
				described, err := g.temporal.DescribeWorkflowExecution(ctx, in.WorkflowID, in.RunID)
				switch status := described.GetWorkflowExecutionInfo().GetStatus(); {
				case missing(err):
					return migration.MigrationEnd{Status: "Deleted"}, nil
				case err != nil:
					return migration.MigrationEnd{}, unavailable("look at the migration "+in.WorkflowID, err)
				case status != enums.WORKFLOW_EXECUTION_STATUS_RUNNING &&
					status != enums.WORKFLOW_EXECUTION_STATUS_PAUSED:
					return migration.MigrationEnd{Status: status.String()}, nil
				}
				if err := g.awaitEnd(ctx, in.WorkflowID, in.RunID); err != nil {
					return migration.MigrationEnd{}, err
				}
			}
		})
}

// ReadGuard reads a page of what a guard knew that has ended.
func (g *Guards) ReadGuard(ctx context.Context, in migration.ReadGuardRequest) (migration.GuardPage, error) {
	return perform(ctx, g, "reading what the last guard knew",
		func(ctx context.Context, _ *pulse) (migration.GuardPage, error) {
			return queryGuard[migration.GuardPage](ctx, g, strings.TrimPrefix(in.WorkflowID, migration.GuardID("")),
				in.RunID, migration.QueryGuardPage, in.GuardPageRequest)
		})
}

// LookAgain finds the plan's indices on the source that take writes, sorted by name. If the request
// names indices, it counts the documents of those instead. A closed index takes none.
func (a *Activities) LookAgain(ctx context.Context, in migration.LookAgainRequest) ([]migration.LateIndex, error) {
	return perform(ctx, a, "looking at the source again",
		func(ctx context.Context, _ *pulse) ([]migration.LateIndex, error) {
			client, err := a.cluster(ctx, onSource, in.Run)
			if err != nil {
				return nil, err
			}
			var found *resolution // that a pattern finds nothing is no problem here
			if len(in.Indices) > 0 {
				found, err = resolve(ctx, client, migration.IndexSelection{Names: in.Indices})
			} else { // without those in UltraWarm storage, which take no writes
				found, err = resolvePlan(ctx, client, in.Plan, nil)
			}
			if err != nil {
				return nil, err
			}
			if len(in.Indices) > 0 {
				if err := client.Measure(ctx, found.indices); err != nil {
					return nil, err
				}
			}
			var late []migration.LateIndex
			for _, index := range found.indices {
				if len(in.Indices) > 0 || !forbidden(index.Blocks) {
					late = append(late, migration.LateIndex{
						Name: index.Name, UUID: index.UUID,
						Docs: index.PrimaryDocs,
					})
				}
			}
			return late, nil
		})
}
