package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/converter"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/internal/report"
	"github.com/snapferry/snapferry/migration"
)

func (a *app) transcriptCommand() *cobra.Command {
	var flags targetFlags
	command := &cobra.Command{
		Use:   "transcript",
		Short: "Print every request that changed something on the clusters",
		Long: `Prints every request of a migration that changed something on one of the clusters, in
the order in which they were sent, with the answer. It has the form that the console
of Kibana's Dev Tools takes, so that you can repeat each step by hand. Secrets are
left out of it. A rehearsal has none: it leaves nothing behind.

The transcript lies in OSS, so a worker reads it, in the workflow
transcript/<name of the plan>. It is best effort: what OSS didn't take, and what a
worker that was killed had sent just before, may be missing. It lies beside the lists
of the migration's run, and goes when they go.`,
		Example: `  starter transcript movies
  starter transcript movies -o json | jq '.[] | select(.side == "source")'`,
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
			return a.transcript(c.Context(), connection, t)
		},
	}
	flags.add(command)
	return command
}

func (a *app) transcript(ctx context.Context, c *connection, t target) error {
	e, err := describe(ctx, c, t)
	if err != nil {
		return c.explain(err, t)
	}
	all, unreadable, err := a.exchanges(ctx, c, t, e, 0)
	if err != nil {
		return err
	}
	if unreadable > 0 {
		fmt.Fprintf(a.err, "Warning: %s of the transcript could not be read\n",
			human.Things(unreadable, "part", "parts"))
	}
	if a.json() {
		return a.printJSON(slices.Concat([]migration.Exchange{}, all)) // [] if there is none
	}
	for i, exchange := range all {
		if i > 0 {
			a.printf("\n")
		}
		a.printf("%s", report.Console(exchange))
	}
	if len(all) == 0 {
		a.printf("Nothing was changed on the clusters so far, or nothing is known of it.\n")
		a.next(t.command("status"))
	}
	return nil
}

// exchanges has a worker read the transcript of a migration. They are in the order of time. The limit
// is that of a part, and 0 is none.
func (a *app) exchanges(ctx context.Context, c *connection, t target, e execution, limit time.Duration,
) (all []migration.Exchange, unreadable int, err error) {
	plan, err := planOf(ctx, c, t, e.RunID)
	if err != nil {
		return nil, 0, err
	}
	request := migration.TranscriptRequest{Run: migration.Run{Plan: plan, Token: e.token}}
	for {
		page, err := a.transcriptPage(ctx, c, request, limit)
		if err != nil {
			return nil, 0, err
		}
		exchanges, err := exchangesOf(page)
		if err != nil {
			return nil, 0, fail(exitFailed, "the transcript of %s can't be read: %w", t.label(), err)
		}
		all, unreadable = append(all, exchanges...), unreadable+page.Unreadable
		if page.After == "" {
			break
		}
		request.After = page.After
	}
	slices.SortStableFunc(all, func(x, y migration.Exchange) int { return x.At.Compare(y.At) })
	return all, unreadable, nil
}

// planOf reads the plan of a migration from its history. That needs no worker.
func planOf(ctx context.Context, c *connection, t target, runID string) (migration.Plan, error) {
	plan, err := within(ctx, callTimeout, func(ctx context.Context) (migration.Plan, error) {
		events := c.GetWorkflowHistory(ctx, t.id, runID, false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
		if !events.HasNext() {
			return migration.Plan{}, errors.New("its history is empty")
		}
		first, err := events.Next()
		if err != nil {
			return migration.Plan{}, err
		}
		payloads := first.GetWorkflowExecutionStartedEventAttributes().GetInput().GetPayloads()
		if len(payloads) == 0 {
			return migration.Plan{}, errors.New("it was started without a plan")
		}
		var input migration.Input
		if err := converter.GetDefaultDataConverter().FromPayload(payloads[0], &input); err != nil {
			return migration.Plan{}, err
		}
		return input.Running()
	})
	if err != nil {
		return plan, c.explain(err, t)
	}
	return plan, nil
}

// transcriptPage has a worker read a part.
func (a *app) transcriptPage(ctx context.Context, c *connection, request migration.TranscriptRequest,
	limit time.Duration,
) (migration.TranscriptPage, error) {
	name := request.Plan.Name
	return runSide[migration.TranscriptPage](ctx, a, c, side{
		id: migration.TranscriptWorkflowID(name), workflowType: migration.TranscriptWorkflowType,
		summary: "transcript of " + name, title: "somebody's reading of the transcript of " + name,
		name: "the reading", limit: limit,
	}, request)
}

func exchangesOf(page migration.TranscriptPage) ([]migration.Exchange, error) {
	if len(page.Lines) == 0 {
		return nil, nil
	}
	lines, err := gzip.NewReader(bytes.NewReader(page.Lines))
	if err != nil {
		return nil, err
	}
	var all []migration.Exchange
	decoder := json.NewDecoder(lines)
	for {
		var e migration.Exchange
		err := decoder.Decode(&e)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
}
