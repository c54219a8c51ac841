package workflows

import (
	"errors"
	"fmt"
	"strings"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// What a migration asks of its guard, and what it makes of the answers.

// errCutoverBegun ends a step when the guard has begun the cutover without this run: an earlier run
// asked for it, which was reset. Then this one only reports.
var errCutoverBegun = errors.New("the cutover has begun already")

// guardLink is what a run knows of its guard.
type guardLink struct {
	// runID is this run's id, as the answers tell it. A workflow must not read it itself: a run
	// that is reset has another one, and gives the same commands up to there.
	runID string
	// asks and windows number the requests and the windows of this run.
	asks, windows int
	// begun is set once the guard has begun the cutover.
	begun       bool
	late        []migration.LateIndex
	lateOmitted int
}

// guarded tells whether a guard blocks the source for this run. A rehearsal blocks nothing.
func (m *run) guarded() bool { return m.shape.guarded() && m.Rehearsal == nil }

// guardRequest is the next request to the guard.
func (m *run) guardRequest(ask migration.GuardAsk) migration.GuardRequest {
	m.guard.asks++
	request := migration.GuardRequest{
		Run: m.forActivities(), Ask: ask, WorkflowID: m.workflowID,
		OriginalRun: workflow.GetInfo(m.root).OriginalRunID, KnownRun: m.guard.runID, Sequence: m.guard.asks,
	}
	if w := m.window; w != nil {
		request.Window, request.UntilMillis = w.number, w.untilMillis
	}
	return request
}

// ask asks the guard something. An answer that means that this run has nothing to say any more ends
// the window, or the step.
func (m *run) ask(ctx workflow.Context, options workflow.ActivityOptions,
	request migration.GuardRequest,
) (migration.GuardAnswer, error) {
	answer, err := call[migration.GuardAnswer](ctx, waiting(m.paced(options)), migration.ActivityAskGuard, request)
	if err != nil {
		return answer, err
	}
	m.warnAll(answer.Warnings)
	return answer, m.hear(answer)
}

// hear takes what an answer says of the run itself.
func (m *run) hear(answer migration.GuardAnswer) error {
	m.guard.runID = answer.RunID
	if answer.Reset {
		m.forgetRequests()
	}
	if answer.Phase.Begun() && !m.guard.begun {
		m.guard.begun = true
		return errCutoverBegun
	}
	return nil
}

// forgetRequests drops what people asked of the run that this one replaces: a reset sends signals
// again, and nobody may be there.
func (m *run) forgetRequests() {
	m.FreezeRequested, m.AutoFreeze, m.RoundRequested = false, false, false
	if m.frozen() {
		m.window.cutoverRequested = false
	}
	m.warn("this run replaces one that was reset: freeze and cutover that were sent to that run count for nothing. " +
		"Send them again")
}

// meet learns this run's id, and whether a cutover has begun, before anything is done that a run
// must not do then. replaced tells that this run replaces one that was reset.
func (m *run) meet() (replaced bool, err error) {
	if !m.guarded() {
		return false, nil
	}
	err = m.attempt("ask the guard whether the cutover has begun", func(ctx workflow.Context) error {
		answer, err := m.ask(ctx, quickCall("ask the guard"), m.guardRequest(migration.AskMeet))
		replaced = answer.Reset
		return err
	})
	return replaced, err
}

// meetBeforeAbort makes sure that a run doesn't report an abort although an earlier one has handed
// over. An abort doesn't wait for it for ever.
func (m *run) meetBeforeAbort() error {
	if !m.guarded() || m.window != nil {
		return nil
	}
	_, err := m.ask(m.work, bestEffort("ask the guard whether the cutover has begun"),
		m.guardRequest(migration.AskMeet))
	if errors.Is(err, errCutoverBegun) {
		return err
	}
	return nil
}

// openGuard opens the window at the guard, and watches that the guard serves it.
func (m *run) openGuard() error {
	w := m.window
	if w.opened {
		return nil
	}
	err := m.attempt("open a window at the guard", func(ctx workflow.Context) error {
		w.opened = true // it may be, whatever comes back
		answer, err := m.ask(ctx, pollUntilDone("open a window at the guard"), m.guardRequest(migration.AskOpen))
		if err != nil {
			return err
		}
		return m.served(answer)
	})
	if err != nil {
		return err
	}
	request := m.guardRequest("")
	workflow.GoNamed(w.ctx, "watch the guard", func(ctx workflow.Context) {
		answer, err := call[migration.GuardAnswer](ctx, waiting(urgent(watchSnapshot("notice when the guard ends"))),
			migration.ActivityWatchGuard, request)
		if err != nil {
			if ctx.Err() == nil {
				m.warn("nobody watches the guard until the next request to it: " + err.Error())
			}
			return
		}
		if w.armed() {
			if m.hear(answer) == nil {
				_ = m.served(answer)
			}
			w.stop()
		}
	})
	return nil
}

// served ends the window if the guard does not serve it: then the block is removed, or will be.
func (m *run) served(answer migration.GuardAnswer) error {
	if answer.Served {
		return nil
	}
	w := m.window
	switch {
	case answer.Reset:
		w.lost = "this run replaces one that was reset"
	case answer.Cause != "":
		w.lost = answer.Cause
	default:
		w.lost = "the guard does not serve this window"
	}
	w.stop()
	return w.ctx.Err()
}

// blockByGuard has the guard block all indices that were found.
func (m *run) blockByGuard(indices migration.IndexList) error {
	w := m.window
	w.indices = indices
	err := m.attempt("tell the guard which indices will be blocked", func(ctx workflow.Context) error {
		request := m.guardRequest(migration.AskAnnounce)
		request.Indices, request.IndicesOf = indices.Inline, indices.Of()
		answer, err := m.ask(ctx, pollUntilDone("announce "+indexCount(indices.Len())), request)
		if err == nil {
			err = m.served(answer)
		}
		m.warnOfBlocks(answer)
		return err
	})
	if err != nil {
		return err
	}
	w.block(m.startWatch())
	return m.attempt("block writes on the source", func(ctx workflow.Context) error {
		request := m.guardRequest(migration.AskBlock)
		request.Look = m.lookRequest(indices)
		if request.Look != nil && request.Look.Snapshot != "" {
			m.snapshotting = request.Look.Snapshot
		}
		answer, err := m.ask(ctx, pollUntilDone("block "+indexCount(indices.Len())), request)
		m.hearOfSnapshot(request.Look, answer)
		if err == nil {
			err = m.served(answer)
		}
		w.look = answer.Look
		if err != nil || len(answer.Refused) == 0 {
			return err
		}
		return refusedBy(fmt.Sprintf("block writes on the source: %s, so snapferry has removed the block from the "+
			"others",
			human.Things(len(answer.Refused)+answer.RefusedOmitted, "index can't be blocked",
				"indices can't be blocked")),
			answer.Refused, answer.RefusedOmitted)
	})
}

// warnOfBlocks warns of indices that have blocks of their own.
func (m *run) warnOfBlocks(answer migration.GuardAnswer) {
	for _, index := range answer.Own {
		for _, block := range workflow.DeterministicKeys(index.Blocks) {
			if index.Blocks[block] == "true" {
				m.warn(fmt.Sprintf("index %s had %s before the freeze: snapferry leaves it as it was", index.Name,
					block))
			}
		}
	}
	if answer.OwnOmitted > 0 {
		m.warn(human.Things(answer.OwnOmitted, "more index", "more indices") + " had blocks before the freeze: " +
			"snapferry leaves them as they were")
	}
}

// refusedBy is the failure of a step because single indices refuse it.
func refusedBy(what string, refused []migration.Refusal, omitted int) error {
	return temporal.NewApplicationErrorWithOptions(what+": "+refusals(refused, omitted), string(migration.ErrorRefused),
		temporal.ApplicationErrorOptions{NonRetryable: true})
}

// refusals names indices and what they answered, in one bounded line.
func refusals(refused []migration.Refusal, omitted int) string {
	const named, longest = 5, 150
	var texts []string
	for _, refusal := range refused[:min(len(refused), named)] {
		text := refusal.Index + " (" + human.Shorten(refusal.Message, longest) + ")"
		if refusal.Remedy != "" {
			text += " " + human.Shorten(refusal.Remedy, longest)
		}
		texts = append(texts, text)
	}
	if omitted += len(refused) - len(texts); omitted > 0 {
		texts = append(texts, human.Count(int64(omitted))+" more")
	}
	return strings.Join(texts, "; ")
}

// maxPasses is how often a freeze begins again within one window, and maxWindowHistory and
// maxWindowBytes are how long the history may be: about half of what makes the server end the
// workflow. A window that comes to either ends, and rounds go on: so no window needs
// continue-as-new.
const (
	maxPasses        = 5
	maxWindowHistory = 25_000
	maxWindowBytes   = 25 << 20
)

// boundWindow counts a pass of the freeze, and ends the window if there were too many.
func (m *run) boundWindow() error {
	w := m.window
	if !m.guarded() || w.ctx.Err() != nil {
		return w.ctx.Err()
	}
	w.passes++
	info := workflow.GetInfo(m.root)
	switch {
	case w.passes > maxPasses:
		w.lost = fmt.Sprintf("the freeze began %d times in one window, because indices came, went or were written to. "+
			"Find out what does that (rollover, index management, a job), and stop it before the next freeze",
			maxPasses)
	case info.GetCurrentHistoryLength() > maxWindowHistory, info.GetCurrentHistorySize() > maxWindowBytes:
		w.lost = "the workflow's history has become too long to go on in the window"
	default:
		return nil
	}
	w.stop()
	return w.ctx.Err()
}

// removeByGuard has the guard remove the block, which ends the window. It returns errCutoverBegun
// if it is too late for that.
func (m *run) removeByGuard() error {
	w := m.window
	if w == nil || !w.opened {
		return nil
	}
	return m.attempt("remove the write block from the source", func(ctx workflow.Context) error {
		answer, err := m.ask(ctx, urgent(pollUntilDone("remove the block of "+indexCount(w.indices.Len()))),
			m.guardRequest(migration.AskRemove))
		if err != nil {
			return err
		}
		w.remains, w.remainsOmitted = answer.Remains, answer.RemainsOmitted
		if len(w.remains) > 0 {
			m.warn("our write block may still be on " + refusals(w.remains, w.remainsOmitted))
		}
		return nil
	})
}

// beginCutover makes sure that the target is as it was verified, tells the guard what to hand over,
// and asks it to begin. From then on the block stays.
func (m *run) beginCutover() error {
	ours := false
	err := m.attempt("begin the cutover", func(ctx workflow.Context) error {
		answer, err := call[migration.GuardAnswer](ctx, waiting(urgent(pollUntilDone("begin the cutover"))),
			migration.ActivityAskGuard, m.guardRequest(migration.AskBegin))
		if err != nil {
			return err
		}
		m.warnAll(answer.Warnings)
		if ours = answer.Phase.Begun() && !answer.Reset; ours {
			m.guard.begun = true
			return nil
		}
		if err := m.hear(answer); err != nil {
			return err
		}
		return m.served(answer)
	})
	if err != nil && ours {
		return nil // what came in the same moment is too late
	}
	return err
}

// checkTarget is the last look at the target before there is no way back, and tells the guard what
// to hand over. It returns false if the target is no longer as it was verified.
func (m *run) checkTarget() (bool, error) {
	if err := m.attempt("check the target's shard limit", m.checkShardLimit); err != nil {
		return false, err
	}
	indices := m.window.indices
	check := migration.CheckHandoverRequest{
		Run: m.forActivities(), Indices: indices.Names(), IndicesOf: indices.Of(),
		Counters: m.Counters, CountersOf: m.CountersOf,
	}
	var unlike string
	err := m.attempt("check that the target is as it was verified", func(ctx workflow.Context) error {
		options := m.paced(pollUntilDone("check " + indexCount(indices.Len())))
		err := do(ctx, options, migration.ActivityCheckHandover, check)
		if errorType(err) != migration.ErrorTargetWritten {
			return err
		}
		if m.shape.delta() { // the final round takes what was written to
			unlike = describe(ctx, "", err, 1).Message
			return nil
		}
		// Only retry begins another attempt: a person accepts it.
		check.Counters, check.CountersOf = nil, migration.Stored[migration.WriteCounters]{}
		return err
	})
	if err != nil {
		return false, err
	}
	if unlike != "" {
		m.warn("the target is not as it was verified: " + unlike + ". snapferry freezes, copies and verifies again")
		return false, nil
	}
	return true, m.attempt("tell the guard what to hand over", func(ctx workflow.Context) error {
		request := m.guardRequest(migration.AskList)
		request.Indices, request.IndicesOf = indices.Inline, indices.Of()
		request.Counters, request.CountersOf = m.Counters, m.CountersOf
		request.UnknownSettings = m.UnknownSettings
		answer, err := m.ask(ctx, pollUntilDone("list "+indexCount(indices.Len())), request)
		if err != nil {
			return err
		}
		m.handover.settings = answer.LeftOut
		return m.served(answer)
	})
}

// cutoverByGuard waits until the guard has handed over, shows what is refused, and reports. It
// can't be aborted or cancelled.
func (m *run) cutoverByGuard(ctx workflow.Context) (migration.Phase, error) {
	m.work, m.stopWork = workflow.NewDisconnectedContext(ctx)
	m.window.disarm()
	told := false
	err := m.attempt("make the target writable", func(ctx workflow.Context) error {
		options := waiting(urgent(pollUntilDone("hand over " + indexCount(m.Indices.Len()))))
		request := m.guardRequest(migration.AskHandOver)
		request.LeaveOut = m.handover.leaving
		answer, err := call[migration.GuardAnswer](ctx, options, migration.ActivityAskGuard, request)
		if err != nil {
			return err
		}
		m.guard.runID, told = answer.RunID, answer.Told
		m.guard.late, m.guard.lateOmitted = answer.Late, answer.LateOmitted
		return m.handover.heard(answer)
	})
	if err != nil {
		return "", err
	}
	if m.window.blocked() {
		m.window.measured.BlockedMillis = workflow.Now(m.work).UnixMilli() - m.window.sinceMillis
	}
	if !told { // else the guard has called them
		if err := m.hooksOrPerson(migration.HookAfterHandover); err != nil {
			return "", err
		}
	}
	m.measureDown()
	m.restoreThrottles()
	if told {
		m.warn("the cutover had begun in a run of this migration that was reset: this run only reports it")
	} else {
		m.callWebhook()
	}
	if m.shape.asked() {
		m.stopSnapshot() // one of no use would hold the repository
	}
	m.unregister()
	m.release()
	return migration.PhaseCompleted, nil
}

// release tells the guard that the migration reports the end, and learns what took writes on the
// source since the cutover.
func (m *run) release() {
	answer, err := call[migration.GuardAnswer](m.work, waiting(bestEffort("look at the source a last time")),
		migration.ActivityAskGuard, m.guardRequest(migration.AskRelease))
	if err != nil {
		m.warn("the source was not looked at a last time: " + describe(m.work, "", err, 1).Message)
		return
	}
	m.guard.late, m.guard.lateOmitted = answer.Late, answer.LateOmitted
}
