package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"github.com/snapferry/snapferry/migration"
)

// started is what start prints for programs.
type started struct {
	WorkflowID string   `json:"workflowId"`
	RunID      string   `json:"runId"`
	Namespace  string   `json:"namespace"`
	TaskQueue  string   `json:"taskQueue"`
	Warnings   []string `json:"warnings,omitempty"`
	Next       string   `json:"next"`
}

func (a *app) startCommand() *cobra.Command {
	var file string
	var printCLI, wait, rehearse bool
	command := &cobra.Command{
		Use:   "start -f PLAN",
		Short: "Start a migration",
		Long: `Checks the plan and starts its migration. The workflow id is
migration/<name of the plan>: while a migration runs, Temporal refuses a second one
of the same name. Nothing on either cluster changes before preflight has passed.

With --rehearse it tries the plan instead (workflow id rehearsal/<name of the plan>):
the same steps on throw-away indices of the target, without blocking any write to the
source. A rehearsal ends automatically and removes what it has made. Its report tells
the frozen window to expect, the room that it took and what would have needed
attention. It takes the time and the room of a baseline and two rounds.`,
		Example: `  starter start -f movies.yaml
  starter start -f movies.yaml --rehearse --wait
  starter start -f movies.yaml --print-cli | sh    # the same with the temporal command line`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			plan, err := a.readNewPlan(file)
			if err != nil {
				return err
			}
			plan.Rehearsal = plan.Rehearsal || rehearse
			if printCLI {
				return a.printCLI(plan)
			}
			return a.start(c.Context(), plan, wait)
		},
	}
	command.Flags().StringVarP(&file, "file", "f", "", "plan in YAML or JSON; - for stdin")
	command.Flags().BoolVar(&printCLI, "print-cli", false,
		"start nothing; print a shell script that starts it with the temporal command line")
	command.Flags().BoolVar(&rehearse, "rehearse", false,
		"try the plan on throw-away indices, block nothing and leave nothing behind")
	command.Flags().BoolVar(&wait, "wait", false, "watch the migration until it ends")
	return command
}

func (a *app) start(ctx context.Context, plan migration.Plan, wait bool) error {
	input, err := migration.NewInput(plan)
	if err != nil {
		return fail(exitFailed, "can't write the plan as JSON: %w", err)
	}
	c, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	t := ofPlan(plan)
	if err := refuseBoth(ctx, c, plan); err != nil {
		return err
	}
	run, err := within(ctx, callTimeout, func(ctx context.Context) (client.WorkflowRun, error) {
		return c.ExecuteWorkflow(ctx, startOptions(plan), migration.WorkflowType, input)
	})
	if _, ok := errors.AsType[*serviceerror.WorkflowExecutionAlreadyStarted](err); ok {
		exit := fail(exitFailed, "a %s %s is running already (workflow %s); abort it, or give the plan another name",
			t.kind(), plan.Name, t.id)
		exit.next = t.command("status")
		return exit
	}
	if err != nil {
		return c.explain(err, t)
	}
	warnings, _ := c.missingWorkers(ctx, a.now(), migration.TaskQueue)
	result := started{
		WorkflowID: run.GetID(), RunID: run.GetRunID(), Namespace: c.namespace, TaskQueue: migration.TaskQueue,
		Warnings: warnings, Next: t.command("watch"),
	}
	for _, warning := range result.Warnings {
		fmt.Fprintf(a.err, "Warning: %s\n", warning)
	}
	switch {
	case wait && a.json():
		return a.watch(ctx, c, t, watchOptions{interval: defaultInterval})
	case a.json():
		return a.printJSON(result)
	}
	a.tell("Started %s %s (workflow %s, run %s).\n\n%s",
		t.kind(), plan.Name, result.WorkflowID, result.RunID, describePlan(plan))
	if wait {
		a.printf("\n")
		return a.watch(ctx, c, t, watchOptions{interval: defaultInterval})
	}
	a.next(result.Next)
	return nil
}

func startOptions(plan migration.Plan) client.StartWorkflowOptions {
	return client.StartWorkflowOptions{
		ID:                                       plan.WorkflowID(),
		TaskQueue:                                migration.TaskQueue,
		WorkflowIDReusePolicy:                    enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		WorkflowExecutionErrorWhenAlreadyStarted: true,
		StaticSummary:                            summary(plan),
		StaticDetails:                            details(plan),
	}
}

