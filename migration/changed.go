package migration

// ActivityFindChanged takes a [ChangedRequest] and returns [Changed]. It changes nothing.
const ActivityFindChanged = "FindChanged"

// ChangedRequest asks which indices take part in a round: those that are not what they were when
// the target got them. It has to come before the round's snapshot, and in the frozen window after
// the standstill.
type ChangedRequest struct {
	Run
	// Indices are all of the round.
	Indices   []Index         `json:"indices,omitempty"`
	IndicesOf Stored[[]Index] `json:"indicesOf,omitzero"`
	// Restored are the marks of what the target holds, taken before the snapshot that was restored.
	// Doubted names indices whose marks mean nothing, since a restore of them was begun whose end
	// was not seen.
	Restored   IndexMarks         `json:"restored,omitempty"`
	RestoredOf Stored[IndexMarks] `json:"restoredOf,omitzero"`
	Doubted    []string           `json:"doubted,omitempty"`
	DoubtedOf  []Stored[[]Index]  `json:"doubtedOf,omitempty"`
	// Expected are the target's counters after the last restores: what is not so there takes part.
	Expected   WriteCounters         `json:"expected,omitempty"`
	ExpectedOf Stored[WriteCounters] `json:"expectedOf,omitzero"`
	// IgnoreSettings are settings that the next restore leaves out. An index that keeps one of them
	// takes part.
	IgnoreSettings []string `json:"ignoreSettings,omitempty"`
	// All has all indices take part.
	All bool `json:"all,omitempty"`
	// OnTarget also asks what the target has of those that don't take part: then a verification later
	// in the frozen window needs to ask nothing about them.
	OnTarget bool `json:"onTarget,omitempty"`
}

// TargetIndex is what the target has of an index that stands as it was restored.
type TargetIndex struct {
	IndexMark
	// Docs are those of each shard, as Lucene counts them.
	Docs []int64 `json:"docs"`
}

// TargetIndices are by the names of the indices on the source.
type TargetIndices = map[string]TargetIndex

// Changed says which indices take part in a round, and why.
type Changed struct {
	// Taking are those that take part. It may be empty, which means none, and to Elasticsearch all:
	// then no snapshot is taken.
	Taking IndexList `json:"taking"`
	// Skipped counts those that don't.
	Skipped int `json:"skipped,omitempty"`
	// Because says why indices take part.
	Because []TakenBecause `json:"because,omitempty"`
	// Marks are those of all indices once those that take part are restored.
	Marks   IndexMarks         `json:"marks,omitempty"`
	MarksOf Stored[IndexMarks] `json:"marksOf,omitzero"`
	// OnTarget is what the target has of those that don't take part, if that was asked.
	OnTarget   TargetIndices         `json:"onTarget,omitempty"`
	OnTargetOf Stored[TargetIndices] `json:"onTargetOf,omitzero"`
}

// ForgetTarget has whoever comes next ask the target again.
func (c *Changed) ForgetTarget() { c.OnTarget, c.OnTargetOf = nil, Stored[TargetIndices]{} }

// TakenBecause counts indices that take part in a round for one reason.
type TakenBecause struct {
	Reason  Reason `json:"reason"`
	Indices int    `json:"indices"`
	// First names some of them.
	First []string `json:"first,omitempty"`
}

// Reason is why an index takes part in a round.
type Reason string

// The reasons, in the order in which they are told.
const (
	// ReasonFull: the round takes all, as the baseline does.
	ReasonFull Reason = "full"
	// ReasonNew: it was never restored.
	ReasonNew Reason = "new"
	// ReasonCreatedAgain: it is another index of the same name.
	ReasonCreatedAgain Reason = "createdAgain"
	// ReasonWritten: it was written to, or its shards have committed since.
	ReasonWritten Reason = "written"
	// ReasonDefinition: its mappings, settings or aliases were changed.
	ReasonDefinition Reason = "definition"
	// ReasonMoved: one of its shards moved, or its node was restarted.
	ReasonMoved Reason = "moved"
	// ReasonTarget: the target no longer has it as it was restored.
	ReasonTarget Reason = "target"
	// ReasonUnknown: its marks are not known.
	ReasonUnknown Reason = "unknown"
)

// Reasons lists all reasons in the order in which they are told.
func Reasons() []Reason {
	return []Reason{
		ReasonFull, ReasonNew, ReasonCreatedAgain, ReasonWritten, ReasonDefinition, ReasonMoved, ReasonTarget,
		ReasonUnknown,
	}
}

// Text is the reason in words, as in "2 indices: new".
func (r Reason) Text() string {
	switch r {
	case ReasonFull:
		return "this round takes all"
	case ReasonNew:
		return "new"
	case ReasonCreatedAgain:
		return "created again"
	case ReasonWritten:
		return "written"
	case ReasonDefinition:
		return "mapping, settings or aliases changed"
	case ReasonMoved:
		return "a shard moved or a node restarted"
	case ReasonTarget:
		return "not as restored on the target"
	case ReasonUnknown:
		return "marks unknown"
	}
	return string(r)
}

// NamedReasons is how many indices are named for each reason.
const NamedReasons = 3

// WhyChanged is the reason why an index takes part whose mark is not what it was; empty if it is.
// Marks of shards begin with what writes change, up to the first slash.
func (m IndexMark) WhyChanged(before IndexMark) Reason {
	switch {
	case m.Unchanged(before):
		return ""
	case m.UUID == "" || before.UUID == "":
		return ReasonUnknown
	case m.UUID != before.UUID:
		return ReasonCreatedAgain
	case m.written(before):
		return ReasonWritten
	case m.Definition == "" || before.Definition == "":
		return ReasonUnknown
	case m.Definition != before.Definition:
		return ReasonDefinition
	case m.unknown() || before.unknown():
		return ReasonUnknown
	}
	return ReasonMoved
}
