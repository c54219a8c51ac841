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
	"github.com/snapferry/snapferry/internal/sides"
	"github.com/snapferry/snapferry/internal/transfer"
	"github.com/snapferry/snapferry/migration"
)

// copyPlan is what a round has to carry.
type copyPlan struct {
	snapshots []string // uuids
	// shapes are by snapshot and index id: an index that was deleted and created anew keeps its id and may have another
	// number of shards.
	shapes map[string]map[string]repository.Shape
	shards []shardTask
	// most is what one activity carries.
	most paging

	mu sync.Mutex
	// blobs are the delta as long as it is at most that, count and bytes sum it up, sizes are those of its blobs, by key.
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
	// carried are the deltas that were carried while the snapshot ran, by shard.
	carried       map[repository.ShardID]carriedDelta
	carriedBlobs  int64
	carriedDigest migration.Digest
	// stored are the ETags under which the blobs stand in OSS.
	stored      map[string]string
	skipped     int64
	skippedSize int64
}

type carriedDelta struct {
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

// heldLimit bounds the metadata that is kept in memory: what is beyond is read
// again when it is published.
const heldLimit = 32 << 20

// plan finds out which blobs the missing snapshots need beyond the base.
func (j *copyJob) plan(ctx context.Context) (*copyPlan, error) {
	p := j.newPlan(j.missing())
	if err := j.findShards(ctx, p); err != nil {
		return nil, j.blame(ctx, p, err)
	}
	if err := sides.InParallel(ctx, j.options.Concurrency, p.shards, func(ctx context.Context, t shardTask) error { return j.planShard(ctx, p, t) }); err != nil {
		return nil, j.blame(ctx, p, err)
	}
	p.fillGenerations()
	slices.SortFunc(p.blobs, func(a, b transfer.Blob) int { return strings.Compare(a.Key, b.Key) })
	return p, nil
}

func (j *copyJob) newPlan(snapshots []string) *copyPlan {
	return &copyPlan{
		snapshots: snapshots, shapes: map[string]map[string]repository.Shape{}, most: j.pages, sizes: map[repository.ShardID][]int64{}, counted: map[string]bool{},
		held: map[string]heldObject{}, generations: map[repository.ShardID]string{}, carried: map[repository.ShardID]carriedDelta{},
	}
}

func (p *copyPlan) keepCarried(shard repository.ShardID, c migration.CarriedShard, d *shardDelta) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.carried[shard] = carriedDelta{d, c.Digest}
	p.carriedBlobs += int64(len(d.blobs))
	p.carriedDigest += c.Digest
}

// inline tells whether one activity carries the whole delta.
func (p *copyPlan) inline() bool { return p.count <= p.most.blobs && p.bytes <= p.most.bytes }

// add takes a shard's delta into account. It may be called from many goroutines.
func (p *copyPlan) add(shard repository.ShardID, d *shardDelta, blobs []transfer.Blob) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.addLocked(shard, d, blobs)
}

