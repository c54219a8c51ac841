package migration

// The names under which the activities are registered. Each equals the method of
// activities.Activities that implements it.
const (
	ActivityPreflight              = "Preflight"
	ActivityEnsureTargetBucket     = "EnsureTargetBucket"
	ActivityRegisterRepositories   = "RegisterRepositories"
	ActivityUnregisterRepositories = "UnregisterRepositories"
	ActivityResolveIndices         = "ResolveIndices"
	ActivityTakeSnapshot           = "TakeSnapshot"
	ActivityAbortSnapshot          = "AbortSnapshot"
	ActivityCopySnapshot           = "CopySnapshot"
	ActivityAwaitShards            = "AwaitShards"
	ActivityCopyShards             = "CopyShards"
	ActivityCopyAhead              = "CopyAhead"
	ActivityPublishAhead           = "PublishAhead"
	ActivityCopyPage               = "CopyPage"
	ActivityPublishSnapshot        = "PublishSnapshot"
	ActivityCloseTarget            = "CloseTarget"
	ActivityRestoreSnapshot        = "RestoreSnapshot"
	ActivityOpenTarget             = "OpenTarget"
	ActivityReadBlocks             = "ReadBlocks"
	ActivityBlockWrites            = "BlockWrites"
	ActivityAwaitStandstill        = "AwaitStandstill"
	ActivityReadThrottles          = "ReadThrottles"
	ActivitySetThrottles           = "SetThrottles"
	ActivityRestoreThrottles       = "RestoreThrottles"
	ActivityAwaitFreeSlot          = "AwaitFreeSlot"
	ActivityLiftBlock              = "LiftBlock"
	ActivityVerifyTarget           = "VerifyTarget"
	ActivityOpenTargetForWrites    = "OpenTargetForWrites"
	ActivityCallWebhook            = "CallWebhook"
	ActivitySendNotification       = "SendNotification"
	ActivityAudit                  = "AuditRepositories"
	// Of a rehearsal only.
	ActivityMeasureFootprint       = "MeasureFootprint"
	ActivityDeleteRehearsedIndices = "DeleteRehearsedIndices"
	ActivityDeleteSnapshots        = "DeleteSnapshots"
	ActivityDeleteCopies           = "DeleteCopies"
	// ActivityFindRemains takes a FindRemainsRequest and returns Remains. It changes nothing.
	ActivityFindRemains = "FindRemains"
	// ActivityRemoveRemains takes a RemoveRemainsRequest and returns Removed.
	ActivityRemoveRemains = "RemoveRemains"
	// ActivityCallHook takes a CallHookRequest and returns a HookAnswer.
	ActivityCallHook = "CallHook"
)

// ActivityNames lists the names of all activities, for whoever has to know each of them: a worker
// that must serve them, a test that must not forget one.
func ActivityNames() []string {
	return []string{
		ActivityPreflight, ActivityEnsureTargetBucket, ActivityRegisterRepositories,
		ActivityUnregisterRepositories, ActivityResolveIndices, ActivityTakeSnapshot,
		ActivityAbortSnapshot, ActivityCopySnapshot, ActivityAwaitShards, ActivityCopyShards,
		ActivityCopyAhead, ActivityPublishAhead,
		ActivityCopyPage, ActivityPublishSnapshot, ActivityCloseTarget, ActivityRestoreSnapshot,
		ActivityOpenTarget, ActivityReadBlocks, ActivityBlockWrites, ActivityAwaitStandstill,
		ActivityReadThrottles, ActivitySetThrottles, ActivityRestoreThrottles, ActivityAwaitFreeSlot,
		ActivityLiftBlock, ActivityVerifyTarget, ActivityOpenTargetForWrites, ActivityCallWebhook,
		ActivitySendNotification, ActivityAudit, ActivityMeasureFootprint,
		ActivityDeleteRehearsedIndices,
		ActivityDeleteSnapshots,
		ActivityDeleteCopies, ActivityFindRemains, ActivityRemoveRemains,
		ActivityReadSourceBlocks, ActivityBlockSource, ActivityUnblockSource,
		ActivityAskGuard, ActivityWatchGuard, ActivityWatchMigration, ActivityReadGuard, ActivityLookAgain,
		ActivityClearTarget, ActivityCheckDependencies, ActivityTryDefinitions,
		ActivityTryHandover, ActivityCheckShardLimit, ActivityCheckHandover, ActivityHandOver,
		ActivityFindChanged, ActivityCutGroups, ActivityPlanProofs, ActivityProve, ActivityCallHook,
		ActivityReadTranscript, ActivityCheckPlan, ActivityWatchWrites,
	}
}

