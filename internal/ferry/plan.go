package ferry

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/sides"
	"github.com/snapferry/snapferry/internal/transfer"
	"github.com/snapferry/snapferry/migration"
)

// plan is what is to be copied.
type plan struct {
	snapshots []string // uuids
	// shapes are by snapshot and index id: an index that was deleted and created again keeps its id
	// and may have another number of shards.
	shapes map[string]map[string]repository.Shape
	shards []shardTask
	// most is what one activity copies.
	most Paging

	mu sync.Mutex
	// blobs are the delta as long as it is at most that, count and bytes sum it up, sizes are those
	// of its blobs, by shard.
	blobs        []transfer.Blob
	count, bytes int64
	sizes        map[repository.ShardID][]int64
	// counted are the ids of the indices of which the delta has blobs that are named by a counter.
	counted map[string]bool
	// held are metadata objects that were read to make the plan; they are published from here.
	held     map[string]heldObject
	heldSize int64
	// generations are the shards' current shard indices, where the root doesn't give them.
	generations map[repository.ShardID]string
	// streamed are the deltas that were copied while the snapshot ran, by shard.
	streamed       map[repository.ShardID]streamedDelta
	streamedBlobs  int64
	streamedDigest migration.Digest
	// stored are the ETags under which the blobs stand in OSS.
	stored      map[string]string
	skipped     int64
	skippedSize int64
}

type streamedDelta struct {
	*shardDelta
	digest migration.Digest
}

type heldObject struct {
	data []byte
	etag string
}

// shardTask is a shard and the snapshots of it that OSS lacks.
type shardTask struct {
	shard     repository.ShardID
	snapshots []string
	// listIndex says that the shard's index must be found by listing.
	listIndex bool
}

// heldLimit bounds the metadata that is kept in memory: what is beyond is read again when it is
// published.
const heldLimit = 32 << 20

// makePlan finds out which blobs the missing snapshots need beyond the base.
func (r *round) makePlan(ctx context.Context) (*plan, error) {
	p := newPlan(r.paging, r.missing())
	if err := r.findShards(ctx, p); err != nil {
		return nil, r.blame(ctx, p, err)
	}
	err := sides.InParallel(ctx, r.concurrency, p.shards, func(ctx context.Context, t shardTask) error {
		return r.planShard(ctx, p, t)
	})
	if err != nil {
		return nil, r.blame(ctx, p, err)
	}
	p.fillGenerations()
	slices.SortFunc(p.blobs, func(a, b transfer.Blob) int { return strings.Compare(a.Key, b.Key) })
	return p, nil
}

func newPlan(most Paging, snapshots []string) *plan {
	return &plan{
		snapshots: snapshots, shapes: map[string]map[string]repository.Shape{}, most: most,
		sizes: map[repository.ShardID][]int64{}, counted: map[string]bool{},
		held: map[string]heldObject{}, generations: map[repository.ShardID]string{},
		streamed: map[repository.ShardID]streamedDelta{},
	}
}

func (p *plan) keepStreamed(shard repository.ShardID, c migration.CarriedShard, d *shardDelta) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.streamed[shard] = streamedDelta{d, c.Digest}
	p.streamedBlobs += int64(len(d.blobs))
	p.streamedDigest += c.Digest
}

// touched are the shards that have something to copy, or had while the snapshot ran.
func (p *plan) touched() []repository.ShardID {
	shards := slices.Concat(slices.Collect(maps.Keys(p.sizes)), slices.Collect(maps.Keys(p.streamed)))
	slices.SortFunc(shards, sides.CompareShards)
	return shards
}

// inline tells whether one activity copies all of the delta.
func (p *plan) inline() bool { return p.count <= p.most.Blobs && p.bytes <= p.most.Bytes }

// add takes a shard's delta into account. It may be called from many goroutines.
func (p *plan) add(shard repository.ShardID, d *shardDelta, blobs []transfer.Blob) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.addLocked(shard, d, blobs)
}

func (p *plan) addLocked(shard repository.ShardID, d *shardDelta, blobs []transfer.Blob) {
	p.skipped += d.skipped
	p.skippedSize += d.skippedSize
	if len(d.blobs) == 0 {
		return
	}
	for _, b := range d.blobs {
		p.sizes[shard] = append(p.sizes[shard], b.Length)
		p.bytes += b.Length
		if !b.Immutable {
			p.counted[shard.IndexID] = true
		}
	}
	p.count += int64(len(d.blobs))
	if p.blobs = append(p.blobs, blobs...); !p.inline() {
		p.blobs = nil // the pages find theirs themselves
	}
}

func (p *plan) stillInline() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.inline()
}

