package workflows

import (
	"slices"

	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// marks are the marks of the source's indices as the target holds them: those that were taken
// before the snapshot that was restored last of each.
type marks struct {
	Restored   migration.IndexMarks                   `json:"restored,omitempty"`
	RestoredOf migration.Stored[migration.IndexMarks] `json:"restoredOf,omitzero"`
	// Doubted names indices of which a restore was begun and not seen to end: their marks mean
	// nothing. DoubtedOf are lists of such. They are needed where the marks are stored: else Restored
	// simply has no mark of such an index.
	Doubted   []string                              `json:"doubted,omitempty"`
	DoubtedOf []migration.Stored[[]migration.Index] `json:"doubtedOf,omitempty"`
}

// doubt says, before a restore begins, that what the target holds of these indices is not known
// until it has ended.
func (k *marks) doubt(indices migration.IndexList) {
	if indices.Stored() {
		if !slices.Contains(k.DoubtedOf, indices.Of()) {
			k.DoubtedOf = append(k.DoubtedOf, indices.Of())
		}
		return
	}
	if k.RestoredOf.IsZero() {
		for _, index := range indices.Inline {
			delete(k.Restored, index.Name)
		}
		return
	}
	k.Doubted = append(k.Doubted, indices.Names()...)
	slices.Sort(k.Doubted)
	k.Doubted = slices.Compact(k.Doubted)
}

// hold says that the target holds what these marks stand for.
func (k *marks) hold(changed migration.Changed) {
	*k = marks{Restored: changed.Marks, RestoredOf: changed.MarksOf}
}

// findChanged finds the indices that take part in a round. In the frozen window the standstill has
// found them already, unless this is another attempt.
func (m *run) findChanged(round *migration.Round) error {
	if !m.shape.delta() {
		m.taking = m.Indices
		return nil
	}
	if w := m.window; w != nil && w.changed != nil && round.Kind == migration.RoundFinal {
		m.changed, w.changed = *w.changed, nil
	} else {
		request := m.changedRequest(m.Indices)
		request.All = m.takesAll(*round)
		err := m.attempt("find the indices that changed since they were restored", func(ctx workflow.Context) error {
			var err error
			options := m.paced(pollUntilDone("what changed of " + indexCount(m.Indices.Len())))
			m.changed, err = call[migration.Changed](ctx, options, migration.ActivityFindChanged, request)
			return err
		})
		if err != nil {
			return err
		}
	}
	m.taking = m.changed.Taking
	round.Skipped, round.Taken = m.changed.Skipped, nil
	for _, because := range m.changed.Because {
		if round.Taken == nil {
			round.Taken = map[migration.Reason]int{}
		}
		round.Taken[because.Reason] = because.Indices
	}
	return nil
}

func (m *run) changedRequest(indices migration.IndexList) migration.ChangedRequest {
	return migration.ChangedRequest{
		Run: m.forActivities(), Indices: indices.Inline, IndicesOf: indices.Of(),
		Restored: m.Restored, RestoredOf: m.RestoredOf, Doubted: m.Doubted, DoubtedOf: m.DoubtedOf,
		Expected: m.Counters, ExpectedOf: m.CountersOf, IgnoreSettings: m.UnknownSettings,
	}
}

// findFrozen asks the standstill which indices take part in the final round; nil if it has to find
// none.
func (m *run) findFrozen(indices migration.IndexList) *migration.ChangedRequest {
	if !m.shape.delta() {
		return nil
	}
	request := m.changedRequest(indices)
	request.OnTarget = m.proves()
	return &request
}

// takesAll tells whether a round takes all indices, whatever their marks say: the baseline does,
// and each nth one that the plan asks for. None does in the frozen window or right before it.
func (m *run) takesAll(round migration.Round) bool {
	every := m.plan.Rounds.FullEvery
	return round.Kind == migration.RoundBaseline ||
		round.Kind == migration.RoundIncremental && every > 0 && round.Number%every == 0
}

// takeNothing ends a round in which no index takes part. No snapshot is taken: an empty list of
// indices would mean all of them to Elasticsearch.
func (m *run) takeNothing(round *migration.Round) error {
	now := workflow.Now(m.work).UnixMilli()
	round.StartTimeMillis, round.EndTimeMillis = now, now
	if err := m.clearTarget(); err != nil {
		return err
	}
	m.hold(m.changed)
	round.Indices, round.Docs = m.Indices.Len(), m.docs(m.Indices)
	return nil
}
