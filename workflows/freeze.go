package workflows

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// freeze blocks writes on the source and waits until nothing moves any more. It
// is entered again if something got past the block.
func (m *run) freeze() (migration.Phase, error) {
	m.FreezeRequested, m.RoundRequested, m.AutoFreeze = false, false, false
	if m.window == nil {
		m.openWindow()
	}
	m.window.pass = m.startWatch()
	for {
		found, err := m.resolveFrozen("find the plan's indices on the source")
		if err != nil {
			return "", err
		}
		if err := m.blockWrites(found); err != nil {
			return "", err
		}
		// An index that was created while the block was set has escaped it.
		look := m.lookAhead()
		frozen, err := m.awaitStandstill("wait until the source stands still")
		if errors.Is(err, errBlockAgain) {
			continue
		}
		if err != nil {
			return "", err
		}
		if found, err = look("look for indices that came while the block was set"); err != nil {
			return "", err
		}
		if !m.areFrozen(found) {
			continue
		}
		m.window.indices = found
		m.window.frozen = frozen
		m.window.measured.BlockMillis = m.elapsed(m.window.pass)
		return migration.PhaseFinalRound, nil
	}
}

// lookAhead resolves the plan's indices while something else goes on. The
// function gives what it found; if that failed, it looks again, and parks like
// any other step.
func (m *run) lookAhead() func(step string) ([]migration.Index, error) {
	ctx := m.context()
	looking := workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, m.paced(quickCall("indices "+patterns(m.plan)))), migration.ActivityResolveIndices, m.forActivities())
	return func(step string) ([]migration.Index, error) {
		var found []migration.Index
		if looking.Get(ctx, &found) == nil {
			return found, nil
		}
		return m.resolveFrozen(step)
	}
}

func (m *run) awaitStandstill(step string) (migration.Standstill, error) {
	var frozen migration.Standstill
	err := m.attemptOr(step, blockAgain, func(ctx workflow.Context) error {
		var err error
		frozen, err = call[migration.Standstill](ctx, m.paced(pollUntilDone("standstill of "+indexCount(len(m.window.indices)))), migration.ActivityAwaitStandstill,
			migration.IndicesRequest{Run: m.forActivities(), Indices: names(m.window.indices)})
		return err
	})
	return frozen, err
}

// openWindow begins a frozen window and arms the dead man's switch.
func (m *run) openWindow() {
	w := &window{found: migration.Blocks{}, uuids: map[string]string{}, predicted: m.Prediction}
	m.window = w
	m.windowContext, w.stop = workflow.WithCancel(m.work)
	limit := m.plan.Freeze.MaxDuration.Std()
	w.untilMillis = workflow.Now(m.work).Add(limit).UnixMilli()
	workflow.GoNamed(m.windowContext, "dead man's switch", func(ctx workflow.Context) {
		timer := workflow.NewTimerWithOptions(ctx, limit, workflow.TimerOptions{Summary: "freeze.maxDuration: lift the block without cutover"})
		if timer.Get(ctx, nil) == nil {
			w.expired = true
			w.stop()
		}
	})
}

// blockWrites sets the write block on every index that was found.
func (m *run) blockWrites(found []migration.Index) error {
	fresh := m.fresh(found)
	m.window.indices = found
	return m.block(fresh)
}

// fresh names the indices that the window has not met before. One that was deleted
// and made anew under its name is none that it has met.
func (m *run) fresh(found []migration.Index) []string {
	var fresh []string
	for _, index := range found {
		if _, known := m.window.found[index.Name]; !known || m.window.uuids[index.Name] != index.UUID {
			fresh = append(fresh, index.Name)
		}
	}
	return fresh
}

func (m *run) resolveFrozen(step string) ([]migration.Index, error) {
	var found []migration.Index
	err := m.attempt(step, func(ctx workflow.Context) error {
		var err error
		found, err = call[[]migration.Index](ctx, m.paced(quickCall("indices "+patterns(m.plan))), migration.ActivityResolveIndices, m.forActivities())
		return err
	})
	return found, err
}

