package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/snapferry/snapferry/migration"
)

// answer is what a request prints for programs.
type answer struct {
	// Request is the name of the update or signal.
	Request    string `json:"request"`
	WorkflowID string `json:"workflowId"`
	// Sent is signal or update. A signal has no answer.
	Sent    string          `json:"sent"`
	Message string          `json:"message,omitempty"`
	Phase   migration.Phase `json:"phase,omitempty"`
	Next    string          `json:"next"`
}

// message is an update, or the signal of the same name, with its payload.
type message struct {
	name  string
	input any
	// next is the command that makes sense once the request is accepted.
	next string
}

type requestOptions struct {
	by, reason  string
	leaveOut    []string
	skipHook    bool
	signal, yes bool
	timeout     time.Duration
}

func (o *requestOptions) add(command *cobra.Command, reasonHelp string) {
	flags := command.Flags()
	flags.StringVar(&o.by, "by", "", "who sends the request (default: the user of this computer)")
	flags.StringVar(&o.reason, "reason", "", reasonHelp)
	flags.BoolVar(&o.signal, "signal", false, "send the signal instead of the update")
	flags.DurationVar(&o.timeout, "timeout", 30*time.Second, "how long to wait for the answer")
}

const updateHelp = `Sends the update of this name and prints its answer. With --signal it sends the
signal of this name instead. A signal has no answer and needs no running worker.`

func (a *app) requestCommand(request migration.Request) *cobra.Command {
	var flags targetFlags
	var options requestOptions
	command := &cobra.Command{
		Use:   string(request),
		Short: strings.TrimSuffix(request.Description(), "."),
		Long: request.Description() + `

The exit code is 3 if the migration refuses the request in its present phase.

` + updateHelp,
		Example: fmt.Sprintf("  starter %s movies --reason \"maintenance window\"", request),
		RunE: func(c *cobra.Command, args []string) error {
			t, err := a.target(flags, args)
			if err != nil {
				return err
			}
			if options.by == "" {
				options.by = a.user()
			}
			if irrevocable(request) {
				if err := a.confirm(request, t, options.yes); err != nil {
					return err
				}
			}
			connection, err := a.connect(c.Context())
			if err != nil {
				return err
			}
			defer connection.Close()
			m := message{
				string(request),
				migration.RequestInput{
					By: options.by, Reason: options.reason, LeaveOut: options.leaveOut, SkipHook: options.skipHook,
				},
				after(request),
			}
			return a.request(c.Context(), connection, t, m, options)
		},
	}
	flags.add(command)
	options.add(command, "reason, for the status and the report")
	if request == migration.RequestRetry {
		command.Flags().StringSliceVar(&options.leaveOut, "leave-out", nil,
			"in phase cutover: end it without these indices, which the target refused")
		command.Flags().BoolVar(&options.skipHook, "skip-hook", false,
			"go on without the hook that needs attention")
	}
	if irrevocable(request) {
		command.Flags().BoolVarP(&options.yes, "yes", "y", false,
			"don't ask for confirmation; needed for cutover without a terminal")
	}
	return command
}

// irrevocable reports whether a person should confirm the request.
func irrevocable(request migration.Request) bool {
	return request == migration.RequestCutover || request == migration.RequestAbort
}

// confirm asks a person. Without a terminal there is nobody to ask. Then an abort goes ahead, since
// it makes the source writable again, but a cutover needs --yes: a pipe that answers "n" must not
// hand over.
func (a *app) confirm(request migration.Request, t target, yes bool) error {
	if yes {
		return nil
	}
	if !a.inTerminal && request != migration.RequestCutover {
		return nil
	}
	if !a.inTerminal {
		return fail(exitUsage, "%s needs a confirmation, and there is no terminal to ask for it: add --yes", request)
	}
	fmt.Fprintf(a.err, "%s %s: %s\nType %q to go on: ", request, t.label(), request.Description(), t.label())
	line, err := bufio.NewReader(a.in).ReadString('\n')
	if err != nil && line == "" || strings.TrimSpace(line) != t.label() {
		return fail(exitFailed, "not confirmed; nothing was sent")
	}
	return nil
}

