package migration

// FailedSnapshot is a snapshot that ended PARTIAL or FAILED, or that the source could not take. Its
// round needs another one.
type FailedSnapshot struct {
	Round   int `json:"round"`
	Attempt int `json:"attempt"`
	// Snapshot is its name. The source may have nothing of that name.
	Snapshot string `json:"snapshot"`
	AtMillis int64  `json:"atMillis"`
	Reason   string `json:"reason"`
	// Again says that the next one was taken without a person.
	Again bool `json:"again,omitempty"`
}
