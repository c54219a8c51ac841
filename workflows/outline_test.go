package workflows

import (
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// toldOutlines is what a run has told of itself.
type toldOutlines struct {
	outlines []migration.Outline
	// attributes are nil where none were set.
	attributes []temporal.SearchAttributes
}

// telling notes what the world's run tells, in a namespace that has the search attributes or not.
func (w *world) telling(searchable bool) *toldOutlines {
	SetSearchable(searchable)
	w.t.Cleanup(func() { SetSearchable(false) })
	var t toldOutlines
	w.env.OnUpsertMemo(mock.Anything).Run(func(args mock.Arguments) {
		t.outlines = append(t.outlines, args.Get(0).(map[string]any)[migration.MemoOutline].(migration.Outline))
	}).Return(nil).Maybe()
	w.env.OnUpsertTypedSearchAttributes(mock.Anything).Run(func(args mock.Arguments) {
		t.attributes = append(t.attributes, args.Get(0).(temporal.SearchAttributes))
	}).Return(nil).Maybe()
	return &t
}

// phases are those that were told, each once.
func (t *toldOutlines) phases() (phases []migration.Phase) {
	for _, o := range t.outlines {
		if len(phases) == 0 || phases[len(phases)-1] != o.Phase {
			phases = append(phases, o.Phase)
		}
	}
	return phases
}

var wholePath = []migration.Phase{
	migration.PhasePreflight, migration.PhasePrepare, migration.PhaseBaseline, migration.PhaseRounds,
	migration.PhaseReady, migration.PhaseFreeze, migration.PhaseFinalRound, migration.PhaseVerify,
	migration.PhaseAwaitCutover, migration.PhaseCutover, migration.PhaseCompleted,
}

// Whoever lists workflows sees each phase, and what would move the migration on. A namespace without
// the search attributes is never told of any.
func TestTheMemoHoldsTheOutline(t *testing.T) {
	w := newWorld(t)
	told := w.telling(false)
	w.usualRequests()
	w.run()
	w.completed()
	require.Equal(t, wholePath, told.phases())
	require.Empty(t, told.attributes)
	for i, o := range told.outlines {
		if i > 0 {
			require.NotEqual(t, told.outlines[i-1], o, "what hasn't changed is not told again")
		}
		if o.Phase == migration.PhaseAwaitCutover {
			require.Equal(t, migration.RequestCutover, o.Next)
			require.Positive(t, o.FrozenSinceMillis)
			require.Greater(t, o.FrozenUntilMillis, o.FrozenSinceMillis)
		}
		if o.Phase.BeforeFreeze() {
			require.False(t, o.Frozen(), o.Phase)
		}
	}
	require.Less(t, len(told.outlines), 25, "what is told is history, too")
}

func TestTheSearchAttributesFollowTheOutline(t *testing.T) {
	w := newWorld(t)
	told := w.telling(true)
	w.fails(migration.ActivityTakeSnapshot, 1, migration.ErrorUnauthorized)
	w.env.RegisterDelayedCallback(func() { w.env.SignalWorkflow(string(migration.RequestRetry), nil) }, time.Minute)
	w.usualRequests()
	w.run()
	w.completed()
	require.Len(t, told.attributes, len(told.outlines))
	needed := 0
	for i, set := range told.attributes {
		o := told.outlines[i]
		phase, _ := set.GetKeyword(attributePhase)
		require.Equal(t, string(o.Phase), phase)
		frozen, known := set.GetBool(attributeFrozen)
		require.True(t, known)
		require.Equal(t, o.Frozen(), frozen)
		attention, known := set.GetKeyword(attributeAttention)
		require.Equal(t, o.Attention != "", known, "it is unset when nothing needs attention")
		require.Equal(t, o.Attention, attention)
		if known {
			needed++
			require.Equal(t, string(migration.ErrorUnauthorized), attention)
			require.Equal(t, migration.RequestRetry, o.Next)
		}
	}
	require.Equal(t, 1, needed)
	last := told.outlines[len(told.outlines)-1]
	require.Equal(t, migration.PhaseCompleted, last.Phase)
	require.False(t, last.Frozen(), "nobody waits for the end of a block that stays")
}

// Somebody removes an attribute while a migration runs, and registers it again later: nothing is set
// in between, and then the present state.
func TestARegistrationThatVanishes(t *testing.T) {
	w := newWorld(t)
	told := w.telling(true)
	w.during(migration.ActivityCopySnapshot, 1, func() { SetSearchable(false) })
	w.during(migration.ActivityVerifyTarget, 1, func() { SetSearchable(true) })
	w.usualRequests()
	w.run()
	w.completed()
	require.Equal(t, wholePath, told.phases(), "the memo needs no registration")
	var phases []string
	for _, set := range told.attributes {
		phase, _ := set.GetKeyword(attributePhase)
		if len(phases) == 0 || phases[len(phases)-1] != phase {
			phases = append(phases, phase)
		}
	}
	require.Equal(t, []string{"preflight", "prepare", "baseline", "awaitCutover", "cutover", "completed"}, phases)
}

// A run that began before there were outlines gives the commands that it gave.
func TestAnOlderRunTellsNothing(t *testing.T) {
	w := newWorld(t)
	told := w.telling(true)
	w.env.OnGetVersion("outline", workflow.DefaultVersion, workflow.Version(1)).Return(workflow.DefaultVersion)
	w.usualRequests()
	w.run()
	w.completed()
	require.Empty(t, told.outlines)
	require.Empty(t, told.attributes)
}
