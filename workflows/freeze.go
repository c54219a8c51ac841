package workflows

import (
	"errors"
	"fmt"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// frozen tells whether the source is frozen: writes are blocked, or will be with the next requests.
// It is so from the freeze on, and no longer once the block is removed and rounds go on. After the
// cutover it stays so. See window for what else can be asked.
func (m *run) frozen() bool { return m.window != nil }

// freeze blocks writes on the source and waits until nothing moves any more. It is entered again if
// something got past the block.
func (m *run) freeze() (migration.Phase, error) {
	m.FreezeRequested, m.RoundRequested, m.AutoFreeze = false, false, false
	if !m.frozen() {
		m.TakenAgain = 0
		m.window = openWindow(m.work, m.plan.Freeze.MaxDuration.Std(), m.Prediction)
		m.guard.windows++
		m.window.number = m.guard.windows
		m.watchExpiry()
	}
	w := m.window
	w.again(m.startWatch())
	if m.guarded() {
		if err := m.openGuard(); err != nil {
			return "", err
		}
	}
	if err := m.hooksInWindow(migration.HookBeforeBlock); err != nil {
		return "", err
	}
	for {
		m.spendAsked()
		if err := m.boundWindow(); err != nil {
			return "", err
		}
		found, err := m.resolveFrozen("find the plan's indices on the source")
		if err != nil {
			return "", err
		}
		if err := m.block(found); err != nil {
			return "", err
		}
		m.tellFrozen()
		if err := m.hooksInWindow(migration.HookAfterBlock); err != nil {
			return "", err
		}
		// An index that was created while the block was set has escaped it.
		resolved, standstill := m.lookAhead()
		frozen, err := standstill("wait until the source stands still")
		if errors.Is(err, errBlockAgain) {
			continue
		}
		if err != nil {
			return "", err
		}
		if found, err = resolved("find indices that were created while the block was set"); err != nil {
			return "", err
		}
		if !w.holds(found) {
			continue
		}
		w.indices, w.changed, frozen.Found = found, frozen.Found, nil
		w.frozen = frozen
		w.measured.BlockMillis = m.elapsed(w.pass) - w.hookMillis
		return migration.PhaseFinalRound, nil
	}
}

// resolveAhead resolves the plan's indices while something else goes on. The function returns what
// it found. If that failed, it resolves again, and parks like any other step.
func (m *run) resolveAhead(request migration.ResolveRequest) func(step string) (migration.IndexList, error) {
	ctx := m.context()
	resolving := m.startResolving(m.bounded(ctx), request)
	return func(step string) (migration.IndexList, error) {
		var found migration.IndexList
		if resolving.Get(ctx, &found) == nil {
			return found, nil
		}
		return m.resolveFrozen(step)
	}
}

func (m *run) resolveFrozen(step string) (migration.IndexList, error) {
	var found migration.IndexList
	err := m.attempt(step, func(ctx workflow.Context) error {
		var err error
		found, err = m.resolve(ctx)
		return err
	})
	return found, err
}

// awaitStandstill waits until the source stands still. before is what it held earlier, if something
// is to be compared with that. find asks what takes part in the final round.
func (m *run) awaitStandstill(step string, before *migration.Standstill, find *migration.ChangedRequest,
) (migration.Standstill, error) {
	var frozen migration.Standstill
	indices := m.window.indices
	err := m.attemptOr(step, blockAgain, func(ctx workflow.Context) error {
		var err error
		options := m.paced(pollUntilDone("standstill of " + indexCount(indices.Len())))
		frozen, err = call[migration.Standstill](ctx, options, migration.ActivityAwaitStandstill,
			migration.StandstillRequest{
				IndicesRequest: m.indicesRequest(indices), Store: true, Before: before, Find: find,
			})
		return err
	})
	return frozen, err
}

// block sets the write block on all indices that were found. Before that it remembers which blocks
// the fresh ones have. The order matters: after a crash between the two, our own block would be
// taken for one that was there before.
func (m *run) block(indices migration.IndexList) error {
	if m.guarded() {
		return m.blockByGuard(indices)
	}
	w := m.window
	fresh := w.fresh(indices)
	w.indices = indices
	if len(fresh) > 0 {
		err := m.attempt("read the blocks that the source has", func(ctx workflow.Context) error {
			options := m.paced(quickCall("blocks of " + indexCount(len(fresh))))
			found, err := call[migration.Blocks](ctx, options, migration.ActivityReadBlocks,
				migration.IndicesRequest{Run: m.forActivities(), Indices: fresh})
			if err == nil {
				m.warnAll(w.remember(found))
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	w.block(m.startWatch())
	return m.attempt("block writes on the source", func(ctx workflow.Context) error {
		return do(ctx, m.paced(quickCall("block "+indexCount(indices.Len()))), migration.ActivityBlockWrites,
			m.indicesRequest(indices))
	})
}

// cameOrWent is the step that finds out whether the plan's indices are still those that are frozen.
const cameOrWent = "find indices that were created or deleted while writes were blocked"

// finalRound copies what was written since the last round.
func (m *run) finalRound() (migration.Phase, error) {
	if err := m.round(migration.RoundFinal); err != nil {
		return "", err
	}
	last, measured := m.lastRound(), &m.window.measured
	measured.SnapshotMillis = last.SnapshotMillis
	measured.CopyMillis = last.CopyMillis
	measured.RestoreMillis = last.RestoreMillis
	measured.Groups, measured.GroupedMillis = last.Groups, last.GroupedMillis
	return migration.PhaseVerify, nil
}

// verify proves that the target equals the frozen source.
func (m *run) verify() (migration.Phase, error) {
	w, watch := m.window, m.startWatch()
	if err := m.tryFrozen(); err != nil {
		return "", err
	}
	request := m.resolveRequest()
	request.Unmeasured = true // it is compared with what is frozen
	resolved := m.resolveAhead(request)
	err := m.attempt("compare the target with the frozen source", func(ctx workflow.Context) error {
		defer m.changed.ForgetTarget() // somebody may change it, and then send retry
		options := m.paced(pollUntilDone("verify " + indexCount(w.indices.Len())))
		verified, err := call[migration.VerifyResult](ctx, options, migration.ActivityVerifyTarget,
			m.verifyRequest(w.indices, w.frozen))
		if err != nil {
			verified = verdictOf(err)
		}
		w.verified, w.unlisted, w.evidence = verified.Indices, verified.Unlisted, verified.Evidence
		return err
	})
	if err != nil {
		return "", err
	}
	m.warnAll(differencesOf(w.verified, w.unlisted))
	found, err := resolved(cameOrWent)
	if err != nil {
		return "", err
	}
	if m.warnIfChanged(found) {
		return migration.PhaseFreeze, nil
	}
	w.measured.VerifyMillis = m.elapsed(watch)
	if e := w.evidence; e != nil {
		w.measured.VerifyDocs, w.measured.VerifyShards = e.Read, e.Beyond+e.Scanned
	}
	w.measured.Millis = m.elapsed(w.watch)
	w.proven = true
	m.Window = w.result()
	return migration.PhaseAwaitCutover, nil
}

// warnIfChanged tells whether the plan's indices are others than those that are frozen, and warns
// of it.
func (m *run) warnIfChanged(found migration.IndexList) bool {
	if m.window.holds(found) {
		return false
	}
	m.warn(fmt.Sprintf("the plan's indices changed while writes were blocked (%d before, %d after): "+
		"snapferry froze and copied them again", m.window.indices.Len(), found.Len()))
	return true
}

// outdated tells whether a step in the frozen window failed because the plan's indices are no
// longer those that are frozen: the block keeps nobody from deleting an index. No retry of the step
// would help, and no person is needed.
func (m *run) outdated(cause error) bool {
	if !m.window.armed() || m.window.indices.Len() == 0 {
		return false
	}
	switch errorType(cause) {
	case migration.ErrorMissing, migration.ErrorSnapshotFailed, migration.ErrorVerification,
		migration.ErrorNoStandstill:
	default:
		return false
	}
	found, err := m.resolve(m.window.ctx)
	return err == nil && m.warnIfChanged(found)
}

// awaitCutover waits for a person, and makes sure that what was proven still holds: hours may have
// passed, in which somebody may have removed the block or created an index. If so, everything is
// frozen, copied and verified again, and the person is asked again. From the moment that it goes on
// to cutover the dead man's switch is off.
func (m *run) awaitCutover() (migration.Phase, error) {
	w, ctx := m.window, m.window.ctx
	m.tellVerified()
	if err := m.awaitPerson(ctx, func() bool { return w.cutoverRequested }); err != nil {
		return "", err
	}
	if err := m.hooksOrPerson(migration.HookBeforeHandover); err != nil {
		return "", err
	}
	confirmed, err := true, error(nil)
	if m.guarded() {
		confirmed, err = m.checkTarget()
	}
	if err == nil && confirmed {
		confirmed, err = m.confirm()
	}
	if err != nil {
		return "", err
	}
	w.proven = confirmed
	m.letRequestsIn(ctx) // an abort that came in the same instant wins
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if !confirmed {
		w.cutoverRequested = false
		return migration.PhaseFreeze, nil
	}
	if m.guarded() {
		if err := m.beginCutover(); err != nil {
			return "", err
		}
	}
	w.disarm()
	return migration.PhaseCutover, nil
}

// confirm tells whether the source still stands as it stood when it was verified: the same indices,
// blocked, with the same documents.
func (m *run) confirm() (bool, error) {
	found, err := m.resolveFrozen(cameOrWent)
	if errors.Is(err, errBlockAgain) {
		return false, nil
	}
	if err != nil || m.warnIfChanged(found) {
		return false, err
	}
	now, err := m.awaitStandstill("check that nothing was written to the source", &m.window.frozen, nil)
	if errors.Is(err, errBlockAgain) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if name := m.window.written(now); name != "" {
		m.warn(fmt.Sprintf("index %s changed on the source after it was verified, or one of its shards moved to "+
			"another node, which looks the same: snapferry froze and copied it again", name))
		return false, nil
	}
	return true, nil
}

// thaw removes the block after the dead man's switch and goes back to rounds.
func (m *run) thaw() (migration.Phase, error) {
	w := m.window
	w.disarm()
	switch ended := w.endedByHook(m.plan.Freeze.MaxDuration); {
	case ended != "":
		m.warn(ended)
	case w.lost != "":
		m.warn("the frozen window ended without a cutover, and the write block is removed: " + w.lost)
	case w.blocked():
		m.warn(fmt.Sprintf("freeze.maxDuration (%s) passed without a cutover: writes were blocked at %s, and "+
			"snapferry removes the block",
			m.plan.Freeze.MaxDuration, human.Clock(w.sinceMillis, time.UTC)))
	}
	if w.cutoverRequested {
		m.warn("the requested cutover did not happen: " + w.noCutover())
	}
	if err := m.removeBlock(); err != nil {
		return "", err
	}
	m.tellThawed()
	m.spendAsked()
	m.stopSnapshot()
	m.restoreThrottles()
	m.hearHooks()
	if m.stopping() {
		return "", m.work.Err()
	}
	m.window = nil
	m.TakenAgain = 0
	m.AutoSpent = true
	m.NextRoundMillis = workflow.Now(m.work).Add(m.plan.Rounds.Interval.Std()).UnixMilli()
	return migration.PhaseRounds, nil
}

// removeBlock makes the source writable again, as it was found, and has it checked.
func (m *run) removeBlock() error {
	if m.guarded() {
		return m.removeByGuard()
	}
	if !m.window.mayBlock() {
		return nil
	}
	found := m.window.found
	return m.attempt("remove the write block from the source", func(ctx workflow.Context) error {
		return do(ctx, urgent(quickCall("remove the block of "+indexCount(len(found)))), migration.ActivityLiftBlock,
			migration.LiftRequest{Run: m.forActivities(), Found: found})
	})
}