// Run is what every activity needs to know of the migration: the plan, and the token that keeps
// this run's repository apart from every other's.
type Run struct {
	Plan  Plan   `json:"plan"`
	Token string `json:"token"`
}

// TriedIndex is the throw-away index on the target on which this run tries definitions. No other run
// has it.
func (r Run) TriedIndex() string { return "snapferry-try-" + r.Plan.Name + "-" + r.Token }

// RepositoryName is the name under which both clusters know the repository of this run. It never
// begins with cs-, which Amazon keeps for itself.
func (r Run) RepositoryName() string {
	if r.Plan.Rehearsal {
		return "snapferry-rehearsal-" + r.Plan.Name + "-" + r.Token
	}
	return "snapferry-" + r.Plan.Name + "-" + r.Token
}

// SourceBasePath is the folder of this run in the S3 bucket.
func (r Run) SourceBasePath() string { return r.Plan.Source.Repository.BasePath + "/" + r.Token }

// TargetBasePath is the folder of this run in the OSS bucket.
func (r Run) TargetBasePath() string { return r.Plan.Target.Repository.BasePath + "/" + r.Token }

// ListsPath is the folder in the OSS bucket that holds the lists which are too long for payloads.
// It lies beside the run's repository, not inside.
func (r Run) ListsPath() string { return r.TargetBasePath() + "-lists" }

// PreflightResult is what preflight found.
type PreflightResult struct {
	SourceVersion string    `json:"sourceVersion"`
	TargetVersion string    `json:"targetVersion"`
	Indices       IndexList `json:"indices"`
	Warnings      []string  `json:"warnings,omitempty"`
	// Problems are those that would stop the plan's migration and that a rehearsal can do without.
	// In a migration they are the error.
	Problems []string `json:"problems,omitempty"`
}

// Index is an index of the source as a round found it.
type Index struct {
	Name string `json:"name"`
	// UUID tells an index from another that has its name later.
	UUID   string `json:"uuid,omitempty"`
	Shards int    `json:"shards"`
	// Docs counts live documents of the primaries, Bytes their store.
	Docs  int64 `json:"docs"`
	Bytes int64 `json:"bytes"`
	// Writes counts the index and delete operations on the primaries since each was last opened.
	Writes int64 `json:"writes,omitempty"`
	// Replicas and RefreshInterval are what cutover sets on the target; RefreshInterval is empty if
	// the index has the default.
	Replicas        int    `json:"replicas"`
	RefreshInterval string `json:"refreshInterval,omitempty"`
}

// IndexNames are the names of indices, in their order.
func IndexNames(indices []Index) []string {
	names := make([]string, len(indices))
	for i, index := range indices {
		names[i] = index.Name
	}
	return names
}

// ResolveRequest asks for the indices that the plan stands for now.
type ResolveRequest struct {
	Run
	// Seen are the operations that each index had counted before, for AboutIndices.Since.
	Seen   map[string]int64         `json:"seen,omitempty"`
	SeenOf Stored[map[string]int64] `json:"seenOf,omitzero"`
	// Pick names indices of which AboutIndices.Moved should say whether they were written.
	Pick []string `json:"pick,omitempty"`
	// LeaveOut has closed indices behind a pattern left out, with a warning. Workers of older
	// versions don't set it, and can't read one: for them such an index is an error.
	LeaveOut bool `json:"leaveOut,omitempty"`
	// Frozen says that these indices will be handed over: ErrorNotHot if one of the plan's is in
	// UltraWarm or cold storage, unless the plan leaves such indices out. A round leaves them out.
	Frozen bool `json:"frozen,omitempty"`
	// Unmeasured asks only which indices there are, to compare them with a list that is known. Nothing
	// is stored, and their sizes are 0.
	Unmeasured bool `json:"unmeasured,omitempty"`
}

