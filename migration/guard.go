package migration

import (
	"fmt"
	"strings"
)

// GuardWorkflowType is the name under which the guard's workflow is registered.
const GuardWorkflowType = "Guard"

// GuardID is the id of a plan's guard.
func GuardID(planName string) string { return "guard/" + planName }

// The activities with which a migration and its guard talk. They need a Temporal client.
const (
	// ActivityAskGuard takes a [GuardRequest] and returns a [GuardAnswer].
	ActivityAskGuard = "AskGuard"
	// ActivityWatchGuard takes a [GuardRequest] and returns a [GuardAnswer] once the guard no
	// longer serves the run. It starts a guard again that was terminated.
	ActivityWatchGuard = "WatchGuard"
	// ActivityWatchMigration takes a [WatchRequest] and returns a [MigrationEnd] when that run of
	// the migration is over.
	ActivityWatchMigration = "WatchMigration"
	// ActivityReadGuard takes a [ReadGuardRequest] and returns a [GuardPage] of a guard that was
	// terminated.
	ActivityReadGuard = "ReadGuard"
	// ActivityLookAgain takes a [LookAgainRequest] and returns []LateIndex. It needs no client.
	ActivityLookAgain = "LookAgain"
)

// GuardAsk is what a migration asks of its guard. Each but AskMeet is an update of the guard, with
// a [GuardCall] and a [GuardAnswer].
type GuardAsk string

// What a migration asks, in its usual order.
const (
	// AskMeet asks nothing of the guard: the run learns its id, and whether a cutover has begun.
	AskMeet GuardAsk = "meet"
	// AskOpen opens a frozen window: from now on the guard serves this run. It starts the guard.
	AskOpen GuardAsk = "open"
	// AskAnnounce names indices that will be blocked, with the blocks that they have. A guard that
	// isn't told those reads them.
	AskAnnounce GuardAsk = "announce"
	// AskBlock has all announced indices blocked, or none of them if one refuses.
	AskBlock GuardAsk = "block"
	// AskRemove ends the window and has the block removed.
	AskRemove GuardAsk = "remove"
	// AskList names the indices to hand over, with their settings.
	AskList GuardAsk = "list"
	// AskBegin begins the cutover. The guard decides.
	AskBegin GuardAsk = "begin"
	// AskHandOver waits until all indices are handed over, and tries those again that were refused.
	AskHandOver GuardAsk = "handOver"
	// AskHooks waits until the guard has called the plan's hooks after a thaw.
	AskHooks GuardAsk = "hooks"
	// AskRelease says that the migration tells of the end itself. The guard looks at the source a
	// last time.
	AskRelease GuardAsk = "release"
)

// GuardUpdates lists what is asked by update.
func GuardUpdates() []GuardAsk {
	return []GuardAsk{AskOpen, AskAnnounce, AskBlock, AskRemove, AskList, AskBegin, AskHandOver, AskHooks, AskRelease}
}

// Description says what an update does, for `temporal workflow metadata`.
func (a GuardAsk) Description() string {
	const only = " Only the migration asks this."
	switch a {
	case AskOpen:
		return "Open a frozen window for a run of the migration." + only
	case AskAnnounce:
		return "Name indices that will be blocked." + only
	case AskBlock:
		return "Block writes on all announced indices." + only
	case AskRemove:
		return "Remove the write block." + only
	case AskList:
		return "Name the indices to hand over." + only
	case AskBegin:
		return "Begin the cutover: from then on the block stays." + only
	case AskHandOver:
		return "Hand over, and try again what was refused." + only
	case AskHooks:
		return "Wait for the hooks that are called after a thaw." + only
	case AskRelease:
		return "Look at the source a last time: the migration tells of the end itself." + only
	}
	return ""
}

// The queries that a guard answers, besides QueryStatus, which gives a [GuardStatus]. They are not
// for people: their answers come in pages.
const (
	// QueryGuardUnknown takes []SourceIndex and returns those that were not announced in this
	// window.
	QueryGuardUnknown = "unknown"
	// QueryGuardHolds takes []string and returns those that the guard has blocked or will block, at
	// most GuardNamed.
	QueryGuardHolds = "holds"
	// QueryGuardPage takes a [GuardPageRequest] and returns a [GuardPage].
	QueryGuardPage = "page"
)

// GuardPhase is where a guard stands.
type GuardPhase string

