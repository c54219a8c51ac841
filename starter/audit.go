package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/temporal"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

type auditOptions struct {
	snapshot, token string
	deep            bool
}

func (a *app) auditCommand() *cobra.Command {
	var file string
	var options auditOptions
	command := &cobra.Command{
		Use:   "audit -f PLAN",
		Short: "Compare the repository in OSS with the one in S3; copies nothing",
		Long: `Compares what a migration has copied to OSS with what is in S3, blob by blob. It
reports what is missing, different and surplus. It reads both buckets and writes
nothing. A worker does this, in the workflow audit/<name of the plan>.

Two blobs count as the same if both have the MD5 of the content as their ETag, or if
the copy has recorded that they are. The size alone proves nothing. --deep also reads
every byte from OSS and compares it with the checksums in the snapshots. That takes as
long as reading all of it takes.

The audit looks at the last run of the plan. For an earlier run, give --token: the
last part of its folder in both buckets. The exit code is 0 if the repository is
complete, and 7 if it is not.`,
		Example: `  starter audit -f movies.yaml
  starter audit -f movies.yaml --snapshot movies-r0003-a1 --deep`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			plan, err := a.readPlan(file)
			if err != nil {
				return err
			}
			connection, err := a.connect(c.Context())
			if err != nil {
				return err
			}
			defer connection.Close()
			return a.audit(c.Context(), connection, plan, file, options)
		},
	}
	command.Flags().StringVarP(&file, "file", "f", "", "plan whose repositories are compared; - for stdin")
	command.Flags().StringVar(&options.snapshot, "snapshot", "", "compare this snapshot only, by name or uuid")
	command.Flags().StringVar(&options.token, "token", "",
		"last part of the run's folders (default: that of the plan's last migration)")
	command.Flags().BoolVar(&options.deep, "deep", false, "read and check every byte in OSS")
	return command
}

func (a *app) audit(ctx context.Context, c *connection, plan migration.Plan, file string, options auditOptions) error {
	t := target{name: plan.Name, id: migration.WorkflowID(plan.Name)}
	var err error
	if options.token == "" {
		if options.token, err = lastToken(ctx, c, t); err != nil {
			return err
		}
	}
	input, err := migration.NewAuditInput(migration.AuditRequest{
		Plan: plan, Token: options.token, Snapshot: options.snapshot, Deep: options.deep,
	})
	if err != nil {
		return fail(exitFailed, "can't write the request as JSON: %w", err)
	}
	if _, err := input.Request(); err != nil {
		return fail(exitUsage, "%w", err)
	}
	audit := target{id: migration.AuditWorkflowID(plan.Name)}
	found, err := runSide[migration.AuditReport](ctx, a, c, side{
		id: audit.id, workflowType: migration.AuditWorkflowType, copies: true,
		summary: "audit of " + plan.Name + ", " + options.token,
		title:   "an audit of " + plan.Name, name: "the audit", explain: auditFailed,
	}, input)
	if err != nil {
		return err
	}
	if a.json() {
		if err := a.printJSON(found); err != nil {
			return err
		}
	} else {
		a.tell("%s", auditText(found, audit))
		state := ""
		if e, err := describe(ctx, c, t); err == nil {
			state = e.State
		}
		a.next(afterAudit(found, t, state, file)...)
	}
	if !found.Whole {
		return silently(exitIncomplete)
	}
	return nil
}

// lastToken finds the folder of the plan's last migration, from the id of its first run. That needs
// no worker, and the migration may have ended.
func lastToken(ctx context.Context, c *connection, t target) (string, error) {
	described, err := within(ctx, callTimeout,
		func(ctx context.Context) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
			return c.DescribeWorkflowExecution(ctx, t.id, "")
		})
	if _, ok := errors.AsType[*serviceerror.NotFound](err); ok {
		exit := fail(exitNotFound, "Temporal knows no migration %s (workflow %s in namespace %s at %s), so "+
			"the folder of its run is unknown; give --token, the last part of its folder in both "+
			"buckets", t.label(), t.id, c.namespace, c.address)
		exit.next = "starter audit -f PLAN --token TOKEN"
		return "", exit
	}
	if err != nil {
		return "", c.explain(err, t)
	}
	return tokenOf(described.GetWorkflowExecutionInfo()), nil
}