// summary is a line for the list of workflows in the Temporal UI: at most 200 bytes.
func summary(plan migration.Plan) string {
	const most = 200
	text := fmt.Sprintf("%s: %s to %s", strings.Join(plan.Indices, ", "), host(plan.Source.Endpoint),
		host(plan.Target.Endpoint))
	if plan.Rehearsal {
		text = "rehearsal of " + text
	}
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most-3], "") + "..."
	}
	return text
}

func host(endpoint string) string {
	if parsed, err := url.Parse(endpoint); err == nil && parsed.Hostname() != "" {
		return parsed.Hostname()
	}
	return endpoint
}

// details is the page about the plan in the Temporal UI, in Markdown: at most 20,000 bytes.
func details(plan migration.Plan) string {
	const most = 15_000
	indices := "`" + strings.Join(plan.Indices, "`, `") + "`"
	if len(indices) > most {
		indices = fmt.Sprintf("%d names and patterns", len(plan.Indices))
	}
	source, destination := plan.Source.Repository, plan.Target.Repository
	var page strings.Builder
	if plan.Rehearsal {
		fmt.Fprintf(&page, "Rehearsal of **%s**: %s. It blocks no writes, works on throw-away indices and "+
			"removes what it makes.\n\n",
			plan.Name, indices)
	} else {
		fmt.Fprintf(&page, "Migration **%s**: %s\n\n", plan.Name, indices)
	}
	fmt.Fprintf(&page, "| | source | target |\n|---|---|---|\n")
	fmt.Fprintf(&page, "| cluster | %s | %s |\n", plan.Source.Endpoint, plan.Target.Endpoint)
	fmt.Fprintf(&page, "| bucket | S3 %s (%s) | OSS %s (%s) |\n",
		source.Bucket, source.Region, destination.Bucket, destination.Region)
	fmt.Fprintf(&page, "| folder | %s/ | %s/ |\n\n", source.BasePath, destination.BasePath)
	if plan.Rehearsal {
		fmt.Fprintf(&page, "Signals: `abort`, `pause`, `resume`.\n")
		return page.String()
	}
	fmt.Fprintf(&page, "Rounds: %s. Freeze: %s. Without the signal `cutover`, writes stay blocked for at most "+
		"%s. Verification: %s.\n\n",
		roundsText(plan), freezeText(plan), plan.Freeze.MaxDuration, verification(plan))
	fmt.Fprintf(&page, "Signals, with or without a payload: %s.\n", requestNames())
	return page.String()
}

func requestNames() string {
	var names []string
	for _, request := range migration.Requests() {
		names = append(names, "`"+string(request)+"`")
	}
	return strings.Join(names, ", ")
}

// printCLI prints a script that starts the migration without the starter.
func (a *app) printCLI(plan migration.Plan) error {
	text, err := json.MarshalIndent(plan, "", "  ")
	if err != nil {
		return fail(exitFailed, "can't write the plan as JSON: %w", err)
	}
	options := startOptions(plan)
	inputFile := `"$plan"` // a new file: the script must not overwrite one of the user's
	if a.json() {
		inputFile = plan.Name + ".json"
	}
	arguments := []string{
		"temporal workflow start",
		"--type " + migration.WorkflowType,
		"--task-queue " + options.TaskQueue,
		"--workflow-id " + options.ID,
		"--id-reuse-policy AllowDuplicate",
		"--fail-existing",
		"--static-summary " + quote(options.StaticSummary),
		"--input-file " + inputFile,
	}
	for _, setting := range []struct{ flag, value string }{
		{"--address", a.address}, {"--namespace", a.namespace}, {"--profile", a.profile},
	} {
		if setting.value != "" {
			arguments = append(arguments, setting.flag+" "+quote(setting.value))
		}
	}
	if a.json() {
		return a.printJSON(map[string]any{"input": plan, "command": strings.Join(arguments, " ")})
	}
	a.printf("plan=$(mktemp)\ncat > \"$plan\" <<'PLAN'\n%s\nPLAN\n\n%s\n", text, strings.Join(arguments, " \\\n  "))
	a.printf("\n# With tctl:\n# tctl workflow start --workflow_type %s --taskqueue %s --workflow_id %s "+
		"--input_file %s\n",
		migration.WorkflowType, options.TaskQueue, options.ID, inputFile)
	a.printf("# Next: %s\n", ofPlan(plan).command("watch"))
	return nil
}

// quote makes one word for a POSIX shell.
func quote(text string) string {
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
