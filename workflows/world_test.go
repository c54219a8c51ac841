package workflows

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"github.com/snapferry/snapferry/lab/payloads"
	"github.com/snapferry/snapferry/migration"
)

// How a test of the workflow is written:
//
//   - w := newWorld(t) makes both clusters and buckets, and a plan with rounds every 15 minutes.
//     Change w.plan, w.indices, w.pages and so on before the run.
//   - Say when people send requests: w.at(20*time.Minute, migration.RequestFreeze). Time is
//     skipped, so hours cost nothing. w.usualRequests() are a freeze and a cutover.
//   - Say what goes wrong: w.fails(activity, times, type), or a hook in w.on (before a call) or
//     w.after (after its effect). w.during(activity, n, do) runs do in the workflow's own loop,
//     where alone the status may be queried. Hooks touch the world only through w.change, w.called
//     and w.isBlocked.
//   - w.run() runs the workflow to its end. w.completed(), w.aborted() or w.untouched() assert the
//     end; completed and aborted return the report.
//
// Never sleep, and assert no order between activities that run side by side.

// world stands in for both clusters and buckets: it keeps what matters of them and checks at every
// call what must hold at all times. Among others: the base of a copy is the last published
// snapshot, only what is published is restored, and nothing is handed over while the source takes
// writes.
type world struct {
	// joined has activities do what follows at once.
	joined bool
	t      *testing.T
	env    *testsuite.TestWorkflowEnvironment

	*fakes

	blocked, targetWritable, registered bool
	blockedNames                        map[string]bool
	snapshots                           []string
	restored                            []string
	published                           string
	everPublished                       []string
	generation                          int64
	webhook                             []migration.Report
	closes                              []migration.CloseRequest
	handovers                           [][]migration.HandoverIndex // each time that it was tried
	checks                              []migration.CheckHandoverRequest
	// tries says why the target would refuse to hand an index over; it would not if it is nil, or
	// returns nil.
	tries func(index string) *migration.Refusal
	// archived are settings that every restore brings and the target doesn't know.
	archived []migration.LeftOut
	restores []migration.RestoreRequest
	// opened are the handovers of a run that began before there were others.
	opened  []migration.HandoverRequest
	indices []migration.Index
	// notHot are the indices that each look leaves out because of the storage that they lie in.
	notHot *migration.NotHot
	looks  []migration.ResolveRequest

	guard    fakeGuard
	onAsk    map[migration.GuardAsk]func() error
	watching []byte // the token of the activity that watches the guard
	watched  *sync.Cond
	// watchFails ends that activity at once.
	watchFails error

	plan string
	// pages are those of every delta; empty means that one activity copies it.
	pages []migration.CopyPage
	// moves says when the nth call of an activity finds the repository changed.
	moves        func(activity string, n int) bool
	copies       []migration.CopyRequest
	publishes    []migration.PublishRequest
	inFlight     int
	mostInFlight int
	// throttles are those that stand on the clusters.
	throttles migration.Limits
	// done tells which shards of a running snapshot are done; none if it is nil.
	done  func(migration.ShardsRequest) migration.DoneShards
	slots []migration.FreeSlotRequest
	slot  migration.FreeSlot
	// Of a rehearsal: what stands on the target under throw-away names, in S3 and in OSS.
	thrownAway map[string]bool
	inS3       []string
	inOSS      bool
	verified   migration.VerifyResult
	problems   []string // that preflight finds and a rehearsal can do without
	// written is how many operations each index counts between two looks at it.
	written int64
	// clears are the requests to clear the target, cleared is what they are answered, and tried are
	// the warnings of the definitions that are tried.
	clears  []migration.ClearRequest
	cleared migration.ClearResult
	tried   []string
	// mark changes with every write to the frozen source.
	mark string
	// storesStandstill has the standstill's lists stored, and unlisted is what a verification leaves
	// out of its list.
	storesStandstill bool
	unlisted         *migration.Unlisted
	changing
	proofWorld
	aheadWorld
	askedWorld
}

