package activities

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/migration"
)

// writeBlock is the one block that snapferry sets. Elasticsearch can't close an index that has a
// read_only block.
const writeBlock = "index.blocks.write"

// ReadBlocks reads the blocks that the source's indices have before the freeze, so that RemoveBlock
// can leave exactly those.
func (a *Activities) ReadBlocks(ctx context.Context, in migration.IndicesRequest) (migration.Blocks, error) {
	return perform(ctx, a, "reading the source's blocks",
		func(ctx context.Context, _ *pulse) (migration.Blocks, error) {
			client, err := a.cluster(ctx, onSource, in.Run)
			if err != nil {
				return nil, err
			}
			settings, err := client.IndexSettings(ctx, in.Indices)
			if err != nil {
				return nil, err
			}
			blocks := migration.Blocks{}
			for _, name := range in.Indices {
				blocks[name] = blocksOf(settings[name])
			}
			return blocks, nil
		})
}

// BlockWrites sets the write block on the source's indices. Writes under way may go on for a
// moment: AwaitStandstill waits for them. An index that was deleted since the indices were resolved
// takes no writes either, so the others are blocked without it. The next ResolveIndices finds it
// gone.
func (a *Activities) BlockWrites(ctx context.Context, in migration.IndicesRequest) error {
	_, err := perform(ctx, a, "blocking writes to the source", func(ctx context.Context, _ *pulse) (none, error) {
		client, err := a.cluster(ctx, onSource, in.Run)
		if err != nil {
			return none{}, err
		}
		names := in.Indices
		for {
			err := client.BlockWrites(ctx, names)
			if elastic.KindOf(err) != elastic.Missing {
				return none{}, err
			}
			present, _, lookErr := client.Present(ctx, names)
			if lookErr != nil {
				return none{}, lookErr
			}
			if len(present) == len(names) {
				return none{}, err // something else is missing
			}
			if names = slices.Sorted(maps.Keys(present)); len(names) == 0 {
				return none{}, nil
			}
		}
	})
	return err
}

// A standstill is this many equal samples of the write counters in a row, this far apart. A bulk
// request that was under way when the block was set ends within that time.
const (
	standstillSamples  = 3
	standstillInterval = 50 * time.Millisecond
)

// AwaitStandstill returns once the source's write counters stand still and a probe of each index is
// refused. Its result holds, shard by shard, the document counts that the target must reach, and
// marks that tell later whether anything was written since.
func (a *Activities) AwaitStandstill(ctx context.Context, in migration.IndicesRequest) (migration.Standstill, error) {
	return perform(ctx, a, "waiting for the source's writes to stand still",
		func(ctx context.Context, p *pulse) (still migration.Standstill, err error) {
			client, err := a.cluster(ctx, onSource, in.Run)
			if err != nil {
				return still, err
			}
			if still.Marks, err = a.standstill(ctx, client, in, p); err != nil {
				return still, err
			}
			if err := retryableFirst(eachIndex(in.Indices, func(name string) error {
				blocked, err := client.ProbeWrite(ctx, name, "")
				if err == nil && !blocked {
					err = fail(migration.ErrorNoStandstill, "probe index %s on %s: it takes writes although %s is set",
						name, client.Host(), writeBlock)
				}
				return err
			})); err != nil {
				return still, err
			}
			if err := client.Refresh(ctx, in.Indices); err != nil {
				return still, err
			}
			still.Docs, err = shardDocs(ctx, client, in.Indices)
			return still, err
		})
}

// writeMark changes with every write to a shard. It holds the sequence number, or before 6.0 the
// counters and the node: counters start again at 0 when a shard moves.
func writeMark(s elastic.ShardCounters) string {
	if s.SeqNo != nil {
		return fmt.Sprintf("sequence number %d", s.SeqNo.Max)
	}
	return fmt.Sprintf("%d+%d operations on %s", s.IndexTotal, s.DeleteTotal, s.Node)
}

