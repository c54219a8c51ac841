package workflows

import (
	"github.com/snapferry/snapferry/migration"
)

// Carried is the whole state of a migration that outlives a run: it goes from
// run to run with continue-as-new, and is the workflow's optional second
// argument. Whoever starts a migration leaves it out.
type Carried struct {
	Token            string          `json:"token"`
	StartedMillis    int64           `json:"startedMillis"`
	Phase            migration.Phase `json:"phase"`
	PhaseSinceMillis int64           `json:"phaseSinceMillis"`

	// Rounds are those that ended: the baseline and the newest; RoundsOmitted
	// counts those between that are no longer kept. RoundNumber is that of the next one, Attempt
	// counts the snapshots that were begun for it.
	Rounds          []migration.Round `json:"rounds,omitempty"`
	RoundsOmitted   int               `json:"roundsOmitted,omitempty"`
	RoundNumber     int               `json:"roundNumber"`
	Attempt         int               `json:"attempt"`
	NextRoundMillis int64             `json:"nextRoundMillis,omitempty"`

	// Published is the snapshot of the last publish that succeeded.
	Published *published `json:"published,omitempty"`
	// Registered is set once both repositories are registered.
	Registered bool `json:"registered,omitempty"`
	// Indices are those that the newest round resolved.
	Indices []migration.Index `json:"indices,omitempty"`
	// Counters are the target's write counters after the last restore. While
	// RestoreInDoubt a restore was begun and its end was not seen, so that they
	// mean nothing.
	Counters       migration.WriteCounters `json:"counters,omitempty"`
	RestoreInDoubt bool                    `json:"restoreInDoubt,omitempty"`
	// Begun are indices whose first restore was begun and not seen to end.
	Begun []string `json:"begun,omitempty"`

	// Bandwidth is the limit on all copies, if it is another than the plan's.
	Bandwidth *migration.ByteRate `json:"bandwidth,omitempty"`

	// Throttles are those that stood on the clusters before we changed any; nil as
	// long as we haven't. Lifted tells which of the plan's may stand there now.
	Throttles *migration.ThrottlesFound `json:"throttles,omitempty"`
	Lifted    lifted                    `json:"lifted,omitempty"`

	// SeenWrites are the operations that each index had counted when the last
	// round's snapshot began.
	SeenWrites map[string]int64 `json:"seenWrites,omitempty"`
	// Window is the last frozen window that came to its verification.
	Window      *migration.FrozenWindow `json:"window,omitempty"`
	Prediction  *migration.Prediction   `json:"prediction,omitempty"`
	CloseEnough bool                    `json:"closeEnough,omitempty"`
	// AutoSpent is set once a window ended without a cutover: from then on only a
	// person freezes.
	AutoSpent bool `json:"autoSpent,omitempty"`
	// AutoFreeze says that the freeze which is under way, and has not blocked yet, was
	// nobody's wish but freeze.auto's.
	AutoFreeze bool `json:"autoFreeze,omitempty"`

	// Rehearsal is nil in a migration.
	Rehearsal *rehearsal `json:"rehearsal,omitempty"`

	Paused          bool `json:"paused,omitempty"`
	FreezeRequested bool `json:"freezeRequested,omitempty"`
	RoundRequested  bool `json:"roundRequested,omitempty"`

	Decisions        []migration.Decision `json:"decisions,omitempty"`
	DecisionsOmitted int                  `json:"decisionsOmitted,omitempty"`
	Warnings         []string             `json:"warnings,omitempty"`
	WarningsOmitted  int                  `json:"warningsOmitted,omitempty"`
}

// lifted is one of the plan's sets of throttles.
type lifted string

const (
	liftedNone   lifted = ""
	liftedRounds lifted = "rounds"
	liftedWindow lifted = "window"
)

// published names what the target's repository shows.
type published struct {
	UUID       string `json:"uuid"`
	Generation int64  `json:"generation"`
}

// window is the frozen window: from the first look at the source's blocks until
// the cutover begins or the block is lifted.
type window struct {
	// found are the blocks of the source before ours, uuids those of the indices that
	// had them: an index that is made anew has others.
	found migration.Blocks
	uuids map[string]string
	// indices are those that are blocked, frozen is what they held once they stood still.
	indices []migration.Index
	frozen  migration.Standstill
	// sinceMillis is when the block was asked for; 0 before that.
	sinceMillis int64
	untilMillis int64
	// watch runs from the block on, pass from where the freeze began last.
	watch, pass stopwatch
	measured    migration.FrozenWindow
	// predicted is what was foreseen right before the block.
	predicted *migration.Prediction
	verified  []migration.IndexResult
	// proven is set once the target was found equal; measured is complete then.
	proven           bool
	cutoverRequested bool
	// expired is set by the dead man's switch.
	expired bool
	stop    func()
}

// The most that is carried, so that a migration of many weeks stays far below
// Temporal's limit of 2 MiB for a payload: some 400 bytes a round, 1 KiB a
// decision.
const (
	maxRounds    = 500
	maxDecisions = 200
	maxWarnings  = 100
)