const planJSON = `{
  "name": "movies",
  "source": {"endpoint": "https://search-shop-abc.ap-southeast-1.es.amazonaws.com",
    "repository": {"bucket": "from-bucket", "region": "ap-southeast-1", "roleArn": "arn:aws:iam::123456789012:role/Snap"}},
  "target": {"endpoint": "http://es.example.com:9200", "auth": {"user": "elastic", "password": "env:P"},
    "repository": {"bucket": "to-bucket", "region": "ap-southeast-1", "endpoint": "http://oss-internal.example.com",
      "accessKeyId": "env:A", "secretAccessKey": "env:B",
      "writer": {"endpoint": "https://oss.example.com", "accessKeyId": "env:C", "accessKeySecret": "env:D"}}},
  "indices": ["movies", "catalog*"],
  "rounds": {"interval": "15m"},
  "freeze": {"maxDuration": "2h"}
}`

func inputOf(t *testing.T, text string) migration.Input {
	t.Helper()
	var input migration.Input
	require.NoError(t, input.UnmarshalJSON([]byte(text)))
	return input
}

// slowest is how long a workflow may take on a slow and busy computer. The SDK's test environment
// ends one after 3 s.
const slowest = 10 * time.Minute

// newEnvironment is Temporal's test environment, in which no payload may be too large.
func newEnvironment(t *testing.T) *testsuite.TestWorkflowEnvironment {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	env := suite.NewTestWorkflowEnvironment()
	env.SetTestTimeout(slowest)
	env.SetDataConverter(payloads.Converter(func(problem string) { t.Error(problem) }))
	return env
}

