package workflows

import (
	"fmt"
	"slices"

	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// freeze blocks writes on the source and waits until nothing moves any more.
func (m *run) freeze() (migration.Phase, error) {
	m.openWindow()
	if err := m.blockWrites(); err != nil {
		return "", err
	}
	err := m.attempt("wait until the source stands still", func(ctx workflow.Context) error {
		frozen, err := call[migration.ShardDocs](ctx, m.paced(pollUntilDone("write counters")), migration.ActivityAwaitStandstill,
			migration.IndicesRequest{Run: m.forActivities(), Indices: names(m.window.indices)})
		m.window.frozen = frozen
		return err
	})
	m.window.measured.BlockMillis = since(m.work, m.window.sinceMillis)
	return migration.PhaseFinalRound, err
}

// openWindow begins a frozen window and arms the dead man's switch.
func (m *run) openWindow() {
	m.FreezeRequested, m.RoundRequested = false, false
	w := &window{}
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

// blockWrites sets the write block on every index. An index that is created
// while that happens would escape it, so it looks again until it finds no new
// one.
func (m *run) blockWrites() error {
	for {
		var found []migration.Index
		err := m.attempt("find the plan's indices on the source", func(ctx workflow.Context) error {
			var err error
			found, err = call[[]migration.Index](ctx, m.paced(quickCall("before and after the block")), migration.ActivityResolveIndices, m.forActivities())
			return err
		})
		if err != nil {
			return err
		}
		fresh := slices.DeleteFunc(names(found), func(name string) bool { return slices.Contains(names(m.window.indices), name) })
		m.window.indices = found
		if len(fresh) == 0 {
			return nil
		}
		if err := m.block(fresh); err != nil {
			return err
		}
	}
}

// block remembers which blocks the indices have and then adds ours. The order
// matters: after a crash between the two, a look at the indices would take our
// own block for one that was there before.
func (m *run) block(indices []string) error {
	request := migration.IndicesRequest{Run: m.forActivities(), Indices: indices}
	err := m.attempt("read the blocks that the source has", func(ctx workflow.Context) error {
		found, err := call[migration.Blocks](ctx, m.paced(quickCall(fmt.Sprintf("%d indices", len(indices)))), migration.ActivityReadBlocks, request)
		if err != nil {
			return err
		}
		if m.window.found == nil {
			m.window.found = migration.Blocks{}
		}
		for _, name := range workflow.DeterministicKeys(found) {
			m.window.found[name] = found[name]
		}
		return nil
	})
	if err != nil {
		return err
	}
	if m.window.sinceMillis == 0 {
		m.window.sinceMillis = workflow.Now(m.work).UnixMilli()
		m.window.measured.StartedMillis = m.window.sinceMillis
	}
	return m.attempt("block writes on the source", func(ctx workflow.Context) error {
		return do(ctx, m.paced(quickCall(fmt.Sprintf("%d indices", len(indices)))), migration.ActivityBlockWrites, request)
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
	began := workflow.Now(m.work).UnixMilli()
	err := m.attempt("compare the target with the frozen source", func(ctx workflow.Context) error {
		verified, err := call[migration.VerifyResult](ctx, m.paced(pollUntilDone(fmt.Sprintf("%d indices", len(m.window.indices)))), migration.ActivityVerifyTarget,
			migration.VerifyRequest{Run: m.forActivities(), Indices: m.window.indices, Frozen: m.window.frozen})
		if err != nil {
			verified = verdictOf(err)
		}
		m.window.verified = verified.Indices
		return err
	})
	if err != nil {
		return "", err
	}
	for _, index := range m.window.verified {
		for _, difference := range index.Differences {
			m.warn(index.Name + ": " + difference)
		}
	}
	w := m.window
	w.measured.VerifyMillis = since(m.work, began)
	w.measured.Millis = since(m.work, w.sinceMillis) - w.waitedMillis
	w.proven = true
	return migration.PhaseAwaitCutover, nil
}

// awaitCutover waits for a person. From the moment that cutover is taken the
// dead man's switch is off.
func (m *run) awaitCutover() (migration.Phase, error) {
	ctx := m.windowContext
	if err := workflow.Await(ctx, func() bool { return m.window.cutoverRequested }); err != nil {
		return "", err
	}
	if ctx.Err() != nil { // the switch or an abort came in the same instant
		return "", ctx.Err()
	}
	m.closeWindow()
	return migration.PhaseCutover, nil
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
	m.warn(fmt.Sprintf("freeze.maxDuration (%s) passed without a cutover: writes were blocked for %s and given free again",
		m.plan.Freeze.MaxDuration, span(since(m.work, w.sinceMillis))))
	if err := m.liftBlock(); err != nil {
		return "", err
	}
	m.stopSnapshot()
	m.window = nil
	m.NextRoundMillis = workflow.Now(m.work).Add(m.plan.Rounds.Interval.Std()).UnixMilli()
	return migration.PhaseRounds, nil
}

// liftBlock gives the source free again, as it was found, and has it checked.
func (m *run) liftBlock() error {
	if m.window == nil || m.window.found == nil {
		return nil
	}
	return m.attempt("lift the write block from the source", func(ctx workflow.Context) error {
		return do(ctx, urgent(quickCall(fmt.Sprintf("%d indices", len(m.window.found)))), migration.ActivityLiftBlock,
			migration.LiftRequest{Run: m.forActivities(), Found: m.window.found})
	})
}