// The phases of a guard. Only it decides between removing and handingOver.
const (
	// GuardIdle: no window was opened yet.
	GuardIdle GuardPhase = ""
	// GuardWatching: a window is open. The indices are blocked, or may be at any moment.
	GuardWatching GuardPhase = "watching"
	// GuardRemoving: the block is being removed.
	GuardRemoving GuardPhase = "removing"
	// GuardRemoved: the source takes writes again, but for what Remains names.
	GuardRemoved GuardPhase = "removed"
	// GuardHandingOver: the cutover has begun. The block stays.
	GuardHandingOver GuardPhase = "handingOver"
	// GuardHandedOver: the target takes writes, but for what Refused names.
	GuardHandedOver GuardPhase = "handedOver"
)

// Begun tells whether the cutover has begun: nothing removes the block any more.
func (p GuardPhase) Begun() bool { return p == GuardHandingOver || p == GuardHandedOver }

// Holds tells whether the guard has indices blocked, or may block some.
func (p GuardPhase) Holds() bool { return p == GuardWatching || p == GuardRemoving || p.Begun() }

// GuardNamed is how many indices a guard names in an answer or a status. It counts the others.
const GuardNamed = 20

// LongestBatch bounds, in bytes of JSON, the indices that go into one request of a guard.
const LongestBatch = 96 << 10

// GuardStatus is what a guard knows, but for the names of the indices. It answers the status query,
// it is the guard's result, and a guard that is started again begins with it.
type GuardStatus struct {
	// Plan, Token and WorkflowID are those of the migration, RunID is the run of it that has the
	// window of this number.
	Plan       string     `json:"plan"`
	Token      string     `json:"token"`
	WorkflowID string     `json:"workflowId"`
	RunID      string     `json:"runId,omitempty"`
	Window     int        `json:"window,omitempty"`
	Phase      GuardPhase `json:"phase"`
	// Cluster tells the source from other clusters: its uuid, or its endpoint if it has none.
	Cluster string `json:"cluster,omitempty"`
	// UntilMillis is the epoch time at which the block is removed if the cutover has not begun.
	UntilMillis int64 `json:"untilMillis,omitempty"`
	// TakesOver is the run of the guard from which this one is still learning the names.
	TakesOver string `json:"takesOver,omitempty"`
	// Announced counts the indices of the window. Blocked tells whether they are blocked.
	Announced int  `json:"announced,omitempty"`
	Blocked   bool `json:"blocked,omitempty"`
	// Asked tells whether a block was asked for in this window.
	Asked bool `json:"asked,omitempty"`
	// Cause says why the block was removed.
	Cause string `json:"cause,omitempty"`
	// Ended says how the run ended that has the window; empty while it runs.
	Ended string `json:"ended,omitempty"`
	// Released is set once the migration has said that it tells of the end itself.
	Released bool `json:"released,omitempty"`
	// Listed counts the indices to hand over.
	Listed int `json:"listed,omitempty"`
	// LeftOut counts the indices that are not handed over because a person has decided so.
	LeftOut int `json:"leftOut,omitempty"`
	// Hooks are the calls of the plan's hooks in this window. HooksDue says that those after the thaw
	// have not all answered.
	Hooks    []HookCall `json:"hooks,omitempty"`
	HooksDue bool       `json:"hooksDue,omitempty"`
	GuardOutcome
}

// GuardOutcome names the indices with which something is the matter, at most GuardNamed of each
// kind, and counts the others.
type GuardOutcome struct {
	// Remains are those on which our block may still be.
	Remains        []Refusal `json:"remains,omitempty"`
	RemainsOmitted int       `json:"remainsOmitted,omitempty"`
	// Refused are those that could not be blocked or handed over.
	Refused        []Refusal `json:"refused,omitempty"`
	RefusedOmitted int       `json:"refusedOmitted,omitempty"`
	// Late took writes on the source after the last look before the cutover.
	Late        []LateIndex `json:"late,omitempty"`
	LateOmitted int         `json:"lateOmitted,omitempty"`
}

// LateIndex is an index of the plan that took writes on the source after the cutover had begun. Its
// documents are not on the target.
type LateIndex struct {
	Name string `json:"name"`
	UUID string `json:"uuid,omitempty"`
	// New tells whether the index was not there before. Then all Docs are missing on the target.
	New  bool  `json:"new,omitempty"`
	Docs int64 `json:"docs"`
	// Problem says why it could not be blocked; empty if it is.
	Problem string `json:"problem,omitempty"`
}

// Sentence says what became of the index, for people.
func (l LateIndex) Sentence() string {
	text := fmt.Sprintf("index %s took writes after the cutover had begun: its block was gone, and it holds %d "+
		"documents. What was written since is missing on the target", l.Name, l.Docs)
	if l.New {
		text = fmt.Sprintf("index %s appeared after the cutover had begun: its %d documents are missing on the target",
			l.Name, l.Docs)
	}
	if l.Problem != "" {
		return text + ". It still takes writes: " + l.Problem
	}
	return text + ". It is blocked now"
}

