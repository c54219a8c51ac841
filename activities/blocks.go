package activities

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/migration"
)

// The source's write blocks. snapferry sets one block, and leaves alone what an index had of
// itself:
//
//   - A block of an index's own that refuses writes makes ours needless, as long as it stands.
//     BlockSource looks at it each time that it runs, and AwaitStandstill probes.
//   - Our own block must never pass for one of the index's own, or nobody would remove it. So uuid
//     and blocks are read in one look, and BlockSource looks again once it has blocked.

// writeBlock is the one block that snapferry sets. Elasticsearch can't close an index that has a
// read_only block.
const writeBlock = "index.blocks.write"

// writeBlocks are the settings that refuse writes.
var writeBlocks = []string{writeBlock, "index.blocks.read_only", "index.blocks.read_only_allow_delete"}

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

// refusing names those of the blocks that refuse writes.
func refusing(blocks map[string]string) []string {
	return slices.DeleteFunc(slices.Clone(writeBlocks), func(name string) bool { return blocks[name] != "true" })
}

// forbidden reports whether one of the blocks refuses writes.
func forbidden(blocks map[string]string) bool { return len(refusing(blocks)) > 0 }

// ReadSourceBlocks reads uuid and blocks of the source's indices before ours is set. An index that
// is gone is left out. It is for guards of the first shape, and for those that a worker asks which
// doesn't read them itself.
func (a *Activities) ReadSourceBlocks(ctx context.Context, in migration.IndicesRequest) ([]migration.SourceIndex,
	error,
) {
	return perform(ctx, a, "reading the source's blocks",
		func(ctx context.Context, _ *pulse) ([]migration.SourceIndex, error) {
			client, err := a.cluster(ctx, onSource, in.Run)
			if err != nil {
				return nil, err
			}
			return ownBlocksOf(ctx, client, in.Indices)
		})
}

func ownBlocksOf(ctx context.Context, client *elastic.Client, names []string) ([]migration.SourceIndex, error) {
	present, unreadable, err := look(ctx, client, names)
	if err != nil {
		return nil, err
	}
	if len(unreadable) > 0 {
		return nil, fail(migration.ErrorRefused, "read the blocks of the source's indices on %s: %s",
			client.Host(), describeRefusals(refusals(unreadable)))
	}
	var found []migration.SourceIndex
	for _, name := range names {
		if index, there := present[name]; there {
			found = append(found, migration.SourceIndex{
				Name: name, UUID: index.UUID, Blocks: blocksOf(index.Settings),
			})
		}
	}
	return found, nil
}

// ReadBlocks is ReadSourceBlocks for runs that began before there was a guard.
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

// BlockSource makes the source's indices refuse writes. It may be called again at any time, and is
// before each standstill: whatever has lost its block by then gets one. Writes under way may go on
// for a moment: AwaitStandstill waits for them.
func (a *Activities) BlockSource(ctx context.Context, in migration.BlockRequest) (migration.BlockResult, error) {
	return perform(ctx, a, "blocking writes to the source",
		func(ctx context.Context, _ *pulse) (migration.BlockResult, error) {
			client, err := a.cluster(ctx, onSource, in.Run)
			if err != nil {
				return migration.BlockResult{}, err
			}
			return blockAll(ctx, client, in.Indices)
		})
}

// BlockWrites is BlockSource for runs that began before there was a guard. An index that was
// deleted since the indices were resolved takes no writes either. The next ResolveIndices finds it
// gone.
func (a *Activities) BlockWrites(ctx context.Context, in migration.IndicesRequest) error {
	_, err := perform(ctx, a, "blocking writes to the source", func(ctx context.Context, _ *pulse) (none, error) {
		client, err := a.cluster(ctx, onSource, in.Run)
		if err != nil {
			return none{}, err
		}
		indices := make([]migration.SourceIndex, len(in.Indices))
		for i, name := range in.Indices {
			indices[i].Name = name
		}
		blocked, err := blockAll(ctx, client, indices)
		if err == nil && len(blocked.Refused) > 0 {
			err = fail(migration.ErrorRefused, "%s", describeRefusals(blocked.Refused))
		}
		return none{}, err
	})
	return err
}

// blockPasses is how often indices are looked at and blocked until each refuses writes. A second
// pass meets an index that was deleted and created again, or that got a block of its own, between
// the look and the block of the first.
const blockPasses = 3

