package activities

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/migration"
)

// A standstill is this many samples of the write counters in a row that are equal to the one before,
// this far apart. A bulk request that was under way when the block was set ends within that time.
const (
	standstillSamples  = 3
	standstillInterval = 50 * time.Millisecond
)

// AwaitStandstill returns once the source's write counters stand still and a probe of each index is
// refused. Its result holds, shard by shard, the document counts that the target must reach, and
// marks that tell later whether anything was written since.
func (a *Activities) AwaitStandstill(ctx context.Context, in migration.StandstillRequest,
) (migration.Standstill, error) {
	return a.standStill(ctx, in, nil)
}

// standStill is AwaitStandstill. It can ask for the final snapshot on the way.
func (a *Activities) standStill(ctx context.Context, in migration.StandstillRequest, ahead *askingAhead,
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
			waiting := standstill{Activities: a, in: in.IndicesRequest, client: client, pulse: p}
			ctx, cancel := context.WithCancel(ctx)
			beside, besideCtx := errgroup.WithContext(ctx)
			defer func() { cancel(); _ = beside.Wait() }()
			if in.Find != nil {
				if waiting.changed, err = a.comparing(ctx, *in.Find); err != nil {
					return still, err
				}
				waiting.ahead, waiting.looked = ahead, make(chan struct{})
				beside.Go(func() error {
					defer close(waiting.looked)
					waiting.lookFailure = waiting.changed.lookAtTarget(besideCtx)
					return waiting.lookFailure
				})
			}
			shards, err := waiting.await(ctx)
			if err != nil {
				return still, err
			}
			still.Docs, still.Marks = docsByShard(shards), writeMarks(shards)
			if err := beside.Wait(); err != nil {
				return still, err
			}
			if waiting.changed != nil {
				if still.Found, err = waiting.found(ctx); err != nil {
					return still, err
				}
			}
			return a.lists.still(ctx, in, still)
		})
}

// standstill waits for the source's writes to end.
type standstill struct {
	*Activities
	in      migration.IndicesRequest // with all its lists
	client  *elastic.Client
	changed *changeFinder // nil if nobody asks what changed
	pulse   *pulse
	// ahead asks for the snapshot of what changed. looked is closed once the target was looked at as
	// well, or once that has failed.
	ahead       *askingAhead
	looked      chan struct{}
	lookFailure error
}

// await returns the last of the equal samples. What has to be read of a source that stands still is
// read beside the sampling: while writes are blocked, each request that waits for another one costs
// time. A reading lies between two samples. It counts if all samples from the one to the other are
// equal and settled: then nothing was written in between, and it is as good as one after the last.
// So the last sample waits for the end of the reading. Its document counts are those of the refresh.
func (s *standstill) await(ctx context.Context) (still []elastic.ShardCounters, err error) {
	deadline := s.now().Add(s.in.Plan.Freeze.StandstillTimeout.Std())
	var reads *bracketed
	defer func() {
		reads.discard()
		if err != nil {
			s.ahead.void()
		}
	}()
	var last []elastic.ShardCounters
	for equal := 0; ; {
		shards, err := s.client.WriteCounters(ctx, s.in.Indices)
		if err != nil {
			return nil, err
		}
		moving := movement(last, shards)
		if moving == "" {
			equal++
		} else {
			equal = 0
			reads.discard()
			s.ahead.void()
			reads = nil
		}
		if equal >= standstillSamples {
			return shards, reads.wait()
		}
		if moving != "" && last != nil {
			s.pulse.update(func(progress *migration.Progress) { progress.Waiting = moving })
			if s.now().After(deadline) {
				return nil, fail(migration.ErrorNoStandstill, "wait for the writes on %s to stand still: after %s, %s",
					s.client.Host(), s.in.Plan.Freeze.StandstillTimeout, moving)
			}
		}
		// After a movement, another sample has to be equal first: a source that still takes writes is
		// not read again and again.
		if reads == nil && (equal > 0 || last == nil && unsettled(shards) == "") {
			reads = s.read(ctx)
		}
		if equal > 0 {
			s.ahead.begin(ctx, s.findAfter(reads))
		}
		last = shards
		if err := s.sleep(ctx, standstillInterval); err != nil {
			return nil, err
		}
		if equal == standstillSamples-1 {
			_ = reads.wait() // its error counts only if nothing has moved
		}
	}
}

