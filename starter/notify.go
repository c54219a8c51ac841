package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/snapferry/snapferry/migration"
)

func (a *app) notifyCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "notify",
		Short: "Try the receivers that a plan tells of what happens",
		Long: `A plan names under notify who is told of what happens to its migration. See
docs/notify.md.`,
		Args: noUnknownCommand,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
		// A misspelt command is the mistake to report, not its flags.
		FParseErrWhitelist: cobra.FParseErrWhitelist{UnknownFlags: true},
	}
	command.AddCommand(a.notifyTestCommand())
	return command
}

func (a *app) notifyTestCommand() *cobra.Command {
	var file string
	command := &cobra.Command{
		Use:   "test -f PLAN",
		Short: "Send a test message to each receiver of a plan",
		Long: `Sends a test message to each receiver of the plan, once, and shows what each answers. A
worker does this, in the workflow notify-test/<name of the plan>: only workers have the
secrets, and what is tried is their way to the receivers. The exit code is 1 if a
receiver does not have the message.`,
		Example: "  starter notify test -f movies.yaml",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			plan, err := a.readPlan(file)
			if err != nil {
				return err
			}
			if len(plan.Notify.Receivers) == 0 {
				return fail(exitUsage, "the plan %s has no receivers: write them under notify.receivers, see "+
					"docs/plan.md", plan.Name)
			}
			connection, err := a.connect(c.Context())
			if err != nil {
				return err
			}
			defer connection.Close()
			return a.notifyTest(c.Context(), connection, plan)
		},
	}
	command.Flags().StringVarP(&file, "file", "f", "", "plan whose receivers are tried; - for stdin")
	return command
}

func (a *app) notifyTest(ctx context.Context, c *connection, plan migration.Plan) error {
	t := target{id: migration.NotifyTestID(plan.Name)}
	run, err := within(ctx, callTimeout, func(ctx context.Context) (client.WorkflowRun, error) {
		return c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
			ID: t.id, TaskQueue: migration.TaskQueue,
			WorkflowIDReusePolicy:                    enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
			WorkflowExecutionErrorWhenAlreadyStarted: true,
			StaticSummary:                            "test of the receivers of " + plan.Name,
		}, migration.NotifyWorkflowType, a.testMessage(plan))
	})
	if _, ok := errors.AsType[*serviceerror.WorkflowExecutionAlreadyStarted](err); ok {
		exit := fail(exitFailed, "a test of the receivers of %s is running already (workflow %s)", plan.Name, t.id)
		exit.next = "temporal workflow result --workflow-id " + t.id
		return exit
	}
	if err != nil {
		return c.explain(err, t)
	}
	warnings, _ := c.missingWorkers(ctx, a.now(), migration.TaskQueue)
	for _, warning := range warnings {
		fmt.Fprintf(a.err, "Warning: %s\n", warning)
	}
	var result migration.NotifyResult
	if err := run.Get(ctx, &result); err != nil {
		return notifyTestFailed(ctx, err, c, t)
	}
	if a.json() {
		if err := a.printJSON(result); err != nil {
			return err
		}
	} else {
		a.printf("%s", deliveriesText(plan.Name, t.id, result))
	}
	for _, d := range result.Deliveries {
		if d.State != migration.Delivered {
			return silently(exitFailed)
		}
	}
	return nil
}

// testMessage looks like a real message. Its id is another one each time.
func (a *app) testMessage(plan migration.Plan) migration.NotifyInput {
	at := a.now().UnixMilli()
	return migration.NotifyInput{
		Receivers: plan.Notify.Receivers,
		Notification: migration.Notification{
			ID: fmt.Sprintf("%s/%d", migration.NotifyTestID(plan.Name), at), Event: migration.EventTest,
			Plan: plan.Name, WorkflowID: migration.WorkflowID(plan.Name), AtMillis: at,
			Title: "this is a test", Text: "Somebody (" + a.user() + ") tries whether this receiver is told. " +
				"Nothing has happened.",
			Commands: []string{"starter status " + plan.Name},
		},
	}
}

// notifyTestFailed explains a test that has no result.
func notifyTestFailed(ctx context.Context, err error, c *connection, t target) error {
	switch {
	case ctx.Err() != nil:
		exit := fail(exitInterrupted, "interrupted; the test goes on as workflow %s", t.id)
		exit.next = "temporal workflow result --workflow-id " + t.id
		return exit
	case temporal.IsCanceledError(err):
		return fail(exitFailed, "the test was cancelled; it has no result")
	}
	if _, ok := errors.AsType[*temporal.TerminatedError](err); ok {
		return fail(exitFailed, "the test was terminated; it has no result")
	}
	return c.explain(err, t)
}

// deliveriesText is the table for people.
func deliveriesText(plan, id string, result migration.NotifyResult) string {
	var page, remedies strings.Builder
	fmt.Fprintf(&page, "Test of the receivers of %s (workflow %s)\n\n", plan, id)
	page.WriteString(table(func(row func(...string)) {
		row("RECEIVER", "KIND", "RESULT", "WHY")
		for _, d := range result.Deliveries {
			row(d.Receiver, d.Kind, string(d.State), d.Error)
			if d.Remedy != "" {
				fmt.Fprintf(&remedies, "%s: %s\n", d.Receiver, d.Remedy)
			}
		}
	}))
	if remedies.Len() > 0 {
		page.WriteString("\n" + remedies.String())
	}
	return page.String()
}
