package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/converter"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// The bounds of a list: it answers soon, whatever workers and server do.
const (
	listTimeout  = 20 * time.Second
	lookTimeout  = 5 * time.Second
	looksAtOnce  = 8
	mostListed   = 500
	listPageSize = 100
)

type listOptions struct {
	closed bool
	since  time.Duration
}

func (a *app) listCommand() *cobra.Command {
	var options listOptions
	command := &cobra.Command{
		Use:   "list",
		Short: "List all migrations, rehearsals, audits and checks, and what each waits for",
		Long: `Lists the migrations, rehearsals, audits and checks that run: the phase, the frozen
window (since when, and how long until the block is removed), whether somebody is
needed, and the command that moves it on. With --closed it also lists those that have
ended.

What runs is read from what each migration has left with Temporal. So a list needs no
worker, and says which ones no worker serves.`,
		Example: "  starter list\n  starter list --closed --since 24h\n  starter list -o json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if options.since <= 0 {
				return fail(exitUsage, "--since must be more than 0, for example 24h")
			}
			connection, err := a.connect(c.Context())
			if err != nil {
				return err
			}
			defer connection.Close()
			return a.list(c.Context(), connection, options)
		},
	}
	command.Flags().BoolVar(&options.closed, "closed", false, "also list those that have ended")
	command.Flags().DurationVar(&options.since, "since", 7*24*time.Hour, "with --closed: those that ended since then")
	return command
}

// listed is a line of the list.
type listed struct {
	WorkflowID string `json:"workflowId"`
	RunID      string `json:"runId"`
	// Kind is migration, rehearsal, audit or check.
	Kind string `json:"kind"`
	// State as in execution.
	State string `json:"state"`
	// Outline is empty of an audit and of a check, and if nothing is known.
	migration.Outline
	StartedMillis int64 `json:"startedMillis"`
	ClosedMillis  int64 `json:"closedMillis,omitempty"`
	// Problem says why it does not move, where Temporal knows; or what is wrong with its end.
	Problem string `json:"problem,omitempty"`
	// Command is what makes sense now.
	Command string `json:"command"`

	queue   string
	outline bool // is known
}

// list prints what runs, and what has ended.
func (a *app) list(asked context.Context, c *connection, options listOptions) error {
	ctx, cancel := context.WithTimeout(asked, listTimeout)
	defer cancel()
	ours := ofTypes(migration.WorkflowType, migration.AuditWorkflowType, migration.CheckWorkflowType)
	rows, more, err := a.find(ctx, c, ours+andRunning)
	if err != nil {
		return c.explain(err, target{})
	}
	if options.closed {
		since := a.now().Add(-options.since).UTC().Format(time.RFC3339)
		ended, moreEnded, err := a.find(ctx, c, ours+" AND ExecutionStatus IN ('Completed', 'Failed', 'Canceled', "+
			"'Terminated', 'TimedOut') AND CloseTime > '"+since+"'")
		if err != nil {
			return c.explain(err, target{})
		}
		rows, more = newest(append(rows, ended...)), more || moreEnded
	}
	served := c.polled(ctx, a.now(), migration.TaskQueue, enums.TASK_QUEUE_TYPE_WORKFLOW)
	complete(rows, func(row *listed) { c.complete(ctx, row, served) })
	if errors.Is(asked.Err(), context.Canceled) {
		return asked.Err()
	}
	slices.SortStableFunc(rows, urgency)
	if a.json() {
		return a.printJSON(map[string]any{"workflows": rows, "more": more})
	}
	a.printf("%s", a.listPage(rows, options))
	if more {
		a.printf("\nThere are more than %d: the rest is left out.\n", mostListed)
	}
	if !served && slices.ContainsFunc(rows, listed.running) {
		a.printf("\nNo worker polls task queue %s in namespace %s: nothing moves.\n"+
			"Start one: TEMPORAL_ADDRESS=%s worker\n", migration.TaskQueue, c.namespace, c.address)
	}
	return nil
}

// ofTypes is a query for our workflows of these types; andRunning leaves out what has ended.
func ofTypes(types ...string) string {
	return "WorkflowType IN ('" + strings.Join(types, "', '") + "') AND TaskQueue = '" + migration.TaskQueue + "'"
}

const andRunning = " AND ExecutionStatus = 'Running'"

