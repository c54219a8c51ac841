package workflows

import (
	"slices"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/internal/report"
	"github.com/snapferry/snapferry/migration"
)

// Recover finds what an interrupted run of the plan left in force, and removes it on request. It
// completes with what it found and what became of it. It fails with InvalidPlan, with StillRunning,
// or with the reason why it can't look.
func Recover(ctx workflow.Context, input migration.RemainsInput) (migration.RemainsReport, error) {
	return clearing(ctx, input, migration.RecoverKinds, migration.RecoverKinds)
}

// Cleanup finds what the plan's runs that have ended left lying around, and removes it on request.
// It completes and fails as Recover does. It also tells of blocks, and never removes them.
func Cleanup(ctx workflow.Context, input migration.RemainsInput) (migration.RemainsReport, error) {
	return clearing(ctx, input, append([]migration.RemainsKind{migration.RemainsBlocks}, migration.CleanupKinds...),
		migration.CleanupKinds)
}

// clearing looks, removes kind after kind, and looks again. A kind that can't be removed keeps none
// of the others from it: the report names it. Lists of names stay in the activities, so the history
// has a few events, whatever there is to remove.
func clearing(ctx workflow.Context, input migration.RemainsInput, looks, removes []migration.RemainsKind,
) (migration.RemainsReport, error) {
	request, err := input.Request(removes)
	if err != nil {
		return migration.RemainsReport{}, temporal.NewApplicationErrorWithOptions(err.Error(),
			string(migration.ErrorInvalidPlan), temporal.ApplicationErrorOptions{NonRetryable: true})
	}
	result := migration.RemainsReport{Plan: request.Plan.Name}
	find := func(summary string) (migration.Remains, error) {
		return call[migration.Remains](ctx, cleaning(summary), migration.ActivityFindRemains,
			migration.FindRemainsRequest{RemainsRequest: request, Kinds: looks})
	}
	workflow.SetCurrentDetails(ctx, "Looking for what earlier runs of **"+request.Plan.Name+"** left behind.")
	if result.Remains, err = find("look for what is left"); err != nil {
		workflow.SetCurrentDetails(ctx, "**It could not look.** Nothing was changed.")
		return migration.RemainsReport{}, err
	}
	workflow.SetCurrentDetails(ctx, report.RemainsPage(result))
	for _, kind := range toRemove(request, removes, result.Remains) {
		removed, err := call[migration.Removed](ctx, cleaning("remove "+string(kind)), migration.ActivityRemoveRemains,
			migration.RemoveRemainsRequest{RemainsRequest: request, Kind: kind})
		if ctx.Err() != nil || errorType(err) == migration.ErrorRunning {
			return migration.RemainsReport{}, err
		}
		if removed.Kind = kind; err != nil {
			removed.Leave(1, describe(ctx, string(kind), err, 1).Message)
		}
		result.Add(removed)
		workflow.SetCurrentDetails(ctx, report.RemainsPage(result))
	}
	if len(result.Removed) > 0 {
		after, err := find("look again")
		if err != nil {
			return migration.RemainsReport{}, err
		}
		result.After = &after
		workflow.SetCurrentDetails(ctx, report.RemainsPage(result))
	}
	return result, nil
}

// toRemove are the kinds to remove, in order, of which something was found.
func toRemove(request migration.RemainsRequest, kinds []migration.RemainsKind,
	found migration.Remains,
) (remove []migration.RemainsKind) {
	for _, kind := range kinds {
		wanted, _ := request.Removes(kind)
		if wanted && slices.ContainsFunc(found.Found, func(g migration.RemainsGroup) bool { return g.Kind == kind }) {
			remove = append(remove, kind)
		}
	}
	// A restore that a killed worker had asked for may come after the indices were deleted. Without
	// the repository none can come any more.
	if at := slices.Index(remove, migration.RemainsRepositories); at >= 0 &&
		slices.Contains(remove, migration.RemainsIndices) {
		remove = slices.Insert(remove, at+1, migration.RemainsIndices)
	}
	return remove
}

// howToCleanUp names the command that removes what remains of a migration.
func howToCleanUp(planName string) string {
	return "To remove the repositories, the snapshots, the objects and, if nothing was handed over, the indices on " +
		"the target: starter cleanup -f " + planName + ".yaml (the file of the plan)."
}
