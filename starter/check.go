package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/snapferry/snapferry/internal/report"
	"github.com/snapferry/snapferry/migration"
)

func (a *app) checkCommand() *cobra.Command {
	var file, page string
	options := migration.CheckOptions{}
	command := &cobra.Command{
		Use:   "check -f PLAN",
		Short: "Tell whether a plan is ready; starts no migration",
		Long: `Checks a plan and says whether its migration could start: versions, indices, names,
aliases, policies, pipelines, analysis and mappings, disks, shard limits, permissions,
other snapshots. Definitions of indices are tried in a throw-away index on the target.

With --probe it also rehearses the plan with one index: that shows the permissions
which only a snapshot, a copy and a restore need, and gives a forecast for the
baseline. The rehearsal uses throw-away names and removes what it made.

A worker does this, in the workflow check/<name of the plan>. The exit code is 0 if
the plan is ready, and 10 if it is not.`,
		Example: `  starter check -f movies.yaml
  starter check -f movies.yaml --probe --html check.html`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			plan, err := a.readNewPlan(file)
			if err != nil {
				return err
			}
			connection, err := a.connect(c.Context())
			if err != nil {
				return err
			}
			defer connection.Close()
			return a.check(c.Context(), connection, plan, file, page, options)
		},
	}
	command.Flags().StringVarP(&file, "file", "f", "", "plan in YAML or JSON; - for stdin")
	command.Flags().BoolVar(&options.Probe, "probe", false, "also rehearse the plan with one index")
	command.Flags().StringVar(&page, "html", "", "also write the result as one HTML page into this file")
	return command
}

func (a *app) check(ctx context.Context, c *connection, plan migration.Plan, file, page string,
	options migration.CheckOptions,
) error {
	plan.Rehearsal = false
	input, err := migration.NewInput(plan)
	if err != nil {
		return fail(exitFailed, "can't write the plan as JSON: %w", err)
	}
	if options.Probe {
		for _, rehearsal := range []bool{true, false} {
			plan.Rehearsal = rehearsal
			if err := refuseBoth(ctx, c, plan); err != nil {
				return err
			}
		}
	}
	checking := target{id: migration.CheckWorkflowID(plan.Name)}
	found, err := runSide[migration.CheckReport](ctx, a, c, side{
		id: checking.id, workflowType: migration.CheckWorkflowType, summary: "check of the plan " + plan.Name,
		title: "a check of " + plan.Name, name: "the check", copies: options.Probe,
	}, input, options)
	if err != nil {
		return err
	}
	if page != "" {
		html, err := report.CheckHTML(found)
		if err == nil {
			err = os.WriteFile(page, html, 0o644)
		}
		if err != nil {
			return fail(exitFailed, "can't write the result as HTML: %w", err)
		}
	}
	if a.json() {
		if err := a.printJSON(found); err != nil {
			return err
		}
	} else {
		a.tell("%s", checkText(found, checking))
		if found.Ready {
			a.next("starter start -f "+file, "starter start -f "+file+" --rehearse to rehearse all of it first")
		} else {
			a.next("solve the problems, then starter check -f " + file)
		}
	}
	if !found.Ready {
		return silently(exitNotReady)
	}
	return nil
}

// checkText is the result for people.
func checkText(r migration.CheckReport, checking target) string {
	var page strings.Builder
	fmt.Fprintf(&page, "Check of %s (workflow %s)\n", r.Plan, checking.id)
	page.WriteString(table(func(row func(...string)) {
		row("Verdict:", report.CheckVerdict(r))
		row("Versions:", report.CheckVersions(r))
		row("Moves:", report.CheckScope(r))
		row("Probe:", report.CheckProbe(r))
		row("Baseline:", report.CheckForecast(r))
	}))
	page.WriteString("\n")
	page.WriteString(table(func(row func(...string)) {
		for _, area := range r.Areas {
			verdict := "ok"
			switch {
			case len(area.Problems) > 0:
				verdict = "PROBLEM"
			case len(area.Warnings) > 0:
				verdict = "warning"
			}
			row(area.Name, verdict, area.Note)
		}
	}))
	for _, kind := range []struct {
		title string
		of    func(migration.CheckArea) []string
	}{
		{"Problems", func(area migration.CheckArea) []string { return area.Problems }},
		{"Warnings", func(area migration.CheckArea) []string { return area.Warnings }},
	} {
		var all []string
		for _, area := range r.Areas {
			all = append(all, kind.of(area)...)
		}
		if len(all) > 0 {
			fmt.Fprintf(&page, "\n%s\n%s", kind.title, bullets(all))
		}
	}
	return page.String()
}