// findAfter finds out what changed once the marks of a reading are known, and the target was looked
// at. The rest of the reading may take longer: what the refresh is for is the count.
func (s *standstill) findAfter(reads *bracketed) func(context.Context) (migration.Changed, []string, error) {
	return func(ctx context.Context) (migration.Changed, []string, error) {
		for _, known := range []<-chan struct{}{reads.known, s.looked} {
			select {
			case <-known:
			case <-ctx.Done():
				return migration.Changed{}, nil, ctx.Err()
			}
		}
		if err := cmp.Or(reads.marked, s.lookFailure); err != nil {
			return migration.Changed{}, nil, err
		}
		return s.changed.result(ctx)
	}
}

// found is what changed. It may be known since the snapshot was asked for.
func (s *standstill) found(ctx context.Context) (*migration.Changed, error) {
	if found := s.ahead.wait(); found != nil {
		return found, nil
	}
	found, _, err := s.changed.result(ctx)
	return &found, err
}

// bracketed is what is read of the source between two samples. nil is nothing.
type bracketed struct {
	cancel context.CancelFunc
	parts  sync.WaitGroup
	known  chan struct{} // closed once marked is set

	probed, refreshed, marked error
}

// read begins a reading.
func (s *standstill) read(ctx context.Context) *bracketed {
	ctx, cancel := context.WithCancel(ctx)
	r := &bracketed{cancel: cancel, known: make(chan struct{})}
	r.parts.Go(func() {
		if r.probed = refuseWrites(ctx, s.client, s.in.Indices); r.probed != nil {
			cancel() // nothing else counts then
		}
	})
	r.parts.Go(func() { r.refreshed = s.client.Refresh(ctx, s.in.Indices) })
	if s.changed != nil {
		r.parts.Go(func() {
			defer close(r.known)
			r.marked = s.changed.mark(ctx, s.client)
		})
	}
	return r
}

// wait waits for the end of a reading.
func (r *bracketed) wait() error {
	r.parts.Wait()
	return cmp.Or(r.probed, r.refreshed, r.marked)
}

// discard ends a reading that doesn't count, or no longer matters.
func (r *bracketed) discard() {
	if r != nil {
		r.cancel()
		r.parts.Wait()
	}
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

func writeMarks(shards []elastic.ShardCounters) migration.ShardMarks {
	marks := migration.ShardMarks{}
	for _, shard := range shards { // sorted by index and shard, and none is missing
		marks[shard.Index] = append(marks[shard.Index], writeMark(shard))
	}
	return marks
}

// writeMark changes with every write to a shard. It holds the sequence number, or before 6.0 the
// counters and the node: counters start again at 0 when a shard moves.
func writeMark(s elastic.ShardCounters) string {
	if s.SeqNo != nil {
		return fmt.Sprintf("sequence number %d", s.SeqNo.Max)
	}
	return fmt.Sprintf("%d+%d operations on %s", s.IndexTotal, s.DeleteTotal, s.Node)
}

// movement says in words which shard was written between two samples, or is being written; empty if
// all stand still.
func movement(last, now []elastic.ShardCounters) string {
	if len(last) != len(now) {
		return "not every shard was seen twice yet"
	}
	if writes := unsettled(now); writes != "" {
		return writes
	}
	for i, counters := range now {
		if !counters.SameAs(last[i]) {
			return fmt.Sprintf("[%s][%d] still takes writes (%d operations)", counters.Index, counters.Shard,
				counters.IndexTotal+counters.DeleteTotal)
		}
	}
	return ""
}

// unsettled says in words which shard is being written; empty if none is.
func unsettled(now []elastic.ShardCounters) string {
	for _, counters := range now {
		if !counters.Settled() {
			return fmt.Sprintf("writes to [%s][%d] are under way", counters.Index, counters.Shard)
		}
	}
	return ""
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