// findShards reads the indices' metadata, which give the numbers of shards.
func (r *round) findShards(ctx context.Context, p *plan) error {
	type indexOf struct {
		index    repository.Index
		snapshot repository.Snapshot
	}
	var indices []indexOf
	for _, uuid := range p.snapshots {
		p.shapes[uuid] = map[string]repository.Shape{}
		s, _ := r.from.Snapshot(uuid)
		for _, index := range r.from.IndicesOf(uuid) {
			indices = append(indices, indexOf{index, s})
		}
	}
	tasks := map[repository.ShardID]shardTask{}
	err := sides.InParallel(ctx, r.concurrency, indices, func(ctx context.Context, i indexOf) error {
		key, err := repository.IndexMetadataKey(i.index.ID, i.snapshot.IndexMetadataID(i.index.ID))
		if err != nil {
			return err
		}
		data, err := r.hold(ctx, p, key)
		if err != nil {
			return err
		}
		metadata, err := repository.ParseIndexMetadata(data)
		if err != nil {
			return parsed(key, err)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.shapes[i.snapshot.UUID][i.index.ID] = repository.Shape{Shards: metadata.Shards}
		for n := range metadata.Shards {
			shard := repository.ShardID{IndexID: i.index.ID, Number: n}
			t := tasks[shard]
			t.shard, t.listIndex = shard, len(i.index.ShardGenerations) == 0
			t.snapshots = append(t.snapshots, i.snapshot.UUID)
			tasks[shard] = t
		}
		return nil
	})
	p.shards = slices.Collect(maps.Values(tasks))
	return err
}

// lists tells whether a missing snapshot's list of files, which the plan holds already, names a
// data blob.
func (p *plan) lists(snapshot string, blob repository.Key) bool {
	key, err := repository.ShardSnapshotKey(blob.Shard, snapshot)
	if err != nil {
		return false
	}
	p.mu.Lock()
	held, ok := p.held[key]
	p.mu.Unlock()
	if !ok {
		return false
	}
	files, err := repository.ParseShardSnapshot(held.data)
	return err == nil && slices.ContainsFunc(files.Files, func(f repository.File) bool { return f.Name == blob.Blob })
}

func (r *round) planShard(ctx context.Context, p *plan, t shardTask) error {
	if r.again {
		return r.planDelta(ctx, p, t)
	}
	// The first attempt lists nothing but a shard's indices, which needn't wait.
	listing := t
	t.listIndex = false
	return sides.Together(ctx,
		func(ctx context.Context) error { return r.findGeneration(ctx, p, listing) },
		func(ctx context.Context) error { return r.planDelta(ctx, p, t) })
}

func (r *round) planDelta(ctx context.Context, p *plan, t shardTask) error {
	d, err := r.deltaOf(ctx, p, t)
	if err != nil {
		return err
	}
	if c, ok := r.streamed(t.shard, t, d); ok {
		p.keepStreamed(t.shard, c, d)
		d = &shardDelta{skipped: d.skipped, skippedSize: d.skippedSize}
	}
	if len(d.blobs) == 0 || int64(len(d.blobs)) > p.most.Blobs || !p.stillInline() {
		p.add(t.shard, d, nil)
		return r.findGeneration(ctx, p, t)
	}
	blobs, keys, err := r.locate(ctx, t.shard, d.blobs)
	if err != nil {
		return err
	}
	p.add(t.shard, d, blobs)
	if keys == nil { // nothing was listed
		return r.findGeneration(ctx, p, t)
	}
	p.keepGeneration(t, keys)
	return nil
}

// findGeneration finds a shard's index by listing, where the root doesn't name it.
func (r *round) findGeneration(ctx context.Context, p *plan, t shardTask) error {
	if !t.listIndex {
		return nil
	}
	prefix, err := repository.ShardPrefix(t.shard)
	if err != nil {
		return err
	}
	objects, err := r.s3.List(ctx, prefix+"index-")
	if err != nil {
		return err
	}
	p.keepGeneration(t, slices.Collect(maps.Keys(objects)))
	return nil
}

func (p *plan) keepGeneration(t shardTask, keys []string) {
	if !t.listIndex {
		return
	}
	generations := repository.ShardGenerations(t.shard.IndexID, keys)
	if t.shard.Number >= len(generations) || generations[t.shard.Number] == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.generations[t.shard] = generations[t.shard.Number]
}

// fillGenerations puts the shard indices that were found by listing into the shapes, where
// MetadataOf looks for them.
func (p *plan) fillGenerations() {
	for _, shapes := range p.shapes {
		for id, shape := range shapes {
			for n := range shape.Shards {
				generation, ok := p.generations[repository.ShardID{IndexID: id, Number: n}]
				if !ok {
					continue
				}
				if shape.Generations == nil {
					shape.Generations = make([]string, shape.Shards)
				}
				shape.Generations[n] = generation
			}
			shapes[id] = shape
		}
	}
}

// metadata lists the objects to publish beside the blobs, in stages.
func (p *plan) metadata(root *repository.Root) (map[repository.Stage][]repository.Object, error) {
	stages, seen := map[repository.Stage][]repository.Object{}, map[string]bool{}
	for _, uuid := range p.snapshots {
		groups, err := repository.MetadataOf(root, []string{uuid}, p.shapes[uuid])
		if err != nil {
			return nil, err
		}
		for _, group := range groups {
			for _, o := range group.Objects {
				if !seen[o.Key] {
					seen[o.Key] = true
					stages[group.Stage] = append(stages[group.Stage], o)
				}
			}
		}
	}
	return stages, nil
}