// find asks Temporal which workflows there are, without any worker. more tells that there are more
// than a list takes.
func (a *app) find(ctx context.Context, c *connection, query string) (rows []listed, more bool, err error) {
	request := &workflowservice.ListWorkflowExecutionsRequest{
		Namespace: c.namespace, Query: query, PageSize: listPageSize,
	}
	for {
		page, err := within(ctx, callTimeout,
			func(ctx context.Context) (*workflowservice.ListWorkflowExecutionsResponse, error) {
				return c.ListWorkflow(ctx, request)
			})
		if err != nil {
			return nil, false, err
		}
		for _, info := range page.GetExecutions() {
			if len(rows) == mostListed {
				return rows, true, nil
			}
			rows = append(rows, newListed(info))
		}
		if request.NextPageToken = page.GetNextPageToken(); len(request.NextPageToken) == 0 {
			return rows, false, nil
		}
	}
}

func newListed(info *workflowpb.WorkflowExecutionInfo) listed {
	row := listed{
		WorkflowID: info.GetExecution().GetWorkflowId(), RunID: info.GetExecution().GetRunId(),
		State:         state(info.GetStatus()),
		StartedMillis: millis(info.GetStartTime()), ClosedMillis: millis(info.GetCloseTime()),
		queue: info.GetTaskQueue(),
	}
	switch info.GetType().GetName() {
	case migration.AuditWorkflowType:
		row.Kind = kindAudit
	case migration.CheckWorkflowType:
		row.Kind = kindCheck
	default:
		row.Kind = row.target().kind()
	}
	if payload := info.GetMemo().GetFields()[migration.MemoOutline]; payload != nil {
		row.outline = converter.GetDefaultDataConverter().FromPayload(payload, &row.Outline) == nil
	}
	return row
}

// newest keeps the last run of each workflow id: one that runs, or the one that ended last.
func newest(rows []listed) []listed {
	slices.SortStableFunc(rows, func(a, b listed) int { return cmp.Compare(b.StartedMillis, a.StartedMillis) })
	known := map[string]bool{}
	return slices.DeleteFunc(rows, func(row listed) bool {
		again := known[row.WorkflowID]
		known[row.WorkflowID] = true
		return again
	})
}

// complete does something with each row, several at the same time.
func complete(rows []listed, do func(*listed)) {
	places := make(chan struct{}, looksAtOnce)
	var looking sync.WaitGroup
	for i := range rows {
		places <- struct{}{}
		looking.Go(func() {
			do(&rows[i])
			<-places
		})
	}
	looking.Wait()
}

// complete adds what the server's list does not tell. served says that a worker polls the task
// queue of workflows.
func (c *connection) complete(ctx context.Context, row *listed, served bool) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	t := row.target()
	if row.looks() {
		row.Command = "temporal workflow result -w " + row.WorkflowID
	}
	switch {
	case row.looks() && row.State == "completed":
		c.judge(ctx, row)
		return
	case row.looks() && !row.running():
		return
	case !row.running():
		c.ended(ctx, row, t)
		return
	case !row.looks() && !row.outline && served: // it began before there were outlines
		if status, err := query(ctx, c, t); err == nil {
			row.Outline, row.outline = status.Outline(), true
		} else {
			row.Problem = "no answer"
		}
	}
	if !served {
		row.Problem = "no worker"
	} else if e, err := describe(ctx, c, t); err == nil && e.WorkflowTaskAttempt > 1 {
		row.Problem = "task fails"
	}
	if row.looks() {
		return
	}
	switch {
	case row.Problem != "":
		row.Command = t.command("status")
	case row.Next != "":
		row.Command = t.command(string(row.Next))
	default:
		row.Command = t.command("watch")
	}
}

// ended adds how a migration or a rehearsal has ended.
func (c *connection) ended(ctx context.Context, row *listed, t target) {
	v := view{Execution: execution{State: row.State}}
	v.report, v.Failure = result(ctx, c, t, row.RunID)
	if v.Status = statusOf(v.report, t); v.Status != nil {
		row.Outline = v.Status.Outline()
	}
	if v.report != nil && len(v.report.Late) > 0 {
		row.Problem = "late writes"
	}
	row.Command = v.next(t)[0]
}