func (a *Activities) standstill(ctx context.Context, client *elastic.Client, in migration.IndicesRequest,
	p *pulse,
) (migration.ShardMarks, error) {
	deadline := a.now().Add(in.Plan.Freeze.StandstillTimeout.Std())
	var last []elastic.ShardCounters
	for equal := 0; ; {
		counters, err := client.WriteCounters(ctx, in.Indices)
		if err != nil {
			return nil, err
		}
		moving := movement(last, counters)
		if moving == "" {
			equal++
		} else {
			equal = 0
		}
		if equal >= standstillSamples {
			marks := migration.ShardMarks{}
			for _, s := range counters { // sorted by index and shard, and none is missing
				marks[s.Index] = append(marks[s.Index], writeMark(s))
			}
			return marks, nil
		}
		if moving != "" && last != nil {
			p.update(func(progress *migration.Progress) { progress.Waiting = moving })
			if a.now().After(deadline) {
				return nil, fail(migration.ErrorNoStandstill, "wait for the writes on %s to stand still: after %s, %s",
					client.Host(), in.Plan.Freeze.StandstillTimeout, moving)
			}
		}
		last = counters
		if err := a.sleep(ctx, standstillInterval); err != nil {
			return nil, err
		}
	}
}

// movement says in words which shard was written between two samples, or is being written; empty if
// all stand still.
func movement(last, now []elastic.ShardCounters) string {
	if len(last) != len(now) {
		return "not every shard was seen twice yet"
	}
	for i, counters := range now {
		if !counters.Settled() {
			return fmt.Sprintf("writes to [%s][%d] are under way", counters.Index, counters.Shard)
		}
		if !counters.SameAs(last[i]) {
			return fmt.Sprintf("[%s][%d] still takes writes (%d operations)", counters.Index, counters.Shard,
				counters.IndexTotal+counters.DeleteTotal)
		}
	}
	return ""
}

func shardDocs(ctx context.Context, client *elastic.Client, indices []string) (migration.ShardDocs, error) {
	counts, err := client.DocCounts(ctx, indices)
	if err != nil {
		return nil, err
	}
	docs := migration.ShardDocs{}
	for _, count := range counts { // sorted by index and shard, and none is missing
		docs[count.Index] = append(docs[count.Index], count.Docs)
	}
	return docs, nil
}

// RemoveBlock removes our write block from the source's indices: afterwards they have the blocks
// that ReadBlocks found. It makes sure that they take writes, unless one of those blocks forbids
// it.
//
//   - It removes the block before it reads anything: a cluster that is too busy to answer a
//     question must not stay blocked for that.
//   - It goes on after a failure, so that one index keeps no other blocked.
//   - It never gives up on an answer that it doesn't understand.
func (a *Activities) RemoveBlock(ctx context.Context, in migration.LiftRequest) error {
	_, err := performForEver(ctx, a, "removing the write block from the source",
		func(ctx context.Context, _ *pulse) (none, error) {
			if len(in.Found) == 0 {
				return none{}, nil
			}
			client, err := a.cluster(ctx, onSource, in.Run)
			if err != nil {
				return none{}, err
			}
			refused, failures := a.removeBlocks(ctx, client, in.Found)
			present, _, err := client.Present(ctx, slices.Sorted(maps.Keys(in.Found)))
			if err != nil {
				return none{}, retryableFirst(append(failures, err))
			}
			// An index that is gone needs no check; of one that the cluster refused, the error is
			// known.
			names := slices.DeleteFunc(slices.Sorted(maps.Keys(present)),
				func(name string) bool { return refused[name] })
			return none{}, retryableFirst(append(failures, eachIndex(names, func(name string) error {
				return a.checkRemoved(ctx, client, present[name], in.Found[name])
			})...))
		})
	return err
}

