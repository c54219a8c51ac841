package workflows

import (
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// leavers is what is known of indices that an earlier round restored and that are no longer what
// they were on the source.
type leavers struct {
	// ClearedFor stands for the indices of the source for which the target was cleared of what left
	// it; empty if it has to be cleared before the next restore.
	ClearedFor string `json:"clearedFor,omitempty"`
}

// clearedFor tells whether the target holds nothing that a restore of these indices may trip over.
func (l leavers) clearedFor(indices migration.IndexList) bool {
	return l.ClearedFor == indices.Identity()
}

// mustClear tells whether the target may hold what the next restore would trip over: at most times
// the indices are those of the last round.
func (m *run) mustClear() bool {
	return m.shape.guarded() && m.restoredAny() && !m.clearedFor(m.Indices)
}

// clearTarget has whatever may spoil the restore of this round cleared away.
func (m *run) clearTarget() error {
	if !m.shape.guarded() {
		return nil
	}
	if !m.mustClear() {
		m.ClearedFor = m.Indices.Identity()
		return nil
	}
	request := migration.ClearRequest{
		Run: m.forActivities(), Indices: m.Indices.Inline, IndicesOf: m.Indices.Of(),
		Expected: m.Counters, ExpectedOf: m.CountersOf, Begun: m.Begun, BegunOf: m.BegunOf,
		InDoubt: m.RestoreInDoubt,
	}
	var result migration.ClearResult
	err := m.attempt("clear what has left the source from the target", func(ctx workflow.Context) error {
		var err error
		result, err = call[migration.ClearResult](ctx, m.paced(pollUntilDone("clear what has left the source")),
			migration.ActivityClearTarget, request)
		if errorType(err) == migration.ErrorTargetWritten {
			request.AcceptWrites = true // for the next attempt, which only retry begins
		}
		return err
	})
	if err != nil {
		return err
	}
	m.warnAll(result.Warnings)
	if result.Deleted > 0 {
		m.counters = counters{Counters: result.Counters, CountersOf: result.CountersOf, Opened: m.Opened}
	}
	if m.ClearedFor = ""; result.Back == 0 {
		m.ClearedFor = m.Indices.Identity()
	}
	return nil
}

// checkDependencies makes sure, while writes still go on, that the target has what the indices'
// settings name. Preflight has seen that once, perhaps weeks ago. A rehearsal hands nothing over.
func (m *run) checkDependencies() error {
	if !m.shape.guarded() || m.plan.Rehearsal {
		return nil
	}
	return m.attempt("look for what the indices' settings name on the target", func(ctx workflow.Context) error {
		return do(ctx, pollUntilDone("ingest pipelines"), migration.ActivityCheckDependencies, m.forActivities())
	})
}

// tryDefinitions has the target try what the source's indices are made of, before anything is
// copied. It makes a throw-away index for that, so it is no part of preflight, which changes
// nothing.
func (m *run) tryDefinitions() error {
	if !m.shape.guarded() {
		return nil
	}
	return m.attemptOptional("try the indices' definitions on the target", func(ctx workflow.Context) error {
		tried, err := call[migration.TryResult](ctx, pollUntilDone("analysis, mappings, alias filters"),
			migration.ActivityTryDefinitions, m.forActivities())
		m.warnAll(tried.Warnings)
		return err
	})
}
