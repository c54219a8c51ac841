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
	// shardBatches is into how many batches the shards of a snapshot come at most: each
	// costs some events of the history.
	shardBatches = 16
	// mostStreamed is from how many shards on a snapshot isn't followed: what is
	// known of its shards would not fit into a history.
	mostStreamed = 1000
)

// AwaitShards returns when shards of a running snapshot are done that were not
// known, so that they can be carried while the others are still at it: as many at
// once as make a batch. It decides nothing and may be given up at any time.
func (a *Activities) AwaitShards(ctx context.Context, in migration.ShardsRequest) (migration.DoneShards, error) {
	return perform(ctx, a, "following snapshot "+in.Snapshot, func(ctx context.Context, p *pulse) (migration.DoneShards, error) {
		client, err := a.cluster(ctx, onSource, in.Run)
		if err != nil {
			return migration.DoneShards{}, err
		}
		known := map[migration.SnapshotShard]bool{}
		for _, shard := range in.Known {
			known[shard] = true
		}
		for polls := a.shardPace(); ; {
			// At first as well: what is over by then needs no following.
			if err := a.wait(ctx, &polls); err != nil {
				return migration.DoneShards{}, err
			}
			status, err := client.SnapshotStatus(ctx, in.RepositoryName(), in.Snapshot)
			switch elastic.KindOf(err) {
			case elastic.NotSupported, elastic.Unauthorized:
				return migration.DoneShards{Ended: true}, nil // the round does without
			case elastic.Missing: // it waits for the slot
			case elastic.None:
				if ended(status) {
					return migration.DoneShards{Ended: true}, nil
				}
				p.set(migration.Progress{Doing: "following snapshot " + in.Snapshot, ShardsDone: status.ShardsDone, ShardsTotal: status.ShardsTotal})
				if fresh := doneShards(status, known); len(fresh) > 0 && len(fresh)*shardBatches >= status.ShardsTotal {
					return migration.DoneShards{UUID: status.UUID, Shards: fresh}, nil
				}
			default:
				return migration.DoneShards{}, err
			}
		}
	})
}

// shardPace is the pace at which the shards of a running snapshot are looked at.
// Snapshots that are over before the first look need no following: what there is
// to gain is the copy of some shards, about a second, and to read them slows down
// a source whose network or disks are what the snapshot waits for.
func (a *Activities) shardPace() backoff {
	polls := a.polls()
	polls.next = 4 * time.Second
	return polls
}

// ended tells whether following a snapshot is of no more use.
func ended(status elastic.SnapshotStatus) bool {
	running := status.State == "INIT" || status.State == "STARTED"
	return !running || status.UUID == "" || status.ShardsTotal > mostStreamed || status.ShardsTotal > 0 && status.ShardsDone == status.ShardsTotal
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