func (p *copyPlan) addLocked(shard repository.ShardID, d *shardDelta, blobs []transfer.Blob) {
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

func (p *copyPlan) stillInline() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.inline()
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
	err := sides.InParallel(ctx, j.options.Concurrency, indices, func(ctx context.Context, i indexOf) error {
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
	data, info, err := j.s3.Read(ctx, key)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if size := int64(len(data)); p.heldSize+size <= heldLimit {
		p.held[key] = heldObject{data, info.ETag}
		p.heldSize += size
	}
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

// shardDelta is what the snapshots of a shard need beyond the base.
type shardDelta struct {
	blobs                []repository.Blob // in the order of their keys
	skipped, skippedSize int64             // of the snapshot that is asked for: what the base has
}

// deltaOf reads the lists of files of a shard, of the snapshots and of the base.
func (j *copyJob) deltaOf(ctx context.Context, p *copyPlan, t shardTask) (*shardDelta, error) {
	base, lists, err := j.listsOf(ctx, p, t)
	if err != nil {
		return nil, err
	}
	d, wanted := &shardDelta{}, map[string]repository.Blob{}
	for i, uuid := range t.snapshots {
		key, data := lists[i].key, lists[i].data
		files, err := repository.ParseShardSnapshot(data)
		if err != nil {
			return nil, j.parse(key, err)
		}
		delta, err := repository.ShardDelta(t.shard, files, t.shard, base)
		if err != nil {
			return nil, j.parse(key, err)
		}
		if err := j.sameAsBase(t.shard, files, base); err != nil {
			return nil, err
		}
		for _, b := range delta.Blobs {
			other, ok := wanted[b.Key]
			if ok && (other.Length != b.Length || other.Checksum != b.Checksum) {
				return nil, j.unusable("two snapshots need different contents of the blob %s", b.Key)
			}
			if !ok {
				wanted[b.Key] = b
				d.blobs = append(d.blobs, b)
			}
		}
		if uuid == j.request.Snapshot.UUID {
			d.skipped, d.skippedSize = int64(delta.SkippedBlobs), delta.SkippedBytes
		}
	}
	slices.SortFunc(d.blobs, func(a, b repository.Blob) int { return strings.Compare(a.Key, b.Key) })
	return d, nil
}

// filesList is the list of files of one snapshot of a shard, as it stands in S3.
type filesList struct {
	key  string
	data []byte
}

// listsOf reads the lists of files of a shard's snapshots, and the base's, from
// both sides at the same time.
func (j *copyJob) listsOf(ctx context.Context, p *copyPlan, t shardTask) (base *repository.ShardSnapshot, lists []filesList, err error) {
	lists = make([]filesList, len(t.snapshots))
	err = sides.Together(ctx,
		func(ctx context.Context) (err error) { base, err = j.baseOf(ctx, t.shard); return err },
		func(ctx context.Context) error {
			for i, uuid := range t.snapshots {
				key, err := repository.ShardSnapshotKey(t.shard, uuid)
				if err != nil {
					return err
				}
				data, err := j.hold(ctx, p, key)
				if err != nil {
					return err
				}
				lists[i] = filesList{key, data}
			}
			return nil
		})
	return base, lists, err
}

// sameAsBase makes sure that a snapshot and the base mean the same by the names
// that both use: S3 lists both, so it has to be. Else something took the base's
// blob away, and the source gave its name to another. To carry that would take it
// away in OSS as well.
func (j *copyJob) sameAsBase(shard repository.ShardID, files, base *repository.ShardSnapshot) error {
	if base == nil {
		return nil
	}
	had := make(map[string]*repository.File, len(base.Files))
	for i := range base.Files {
		had[base.Files[i].Name] = &base.Files[i]
	}
	for _, f := range files.Files {
		old, ok := had[f.Name]
		if !ok || f.Virtual() || f.Length == old.Length && (f.Checksum == old.Checksum || f.Checksum == "" || old.Checksum == "") {
			continue
		}
		key, err := repository.DataBlobKey(shard, f.Name, f.Blobs()[0].Part)
		if err != nil {
			return err
		}
		if j.from.Root == nil { // a page: the plan had no such contradiction
			return fmt.Errorf("the base needs other bytes of the blob %s: %w", key, sides.ErrMoved)
		}
		s, _ := j.from.Snapshot(j.base)
		return j.unusable("it needs other bytes of the blob %s than the snapshot %s [%s], which S3 lists as well: the blob was lost there and its name used again. "+
			"%s can't be restored from S3 any more, from OSS only until the blob is carried. Delete that one at the source (DELETE _snapshot/%s/%s), then retry",
			key, s.Name, s.UUID, s.Name, j.request.RepositoryName(), s.Name)
	}
	return nil
}

func (j *copyJob) planShard(ctx context.Context, p *copyPlan, t shardTask) error {
	if j.again {
		return j.planDelta(ctx, p, t)
	}
	// The first attempt lists nothing but a shard's indices, which needn't wait.
	listing := t
	t.listIndex = false
	return sides.Together(ctx,
		func(ctx context.Context) error { return j.findGeneration(ctx, p, listing) },
		func(ctx context.Context) error { return j.planDelta(ctx, p, t) })
}

func (j *copyJob) planDelta(ctx context.Context, p *copyPlan, t shardTask) error {
	d, err := j.deltaOf(ctx, p, t)
	if err != nil {
		return err
	}
	if c, ok := j.carried(t.shard, t, d); ok {
		p.keepCarried(t.shard, c, d)
		d = &shardDelta{skipped: d.skipped, skippedSize: d.skippedSize}
	}
	if len(d.blobs) == 0 || int64(len(d.blobs)) > p.most.blobs || !p.stillInline() {
		p.add(t.shard, d, nil)
		return j.findGeneration(ctx, p, t)
	}
	blobs, keys, err := j.locate(ctx, t.shard, d.blobs)
	if err != nil {
		return err
	}
	p.add(t.shard, d, blobs)
	if keys == nil { // nothing was listed
		return j.findGeneration(ctx, p, t)
	}
	p.keepGeneration(t, keys)
	return nil
}

// findGeneration finds a shard's index by listing, where the root doesn't name it.
func (j *copyJob) findGeneration(ctx context.Context, p *copyPlan, t shardTask) error {
	if !t.listIndex {
		return nil
	}
	prefix, err := repository.ShardPrefix(t.shard)
	if err != nil {
		return err
	}
	objects, err := j.s3.List(ctx, prefix+"index-")
	if err != nil {
		return err
	}
	p.keepGeneration(t, slices.Collect(maps.Keys(objects)))
	return nil
}

func (p *copyPlan) keepGeneration(t shardTask, keys []string) {
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

// baseOf reads the base's list of files from OSS: what it names is whole there.
// Without one the whole shard is copied.
func (j *copyJob) baseOf(ctx context.Context, shard repository.ShardID) (*repository.ShardSnapshot, error) {
	if j.base == "" {
		return nil, nil
	}
	// A page has no root; the absence of the list tells it the same.
	if j.to.Root != nil && !slices.ContainsFunc(j.to.IndicesOf(j.base), func(i repository.Index) bool { return i.ID == shard.IndexID }) {
		return nil, nil
	}
	key, err := repository.ShardSnapshotKey(shard, j.base)
	if err != nil {
		return nil, err
	}
	data, _, err := j.oss.Read(ctx, key)
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

// locate makes of wanted blobs of a shard what is to be copied. In the first
// attempt the snapshot says all that is needed. If there was an earlier one, both
// sides are listed, to find what OSS may have already; keys are then all of the
// shard in S3, else nil.
func (j *copyJob) locate(ctx context.Context, shard repository.ShardID, wanted []repository.Blob) (blobs []transfer.Blob, keys []string, err error) {
	unknown := func(b repository.Blob) bool { return b.Length <= 0 }
	if !j.again && !slices.ContainsFunc(wanted, unknown) {
		for _, b := range wanted {
			blobs = append(blobs, transfer.Blob{Key: b.Key, Size: b.Length})
		}
		return blobs, nil, nil
	}
	return j.listBlobs(ctx, shard, wanted)
}

func (j *copyJob) listBlobs(ctx context.Context, shard repository.ShardID, wanted []repository.Blob) (blobs []transfer.Blob, keys []string, err error) {
	prefix, err := repository.ShardPrefix(shard)
	if err != nil {
		return nil, nil, err
	}
	inSource, err := j.s3.List(ctx, prefix)
	if err != nil {
		return nil, nil, err
	}
	var inSink map[string]objectstore.Object
	if j.again {
		if inSink, err = j.oss.List(ctx, prefix); err != nil {
			return nil, nil, err
		}
	}
	for _, b := range wanted {
		o, ok := inSource[b.Key]
		if !ok || o.Size != b.Length {
			reason := fmt.Errorf("it is not in the listing of S3")
			if ok {
				reason = fmt.Errorf("it has %d bytes in S3, the snapshot says %d", o.Size, b.Length)
			}
			return nil, nil, &transfer.Error{Kind: transfer.Vanished, Key: b.Key, Err: reason}
		}
		old, there := inSink[b.Key]
		blobs = append(blobs, transfer.Blob{Key: b.Key, Size: o.Size, ETag: o.ETag, Look: there && old.Size == o.Size})
	}
	return blobs, slices.Collect(maps.Keys(inSource)), nil
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