// block remembers which blocks the fresh indices have and then adds ours to all
// of them. The order matters: after a crash between the two, a look at the
// indices would take our own block for one that was there before.
func (m *run) block(fresh []string) error {
	if len(fresh) > 0 {
		err := m.attempt("read the blocks that the source has", func(ctx workflow.Context) error {
			found, err := call[migration.Blocks](ctx, m.paced(quickCall("blocks of "+indexCount(len(fresh)))), migration.ActivityReadBlocks,
				migration.IndicesRequest{Run: m.forActivities(), Indices: fresh})
			if err == nil {
				for _, index := range m.window.indices {
					m.window.uuids[index.Name] = index.UUID
				}
			}
			for _, name := range workflow.DeterministicKeys(found) {
				m.window.found[name] = found[name]
				for _, block := range workflow.DeterministicKeys(found[name]) {
					if found[name][block] == "true" {
						m.warn(fmt.Sprintf("index %s had %s before the freeze; it stays or comes back", name, block))
					}
				}
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	if m.window.sinceMillis == 0 {
		m.window.watch = m.startWatch()
		m.window.pass = m.window.watch
		m.window.sinceMillis = m.window.watch.beganMillis
		m.window.measured.StartedMillis = m.window.sinceMillis
	}
	return m.attempt("block writes on the source", func(ctx workflow.Context) error {
		return do(ctx, m.paced(quickCall("block "+indexCount(len(m.window.indices)))), migration.ActivityBlockWrites,
			migration.IndicesRequest{Run: m.forActivities(), Indices: names(m.window.indices)})
	})
}

// finalRound carries what was written since the last round.
func (m *run) finalRound() (migration.Phase, error) {
	if err := m.round(migration.RoundFinal); err != nil {
		return "", err
	}
	last := m.Rounds[len(m.Rounds)-1]
	m.window.measured.SnapshotMillis = last.SnapshotMillis
	m.window.measured.CopyMillis = last.CopyMillis
	m.window.measured.RestoreMillis = last.RestoreMillis
	return migration.PhaseVerify, nil
}

// verify proves that the target equals the frozen source.
func (m *run) verify() (migration.Phase, error) {
	w, watch := m.window, m.startWatch()
	look := m.lookAhead()
	err := m.attempt("compare the target with the frozen source", func(ctx workflow.Context) error {
		verified, err := call[migration.VerifyResult](ctx, m.paced(pollUntilDone("verify "+indexCount(len(w.indices)))), migration.ActivityVerifyTarget,
			migration.VerifyRequest{Run: m.forActivities(), Indices: w.indices, Frozen: w.frozen.Docs, Counters: m.Counters})
		if err != nil {
			verified = verdictOf(err)
		}
		w.verified = verified.Indices
		return err
	})
	if err != nil {
		return "", err
	}
	for _, index := range w.verified {
		for _, difference := range index.Differences {
			m.warn(index.Name + ": " + difference)
		}
	}
	found, err := look("look for indices that came or went meanwhile")
	if err != nil {
		return "", err
	}
	if !m.sameIndices(found) {
		return migration.PhaseFreeze, nil
	}
	w.measured.VerifyMillis = m.elapsed(watch)
	w.measured.Millis = m.elapsed(w.watch)
	w.proven = true
	measured := w.measured
	m.Window = &measured
	return migration.PhaseAwaitCutover, nil
}

// sameIndices tells whether the plan's indices are still those that are frozen.
func (m *run) sameIndices(found []migration.Index) bool {
	if !m.changed(found) {
		return true
	}
	m.window.proven = false
	return false
}

// changed tells whether the plan's indices are others than those that are frozen.
func (m *run) changed(found []migration.Index) bool {
	if m.areFrozen(found) {
		return false
	}
	m.warn(fmt.Sprintf("the plan's indices changed while writes were blocked (%d before, %d after): they were frozen and carried once more", len(m.window.indices), len(found)))
	return true
}

// areFrozen tells whether these are the very indices that were blocked and stood
// still.
func (m *run) areFrozen(found []migration.Index) bool {
	return slices.EqualFunc(m.window.indices, found, func(a, b migration.Index) bool { return a.Name == b.Name && a.UUID == b.UUID })
}

// outdated tells whether a step in the frozen window failed because the plan's
// indices are no longer those that are frozen: the block keeps nobody from
// deleting an index. No retry of the step would help, and no person is needed.
func (m *run) outdated(cause error) bool {
	if m.windowContext == nil || len(m.window.indices) == 0 {
		return false
	}
	switch errorType(cause) {
	case migration.ErrorMissing, migration.ErrorSnapshotFailed, migration.ErrorVerification, migration.ErrorNoStandstill:
	default:
		return false
	}
	found, err := call[[]migration.Index](m.windowContext, m.paced(quickCall("indices "+patterns(m.plan))), migration.ActivityResolveIndices, m.forActivities())
	return err == nil && m.changed(found)
}

// awaitCutover waits for a person, and makes sure that what was proven still
// holds: hours may have passed, in which somebody may have lifted the block or
// created an index. If so, everything is frozen, carried and verified again, and
// the person is asked again. From the moment that it goes on to cutover the dead
// man's switch is off.
func (m *run) awaitCutover() (migration.Phase, error) {
	ctx := m.windowContext
	began := workflow.Now(ctx)
	err := workflow.Await(ctx, func() bool { return m.window.cutoverRequested })
	m.waitedMillis += workflow.Now(ctx).Sub(began).Milliseconds()
	if err != nil {
		return "", err
	}
	whole, err := m.confirm()
	if err != nil {
		return "", err
	}
	m.letRequestsIn(ctx) // an abort that came in the same instant wins
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if !whole {
		m.window.cutoverRequested = false
		return migration.PhaseFreeze, nil
	}
	m.closeWindow()
	return migration.PhaseCutover, nil
}

// confirm tells whether the source still stands as it stood when it was
// verified: the same indices, blocked, with the same documents.
func (m *run) confirm() (bool, error) {
	found, err := m.resolveFrozen("look for indices that came or went meanwhile")
	if errors.Is(err, errBlockAgain) {
		return false, nil
	}
	if err != nil || !m.sameIndices(found) {
		return false, err
	}
	now, err := m.awaitStandstill("make sure that the source still stands still")
	if errors.Is(err, errBlockAgain) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, name := range workflow.DeterministicKeys(now.Docs) {
		// An update leaves the number of documents as it is.
		if !slices.Equal(now.Docs[name], m.window.frozen.Docs[name]) || !slices.Equal(now.Marks[name], m.window.frozen.Marks[name]) {
			m.warn(fmt.Sprintf("index %s changed on the source after it was verified, or a shard of it moved, after which nobody can tell: it was frozen and carried once more", name))
			m.window.proven = false
			return false, nil
		}
	}
	return true, nil
}

// closeWindow disarms the dead man's switch; what the window found stays known.
func (m *run) closeWindow() {
	m.windowContext = nil
	m.window.stop()
}

// windowExpired tells whether it is the dead man's switch that ended the step.
func (m *run) windowExpired() bool {
	return m.window != nil && m.window.expired && !m.stopping()
}

// thaw lifts the block after the dead man's switch and goes back to rounds.
func (m *run) thaw() (migration.Phase, error) {
	w := m.window
	m.closeWindow()
	if w.sinceMillis > 0 {
		m.warn(fmt.Sprintf("freeze.maxDuration (%s) passed without a cutover: writes were blocked at %s and are given free again",
			m.plan.Freeze.MaxDuration, human.Clock(w.sinceMillis, time.UTC)))
	}
	if w.cutoverRequested {
		m.warn("the cutover that was asked for came to nothing: the target was not verified in time")
	}
	if err := m.liftBlock(); err != nil {
		return "", err
	}
	m.stopSnapshot()
	m.putBackThrottles()
	if m.stopping() {
		return "", m.work.Err()
	}
	m.window = nil
	m.AutoSpent = true
	m.NextRoundMillis = workflow.Now(m.work).Add(m.plan.Rounds.Interval.Std()).UnixMilli()
	return migration.PhaseRounds, nil
}

// liftBlock gives the source free again, as it was found, and has it checked.
func (m *run) liftBlock() error {
	if m.window == nil || len(m.window.found) == 0 {
		return nil
	}
	return m.attempt("lift the write block from the source", func(ctx workflow.Context) error {
		return do(ctx, urgent(quickCall("lift the block of "+indexCount(len(m.window.found)))), migration.ActivityLiftBlock,
			migration.LiftRequest{Run: m.forActivities(), Found: m.window.found})
	})
}

// shardCount and indexCount name a number of shards or indices in a summary.

func shardCount(n int) string { return human.Things(n, "shard", "shards") }

func indexCount(n int) string { return human.Things(n, "index", "indices") }