// LateSentences are those of all of them.
func LateSentences(late []LateIndex, omitted int) []string {
	var sentences []string
	for _, index := range late {
		sentences = append(sentences, index.Sentence())
	}
	if omitted > 0 {
		sentences = append(sentences, fmt.Sprintf("%d more", omitted))
	}
	return sentences
}

// Sentence says in words where the guard stands.
func (s GuardStatus) Sentence() string {
	ended := ""
	if s.Ended != "" && !strings.Contains(s.Cause, "("+s.Ended+")") {
		ended = " The migration's run has ended (" + s.Ended + ")."
	}
	switch s.Phase {
	case GuardWatching:
		return "A frozen window is open." + ended
	case GuardRemoving:
		return "It is removing the write block from the source: " + s.Cause + "." + ended
	case GuardRemoved:
		return "It has removed the write block from the source: " + s.Cause + "." + ended
	case GuardHandingOver:
		return "The cutover has begun, and it makes the target writable. The source stays blocked." + ended
	case GuardHandedOver:
		return "The target takes writes. The source stays blocked." + ended
	}
	return "No frozen window was opened." + ended
}

// GuardInput starts a guard.
type GuardInput struct {
	Run
	WorkflowID string `json:"workflowId"`
	// RunID is the run of the migration that started the guard.
	RunID   string `json:"runId,omitempty"`
	Cluster string `json:"cluster,omitempty"`
	// Before is what an earlier guard of the plan knew that ended before it was done, From is the
	// run id of that guard, which knows the names.
	Before *GuardStatus `json:"before,omitempty"`
	From   string       `json:"from,omitempty"`
}

// GuardRequest asks something of the guard, through an activity.
type GuardRequest struct {
	Run
	Ask        GuardAsk `json:"ask"`
	WorkflowID string   `json:"workflowId"`
	// OriginalRun is the run as its history began with it, KnownRun the one that it has learned
	// from an answer. A run that was reset is another than both.
	OriginalRun string `json:"originalRun"`
	KnownRun    string `json:"knownRun,omitempty"`
	// Window and Sequence number the windows and the requests of a run.
	Window      int   `json:"window,omitempty"`
	Sequence    int   `json:"sequence"`
	UntilMillis int64 `json:"untilMillis,omitempty"`
	// Indices are those to announce, or those to hand over; Counters are the target's after the
	// last restore. LeaveOut names those not to hand over.
	Indices    []Index               `json:"indices,omitempty"`
	IndicesOf  Stored[[]Index]       `json:"indicesOf,omitzero"`
	Counters   WriteCounters         `json:"counters,omitempty"`
	CountersOf Stored[WriteCounters] `json:"countersOf,omitzero"`
	LeaveOut   []string              `json:"leaveOut,omitempty"`
	// UnknownSettings are index settings that the target has shown not to know.
	UnknownSettings []string `json:"unknownSettings,omitempty"`
	// Look has AskBlock look at the source once it is blocked.
	Look *FrozenLookRequest `json:"look,omitempty"`
}

// GuardCall is the argument of a guard's update.
type GuardCall struct {
	Token       string        `json:"token"`
	RunID       string        `json:"runId"`
	Window      int           `json:"window,omitempty"`
	UntilMillis int64         `json:"untilMillis,omitempty"`
	Indices     []SourceIndex `json:"indices,omitempty"`
	// Read says that the indices to announce have the uuid and the blocks with which the activity that
	// asks has just found them.
	Read     bool            `json:"read,omitempty"`
	Handover []HandoverIndex `json:"handover,omitempty"`
	LeaveOut []string        `json:"leaveOut,omitempty"`
	// First says that this is the first batch of a list, which replaces the last one.
	First bool `json:"first,omitempty"`
}

