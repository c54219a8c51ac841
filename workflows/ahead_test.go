package workflows

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// aheadWorld is what is copied of a snapshot before it has ended.
type aheadWorld struct {
	// ready says what came of it; nothing if it is nil.
	ready  func(migration.CopyRequest) migration.Ahead
	aheads []migration.CopyRequest
	// uuidOf are snapshots that the source says have another uuid than the root in S3 had.
	uuidOf map[string]string
}

func (w *world) copyAhead(r migration.CopyRequest) (migration.Ahead, error) {
	w.aheads = append(w.aheads, r)
	assert.Equal(w.t, w.published, r.BaseUUID)
	if w.ready == nil {
		return migration.Ahead{Why: "nothing is ready"}, nil
	}
	return w.ready(r), nil
}

func (w *world) publishAhead(r migration.PublishAheadRequest) (migration.CopyResult, error) {
	assert.Equal(w.t, r.Snapshot.UUID, r.Ready.UUID)
	if w.moves != nil && w.moves(migration.ActivityPublishAhead, w.n[migration.ActivityPublishAhead]) {
		return migration.CopyResult{Moved: true}, nil
	}
	w.inOSS = true
	w.publish(r.Snapshot.UUID)
	return migration.CopyResult{Generation: w.generation, BlobsCopied: r.Ready.BlobsCopied, BytesCopied: 50}, nil
}

const finalSnapshot = "movies-r0002-a1"

// newAheadWorld has a final snapshot that ends when it was copied ahead, or that could not be. Its
// shards are done in two batches; batches says how many of these are copied before.
func newAheadWorld(t *testing.T, batches int) *world {
	w := newWorld(t)
	w.done = func(r migration.ShardsRequest) migration.DoneShards {
		uuid := "uuid-" + r.Snapshot
		if r.Snapshot == finalSnapshot && len(r.Known) < batches {
			return migration.DoneShards{
				UUID: uuid, Shards: []migration.SnapshotShard{{Index: "catalog", Shard: len(r.Known)}},
			}
		}
		return migration.DoneShards{UUID: uuid, Ended: true, All: true}
	}
	w.ready = func(r migration.CopyRequest) migration.Ahead {
		return migration.Ahead{UUID: "uuid-" + r.Snapshot.Name, Root: []byte("{}"), BlobsCopied: 4}
	}
	return w
}

// endsAhead has the final snapshot end once it is being copied ahead.
func (w *world) endsAhead() {
	begun, then := make(chan struct{}), w.on[migration.ActivityCopyAhead]
	w.on[migration.ActivityCopyAhead] = func(n int) error {
		if n == 1 {
			close(begun)
		}
		if then != nil {
			return then(n)
		}
		return nil
	}
	w.on[migration.ActivityTakeSnapshot] = func(n int) error {
		if n == 3 {
			<-begun
		}
		return nil
	}
}

// The final round's snapshot is copied while the cluster still ends it, and only published when it has
// ended.
func TestTheFinalSnapshotIsCopiedBeforeItEnds(t *testing.T) {
	w := newAheadWorld(t, 2)
	w.endsAhead()
	w.usualRequests()
	w.run()
	report := w.completed()
	require.Len(t, w.aheads, 1, "nobody waits for a round")
	require.Equal(t, finalSnapshot, w.aheads[0].Snapshot.Name)
	require.Len(t, w.aheads[0].Carried, 2, "what was copied while the shards were written")
	require.False(t, w.aheads[0].Again)
	require.Equal(t, 1, w.called(migration.ActivityPublishAhead))
	require.Len(t, w.copies, 2, "baseline and round")
	final := report.Rounds[2]
	require.EqualValues(t, 4+2, final.BlobsCopied)
	require.EqualValues(t, 2, final.BlobsStreamed)
	require.Equal(t, w.published, final.UUID)
}

// Whatever keeps it from being copied or published ahead leaves it to the copy of the snapshot, which
// looks at what is there.
func TestAFinalSnapshotIsCopiedAsOthersAre(t *testing.T) {
	for name, tt := range map[string]struct {
		prepare   func(w *world)
		published int // how often it was tried to publish what was copied ahead
	}{
		"nothing is ready": {prepare: func(w *world) { w.ready = nil }},
		"another one is ready": {prepare: func(w *world) {
			w.ready = func(migration.CopyRequest) migration.Ahead { return migration.Ahead{UUID: "another"} }
		}},
		"the copy fails": {prepare: func(w *world) {
			w.fails(migration.ActivityCopyAhead, 1, migration.ErrorUnauthorized)
		}},
		"something has changed": {prepare: func(w *world) {
			w.moves = func(activity string, _ int) bool { return activity == migration.ActivityPublishAhead }
		}, published: 1},
		"the publish fails": {prepare: func(w *world) {
			w.fails(migration.ActivityPublishAhead, 1, migration.ErrorRepository)
		}, published: 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newAheadWorld(t, 0)
			tt.prepare(w)
			w.endsAhead()
			w.usualRequests()
			w.run()
			report := w.completed()
			require.Equal(t, tt.published, w.called(migration.ActivityPublishAhead))
			require.Len(t, w.copies, 3)
			require.Equal(t, finalSnapshot, w.copies[2].Snapshot.Name)
			require.True(t, w.copies[2].Again, "OSS may have some of it")
			require.EqualValues(t, 10, report.Rounds[2].BlobsCopied)
		})
	}
}

