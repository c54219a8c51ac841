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
		Long: `Prints what was carried, how long writes stood still, the verdict on each index,
and what remains where. Needs no worker. It does not wait: of a migration that is
still running there is no report yet (exit code 1).`,
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
				exit := fail(exitFailed, "%s %s is still running; there is a report once it has ended", t.kind(), t.label())
				exit.next = t.command("watch")
				return exit
			}
			r, failure := result(c.Context(), connection, t)
			if r == nil {
				return fail(exitAborted, "%s %s has ended as %s and left no report: %s", t.kind(), t.label(), e.State, failure)
			}
			if err := a.writeReports(*r, page, markdown); err != nil {
				return err
			}
			if a.json() {
				if err := a.printJSON(r); err != nil {
					return err
				}
			} else {
				a.printf("%s", report.Text(*r, a.zone))
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
			return fail(exitFailed, "the report can't be written as HTML: %w", err)
		}
		if err := os.WriteFile(page, text, 0o644); err != nil {
			return fail(exitFailed, "the report can't be written: %w", err)
		}
	}
	if markdown != "" {
		if err := os.WriteFile(markdown, []byte(report.Markdown(r, a.zone)), 0o644); err != nil {
			return fail(exitFailed, "the report can't be written: %w", err)
		}
	}
	return nil
}

func (a *app) afterReport(r migration.Report, t target, page string) {
	switch {
	case page == "":
		a.next(t.command("report") + " --html " + r.Plan + ".html")
	case r.Result == migration.ResultRehearsed:
		a.printf("\nWrote %s.\n", page)
		a.next("starter start -f PLAN")
	case r.Result == migration.ResultCompleted:
		a.printf("\nWrote %s.\n", page)
		a.next("point the applications at the target; rotate the OSS key that the target was given")
	default:
		a.printf("\nWrote %s.\n", page)
		a.next("starter start -f PLAN")
	}
}
