package workflows

import (
	"errors"
	"fmt"
	"slices"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/internal/report"
	"github.com/snapferry/snapferry/migration"
)

// Check tells whether a plan is ready, and starts no migration. With a probe, it also rehearses the
// plan with one index, as a child workflow: that shows permissions, and the pace. It completes with
// what it found, ready or not. It fails with InvalidPlan.
func Check(ctx workflow.Context, input migration.Input, options migration.CheckOptions) (migration.CheckReport, error) {
	plan, err := input.Plan()
	if err != nil {
		return migration.CheckReport{}, temporal.NewApplicationErrorWithOptions(err.Error(),
			string(migration.ErrorInvalidPlan), temporal.ApplicationErrorOptions{NonRetryable: true})
	}
	found := migration.CheckReport{Plan: plan.Name}
	show := func(what string) { workflow.SetCurrentDetails(ctx, what) }
	show("Checks the plan " + plan.Name + ". Nothing is started.")
	run := migration.Run{Plan: plan, Token: migration.TokenOf(workflow.GetInfo(ctx).FirstRunID)}
	// What passes is found as a problem by the activity itself. What is left here is a worker that
	// keeps dying.
	found.Checked, err = call[migration.Checked](bounded(ctx, checkBound), pollUntilDone("check the plan"),
		migration.ActivityCheckPlan, run)
	if err != nil {
		show("**The check has failed**: it says nothing about the plan.")
		return found, err
	}
	found.Conclude()
	found.NoProbe = noProbe(options, found)
	probes := found.NoProbe == ""
	watching := watchWrites(ctx, run, options.WatchFor(probes), &found)
	show(report.CheckPage(found))
	if probes {
		show(report.CheckPage(found) + "\n\nA rehearsal of the index " + found.Checked.Probe.Name + " is under way.")
		probe(ctx, plan, &found)
		found.Conclude()
	}
	if watching != nil {
		found.Written, found.NotWatched = awaitWritten(ctx, watching)
	}
	found.Foresee(plan.Rounds.Interval)
	show(report.CheckPage(found))
	return found, nil
}

// noProbe says why nothing is rehearsed; empty if something is.
func noProbe(options migration.CheckOptions, found migration.CheckReport) string {
	switch {
	case !options.Probe:
		return "it was not asked for"
	case !found.Ready:
		return "the problems come first"
	case found.Checked.Probe == nil:
		return "the plan has no index yet"
	case found.NoBucket:
		return "the bucket in OSS is not there yet, and a rehearsal creates none"
	}
	return ""
}

// watchWrites begins to count what is written on the source. It returns nil if nothing is to be
// watched, and says why.
func watchWrites(ctx workflow.Context, run migration.Run, length migration.Duration,
	found *migration.CheckReport,
) workflow.Future {
	switch {
	case length <= 0:
		found.NotWatched = "it was not asked for"
		return nil
	case !found.Ready:
		found.NotWatched = "the problems come first"
		return nil
	case found.Indices == 0:
		found.NotWatched = "the plan has no index yet"
		return nil
	}
	found.NotWatched = "it is counted for " + length.String() // until that is known
	options := pollUntilDone("count for " + length.String() + " what is written on the source")
	return workflow.ExecuteActivity(withOptions(bounded(ctx, checkBound), options), migration.ActivityWatchWrites,
		migration.WatchWritesRequest{Run: run, For: length})
}

// awaitWritten waits for what was counted. A check without that says less, and doesn't fail.
func awaitWritten(ctx workflow.Context, watching workflow.Future) (*migration.Written, string) {
	var written migration.Written
	err := watching.Get(ctx, &written)
	if failure, ok := errors.AsType[*temporal.ApplicationError](err); ok {
		return nil, failure.Message()
	}
	if err != nil {
		return nil, err.Error()
	}
	return &written, ""
}

// checkBound is how often the check is tried again after its worker has died.
var checkBound = bound{attempts: 5, quick: usualBound.quick}

// probeRounds is the pause between the rounds of a probe: nothing is waited for.
const probeRounds = time.Second

// probe rehearses the plan with one index, and adds what that shows.
func probe(ctx workflow.Context, plan migration.Plan, found *migration.CheckReport) {
	index := found.Checked.Probe.Name
	area := migration.CheckArea{Name: "Probe", Note: "the index " + index + " was rehearsed"}
	defer func() { found.Areas = append(found.Areas, area) }()

	plan.Rehearsal, plan.Indices = true, []string{index}
	plan.Notify = migration.Notify{} // nobody waits for a probe but who asked for the check
	plan.Rounds.Interval = migration.Duration(probeRounds)
	plan.Rounds.FullEvery = 1 // its round takes the index also if nobody writes to it
	child := workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID: plan.WorkflowID(), TaskQueue: migration.TaskQueue, WaitForCancellation: true,
		// A rehearsal that loses its parent removes what it made.
		ParentClosePolicy:     enumspb.PARENT_CLOSE_POLICY_REQUEST_CANCEL,
		WorkflowIDReusePolicy: enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		StaticSummary:         "probe of " + plan.Name + ": rehearses " + index,
	})
	var result migration.Report
	err := workflow.ExecuteChildWorkflow(child, migration.WorkflowType, migration.ResolvedInput(plan)).Get(ctx, &result)
	if failure, ok := errors.AsType[*temporal.ApplicationError](err); ok && failure.HasDetails() {
		_ = failure.Details(&result)
	}
	if err != nil && result.Rehearsal == nil {
		area.Problems = []string{"the rehearsal of the index " + index + " has no result: " + err.Error()}
		return
	}
	for _, attention := range result.Rehearsal.Attention {
		area.Problems = append(area.Problems, fmt.Sprintf("%s: %s: %s", attention.Step, attention.Type,
			attention.Message))
	}
	for _, warning := range result.Warnings {
		if !slices.ContainsFunc(found.Areas, func(a migration.CheckArea) bool {
			return slices.Contains(a.Warnings, warning)
		}) {
			area.Warnings = append(area.Warnings, warning)
		}
	}
	if len(result.Rounds) == 0 {
		found.NoProbe = "it ended before its first round had"
		return
	}
	first := result.Rounds[0]
	found.Probed = &migration.Probed{
		Index: index, Bytes: first.BytesCopied, Blobs: first.BlobsCopied, SnapshotMillis: first.SnapshotMillis,
		CopyMillis: first.CopyMillis, RestoreMillis: first.RestoreMillis, Remains: result.Remains,
	}
	if len(result.Rounds) > 1 {
		second := result.Rounds[1]
		found.Probed.Round = &migration.ProbedRound{
			Bytes: second.BytesCopied, SnapshotMillis: second.SnapshotMillis, CopyMillis: second.CopyMillis,
			RestoreMillis: second.RestoreMillis,
		}
	}
}