// SnapshotRequest asks for one snapshot of exactly these indices.
type SnapshotRequest struct {
	Run
	Snapshot  string          `json:"snapshot"`
	Indices   []string        `json:"indices"`
	IndicesOf Stored[[]Index] `json:"indicesOf,omitzero"`
	// New says that this run has not asked for the name before. If there is a snapshot of that name
	// when the first attempt looks, a run that was reset has taken it: see Snapshot.Earlier.
	New bool `json:"new,omitempty"`
	// PrimariesMillis is how long to wait for primaries that no node holds before the snapshot is
	// asked for. Without them it would fail at once.
	PrimariesMillis int64 `json:"primariesMillis,omitempty"`
	// Frozen says that writes are blocked, so that its end is to be noticed soon.
	Frozen bool `json:"frozen,omitempty"`
	// AtOnce asks for a new snapshot without a look whether there is one. If the answer is lost, nobody
	// can tell any more whether what is there is this run's: it counts as Earlier.
	AtOnce bool `json:"atOnce,omitempty"`
	// Asked says that the source has accepted the request for it already: see
	// FrozenLookRequest.Snapshot.
	Asked bool `json:"asked,omitempty"`
}

// Snapshot is a snapshot that ended in SUCCESS with every index and no failed shard. Times are
// epoch milliseconds.
type Snapshot struct {
	Name        string `json:"name"`
	UUID        string `json:"uuid"`
	StartMillis int64  `json:"startMillis"`
	EndMillis   int64  `json:"endMillis"`
	Shards      int    `json:"shards"`
	// Earlier says that nobody knows whether this run has asked for the snapshot. It may be older than
	// the marks of its indices, so it can't be used, and nothing else of it is told.
	Earlier bool `json:"earlier,omitempty"`
}

// CopyRequest asks for a snapshot to be copied to OSS and published.
type CopyRequest struct {
	Run
	Snapshot Snapshot `json:"snapshot"`
	// BaseUUID is the snapshot of the last publish that succeeded and BaseGeneration its root
	// index-N; empty and -1 at the baseline. A root of Elasticsearch 2.x has -1 always.
	BaseUUID       string `json:"baseUuid,omitempty"`
	BaseGeneration int64  `json:"baseGeneration"`
	// Again says that an earlier attempt may have copied some of it, so that it pays to check what
	// is there.
	Again bool `json:"again,omitempty"`
	// Carried are the shards whose delta to BaseUUID was copied while the snapshot still ran.
	Carried   []CarriedShard           `json:"carried,omitempty"`
	CarriedOf []Stored[[]CarriedShard] `json:"carriedOf,omitempty"`
	// Later names the snapshots of our own groups of indices that follow this one in the same
	// round. They may be taken while this one is copied: that S3's root gets them, and nothing
	// else, doesn't count as a change of the repository.
	Later []string `json:"later,omitempty"`
	// Publish has CopyAhead publish as well what it has copied. Other activities always do.
	Publish bool `json:"publish,omitempty"`
}

// ShardsRequest asks for shards of a snapshot that are done while it still runs.
type ShardsRequest struct {
	Run
	Snapshot string `json:"snapshot"`
	// Known are those that need not be told again.
	Known []SnapshotShard `json:"known,omitempty"`
	// Frozen says that writes are blocked, so that a second less to wait counts.
	Frozen bool `json:"frozen,omitempty"`
}

// SnapshotShard names a shard of an index; as text `<index>/<shard>`.
type SnapshotShard struct {
	Index string
	Shard int
}

// DoneShards are shards whose lists of files are final. Ended says that there is nothing more to
// learn: the snapshot has ended, or the cluster doesn't tell. All says that each shard of the snapshot
// is done, so that only its end is left to wait for.
type DoneShards struct {
	UUID   string          `json:"uuid,omitempty"`
	Shards []SnapshotShard `json:"shards,omitempty"`
	Ended  bool            `json:"ended,omitempty"`
	All    bool            `json:"all,omitempty"`
}

// CopyShardsRequest asks for shards of a running snapshot to be copied.
type CopyShardsRequest struct {
	Run
	Snapshot string          `json:"snapshot"`
	UUID     string          `json:"uuid"`
	Base     string          `json:"base,omitempty"`
	Shards   []SnapshotShard `json:"shards"`
}

