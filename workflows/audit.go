package workflows

import (
	"cmp"
	"fmt"
	"strings"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// Audit compares the repository in OSS with the one in S3 and writes nothing. It
// completes with what it found, whole or not; it fails with InvalidPlan, or
// with the reason why the repositories can't be read.
func Audit(ctx workflow.Context, input migration.AuditInput) (migration.AuditReport, error) {
	request, err := input.Request()
	if err != nil {
		return migration.AuditReport{}, temporal.NewApplicationErrorWithOptions(err.Error(), string(migration.ErrorInvalidPlan),
			temporal.ApplicationErrorOptions{NonRetryable: true})
	}
	workflow.SetCurrentDetails(ctx, auditing(request))
	report, err := call[migration.AuditReport](ctx, copyActivity(auditing(request)), migration.ActivityAudit, request)
	if err != nil {
		workflow.SetCurrentDetails(ctx, "**The audit has failed**: it says nothing about the repository.")
		return migration.AuditReport{}, err
	}
	workflow.SetCurrentDetails(ctx, auditPage(report))
	return report, nil
}

func auditing(request migration.AuditRequest) string {
	what := "Compare the repositories " + request.Token
	if request.Snapshot != "" {
		what = "Compare the snapshot " + request.Snapshot
	}
	if request.Deep {
		what += ", every byte"
	}
	return what
}

// auditPage is the report as a page for the Temporal UI.
func auditPage(r migration.AuditReport) string {
	var page strings.Builder
	line := func(format string, args ...any) { page.WriteString(fmt.Sprintf(format+"\n", args...)) }
	if r.Whole {
		line("**Whole**: OSS has everything that %d snapshots need, and it is what S3 has.", r.SnapshotsChecked)
	} else {
		line("**Not whole**: %d of %d snapshots are broken.", r.SnapshotsBroken, r.SnapshotsChecked)
	}
	for _, problem := range r.Problems {
		line("\n- %s", problem)
	}
	line("\nRoot: %s in S3, %s in OSS.", cmp.Or(r.SourceRoot, "none"), cmp.Or(r.TargetRoot, "none"))
	line("\n| kind | in S3 | in OSS | needed | proven | missing or different |\n|---|---|---|---|---|---|")
	for _, c := range r.Classes {
		line("| %s | %d | %d | %d, %s | %d | %d |", c.Class, c.Source.Blobs, c.Target.Blobs, c.Needed.Blobs, human.Size(c.Needed.Bytes), c.Proven.Blobs, c.Bad)
	}
	for _, kind := range []struct {
		name     string
		findings migration.AuditFindings
	}{{"missing", r.Missing}, {"different", r.Different}, {"surplus", r.Surplus}} {
		if kind.findings.Blobs == 0 {
			continue
		}
		line("\n%d %s, %d of them harmless:\n", kind.findings.Blobs, kind.name, kind.findings.Harmless)
		const shown = 10
		for i, f := range kind.findings.Examples {
			if i == shown {
				line("- ...")
				break
			}
			line("- `%s`: %s", f.Key, f.Reason)
		}
	}
	return page.String()
}
