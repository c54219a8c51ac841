package workflows

import (
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// stream copies shards of a snapshot while it still runs, so that little is left to copy when it
// ends. Nothing depends on it: whatever fails in it is left to the copy of the snapshot.
type stream struct {
	m        *run
	snapshot string
	base     string
	// ctx outlives stop, which ends the watching: what is being copied when the snapshot has ended
	// is copied to its end.
	ctx   workflow.Context
	stop  func()
	under workflow.WaitGroup
	// ahead is what else is to be copied once all shards are done; nil for nothing. stopAhead ends that.
	ahead     *migration.CopyRequest
	stopAhead func()
	// begun says that it was begun, ready is what came of it: it is published, or only has to be.
	begun bool
	ready migration.Ahead
	// batches counts the batches of shards that are being copied.
	batches int
	// copied is by the snapshot's uuid. One that is lost while it runs is taken again under its
	// name, and what was copied of the first says nothing of the second.
	copied map[string]streamed
}

// streamed is what was copied of a snapshot while it ran.
type streamed struct {
	carried      []migration.CarriedShard
	carriedOf    []migration.Stored[[]migration.CarriedShard]
	blobs, bytes int64
	// ready is what is published, or only has to be; its UUID is empty if nothing is. begun says that OSS
	// may have some of it.
	ready migration.Ahead
	begun bool
}

// follow begins to copy a snapshot that is about to be taken.
func (m *run) follow(ctx workflow.Context, snapshot string) *stream {
	s := &stream{
		m: m, snapshot: snapshot, base: m.base().UUID, ctx: ctx,
		under: workflow.NewWaitGroup(ctx), copied: map[string]streamed{},
	}
	watching, stop := workflow.WithCancel(ctx)
	s.stop = stop
	workflow.GoNamed(watching, "follow "+snapshot, s.run)
	return s
}

func (s *stream) run(ctx workflow.Context) {
	var known []migration.SnapshotShard
	var uuid string
	for {
		done, err := call[migration.DoneShards](ctx, s.m.paced(watchSnapshot("shards of "+s.snapshot)),
			migration.ActivityAwaitShards,
			migration.ShardsRequest{
				Run: s.m.forActivities(), Snapshot: s.snapshot, Known: known, Frozen: s.m.frozen(),
			})
		if err != nil && ctx.Err() == nil {
			workflow.GetLogger(ctx).Warn("the snapshot is copied once it has ended", "snapshot", s.snapshot, "error",
				err)
		}
		if err == nil && done.All && s.ahead != nil {
			s.copyAhead(ctx, done.UUID)
		}
		if err != nil || done.Ended || ctx.Err() != nil {
			return
		}
		if done.UUID != uuid { // what was known was another snapshot's
			known, uuid = nil, done.UUID
		}
		known = append(known, done.Shards...)
		s.under.Add(1)
		s.batches++
		s.m.copying.inFlight++
		workflow.GoNamed(s.ctx, "copy shards of "+s.snapshot, func(ctx workflow.Context) {
			defer s.under.Done()
			s.copyShards(ctx, done)
		})
	}
}

// copyShards copies shards that are done, and keeps what came of it.
func (s *stream) copyShards(ctx workflow.Context, done migration.DoneShards) {
	options := s.m.paced(copyActivity(shardCount(len(done.Shards)) + " of " + s.snapshot))
	copied, err := call[migration.CopyShardsResult](ctx, options, migration.ActivityCopyShards,
		migration.CopyShardsRequest{
			Run: s.m.forActivities(), Snapshot: s.snapshot, UUID: done.UUID, Base: s.base, Shards: done.Shards,
		})
	s.batches--
	s.m.copying.inFlight--
	if err != nil || copied.Why != "" {
		workflow.GetLogger(ctx).Warn("shards are left to the copy of the snapshot", "snapshot", s.snapshot, "because",
			copied.Why, "error", err)
	}
	if err != nil {
		return
	}
	sum := s.copied[done.UUID]
	sum.carried = append(sum.carried, copied.Carried...)
	if !copied.CarriedOf.IsZero() {
		sum.carriedOf = append(sum.carriedOf, copied.CarriedOf)
	}
	sum.blobs += copied.BlobsCopied
	sum.bytes += copied.BytesCopied
	s.copied[done.UUID] = sum
}

// copyAhead begins to copy all that the snapshot needs, now that its shards are done: as soon as the
// cluster has written the root, while it still tidies up.
func (s *stream) copyAhead(watching workflow.Context, uuid string) {
	_ = workflow.Await(watching, func() bool { return s.batches == 0 })
	if watching.Err() != nil { // which Await doesn't say if there is nothing to wait for
		return // the snapshot has ended, and nobody waits for this any more
	}
	request := *s.ahead
	request.Carried, request.CarriedOf = s.copied[uuid].carried, s.copied[uuid].carriedOf
	ctx, stop := workflow.WithCancel(s.ctx)
	s.stopAhead = stop
	s.begun = true
	s.under.Add(1)
	s.m.copying.inFlight++
	workflow.GoNamed(ctx, "copy ahead "+s.snapshot, func(ctx workflow.Context) {
		defer s.under.Done()
		options := tryOnce(s.m.paced(copyActivity("copy " + s.snapshot + " before it ends")))
		ready, err := call[migration.Ahead](ctx, options, migration.ActivityCopyAhead, request)
		s.m.copying.inFlight--
		if err != nil || ready.UUID == "" {
			workflow.GetLogger(ctx).Info("the snapshot is copied once it has ended", "snapshot", s.snapshot, "because",
				ready.Why, "error", err)
			return
		}
		s.ready = ready
	})
}

// end ends it once the snapshot has, and waits for what is under way. Of a snapshot that has failed,
// nothing more is copied.
func (s *stream) end(ctx workflow.Context, taken bool) {
	s.stop()
	if !taken && s.stopAhead != nil {
		s.stopAhead()
	}
	s.under.Wait(ctx)
}
