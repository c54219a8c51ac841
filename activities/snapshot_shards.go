package activities

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/migration"
)

const (
	// shardBatches is how many batches the shards of a snapshot arrive in at most: each batch costs
	// some events of the history.
	shardBatches = 16
	// mostStreamed is the largest number of shards of a snapshot that is followed: the list of more
	// would not fit into a history.
	mostStreamed = 1000
)

// AwaitShards returns the next batch of shards of a running snapshot that are done, so that they
// can be copied while the others are still being written. It decides nothing and may be cancelled
// at any time.
func (a *Activities) AwaitShards(ctx context.Context, in migration.ShardsRequest) (migration.DoneShards, error) {
	return perform(ctx, a, "following snapshot "+in.Snapshot,
		func(ctx context.Context, p *pulse) (migration.DoneShards, error) {
			client, err := a.cluster(ctx, onSource, in.Run)
			if err != nil {
				return migration.DoneShards{}, err
			}
			known := map[migration.SnapshotShard]bool{}
			for _, shard := range in.Known {
				known[shard] = true
			}
			pace, absent := shardPace(in), backoff{next: 250 * time.Millisecond, most: 5 * time.Second}
			gathered := gathering{frozen: in.Frozen, now: a.now}
			for next := &pace; ; {
				// Also before the first poll: a snapshot that has ended by then needs no following.
				if err := a.wait(ctx, next); err != nil {
					return migration.DoneShards{}, err
				}
				next = &pace
				status, err := client.SnapshotStatus(ctx, in.RepositoryName(), in.Snapshot)
				switch elastic.KindOf(err) {
				case elastic.NotSupported, elastic.Unauthorized:
					return migration.DoneShards{Ended: true}, nil // the round works without
				case elastic.Missing: // TakeSnapshot waits for the slot; this look has read the repository
					if in.Frozen {
						next = &absent
					}
				case elastic.None:
					if ended(status) {
						return migration.DoneShards{UUID: status.UUID, Ended: true, All: allDone(status)}, nil
					}
					p.set(migration.Progress{
						Doing: "following snapshot " + in.Snapshot, ShardsDone: status.ShardsDone,
						ShardsTotal: status.ShardsTotal,
					})
					if fresh := doneShards(status, known); gathered.enough(len(fresh), status.ShardsTotal) {
						return migration.DoneShards{UUID: status.UUID, Shards: fresh}, nil
					}
				default:
					return migration.DoneShards{}, err
				}
			}
		})
}

// gathering decides when a batch is worth an activity that copies it.
type gathering struct {
	frozen bool
	now    func() time.Time
	since  time.Time
}

// gatherFor is how long a batch of the frozen window waits for more shards. Of a small snapshot most come
// within that time, and each activity slows down the snapshot that it shares a computer with. A round
// looks seldom enough.
const gatherFor = 500 * time.Millisecond

func (g *gathering) enough(shards, total int) bool {
	if shards == 0 || shards*shardBatches < total {
		return false
	}
	if g.since.IsZero() {
		g.since = g.now()
	}
	return !g.frozen || g.now().Sub(g.since) >= gatherFor
}

// shardPace is the pace at which the shards of a running snapshot are polled. It starts slowly: in a
// round, following a short snapshot would gain a second that nobody waits for. In the frozen window
// somebody does.
func shardPace(in migration.ShardsRequest) backoff {
	pace := paceOf(in.Frozen)
	pace.next = 4 * time.Second
	if in.Frozen {
		pace.next = 100 * time.Millisecond
	}
	return pace
}

// ended reports whether there is nothing more to follow.
func ended(status elastic.SnapshotStatus) bool {
	running := status.State == "INIT" || status.State == "STARTED"
	return !running || status.UUID == "" || status.ShardsTotal > mostStreamed || status.ShardsTotal > 0 &&
		status.ShardsDone == status.ShardsTotal
}

// allDone reports whether each shard of a snapshot that can be followed is done. Before 5.0 none can:
// it has no uuid.
func allDone(status elastic.SnapshotStatus) bool {
	return status.UUID != "" && status.ShardsTotal > 0 && status.ShardsTotal <= mostStreamed &&
		status.ShardsDone == status.ShardsTotal
}

func doneShards(status elastic.SnapshotStatus, known map[migration.SnapshotShard]bool) []migration.SnapshotShard {
	var fresh []migration.SnapshotShard
	for index, shards := range status.Indices {
		for n, shard := range shards.Shards {
			if s := (migration.SnapshotShard{Index: index, Shard: n}); shard.Stage == "DONE" && !known[s] {
				fresh = append(fresh, s)
			}
		}
	}
	slices.SortFunc(fresh, func(a, b migration.SnapshotShard) int {
		return cmp.Or(cmp.Compare(a.Index, b.Index), cmp.Compare(a.Shard, b.Shard))
	})
	return fresh
}
