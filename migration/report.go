package migration

// The results that a report can have.
const (
	ResultCompleted = "completed"
	ResultAborted   = "aborted"
	ResultRehearsed = "rehearsed"
	// ResultBlockRemoved is that of a call of the webhook which says that the guard removed the
	// write block by itself. No report of a migration has it.
	ResultBlockRemoved = "blockRemoved"
)

// Report is the workflow's result: what was copied, how long writes were blocked, and the proof.
type Report struct {
	Result     string `json:"result"`
	WorkflowID string `json:"workflowId"`
	Plan       string `json:"plan"`
	// StartedMillis and EndedMillis are epoch milliseconds.
	StartedMillis int64 `json:"startedMillis"`
	EndedMillis   int64 `json:"endedMillis"`
	// Rounds lists the baseline, each incremental round and the final one; of very many,
	// RoundsOmitted after the baseline are left out.
	Rounds        []Round       `json:"rounds"`
	RoundsOmitted int           `json:"roundsOmitted,omitempty"`
	Indices       []IndexResult `json:"indices"`
	// IndicesOmitted sums up the indices that Indices leaves out: of very many, those that are not
	// equal or differ are listed first.
	IndicesOmitted *Unlisted `json:"indicesOmitted,omitempty"`
	// Evidence sums up by which evidence all indices were found equal.
	Evidence *Evidence `json:"evidence,omitempty"`
	// FrozenWindow is the last one; earlier ones, ended by the dead man's switch, stand in
	// Warnings.
	FrozenWindow *FrozenWindow `json:"frozenWindow,omitempty"`
	// Prediction is what was predicted of it right before the block.
	Prediction *Prediction `json:"prediction,omitempty"`
	// Rehearsal is what a rehearsal has found; nil in a migration.
	Rehearsal *Rehearsal `json:"rehearsal,omitempty"`
	// Hooks are the calls of the plan's hooks, in order. HooksOmitted counts those before them.
	Hooks        []HookCall `json:"hooks,omitempty"`
	HooksOmitted int        `json:"hooksOmitted,omitempty"`
	// Decisions are the requests that people sent, in order.
	Decisions []Decision `json:"decisions,omitempty"`
	// SettingsLeftOut are settings that indices have on the source and not on the target.
	SettingsLeftOut []LeftOut `json:"settingsLeftOut,omitempty"`
	// NotHot are the plan's indices that no round took, since the source keeps them in UltraWarm or
	// cold storage; nil if there are none.
	NotHot *NotHot `json:"notHot,omitempty"`
	// NotHandedOver are indices without which a person ended the cutover, and what the target
	// refused.
	NotHandedOver []Refusal `json:"notHandedOver,omitempty"`
	// Warnings were found on the way and stopped nothing.
	Warnings []string `json:"warnings,omitempty"`
	// Remains says what is left where, and what to do with it.
	Remains []string `json:"remains,omitempty"`
	// Late took writes on the source after the last look before the cutover. Their documents are
	// not on the target. LateOmitted counts those that are not named.
	Late        []LateIndex `json:"late,omitempty"`
	LateOmitted int         `json:"lateOmitted,omitempty"`
	// Failed are snapshots that failed, of all rounds. FailedOmitted counts those before them.
	Failed        []FailedSnapshot `json:"failedSnapshots,omitempty"`
	FailedOmitted int              `json:"failedSnapshotsOmitted,omitempty"`
	// Notified is what had become of the newest messages to the plan's receivers when the migration
	// ended. Those that were under way go on.
	Notified []Notified `json:"notified,omitempty"`
	// Guard is set if the guard tells this, and not the migration.
	Guard *GuardReport `json:"guard,omitempty"`
	// Error is why the migration was aborted, if it was not a person's wish.
	Error string `json:"error,omitempty"`
}

// The kinds of round.
const (
	RoundBaseline    = "baseline"
	RoundIncremental = "incremental"
	// RoundHot is the one that runs right before the block.
	RoundHot   = "hot"
	RoundFinal = "final"
	// RoundRehearsed is done as the final one would be, while writes go on.
	RoundRehearsed = "rehearsed"
)