// judge adds what an audit or a check has found.
func (c *connection) judge(ctx context.Context, row *listed) {
	var found struct {
		Whole bool `json:"whole"` // of a migration.AuditReport
		Ready bool `json:"ready"` // of a migration.CheckReport
	}
	err := c.GetWorkflow(ctx, row.WorkflowID, row.RunID).Get(ctx, &found)
	switch {
	case err != nil:
		row.Problem = "no answer"
	case row.Kind == kindAudit && !found.Whole:
		row.Problem = "not complete"
	case row.Kind == kindCheck && !found.Ready:
		row.Problem = "not ready"
	}
}

// The kinds of a line that are neither a migration nor a rehearsal.
const (
	kindAudit = "audit"
	kindCheck = "check"
)

// looks tells whether it only looks at something: it has no phases, and takes no requests.
func (r listed) looks() bool { return r.Kind == kindAudit || r.Kind == kindCheck }

func (r listed) running() bool { return r.State == stateRunning }

func (r listed) target() target { return byID(r.WorkflowID) }

// urgency puts first where somebody is waited for: what runs, with writes blocked, in need.
func urgency(a, b listed) int {
	rank := func(r listed) int {
		switch {
		case !r.running():
			return 3
		case r.Frozen():
			return 0
		case r.Attention != "" || r.Problem != "":
			return 1
		}
		return 2
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(b.ClosedMillis, a.ClosedMillis),
		cmp.Compare(a.WorkflowID, b.WorkflowID))
}

// The widths of the cells of a list. With the space between, they come to 80.
const (
	listedName      = 24
	listedPhase     = 12
	listedWindow    = 17
	listedAttention = 19
)

// listPage is the list for people: two lines for each, the second is the command.
func (a *app) listPage(rows []listed, options listOptions) string {
	if len(rows) == 0 {
		if options.closed {
			return "Nothing runs, and nothing has ended since then.\n"
		}
		return "Nothing runs. starter list --closed shows what has ended.\n"
	}
	cells := table(func(row func(...string)) {
		row("WORKFLOW", "PHASE", "WINDOW", "ATTENTION")
		for _, r := range rows {
			row(cut(r.title(), listedName), cut(r.where(), listedPhase), cut(a.windowOf(r), listedWindow),
				cut(r.need(), listedAttention))
		}
	})
	var page strings.Builder
	for i, line := range strings.Split(strings.TrimSuffix(cells, "\n"), "\n") {
		page.WriteString(line + "\n")
		if i > 0 {
			page.WriteString("    " + human.Line(rows[i-1].Command) + "\n")
		}
	}
	return page.String()
}

// title is the plan's name of a migration, else the workflow id.
func (r listed) title() string { return r.target().label() }

// where says how far it has come.
func (r listed) where() string {
	switch {
	case !r.running() && r.Phase == migration.PhaseAborted:
		return string(r.Phase) // for Temporal, it has failed
	case !r.running():
		return r.State
	case r.Kind == kindAudit:
		return "comparing"
	case r.Kind == kindCheck:
		return "checking"
	case r.Phase == "":
		return "?"
	}
	return string(r.Phase)
}

// need says why somebody should look.
func (r listed) need() string {
	switch {
	case r.Problem != "":
		return r.Problem
	case r.Attention != "":
		return r.Attention
	case r.Findings > 0:
		return human.Things(r.Findings, "finding", "findings")
	case r.Paused:
		return "paused"
	}
	return "-"
}

// windowOf says since when writes are blocked and for how much longer, or else how long the window
// will be, or was.
func (a *app) windowOf(r listed) string {
	switch {
	case r.Frozen() && r.FrozenUntilMillis > 0:
		return coarse(a.now().UnixMilli()-r.FrozenSinceMillis) + ", " +
			coarse(max(r.FrozenUntilMillis-a.now().UnixMilli(), 0)) + " left"
	case r.Frozen():
		return coarse(a.now().UnixMilli()-r.FrozenSinceMillis) + ", to stay"
	case r.WindowMillis > 0 && r.running():
		return "expect " + coarse(r.WindowMillis)
	case r.WindowMillis > 0:
		return "was " + coarse(r.WindowMillis)
	}
	return "-"
}

// coarse is a span in at most six characters.
func coarse(millis int64) string {
	d := time.Duration(millis) * time.Millisecond
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 10*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// cut shortens a text to so many characters.
func cut(text string, most int) string {
	if characters := []rune(human.Line(text)); len(characters) > most {
		return string(characters[:most-1]) + "~"
	}
	return text
}
