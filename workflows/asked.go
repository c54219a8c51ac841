package workflows

import (
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// The final snapshot is asked for by the guard's look at the blocked source, while that is still being
// sampled: see migration.FrozenLookRequest.

// snapshotAhead is the name under which the look may ask; empty if it may not. Only the first snapshot
// of the final round is asked for so, none if the round may be cut into groups, and none if hooks come
// after the look: they may let what is under way be written, and the source is looked at once more.
func (m *run) snapshotAhead() string {
	hooked := len(m.hooksAt(migration.HookAfterBlock)) > 0 && !m.window.called[migration.HookAfterBlock]
	if !m.shape.asked() || m.Attempt > 0 || m.TakenAgain > 0 || hooked || m.mayCut() {
		return ""
	}
	return migration.SnapshotName(m.plan.Name, m.RoundNumber, m.Attempt+1)
}

// mayCut tells before the block whether the final round may be cut into groups. Of a list that the
// workflow doesn't see, the prediction knows only what took part in the last round.
func (m *run) mayCut() bool {
	unseen := (m.Indices.Stored() || !m.SeenWritesOf.IsZero()) && m.taking.Len() < 2
	groups := m.plan.Freeze.Pipeline.Groups
	return groups > 1 || groups == 0 && (m.Prediction == nil || m.Prediction.Groups > 1 || unseen)
}

// hearOfSnapshot takes what became of the snapshot that the look was to ask for. No answer means that
// it may have, and so does that of an older worker.
func (m *run) hearOfSnapshot(look *migration.FrozenLookRequest, answer migration.GuardAnswer) {
	switch {
	case look == nil || look.Snapshot == "":
	case answer.Snapshot == migration.NotAsked:
		m.snapshotting = ""
	case answer.Snapshot == migration.AskedFor:
		m.window.asked = look.Snapshot
	default:
		m.spend(look.Snapshot)
	}
}

// spend gives a snapshot up that may run, and with it its name. The next one waits for its end, from
// Elasticsearch 7.9 on shard by shard: most of what that uploads the next one needs as well.
func (m *run) spend(name string) {
	m.Attempt++
	m.window.asked, m.snapshotting = "", ""
	m.unclaimed = append(m.unclaimed, name)
	workflow.GetLogger(m.work).Info("a snapshot was asked for in vain", "snapshot", name)
}

// spendAsked gives up what a look has asked for that no longer counts.
func (m *run) spendAsked() {
	if m.window.asked != "" {
		m.spend(m.window.asked)
	}
}