// GuardAnswer is what became of an ask.
type GuardAnswer struct {
	// RunID is the run that asked. Reset says that it is another than the run knew: it was reset.
	RunID string `json:"runId,omitempty"`
	Reset bool   `json:"reset,omitempty"`
	// Served tells whether the guard has a window open for this run. If not, nothing was done, and
	// Phase and Cause say why.
	Served bool       `json:"served,omitempty"`
	Phase  GuardPhase `json:"phase"`
	Cause  string     `json:"cause,omitempty"`
	// Told says that the guard, or a run before this one, tells of the handover.
	Told bool `json:"told,omitempty"`
	// Hooks are the calls of the plan's hooks by the guard in this window.
	Hooks []HookCall `json:"hooks,omitempty"`
	GuardOutcome
	// Own are announced indices that have blocks of their own.
	Own        []SourceIndex `json:"own,omitempty"`
	OwnOmitted int           `json:"ownOmitted,omitempty"`
	// LeftOut are settings of the source that the listed indices don't get on the target.
	LeftOut  []LeftOut `json:"leftOut,omitempty"`
	Warnings []string  `json:"warnings,omitempty"`
	// Look is how the blocked source stands; nil if it wasn't asked for, or could not be found out.
	Look *FrozenLook `json:"look,omitempty"`
	// Snapshot is what became of the one that the look was to ask for, whatever else is answered.
	Snapshot AskedAhead `json:"snapshot,omitempty"`
}

// WatchRequest names a run of a migration.
type WatchRequest struct {
	WorkflowID string `json:"workflowId"`
	RunID      string `json:"runId"`
}

// MigrationEnd says how a run ended.
type MigrationEnd struct {
	// Status is Temporal's, such as Terminated.
	Status string `json:"status"`
}

// ReadGuardRequest asks a guard that has ended for a page of what it knew.
type ReadGuardRequest struct {
	WorkflowID string `json:"workflowId"`
	RunID      string `json:"runId"`
	GuardPageRequest
}

// GuardList is one of a guard's lists of indices.
type GuardList string

// The lists of a guard.
const (
	// GuardAnnounced are the indices of the window.
	GuardAnnounced GuardList = "announced"
	// GuardLeft are indices from which our block was removed, and which are looked at again.
	GuardLeft GuardList = "left"
	// GuardHandover are the indices that are still to be handed over.
	GuardHandover GuardList = "handover"
)

// GuardPageRequest asks for a page of a list. From is the number of the first entry.
type GuardPageRequest struct {
	List GuardList `json:"list"`
	From int       `json:"from"`
}

// GuardPage is a page of a list. Next is 0 after the last one.
type GuardPage struct {
	Indices  []SourceIndex   `json:"indices,omitempty"`
	Handover []HandoverIndex `json:"handover,omitempty"`
	Next     int             `json:"next,omitempty"`
}

// LookAgainRequest asks for the plan's indices on the source that take writes. With Indices, their
// documents are counted instead.
type LookAgainRequest struct {
	Run
	Indices []string `json:"indices,omitempty"`
}

// The events that a guard tells, as they stand in a report.
const (
	// GuardEventRemoved: the guard removed the block by itself.
	GuardEventRemoved = "blockRemoved"
	// GuardEventHandedOver: the guard handed over although the migration was gone.
	GuardEventHandedOver = "handedOver"
	// GuardEventLate: indices took writes on the source after the cutover.
	GuardEventLate = "lateWrites"
)

// GuardReport is what a guard tells through the webhook.
type GuardReport struct {
	Event string `json:"event"`
	// Message is a sentence for people.
	Message string      `json:"message"`
	Status  GuardStatus `json:"status"`
}

// Sized knows about how many bytes of JSON it takes.
type Sized interface{ JSONBytes() int }

// JSONBytes is a little more than what the index takes.
func (i SourceIndex) JSONBytes() int {
	return len(`{"name":"","uuid":"","blocks":{}}`) + len(i.Name) + len(i.UUID) + mapBytes(i.Blocks)
}

// JSONBytes is a little more than what the index takes.
func (i HandoverIndex) JSONBytes() int {
	return len(`{"name":"","uuid":"","settings":{}}`) + len(i.Name) + len(i.UUID) + mapBytes(i.Settings)
}

func mapBytes(settings map[string]string) (bytes int) {
	//workflowcheck:ignore // a sum depends on no order
	for name, value := range settings {
		bytes += len(name) + len(value) + len(`"":"",`)
	}
	return bytes
}

// Batches splits a list so that no part is larger than so many bytes of JSON, unless it has one
// element.
func Batches[T Sized](list []T, most int) [][]T {
	var batches [][]T
	begin, size := 0, 0
	for i, element := range list {
		bytes := element.JSONBytes()
		if i > begin && size+bytes > most {
			batches = append(batches, list[begin:i])
			begin, size = i, 0
		}
		size += bytes + 1
	}
	if begin < len(list) {
		batches = append(batches, list[begin:])
	}
	return batches
}

// FirstOf are the first GuardNamed of a list, and how many others there are.
func FirstOf[T any](list []T) (first []T, omitted int) {
	if len(list) <= GuardNamed {
		return list, 0
	}
	return list[:GuardNamed], len(list) - GuardNamed
}