// CarriedShard is a shard whose delta was copied to OSS and is proven. To of its range counts the
// blobs.
type CarriedShard struct {
	Range ShardRange `json:"range"`
	// UUID is the snapshot's, Delta stands for what it needs of the shard beyond the base: names,
	// lengths and checksums.
	UUID  string `json:"uuid"`
	Delta Digest `json:"delta"`
	// Digest stands for the blobs as they were left in OSS.
	Digest Digest `json:"digest"`
}

// CopyShardsResult is what was copied. Shards that could not be found, or that have changed, are
// left out: the copy of the snapshot copies them.
type CopyShardsResult struct {
	Carried     []CarriedShard         `json:"carried,omitempty"`
	CarriedOf   Stored[[]CarriedShard] `json:"carriedOf,omitzero"`
	BlobsCopied int64                  `json:"blobsCopied"`
	BytesCopied int64                  `json:"bytesCopied"`
	// Why says what kept shards from being copied, for people.
	Why string `json:"why,omitempty"`
}

// Ahead is what stands in OSS and is ready to be published: the bytes of the root, the generation that
// OSS had when it was copied (-1 for none), and a digest of all that OSS lists below the shards.
// Without a UUID nothing is ready, and Why says for what reason. If it is published already, Early says
// so, and the fields that a publish needs are empty.
type Ahead struct {
	UUID           string               `json:"uuid,omitempty"`
	Root           []byte               `json:"root,omitempty"`
	RootOf         Stored[[]byte]       `json:"rootOf,omitzero"`
	RootGeneration int64                `json:"rootGeneration,omitempty"`
	RootETag       string               `json:"rootETag,omitempty"`
	Published      int64                `json:"published,omitempty"`
	Shards         []ShardRange         `json:"shards,omitempty"`
	ShardsOf       Stored[[]ShardRange] `json:"shardsOf,omitzero"`
	Digest         Digest               `json:"digest,omitempty"`
	BlobsCopied    int64                `json:"blobsCopied,omitempty"`
	BytesCopied    int64                `json:"bytesCopied,omitempty"`
	BlobsSkipped   int64                `json:"blobsSkipped,omitempty"`
	BytesSkipped   int64                `json:"bytesSkipped,omitempty"`
	Why            string               `json:"why,omitempty"`
	Early          *EarlyCopy           `json:"early,omitempty"`
}

// EarlyCopy is a snapshot that was published when the root in S3 listed it. Its Shards are not known,
// and Millis is how long it took from then on.
type EarlyCopy struct {
	Snapshot Snapshot `json:"snapshot"`
	// Generation is that of the root.
	Generation int64 `json:"generation"`
	Millis     int64 `json:"millis"`
}

// PublishAheadRequest asks for a snapshot to be published of which all but the root was copied.
type PublishAheadRequest struct {
	Run
	Snapshot Snapshot `json:"snapshot"`
	Ready    Ahead    `json:"ready"`
}

// CopyResult is what a copy did. If it names pages, the delta was too large for one activity: they
// are copied by CopyPage, and then PublishSnapshot publishes. Else the snapshot is published when
// it returns.
type CopyResult struct {
	// Generation is the N of the root index-N that was published, -1 for the root of Elasticsearch
	// 2.x.
	Generation   int64 `json:"generation"`
	BlobsCopied  int64 `json:"blobsCopied"`
	BytesCopied  int64 `json:"bytesCopied"`
	BlobsSkipped int64 `json:"blobsSkipped"`
	BytesSkipped int64 `json:"bytesSkipped"`
	// Proven counts the blobs of the snapshot that were checked in a full listing of OSS; 0 if the
	// delta alone was proved.
	Proven int64 `json:"proven"`
	// Moved says that the repository in S3 changed during the copy, so that nothing was published
	// and the copy begins again.
	Moved bool       `json:"moved,omitempty"`
	Pages *CopyPages `json:"pages,omitempty"`
}

// CopyPages is a delta in pages.
type CopyPages struct {
	Delta CopyDelta  `json:"delta"`
	Pages []CopyPage `json:"pages"`
	// CarriedBlobs and CarriedDigest sum up the shards that were copied while the snapshot ran and
	// that count: the pages don't hold them.
	CarriedBlobs  int64  `json:"carriedBlobs,omitempty"`
	CarriedDigest Digest `json:"carriedDigest"`
	// Root is the root from which the delta was found, if S3 may have a newer one when the pages
	// are copied: see CopyRequest.Later.
	Root   []byte         `json:"root,omitempty"`
	RootOf Stored[[]byte] `json:"rootOf,omitzero"`
}

