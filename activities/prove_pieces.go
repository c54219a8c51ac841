package activities

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/migration"
)

// A large shard is read in pieces, by sequence numbers. Read in one go it would hold a scroll for
// hours, and the files of its segments with it. A killed worker would lose all of it, and a write in
// the first minute would be noticed in the last one.

// pieces reads large shards of an index on both clusters.
func (p *proving) pieces(ctx context.Context, index string, shards []migration.ShardTask,
	found map[int]comparedShard,
) error {
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(shardsProvenAtOnce)
	for _, shard := range shards {
		group.Go(func() error {
			compared, err := p.inPieces(groupCtx, index, shard)
			if err != nil {
				return err
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			found[shard.Shard] = compared
			return nil
		})
	}
	return group.Wait()
}

// inPieces reads a shard from where the attempt before has stopped.
func (p *proving) inPieces(ctx context.Context, index string, shard migration.ShardTask) (comparedShard, error) {
	read := p.readBefore(index, shard)
	if read.Target == "" || !has(p.sourceBefore[index], shard.Shard, shard.Mark) {
		return comparedShard{unfinished: true}, nil
	}
	highest, _ := migration.SeqNo(shard.Mark)
	for !read.Done {
		beyond, upTo := read.UpTo, read.UpTo+shard.Piece
		piece := elastic.ShardScan{Shard: shard.Shard, Beyond: &beyond, UpTo: &upTo}
		if read.Done = upTo >= highest; read.Done {
			piece.UpTo, piece.Unnumbered = nil, true // what the target has too many may lie anywhere
		}
		source, target, err := p.checksums(ctx, index, []elastic.ShardScan{piece})
		if err != nil {
			return interrupted(ctx, err)
		}
		add(&read.FromSource, source[0])
		add(&read.FromTarget, target[0])
		read.UpTo = upTo
		p.keep(read)
		if read.Done {
			break
		}
		stands, err := p.stillStands(ctx, read)
		if err != nil {
			return interrupted(ctx, err)
		}
		if !stands {
			return comparedShard{unfinished: true}, nil
		}
	}
	return comparedShard{
		source: elastic.ShardChecksum{Shard: shard.Shard, Checksum: elastic.Checksum(read.FromSource)},
		target: elastic.ShardChecksum{Shard: shard.Shard, Checksum: elastic.Checksum(read.FromTarget)},
	}, nil
}

// errPiecesKept says that the next attempt goes on behind what was read.
var errPiecesKept = errors.New("a large shard was read in part")

// interrupted tells an index that was closed or deleted from a failure that passes, such as a scroll
// that has expired. After that, the next attempt goes on, if the shard still stands.
func interrupted(ctx context.Context, err error) (comparedShard, error) {
	switch {
	case ctx.Err() != nil, !moves(err):
		return comparedShard{}, err
	case elastic.KindOf(err) == elastic.Unavailable:
		return comparedShard{}, fmt.Errorf("%w: %w", errPiecesKept, err)
	}
	return comparedShard{unfinished: true}, nil
}

func add(sum *migration.ReadSum, piece elastic.ShardChecksum) {
	total := elastic.Checksum(*sum)
	total.Add(piece.Checksum)
	*sum = migration.ReadSum(total)
}

// readBefore is how far the attempt before has read a shard. Equal marks say that nothing has changed on
// either cluster since then.
func (p *proving) readBefore(index string, shard migration.ShardTask) migration.ShardRead {
	nothing := migration.ShardRead{Index: index, Shard: shard.Shard, Mark: shard.Mark, UpTo: -1}
	if marks := p.targetBefore[index].Shards; shard.Shard < len(marks) {
		nothing.Target = marks[shard.Shard]
	}
	for _, read := range p.pulse.read().Reads {
		if read.Index == index && read.Shard == shard.Shard && read.Mark == nothing.Mark &&
			read.Target == nothing.Target && read.Target != "" {
			p.read.Add(read.FromSource.Docs + read.FromTarget.Docs)
			return read
		}
	}
	return nothing
}

// keep has the next heartbeat say how far a shard was read.
func (p *proving) keep(read migration.ShardRead) {
	p.pulse.update(func(progress *migration.Progress) {
		// A copy: a heartbeat may be reading the others.
		progress.Reads = append(slices.DeleteFunc(slices.Clone(progress.Reads), func(r migration.ShardRead) bool {
			return r.Index == read.Index && r.Shard == read.Shard
		}), read)
	})
}

// stillStands tells whether a shard is what it was, on both clusters.
func (p *proving) stillStands(ctx context.Context, read migration.ShardRead) (bool, error) {
	source, target, err := p.marksOfBoth(ctx, p.in.Run, []string{read.Index})
	if err != nil {
		return false, err
	}
	return has(source[read.Index], read.Shard, read.Mark) && has(target[read.Index], read.Shard, read.Target), nil
}

// has tells whether that is the mark of a shard.
func has(mark elastic.Mark, shard int, wanted string) bool {
	return shard < len(mark.Shards) && mark.Shards[shard] == wanted
}
