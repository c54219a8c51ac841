package workflows

import (
	"sync/atomic"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// The search attributes of a migration, with their types.
var (
	attributePhase     = temporal.NewSearchAttributeKeyKeyword(migration.AttributePhase)
	attributeAttention = temporal.NewSearchAttributeKeyKeyword(migration.AttributeAttention)
	attributeFrozen    = temporal.NewSearchAttributeKeyBool(migration.AttributeFrozen)
)

// searchable is what this worker knows of its namespace: whether the search attributes are
// registered. Only a side effect reads it.
var searchable atomic.Bool

// SetSearchable tells whether the namespace of this process has the search attributes. A worker says
// so when it is sure: a server refuses every workflow task that sets one which is not registered.
func SetSearchable(has bool) { searchable.Store(has) }

// outlines is what a run has told of itself to whoever lists workflows. Runs that began before there
// were outlines tell nothing.
type outlines struct {
	told, inAttributes bool
	outline            migration.Outline
}

// outlined fixes whether the run tells its outline, or finds it in its history. It has a change id
// of its own: histories of the newest shape are older.
func outlined(ctx workflow.Context) bool {
	const first = 1
	return workflow.GetVersion(ctx, "outline", workflow.DefaultVersion, first) >= first
}

// outline puts the status in short where it can be listed: into the memo and, where the namespace
// has them, into search attributes.
func (m *run) outline(ctx workflow.Context, status migration.Status) {
	if !m.tells {
		return
	}
	now := status.Outline()
	changed := !m.outlines.told || now != m.outlines.outline
	if !changed && m.outlines.inAttributes {
		return
	}
	has := hasAttributes(ctx)
	if changed {
		if err := workflow.UpsertMemo(ctx, map[string]any{migration.MemoOutline: now}); err != nil {
			workflow.GetLogger(ctx).Warn("can't put the outline into the memo", "error", err)
		}
	}
	if has {
		if err := workflow.UpsertTypedSearchAttributes(ctx, attributes(now)...); err != nil {
			workflow.GetLogger(ctx).Warn("can't set the search attributes", "error", err)
		}
	}
	m.outlines = outlines{told: true, inAttributes: has, outline: now}
}

// hasAttributes asks the worker whether the namespace has the search attributes. If it is mistaken,
// since somebody has just removed one, the server refuses this workflow task with all that it
// recorded. The worker hears that, and the next attempt asks again.
func hasAttributes(ctx workflow.Context) (has bool) {
	value := workflow.MutableSideEffect(ctx, "searchable",
		func(workflow.Context) any { return searchable.Load() },
		func(a, b any) bool { return a == b })
	if value.Get(&has) != nil {
		return false
	}
	return has
}

func attributes(o migration.Outline) []temporal.SearchAttributeUpdate {
	attention := attributeAttention.ValueUnset()
	if o.Attention != "" {
		attention = attributeAttention.ValueSet(o.Attention)
	}
	return []temporal.SearchAttributeUpdate{
		attributePhase.ValueSet(string(o.Phase)), attention, attributeFrozen.ValueSet(o.Frozen()),
	}
}
