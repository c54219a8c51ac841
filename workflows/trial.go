package workflows

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// errRoundAgain has a round run before the handover is tried again: a setting that was removed on
// the source must reach the target first.
var errRoundAgain = errors.New("the handover is tried again after another round")

const triedHandover = "try the handover, with our block left on"

// tryAfterRound tries the handover on what a round has restored. A setting that somebody has set on
// the source since the last one shows now, and not when a person is about to freeze.
func (m *run) tryAfterRound() error {
	if !m.shape.delta() {
		return nil
	}
	return m.tryEarly()
}

// tryEarly tries the handover on what was just restored: after the baseline on all indices. It
// stops nothing: rounds go on, and whoever watches has time until the freeze.
func (m *run) tryEarly() error {
	if !m.shape.guarded() {
		return nil
	}
	err := m.tryHandover(bounded(m.work, usualBound), false)
	if m.stopping() {
		return m.work.Err()
	}
	if err != nil {
		m.warn("the handover would be refused now. It is tried again before the freeze, and a person is asked then: " +
			describe(m.work, triedHandover, err, 1).Message)
	}
	return nil
}

// tryBeforeFreeze tries the handover on the indices that were restored since the last trial, and
// waits for a person before writes are blocked. Where the last round's trial was that already, only
// the shard limit is left: others may have taken the room since.
func (m *run) tryBeforeFreeze() error {
	if m.shape.delta() && m.TriedRounds == m.RoundNumber {
		err := m.attempt("check the target's shard limit", m.checkShardLimit)
		if errors.Is(err, errRehearsalEnds) {
			return nil
		}
		return err
	}
	for m.shape.guarded() && m.TriedRounds != m.RoundNumber {
		err := m.attemptOr(triedHandover, func(t migration.ErrorType) error {
			if t == migration.ErrorHandoverTrial {
				return errRoundAgain
			}
			return nil
		}, func(ctx workflow.Context) error {
			if err := m.checkShardLimit(ctx); err != nil {
				return err
			}
			return m.tryHandover(ctx, false)
		})
		switch {
		case errors.Is(err, errRehearsalEnds): // it has noted the failure, and goes on
			return nil
		case errors.Is(err, errRoundAgain):
			err = m.round(migration.RoundIncremental)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// tryFrozen tries the handover once more on indices whose last restore brought settings that the
// target doesn't know: somebody has set one since the last trial.
func (m *run) tryFrozen() error {
	if !m.shape.guarded() || !m.window.doubtful {
		return nil
	}
	return m.attemptOr(triedHandover, func(t migration.ErrorType) error {
		if t == migration.ErrorHandoverTrial {
			return errBlockAgain
		}
		return nil
	}, func(ctx workflow.Context) error { return m.tryHandover(ctx, true) })
}

// tryHandover tries the handover of the indices that the last round restored. The error is
// ErrorHandoverTrial if the target would refuse some.
func (m *run) tryHandover(ctx workflow.Context, doubtful bool) error {
	round, indices := m.RoundNumber, m.Indices
	if !doubtful {
		indices = m.untried()
	}
	if indices.Len() == 0 {
		m.TriedRounds = round
		return nil
	}
	tried, err := call[migration.TryHandoverResult](ctx, m.paced(pollUntilDone("try "+indexCount(indices.Len()))),
		migration.ActivityTryHandover,
		migration.TryHandoverRequest{IndicesRequest: m.indicesRequest(indices), Doubtful: doubtful})
	if err != nil {
		return err
	}
	m.learn(tried.Archived)
	for _, refusal := range tried.Refused {
		// The next restore leaves out what the target doesn't know.
		m.learn([]migration.LeftOut{{Setting: unknownIn(refusal), Indices: 1, Names: []string{refusal.Index}}})
	}
	if len(tried.Refused) > 0 {
		return refusedError(migration.ErrorHandoverTrial, triedHandover, tried.Refused, tried.RefusedCount)
	}
	m.TriedRounds = round
	return nil
}

// untried are the indices on which the handover has not been tried since they were restored: those
// of the last round, or all if there were several rounds since, or if another run has tried.
func (m *run) untried() migration.IndexList {
	if m.shape.delta() && m.TriedRounds > 0 && m.TriedRounds == m.RoundNumber-1 && m.takenIn == m.RoundNumber {
		return m.taking
	}
	return m.Indices
}

// unknownIn is the setting that a refusal says the target doesn't know; empty if it says none.
func unknownIn(refusal migration.Refusal) string {
	if strings.Contains(refusal.Message, "archived.") {
		return refusal.Setting
	}
	return ""
}

// learn remembers settings that the target doesn't know: further restores leave them out.
func (m *run) learn(archived []migration.LeftOut) {
	for _, left := range archived {
		if left.Setting == "" || slices.Contains(m.UnknownSettings, left.Setting) ||
			len(m.UnknownSettings) >= migration.LeftOutSettings {
			continue
		}
		m.UnknownSettings = append(m.UnknownSettings, left.Setting)
		m.warn(fmt.Sprintf("the target doesn't know the setting %s (%s): it is left out of further restores",
			left.Setting, strings.Join(left.Names, ", ")))
	}
}

// checkShardLimit makes sure that the target has room for the replicas that the cutover adds.
func (m *run) checkShardLimit(ctx workflow.Context) error {
	return do(ctx, m.paced(quickCall("shard limit of the target")), migration.ActivityCheckShardLimit,
		migration.ShardLimitRequest{
			Run: m.forActivities(), IndicesOf: m.Indices.Of(),
			Adds: migration.AddedAtCutover(m.Indices.Inline, m.plan.Restore.Replicas),
		})
}
