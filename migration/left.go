package migration

// The activities that keep the target to what the source has, beyond the documents.
const (
	// ActivityClearTarget takes a [ClearRequest] and returns a [ClearResult]. It comes before a
	// restore that what the target has of earlier rounds would spoil.
	ActivityClearTarget = "ClearTarget"
	// ActivityCheckDependencies takes a [Run] and has no result. It makes sure that the target has
	// what the settings of the source's indices name and no restore brings along: ingest pipelines.
	// ErrorMissing if not. ErrorNotHot if an index has been moved to where no snapshot takes it.
	ActivityCheckDependencies = "CheckDependencies"
	// ActivityTryDefinitions takes a [Run] and returns a [TryResult]. It has the target check the
	// analysis, the mappings and the alias filters of the source's indices, on a throw-away index.
	// ErrorRefused if the target could not use one of them.
	ActivityTryDefinitions = "TryDefinitions"
)

// What becomes of the target's copy of an index that was deleted on the source.
const (
	DeletedKept    = "keep"
	DeletedRemoved = "delete"
)

// ClearRequest asks for the target to be cleared of what a round may trip over. The other fields
// are those of a CloseRequest.
type ClearRequest struct {
	Run
	// Indices are those of this round.
	Indices      []Index               `json:"indices,omitempty"`
	IndicesOf    Stored[[]Index]       `json:"indicesOf,omitzero"`
	Expected     WriteCounters         `json:"expected,omitempty"`
	ExpectedOf   Stored[WriteCounters] `json:"expectedOf,omitzero"`
	Begun        []string              `json:"begun,omitempty"`
	BegunOf      []Stored[[]Index]     `json:"begunOf,omitempty"`
	InDoubt      bool                  `json:"inDoubt,omitempty"`
	AcceptWrites bool                  `json:"acceptWrites,omitempty"`
}

// ClearResult is what became of them.
type ClearResult struct {
	// Deleted counts copies of ours that the target no longer has. If it isn't 0, the counters are
	// those that were expected without them.
	Deleted    int                   `json:"deleted,omitempty"`
	Counters   WriteCounters         `json:"counters,omitempty"`
	CountersOf Stored[WriteCounters] `json:"countersOf,omitzero"`
	// Back counts indices that are not among those of the round and that the source still has. They
	// are closed, for example. Nothing was done to their copies, and they should be asked for
	// again.
	Back int `json:"back,omitempty"`
	// Warnings say what was done, for people.
	Warnings []string `json:"warnings,omitempty"`
}

// TryResult is what the target said of the definitions that it was given to try.
type TryResult struct {
	// Tried counts the different definitions.
	Tried    int      `json:"tried"`
	Warnings []string `json:"warnings,omitempty"`
}
