package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/snapferry/snapferry/internal/report"
	"github.com/snapferry/snapferry/migration"
)

func (a *app) reportCommand() *cobra.Command {
	var flags targetFlags
	var page, markdown string
	command := &cobra.Command{
		Use:   "report",
		Short: "Print the report of a migration that has ended",
		Long: `Prints what was copied, how long writes were blocked, the verdict on each index, and
what remains where. It needs no worker. It does not wait: while a migration runs,
there is no report yet (exit code 1).`,
		Example: "  starter report movies\n  starter report movies --html movies.html",
		RunE: func(c *cobra.Command, args []string) error {
			t, err := a.target(flags, args)
			if err != nil {
				return err
			}
			connection, err := a.connect(c.Context())
			if err != nil {
				return err
			}
			defer connection.Close()
			e, err := describe(c.Context(), connection, t)
			if err != nil {
				return connection.explain(err, t)
			}
			if e.running() {
				exit := fail(exitFailed, "%s %s is still running; its report comes at the end", t.kind(), t.label())
				exit.next = t.command("watch")
				return exit
			}
			r, failure := result(c.Context(), connection, t, "")
			if r == nil {
				return fail(exitAborted, "%s %s has ended as %s and left no report: %s",
					t.kind(), t.label(), e.State, failure)
			}
			if err := a.writeReports(*r, page, markdown); err != nil {
				return err
			}
			if a.json() {
				if err := a.printJSON(r); err != nil {
					return err
				}
			} else {
				a.tell("%s", report.Text(*r, a.zone))
				a.afterReport(*r, t, page)
			}
			return silently(view{Execution: e, report: r}.code())
		},
	}
	flags.add(command)
	command.Flags().StringVar(&page, "html", "", "also write the report as one HTML page into this file")
	command.Flags().StringVar(&markdown, "markdown", "", "also write the report as Markdown into this file")
	return command
}

func (a *app) writeReports(r migration.Report, page, markdown string) error {
	if page != "" {
		text, err := report.HTML(r, a.zone)
		if err != nil {
			return fail(exitFailed, "can't write the report as HTML: %w", err)
		}
		if err := os.WriteFile(page, text, 0o644); err != nil {
			return fail(exitFailed, "can't write the report: %w", err)
		}
	}
	if markdown != "" {
		if err := os.WriteFile(markdown, []byte(report.Markdown(r, a.zone)), 0o644); err != nil {
			return fail(exitFailed, "can't write the report: %w", err)
		}
	}
	return nil
}

func (a *app) afterReport(r migration.Report, t target, page string) {
	switch {
	case page == "":
		a.next(t.command("report") + " --html " + r.Plan + ".html")
	case r.Result == migration.ResultRehearsed:
		a.tell("\nWrote %s.\n", page)
		a.next("starter start -f PLAN")
	case r.Result == migration.ResultCompleted:
		a.tell("\nWrote %s.\n", page)
		a.next("point the applications at the target; then starter cleanup -f PLAN, and rotate or delete the OSS key " +
			"that the target used")
	default:
		a.tell("\nWrote %s.\n", page)
		a.next("starter cleanup -f PLAN", "starter start -f PLAN")
	}
}
