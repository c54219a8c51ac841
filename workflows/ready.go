package workflows

import (
	"fmt"

	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// makeReady does before the block whatever can be done before it: a last round while writes go on,
// if that makes the next one shorter, the throttles, and the wait for a moment in which no other
// snapshot gets in the way.
func (m *run) makeReady() (migration.Phase, error) {
	if replaced, err := m.meet(); err != nil || replaced {
		return migration.PhaseRounds, err
	}
	if err := m.checkDependencies(); err != nil {
		return "", err
	}
	if err := m.foresee(); err != nil {
		return "", err
	}
	if m.wantsHotRound(m.plan.Freeze) {
		if err := m.throttle(raisedWindow); err != nil {
			return "", err
		}
		if err := m.round(migration.RoundHot); err != nil {
			return "", err
		}
	}
	if err := m.tryBeforeFreeze(); err != nil {
		return "", err
	}
	if err := m.throttle(raisedWindow); err != nil {
		return "", err
	}
	watch := m.startWatch()
	if err := m.awaitFreeSlot(); err != nil {
		return "", err
	}
	if err := m.settleProofs(); err != nil {
		return "", err
	}
	// What was written while all that went on counts too.
	if err := m.foresee(); err != nil {
		return "", err
	}
	if m.waitedLong(watch) && m.wantsHotRound(m.plan.Freeze) {
		// The slot kept us waiting while writes went on. Once more, and no more than once: what
		// comes in the way now costs time inside the window.
		if err := m.round(migration.RoundHot); err != nil {
			return "", err
		}
		if err := m.foresee(); err != nil {
			return "", err
		}
	}
	if err := m.tryBeforeFreeze(); err != nil { // what that round has restored
		return "", err
	}
	if m.AutoFreeze && !m.atAim(m.plan.Rounds.Until) {
		return m.notYet()
	}
	return migration.PhaseFreeze, nil
}

// waitedLong tells whether the wait for the slot took so long that a second hot round is worth a
// thought.
func (m *run) waitedLong(watch stopwatch) bool {
	freeze := m.plan.Freeze
	return freeze.HotRound == migration.HotRoundAuto && m.elapsed(watch) > freeze.HotRoundAbove.Std().Milliseconds()
}

// notYet goes back to the rounds when the window that freeze.auto would begin is no longer as short
// as the plan wants it, because so much was written before the block.
func (m *run) notYet() (migration.Phase, error) {
	m.warn(fmt.Sprintf("freeze.auto did not freeze: the predicted window grew to %s before writes were blocked. "+
		"Rounds go on.",
		human.Span(m.Prediction.Millis)))
	m.AutoFreeze, m.FreezeRequested, m.CloseEnough = false, false, false
	m.NextRoundMillis = workflow.Now(m.work).UnixMilli()
	return migration.PhaseRounds, m.throttle(raisedRounds)
}

// awaitFreeSlot waits, bounded, until the window fits between other snapshots. When the time is
// over it goes on anyway and says so, because what stands in the way costs time and no data.
func (m *run) awaitFreeSlot() error {
	request := migration.FreeSlotRequest{
		Run: m.forActivities(), PredictedWindowMillis: m.Prediction.Millis,
		DeadlineMillis: workflow.Now(m.work).Add(m.course.slotWait()).UnixMilli(),
	}
	return m.attemptOptional("wait until no other snapshot runs or is due", func(ctx workflow.Context) error {
		slot, err := call[migration.FreeSlot](ctx, pollUntilDone("free snapshot slots"),
			migration.ActivityAwaitFreeSlot, request)
		if err != nil {
			return err
		}
		m.warnAll(slot.Warnings)
		if !slot.Free {
			m.warn(m.course.slotTaken(slot.Obstacles))
		}
		return nil
	})
}
