package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/api/enums/v1"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/internal/report"
	"github.com/snapferry/snapferry/migration"
)

func (a *app) reportCommand() *cobra.Command {
	var flags targetFlags
	var page, markdown string
	var patience time.Duration
	command := &cobra.Command{
		Use:   "report",
		Short: "Print the report of a migration that has ended",
		Long: `Prints what was copied, how long writes were blocked, the verdict on each index, and
what remains where. It needs no worker. It does not wait: while a migration runs,
there is no report yet (exit code 1).

The HTML page also has the transcript: each request that changed something on the
clusters, with its body and its answer, without secrets. A worker reads it. If none
does within --transcript-wait, the page says so instead. Leave the transcript out with
--transcript-wait 0 if those who get the page must not see it.`,
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
			var sent *report.Transcript
			if page != "" && patience > 0 {
				if sent, err = a.sent(c.Context(), connection, t, e, *r, patience); err != nil {
					return err
				}
			}
			if err := a.writeReports(*r, sent, page, markdown); err != nil {
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
	command.Flags().DurationVar(&patience, "transcript-wait", time.Minute,
		"how long to wait for the transcript that goes into the HTML page; 0 leaves it out")
	return command
}

// sent is the transcript for the page. What keeps it from being read stands in the page, and stops
// nothing; only who interrupts the command ends it.
func (a *app) sent(ctx context.Context, c *connection, t target, e execution, r migration.Report,
	patience time.Duration,
) (*report.Transcript, error) {
	sent := &report.Transcript{Command: t.command("transcript")}
	if r.Rehearsal != nil {
		sent.Missing = "a rehearsal has none, since it leaves nothing behind."
		return sent, nil
	}
	if !c.polled(ctx, a.now(), migration.TaskQueue, enums.TASK_QUEUE_TYPE_ACTIVITY) {
		sent.Missing = fmt.Sprintf("a worker has to read it, and none polled task queue %s.", migration.TaskQueue)
	} else {
		reading, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		var err error
		// A reading that nobody waits for must not be in the way of the next one for long.
		sent.Exchanges, sent.Unreadable, err = a.exchanges(reading, c, t, e, patience+callTimeout)
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return nil, err
		case reading.Err() != nil:
			sent.Missing = fmt.Sprintf("no worker had read it after %s.", human.Span(patience.Milliseconds()))
		default:
			sent.Missing = err.Error() + "."
		}
	}
	if sent.Missing != "" {
		fmt.Fprintf(a.err, "Warning: the page has no transcript: %s Write it again later, or print the transcript "+
			"with %s\n", sent.Missing, sent.Command)
	}
	return sent, nil
}

func (a *app) writeReports(r migration.Report, sent *report.Transcript, page, markdown string) error {
	if page != "" {
		text, err := report.HTML(r, sent, a.zone)
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
