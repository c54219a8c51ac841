package migration

import "fmt"

// Status is the answer to the status query.
type Status struct {
	// Version is that of the worker that answered the query, as its command prints it.
	Version    string `json:"version,omitempty"`
	WorkflowID string `json:"workflowId"`
	Plan       Plan   `json:"plan"`
	Phase      Phase  `json:"phase"`
	// PhaseSinceMillis is the epoch time at which the phase began.
	PhaseSinceMillis int64 `json:"phaseSinceMillis"`
	StartedMillis    int64 `json:"startedMillis"`
	// Step is what is being done now, in words; empty while it waits.
	Step   string `json:"step,omitempty"`
	Paused bool   `json:"paused,omitempty"`
	// Round is the number of the round in progress or last ended; the baseline is 0. Rounds holds
	// what the ended ones did, the newest last, at most the last StatusRounds of them.
	Round       int     `json:"round"`
	RoundsEnded int     `json:"roundsEnded"`
	Rounds      []Round `json:"rounds,omitempty"`
	// NextRoundMillis is the epoch time at which the next round starts automatically.
	NextRoundMillis int64 `json:"nextRoundMillis,omitempty"`
	// Indices are those of the newest round, at most StatusIndices of them; IndicesTotal counts
	// all.
	Indices      []IndexStatus `json:"indices,omitempty"`
	IndicesTotal int           `json:"indicesTotal"`
	// Because says why indices take part in the newest round, and Skipped counts those that don't.
	// Both are empty until a round has asked.
	Because []TakenBecause `json:"because,omitempty"`
	Skipped int            `json:"skipped,omitempty"`
	// FrozenSinceMillis is the epoch time of the write block, FrozenUntilMillis that at which the
	// dead man's switch removes it.
	FrozenSinceMillis int64         `json:"frozenSinceMillis,omitempty"`
	FrozenUntilMillis int64         `json:"frozenUntilMillis,omitempty"`
	FrozenWindow      *FrozenWindow `json:"frozenWindow,omitempty"`
	// DownSinceMillis is when the first hook was called that stops the writers; 0 without one. Hooks
	// are the newest calls, at most StatusNotes of them.
	DownSinceMillis int64      `json:"downSinceMillis,omitempty"`
	Hooks           []HookCall `json:"hooks,omitempty"`
	// FreezeRequested and CutoverRequested are requests that wait for their phase.
	FreezeRequested  bool `json:"freezeRequested,omitempty"`
	CutoverRequested bool `json:"cutoverRequested,omitempty"`
	// Attention is set while the migration waits for retry or abort, or a step keeps failing.
	Attention *Attention `json:"attention,omitempty"`
	// Copy is set while a delta is copied in pages. Bandwidth is the limit on all copies, if it is
	// another than the plan's.
	Copy *CopyProgress `json:"copy,omitempty"`
	// Prediction is what the frozen window would take if it began when the last round ended, or
	// right before the block.
	Prediction *Prediction `json:"prediction,omitempty"`
	// Proven is how much was proven equal before the freeze; nil if nothing was looked at. Prove says
	// what is in the way of more.
	Proven *Proven `json:"proven,omitempty"`
	Prove  string  `json:"prove,omitempty"`
	// CloseEnough is set when the rounds have reached rounds.until, or no longer make the window
	// shorter. AutoSpent says that freeze.auto has had its window.
	CloseEnough bool      `json:"closeEnough,omitempty"`
	AutoSpent   bool      `json:"autoSpent,omitempty"`
	Bandwidth   *ByteRate `json:"bandwidth,omitempty"`
	// Rehearsal is what a rehearsal has found so far; nil in a migration.
	Rehearsal *Rehearsal `json:"rehearsal,omitempty"`
	// Late took writes on the source after the last look before the cutover; LateOmitted counts those
	// that are not named.
	Late        []LateIndex `json:"late,omitempty"`
	LateOmitted int         `json:"lateOmitted,omitempty"`
	// Failed are the newest snapshots that failed, at most StatusNotes of them. FailedOmitted counts
	// the others.
	Failed        []FailedSnapshot `json:"failedSnapshots,omitempty"`
	FailedOmitted int              `json:"failedSnapshotsOmitted,omitempty"`
	// Notified is what became of the newest messages to the plan's receivers.
	Notified []Notified `json:"notified,omitempty"`
	// NotHot are the plan's indices that the source keeps in UltraWarm or cold storage, as the newest
	// look found them; nil if there are none.
	NotHot *NotHot `json:"notHot,omitempty"`
	// WaitsFor says what it waits for, Next lists the commands that move it on.
	WaitsFor string     `json:"waitsFor,omitempty"`
	Next     []string   `json:"next,omitempty"`
	Warnings []string   `json:"warnings,omitempty"`
	Notes    []Decision `json:"notes,omitempty"`
}