func (a *app) request(ctx context.Context, c *connection, t target, m message, options requestOptions) error {
	result := answer{Request: m.name, WorkflowID: t.id, Sent: "update", Next: t.command(m.next)}
	if options.signal {
		result.Sent = "signal"
		if err := a.sendSignal(ctx, c, t, m); err != nil {
			return err
		}
		result.Next = t.command("status")
	} else {
		got, err := within(ctx, options.timeout, func(ctx context.Context) (migration.Answer, error) {
			return update(ctx, c, t, m)
		})
		if err != nil {
			return a.explainUpdate(ctx, c, t, m.name, err)
		}
		result.Message, result.Phase = got.Message, got.Phase
	}
	if a.json() {
		return a.printJSON(result)
	}
	if options.signal {
		a.tell("Sent the signal %s to %s. The status shows whether it was accepted.\n", m.name, t.label())
	} else {
		a.tell("%s %s: %s.\nPhase: %s\n", m.name, t.label(), strings.TrimSuffix(result.Message, "."), result.Phase)
	}
	a.next(result.Next)
	return nil
}

// after is the command that makes sense after a request was accepted.
func after(request migration.Request) string {
	if request == migration.RequestPause {
		return string(migration.RequestResume)
	}
	return "watch"
}

func (a *app) sendSignal(ctx context.Context, c *connection, t target, m message) error {
	_, err := within(ctx, callTimeout, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, c.SignalWorkflow(ctx, t.id, "", m.name, m.input)
	})
	if err == nil {
		return nil
	}
	if refused := a.refusedByEnd(ctx, c, t, m.name, err); refused != nil {
		return refused
	}
	return c.explain(err, t)
}

func update(ctx context.Context, c *connection, t target, m message) (migration.Answer, error) {
	handle, err := c.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		WorkflowID: t.id, UpdateName: m.name, Args: []any{m.input},
		WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	if err != nil {
		return migration.Answer{}, err
	}
	var got migration.Answer
	return got, handle.Get(ctx, &got)
}

func (a *app) explainUpdate(ctx context.Context, c *connection, t target, request string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if refusal, ok := errors.AsType[*temporal.ApplicationError](err); ok {
		exit := fail(exitRefused, "%s", refusal.Message())
		exit.next = t.command("status")
		return exit
	}
	if refused := a.refusedByEnd(ctx, c, t, request, err); refused != nil {
		return refused
	}
	_, timedOut := errors.AsType[*client.WorkflowUpdateServiceTimeoutOrCanceledError](err)
	if !timedOut && !transient(err) {
		return c.explain(err, t)
	}
	reason := ""
	if e, describeErr := describe(ctx, c, t); describeErr == nil {
		if missing, _ := c.missingWorkers(ctx, a.now(), e.TaskQueue); len(missing) > 0 {
			reason = ": " + strings.Join(missing, "; ")
		}
	}
	exit := fail(exitFailed, "%s was sent, but no answer came in time%s. The status shows whether it was "+
		"accepted; `--signal` needs no running worker", request, reason)
	exit.next = t.command("status")
	return exit
}

// refusedByEnd is the error of a request to a migration that has ended; nil for any other error.
func (a *app) refusedByEnd(ctx context.Context, c *connection, t target, request string, err error) error {
	if _, ok := errors.AsType[*serviceerror.NotFound](err); !ok {
		return nil
	}
	if e, err := describe(ctx, c, t); err == nil && !e.running() {
		exit := fail(exitRefused, "%s is not possible now: the migration has ended (%s)", request, e.State)
		exit.next = t.command("report")
		return exit
	}
	return nil
}