// CopyDelta says what a delta lies between, which is all that its blobs follow from.
type CopyDelta struct {
	// RootGeneration and RootETag are those of the root index-N in S3 from which the delta was
	// found.
	RootGeneration int64  `json:"rootGeneration"`
	RootETag       string `json:"rootEtag"`
	// Snapshots are the uuids of those to complete in OSS. Base is the one that is complete there
	// and from which the deltas of most indices are taken, empty if there is none. Where an index
	// has another one, the ranges of its shards say so.
	Snapshots []string `json:"snapshots"`
	Base      string   `json:"base,omitempty"`
	// Bases stands for the bases of all indices. It is 0 if there are none, and in what workers of
	// older versions have planned: they take Base for all.
	Bases Digest `json:"bases,omitempty"`
}

// CopyPage is a part of a delta that one activity copies.
type CopyPage struct {
	Shards   []ShardRange         `json:"shards"`
	ShardsOf Stored[[]ShardRange] `json:"shardsOf,omitzero"`
	Blobs    int64                `json:"blobs"`
	Bytes    int64                `json:"bytes"`
}

// PageRequest asks for a page to be copied. Again as in CopyRequest.
type PageRequest struct {
	Run
	Snapshot Snapshot  `json:"snapshot"`
	Delta    CopyDelta `json:"delta"`
	Page     CopyPage  `json:"page"`
	Again    bool      `json:"again,omitempty"`
}

// PageResult is what became of a page: each blob of it stands in OSS and is proven, unless Moved is
// set, as in CopyResult.
type PageResult struct {
	BlobsCopied  int64 `json:"blobsCopied"`
	BytesCopied  int64 `json:"bytesCopied"`
	BlobsSkipped int64 `json:"blobsSkipped"`
	BytesSkipped int64 `json:"bytesSkipped"`
	// Digest is the sum of the blobs' digests, each of key, size and ETag in OSS.
	Digest Digest `json:"digest"`
	Moved  bool   `json:"moved,omitempty"`
}

// PublishRequest asks for a snapshot to be published whose pages are copied.
type PublishRequest struct {
	CopyRequest
	Delta CopyDelta `json:"delta"`
	// Blobs counts the blobs of all pages, Digest sums up theirs: what OSS lists has to come to the
	// same.
	Blobs  int64  `json:"blobs"`
	Digest Digest `json:"digest"`
	// Root and RootOf as in CopyPages.
	Root   []byte         `json:"root,omitempty"`
	RootOf Stored[[]byte] `json:"rootOf,omitzero"`
}

// WriteCounters are the write counters of an index on the target: what the last restore left. Other
// values later mean that somebody wrote. The key is the index name.
type WriteCounters map[string]Counter

// Counter sums up the primaries of an index.
type Counter struct {
	// UUID of the index and Writes = index_total + delete_total since the shards were last opened;
	// Docs counts documents.
	UUID   string `json:"uuid"`
	Writes int64  `json:"writes"`
	Docs   int64  `json:"docs"`
	// Definition is a digest of mappings, settings and aliases, as a mark has it; empty where it was
	// not read.
	Definition string `json:"definition,omitempty"`
}

// CloseRequest asks for the target's indices to be closed before a restore, if nobody wrote to
// them.
type CloseRequest struct {
	Run
	Indices   []string        `json:"indices"`
	IndicesOf Stored[[]Index] `json:"indicesOf,omitzero"`
	// Expected are the counters after the last restore.
	Expected   WriteCounters         `json:"expected,omitempty"`
	ExpectedOf Stored[WriteCounters] `json:"expectedOf,omitzero"`
	// Begun are indices whose first restore this migration began, after it had made sure that they
	// were absent. An index that is neither among them nor expected isn't ours: it must not exist
	// on the target. BegunOf are lists of which those that are not expected were begun.
	Begun   []string          `json:"begun,omitempty"`
	BegunOf []Stored[[]Index] `json:"begunOf,omitempty"`
	// InDoubt is set while a restore was begun whose end was not seen: what the target holds may be
	// newer than what is expected.
	InDoubt bool `json:"inDoubt,omitempty"`
	// AcceptWrites closes even if somebody wrote: a person has decided so. It never makes somebody
	// else's index ours.
	AcceptWrites bool `json:"acceptWrites,omitempty"`
}