func newWorld(t *testing.T) *world {
	w := &world{
		t: t, env: newEnvironment(t), fakes: newFakes(), onAsk: map[migration.GuardAsk]func() error{},
		plan: planJSON, slot: migration.FreeSlot{Free: true}, moves: func(string, int) bool { return false },
		indices: []migration.Index{
			{Name: "catalog", Shards: 5, Docs: 50, Replicas: 1},
			{Name: "movies", Shards: 1, Docs: 3},
		},
	}
	w.watched = sync.NewCond(&w.mu)
	w.env.SetStartWorkflowOptions(client.StartWorkflowOptions{
		ID:        migration.WorkflowID("movies"),
		TaskQueue: migration.TaskQueue,
	})
	w.env.RegisterWorkflow(Migration)
	register(w, migration.ActivityPreflight, func(migration.Run) (migration.PreflightResult, error) {
		return migration.PreflightResult{
			SourceVersion: "5.5.2", TargetVersion: "5.5.3",
			Indices: w.apart(listed(slices.Clone(w.indices)...)), Problems: w.problems,
		}, nil
	})
	register(w, migration.ActivityEnsureTargetBucket, func(migration.Run) (any, error) { return nil, nil })
	register(w, migration.ActivityRegisterRepositories,
		func(migration.Run) (any, error) { w.registered = true; return nil, nil })
	register(w, migration.ActivityUnregisterRepositories,
		func(migration.Run) (any, error) { w.registered = false; return nil, nil })
	register(w, migration.ActivityResolveIndices, func(r migration.ResolveRequest) (migration.IndexList, error) {
		w.looks = append(w.looks, r)
		if w.list.Stored() {
			return w.list, nil
		}
		w.indices = slices.Clone(w.indices)
		for i := range w.indices {
			if !w.blocked {
				w.indices[i].Writes += w.written
			}
		}
		return w.apart(listed(slices.Clone(w.indices)...)), nil // it is encoded when the lock is free again
	})
	register(w, migration.ActivityReadThrottles, func(migration.Run) (migration.ThrottlesFound, error) {
		assert.Zero(t, w.throttles, "our own throttles are taken for what was found")
		return migration.ThrottlesFound{Snapshot: "20mb"}, nil
	})
	register(w, migration.ActivitySetThrottles, func(r migration.SetThrottlesRequest) (migration.ThrottlesSet, error) {
		assert.False(t, w.blocked, "repository settings change inside the window")
		assert.Equal(t, "20mb", r.Found.Snapshot)
		w.throttles = r.Wanted
		return migration.ThrottlesSet{}, nil
	})
	register(w, migration.ActivityRestoreThrottles, func(r migration.RestoreThrottlesRequest) (any, error) {
		assert.Equal(t, "20mb", r.Found.Snapshot)
		w.throttles = migration.Limits{}
		return nil, nil
	})
	register(w, migration.ActivityAwaitFreeSlot, func(r migration.FreeSlotRequest) (migration.FreeSlot, error) {
		assert.False(t, w.blocked, "writes are blocked while it waits")
		w.slots = append(w.slots, r)
		if r.Plan.Rehearsal {
			assert.LessOrEqual(t, r.DeadlineMillis, w.env.Now().UnixMilli(), "a rehearsal waits for no slot")
		}
		return w.slot, nil
	})
	register(w, migration.ActivityTakeSnapshot, w.takeSnapshot)
	register(w, migration.ActivityAbortSnapshot, func(r migration.SnapshotRequest) (any, error) {
		w.stopped = append(w.stopped, r.Snapshot)
		return nil, nil
	})
	register(w, migration.ActivityCopySnapshot, w.copySnapshot)
	register(w, migration.ActivityAwaitShards, func(r migration.ShardsRequest) (migration.DoneShards, error) {
		if w.done == nil {
			return migration.DoneShards{Ended: true}, nil
		}
		return w.done(r), nil
	})
	register(w, migration.ActivityCopyShards, func(r migration.CopyShardsRequest) (migration.CopyShardsResult, error) {
		assert.Equal(t, w.published, r.Base)
		result := migration.CopyShardsResult{BlobsCopied: int64(len(r.Shards)), BytesCopied: 100}
		for _, shard := range r.Shards {
			result.Carried = append(result.Carried, migration.CarriedShard{Range: migration.ShardRange{IndexID: "id-" +
				shard.Index, Shard: shard.Shard, To: 1}, Digest: 5})
		}
		return result, nil
	})
	register(w, migration.ActivityCopyAhead, w.copyAhead)
	register(w, migration.ActivityPublishAhead, w.publishAhead)
	register(w, migration.ActivityCopyPage, w.copyPage)
	register(w, migration.ActivityPublishSnapshot, w.publishSnapshot)
	register(w, migration.ActivityCloseTarget, func(r migration.CloseRequest) (any, error) {
		w.closes = append(w.closes,
			r)
		return nil, nil
	})
	register(w, migration.ActivityRestoreSnapshot, w.restoreSnapshot)
	register(w, migration.ActivityOpenTarget, func(r migration.OpenRequest) (migration.OpenResult, error) {
		w.opens = append(w.opens, r)
		if w.list.Stored() {
			return w.openedStored(), nil
		}
		counters := migration.WriteCounters{}
		for _, name := range r.Indices {
			counters[name] = migration.Counter{UUID: "u-" + name, Docs: 7}
		}
		return migration.OpenResult{Counters: counters, Archived: w.archived}, nil
	})
	register(w, migration.ActivityReadBlocks, func(r migration.IndicesRequest) (migration.Blocks, error) {
		found := migration.Blocks{}
		for _, name := range r.Indices {
			assert.False(t, w.blockedNames[name], "blocks are read before ours is set")
			found[name] = map[string]string{}
		}
		return found, nil
	})
	register(w, migration.ActivityBlockWrites, func(r migration.IndicesRequest) (any, error) {
		w.blocked, w.blockedNames = true, map[string]bool{}
		for _, name := range r.Indices {
			w.blockedNames[name] = true
		}
		return nil, nil
	})
	register(w, migration.ActivityAwaitStandstill, func(r migration.StandstillRequest) (migration.Standstill, error) {
		assert.True(t, w.blocked)
		assert.True(t, r.Store)
		if w.storesStandstill {
			still := migration.Standstill{
				DocsOf:  migration.Stored[migration.ShardDocs]{Digest: strings.Repeat("d", 64), Entries: 2},
				MarksOf: migration.Stored[migration.ShardMarks]{Digest: fmt.Sprintf("%064x", w.mark), Entries: 2},
			}
			if r.Before != nil && r.Before.MarksOf != still.MarksOf {
				still.Changed = "movies"
			}
			return w.foundIn(r, still), nil
		}
		return w.foundIn(r, migration.Standstill{
			Docs:  migration.ShardDocs{"movies": {3}},
			Marks: migration.ShardMarks{"movies": {w.mark}},
		}), nil
	})
	register(w, migration.ActivityLiftBlock, func(migration.LiftRequest) (any, error) {
		assert.False(t, w.targetWritable, "the source is writable again although the target takes writes")
		w.blocked, w.blockedNames = false, nil
		return nil, nil
	})
	register(w, migration.ActivityVerifyTarget, func(r migration.VerifyRequest) (migration.VerifyResult, error) {
		if r.Plan.Rehearsal {
			assert.Empty(t, r.Frozen)
			return w.verified, nil
		}
		assert.True(t, w.blocked)
		assert.Equal(t, w.storesStandstill, len(r.Frozen) == 0)
		assert.Equal(t, w.storesStandstill, !r.FrozenOf.IsZero())
		assert.Equal(t, verdictBytes, r.Most)
		w.verifiedWith = append(w.verifiedWith, r)
		result := migration.VerifyResult{Unlisted: w.unlisted}
		for _, index := range r.Indices {
			result.Indices = append(result.Indices, migration.IndexResult{
				Name: index.Name, SourceDocs: 7,
				TargetDocs: 7, Equal: true,
			})
		}
		return result, nil
	})
	w.registerHandover()
	w.registerGuard()
	w.registerRehearsal()
	w.registerLeft()
	w.registerChanged()
	w.registerProofs()
	register(w, migration.ActivityCallWebhook, func(r migration.WebhookRequest) (any, error) {
		w.webhook = append(w.webhook, r.Report)
		return nil, nil
	})
	return w
}

