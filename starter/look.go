package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"github.com/snapferry/snapferry/migration"
)

// queryTimeout bounds the status query, which needs a worker.
const queryTimeout = 10 * time.Second

// view is everything that is known about a migration at one moment. As JSON it is the migration's
// status, with the execution beside it.
type view struct {
	// Status is nil if no worker answers the query.
	*migration.Status
	Execution execution `json:"execution"`
	// Problems say why it does not move, where Temporal knows.
	Problems []string `json:"problems,omitempty"`
	// Guard is where the plan's guard stands, if it has one and a window was opened.
	Guard *migration.GuardStatus `json:"guard,omitempty"`
	// GuardOfEarlier says that the guard serves an earlier migration of the plan.
	GuardOfEarlier bool `json:"guardOfEarlier,omitempty"`
	// Failure is why a closed workflow ended, or why it has no report.
	Failure string `json:"failure,omitempty"`

	report *migration.Report
	// others are the pending activities without the pages, which are one copy.
	others []activity
	copied *pagedCopy
}

// look asks Temporal, then the migration itself. If thorough, it first asks for the workers;
// otherwise it asks for them only if something waits for one.
func (a *app) look(ctx context.Context, c *connection, t target, thorough bool) (view, error) {
	e, err := describe(ctx, c, t)
	if err != nil {
		return view{}, err
	}
	v := view{Execution: e}
	if thorough {
		v.Guard = guardOf(ctx, c, t)
		if v.GuardOfEarlier = v.Guard != nil && v.Guard.Token != e.token; v.GuardOfEarlier && !v.Guard.Phase.Holds() {
			v.Guard, v.GuardOfEarlier = nil, false // it has ended, as that migration has
		}
	}
	if !e.running() {
		v.report, v.Failure = result(ctx, c, t, "")
		v.Status = statusOf(v.report, t)
		return v, nil
	}
	served := true
	if thorough {
		v.Problems, served = c.missingWorkers(ctx, a.now(), e.TaskQueue)
	}
	if served {
		status, err := query(ctx, c, t)
		switch {
		case err == nil:
			v.Status = &status
			if err := v.consistent(ctx, c, t); err != nil {
				return view{}, err
			}
		case ctx.Err() != nil:
			return view{}, ctx.Err()
		}
		if !thorough && (err != nil || v.Execution.waitsForWorker()) {
			v.Problems, _ = c.missingWorkers(ctx, a.now(), e.TaskQueue)
		}
		if err != nil && len(v.Problems) == 0 && e.WorkflowTaskAttempt <= 1 {
			v.Problems = append(v.Problems, "no worker answers the status query: "+err.Error())
		}
	}
	if e.WorkflowTaskAttempt > 1 {
		v.Problems = append(v.Problems, fmt.Sprintf("the workflow task has failed or timed out %d times: "+
			"look for the reason in the worker's log; if the worker was updated, go back to the version "+
			"before",
			e.WorkflowTaskAttempt-1))
	}
	v.others, v.copied = v.steps()
	return v, nil
}

// consistentTries limits consistent, since small pages may end one after the other.
const consistentTries = 3

// consistent asks Temporal and the migration again until no page of a copy ends between the two
// answers. Such a page would count twice: as running and as ended.
func (v *view) consistent(ctx context.Context, c *connection, t target) error {
	for range consistentTries {
		if v.Copy == nil {
			return nil
		}
		e, err := describe(ctx, c, t)
		if err != nil {
			return err
		}
		status, err := query(ctx, c, t)
		if err != nil || !e.running() {
			return ctx.Err() // the next look may know more
		}
		before := *v.Copy
		v.Execution, v.Status = e, &status
		if v.Copy != nil && *v.Copy == before {
			return nil
		}
	}
	return nil
}

// guardOf is where the guard of a migration's plan stands; nil if it can't be asked, has had
// nothing to do, or is another migration's.
func guardOf(ctx context.Context, c *connection, t target) *migration.GuardStatus {
	if t.name == "" {
		return nil
	}
	value, err := within(ctx, queryTimeout, func(ctx context.Context) (converter.EncodedValue, error) {
		return c.QueryWorkflow(ctx, migration.GuardID(t.name), "", migration.QueryStatus)
	})
	var status migration.GuardStatus
	if err != nil || value.Get(&status) != nil || status.Phase == migration.GuardIdle || status.WorkflowID != t.id {
		return nil
	}
	return &status
}

func query(ctx context.Context, c *connection, t target) (migration.Status, error) {
	value, err := within(ctx, queryTimeout, func(ctx context.Context) (converter.EncodedValue, error) {
		return c.QueryWorkflow(ctx, t.id, "", migration.QueryStatus)
	})
	if err != nil {
		return migration.Status{}, err
	}
	var status migration.Status
	if err := value.Get(&status); err != nil {
		return migration.Status{}, fmt.Errorf("can't read the answer: %w", err)
	}
	return status, nil
}