// RestoreRequest asks for a published snapshot to be restored over closed or absent indices.
type RestoreRequest struct {
	Run
	Snapshot  Snapshot        `json:"snapshot"`
	Indices   []Index         `json:"indices"`
	IndicesOf Stored[[]Index] `json:"indicesOf,omitzero"`
	// IgnoreSettings are further settings that are not restored: the target has shown that it
	// doesn't know them.
	IgnoreSettings []string `json:"ignoreSettings,omitempty"`
	// Files asks for the physical evidence.
	Files bool `json:"files,omitempty"`
	// Open has the restored indices opened and counted as well, as ActivityOpenTarget does. Their
	// names and the run are those of this request.
	Open *OpenAfterRestore `json:"open,omitempty"`
	// Frozen says that writes are blocked, so that its end is to be noticed soon.
	Frozen bool `json:"frozen,omitempty"`
}

// RestoreResult sums up the restored primaries.
type RestoreResult struct {
	BytesRestored int64 `json:"bytesRestored"`
	BytesReused   int64 `json:"bytesReused"`
	Shards        int   `json:"shards"`
	// Files is the physical evidence, if it was asked for.
	Files *RestoredFiles `json:"files,omitempty"`
	// Opened is what ActivityOpenTarget found; nil if it wasn't asked for, or failed.
	Opened *OpenResult `json:"opened,omitempty"`
}

// OpenRequest asks for restored indices to be opened and counted.
type OpenRequest struct {
	IndicesRequest
	// Known are the counters of earlier restores, if some are stored, so that the workflow can't
	// add the new ones itself.
	Known   WriteCounters         `json:"known,omitempty"`
	KnownOf Stored[WriteCounters] `json:"knownOf,omitzero"`
	// All are all indices of the round, if only some of them are opened. None means that all are.
	All   []string        `json:"all,omitempty"`
	AllOf Stored[[]Index] `json:"allOf,omitzero"`
}

// OpenResult is what the target holds after a restore.
type OpenResult struct {
	Counters   WriteCounters         `json:"counters"`
	CountersOf Stored[WriteCounters] `json:"countersOf,omitzero"`
	// Opened says that the counters hold those that were known before as well, and sums them up;
	// nil if none were given.
	Opened *Opened `json:"opened,omitempty"`
	// Archived are settings that the target doesn't know, of the indices that have any.
	Archived []LeftOut `json:"archived,omitempty"`
}

// Opened sums up counters that the workflow doesn't see.
type Opened struct {
	// Docs counts the documents of the indices that were opened. First are the counters of the
	// first ones, which a status shows.
	Docs  int64         `json:"docs"`
	First WriteCounters `json:"first,omitempty"`
	// Left names some of the LeftCount indices that have counters and were not opened: they are no
	// longer on the source.
	Left      []string `json:"left,omitempty"`
	LeftCount int      `json:"leftCount,omitempty"`
}

// IndicesRequest names indices.
type IndicesRequest struct {
	Run
	Indices   []string        `json:"indices"`
	IndicesOf Stored[[]Index] `json:"indicesOf,omitzero"`
}

// Blocks are the index.blocks.* settings found on each index, by index and setting name. An index
// without any has an empty entry.
type Blocks map[string]map[string]string

// LiftRequest asks for our write block to be removed from the source, so that its blocks are what
// they were.
type LiftRequest struct {
	Run
	Found Blocks `json:"found"`
}

// ShardDocs are document counts by index and shard.
type ShardDocs map[string][]int64

// ShardMarks are, by index and shard, texts that change with every write to the shard. They mean
// nothing but equal or not: where a shard has moved to another node they may differ although
// nothing was written.
type ShardMarks map[string][]string

// HandoverRequest asks for the target's indices to become writable, with replicas and refresh
// interval as the source had them.
type HandoverRequest struct {
	Run
	Indices []Index `json:"indices"`
	// Counters are the target's after the last restore: other ones, found before the block is
	// removed, mean that what was verified has changed.
	Counters WriteCounters `json:"counters,omitempty"`
}

// WebhookRequest asks for the plan's webhook to be called with the report.
type WebhookRequest struct {
	Run
	Report Report `json:"report"`
}
