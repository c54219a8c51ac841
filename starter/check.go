package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/snapferry/snapferry/internal/report"
	"github.com/snapferry/snapferry/migration"
)

func (a *app) checkCommand() *cobra.Command {
	var in checkInput
	command := &cobra.Command{
		Use:   "check -f PLAN",
		Short: "Tell whether a plan is ready; starts no migration",
		Long: `Checks a plan and says whether its migration could start: versions, indices, names,
aliases, policies, pipelines, analysis and mappings, disks, shard limits, permissions,
other snapshots. Definitions of indices are tried in a throw-away index on the target.

With --probe it also rehearses the plan with one index: that shows the permissions
which only a snapshot, a copy and a restore need, and gives a forecast for the
baseline and for a round. The rehearsal uses throw-away names and removes what it made.

With --watch it counts what is written on the source for so long: that tells how much
a round copies. A probe is watched for a minute. With --prices the result says what
the migration costs, see docs/check.md.

A worker does this, in the workflow check/<name of the plan>. The exit code is 0 if
the plan is ready, and 10 if it is not.`,
		Example: `  starter check -f movies.yaml
  starter check -f movies.yaml --probe --html check.html
  starter plan prices > prices.yaml
  starter check -f movies.yaml --watch 10m --prices prices.yaml`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := in.read(a, c.Flags().Changed("watch")); err != nil {
				return err
			}
			connection, err := a.connect(c.Context())
			if err != nil {
				return err
			}
			defer connection.Close()
			return a.check(c.Context(), connection, in)
		},
	}
	flags := command.Flags()
	flags.StringVarP(&in.file, "file", "f", "", "plan in YAML or JSON; - for stdin")
	flags.BoolVar(&in.options.Probe, "probe", false, "also rehearse the plan with one index")
	flags.DurationVar(&in.watch, "watch", 0, "count for so long what is written on the source (1m with --probe)")
	flags.StringVar(&in.pricesFile, "prices", "", "say what it costs at the prices in this file; - for stdin")
	flags.StringVar(&in.page, "html", "", "also write the result as one HTML page into this file")
	return command
}

// checkInput is what a check is told.
type checkInput struct {
	file, pricesFile, page string
	watch                  time.Duration

	plan    migration.Plan
	prices  *migration.Prices
	options migration.CheckOptions
}

// read reads the files, before anything is asked of a server. watches says that --watch was given.
func (in *checkInput) read(a *app, watches bool) error {
	if in.file == "-" && in.pricesFile == "-" {
		return fail(exitUsage, "stdin can't hold both the plan and the prices: give one of them as a file")
	}
	longest := migration.LongestWatch
	if watches && (in.watch < time.Second || in.watch > longest.Std()) {
		return fail(exitUsage, "--watch %s must be from 1s to %s: for example --watch 10m",
			migration.Duration(in.watch), longest)
	}
	in.options.Watch = migration.Duration(in.watch)
	var err error
	if in.plan, err = a.readNewPlan(in.file); err != nil || in.pricesFile == "" {
		return err
	}
	in.prices, err = a.readPrices(in.pricesFile)
	return err
}

func (a *app) readPrices(path string) (*migration.Prices, error) {
	data, err := a.readFile(path, "price table")
	if err != nil {
		return nil, err
	}
	prices, err := migration.DecodePrices(data)
	if invalid, ok := errors.AsType[*migration.InvalidPricesError](err); ok {
		exit := fail(exitUsage, "%w",
			&invalidFile{what: "the price table", path: path, problems: invalid.Problems, err: err})
		exit.next = "starter plan prices to see a price table with every field"
		return nil, exit
	}
	return &prices, err
}

func (a *app) check(ctx context.Context, c *connection, in checkInput) error {
	plan, file, options := in.plan, in.file, in.options
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
	if in.prices != nil {
		costs := in.prices.Costs(found)
		found.Costs = &costs
	}
	if in.page != "" {
		html, err := report.CheckHTML(found)
		if err == nil {
			err = os.WriteFile(in.page, html, 0o644)
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
		row("Throttles:", report.CheckThrottle(r))
		row("Baseline:", report.CheckForecast(r))
		row("Written:", report.CheckWritten(r))
		row("Round:", report.CheckRound(r))
		if r.Costs != nil {
			row("Costs:", report.CheckCosts(*r.Costs))
		}
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
	if r.Costs != nil {
		page.WriteString("\nCosts\n" + table(func(row func(...string)) {
			row("ITEM", "BASELINE", "OF", "EACH DAY", "OF")
			for _, c := range report.CostRows(*r.Costs) {
				row(c.Item, c.Baseline, c.BaselineOf, c.Daily, c.DailyOf)
			}
		}) + "\n" + report.CostsNote(*r.Costs) + "\n")
	}
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