// register makes a fake known under an activity's name.
func register[I, O any](w *world, name string, fake func(I) (O, error)) {
	serve(w.env, w.fakes, name, func(in I) (O, error) {
		assert.False(w.t, w.rehearses() && slices.Contains(neverRehearsed, name), "a rehearsal calls %s", name)
		return fake(in)
	})
}

func (w *world) takeSnapshot(r migration.SnapshotRequest) (migration.Snapshot, error) {
	assert.True(w.t, w.registered)
	assert.True(w.t, len(r.Indices) > 0 || !r.IndicesOf.IsZero(), "a snapshot of no index would be one of all")
	if slices.Contains(w.earlier, r.Snapshot) {
		assert.True(w.t, r.New)
		return migration.Snapshot{Name: r.Snapshot, Earlier: true}, nil
	}
	w.taken = append(w.taken, r)
	assert.NotContains(w.t, w.snapshots, r.Snapshot, "a snapshot name is used twice")
	w.snapshots = append(w.snapshots, r.Snapshot)
	w.inS3 = append(w.inS3, r.Snapshot)
	uuid := "uuid-" + r.Snapshot
	if another, told := w.uuidOf[r.Snapshot]; told {
		uuid = another
	}
	return migration.Snapshot{
		Name: r.Snapshot, UUID: uuid, StartMillis: 1, EndMillis: 2,
		Shards: 6,
	}, nil
}

func (w *world) copySnapshot(r migration.CopyRequest) (migration.CopyResult, error) {
	assert.Equal(w.t, w.published, r.BaseUUID, "the base is the last published snapshot")
	w.copies = append(w.copies, r)
	w.inOSS = true
	if len(w.pages) > 0 {
		delta := migration.CopyDelta{
			RootGeneration: w.generation, Snapshots: []string{r.Snapshot.UUID},
			Base: r.BaseUUID,
		}
		return migration.CopyResult{BlobsSkipped: 3, Pages: &migration.CopyPages{Delta: delta, Pages: w.pages}}, nil
	}
	w.publish(r.Snapshot.UUID)
	return migration.CopyResult{Generation: w.generation, BlobsCopied: 10, BytesCopied: 1000, BlobsSkipped: 3}, nil
}