// result is the report of a closed migration. An aborted or cancelled one has it in its error.
// Without a report, the text says why. An empty run id stands for the last run.
func result(ctx context.Context, c *connection, t target, runID string) (*migration.Report, string) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var report migration.Report
	err := c.GetWorkflow(ctx, t.id, runID).Get(ctx, &report)
	if err == nil {
		return &report, ""
	}
	if failure, ok := errors.AsType[*temporal.ApplicationError](err); ok {
		if failure.HasDetails() && failure.Details(&report) == nil && report.Result != "" {
			return &report, report.Error
		}
		return nil, failure.Message()
	}
	if canceled, ok := errors.AsType[*temporal.CanceledError](err); ok {
		if canceled.HasDetails() && canceled.Details(&report) == nil && report.Result != "" {
			return &report, report.Error
		}
		return nil, "cancelled"
	}
	if _, ok := errors.AsType[*temporal.TerminatedError](err); ok {
		return nil, "terminated: it cleaned nothing up. If writes were blocked, its guard makes the source writable " +
			"again, or hands over. starter recover -f PLAN shows what is left in force, and removes it"
	}
	return nil, err.Error()
}

// statusOf is the status of a migration that has ended, as far as its report tells.
func statusOf(r *migration.Report, t target) *migration.Status {
	if r == nil {
		return nil
	}
	s := migration.Status{
		WorkflowID: t.id, Plan: migration.Plan{Name: r.Plan}, Phase: migration.PhaseAborted,
		StartedMillis: r.StartedMillis, PhaseSinceMillis: r.EndedMillis,
		RoundsEnded: len(r.Rounds) + r.RoundsOmitted, Rounds: r.Rounds,
		IndicesTotal: len(r.Indices) + r.IndicesOmitted.Indices(),
		FrozenWindow: r.FrozenWindow, Warnings: r.Warnings, Notes: r.Decisions, Late: r.Late,
		LateOmitted: r.LateOmitted, Failed: r.Failed, FailedOmitted: r.FailedOmitted, NotHot: r.NotHot,
		Notified: r.Notified,
	}
	s.Rehearsal, s.Plan.Rehearsal = r.Rehearsal, r.Rehearsal != nil
	if r.Result == migration.ResultCompleted || r.Result == migration.ResultRehearsed {
		s.Phase = migration.PhaseCompleted
	}
	if n := len(r.Rounds); n > 0 {
		s.Round = r.Rounds[n-1].Number
	}
	for _, index := range r.Indices {
		s.Indices = append(s.Indices, migration.IndexStatus{
			Name: index.Name, SourceDocs: index.SourceDocs, TargetDocs: index.TargetDocs, Equal: &index.Equal,
		})
		if index.Equal && index.Evidence != nil {
			s.Indices[len(s.Indices)-1].Evidence = index.Evidence.Text()
		}
		if index.Moved && !index.Equal {
			s.Indices[len(s.Indices)-1].Equal = nil // unknown
		}
	}
	return &s
}

// end says how a closed migration ended. For Temporal, an aborted one is a failed workflow.
func (v view) end() string {
	if v.report != nil && v.report.Result != "" {
		return v.report.Result
	}
	return v.Execution.State
}

// code is the exit code for the state of the migration.
func (v view) code() int {
	switch {
	case v.Execution.State == "completed" && v.report != nil && found(v.report.Rehearsal):
		return exitAttention
	case v.Execution.State == "completed" && v.report != nil && len(v.report.Late) > 0:
		return exitLate
	case v.Execution.State == "completed":
		return exitOK
	case !v.Execution.running():
		return exitAborted
	case v.Status == nil || v.Attention != nil || len(v.Problems) > 0:
		return exitAttention
	}
	return exitOK
}

// next are the starter's commands that make sense now. The status lists those of the temporal
// command line too.
func (v view) next(t target) []string {
	switch {
	case v.Execution.State == "completed":
		return []string{t.command("report")}
	case !v.Execution.running() && v.report != nil && t.kind() == "migration":
		return []string{t.command("report"), "starter cleanup -f PLAN", "starter start -f PLAN"}
	case !v.Execution.running() && v.report != nil:
		return []string{t.command("report"), "starter start -f PLAN"}
	case !v.Execution.running():
		return []string{"starter recover -f PLAN", "starter start -f PLAN"}
	case v.Status == nil:
		return []string{t.command("status")}
	}
	var commands []string
	for _, command := range v.Next {
		// The status names the plan, but the migration may have another workflow id.
		if words := strings.Fields(command); len(words) > 1 && words[0] == "starter" {
			commands = append(commands, t.command(words[1]))
		}
	}
	if len(commands) == 0 {
		commands = append(commands, t.command("watch"))
	}
	return slices.Compact(commands)
}