// removeBlocks sets the block of each index to what was found: usually nothing, for all of them in
// one call. It returns the indices for which the cluster refused that. One that the cluster calls
// missing is not among them: checkRemoved checks all that exist.
func (a *Activities) removeBlocks(ctx context.Context, client *elastic.Client,
	found migration.Blocks,
) (refused map[string]bool, failures []error) {
	var ours, explicit []string
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if _, had := found[name][writeBlock]; had {
			explicit = append(explicit, name)
		} else {
			ours = append(ours, name)
		}
	}
	var mu sync.Mutex
	refused = map[string]bool{}
	each := func(names []string, value func(name string) any) {
		failures = append(failures, eachIndex(names, func(name string) error {
			err := client.PutIndexSettings(ctx, []string{name}, map[string]any{writeBlock: value(name)})
			if err == nil || elastic.KindOf(err) == elastic.Missing {
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			refused[name] = true
			return err
		})...)
	}
	off := unset(ctx, client)
	if len(ours) > 0 && client.PutIndexSettings(ctx, ours, map[string]any{writeBlock: off}) != nil {
		// One that is gone, or that has a read_only block by now, makes the complete call fail.
		// Then one call for each removes as many as possible.
		each(ours, func(string) any { return off })
	}
	each(explicit, func(name string) any { return found[name][writeBlock] })
	return refused, failures
}

// unset is the value that removes a setting. 2.x can't remove one, so there it is false. A cluster
// that doesn't tell its version counts as a later one: checkRemoved checks the result.
func unset(ctx context.Context, client *elastic.Client) any {
	if version, err := client.Version(ctx); err == nil && version.Major < 5 {
		return false
	}
	return nil
}

// checkRemoved checks one index: our block is gone, and a write would get through.
func (a *Activities) checkRemoved(ctx context.Context, client *elastic.Client, index elastic.Index,
	found map[string]string,
) error {
	name := index.Name
	settings, err := client.IndexSettings(ctx, []string{name})
	if elastic.KindOf(err) == elastic.Missing {
		return nil
	}
	if err != nil {
		return err
	}
	now := blocksOf(settings[name])
	if now[writeBlock] == "true" && found[writeBlock] != "true" {
		return passing(retryInternal, fmt.Sprintf("remove the write block from index %s on %s: it is still set", name,
			client.Host()), 0)
	}
	if forbidden(found) || !index.Open {
		return nil // it took no writes before either
	}
	blocked, err := client.ProbeWrite(ctx, name, "")
	switch {
	case elastic.KindOf(err) == elastic.Missing:
		return nil
	case err != nil:
		return err
	case blocked && forbidden(now):
		return fail(migration.ErrorRefused, "our write block is removed from index %s on %s, but a block that "+
			"somebody else has set since refuses writes: %v", name, client.Host(), slices.Sorted(maps.Keys(now)))
	case blocked:
		return fail(migration.ErrorRefused, "our write block is removed from index %s on %s, but writes are still "+
			"refused by a block that is not the index's own "+
			"(Amazon sets one when disks or memory run short)", name, client.Host())
	}
	return nil
}

// blocksOf picks the blocks out of an index's settings.
func blocksOf(settings map[string]string) map[string]string {
	blocks := map[string]string{}
	for name, value := range settings {
		switch name {
		case writeBlock, "index.blocks.read_only", "index.blocks.read_only_allow_delete", "index.blocks.read",
			"index.blocks.metadata":
			blocks[name] = value
		}
	}
	return blocks
}

// forbidden reports whether one of the blocks refuses writes.
func forbidden(blocks map[string]string) bool {
	return blocks[writeBlock] == "true" || blocks["index.blocks.read_only"] == "true" ||
		blocks["index.blocks.read_only_allow_delete"] == "true"
}

// retryableFirst picks the error that decides. As long as a retry may fix one of them, that one
// counts: the activity then runs again.
func retryableFirst(failures []error) error {
	for _, err := range failures {
		if !permanent(err) {
			return err
		}
	}
	return errors.Join(failures...)
}