func (w *world) publish(uuid string) {
	w.published = uuid
	w.everPublished = append(w.everPublished, uuid)
	w.generation++
}

func (w *world) copyPage(r migration.PageRequest) (migration.PageResult, error) {
	assert.Equal(w.t, []string{r.Snapshot.UUID}, r.Delta.Snapshots)
	if w.moves(migration.ActivityCopyPage, w.n[migration.ActivityCopyPage]) {
		return migration.PageResult{Moved: true}, nil
	}
	return migration.PageResult{BlobsCopied: r.Page.Blobs, BytesCopied: r.Page.Bytes, Digest: 7}, nil
}

func (w *world) publishSnapshot(r migration.PublishRequest) (migration.CopyResult, error) {
	if w.moves(migration.ActivityPublishSnapshot, w.n[migration.ActivityPublishSnapshot]) {
		return migration.CopyResult{Moved: true}, nil
	}
	w.publishes = append(w.publishes, r)
	w.publish(r.Snapshot.UUID)
	return migration.CopyResult{Generation: w.generation, Proven: r.Blobs}, nil
}

// meet has each page wait until so many run at once.
func (w *world) meet(pages int) {
	all := make(chan struct{})
	w.on[migration.ActivityCopyPage] = func(int) error {
		w.mu.Lock()
		if w.inFlight++; w.inFlight == pages {
			select {
			case <-all: // in an earlier round
			default:
				close(all)
			}
		}
		w.mostInFlight = max(w.mostInFlight, w.inFlight)
		w.mu.Unlock()
		<-all
		return nil
	}
	w.after[migration.ActivityCopyPage] = func(int) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.inFlight--
	}
}

func (w *world) restoreSnapshot(r migration.RestoreRequest) (migration.RestoreResult, error) {
	assert.True(w.t, len(r.Indices) > 0 || !r.IndicesOf.IsZero(), "a restore of no index would be one of all")
	if turn, _ := migration.TurnOf(r.Plan.Name, r.Snapshot.Name); turn.Group == 0 {
		assert.Equal(w.t, w.published, r.Snapshot.UUID, "only what is published is restored")
	}
	assert.Contains(w.t, w.everPublished, r.Snapshot.UUID, "only what is published is restored")
	assert.False(w.t, w.targetWritable, "a restore over a writable target")
	w.restored = append(w.restored, r.Snapshot.Name)
	w.restores = append(w.restores, r)
	if r.Plan.Rehearsal {
		for _, index := range r.Indices {
			w.thrownAway[index.Name] = true
		}
	}
	result := migration.RestoreResult{Shards: 6, BytesRestored: 10, Opened: w.joins(r)}
	if r.Files {
		result.Files = w.recovered(r)
	}
	return result, nil
}

// fails makes an activity fail for good the first so many times.
func (w *world) fails(name string, times int, errorType migration.ErrorType) {
	w.on[name] = func(n int) error {
		if n <= times {
			return temporal.NewApplicationErrorWithOptions(fmt.Sprintf("%s failed (%d)", name, n), string(errorType),
				temporal.ApplicationErrorOptions{NonRetryable: true})
		}
		return nil
	}
}

// at sends a request by signal after a while.
func (w *world) at(after time.Duration, request migration.Request) {
	w.env.RegisterDelayedCallback(func() { w.env.SignalWorkflow(string(request), nil) }, after)
}

func (w *world) status() migration.Status {
	value, err := w.env.QueryWorkflow(migration.QueryStatus)
	require.NoError(w.t, err)
	var status migration.Status
	require.NoError(w.t, value.Get(&status))
	return status
}

func (w *world) run() {
	w.env.ExecuteWorkflow(Migration, inputOf(w.t, w.plan), nil)
	require.True(w.t, w.env.IsWorkflowCompleted(), "the workflow hangs in phase %s", w.status().Phase)
}

// continuedWith runs the workflow as the next run of a migration.
func (w *world) continuedWith(carried Carried) {
	w.env.SetContinuedExecutionRunID("the run before")
	w.env.ExecuteWorkflow(Migration, inputOf(w.t, w.plan), &carried)
}

