package activities

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/migration"
)

// A standstill is this many equal samples of the write counters in a row, this far apart. A bulk
// request that was under way when the block was set ends within that time.
const (
	standstillSamples  = 3
	standstillInterval = 50 * time.Millisecond
)

// AwaitStandstill returns once the source's write counters stand still and a probe of each index is
// refused. Its result holds, shard by shard, the document counts that the target must reach, and
// marks that tell later whether anything was written since.
func (a *Activities) AwaitStandstill(ctx context.Context, in migration.StandstillRequest,
) (migration.Standstill, error) {
	return perform(ctx, a, "waiting for the source's writes to stand still",
		func(ctx context.Context, p *pulse) (still migration.Standstill, err error) {
			client, err := a.cluster(ctx, onSource, in.Run)
			if err != nil {
				return still, err
			}
			if in.Indices, err = a.lists.names(ctx, in.Run, in.Indices, in.IndicesOf); err != nil {
				return still, err
			}
			var changed *changeFinder
			beside, besideCtx := errgroup.WithContext(ctx)
			if in.Find != nil {
				if changed, err = a.comparing(ctx, *in.Find); err != nil {
					return still, err
				}
				beside.Go(func() error { return changed.lookAtTarget(besideCtx) })
			}
			defer func() { _ = beside.Wait() }()
			if still.Marks, err = a.standstill(ctx, client, in.IndicesRequest, p); err != nil {
				return still, err
			}
			if changed != nil { // only what is read now counts
				beside.Go(func() error { return changed.mark(besideCtx) })
			}
			if err := refuseWrites(ctx, client, in.Indices); err != nil {
				return still, err
			}
			if err := client.Refresh(ctx, in.Indices); err != nil {
				return still, err
			}
			if still.Docs, err = shardDocs(ctx, client, in.Indices); err != nil {
				return still, err
			}
			if err := beside.Wait(); err != nil {
				return still, err
			}
			if changed != nil {
				found, err := changed.result(ctx)
				if err != nil {
					return still, err
				}
				still.Found = &found
			}
			return a.lists.still(ctx, in, still)
		})
}

// refuseWrites probes each index. It doesn't matter which block refuses the write: ours, or one
// that the index had of itself and that may be gone by now.
func refuseWrites(ctx context.Context, client *elastic.Client, indices []string) error {
	probes, err := client.ProbeWrites(ctx, indices, elastic.ExpectBlocked)
	if err != nil {
		return err
	}
	var writable []string
	var failures []error
	for _, name := range indices {
		switch probe := probes[name]; {
		case probe.Err != nil:
			failures = append(failures, probe.Err)
		case !probe.Blocked:
			writable = append(writable, name)
		}
	}
	err = retryableFirst(failures)
	if err == nil && len(writable) > 0 {
		slices.Sort(writable)
		err = fail(migration.ErrorNoStandstill, "probe the indices on %s after the block: these take writes, since "+
			"%s is gone or a block of their own is: %s", client.Host(), writeBlock, named("", writable))
	}
	return err
}

// still names what has changed since an earlier standstill, and stores what is too long for a
// payload.
func (l lists) still(ctx context.Context, in migration.StandstillRequest,
	still migration.Standstill,
) (migration.Standstill, error) {
	if in.Before != nil {
		docs, err := fetch(ctx, l, in.Run, in.Before.Docs, in.Before.DocsOf)
		if err != nil {
			return still, err
		}
		marks, err := fetch(ctx, l, in.Run, in.Before.Marks, in.Before.MarksOf)
		if err != nil {
			return still, err
		}
		still.Changed = still.ChangedIndex(migration.Standstill{Docs: docs, Marks: marks}, in.Indices)
	}
	if !in.Store {
		return still, nil
	}
	var err error
	if still.Docs, still.DocsOf, err = storeIfLong(ctx, l, in.Run, still.Docs); err != nil {
		return still, err
	}
	still.Marks, still.MarksOf, err = storeIfLong(ctx, l, in.Run, still.Marks)
	return still, err
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