// A killed worker's copy is not waited for twice: the copy of the snapshot takes over.
func TestACopyAheadIsTriedOnce(t *testing.T) {
	w := newAheadWorld(t, 0)
	w.on[migration.ActivityCopyAhead] = func(int) error {
		return temporal.NewApplicationError("the worker is gone", "timeout")
	}
	w.endsAhead()
	w.usualRequests()
	w.run()
	w.completed()
	require.Equal(t, 1, w.called(migration.ActivityCopyAhead))
}

// A snapshot that fails ends what waits for it.
func TestASnapshotThatFailsIsNotCopiedAhead(t *testing.T) {
	w := newAheadWorld(t, 0)
	ended := make(chan struct{})
	w.on[migration.ActivityCopyAhead] = func(n int) error {
		if n == 1 {
			<-ended // as it waits for a root that never lists the snapshot
		}
		return nil
	}
	w.on[migration.ActivityTakeSnapshot] = func(n int) error {
		if n == 3 {
			defer close(ended)
			return temporal.NewNonRetryableApplicationError("gone", string(migration.ErrorSnapshotFailed), nil)
		}
		return nil
	}
	w.usualRequests()
	w.run()
	report := w.completed()
	require.Equal(t, "movies-r0002-a2", report.Rounds[2].Snapshot)
}

func TestAnAbortEndsACopyAhead(t *testing.T) {
	w := newAheadWorld(t, 0)
	ended := make(chan struct{})
	w.on[migration.ActivityCopyAhead] = func(int) error {
		w.env.SignalWorkflow(string(migration.RequestAbort), nil)
		close(ended)
		return nil
	}
	w.on[migration.ActivityTakeSnapshot] = func(n int) error {
		if n == 3 {
			<-ended
		}
		return nil
	}
	w.at(20*time.Minute, migration.RequestFreeze)
	w.run()
	w.aborted()
	require.Zero(t, w.called(migration.ActivityPublishAhead))
}

// The answer to the first request was lost: whatever became of it is stopped as well.
func TestAnAbortStopsASnapshotThatNobodyKnowsForItsOwn(t *testing.T) {
	w := newAheadWorld(t, 0)
	w.earlier = []string{"movies-r0002-a1"}
	w.during(migration.ActivityTakeSnapshot, 4, func() { w.env.SignalWorkflow(string(migration.RequestAbort), nil) })
	w.at(20*time.Minute, migration.RequestFreeze)
	w.run()
	w.aborted()
	require.Contains(t, w.stopped, "movies-r0002-a1")
}

// Runs that began before know nothing of it.
func TestOlderShapesCopyNothingAhead(t *testing.T) {
	w := newAheadWorld(t, 0)
	w.env.OnGetVersion("shape", workflow.Version(shapeFirst),
		workflow.Version(newestShape)).Return(workflow.Version(shapeDelta))
	w.usualRequests()
	w.run()
	w.completed()
	require.Empty(t, w.aheads)
	require.Len(t, w.copies, 3)
}

// The answer that all shards are done may come together with the snapshot's end. Nobody waits for
// that copy any more: it would run beside the copy of the snapshot, and take half of its bandwidth.
func TestNothingIsCopiedAheadOnceTheSnapshotHasEnded(t *testing.T) {
	env := newEnvironment(t)
	begun := true
	after := func(ctx workflow.Context) error {
		watching, stop := workflow.WithCancel(ctx)
		stop()
		s := &stream{ctx: ctx, under: workflow.NewWaitGroup(ctx), ahead: &migration.CopyRequest{}}
		s.copyAhead(watching, "uuid")
		begun = s.begun
		return nil
	}
	env.RegisterWorkflow(after)
	env.ExecuteWorkflow(after)
	require.NoError(t, env.GetWorkflowError())
	require.False(t, begun)
}

// What an attempt that failed has left in OSS is looked at by the next one, and its uploads in parts
// are ended.
func TestACopyAheadKnowsOfTheOneBefore(t *testing.T) {
	w := newAheadWorld(t, 0)
	begun := []chan struct{}{make(chan struct{}), make(chan struct{})}
	w.after[migration.ActivityCopyAhead] = func(n int) { close(begun[n-1]) }
	w.on[migration.ActivityTakeSnapshot] = func(n int) error {
		switch n {
		case 3:
			<-begun[0]
			return temporal.NewNonRetryableApplicationError("no", string(migration.ErrorUnauthorized), nil)
		case 4:
			<-begun[1]
		}
		return nil
	}
	w.usualRequests()
	w.at(21*time.Minute, migration.RequestRetry)
	w.run()
	w.completed()
	require.Len(t, w.aheads, 2)
	require.False(t, w.aheads[0].Again)
	require.True(t, w.aheads[1].Again)
}
