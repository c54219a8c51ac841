package workflows

import (
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/internal/report"
	"github.com/snapferry/snapferry/migration"
)

// Audit compares the repository in OSS with the one in S3 and writes nothing. It completes with
// what it found, complete or not. It fails with InvalidPlan, or with the reason why the
// repositories can't be read.
func Audit(ctx workflow.Context, input migration.AuditInput) (migration.AuditReport, error) {
	request, err := input.Request()
	if err != nil {
		return migration.AuditReport{}, temporal.NewApplicationErrorWithOptions(err.Error(),
			string(migration.ErrorInvalidPlan),
			temporal.ApplicationErrorOptions{NonRetryable: true})
	}
	workflow.SetCurrentDetails(ctx, auditing(request))
	found, err := call[migration.AuditReport](ctx, copyActivity(auditing(request)), migration.ActivityAudit, request)
	if err != nil {
		workflow.SetCurrentDetails(ctx, "**The audit has failed**: it says nothing about the repository.")
		return migration.AuditReport{}, err
	}
	workflow.SetCurrentDetails(ctx, report.AuditPage(found))
	return found, nil
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
