package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// refuseBoth refuses to start a rehearsal while the plan's migration runs, or the other way round.
// Each would take the other's throttles on the target for the cluster's own, and would restore them
// at its end. If the server does not answer, the start goes ahead.
func refuseBoth(ctx context.Context, c *connection, plan migration.Plan) error {
	plan.Rehearsal = !plan.Rehearsal
	other := ofPlan(plan)
	if e, err := describe(ctx, c, other); err != nil || !e.running() {
		return nil //nolint:nilerr // most plans have no other run, and that is an error too
	}
	exit := fail(exitFailed, "the %s of this plan is running (workflow %s), and both would change the target's "+
		"throttles; wait until it has ended, or abort it", other.kind(), other.id)
	exit.next = other.command("status")
	return exit
}

// title is how a page about it begins: Migration movies, or Rehearsal movies.
func (t target) title() string {
	if name, rehearsal := strings.CutPrefix(t.id, migration.RehearsalWorkflowID("")); rehearsal {
		return "Rehearsal " + name
	}
	return "Migration " + t.label()
}

// found reports whether a rehearsal found something that would have needed a person, or could not
// finish.
func found(r *migration.Rehearsal) bool {
	return r != nil && (len(r.Attention) > 0 || r.EndedIn != "")
}

// rehearsed adds rows about what a rehearsal has found so far.
func rehearsed(r *migration.Rehearsal, row func(...string)) {
	if r == nil {
		return
	}
	row("Rehearsal:", "blocks no writes and removes what it makes")
	if r.Window != nil {
		row("Window to expect:", describeWindow(*r.Window))
	}
	if f := r.Footprint; f != nil {
		row("Room:", fmt.Sprintf("%s on the target's disks, %s in S3, %s in OSS",
			human.Size(f.TargetBytes), human.Size(f.S3Bytes), human.Size(f.OSSBytes)))
	}
}

// wouldNeed lists what would have needed attention.
func wouldNeed(r *migration.Rehearsal) string {
	if r == nil {
		return ""
	}
	var lines []string
	for _, attention := range r.Attention {
		lines = append(lines, describeAttention(attention))
	}
	if r.AttentionOmitted > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", r.AttentionOmitted))
	}
	return bullets(lines)
}

func describeAttention(a migration.Attention) string {
	return fmt.Sprintf("%s: %s: %s", a.Step, a.Type, strings.ReplaceAll(a.Message, "\n", "\n    "))
}
