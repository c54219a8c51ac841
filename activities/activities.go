// Package activities is what the workflow calls: each method of [Activities] and [Copier] is one
// step of a migration on real clusters and buckets.
//
// Temporal runs an activity at least once: a worker may die after it has changed something and
// before it could report that. So every activity first reads the state of the cluster, and may run
// twice without harm. It adopts what an earlier attempt began, and leaves alone what that attempt
// finished. The one exception is the first request for the final snapshot (ADR 34).
//
// A file holds one concern: the snapshot, the restore, the freeze, the verification and so on.
// perform (heartbeat.go) runs each of them: it sends heartbeats and ends the work when the activity
// is cancelled. errors.go alone decides which failures a retry may fix, and what a person is told.
package activities

import (
	"context"
	"net/http"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/worker"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/pause"
	"github.com/snapferry/snapferry/internal/secrets"
	"github.com/snapferry/snapferry/migration"
)

// side is one of the two clusters.
type side string

const (
	onSource side = "source"
	onTarget side = "target"
)

// getClient gives a client for one of the clusters of a run.
type getClient func(context.Context, side, migration.Run) (*elastic.Client, error)

// Activities are all steps except the copy. The fields are what they need of the outside, so that
// tests can replace it.
type Activities struct {
	heart
	keys    keys
	cluster getClient
	buckets buckets
	source  func(context.Context, migration.Run) (objectstore.Source, error)
	sink    func(context.Context, migration.Run) (objectstore.Sink, error)
	lists   lists
	// inS3 and inOSS are the folders of a plan, with those of all its runs.
	inS3  func(context.Context, migration.Plan) (bucket, error)
	inOSS func(context.Context, migration.Plan) (objectstore.Sink, error)
	// transcripts keeps what is sent to the clusters; nil keeps nothing.
	transcripts *transcripts
	// server is the Temporal server.
	server func(context.Context) server
	http   *http.Client

	sleep func(context.Context, time.Duration) error
	now   func() time.Time
}

// New makes the activities for a worker. The fence says what plans may read and where they may
// connect to.
func New(fence secrets.Fence) *Activities {
	k := keys{fence}
	return &Activities{
		keys:    k,
		heart:   heart{heartbeat: activity.RecordHeartbeat, beat: time.Second},
		cluster: watched(newClusters(k).get),
		buckets: cloudBuckets{k},
		source:  k.openSource,
		sink:    k.openSink,
		lists:   newLists(k),

		transcripts: newTranscripts(k),

		inS3:   k.openS3Folder,
		inOSS:  k.openOSSFolder,
		server: workersServer,
		http:   &http.Client{},
		sleep:  pause.For,
		now:    time.Now,
	}
}

// Settle waits, for some seconds, until what is written in the background is written. A worker calls
// it after it has stopped.
func (a *Activities) Settle() { a.transcripts.wait(settleTime) }

// transcribe implements [beating].
func (a *Activities) transcribe(ctx context.Context) (context.Context, func()) {
	return a.transcripts.transcribe(ctx)
}

// Register registers each method under its activity name.
func (a *Activities) Register(registry worker.ActivityRegistry) {
	for name, method := range map[string]any{
		migration.ActivityPreflight:              a.Preflight,
		migration.ActivityEnsureTargetBucket:     a.EnsureTargetBucket,
		migration.ActivityRegisterRepositories:   a.RegisterRepositories,
		migration.ActivityUnregisterRepositories: a.UnregisterRepositories,
		migration.ActivityResolveIndices:         a.ResolveIndices,
		migration.ActivityTakeSnapshot:           a.TakeSnapshot,
		migration.ActivityAbortSnapshot:          a.AbortSnapshot,
		migration.ActivityCloseTarget:            a.CloseTarget,
		migration.ActivityRestoreSnapshot:        a.RestoreSnapshot,
		migration.ActivityOpenTarget:             a.OpenTarget,
		migration.ActivityReadBlocks:             a.ReadBlocks,
		migration.ActivityBlockWrites:            a.BlockWrites,
		migration.ActivityReadSourceBlocks:       a.ReadSourceBlocks,
		migration.ActivityBlockSource:            a.BlockSource,
		migration.ActivityUnblockSource:          a.UnblockSource,
		migration.ActivityAwaitStandstill:        a.AwaitStandstill,
		migration.ActivityAwaitShards:            a.AwaitShards,
		migration.ActivityReadThrottles:          a.ReadThrottles,
		migration.ActivitySetThrottles:           a.SetThrottles,
		migration.ActivityRestoreThrottles:       a.RestoreThrottles,
		migration.ActivityAwaitFreeSlot:          a.AwaitFreeSlot,
		migration.ActivityLiftBlock:              a.RemoveBlock,
		migration.ActivityVerifyTarget:           a.VerifyTarget,
		migration.ActivityOpenTargetForWrites:    a.OpenTargetForWrites,
		migration.ActivityCallWebhook:            a.CallWebhook,
		migration.ActivitySendNotification:       a.SendNotification,
		migration.ActivityMeasureFootprint:       a.MeasureFootprint,
		migration.ActivityDeleteRehearsedIndices: a.DeleteRehearsedIndices,
		migration.ActivityDeleteSnapshots:        a.DeleteSnapshots,
		migration.ActivityDeleteCopies:           a.DeleteCopies,
		migration.ActivityLookAgain:              a.LookAgain,
		migration.ActivityClearTarget:            a.ClearTarget,
		migration.ActivityCheckDependencies:      a.CheckDependencies,
		migration.ActivityTryDefinitions:         a.TryDefinitions,
		migration.ActivityFindRemains:            a.FindRemains,
		migration.ActivityRemoveRemains:          a.RemoveRemains,
		migration.ActivityTryHandover:            a.TryHandover,
		migration.ActivityCheckShardLimit:        a.CheckShardLimit,
		migration.ActivityCheckHandover:          a.CheckHandover,
		migration.ActivityHandOver:               a.HandOver,
		migration.ActivityFindChanged:            a.FindChanged,
		migration.ActivityCutGroups:              a.CutGroups,
		migration.ActivityPlanProofs:             a.PlanProofs,
		migration.ActivityProve:                  a.Prove,
		migration.ActivityReadTranscript:         a.ReadTranscript,
		migration.ActivityCheckPlan:              a.CheckPlan,
		migration.ActivityWatchWrites:            a.WatchWrites,
		migration.ActivityCallHook:               a.CallHook,
	} {
		registry.RegisterActivityWithOptions(method, activity.RegisterOptions{Name: name})
	}
}
