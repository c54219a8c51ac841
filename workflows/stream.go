package workflows

import (
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// stream carries shards of a snapshot while it still runs, so that little is
// left to carry when it ends. Nothing depends on it: whatever fails in it is left
// to the copy of the whole snapshot.
type stream struct {
	m        *run
	snapshot string
	base     string
	// ctx outlives stop, which ends the looking on: what is being carried when the
	// snapshot has ended is carried to its end.
	ctx   workflow.Context
	stop  func()
	under workflow.WaitGroup
	// carried is by the snapshot's uuid: one that is lost while it runs is taken
	// anew under its name, and what was carried of the first is none of the second.
	carried map[string]migration.CopyShardsResult
}

// follow begins to carry a snapshot that is about to be taken.
func (m *run) follow(ctx workflow.Context, snapshot string) *stream {
	s := &stream{m: m, snapshot: snapshot, ctx: ctx, under: workflow.NewWaitGroup(ctx), carried: map[string]migration.CopyShardsResult{}}
	if m.Published != nil {
		s.base = m.Published.UUID
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
		done, err := call[migration.DoneShards](ctx, s.m.paced(watchSnapshot("shards of "+s.snapshot)), migration.ActivityAwaitShards,
			migration.ShardsRequest{Run: s.m.forActivities(), Snapshot: s.snapshot, Known: known})
		if err != nil || done.Ended || ctx.Err() != nil {
			return
		}
		if done.UUID != uuid { // what was known was another snapshot's
			known, uuid = nil, done.UUID
		}
		known = append(known, done.Shards...)
		s.under.Add(1)
		s.m.ferry.inFlight++
		workflow.GoNamed(s.ctx, "carry shards of "+s.snapshot, func(ctx workflow.Context) {
			defer s.under.Done()
			copied, err := call[migration.CopyShardsResult](ctx, s.m.paced(copyActivity(shardCount(len(done.Shards))+" of "+s.snapshot)), migration.ActivityCopyShards,
				migration.CopyShardsRequest{Run: s.m.forActivities(), Snapshot: s.snapshot, UUID: done.UUID, Base: s.base, Shards: done.Shards})
			s.m.ferry.inFlight--
			if err != nil {
				workflow.GetLogger(ctx).Warn("shards are left to the copy of the whole snapshot", "snapshot", s.snapshot, "error", err)
				return
			}
			sum := s.carried[done.UUID]
			sum.Carried = append(sum.Carried, copied.Carried...)
			sum.BlobsCopied += copied.BlobsCopied
			sum.BytesCopied += copied.BytesCopied
			s.carried[done.UUID] = sum
		})
	}
}

// end ends it once the snapshot has, and waits for what is under way.
func (s *stream) end(ctx workflow.Context) {
	s.stop()
	s.under.Wait(ctx)
}