// blocking is what is known while indices are being blocked.
type blocking struct {
	client *elastic.Client
	left   map[string]migration.SourceIndex // those that take writes as far as is known
	result migration.BlockResult
}

func blockAll(ctx context.Context, client *elastic.Client,
	indices []migration.SourceIndex,
) (migration.BlockResult, error) {
	b := &blocking{client: client, left: map[string]migration.SourceIndex{}}
	for _, index := range indices {
		b.left[index.Name] = index
	}
	var failed map[string]error
	for pass := 0; pass < blockPasses && len(b.left) > 0; pass++ {
		var err error
		if failed, err = b.pass(ctx); err != nil {
			return migration.BlockResult{}, err
		}
	}
	for name := range b.left {
		if failed[name] == nil {
			failed[name] = fmt.Errorf("block writes %s on %s: %s does not stay set: something else removes it",
				name, client.Host(), writeBlock)
		}
	}
	b.result.Refused = append(b.result.Refused, refusals(failed)...)
	slices.Sort(b.result.Gone)
	slices.SortFunc(b.result.Blocked, bySourceName)
	slices.SortFunc(b.result.Refused, byRefusedName)
	return b.result, nil
}

// pass looks at what is left, blocks it and looks again. It returns what the cluster refused.
func (b *blocking) pass(ctx context.Context) (map[string]error, error) {
	before, unreadable, err := look(ctx, b.client, slices.Sorted(maps.Keys(b.left)))
	if err != nil {
		return nil, err
	}
	b.result.Refused = append(b.result.Refused, refusals(unreadable)...)
	for name, index := range b.left {
		now, there := before[name]
		own := migration.SourceIndex{Name: name, UUID: now.UUID, Blocks: ownBlocks(index, now)}
		switch {
		case unreadable[name] != nil:
			delete(b.left, name)
		case !there:
			b.result.Gone = append(b.result.Gone, name)
			delete(b.left, name)
		case forbidden(own.Blocks), now.Settings[writeBlock] == "true": // by itself, or by an earlier attempt
			b.result.Blocked = append(b.result.Blocked, own)
			delete(b.left, name)
		default:
			b.left[name] = own
		}
	}
	names := slices.Sorted(maps.Keys(b.left))
	refused, trouble := inTurn(names, func(batch []string) error { return b.block(ctx, batch) })
	if len(trouble) > 0 {
		return nil, retryableFirst(trouble)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return refused[name] != nil })
	after, _, err := look(ctx, b.client, names)
	if err != nil {
		return nil, err
	}
	for name, now := range after {
		if now.Settings[writeBlock] == "true" {
			b.result.Blocked = append(b.result.Blocked, migration.SourceIndex{
				Name: name, UUID: now.UUID, Blocks: ownBlocks(b.left[name], now),
			})
			delete(b.left, name)
		}
	}
	return refused, nil
}

// block sets the block. A node that doesn't confirm it in time may still let writes through, so
// the second request, which up to 7.x is a new state of the cluster, has to be confirmed as well.
// What no node has confirmed by then is left to AwaitStandstill.
func (b *blocking) block(ctx context.Context, names []string) error {
	err := b.client.BlockWrites(ctx, names)
	if elastic.Unacknowledged(err) {
		err = b.client.BlockWrites(ctx, names)
	}
	return err
}

// ownBlocks are the blocks that an index has of itself. It was read before as `read`, and is now as
// `now`, perhaps with our block.
func ownBlocks(read migration.SourceIndex, now elastic.Index) map[string]string {
	own := blocksOf(now.Settings)
	made := read.UUID != "" && read.UUID != now.UUID // another index has the name that we block
	switch before := read.Blocks[writeBlock]; {
	case made || before == "":
		delete(own, writeBlock) // it is ours
	case own[writeBlock] == before:
	case before == "false":
		own[writeBlock] = before
	default:
		delete(own, writeBlock) // it had one, which somebody has removed: from now on it is ours
	}
	if now.Settings[writeBlock] != "true" || made || own[writeBlock] == "true" {
		return own
	}
	// Our block is set. What came after it was not there before us.
	for name := range own {
		if name != writeBlock && read.Blocks[name] != own[name] {
			delete(own, name)
		}
	}
	return own
}

func bySourceName(a, b migration.SourceIndex) int { return strings.Compare(a.Name, b.Name) }