// The most that a status lists, so that it stays a page.
const (
	StatusRounds  = 20
	StatusIndices = 50
	StatusNotes   = 10
)

// IndexStatus is what is known of an index: on the source when last resolved, on the target after
// the last restore.
type IndexStatus struct {
	Name        string `json:"name"`
	Shards      int    `json:"shards"`
	SourceDocs  int64  `json:"sourceDocs"`
	SourceBytes int64  `json:"sourceBytes"`
	// TargetDocs is -1 until the first restore.
	TargetDocs int64 `json:"targetDocs"`
	Equal      *bool `json:"equal,omitempty"`
	// Evidence says, in words, by what it was found equal.
	Evidence string `json:"evidence,omitempty"`
}

// Attention is a failure that no retry of Temporal's has fixed: a person is needed, or should look.
type Attention struct {
	// Step is the step that failed, in words; Type is the error's class.
	Step string `json:"step"`
	Type string `json:"type"`
	// Message says what was tried, on what, and what came back; Remedy what to do.
	Message     string `json:"message"`
	Remedy      string `json:"remedy"`
	SinceMillis int64  `json:"sinceMillis"`
	// Failures counts how often this step has failed so since it began.
	Failures int `json:"failures"`
	// Retrying says that the failure may pass and has lasted for long: the step goes on trying,
	// without a person. Else it waits for retry or abort.
	Retrying bool `json:"retrying,omitempty"`
}

// OfHook tells whether it is about a hook of the plan, which a person may skip.
func (a *Attention) OfHook() bool { return a != nil && ErrorType(a.Type).OfHook() }

// RemedyIn says what a person can do in a phase.
func (a Attention) RemedyIn(phase Phase) string {
	if a.Retrying {
		return keepsFailing.in(phase)
	}
	return ErrorType(a.Type).RemedyIn(phase)
}

// CopyProgress says how far the pages of a delta are. What the pages under way have done so far
// stands in their heartbeats.
type CopyProgress struct {
	PagesDone  int   `json:"pagesDone"`
	PagesTotal int   `json:"pagesTotal"`
	BlobsDone  int64 `json:"blobsDone"`
	BlobsTotal int64 `json:"blobsTotal"`
	BytesDone  int64 `json:"bytesDone"`
	BytesTotal int64 `json:"bytesTotal"`
}

// Progress is what a long activity says in its heartbeats; `temporal workflow describe` and
// `starter watch` show it.
type Progress struct {
	// Doing is what it does, in words, such as "copying".
	Doing      string `json:"doing"`
	BlobsDone  int64  `json:"blobsDone,omitempty"`
	BlobsTotal int64  `json:"blobsTotal,omitempty"`
	BytesDone  int64  `json:"bytesDone,omitempty"`
	BytesTotal int64  `json:"bytesTotal,omitempty"`
	// ShardsDone and ShardsTotal are for snapshots and restores, Docs for verification.
	ShardsDone  int   `json:"shardsDone,omitempty"`
	ShardsTotal int   `json:"shardsTotal,omitempty"`
	DocsDone    int64 `json:"docsDone,omitempty"`
	DocsTotal   int64 `json:"docsTotal,omitempty"`
	// Waiting says what it waits for, if something else is in its way.
	Waiting string `json:"waiting,omitempty"`
	// Reads is what the next attempt needn't read again.
	Reads []ShardRead `json:"reads,omitempty"`
}

// Convergence says what to do when rounds.until has nothing more to gain; nothing as long as it
// has.
func (s Status) Convergence() string {
	if !s.CloseEnough {
		return ""
	}
	aim := s.Plan.Rounds.Until.Window
	switch reached := s.Prediction != nil && s.Prediction.Millis <= aim.Std().Milliseconds(); {
	case !reached:
		return fmt.Sprintf("The rounds no longer make the window shorter, and it is longer than rounds.until (%s). "+
			"freeze.auto does not freeze. If the window is short enough for you, send freeze.", aim)
	case s.AutoSpent && s.Plan.Freeze.Auto:
		return "The predicted window is short enough (rounds.until). " +
			"The last window ended without a cutover, so freeze.auto freezes no more. Send freeze when somebody is " +
			"there for the cutover."
	}
	return "The predicted window is short enough (rounds.until): send freeze now."
}
