package activities

import (
	"context"
	"fmt"
	"slices"

	"go.temporal.io/sdk/activity"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/migration"
)

// CloseTarget closes the target's indices, as a restore over them demands,
// unless somebody wrote to them: a restore would throw those writes away. An
// index that this migration didn't put there is never closed.
func (a *Activities) CloseTarget(ctx context.Context, in migration.CloseRequest) error {
	_, err := perform(ctx, a, "closing the target's indices", func(ctx context.Context, p *pulse) (none, error) {
		client, err := a.cluster(ctx, onTarget, in.Run)
		if err != nil {
			return none{}, err
		}
		found, aliases, err := existing(ctx, client, in.Indices)
		if err != nil {
			return none{}, err
		}
		if len(aliases) > 0 {
			return none{}, fail(migration.ErrorRefused, "close the target's indices: on %s %s, where an index is to be restored", client.Host(), named("an alias stands under the name ", aliases))
		}
		var open []elastic.Index
		for _, name := range in.Indices {
			if index, there := found[name]; there && index.Open {
				open = append(open, index)
			} else if there && in.Expected[name].UUID == "" && !hasOurBlock(index) {
				return none{}, foreign(client, name)
			}
		}
		if err := untouched(ctx, client, in, open); err != nil || len(open) == 0 {
			return none{}, err
		}
		return none{}, a.shut(ctx, client, in.RepositoryName(), indexNames(open), p)
	})
	return err
}

// shut closes indices, and waits while a snapshot or restore holds them. One
// that an abandoned restore of ours holds for ever is deleted instead: it has
// nothing that the next restore won't bring.
func (a *Activities) shut(ctx context.Context, client *elastic.Client, repository string, names []string, p *pulse) error {
	turns := a.turns()
	for len(names) > 0 {
		err := client.CloseIndices(ctx, names)
		if elastic.KindOf(err) != elastic.SlotTaken {
			return err
		}
		p.update(func(progress *migration.Progress) { progress.Waiting = err.Error() })
		copies, err := client.Shards(ctx, names)
		if err != nil {
			return err
		}
		var stuck []string
		for _, c := range copies {
			if c.Primary && lost(c) && c.Source != nil && c.Source.Repository == repository && !slices.Contains(stuck, c.Index) {
				stuck = append(stuck, c.Index)
			}
		}
		if len(stuck) > 0 {
			if err := a.whenFree(ctx, p, func() error { return client.DeleteIndices(ctx, stuck) }); err != nil {
				return err
			}
			names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return slices.Contains(stuck, name) })
			continue
		}
		if err := a.wait(ctx, &turns); err != nil {
			return err
		}
	}
	return nil
}

func foreign(client *elastic.Client, name string) error {
	return fail(migration.ErrorRefused, "close index %s on %s: it exists there, but this migration didn't restore it; delete or rename it, since a restore would overwrite it", name, client.Host())
}

func indexNames(indices []elastic.Index) []string {
	names := make([]string, len(indices))
	for i, index := range indices {
		names[i] = index.Name
	}
	return names
}

func hasOurBlock(index elastic.Index) bool { return index.Blocks[writeBlock] == "true" }

// untouched makes sure that nobody wrote to the open indices since the last
// restore.
func untouched(ctx context.Context, client *elastic.Client, in migration.CloseRequest, open []elastic.Index) error {
	if len(open) == 0 {
		return nil
	}
	names := indexNames(open)
	restored, err := restoredBy(ctx, client, in.RepositoryName(), names)
	if err != nil {
		return err
	}
	for _, index := range open {
		if _, expected := in.Expected[index.Name]; !expected && restored[index.Name] == "" && !hasOurBlock(index) {
			return foreign(client, index.Name)
		}
	}
	if in.AcceptWrites {
		return nil
	}
	counters, err := counters(ctx, client, open)
	if err != nil {
		return err
	}
	var written []string
	for _, name := range names {
		now, expected := counters[name], in.Expected[name]
		if now.Writes == 0 && restored[name] != "" {
			// The shards are still as a restore of ours left them, be it a later one
			// than the workflow knows of.
			continue
		}
		if now != expected {
			written = append(written, fmt.Sprintf("%s (%d operations and %d documents, after the restore %d and %d)", name, now.Writes, now.Docs, expected.Writes, expected.Docs))
		}
	}
	if len(written) > 0 {
		return fail(migration.ErrorTargetWritten, "close the target's indices on %s: somebody wrote to %s", client.Host(), named("", written))
	}
	return nil
}

