// Package workflows holds the workflow Migration: the story of one migration, one method a phase.
//
// It reads from top to bottom: Migration in migration.go, the phases before the freeze in rounds.go
// and ready.go, the frozen window in freeze.go, and how it ends in ending.go. A phase is made of
// steps (steps.go): a step runs activities until it succeeds, and parks for a person when no retry
// helps. People's requests (requests.go) only set fields, and the story awaits them. What is
// remembered is in state.go, whose parts have the methods that are about nothing else. A rehearsal
// goes the same way in throw-away names and without the block; what differs is its course
// (course.go, rehearsal.go).
//
// The package knows the Temporal SDK, the vocabulary of package migration and the pages of
// internal/report. It knows nothing of AWS, OSS or Elasticsearch: all of that happens in
// activities, which it calls by name. A change of the order of its commands breaks migrations that
// are under way, so tests replay the recorded histories below testdata/replay.
package workflows

import (
	"errors"
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// Registry is the part of a Temporal worker that takes workflows.
type Registry interface {
	RegisterWorkflowWithOptions(w any, options workflow.RegisterOptions)
}

// Register makes the workflows known to a worker under their public names.
func Register(registry Registry) {
	registry.RegisterWorkflowWithOptions(Migration, workflow.RegisterOptions{Name: migration.WorkflowType})
	registry.RegisterWorkflowWithOptions(Guard, workflow.RegisterOptions{Name: migration.GuardWorkflowType})
	registry.RegisterWorkflowWithOptions(Audit, workflow.RegisterOptions{Name: migration.AuditWorkflowType})
	registry.RegisterWorkflowWithOptions(Recover, workflow.RegisterOptions{Name: migration.RecoverWorkflowType})
	registry.RegisterWorkflowWithOptions(Transcript, workflow.RegisterOptions{Name: migration.TranscriptWorkflowType})
	registry.RegisterWorkflowWithOptions(Check, workflow.RegisterOptions{Name: migration.CheckWorkflowType})
	registry.RegisterWorkflowWithOptions(Cleanup, workflow.RegisterOptions{Name: migration.CleanupWorkflowType})
	registry.RegisterWorkflowWithOptions(Notify, workflow.RegisterOptions{Name: migration.NotifyWorkflowType})
}

// Migration moves the plan's indices from the source to the target. It ends with a report once a
// person has sent cutover. It fails with InvalidPlan or Aborted, whose details hold the report. It
// is cancelled like any workflow, which does the same as abort. A plan that is only rehearsed
// blocks nothing and ends automatically. carried is nil but after continue-as-new.
func Migration(ctx workflow.Context, input migration.Input, carried *Carried) (migration.Report, error) {
	m := newRun(ctx, carried)
	m.shape = shapeOf(ctx)
	m.tells = outlined(ctx)
	if err := m.listen(ctx); err != nil {
		return migration.Report{}, err
	}
	if err := m.readPlan(ctx, input, carried); err != nil {
		return migration.Report{}, temporal.NewApplicationErrorWithOptions(err.Error(),
			string(migration.ErrorInvalidPlan),
			temporal.ApplicationErrorOptions{NonRetryable: true})
	}
	m.setCourse()
	return m.run(ctx)
}

// run is one run of the workflow: a migration between two continue-as-news.
type run struct {
	Carried
	plan       migration.Plan
	workflowID string
	shape      shape
	course     course
	// tells says that the run puts its outline where workflows are listed.
	tells    bool
	outlines outlines

	// root is the workflow's own context, for what is asked of it outside its coroutines.
	root workflow.Context
	// work is cancelled by abort and by cancellation, which ends the step in progress.
	work           workflow.Context
	stopWork       func()
	abortRequested *migration.RequestInput

	step      string
	attention *migration.Attention
	copying   copying
	// waitedMillis is how long people were waited for in this run: by attention and by pause.
	waitedMillis int64
	// snapshotting is the snapshot that may be running on the source. So may those that were given
	// up: of groups whose step failed before the next group's snapshot began.
	snapshotting string
	givenUp      []string
	// unclaimed are snapshots of which nobody knows whose they are, and those that were asked for in
	// vain. They may be running as well.
	unclaimed []string
	// pause is that before the next snapshot, if one of its round has failed.
	pause time.Duration
	// changed is what the newest round found to have changed, and taking the indices that take part
	// in it: all of them in runs of an older shape.
	changed migration.Changed
	taking  migration.IndexList
	// spread tells how the writes of that round were spread over them.
	spread []int64
	// takenIn is how many rounds had ended when that one had; 0 if none has in this run.
	takenIn int
	guard   guardLink
	// prover is nil while nothing is proven in the background.
	prover *prover
	// window is nil outside the frozen window.
	window    *window
	abortedIn migration.Phase
	handover  handover
	// skipsHook is set by a retry that goes on without the hook that needs attention.
	skipsHook bool
	teller    teller
}

func newRun(ctx workflow.Context, carried *Carried) *run {
	info := workflow.GetInfo(ctx)
	m := &run{workflowID: info.WorkflowExecution.ID, root: ctx}
	if carried != nil {
		m.Carried = *carried
	} else {
		now := workflow.Now(ctx).UnixMilli()
		m.Carried = Carried{
			Token:            migration.TokenOf(info.OriginalRunID),
			StartedMillis:    now,
			Phase:            migration.PhasePreflight,
			PhaseSinceMillis: now,
		}
	}
	m.setCourse()
	m.work, m.stopWork = workflow.WithCancel(ctx)
	m.copying = copying{options: m.paced, nextPage: func(ctx workflow.Context) error {
		m.show(ctx)
		return m.awaitResume(ctx)
	}}
	return m
}

// run goes from phase to phase until the migration has ended.
func (m *run) run(ctx workflow.Context) (migration.Report, error) {
	for !m.Phase.Ended() {
		m.show(ctx)
		next, err := m.course.perform(ctx)
		switch {
		case err != nil && m.guard.begun:
			next = migration.PhaseCutover
		case err != nil && m.window.expired() && !m.stopping():
			next = migration.PhaseThaw
		case errors.Is(err, errBlockAgain):
			next = migration.PhaseFreeze
		case err != nil:
			return m.abort(ctx, err)
		}
		m.enter(ctx, next)
		if m.mustContinueAsNew(ctx) {
			return m.continueAsNew(ctx)
		}
	}
	return m.finish(ctx)
}

// perform carries out the present phase of a migration and says which comes next.
func (m migrating) perform(ctx workflow.Context) (migration.Phase, error) {
	switch m.Phase {
	case migration.PhasePreflight:
		return m.preflight()
	case migration.PhasePrepare:
		return m.prepare()
	case migration.PhaseBaseline:
		return m.baseline()
	case migration.PhaseRounds:
		return m.rounds()
	case migration.PhaseReady:
		return m.makeReady()
	case migration.PhaseFreeze:
		return m.freeze()
	case migration.PhaseFinalRound:
		return m.finalRound()
	case migration.PhaseVerify:
		return m.verify()
	case migration.PhaseAwaitCutover:
		return m.awaitCutover()
	case migration.PhaseThaw:
		return m.thaw()
	case migration.PhaseCutover:
		return m.cutover(ctx)
	}
	return "", fmt.Errorf("there is no phase %q", m.Phase)
}

// enter is the one place where the phase changes.
func (m *run) enter(ctx workflow.Context, next migration.Phase) {
	if next == m.Phase {
		return
	}
	workflow.GetLogger(ctx).Info("phase ended", "phase", m.Phase, "next", next)
	m.Phase = next
	m.PhaseSinceMillis = workflow.Now(ctx).UnixMilli()
	m.step = ""
}

// mustContinueAsNew tells whether the history is long enough for a new one. It only is between
// rounds, when nothing is under way.
func (m *run) mustContinueAsNew(ctx workflow.Context) bool {
	if m.Phase != migration.PhaseRounds || m.stopping() {
		return false
	}
	info := workflow.GetInfo(ctx)
	return info.GetContinueAsNewSuggested() || info.GetCurrentHistoryLength() > maxHistoryLength
}

// maxHistoryLength keeps a run's history far below Temporal's limit of 51,200 events and quick to
// replay; a round takes about 40.
const maxHistoryLength = 3000

func (m *run) continueAsNew(ctx workflow.Context) (migration.Report, error) {
	if err := m.stopProving(m.work); err != nil {
		return m.abort(ctx, err)
	}
	// Requests that have arrived and that nobody has taken yet would be lost with this run.
	if err := workflow.Await(ctx, func() bool { return workflow.AllHandlersFinished(ctx) }); err != nil {
		return m.abort(ctx, err)
	}
	m.answerRequests(ctx)
	if m.stopping() {
		return m.abort(ctx, m.work.Err())
	}
	carried := m.Carried
	carried.PlanResolved = true
	carried.hookLog = m.newest(carriedCalls)
	return migration.Report{}, workflow.NewContinueAsNewError(ctx, migration.WorkflowType,
		migration.ResolvedInput(m.plan), &carried)
}

// stopping tells whether abort or cancellation has come.
func (m *run) stopping() bool { return m.work.Err() != nil }

// errorType is the type of an activity's failure; empty if it has none.
func errorType(err error) migration.ErrorType {
	var failure *temporal.ApplicationError
	if errors.As(err, &failure) {
		return migration.ErrorType(failure.Type())
	}
	return ""
}
