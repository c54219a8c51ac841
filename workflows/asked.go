package workflows

import (
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// The final snapshot is asked for by the guard's look at the blocked source, while that is still being
// sampled: see migration.FrozenLookRequest.

// snapshotAhead is the name under which the look may ask; empty if it may not. Only the first snapshot
// of the final round is asked for so, and none if the round may be cut into groups.
func (m *run) snapshotAhead() string {
	if !m.shape.early() || m.Attempt > 0 || m.TakenAgain > 0 || m.Prediction == nil || m.Prediction.Groups > 1 {
		return ""
	}
	return migration.SnapshotName(m.plan.Name, m.RoundNumber, m.Attempt+1)
}

// hearOfSnapshot takes what became of the snapshot that the look was to ask for. No answer means that
// it may have.
func (m *run) hearOfSnapshot(look *migration.FrozenLookRequest, answer migration.GuardAnswer) {
	switch {
	case look == nil || look.Snapshot == "":
	case answer.RunID != "" && answer.Snapshot == migration.NotAsked:
		m.snapshotting = ""
	case answer.Snapshot == migration.AskedFor:
		m.window.asked = look.Snapshot
	default:
		m.spend(look.Snapshot)
	}
}

// spend gives a snapshot up that may run, and with it its name.
func (m *run) spend(name string) {
	m.Attempt++
	m.snapshotting, m.givenUp = "", append(m.givenUp, name)
	m.window.asked, m.window.spent = "", name
	workflow.GetLogger(m.work).Info("a snapshot was asked for in vain", "snapshot", name)
}

// freezeAgain begins the look at the source once more. What was asked for before that is of no use.
func (m *run) freezeAgain() {
	if m.window.asked != "" {
		m.spend(m.window.asked)
	}
}

// stopSpent stops a snapshot that was asked for in vain: up to Elasticsearch 7.8 there can be no other
// one as long as it runs. If that fails, the next one waits for it, and the window's end stops it.
func (m *run) stopSpent() {
	name := m.window.spent
	if name == "" {
		return
	}
	m.window.spent = ""
	ctx := m.context()
	m.step = "stop snapshot " + name
	m.show(ctx)
	defer func() { m.step = "" }()
	options := m.paced(tryOnce(quickCall("stop snapshot " + name)))
	if err := do(ctx, options, migration.ActivityAbortSnapshot,
		migration.SnapshotRequest{Run: m.forActivities(), Snapshot: name}); err != nil {
		workflow.GetLogger(ctx).Warn("a snapshot of no use is not stopped", "snapshot", name, "error", err)
	}
}
