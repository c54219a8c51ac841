package activities

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/transfer"
)

// copyPlan is what a round has to carry.
type copyPlan struct {
	snapshots []string // uuids
	// shapes are by snapshot and index id: an index that was deleted and created anew keeps its id and may have another
	// number of shards.
	shapes map[string]map[string]repository.Shape
	shards []shardTask
	blobs  []transfer.Blob
	bytes  int64

	mu sync.Mutex
	// held are the metadata objects that were read to make the plan; they are published from here.
	held map[string]heldObject
	// generations are the shards' current shard indices, where the root doesn't give them.
	generations map[repository.ShardID]string
	// stored are the ETags under which the blobs stand in OSS.
	stored      map[string]string
	skipped     int64
	skippedSize int64
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

// plan finds out which blobs the missing snapshots need beyond the base.
func (j *copyJob) plan(ctx context.Context) (*copyPlan, error) {
	p := &copyPlan{snapshots: j.missing(), shapes: map[string]map[string]repository.Shape{}, held: map[string]heldObject{},
		generations: map[repository.ShardID]string{}}
	if err := j.findShards(ctx, p); err != nil {
		return nil, j.blame(ctx, p, err)
	}
	if err := inParallel(ctx, j, p.shards, func(ctx context.Context, t shardTask) error { return j.planShard(ctx, p, t) }); err != nil {
		return nil, j.blame(ctx, p, err)
	}
	p.fillGenerations()
	slices.SortFunc(p.blobs, func(a, b transfer.Blob) int { return strings.Compare(a.Key, b.Key) })
	for _, b := range p.blobs {
		p.bytes += b.Size
	}
	return p, nil
}

// findShards reads the indices' metadata, which give the numbers of shards.
func (j *copyJob) findShards(ctx context.Context, p *copyPlan) error {
	type indexOf struct {
		index    repository.Index
		snapshot repository.Snapshot
	}
	var indices []indexOf
	for _, uuid := range p.snapshots {
		p.shapes[uuid] = map[string]repository.Shape{}
		s, _ := j.from.Snapshot(uuid)
		for _, index := range j.from.IndicesOf(uuid) {
			indices = append(indices, indexOf{index, s})
		}
	}
	tasks := map[repository.ShardID]shardTask{}
	err := inParallel(ctx, j, indices, func(ctx context.Context, i indexOf) error {
		key, err := repository.IndexMetadataKey(i.index.ID, i.snapshot.IndexMetadataID(i.index.ID))
		if err != nil {
			return err
		}
		data, err := j.hold(ctx, p, key)
		if err != nil {
			return err
		}
		metadata, err := repository.ParseIndexMetadata(data)
		if err != nil {
			return j.parse(key, err)
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

// hold reads a metadata object and keeps it for the publish.
func (j *copyJob) hold(ctx context.Context, p *copyPlan, key string) ([]byte, error) {
	p.mu.Lock()
	o, ok := p.held[key]
	p.mu.Unlock()
	if ok {
		return o.data, nil
	}
	data, info, err := j.mover.Read(ctx, key, metadataLimit)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held[key] = heldObject{data, info.ETag}
	return data, nil
}

// lists tells whether a missing snapshot's list of files, which the plan holds
// already, names a data blob.
func (p *copyPlan) lists(snapshot string, blob repository.Key) bool {
	key, err := repository.ShardSnapshotKey(blob.Shard, snapshot)
	if p == nil || err != nil {
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

func (j *copyJob) planShard(ctx context.Context, p *copyPlan, t shardTask) error {
	base, err := j.baseOf(ctx, t.shard)
	if err != nil {
		return err
	}
	wanted := map[string]repository.Blob{}
	var skipped, skippedSize int64
	for _, uuid := range t.snapshots {
		key, err := repository.ShardSnapshotKey(t.shard, uuid)
		if err != nil {
			return err
		}
		data, err := j.hold(ctx, p, key)
		if err != nil {
			return err
		}
		files, err := repository.ParseShardSnapshot(data)
		if err != nil {
			return j.parse(key, err)
		}
		delta, err := repository.ShardDelta(t.shard, files, t.shard, base)
		if err != nil {
			return j.parse(key, err)
		}
		for _, b := range delta.Blobs {
			if other, ok := wanted[b.Key]; ok && (other.Length != b.Length || other.Checksum != b.Checksum) {
				return j.unusable("two snapshots need different contents of the blob %s", b.Key)
			}
			wanted[b.Key] = b
		}
		if uuid == j.request.Snapshot.UUID {
			skipped, skippedSize = int64(delta.SkippedBlobs), delta.SkippedBytes
		}
	}
	blobs, generation, err := j.locate(ctx, t, wanted)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.blobs = append(p.blobs, blobs...)
	p.skipped += skipped
	p.skippedSize += skippedSize
	if generation != "" {
		p.generations[t.shard] = generation
	}
	return nil
}

// baseOf reads the base's list of files from OSS: what it names is whole there.
// Without one the whole shard is copied.
func (j *copyJob) baseOf(ctx context.Context, shard repository.ShardID) (*repository.ShardSnapshot, error) {
	if j.base == "" || !slices.ContainsFunc(j.to.IndicesOf(j.base), func(i repository.Index) bool { return i.ID == shard.IndexID }) {
		return nil, nil
	}
	key, err := repository.ShardSnapshotKey(shard, j.base)
	if err != nil {
		return nil, err
	}
	data, _, err := j.mover.ReadBack(ctx, key, metadataLimit)
	if objectstore.KindOf(err) == objectstore.NotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	base, err := repository.ParseShardSnapshot(data)
	if err != nil {
		return nil, j.conflict("%s there can't be understood: %v", key, err)
	}
	return base, nil
}

// locate finds the wanted blobs of a shard in S3, which of them OSS may have
// already, and the shard's index.
func (j *copyJob) locate(ctx context.Context, t shardTask, wanted map[string]repository.Blob) (blobs []transfer.Blob, generation string, err error) {
	if len(wanted) == 0 && !t.listIndex {
		return nil, "", nil
	}
	prefix, err := repository.ShardPrefix(t.shard)
	if err != nil {
		return nil, "", err
	}
	if len(wanted) == 0 {
		prefix += "index-" // a page with one key instead of all blobs
	}
	inSource, err := j.list(ctx, j.source, prefix)
	if err != nil {
		return nil, "", err
	}
	if t.listIndex {
		generations := repository.ShardGenerations(t.shard.IndexID, slices.Collect(maps.Keys(inSource)))
		if t.shard.Number < len(generations) {
			generation = generations[t.shard.Number]
		}
	}
	if len(wanted) == 0 {
		return nil, generation, nil
	}
	inSink, err := j.list(ctx, j.sink, prefix)
	if err != nil {
		return nil, "", err
	}
	for key, b := range wanted {
		o, ok := inSource[key]
		if !ok || o.Size != b.Length {
			reason := fmt.Errorf("it is not in the listing of S3")
			if ok {
				reason = fmt.Errorf("it has %d bytes in S3, the snapshot says %d", o.Size, b.Length)
			}
			return nil, "", &transfer.Error{Kind: transfer.Vanished, Key: key, Err: reason}
		}
		old, there := inSink[key]
		blobs = append(blobs, transfer.Blob{Key: key, Size: o.Size, ETag: o.ETag, Look: there && old.Size == o.Size})
	}
	return blobs, generation, nil
}

func (j *copyJob) list(ctx context.Context, store objectstore.Reader, prefix string) (map[string]objectstore.Object, error) {
	return retry(ctx, j, func() (map[string]objectstore.Object, error) {
		objects := map[string]objectstore.Object{}
		for o, err := range store.List(ctx, prefix) {
			if err != nil {
				return nil, err
			}
			objects[o.Key] = o
		}
		return objects, nil
	})
}

// fillGenerations puts the shard indices that were found by listing into the
// shapes, where MetadataOf looks for them.
func (p *copyPlan) fillGenerations() {
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
func (p *copyPlan) metadata(root *repository.Root) (map[repository.Stage][]repository.Object, error) {
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
