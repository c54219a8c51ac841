package workflows

import (
	"fmt"
	"strings"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// makeReady does before the block whatever can be done before it: a last round
// while writes go on, if that makes the next one shorter, the throttles, and the
// wait for a moment in which no other snapshot gets in the way.
func (m *run) makeReady() (migration.Phase, error) {
	if err := m.foresee(); err != nil {
		return "", err
	}
	if m.wantsHotRound() {
		if err := m.throttle(liftedWindow); err != nil {
			return "", err
		}
		if err := m.round(migration.RoundHot); err != nil {
			return "", err
		}
	}
	if err := m.throttle(liftedWindow); err != nil {
		return "", err
	}
	watch := m.startWatch()
	if err := m.awaitFreeSlot(); err != nil {
		return "", err
	}
	// What was written while all that went on counts too.
	if err := m.foresee(); err != nil {
		return "", err
	}
	if m.elapsed(watch) > m.plan.Freeze.HotRoundAbove.Std().Milliseconds() && m.plan.Freeze.HotRound == migration.HotRoundAuto && m.wantsHotRound() {
		// The slot kept us waiting while writes went on. Once more, and no more than once:
		// what comes in the way now costs time inside the window.
		if err := m.round(migration.RoundHot); err != nil {
			return "", err
		}
		if err := m.foresee(); err != nil {
			return "", err
		}
	}
	if m.AutoFreeze && !m.atAim() {
		return m.notYet()
	}
	return migration.PhaseFreeze, nil
}

// notYet goes back to the rounds when the window that freeze.auto would begin is no
// longer as short as the plan wants it: so much was written meanwhile.
func (m *run) notYet() (migration.Phase, error) {
	m.warn(fmt.Sprintf("freeze.auto did not freeze: while everything was made ready, the predicted window grew to %s", migration.Duration(m.Prediction.Millis)*migration.Duration(time.Millisecond)))
	m.AutoFreeze, m.FreezeRequested, m.CloseEnough = false, false, false
	m.NextRoundMillis = workflow.Now(m.work).UnixMilli()
	return migration.PhaseRounds, m.throttle(liftedRounds)
}

// foresee looks at the source and predicts the window that would begin now.
func (m *run) foresee() error {
	return m.attemptDispensable("see how much was written since the last round", func(ctx workflow.Context) error {
		found, err := call[[]migration.Index](ctx, m.paced(quickCall("indices "+patterns(m.plan))), migration.ActivityResolveIndices, m.forActivities())
		if err != nil {
			return err
		}
		m.predict(m.writesSince(found))
		return nil
	})
}

// predict keeps what a window would take in which so many operations are carried.
func (m *run) predict(writes int64) {
	measured := migration.Measured{Rounds: m.Rounds, Window: m.Window, Checksums: m.plan.Verify.Checksum != migration.ChecksumNone}
	for _, index := range m.Indices {
		measured.Docs += index.Docs
	}
	prediction := measured.Predict(writes)
	prediction.AtMillis = workflow.Now(m.root).UnixMilli()
	m.Prediction = &prediction
}

// writesSince counts the operations that the last round's snapshot lacks. A
// counter that has gone back began anew, with its shard.
func (m *run) writesSince(found []migration.Index) int64 {
	var writes int64
	for _, index := range found {
		seen, known := m.SeenWrites[index.Name]
		switch {
		case !known:
			writes += max(index.Writes, index.Docs)
		case index.Writes >= seen:
			writes += index.Writes - seen
		default:
			writes += index.Writes
		}
	}
	return writes
}

func (m *run) wantsHotRound() bool {
	switch m.plan.Freeze.HotRound {
	case migration.HotRoundAlways:
		return true
	case migration.HotRoundNever:
		return false
	}
	return m.Prediction.CarryMillis() > m.plan.Freeze.HotRoundAbove.Std().Milliseconds()
}

// measures tells whether the next round is the one that runs with the window's
// throttles, to measure what the window will take: the first after the baseline.
func (m *run) measures() bool {
	if !changesAny(m.plan.Throttles.Window) {
		return false
	}
	for _, round := range m.Rounds {
		if round.Lifted {
			return false
		}
	}
	return true
}

// throttle has a set of the plan's throttles hold on both clusters. It remembers
// what it found before it changes anything, and that it did before it is done.
func (m *run) throttle(which lifted) error {
	if which == liftedRounds && !changesAny(m.plan.Throttles.Rounds) {
		which = liftedNone
	}
	if which == m.Lifted || which == liftedWindow && !changesAny(m.plan.Throttles.Window) {
		return nil
	}
	if m.Throttles == nil {
		err := m.attemptDispensable("read the clusters' throttles", func(ctx workflow.Context) error {
			found, err := call[migration.ThrottlesFound](ctx, quickCall("throttles of both clusters"), migration.ActivityReadThrottles, m.forActivities())
			if err != nil {
				return err
			}
			m.Throttles = &found
			m.warnAll(found.Warnings)
			return nil
		})
		if err != nil || m.Throttles == nil {
			return err
		}
	}
	request := migration.SetThrottlesRequest{Run: m.forActivities(), Found: *m.Throttles}
	switch which {
	case liftedRounds:
		request.Wanted = m.plan.Throttles.Rounds
	case liftedWindow:
		request.Wanted = m.plan.Throttles.Window
	}
	m.Lifted = which
	if which == liftedNone {
		m.Lifted = liftedRounds // until it is seen to be done
	}
	err := m.attemptDispensable("set the clusters' throttles", func(ctx workflow.Context) error {
		set, err := call[migration.ThrottlesSet](ctx, pollUntilDone("throttles: "+orElse(string(which), "as found")), migration.ActivitySetThrottles, request)
		m.warnAll(set.Warnings)
		return err
	})
	if err == nil {
		m.Lifted = which
	}
	return err
}

// changesAny tells whether limits change anything.
func changesAny(limits migration.Limits) bool {
	for _, limit := range []migration.Throttle{limits.Snapshot, limits.Restore, limits.Recovery} {
		if _, set := limit.Setting(); set {
			return true
		}
	}
	return false
}

// putBackThrottles leaves the clusters' throttles as they were found. A failure
// must not keep an ended migration from ending: the report says what to set.
func (m *run) putBackThrottles() {
	if m.Lifted == liftedNone || m.Throttles == nil {
		return
	}
	failed, done := m.tried("put back the clusters' throttles", migration.ActivityRestoreThrottles,
		migration.RestoreThrottlesRequest{Run: m.forActivities(), Found: *m.Throttles})
	switch {
	case !done:
	case !failed:
		m.Lifted = liftedNone
	default: // whatever comes next tries again
		found := *m.Throttles
		m.warn(fmt.Sprintf("these throttles were found and may not be back: max_snapshot_bytes_per_sec %s on the source's repository, max_restore_bytes_per_sec %s on the target's%s",
			orElse(found.Snapshot, "unset"), orElse(found.Restore, "unset"), recoveryFound(found.Recovery)))
	}
}

func recoveryFound(found *migration.RecoveryFound) string {
	if found == nil {
		return ""
	}
	return fmt.Sprintf(", indices.recovery.max_bytes_per_sec %s (transient) on the target", orElse(found.Transient, "unset"))
}

func orElse(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// awaitFreeSlot waits, bounded, until the window fits between other snapshots.
// When the time is over it goes on all the same, since what stands in the way
// costs time and no data, and says so.
func (m *run) awaitFreeSlot() error {
	wait := m.plan.Freeze.SlotWait.Std()
	if m.Rehearsal != nil {
		wait = 0 // nothing will be blocked: a look tells what a migration would wait for
	}
	request := migration.FreeSlotRequest{
		Run: m.forActivities(), PredictedWindowMillis: m.Prediction.Millis, DeadlineMillis: workflow.Now(m.work).Add(wait).UnixMilli(),
	}
	return m.attemptDispensable("wait until no other snapshot is in the way", func(ctx workflow.Context) error {
		slot, err := call[migration.FreeSlot](ctx, pollUntilDone("free snapshot slots"), migration.ActivityAwaitFreeSlot, request)
		if err != nil {
			return err
		}
		m.warnAll(slot.Warnings)
		if !slot.Free && m.Rehearsal != nil {
			m.warn(fmt.Sprintf("before the block, a migration would wait for %s at most until nothing is in the way: %s", m.plan.Freeze.SlotWait, strings.Join(slot.Obstacles, "; ")))
		} else if !slot.Free {
			m.warn(fmt.Sprintf("writes were blocked although another snapshot may get in the way: %s", strings.Join(slot.Obstacles, "; ")))
		}
		return nil
	})
}

func (m *run) warnAll(warnings []string) {
	for _, warning := range warnings {
		m.warn(warning)
	}
}

// closeEnough tells whether rounds.until is reached: the predicted window is short
// enough, or the last round has made it no shorter by a tenth.
func (m *run) closeEnough(before *migration.Prediction) bool {
	aim := m.plan.Rounds.Until.Window.Std().Milliseconds()
	if aim == 0 || len(m.Rounds) < 2 { // the baseline alone tells little
		return false
	}
	return m.atAim() || before != nil && m.Prediction.Millis > before.Millis*9/10
}

// atAim tells whether the predicted window is as short as rounds.until wants it.
func (m *run) atAim() bool {
	return m.Prediction.Millis <= m.plan.Rounds.Until.Window.Std().Milliseconds()
}
