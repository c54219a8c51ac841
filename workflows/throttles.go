package workflows

import (
	"cmp"
	"fmt"

	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// throttling is what stood on the clusters as throttles, and what stands there now.
type throttling struct {
	// Throttles are those that stood on the clusters before we changed any; nil as long as we
	// haven't. Raised tells which of the plan's may stand there now.
	Throttles *migration.ThrottlesFound `json:"throttles,omitempty"`
	Raised    raised                    `json:"lifted,omitempty"`
}

// raised is one of the plan's sets of throttles.
type raised string

const (
	raisedNone   raised = ""
	raisedRounds raised = "rounds"
	raisedWindow raised = "window"
)

// limits are the plan's throttles of this name; none for raisedNone.
func (r raised) limits(plan migration.Throttles) migration.Limits {
	switch r {
	case raisedRounds:
		return plan.Rounds
	case raisedWindow:
		return plan.Window
	}
	return migration.Limits{}
}

// measures tells whether the next round is the one that runs with the window's throttles, to
// measure what the window will take: the first after the baseline.
func (m *run) measures() bool {
	return changesAny(m.plan.Throttles.Window) && !m.ranRaised()
}

// throttle has a set of the plan's throttles hold on both clusters. It remembers what it found
// before it changes anything, and that it changes something before it does.
func (m *run) throttle(which raised) error {
	if which == raisedRounds && !changesAny(m.plan.Throttles.Rounds) {
		which = raisedNone
	}
	if which == m.Raised || which == raisedWindow && !changesAny(m.plan.Throttles.Window) {
		return nil
	}
	if err := m.readThrottles(); err != nil || m.Throttles == nil {
		return err
	}
	request := migration.SetThrottlesRequest{
		Run: m.forActivities(), Found: *m.Throttles, Wanted: which.limits(m.plan.Throttles),
	}
	m.Raised = which
	if which == raisedNone {
		m.Raised = raisedRounds // until it is seen to be done
	}
	err := m.attemptOptional("set the clusters' throttles", func(ctx workflow.Context) error {
		options := pollUntilDone("throttles: " + cmp.Or(string(which), "as found"))
		set, err := call[migration.ThrottlesSet](ctx, options, migration.ActivitySetThrottles, request)
		m.warnAll(set.Warnings)
		return err
	})
	if err == nil {
		m.Raised = which
	}
	return err
}

// readThrottles remembers what stands on the clusters, before we change it for the first time.
func (m *run) readThrottles() error {
	if m.Throttles != nil {
		return nil
	}
	return m.attemptOptional("read the clusters' throttles", func(ctx workflow.Context) error {
		options := quickCall("throttles of both clusters")
		found, err := call[migration.ThrottlesFound](ctx, options, migration.ActivityReadThrottles, m.forActivities())
		if err != nil {
			return err
		}
		m.Throttles = &found
		m.warnAll(found.Warnings)
		return nil
	})
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

// restoreThrottles leaves the clusters' throttles as they were found. A failure must not keep an
// ended migration from ending: the report says what to set.
func (m *run) restoreThrottles() {
	if m.Raised == raisedNone || m.Throttles == nil {
		return
	}
	failed, done := m.tried("restore the clusters' throttles", migration.ActivityRestoreThrottles,
		migration.RestoreThrottlesRequest{Run: m.forActivities(), Found: *m.Throttles})
	switch {
	case !done:
	case !failed:
		m.Raised = raisedNone
	default: // whatever comes next tries again
		found := *m.Throttles
		m.warn(fmt.Sprintf("it is not certain that the clusters' throttles are restored. Set them to what was found: "+
			"max_snapshot_bytes_per_sec %s on the source's repository, max_restore_bytes_per_sec %s on the target's%s",
			orUnset(found.Snapshot), orUnset(found.Restore), recoveryFound(found.Recovery)))
	}
}

func recoveryFound(found *migration.RecoveryFound) string {
	if found == nil {
		return ""
	}
	return fmt.Sprintf(", indices.recovery.max_bytes_per_sec %s (transient) on the target", orUnset(found.Transient))
}

func orUnset(setting string) string { return cmp.Or(setting, "unset") }
