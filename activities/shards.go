package activities

import (
	"context"
	"fmt"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/migration"
)

// CheckShardLimit makes sure that the target allows the replicas that the cutover adds.
func (a *Activities) CheckShardLimit(ctx context.Context, in migration.ShardLimitRequest) error {
	_, err := perform(ctx, a, "checking the target's shard limit",
		func(ctx context.Context, _ *pulse) (none, error) {
			client, err := a.cluster(ctx, onTarget, in.Run)
			if err != nil {
				return none{}, err
			}
			stored, err := fetch(ctx, a.lists, in.Run, nil, in.IndicesOf)
			if err != nil {
				return none{}, err
			}
			in.Adds += migration.AddedAtCutover(stored, in.Plan.Restore.Replicas)
			room, err := client.ShardRoom(ctx)
			if err != nil || !room.Enforced || in.Adds <= 0 || room.Fits(in.Adds) {
				return none{}, err
			}
			return none{}, fail(migration.ErrorShardLimit,
				"check the shards of %s: the cutover adds %d replicas, and %s",
				client.Host(), in.Adds, overLimit(room, in.Adds))
		})
	return err
}

// overLimit says that so many more shards are too many, and which limit would do.
func overLimit(room elastic.ShardRoom, more int) string {
	return fmt.Sprintf("the target has %d shards of the %d that it allows (cluster.max_shards_per_node %d on %d data "+
		"nodes): set cluster.max_shards_per_node to at least %d, or add data nodes", room.Open, room.Limit(),
		room.PerNode, room.Nodes, room.Needed(more))
}

// shards compares the target's limit on shards with what the indices need: while they are restored,
// and with the source's replicas after the cutover.
func (f *preflight) shards(ctx context.Context) error {
	if f.to == nil || len(f.indices) == 0 {
		return nil
	}
	room, err := f.to.ShardRoom(ctx)
	if err != nil {
		return err
	}
	var during, after int
	for _, index := range f.indices {
		during += index.Shards * (1 + f.run.Plan.Restore.Replicas)
		after += index.Shards * (1 + index.Replicas)
	}
	after = max(during, after) // both must fit, so one number is enough
	switch {
	case room.Fits(after):
	case !room.Enforced:
		f.warnings = append(f.warnings, fmt.Sprintf("the indices need %d shards with the source's replicas, and %s. "+
			"6.x only warns of it, unless its nodes enforce the limit", after, overLimit(room, after)))
	case !room.Fits(during):
		f.problem("the indices need %d shards during the migration and %d after the cutover, and %s", during, after,
			overLimit(room, after))
	default:
		f.problemOfMigration("the indices need %d shards with the source's replicas, and %s", after,
			overLimit(room, after))
	}
	return nil
}
