package workflows

import (
	"slices"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// pausesBefore are the pauses before each further snapshot of a round that is taken without a
// person. A data node that dies costs the snapshot under way, and a store that is away for a moment
// those that begin then. What lasts longer needs a person.
var pausesBefore = []time.Duration{0, 10 * time.Second, 30 * time.Second}

// How long a further snapshot waits for primaries that no node holds: until a replica takes over, or
// the node is back. While writes are blocked, a person is asked sooner.
const (
	primariesUsually = 5 * time.Minute
	primariesFrozen  = time.Minute
)

// The most that is kept of snapshots that failed.
const (
	maxFailed     = 10
	longestReason = 300
)

// attemptLog holds the snapshots that failed.
type attemptLog struct {
	// Failed are the newest of them, over all rounds. FailedOmitted counts those before.
	Failed        []migration.FailedSnapshot `json:"failedSnapshots,omitempty"`
	FailedOmitted int                        `json:"failedSnapshotsOmitted,omitempty"`
	// TakenAgain counts the snapshots of this round that were taken without a person.
	TakenAgain int `json:"takenAgain,omitempty"`
}

// noteFailed keeps what failed. When there are too many, the oldest give way.
func (l *attemptLog) noteFailed(failed migration.FailedSnapshot) {
	if drop := len(l.Failed) - maxFailed + 1; drop > 0 {
		l.Failed = slices.Clone(l.Failed[drop:])
		l.FailedOmitted += drop
	}
	failed.Reason = human.Shorten(failed.Reason, longestReason)
	l.Failed = append(l.Failed, failed)
}

// ofNoUse notes a snapshot that the source could not take completely. It tells whether another one
// is taken without a person.
func (m *run) ofNoUse(ctx workflow.Context, snapshot string, cause error) bool {
	if !m.shape.delta() || errorType(cause) != migration.ErrorSnapshotFailed {
		return false
	}
	turn, _ := migration.TurnOf(m.plan.Name, snapshot)
	failed := migration.FailedSnapshot{
		Round: m.RoundNumber, Attempt: turn.Attempt, Snapshot: snapshot,
		AtMillis: workflow.Now(ctx).UnixMilli(), Reason: describe(ctx, "", cause, 1).Message,
		Again: m.TakenAgain < len(pausesBefore),
	}
	if failed.Again {
		m.pause = pausesBefore[m.TakenAgain]
		m.TakenAgain++
	}
	m.noteFailed(failed)
	if failed.Again {
		m.tellRoundFailed(failed)
	}
	workflow.GetLogger(ctx).Warn("a snapshot failed", "snapshot", snapshot, "again", failed.Again, "error",
		failed.Reason)
	return failed.Again
}

// pauseBefore lets some time pass before another snapshot is taken without a person.
func (m *run) pauseBefore(ctx workflow.Context) error {
	pause := m.pause
	if m.pause = 0; pause == 0 {
		return ctx.Err()
	}
	m.step = "wait " + human.Span(pause.Milliseconds()) + " before another snapshot is taken"
	m.show(ctx)
	defer func() { m.step = "" }()
	options := workflow.TimerOptions{Summary: "until another snapshot is taken"}
	return workflow.NewTimerWithOptions(ctx, pause, options).Get(ctx, nil)
}

// primariesMillis is how long a snapshot waits for primaries; 0 unless one of its round has failed.
func (m *run) primariesMillis() int64 {
	switch {
	case m.TakenAgain == 0:
		return 0
	case m.frozen():
		return primariesFrozen.Milliseconds()
	}
	return primariesUsually.Milliseconds()
}
