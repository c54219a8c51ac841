package migration

// ErrorType is the type of a Temporal application error. Activities end with
// one of these when a retry by itself can't mend what went wrong; everything
// else they leave to Temporal's retries.
type ErrorType string

// The error types. ErrorInvalidPlan and ErrorAborted end the workflow, every
// other one parks it until retry or abort.
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
	// ErrorSnapshotFailed: the snapshot ended PARTIAL or FAILED, or covers other
	// indices than it should. The next attempt takes a new one.
	ErrorSnapshotFailed ErrorType = "SnapshotFailed"
	// ErrorSnapshotUnusable: the snapshot was whole and is not any more (deleted,
	// or blobs of it vanished). The next attempt takes a new one.
	ErrorSnapshotUnusable ErrorType = "SnapshotUnusable"
	// ErrorRepository: the repository in OSS is not what the migration left there,
	// or the one in S3 holds what no repository should.
	ErrorRepository ErrorType = "RepositoryConflict"
	// ErrorTargetWritten: somebody wrote to the target's indices.
	ErrorTargetWritten ErrorType = "TargetWritten"
	// ErrorRestoreFailed: a shard could not be restored.
	ErrorRestoreFailed ErrorType = "RestoreFailed"
	// ErrorNoStandstill: writes still get through after the block.
	ErrorNoStandstill ErrorType = "NoStandstill"
	// ErrorVerification: the target is not equal to the frozen source.
	ErrorVerification ErrorType = "VerificationFailed"
	// ErrorWebhook: the webhook refused the call for good.
	ErrorWebhook ErrorType = "WebhookRefused"
)

// TakesNewSnapshot tells whether a retry after this error begins with a new
// snapshot instead of with the step that failed.
func (t ErrorType) TakesNewSnapshot() bool {
	return t == ErrorSnapshotFailed || t == ErrorSnapshotUnusable
}

// Remedy says what a person can do before retry.
func (t ErrorType) Remedy() string {
	switch t {
	case ErrorPreflight:
		return "mend what is listed, then retry; to change the plan, abort and start again"
	case ErrorUnauthorized:
		return "mend the credentials or permissions (`starter iam` prints the policies that are needed), then retry"
	case ErrorSecret:
		return "set the environment variable or file for every worker, restart the workers if need be, then retry"
	case ErrorMissing:
		return "bring back what is missing, then retry; to migrate other indices, abort and start again with another plan"
	case ErrorSnapshotFailed:
		return "look at the source cluster's health and at the shards that are named; retry takes a new snapshot"
	case ErrorSnapshotUnusable:
		return "make sure that nobody else deletes snapshots of this repository or objects below its base path; retry takes a new snapshot"
	case ErrorRepository:
		return "find out who else writes below this base path; abort and start again gets a fresh one"
	case ErrorTargetWritten:
		return "stop whatever writes to the target, then retry, which accepts what was written: before the cutover the next restore throws it away, during the cutover it stays"
	case ErrorRestoreFailed:
		return "look at the target's disks, health and the reason given; retry restores the failed indices anew"
	case ErrorNoStandstill:
		return "find out what still writes to the source; retry waits again, abort lifts the block"
	case ErrorVerification:
		return "compare the indices that are named; retry verifies again, abort lifts the block from the source"
	case ErrorWebhook:
		return "mend the webhook's receiver, then retry"
	}
	return "mend the cause, then retry; abort ends the migration"
}
