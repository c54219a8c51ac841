package workflows

import (
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// What one activity does right after another, because nothing is decided between the two: see
// migration/joined.go. Without its result, the workflow calls the activity that does it alone.

// openAfterRestore has the restore open and count what it has restored; nil in older runs.
func (m *run) openAfterRestore() *migration.OpenAfterRestore {
	if !m.shape.delta() {
		return nil
	}
	request := m.openRequest(m.taking)
	return &migration.OpenAfterRestore{
		Known: request.Known, KnownOf: request.KnownOf, All: request.All, AllOf: request.AllOf,
	}
}

// opened is what the restore has opened and counted. If it has not, that is done now.
func (m *run) opened(ctx workflow.Context, snapshot migration.Snapshot, already *migration.OpenResult,
) (migration.OpenResult, error) {
	if already != nil && m.shape.delta() {
		return *already, nil
	}
	options := m.paced(quickCall("open after " + snapshot.Name))
	return call[migration.OpenResult](ctx, options, migration.ActivityOpenTarget, m.openRequest(m.taking))
}

// lookRequest has the guard's block followed by a look at the source; nil in older runs.
func (m *run) lookRequest(indices migration.IndexList) *migration.FrozenLookRequest {
	if !m.shape.delta() {
		return nil
	}
	find := m.findFrozen(indices)
	find.Run = migration.Run{} // that of the request
	return &migration.FrozenLookRequest{
		Indices: indices.Names(), IndicesOf: indices.Of(), Seen: m.SeenWrites, SeenOf: m.SeenWritesOf, Find: find,
		Snapshot: m.snapshotAhead(),
	}
}

// lookAhead is resolveAhead and awaitStandstill together: how the source stands after the block,
// and the plan's indices on it. What was found right after the block counts.
func (m *run) lookAhead() (found func(step string) (migration.IndexList, error),
	still func(step string) (migration.Standstill, error),
) {
	look := m.window.look
	m.window.look = nil
	if look == nil {
		return m.resolveAhead(m.resolveRequest()), func(step string) (migration.Standstill, error) {
			return m.awaitStandstill(step, nil, m.findFrozen(m.window.indices))
		}
	}
	look.Indices = m.setApart(look.Indices)
	return func(string) (migration.IndexList, error) { return look.Indices, nil },
		func(string) (migration.Standstill, error) { return look.Standstill, nil }
}
