package workflows

import (
	"slices"
	"strings"

	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// Carried is the complete state of a migration that outlives a run: continue-as-new hands it from
// run to run, as the workflow's optional second argument. Whoever starts a migration leaves it out.
//
// It is composed of parts, each with the methods that touch nothing but itself. In JSON the fields
// of all parts stand side by side, so a field may move from part to part. No two parts may have a
// field of the same JSON name: encoding/json would leave out both. A golden file holds the names,
// which are part of every history.
type Carried struct {
	Token            string          `json:"token"`
	StartedMillis    int64           `json:"startedMillis"`
	Phase            migration.Phase `json:"phase"`
	PhaseSinceMillis int64           `json:"phaseSinceMillis"`
	// PlanResolved says that the workflow's input is the plan as the run before has used it.
	PlanResolved bool `json:"planResolved,omitempty"`

	roundLog
	attemptLog
	sourceState
	targetState
	marks
	proofs
	leavers
	throttling
	forecast
	wishes
	journal
	hookLog
	notifyLog

	// Rehearsal is nil in a migration.
	Rehearsal *rehearsal `json:"rehearsal,omitempty"`
}

// A payload may have 256 KB. The state stays below that even after many weeks, with lists as long
// as they may be inline: a round takes up to 850 bytes, a decision and a warning up to 1 KiB.
const (
	maxRounds    = 50
	maxDecisions = 40
	maxWarnings  = 40
	// longestWarning is in bytes, with what marks the cut.
	longestWarning = 1020
	// roundsGuarded is maxRounds of runs of shapeGuarded, and roundsBefore that of runs that began when
	// there was no guard. What their rounds say decides on commands, so they keep as many as they
	// kept.
	roundsGuarded = 80
	roundsBefore  = 500
)

// roundLog is what the rounds did, and which one comes next.
type roundLog struct {
	// Rounds are those that ended: the baseline and the newest. RoundsOmitted counts those between
	// that are no longer kept. RoundNumber is that of the next round, Attempt counts the snapshots
	// that were begun for it.
	Rounds          []migration.Round `json:"rounds,omitempty"`
	RoundsOmitted   int               `json:"roundsOmitted,omitempty"`
	RoundNumber     int               `json:"roundNumber"`
	Attempt         int               `json:"attempt"`
	NextRoundMillis int64             `json:"nextRoundMillis,omitempty"`
}

// endRound keeps a round's numbers: the baseline's and those of the newest, so many at most.
func (l *roundLog) endRound(round migration.Round, most int) {
	if drop := len(l.Rounds) - most + 1; drop > 0 {
		l.Rounds = slices.Delete(slices.Clone(l.Rounds), 1, 1+drop)
		l.RoundsOmitted += drop
	}
	if n := len(l.Rounds); n > 0 && l.Rounds[n-1].Files != nil {
		l.Rounds = slices.Clone(l.Rounds)
		l.Rounds[n-1].Files = l.Rounds[n-1].Files.Brief()
	}
	l.Rounds = append(l.Rounds, round)
	l.RoundNumber++
	l.Attempt = 0
}

func (l *roundLog) lastRound() migration.Round { return l.Rounds[len(l.Rounds)-1] }

// ranRaised tells whether a round has run with the window's throttles.
func (l *roundLog) ranRaised() bool {
	return slices.ContainsFunc(l.Rounds, func(r migration.Round) bool { return r.Lifted })
}

// expectedWrites is how many operations have probably been written since the last round's snapshot
// began, at the rate of the time before it.
func (l *roundLog) expectedWrites(nowMillis int64) int64 {
	if len(l.Rounds) < 2 {
		return 0
	}
	round, before := l.lastRound(), l.Rounds[len(l.Rounds)-2]
	span := round.StartTimeMillis - before.StartTimeMillis
	if span <= 0 {
		return round.Writes
	}
	return int64(float64(round.Writes) * float64(nowMillis-round.StartTimeMillis) / float64(span))
}

// usualWrites is how many operations are probably written in so much time, at the rate of all
// rounds; false if they say nothing about it.
func (l *roundLog) usualWrites(millis int64) (int64, bool) {
	span := l.lastRound().StartTimeMillis - l.Rounds[0].StartTimeMillis
	if span <= 0 {
		return 0, false
	}
	var writes int64
	for _, round := range l.Rounds[1:] {
		writes += round.Writes
	}
	return int64(float64(writes) / float64(span) * float64(millis)), true
}

// sourceState is what is known of the source.
type sourceState struct {
	// Indices are those that the newest round resolved.
	Indices migration.IndexList `json:"indices,omitzero"`
	// NotHot are those that the newest look left out because of the storage that they lie in.
	NotHot *migration.NotHot `json:"notHot,omitempty"`
	seenWrites
}

// seenWrites are the operations that each index had counted when the last round's snapshot began.
type seenWrites struct {
	SeenWrites   map[string]int64                   `json:"seenWrites,omitempty"`
	SeenWritesOf migration.Stored[map[string]int64] `json:"seenWritesOf,omitzero"`
}

// seen is what was counted when these indices were found.
func seen(found migration.IndexList) seenWrites {
	if found.Stored() {
		return seenWrites{SeenWritesOf: found.About.CountedOf}
	}
	return seenWrites{SeenWrites: migration.CountedWrites(found.Inline)}
}

// since counts the operations that the last round's snapshot lacks. Of a stored list the activity
// has counted them.
func (s seenWrites) since(found migration.IndexList) int64 {
	if found.Stored() {
		return found.About.Since
	}
	return migration.WritesSince(found.Inline, s.SeenWrites)
}

// moved tells which indices were written or deleted since the last round's snapshot.
func (s seenWrites) moved(found migration.IndexList) func(name string) bool {
	if found.Stored() {
		return func(name string) bool { return slices.Contains(found.About.Moved, name) }
	}
	counted := migration.CountedWrites(found.Inline)
	return func(name string) bool { return migration.MovedSince(name, counted, s.SeenWrites) }
}

// targetState is what the migration has made on the target.
type targetState struct {
	// Published is the snapshot of the last publish that succeeded.
	Published *published `json:"published,omitempty"`
	// Registered is set once both repositories are registered.
	Registered bool `json:"registered,omitempty"`
	// While RestoreInDoubt a restore was begun and its end was not seen, so that the counters mean
	// nothing.
	counters
	RestoreInDoubt bool `json:"restoreInDoubt,omitempty"`
	// Begun are indices whose first restore was begun and not seen to end. BegunOf are lists of
	// which the indices without counters are such.
	Begun   []string                              `json:"begun,omitempty"`
	BegunOf []migration.Stored[[]migration.Index] `json:"begunOf,omitempty"`
	// UnknownSettings are index settings that the target doesn't know. Restores leave them out.
	UnknownSettings []string `json:"unknownSettings,omitempty"`
	// TriedRounds is how many rounds had ended when the handover was last tried on all indices that
	// these had restored.
	TriedRounds int `json:"triedRounds,omitempty"`
}

// counters are the target's write counters after the last restore.
type counters struct {
	Counters   migration.WriteCounters                   `json:"counters,omitempty"`
	CountersOf migration.Stored[migration.WriteCounters] `json:"countersOf,omitzero"`
	// Opened sums up stored counters.
	Opened *migration.Opened `json:"opened,omitempty"`
}

// published names what the target's repository shows.
type published struct {
	UUID       string `json:"uuid"`
	Generation int64  `json:"generation"`
}

// base is the snapshot that the next copy builds on: empty and -1 at the baseline.
func (t *targetState) base() published {
	if t.Published == nil {
		return published{Generation: -1}
	}
	return *t.Published
}

// beginRestore remembers, before anything is restored, that the target is no longer what the
// counters say, and which indices were absent until now: closing the target made sure of that.
func (t *targetState) beginRestore(indices migration.IndexList) {
	t.RestoreInDoubt = true
	if indices.Stored() || t.CountersOf.Digest != "" {
		t.beginRestoreOf(indices)
		return
	}
	for _, index := range indices.Inline {
		if _, restored := t.Counters[index.Name]; !restored {
			t.Begun = append(t.Begun, index.Name)
		}
	}
	slices.Sort(t.Begun)
	t.Begun = slices.Compact(t.Begun)
}

// beginRestoreOf is beginRestore where the workflow sees the indices or their counters only as what
// stands for them.
func (t *targetState) beginRestoreOf(indices migration.IndexList) {
	if !indices.Stored() {
		t.Begun = append(t.Begun, indices.Names()...) // those with counters don't count
	} else if !slices.Contains(t.BegunOf, indices.Of()) {
		t.BegunOf = append(t.BegunOf, indices.Of())
	}
}

func (t *targetState) endRestore() { t.RestoreInDoubt, t.Begun, t.BegunOf = false, nil, nil }

// keep remembers the target's counters after a restore. Those of indices that have left the source
// stay as they were.
func (c *counters) keep(opened migration.OpenResult) {
	if opened.Opened != nil {
		*c = counters{Counters: opened.Counters, CountersOf: opened.CountersOf, Opened: opened.Opened}
		return
	}
	if c.Counters == nil {
		c.Counters = migration.WriteCounters{}
	}
	for _, name := range workflow.DeterministicKeys(opened.Counters) {
		c.Counters[name] = opened.Counters[name]
	}
	c.Opened = nil // summed up others
}

// any tells whether there are counters.
func (c *counters) any() bool { return len(c.Counters) > 0 || !c.CountersOf.IsZero() }

// of is the counter of an index that a status shows; false if it wasn't restored, or isn't known.
func (c *counters) of(name string) (migration.Counter, bool) {
	counter, known := c.Counters[name]
	if !known && c.Opened != nil {
		counter, known = c.Opened.First[name]
	}
	return counter, known
}

// restoredAny tells whether anything of ours may stand on the target.
func (t *targetState) restoredAny() bool { return t.any() || len(t.Begun)+len(t.BegunOf) > 0 }

// docs counts the documents that the indices hold on the target.
func (c *counters) docs(indices migration.IndexList) int64 {
	if c.Opened != nil {
		return c.Opened.Docs
	}
	var docs int64
	for _, index := range indices.Inline {
		docs += c.Counters[index.Name].Docs
	}
	return docs
}

// leftBehind names the indices that were restored and are not among these, which the last round
// found: those that have left the source, and those that are not hot there any more. Either is empty
// if there are none. Of stored lists it names those that had left at the last restore.
func (c *counters) leftBehind(indices migration.IndexList, apart *migration.NotHot) (gone, notHot string) {
	var left []string
	count := 0
	if c.Opened != nil {
		left, count = c.Opened.Left, c.Opened.LeftCount
	} else if !indices.Stored() {
		left = migration.LeftBehind(c.Counters, indices.Names())
		count = len(left)
	}
	unnamed := count - len(left)
	var absent, there []string
	for _, name := range left {
		if apart.Has(name) {
			there = append(there, name)
		} else {
			absent = append(absent, name)
		}
	}
	return firstNames(absent, unnamed), firstNames(there, 0)
}

// firstNames names the first ones and counts the others.
func firstNames(names []string, more int) string {
	first := names[:min(len(names), migration.LeftNamed)]
	text := strings.Join(first, ", ")
	if more += len(names) - len(first); more > 0 {
		text += " and " + human.Count(int64(more)) + " more"
	}
	return text
}

// wishes are what people, or the plan, want to happen and what hasn't happened yet.
type wishes struct {
	Paused          bool `json:"paused,omitempty"`
	FreezeRequested bool `json:"freezeRequested,omitempty"`
	RoundRequested  bool `json:"roundRequested,omitempty"`
	// AutoFreeze says that the freeze which is under way, and has not blocked yet, was nobody's
	// wish but freeze.auto's.
	AutoFreeze bool `json:"autoFreeze,omitempty"`
	// Bandwidth is the limit on all copies, if it is another than the plan's.
	Bandwidth *migration.ByteRate `json:"bandwidth,omitempty"`
}

// freezeOrRound tells whether somebody wants the wait for the next round to end.
func (w *wishes) freezeOrRound() bool { return w.FreezeRequested || w.RoundRequested }

// journal is what a report tells of the way: what people decided and what was found.
type journal struct {
	Decisions        []migration.Decision `json:"decisions,omitempty"`
	DecisionsOmitted int                  `json:"decisionsOmitted,omitempty"`
	Warnings         []string             `json:"warnings,omitempty"`
	WarningsOmitted  int                  `json:"warningsOmitted,omitempty"`
}

// warn keeps a finding that stops nothing, once. When there are too many, the oldest give way.
func (j *journal) warn(text string) {
	text = human.Shorten(text, longestWarning)
	if slices.Contains(j.Warnings, text) {
		return
	}
	if drop := len(j.Warnings) - maxWarnings + 1; drop > 0 {
		j.Warnings = j.Warnings[drop:]
		j.WarningsOmitted += drop
	}
	j.Warnings = append(j.Warnings, text)
}

func (j *journal) warnAll(warnings []string) {
	for _, warning := range warnings {
		j.warn(warning)
	}
}

// decide records a request. When there are too many, the oldest that were ignored give way first:
// what people decided must stay known.
func (j *journal) decide(decision migration.Decision) {
	for len(j.Decisions) >= maxDecisions {
		ignored := func(d migration.Decision) bool { return d.Verdict == migration.Ignored }
		oldest := max(0, slices.IndexFunc(j.Decisions, ignored))
		j.Decisions = slices.Delete(slices.Clone(j.Decisions), oldest, oldest+1)
		j.DecisionsOmitted++
	}
	j.Decisions = append(j.Decisions, decision)
}