// counters sums up the write counters of each index.
func counters(ctx context.Context, client *elastic.Client, indices []elastic.Index) (migration.WriteCounters, error) {
	sums := migration.WriteCounters{}
	for _, index := range indices {
		sums[index.Name] = migration.Counter{UUID: index.UUID}
	}
	shards, err := client.WriteCounters(ctx, indexNames(indices))
	if err != nil {
		return nil, err
	}
	for _, shard := range shards {
		sum := sums[shard.Index]
		sum.Writes += shard.IndexTotal + shard.DeleteTotal
		sum.Docs += shard.Docs
		sums[shard.Index] = sum
	}
	return sums, nil
}

// restoredBy tells, for each open index, which snapshot of the repository all
// its primaries were restored from or are being restored from; "" if any of them
// came from elsewhere, or can't be told.
func restoredBy(ctx context.Context, client *elastic.Client, repository string, open []string) (map[string]string, error) {
	origin := map[string]string{}
	if len(open) == 0 {
		return origin, nil
	}
	recoveries, err := client.Recovery(ctx, open)
	if err != nil {
		return nil, err
	}
	copies, err := client.Shards(ctx, open)
	if err != nil {
		return nil, err
	}
	type shard struct {
		index  string
		number int
	}
	from := map[shard]string{}
	for _, r := range recoveries {
		if r.Primary && r.Type == "SNAPSHOT" && r.Repository == repository {
			from[shard{r.Index, r.Shard}] = r.Snapshot
		}
	}
	primaries := map[string]int{}
	for _, c := range copies {
		if !c.Primary {
			continue
		}
		primaries[c.Index]++
		key := shard{c.Index, c.Shard}
		// A shard that waits for its place, or failed, is in no recovery.
		if from[key] == "" && c.Source != nil && c.Source.Type == "SNAPSHOT" && c.Source.Repository == repository {
			from[key] = c.Source.Snapshot
		}
		if primaries[c.Index] == 1 {
			origin[c.Index] = from[key]
		} else if origin[c.Index] != from[key] {
			origin[c.Index] = ""
		}
	}
	return origin, nil
}

// OpenTarget makes sure that the restored indices are open, have their
// primaries, refuse writes, and tells what they hold.
func (a *Activities) OpenTarget(ctx context.Context, in migration.IndicesRequest) (migration.OpenResult, error) {
	return perform(ctx, a, "opening the target's indices", func(ctx context.Context, p *pulse) (migration.OpenResult, error) {
		client, err := a.cluster(ctx, onTarget, in.Run)
		if err != nil {
			return migration.OpenResult{}, err
		}
		if err := client.OpenIndices(ctx, in.Indices); err != nil {
			return migration.OpenResult{}, err
		}
		if err := a.notRed(ctx, client, in.Indices, p); err != nil {
			return migration.OpenResult{}, err
		}
		if err := client.Refresh(ctx, in.Indices); err != nil {
			return migration.OpenResult{}, err
		}
		indices, err := client.Indices(ctx, in.Indices...)
		if err != nil {
			return migration.OpenResult{}, err
		}
		var unblocked []string
		for _, index := range indices {
			if !hasOurBlock(index) {
				unblocked = append(unblocked, index.Name)
			}
		}
		if len(unblocked) > 0 {
			// Every restore sets it, so somebody took it away. What matters is
			// whether anybody wrote, and that nobody does from now on.
			activity.GetLogger(ctx).Warn("the target's indices lacked the write block, it is set again", "indices", unblocked)
			if err := client.BlockWrites(ctx, unblocked); err != nil {
				return migration.OpenResult{}, err
			}
		}
		counted, err := counters(ctx, client, indices)
		if err != nil {
			return migration.OpenResult{}, err
		}
		for name, counter := range counted {
			// A restored shard begins to count at 0. What somebody wrote since then
			// must not be taken for the restore's: CloseTarget and VerifyTarget are
			// to notice it.
			counter.Writes = 0
			counted[name] = counter
		}
		return migration.OpenResult{Counters: counted}, nil
	})
}

// notRed waits until every index has its primaries.
func (a *Activities) notRed(ctx context.Context, client *elastic.Client, indices []string, p *pulse) error {
	polls := a.polls()
	for {
		health, err := client.Health(ctx, indices)
		if err != nil {
			return err
		}
		var red []string
		for _, name := range indices {
			if status := health.Indices[name]; status != "green" && status != "yellow" {
				red = append(red, name)
			}
		}
		p.update(func(progress *migration.Progress) { progress.Waiting = named("primaries are missing in ", red) })
		if len(red) == 0 {
			return nil
		}
		if err := a.wait(ctx, &polls); err != nil {
			return err
		}
	}
}
