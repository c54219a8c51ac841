package migration

// What one activity does right after another, so that no hand-over through Temporal lies between
// them while writers wait. A result without it has the workflow call the activity that does it, and a
// worker of an older version gives such a result.

// FrozenLookRequest has AskGuard look at the source once all of it is blocked. What the two
// activities get beside the run; the run is that of the request.
type FrozenLookRequest struct {
	Indices   []string                 `json:"indices,omitempty"`
	IndicesOf Stored[[]Index]          `json:"indicesOf,omitzero"`
	Seen      map[string]int64         `json:"seen,omitempty"`
	SeenOf    Stored[map[string]int64] `json:"seenOf,omitzero"`
	Find      *ChangedRequest          `json:"find,omitempty"`
	// Snapshot is the name of the final round's snapshot, which is asked for as soon as it is known
	// what takes part in it. If it is empty, or if nothing takes part, none is asked for.
	Snapshot string `json:"snapshot,omitempty"`
}

// AskedAhead says what became of FrozenLookRequest.Snapshot. Nothing, as of a worker of an older version
// or of no answer, means the same as AskedInVain.
type AskedAhead string

const (
	// NotAsked means that there is no such snapshot, unless somebody else takes it.
	NotAsked AskedAhead = "not-asked"
	// AskedFor means that the source has accepted the request for it, and that nothing was written from
	// the reading of the marks of its indices to the look's last sample.
	AskedFor AskedAhead = "asked"
	// AskedInVain means that there may be one, or will be, that is of no use.
	AskedInVain AskedAhead = "in-vain"
)

// FrozenLook is the blocked source: what ActivityAwaitStandstill and ActivityResolveIndices found,
// both asked after the block was set.
type FrozenLook struct {
	Standstill Standstill `json:"standstill"`
	Indices    IndexList  `json:"indices"`
}

// OpenAfterRestore has RestoreSnapshot do what ActivityOpenTarget does. The fields are those of
// [OpenRequest].
type OpenAfterRestore struct {
	Known   WriteCounters         `json:"known,omitempty"`
	KnownOf Stored[WriteCounters] `json:"knownOf,omitzero"`
	All     []string              `json:"all,omitempty"`
	AllOf   Stored[[]Index]       `json:"allOf,omitzero"`
}