// Round is what one round did. Times are epoch milliseconds as Elasticsearch reports them,
// durations milliseconds as the workflow saw them.
type Round struct {
	Number  int    `json:"number"`
	Kind    string `json:"kind"`
	Attempt int    `json:"attempt"`
	// Snapshot and UUID name the snapshot.
	Snapshot        string `json:"snapshot"`
	UUID            string `json:"uuid"`
	StartTimeMillis int64  `json:"startTimeMillis"`
	EndTimeMillis   int64  `json:"endTimeMillis"`
	BlobsCopied     int64  `json:"blobsCopied"`
	BytesCopied     int64  `json:"bytesCopied"`
	// BlobsStreamed and BytesStreamed are those of them that were copied while the snapshot still
	// ran.
	BlobsStreamed int64 `json:"blobsStreamed,omitempty"`
	BytesStreamed int64 `json:"bytesStreamed,omitempty"`
	// BlobsSkipped and BytesSkipped are those of the snapshot that the target repository held
	// already.
	BlobsSkipped int64 `json:"blobsSkipped"`
	BytesSkipped int64 `json:"bytesSkipped"`
	// Generation is the N of the root index-N that was published, -1 if the source runs
	// Elasticsearch 2.x, whose root has none.
	Generation     int64 `json:"generation"`
	SnapshotMillis int64 `json:"snapshotMillis"`
	CopyMillis     int64 `json:"copyMillis"`
	RestoreMillis  int64 `json:"restoreMillis"`
	// BytesRestored and BytesReused split what the target's shards hold by whether the restore read
	// it from the repository or found it there.
	BytesRestored int64 `json:"bytesRestored"`
	BytesReused   int64 `json:"bytesReused"`
	// Files says whether the restore recovered the files that the snapshot lists; nil if nobody
	// looked. Only the newest round names what it found.
	Files   *RestoredFiles `json:"files,omitempty"`
	Docs    int64          `json:"docs"`
	Indices int            `json:"indices"`
	// Taken counts the indices that took part, by reason, and Skipped those that didn't: of each,
	// the target holds what the source held before the snapshot. Both are empty of a round in which
	// all take part without being asked.
	Taken   map[Reason]int `json:"taken,omitempty"`
	Skipped int            `json:"skipped,omitempty"`
	// Groups is how many groups of indices the round was cut into, 0 if it was not. Their steps
	// overlapped: GroupedMillis is what all took together, and the times of the steps add up those
	// of all groups.
	Groups        int   `json:"groups,omitempty"`
	GroupedMillis int64 `json:"groupedMillis,omitempty"`
	// Writes counts the operations on the source between the last round's snapshot and this one.
	Writes int64 `json:"writes"`
	// Lifted says that the clusters' throttles were raised to those of the window.
	Lifted bool `json:"lifted,omitempty"`
}

// Took counts the indices that took part. known is false of a round that doesn't tell.
func (r Round) Took() (indices int, known bool) {
	return r.Indices - r.Skipped, r.Skipped > 0 || len(r.Taken) > 0
}

// IndexResult is the verdict on one index.
type IndexResult struct {
	Name       string `json:"name"`
	SourceDocs int64  `json:"sourceDocs"`
	TargetDocs int64  `json:"targetDocs"`
	// Equal means: the same number of documents, in each shard and in all, and, unless
	// verify.checksum is none, the same type, id, routing and version of each. Evidence says how
	// that was found.
	Equal bool `json:"equal"`
	// Moved says, in a rehearsal, that the source took writes since its snapshot, so that nothing
	// follows from a difference.
	Moved bool `json:"moved,omitempty"`
	// Checksum is the source's, in hexadecimal; empty without one, and if parts of the index were
	// read at different times.
	Checksum string    `json:"checksum,omitempty"`
	Evidence *Evidence `json:"evidence,omitempty"`
	// Differences are sentences: what makes it unequal, and what differs in settings, mappings and
	// aliases.
	Differences []string `json:"differences,omitempty"`
}

// FrozenWindow is the time in which writes were blocked, until the target was verified, without
// waiting for people.
type FrozenWindow struct {
	// StartedMillis is the epoch time at which the block was asked for.
	StartedMillis int64 `json:"startedMillis"`
	// Millis is from the block to the verified target.
	Millis         int64 `json:"millis"`
	BlockMillis    int64 `json:"blockMillis"`
	SnapshotMillis int64 `json:"snapshotMillis"`
	CopyMillis     int64 `json:"copyMillis"`
	RestoreMillis  int64 `json:"restoreMillis"`
	VerifyMillis   int64 `json:"verifyMillis"`
	// Groups and GroupedMillis as in Round.
	Groups        int   `json:"groups,omitempty"`
	GroupedMillis int64 `json:"groupedMillis,omitempty"`
	// VerifyDocs and VerifyShards are how many documents of how many shards the verification had to
	// read.
	VerifyDocs   int64 `json:"verifyDocs,omitempty"`
	VerifyShards int   `json:"verifyShards,omitempty"`
	// BlockedMillis is from the block until the target took writes, with everything that people
	// were waited for; 0 without a cutover.
	BlockedMillis int64 `json:"blockedMillis,omitempty"`
	// HookMillis is what hooks took between the block and the final round.
	HookMillis int64 `json:"hookMillis,omitempty"`
	// DownMillis is how long nobody could write, with hooks in the plan: from the first call of
	// beforeBlock, or else from the block, until the last hook of afterHandover had answered, or else
	// until the target took writes. It includes the wait for people. It is 0 without hooks and
	// without a cutover. DownSinceMillis is the epoch time at which it began, if a hook began it.
	DownMillis      int64 `json:"downMillis,omitempty"`
	DownSinceMillis int64 `json:"downSinceMillis,omitempty"`
}

// Decision records what a person asked for, when, and what became of it.
type Decision struct {
	Request    Request `json:"request"`
	By         string  `json:"by,omitempty"`
	Reason     string  `json:"reason,omitempty"`
	AtMillis   int64   `json:"atMillis"`
	Phase      Phase   `json:"phase"`
	Verdict    Verdict `json:"verdict"`
	Commentary string  `json:"commentary,omitempty"`
}