// auditFailed says what to do about an audit that has found nothing to compare.
func auditFailed(failure *temporal.ApplicationError) error {
	if failure.Type() != string(migration.ErrorMissing) {
		return nil
	}
	exit := fail(exitFailed, "the audit failed: %s (%s)", strings.TrimPrefix(failure.Message(), "audit: "),
		failure.Type())
	exit.next = "find the run's folder in the S3 bucket, then starter audit -f PLAN --token TOKEN"
	return exit
}

// auditText is the report for people.
func auditText(r migration.AuditReport, audit target) string {
	var page strings.Builder
	fmt.Fprintf(&page, "Audit of %s (workflow %s)\n", r.Plan, audit.id)
	page.WriteString(table(func(row func(...string)) {
		verdict := "complete"
		if !r.Whole {
			verdict = "NOT COMPLETE"
		}
		row("Verdict:", verdict)
		row("Folder:", r.Token)
		row("Root:", fmt.Sprintf("%s in S3, %s in OSS", cmp.Or(r.SourceRoot, "none"), cmp.Or(r.TargetRoot, "none")))
		snapshots := fmt.Sprintf("%s checked, %s broken",
			human.Count(int64(r.SnapshotsChecked)), human.Count(int64(r.SnapshotsBroken)))
		if r.Snapshot != "" {
			snapshots += " (only " + r.Snapshot + ")"
		}
		row("Snapshots:", snapshots)
		if r.Deep {
			row("Read:", human.Size(r.BytesRead)+" from OSS")
		}
	}))
	if len(r.Problems) > 0 {
		fmt.Fprintf(&page, "\nProblems\n%s", bullets(r.Problems))
	}
	if len(r.Broken) > 0 {
		fmt.Fprintf(&page, "\nBroken snapshots\n%s", bullets(limit(r.Broken, r.SnapshotsBroken)))
	}
	fmt.Fprintf(&page, "\n%s", table(func(row func(...string)) {
		row("KIND", "IN S3", "IN OSS", "NEEDED", "PROVEN", "BAD", "NEEDED BYTES")
		for _, class := range r.Classes {
			row(class.Class, human.Count(class.Source.Blobs), human.Count(class.Target.Blobs),
				human.Count(class.Needed.Blobs), human.Count(class.Proven.Blobs), human.Count(class.Bad),
				human.Size(class.Needed.Bytes))
		}
	}))
	for _, kind := range []struct {
		name     string
		findings migration.AuditFindings
	}{{"Missing", r.Missing}, {"Different", r.Different}, {"Surplus", r.Surplus}} {
		page.WriteString(findings(kind.name, kind.findings))
	}
	return page.String()
}

// shownFindings is how many findings of each kind are printed. -o json has more.
const shownFindings = 10

func findings(name string, f migration.AuditFindings) string {
	if f.Blobs == 0 {
		return ""
	}
	harmless := ""
	if f.Harmless > 0 {
		harmless = fmt.Sprintf(", %s of them harmless", human.Count(f.Harmless))
	}
	var lines []string
	for _, finding := range f.Examples {
		lines = append(lines, finding.Key+": "+finding.Reason)
	}
	return fmt.Sprintf("\n%s: %s, %s%s\n%s",
		name, human.Count(f.Blobs), human.Size(f.Bytes), harmless, bullets(limit(lines, int(f.Blobs))))
}

// limit cuts a list, and adds a line about how much is left out.
func limit(lines []string, total int) []string {
	if len(lines) > shownFindings {
		lines = lines[:shownFindings:shownFindings]
	}
	if more := total - len(lines); more > 0 {
		lines = append(lines, fmt.Sprintf("... %s more", human.Count(int64(more))))
	}
	return lines
}

// afterAudit says what to do about the findings. A round copies what is new. Only a fresh run
// replaces what was published and then damaged.
func afterAudit(r migration.AuditReport, t target, state, file string) []string {
	damaged := r.RootsEqual || r.Different.Harmful() > 0 || r.Surplus.Harmful() > 0
	fresh := "starter start -f " + file + ": a fresh run copies everything, into a folder of its own"
	switch {
	case r.Whole && state == stateRunning:
		return []string{t.command("status")}
	case r.Whole || state == "completed":
		return []string{t.command("report")}
	case state != stateRunning:
		return []string{fresh}
	case damaged:
		return []string{t.command("abort") + ", then " + fresh}
	}
	return []string{t.command("round") + ", then starter audit -f " + file + " once it has ended"}
}
