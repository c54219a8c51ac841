package migration

import "strings"

// ErrorType is the type of a Temporal application error. Activities end with one of these when no
// retry of Temporal's fixes what went wrong; everything else they leave to Temporal's retries.
type ErrorType string

// The error types. ErrorInvalidPlan and ErrorAborted end the workflow, ErrorWebhook and ErrorReceiver
// are told and stop nothing, ErrorSnapshotFailed has the snapshot taken again a few times. Every other
// one parks it until retry or abort.
const (
	ErrorInvalidPlan ErrorType = "InvalidPlan"
	ErrorAborted     ErrorType = "Aborted"

	// ErrorPreflight: the plan can't be carried out on these clusters and buckets.
	ErrorPreflight ErrorType = "PreflightFailed"
	// ErrorUnauthorized: credentials are wrong or lack a permission.
	ErrorUnauthorized ErrorType = "Unauthorized"
	// ErrorSecret: a secret that the plan refers to can't be read by the worker.
	ErrorSecret ErrorType = "SecretUnavailable"
	// ErrorRefused: a service refused a request for good.
	ErrorRefused ErrorType = "Refused"
	// ErrorMissing: an index, bucket, repository or snapshot is not there.
	ErrorMissing ErrorType = "Missing"
	// ErrorNotHot: an index of the plan is in UltraWarm or cold storage, where no snapshot takes it.
	ErrorNotHot ErrorType = "NotHot"
	// ErrorSnapshotFailed: the snapshot ended PARTIAL or FAILED, or covers other indices than it
	// should or than its restore needs. The next attempt takes a new one.
	ErrorSnapshotFailed ErrorType = "SnapshotFailed"
	// ErrorSnapshotUnusable: the snapshot was complete and is not any more, because it was deleted
	// or blobs of it vanished. The next attempt takes a new one.
	ErrorSnapshotUnusable ErrorType = "SnapshotUnusable"
	// ErrorRepository: the repository in OSS is not what the migration left there, or the one in S3
	// holds what no repository should.
	ErrorRepository ErrorType = "RepositoryConflict"
	// ErrorTargetWritten: somebody wrote to the target's indices. A retry accepts that.
	ErrorTargetWritten ErrorType = "TargetWritten"
	// ErrorTargetOpened: an index that is to be restored is open on the target, without our block.
	// No retry accepts that.
	ErrorTargetOpened ErrorType = "TargetOpened"
	// ErrorRestoreFailed: a shard could not be restored.
	ErrorRestoreFailed ErrorType = "RestoreFailed"
	// ErrorNoStandstill: writes still get through after the block.
	ErrorNoStandstill ErrorType = "NoStandstill"
	// ErrorVerification: the target is not equal to the frozen source.
	ErrorVerification ErrorType = "VerificationFailed"
	// ErrorHandoverTrial: the target would refuse what a handover asks of it. Nothing is handed
	// over, and the source takes writes or can again.
	ErrorHandoverTrial ErrorType = "HandoverTrialFailed"
	// ErrorHandover: the target refused the handover of some indices. All others take writes.
	ErrorHandover ErrorType = "HandoverRefused"
	// ErrorShardLimit: the target allows fewer shards than the indices need.
	ErrorShardLimit ErrorType = "ShardLimit"
	// ErrorWebhook: the webhook refused the call for good.
	ErrorWebhook ErrorType = "WebhookRefused"
	// ErrorHookRefused: a hook of the plan refused the step that comes next.
	ErrorHookRefused ErrorType = "HookRefused"
	// ErrorHookFailed: a hook of the plan gave no answer that means anything, or none in time.
	ErrorHookFailed ErrorType = "HookFailed"
	// ErrorReceiver: a receiver of messages refused one for good.
	ErrorReceiver ErrorType = "ReceiverRefused"
)

// OfHook tells whether a hook of the plan is the cause.
func (t ErrorType) OfHook() bool { return t == ErrorHookRefused || t == ErrorHookFailed }

// TakesNewSnapshot tells whether a retry after this error begins with a new snapshot instead of
// with the step that failed.
func (t ErrorType) TakesNewSnapshot() bool {
	return t == ErrorSnapshotFailed || t == ErrorSnapshotUnusable
}

// remedy is what helps against an error, in sentences: fix is what to do first, retry what to send
// then, and abort what an abort offers instead. Nothing waits for a retry where retry is empty.
type remedy struct{ fix, retry, abort string }

const (
	thenRetry = "Then send retry."
	retryHook = "Then send retry, which calls the hook again. To go on without it, send retry and skip it " +
		"(`starter retry NAME --skip-hook`)."
)

