package workflows

import (
	"errors"
	"fmt"
	"slices"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// cutover hands over. It can't be aborted or cancelled: from here on the source stays blocked
// whatever happens.
func (m *run) cutover(ctx workflow.Context) (migration.Phase, error) {
	if m.guarded() {
		return m.cutoverByGuard(ctx)
	}
	m.work, m.stopWork = workflow.NewDisconnectedContext(ctx)
	if err := m.openTargetForWrites(); err != nil {
		return "", err
	}
	m.window.measured.BlockedMillis = workflow.Now(m.work).UnixMilli() - m.window.sinceMillis
	m.restoreThrottles()
	m.callWebhook()
	m.unregister()
	return migration.PhaseCompleted, nil
}

func (m *run) callWebhook() {
	if m.plan.Cutover.Webhook.URL != "" {
		m.try("call the webhook", migration.ActivityCallWebhook,
			migration.WebhookRequest{Run: m.forActivities(), Report: m.summary(m.work, migration.ResultCompleted)})
	}
}

func (m *run) unregister() {
	if !m.plan.Cutover.KeepRepositories {
		m.try("unregister the repositories", migration.ActivityUnregisterRepositories, m.forActivities())
	}
}

// openTargetForWrites is the handover of runs that have no other.
func (m *run) openTargetForWrites() error {
	request := migration.HandoverRequest{Run: m.forActivities(), Indices: m.window.indices.Inline, Counters: m.Counters}
	return m.attempt("make the target writable", func(ctx workflow.Context) error {
		options := urgent(quickCall("hand over " + indexCount(len(request.Indices))))
		err := do(ctx, options, migration.ActivityOpenTargetForWrites, request)
		if errorType(err) == migration.ErrorTargetWritten {
			request.Counters = nil // only retry begins another attempt: a person accepts what was written
		}
		return err
	})
}

// try does what should be done but must not keep what comes after it from being done: a failure
// becomes a warning in the report. It tells whether it is finished. False also means that a
// cancellation interrupted it.
func (m *run) try(step, activity string, request any) bool {
	_, done := m.tried(step, activity, request)
	return done
}

// tried is try, and tells whether it failed.
func (m *run) tried(step, activity string, request any) (failed, done bool) {
	m.step = step
	m.show(m.work)
	err := do(m.work, bestEffort(step), activity, request)
	m.step = ""
	if err != nil && m.stopping() {
		return true, false
	}
	if err != nil {
		failure := describe(m.work, step, err, 1)
		text := fmt.Sprintf("could not %s: %s", step, failure.Message)
		if remedy := migration.ErrorType(failure.Type).RemedyAfterwards(); remedy != "" {
			text += ". " + remedy
		}
		m.warn(text)
	}
	return err != nil, true
}

// finish ends a completed migration.
func (m *run) finish(ctx workflow.Context) (migration.Report, error) {
	report := m.summary(ctx, migration.ResultCompleted)
	m.course.complete(&report)
	m.tellEnd(report)
	m.answerRequests(ctx)
	report.Notified = m.Notified
	return report, nil
}

// abort stops the migration: first the source takes writes again, then a snapshot that still runs
// is stopped. Cancellation comes here as well.
func (m *run) abort(ctx workflow.Context, cause error) (migration.Report, error) {
	if m.Phase == migration.PhaseCutover {
		// This can't happen. If it does anyway, the workflow stands still here until its code is
		// fixed: two writable clusters would lose data.
		panic(fmt.Sprintf("an abort during the cutover: %v", cause))
	}
	cancelled := m.abortRequested == nil && ctx.Err() != nil
	m.work, m.stopWork = workflow.NewDisconnectedContext(ctx)
	m.window.disarm()
	m.Paused = false
	m.abortedIn = m.Phase
	m.enter(m.work, migration.PhaseAborting)

	err := m.removeBlock()
	if err == nil {
		err = m.meetBeforeAbort()
	}
	if errors.Is(err, errCutoverBegun) {
		m.warn("the abort came too late: the cutover had begun")
		m.enter(m.work, migration.PhaseCutover)
		return m.run(ctx)
	}
	if err != nil {
		return migration.Report{}, err // can't be: nothing cancels this context
	}
	m.stopSnapshot()
	m.restoreThrottles()
	m.course.undo()
	m.hearHooks()
	m.enter(m.work, migration.PhaseAborted)
	report := m.summary(m.work, migration.ResultAborted)
	m.course.complete(&report)
	switch {
	case cancelled:
		report.Error = "cancelled in phase " + string(m.abortedIn)
	case m.abortRequested != nil:
		report.Error = "aborted in phase " + string(m.abortedIn) + m.abortRequested.Byline()
	default:
		report.Error = cause.Error()
	}
	m.tellEnd(report)
	m.answerRequests(m.work)
	report.Notified = m.Notified
	if cancelled {
		return report, temporal.NewCanceledError(report)
	}
	return report, temporal.NewApplicationErrorWithOptions(report.Error, string(migration.ErrorAborted),
		temporal.ApplicationErrorOptions{NonRetryable: true, Details: []any{report}})
}

// leaveUnclaimed remembers a snapshot of which nobody knows whose it is: it may run until somebody
// stops it. A run whose history doesn't stop it goes on without.
func (m *run) leaveUnclaimed(ctx workflow.Context, name string) {
	const first = 1
	if workflow.GetVersion(ctx, "unclaimed", workflow.DefaultVersion, first) >= first {
		m.unclaimed = append(m.unclaimed, name)
	}
}

// stopSnapshot stops the snapshots that may still run on the source. One that has finished stays.
func (m *run) stopSnapshot() {
	names := slices.Concat(m.givenUp, m.unclaimed)
	if m.snapshotting != "" {
		names = append(names, m.snapshotting)
	}
	m.snapshotting, m.givenUp, m.unclaimed = "", nil, nil
	for _, name := range names {
		if !m.try("stop snapshot "+name, migration.ActivityAbortSnapshot,
			migration.SnapshotRequest{Run: m.forActivities(), Snapshot: name}) {
			m.givenUp = append(m.givenUp, name)
		}
	}
}

// answerRequests lets requests in that have arrived and updates answer, before this run closes. What
// receivers are to be told begins before.
func (m *run) answerRequests(ctx workflow.Context) {
	m.teller.started(ctx)
	m.letRequestsIn(ctx)
	m.show(ctx)
	_ = workflow.Await(ctx, func() bool { return workflow.AllHandlersFinished(ctx) })
}

// letRequestsIn lets the listeners take what has arrived with the present workflow task. The main
// coroutine runs before them, so without this it could end the run, or pass a point of no return,
// over an abort that is already there. A coroutine that is made now is scheduled after all of them.
func (m *run) letRequestsIn(ctx workflow.Context) {
	done := false
	workflow.GoNamed(ctx, "let requests in", func(workflow.Context) { done = true })
	// Not on a cancelled context, which would not wait.
	ctx, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	_ = workflow.Await(ctx, func() bool { return done })
}

// summary is the report as things stand.
func (m *run) summary(ctx workflow.Context, result string) migration.Report {
	report := migration.Report{
		Result:        result,
		WorkflowID:    m.workflowID,
		Plan:          m.plan.Name,
		StartedMillis: m.StartedMillis,
		EndedMillis:   workflow.Now(ctx).UnixMilli(),
		Rounds:        m.Rounds,
		RoundsOmitted: m.RoundsOmitted,
		Hooks:         m.Hooks,
		HooksOmitted:  m.HooksOmitted,
		Decisions:     m.Decisions,
		Warnings:      m.course.warnings(),
		NotHot:        m.NotHot,
		Late:          m.guard.late,
		LateOmitted:   m.guard.lateOmitted,
		Failed:        m.Failed,
		FailedOmitted: m.FailedOmitted,
	}
	if m.frozen() {
		report.Indices, report.IndicesOmitted = m.window.verified, m.window.unlisted
		report.Evidence = m.window.evidence
		report.SettingsLeftOut, report.NotHandedOver = m.handover.settings, m.handover.leftOut
		if report.FrozenWindow = m.window.result(); report.FrozenWindow != nil {
			report.Prediction = m.window.predicted
		}
	}
	return report
}

// beforeANewOne says what to do with what stands on the target.
const beforeANewOne = "Delete them before you start a new migration: its preflight refuses indices that exist."

// remains says what is left where.
func (m *run) remains() []string {
	run := m.forActivities()
	source, target := m.plan.Source.Repository, m.plan.Target.Repository
	var left []string
	if m.Phase == migration.PhaseCompleted {
		left = append(left, "source: the indices are still there, blocked for writes (index.blocks.write). "+
			"Delete them when you are sure.")
	} else if m.RestoreInDoubt {
		left = append(left,
			"target: the indices are closed or partly restored, because a restore was interrupted. "+beforeANewOne)
	} else if len(m.Rounds) > 0 {
		left = append(left, "target: the indices as the last round restored them, blocked for writes or closed. "+
			beforeANewOne)
	}
	if m.window != nil && m.window.unlisted != nil && !m.window.unlisted.AllOf.IsZero() {
		left = append(left, fmt.Sprintf("OSS: what the verification found of each index, as JSON, in %s/%s/%s",
			target.Bucket, run.ListsPath(), m.window.unlisted.AllOf.Digest))
	}
	for _, refusal := range m.handover.leftOut {
		left = append(left, "target: index "+refusal.Index+" was left out of the handover: "+refusal.Message)
	}
	gone, notHot := m.leftBehind(m.Indices, m.NotHot)
	if gone != "" {
		left = append(left,
			"target: indices that are no longer on the source, as they were last restored, blocked for writes: "+gone)
	}
	if notHot != "" {
		left = append(left, "target: indices that are in UltraWarm or cold storage on the source now, as they were "+
			"last restored, blocked for writes, not verified: "+notHot)
	}
	if m.Phase == migration.PhaseAborted && m.window.mayBlock() && len(m.window.remains) > 0 {
		left = append(left, "source: our write block (index.blocks.write) may still be on "+
			refusals(m.window.remains, m.window.remainsOmitted)+". The guard tries to remove it for some minutes. "+
			"Then remove it yourself")
	} else if m.Phase == migration.PhaseAborted && m.window.mayBlock() {
		left = append(left, "source: our write block is removed, which was checked. Blocks that were there before "+
			"ours are there again.")
	}
	if !m.Registered {
		if m.abortedIn == migration.PhasePrepare {
			left = append(left, fmt.Sprintf("either cluster: the repository %s may be registered. "+
				"To be sure that it isn't, send DELETE _snapshot/%s to both.", run.RepositoryName(),
				run.RepositoryName()))
		}
		return left
	}
	if m.Phase == migration.PhaseAborted || m.plan.Cutover.KeepRepositories {
		left = append(left, "both clusters: the registered repository "+run.RepositoryName()+
			" (on the target it holds the OSS key)")
	}
	if len(m.Rounds) == 0 && m.Attempt == 0 {
		return left
	}
	return append(left,
		fmt.Sprintf("S3: the snapshots below %s/%s/", source.Bucket, run.SourceBasePath()),
		fmt.Sprintf("OSS: their copy below %s/%s/", target.Bucket, run.TargetBasePath()),
		"OSS: the key with which the target cluster reads the bucket. Rotate or delete it when nothing needs the "+
			"repository")
}

// verdictOf takes the verdicts out of a failed verification.
func verdictOf(err error) migration.VerifyResult {
	var result migration.VerifyResult
	var failure *temporal.ApplicationError
	if errors.As(err, &failure) && failure.HasDetails() {
		_ = failure.Details(&result) // without the verdicts the message still says it all
	}
	return result
}
