package migration

// What one activity does right after another, so that no hand-over through Temporal lies between
// them while writers wait. Each is a help only: a result without it has the workflow call the
// activity that does it, and a worker of an older version gives such a result.

// FrozenLookRequest has AskGuard look at the source once all of it is blocked. What the two
// activities get beside the run; the run is that of the request.
type FrozenLookRequest struct {
	Indices   []string                 `json:"indices,omitempty"`
	IndicesOf Stored[[]Index]          `json:"indicesOf,omitzero"`
	Seen      map[string]int64         `json:"seen,omitempty"`
	SeenOf    Stored[map[string]int64] `json:"seenOf,omitzero"`
	Find      *ChangedRequest          `json:"find,omitempty"`
}

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
