package main

import (
	_ "embed"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/snapferry/snapferry/migration"
)

//go:embed examples/plan.yaml
var examplePlan string

//go:embed examples/plan-minimal.yaml
var minimalPlan string

//go:embed examples/prices.yaml
var emptyPrices string

func (a *app) planCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "plan",
		Short: "Write and check plans",
		Long:  "A plan is the only input of a migration: a YAML or JSON file. See docs/plan.md.",
		Args:  noUnknownCommand,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
		// A misspelt command is the mistake to report, not its flags.
		FParseErrWhitelist: cobra.FParseErrWhitelist{UnknownFlags: true},
	}
	command.AddCommand(a.planExampleCommand(), a.planValidateCommand(), a.planJSONCommand(), a.planSchemaCommand(),
		a.planPricesCommand())
	return command
}

// noUnknownCommand refuses words that are no subcommand. cobra does so for the root only.
func noUnknownCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	text := fmt.Sprintf("unknown command %q for %q", args[0], c.CommandPath())
	if c.SuggestionsMinimumDistance == 0 {
		c.SuggestionsMinimumDistance = 2 // cobra's own
	}
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		text += "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return errors.New(text)
}

func (a *app) planExampleCommand() *cobra.Command {
	var minimal bool
	command := &cobra.Command{
		Use:     "example",
		Short:   "Print a commented plan with every field",
		Example: "  starter plan example > movies.yaml",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			text := examplePlan
			if minimal {
				text = minimalPlan
			}
			if !a.json() {
				a.printf("%s", text)
				return nil
			}
			plan, err := migration.Decode([]byte(text))
			if err != nil {
				return err
			}
			return a.printJSON(plan)
		},
	}
	command.Flags().BoolVar(&minimal, "minimal", false, "only the required fields")
	return command
}

func (a *app) planPricesCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "prices",
		Short:   "Print a price table to fill in, for starter check --prices",
		Example: "  starter plan prices > prices.yaml",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			a.printf("%s", emptyPrices)
			return nil
		},
	}
}

// validation is what plan validate prints for programs.
type validation struct {
	Valid    bool                `json:"valid"`
	Plan     *migration.Plan     `json:"plan,omitempty"`
	Problems []migration.Problem `json:"problems,omitempty"`
}

func (a *app) planValidateCommand() *cobra.Command {
	var file string
	command := &cobra.Command{
		Use:   "validate -f PLAN",
		Short: "Check a plan without starting anything",
		Long: `Checks the fields and the values of a plan and lists every problem. It asks no server.
Clusters, buckets and permissions are checked by preflight, after the start and
before anything changes.`,
		Example: "  starter plan validate -f movies.yaml",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			plan, err := a.readNewPlan(file)
			if a.json() {
				return a.printValidation(plan, err)
			}
			if err != nil {
				return err
			}
			a.tell("The plan %s is valid.\n\n%s", plan.Name, describePlan(plan))
			a.next("starter iam -f "+file, "starter start -f "+file)
			return nil
		},
	}
	command.Flags().StringVarP(&file, "file", "f", "", "plan in YAML or JSON; - for stdin")
	return command
}

func (a *app) printValidation(plan migration.Plan, err error) error {
	if err == nil {
		return a.printJSON(validation{Valid: true, Plan: &plan})
	}
	invalid, ok := errors.AsType[*migration.InvalidPlanError](err)
	if !ok {
		return err
	}
	if err := a.printJSON(validation{Problems: invalid.Problems}); err != nil {
		return err
	}
	return silently(exitUsage)
}

func (a *app) planJSONCommand() *cobra.Command {
	var file string
	command := &cobra.Command{
		Use:   "json -f PLAN",
		Short: "Print the plan as JSON, with its defaults, for the Temporal UI, temporal or tctl",
		Example: `  starter plan json -f movies.yaml > movies.json
  temporal workflow start --type Migration --task-queue snapferry \
    --workflow-id migration/movies --input-file movies.json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			plan, err := a.readNewPlan(file)
			if err != nil {
				return err
			}
			return a.printJSON(plan)
		},
	}
	command.Flags().StringVarP(&file, "file", "f", "", "plan in YAML or JSON; - for stdin")
	return command
}

func (a *app) planSchemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON schema of plans, for editors",
		Long: `Prints the JSON schema of plans. With it, editors complete the fields of a plan and
show mistakes while you write. The first lines of starter plan example tell the
editor where the schema is.`,
		Example: "  starter plan schema > plan.schema.json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			text, err := migration.Schema()
			if err != nil {
				return err
			}
			a.printf("%s", text)
			return nil
		},
	}
}

// describePlan says in a few lines what a plan does.
func describePlan(p migration.Plan) string {
	return table(func(row func(...string)) {
		row("Indices:", strings.Join(p.Indices, ", "))
		row("Source:", p.Source.Endpoint)
		s3, oss := p.Source.Repository, p.Target.Repository
		row("S3:", fmt.Sprintf("%s/%s/ (%s)", s3.Bucket, s3.BasePath, s3.Region))
		row("OSS:", fmt.Sprintf("%s/%s/ (%s)", oss.Bucket, oss.BasePath, oss.Region))
		row("Target:", p.Target.Endpoint)
		if p.Rehearsal {
			row("Rehearsal:", "a baseline and two rounds into throw-away indices; blocks no writes and "+
				"removes what it makes")
		} else {
			row("Rounds:", roundsText(p))
			row("Freeze:", freezeText(p)+"; without a cutover, for at most "+p.Freeze.MaxDuration.String())
		}
		row("Verification:", verification(p))
	})
}

func roundsText(p migration.Plan) string {
	if until := p.Rounds.Until.Window; until > 0 {
		return fmt.Sprintf("without pause until the predicted window is at most %s or gets no shorter, then every %s",
			until, p.Rounds.Interval)
	}
	return "every " + p.Rounds.Interval.String()
}

func freezeText(p migration.Plan) string {
	if p.Freeze.Auto {
		return fmt.Sprintf("automatically, once, when the predicted window is at most %s; or by the signal freeze",
			p.Rounds.Until.Window)
	}
	return "by the signal freeze"
}

func verification(p migration.Plan) string {
	if p.Verify.Checksum == migration.ChecksumNone {
		return "document counts"
	}
	return "document counts, and a checksum over type, id, routing and version of every document"
}
