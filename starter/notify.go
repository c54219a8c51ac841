package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

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
	id := migration.NotifyTestID(plan.Name)
	result, err := runSide[migration.NotifyResult](ctx, a, c, side{
		id: id, workflowType: migration.NotifyWorkflowType, summary: "test of the receivers of " + plan.Name,
		title: "a test of the receivers of " + plan.Name, name: "the test",
	}, a.testMessage(plan))
	if err != nil {
		return err
	}
	if a.json() {
		if err := a.printJSON(result); err != nil {
			return err
		}
	} else {
		a.printf("%s", deliveriesText(plan.Name, id, result))
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