// completed asserts the end that users want.
func (w *world) completed() migration.Report {
	require.NoError(w.t, w.env.GetWorkflowError())
	var report migration.Report
	require.NoError(w.t, w.env.GetWorkflowResult(&report))
	require.Equal(w.t, migration.ResultCompleted, report.Result)
	require.True(w.t, w.blocked, "after cutover the source stays blocked")
	require.True(w.t, w.targetWritable)
	require.Zero(w.t, w.throttles, "throttles stay raised")
	require.Equal(w.t, migration.RoundBaseline, report.Rounds[0].Kind)
	require.Equal(w.t, migration.RoundFinal, report.Rounds[len(report.Rounds)-1].Kind)
	require.Len(w.t, report.Indices, 2)
	return report
}

// aborted asserts the end after abort, and that it left the source free.
func (w *world) aborted() migration.Report {
	var failure *temporal.ApplicationError
	require.True(w.t, errors.As(w.env.GetWorkflowError(), &failure), "%v", w.env.GetWorkflowError())
	require.Equal(w.t, string(migration.ErrorAborted), failure.Type())
	var report migration.Report
	require.NoError(w.t, failure.Details(&report))
	require.Equal(w.t, migration.ResultAborted, report.Result)
	w.untouched()
	return report
}

// untouched asserts that the source takes writes and the target doesn't.
func (w *world) untouched() {
	require.False(w.t, w.blocked, "the source is still blocked")
	require.Zero(w.t, w.throttles, "throttles stay raised")
	require.False(w.t, w.targetWritable)
}

// phases maps each phase to an activity call in it, for tests that do something in every phase.
var phases = []struct {
	phase    migration.Phase
	activity string
	call     int
}{
	{migration.PhasePreflight, migration.ActivityPreflight, 1},
	{migration.PhasePrepare, migration.ActivityRegisterRepositories, 1},
	{migration.PhaseBaseline, migration.ActivityTakeSnapshot, 1},
	{migration.PhaseBaseline, migration.ActivityRestoreSnapshot, 1},
	{migration.PhaseRounds, migration.ActivityCopySnapshot, 2},
	{migration.PhaseReady, migration.ActivitySetThrottles, 3},
	{migration.PhaseReady, migration.ActivityAwaitFreeSlot, 1},
	{migration.PhaseFreeze, migration.ActivityReadSourceBlocks, 1},
	{migration.PhaseFreeze, migration.ActivityBlockSource, 1},
	{migration.PhaseFreeze, migration.ActivityAwaitStandstill, 1},
	{migration.PhaseFinalRound, migration.ActivityTakeSnapshot, 3},
	{migration.PhaseFinalRound, migration.ActivityRestoreSnapshot, 3},
	{migration.PhaseVerify, migration.ActivityVerifyTarget, 1},
	{migration.PhaseCutover, migration.ActivityHandOver, 1},
}

// during runs do when the given activity is called for the nth time, while it still runs: in the
// workflow's own loop, where alone a query may be asked.
func (w *world) during(name string, n int, do func()) {
	w.after[name] = func(call int) {
		if call == n {
			w.inLoop(do)
		}
	}
}

func (w *world) inLoop(do func()) {
	done := make(chan struct{})
	w.env.RegisterDelayedCallback(func() { defer close(done); do() }, 0)
	select {
	case <-done:
	case <-w.t.Context().Done(): // the workflow has ended without this activity
	}
}

// The usual course: one incremental round after 15 minutes, then freeze and cutover.
func (w *world) usualRequests() {
	w.at(20*time.Minute, migration.RequestFreeze)
	w.at(30*time.Minute, migration.RequestCutover)
}

// Hooks run beside other activities: a snapshot's beside those that copy its shards, and one that
// was given up beside its successors. They look at the world and change it through these.

func (w *world) called(name string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.n[name]
}

func (w *world) isBlocked() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.blocked
}

func (w *world) change(do func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	do()
}
