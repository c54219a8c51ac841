package migration

// The activities of a handover. Both take indices in batches.
const (
	// ActivityCheckHandover takes a [CheckHandoverRequest] and has no result. It is the last check
	// before there is no way back, and changes nothing.
	ActivityCheckHandover = "CheckHandover"
	// ActivityHandOver takes a [HandOverRequest] and returns a [HandOverResult].
	ActivityHandOver = "HandOver"
)

// CheckHandoverRequest asks whether the target's indices are as the last restore left them: behind
// our block, with the same counters. ErrorTargetWritten if not.
type CheckHandoverRequest struct {
	Run
	Indices    []string              `json:"indices"`
	IndicesOf  Stored[[]Index]       `json:"indicesOf,omitzero"`
	Counters   WriteCounters         `json:"counters,omitempty"`
	CountersOf Stored[WriteCounters] `json:"countersOf,omitzero"`
}

// HandoverIndex is one index of the target, and the settings that it gets once it takes writes.
type HandoverIndex struct {
	Name string `json:"name"`
	// UUID is that of the restored index: another one is not handed over.
	UUID string `json:"uuid,omitempty"`
	// Settings are replicas, refresh interval and whatever else a restore sets aside, by flat name.
	// An empty value removes the setting.
	Settings map[string]string `json:"settings,omitempty"`
}

// HandOverRequest asks for indices to take writes. It comes only after ActivityCheckHandover has
// succeeded and the cutover has begun, so whoever runs it compares nothing: writes to an index that
// has no block any more are expected.
type HandOverRequest struct {
	Run
	Indices []HandoverIndex `json:"indices"`
}

// HandOverResult names the indices that don't take writes yet, or lack settings. All others do, and
// were probed.
type HandOverResult struct {
	Refused []Refusal `json:"refused,omitempty"`
}