var remedies = map[ErrorType]remedy{
	ErrorPreflight: {"Fix what is listed.", thenRetry, "To change the plan, abort and start again."},
	ErrorUnauthorized: {
		"Fix the credentials or permissions (`starter iam` prints the policies that are needed).", thenRetry, "",
	},
	ErrorSecret: {
		"Set the environment variable or file for every worker, or the flag that is named. Restart the workers if " +
			"necessary.",
		thenRetry, "",
	},
	ErrorMissing: {
		"Bring back what is missing.", thenRetry,
		"To migrate other indices, abort and start again with another plan.",
	},
	ErrorNotHot: {
		"Move the indices that are named to hot storage, with the requests that are given.", thenRetry,
		"To leave them on the source, abort and start again with source.warm: leaveOut.",
	},
	ErrorSnapshotFailed: {
		"Check the health of the source cluster and the shards that are named.",
		"Then send retry, which takes a new snapshot.", "",
	},
	ErrorSnapshotUnusable: {
		"Make sure that nobody else deletes snapshots of this repository or objects below its base path.",
		"Then send retry, which takes a new snapshot.", "",
	},
	ErrorRepository: {
		"Find out who else writes below this base path, and stop it.", thenRetry,
		"If it fails again, abort and start again: a new migration has a base path of its own.",
	},
	ErrorTargetWritten: {
		"Stop whatever writes to the target.",
		"Then send retry. It accepts what was written, and the next restore overwrites it.", "",
	},
	ErrorTargetOpened: {
		"Stop whatever writes to the index. Then close the index on the target, or set its index.blocks.write to true.",
		"Then send retry, which restores over it.", "",
	},
	ErrorRestoreFailed: {
		"Check the target's disks and health, and the reason that is given.",
		"Then send retry, which restores the failed indices again.", "",
	},
	ErrorNoStandstill: {
		"Find out what still writes to the source, and stop it.", "Then send retry, which blocks and waits again.", "",
	},
	ErrorVerification: {"Compare the indices that are named.", "Then send retry, which verifies again.", ""},
	ErrorWebhook: {
		"Fix the receiver. Then call it by hand: `starter report NAME -o json` prints what it should have got.", "", "",
	},
	ErrorHookRefused: {"Read what the hook said, and do what it wants.", retryHook, ""},
	ErrorHookFailed:  {"Fix the hook, or its worker.", retryHook, ""},
	ErrorReceiver: {
		"Fix the receiver, or its secrets on every worker. Then try it: starter notify test -f PLAN.", "", "",
	},
	ErrorHandoverTrial: {
		"Do what is named for each index.",
		"Then send retry, which runs a round and tries the handover again.",
		"To change restore.ignoreSettings, abort and start again.",
	},
	ErrorHandover: {
		"Do what is named for each index.",
		"Then send retry, which hands over what is missing. To end the cutover without an index, " +
			"send retry and leave it out (`starter retry --leave-out INDEX`).", "",
	},
	ErrorShardLimit: {
		"Raise cluster.max_shards_per_node on the target to the number that is named, or add data nodes.",
		thenRetry, "",
	},
}

// The types of an Attention whose failure has none of its own.
const (
	AttentionFailed   ErrorType = "Failed"
	AttentionTimedOut ErrorType = "TimedOut"
)

// Known tells whether snapferry itself shows failures of this type. Temporal has others of its own.
func (t ErrorType) Known() bool {
	_, known := remedies[t]
	return known || t == AttentionFailed || t == AttentionTimedOut || t == ErrorRefused
}

const endsIt = "An abort ends the migration."

// keepsFailing is for what may pass and has not passed for long.
var keepsFailing = remedy{
	"Fix what the message names.", "snapferry keeps trying: no retry is needed.", endsIt,
}

func (t ErrorType) remedy() remedy {
	if known, ok := remedies[t]; ok {
		return known
	}
	return remedy{"Fix the cause.", thenRetry, endsIt}
}

// RemedyIn says what a person can do in a phase, and names only what that phase allows.
func (t ErrorType) RemedyIn(phase Phase) string {
	r := t.remedy()
	if t == ErrorTargetWritten && (phase == PhaseCutover || phase == PhaseAwaitCutover) { // no restore comes
		r.retry = "Then send retry, which accepts what was written: it stays."
	}
	return r.in(phase)
}

// RemedyAfterwards says what a person can do after a failure that nothing waits for; empty for the
// types that park a migration.
func (t ErrorType) RemedyAfterwards() string {
	if r := t.remedy(); r.retry == "" {
		return r.fix
	}
	return ""
}

// RehearsalRemedy says what a person can do after a rehearsal, in which nothing waits for retry.
func (t ErrorType) RehearsalRemedy() string {
	return t.remedy().fix + " Then rehearse again."
}

func (r remedy) in(phase Phase) string {
	switch {
	case phase.Ended():
		r.retry, r.abort = "", ""
	case !phase.CanAbort():
		r.abort = ""
	case phase.Frozen():
		r.abort = strings.TrimSpace(strings.TrimSuffix(r.abort, endsIt) +
			" An abort removes the write block from the " +
			"source.")
	}
	return strings.TrimSpace(r.fix + " " + r.retry + " " + r.abort)
}
