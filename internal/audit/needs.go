package audit

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/sides"
	"github.com/snapferry/snapferry/migration"
)

// need is an object that must be in OSS.
type need struct {
	sides.Pair
	class repository.Class
	// length is what the snapshot says, -1 if it doesn't.
	length int64
	// optional objects are there for listings and writers: no restore reads them.
	optional bool
	// snapshots need it, by number.
	snapshots []int
	// conflict says why no object can satisfy all who need it.
	conflict string
}

// size is the size that the object should have, as far as anyone knows.
func (n *need) size() int64 {
	switch {
	case n.length >= 0:
		return n.length
	case n.Source != nil:
		return n.Source.Size
	case n.Target != nil:
		return n.Target.Size
	}
	return 0
}

// byListing is what listings and snapshots alone tell. The reason is empty if they tell nothing
// bad.
func (n *need) byListing() (kind findingKind, reason string) {
	switch {
	case n.Target == nil && n.Source == nil:
		return missing, "neither OSS nor S3 has it"
	case n.Target == nil:
		return missing, "it is not in OSS"
	case n.conflict != "":
		return different, n.conflict
	case n.length >= 0 && n.Target.Size != n.length:
		return different, fmt.Sprintf("OSS has %d bytes, the snapshot says %d", n.Target.Size, n.length)
	case n.Source != nil && n.Source.Size != n.Target.Size:
		return different, fmt.Sprintf("OSS has %d bytes, S3 %d", n.Target.Size, n.Source.Size)
	}
	return 0, ""
}

// check compares one object: at once if the listings tell enough, else beside the walk.
func (j *job) check(ctx context.Context, n *need) error {
	if n.optional && n.Source == nil {
		if n.Target != nil {
			j.surplus(n.Pair, n.class, "S3 no longer has it, and no restore reads it", true)
		}
		return nil
	}
	j.count(n)
	if kind, reason := n.byListing(); reason != "" {
		j.bad(n, kind, reason)
		return nil
	}
	if n.Source != nil && objectstore.SameMD5(n.Source.ETag, n.Target.ETag) {
		j.proven(n)
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	j.submit(func(ctx context.Context) error {
		reason, err := j.prove(ctx, n)
		switch {
		case err != nil:
			return err
		case reason != "":
			j.bad(n, different, reason)
		default:
			j.proven(n)
		}
		return nil
	})
	return nil
}

// prove compares two objects of one size whose ETags can't be compared: by what the copy has
// recorded, and small ones by their bytes. The reason is empty if they are the same.
func (j *job) prove(ctx context.Context, n *need) (reason string, err error) {
	if n.Source == nil {
		return "S3 no longer has it, so there is nothing to compare it with; " +
			"--deep compares data with the checksum in the snapshot", nil
	}
	_, present, err := j.mover.Present(ctx, sides.BlobOf(n.Source))
	if err != nil || present {
		return "", err
	}
	if n.Source.Size > smallObject && n.class == repository.ClassData {
		return fmt.Sprintf("its ETag is %s in S3 and %s in OSS, and no record in OSS proves that the bytes are the "+
			"same; --deep reads it", n.Source.ETag, n.Target.ETag), nil
	}
	var data [2][]byte
	for i, store := range []sides.Store{j.s3, j.oss} {
		data[i], _, err = store.Read(ctx, n.Key)
		switch {
		case sides.Gone(err):
			return "", sides.ErrMoved
		case sides.Damaged(err):
			return fmt.Sprintf("it can't be read: %v", err), nil
		case err != nil:
			return "", err
		}
	}
	if !bytes.Equal(data[0], data[1]) {
		return otherBytes, nil
	}
	return "", nil
}

const otherBytes = "OSS has other bytes than S3, of the same length"

// compareIndex compares the folder of an index.
func (j *job) compareIndex(ctx context.Context, id string) error {
	needs, shards, err := j.indexNeeds(ctx, id)
	if err != nil {
		return err
	}
	w := &walk{job: j, needs: needs, shards: shards}
	march := sides.March{Source: j.s3, Target: j.oss, Enter: w.enter, See: w.see, Leave: w.leave}
	if err := march.Index(ctx, id, slices.Collect(maps.Keys(shards))); err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(needs)) {
		if err := j.check(ctx, needs[key]); err != nil {
			return err
		}
	}
	return nil
}

// indexNeeds reads the metadata of an index. It returns which of it is needed, by key, and which
// snapshots have which shards.
func (j *job) indexNeeds(ctx context.Context, id string) (map[string]*need, map[repository.ShardID][]int, error) {
	needs, shards := map[string]*need{}, map[repository.ShardID][]int{}
	index := j.indices[id]
	if index == nil {
		return needs, shards, nil
	}
	for key, snapshots := range index.metadata {
		n := &need{Pair: sides.Pair{Key: key}, class: repository.ClassIndexMetadata, length: -1, snapshots: snapshots}
		needs[key] = n
		data, err := j.either(ctx, key)
		if err != nil {
			return nil, nil, err
		}
		metadata, err := repository.ParseIndexMetadata(data)
		if err != nil {
			n.conflict = fmt.Sprintf("it can't be understood: %v", err)
			continue
		}
		for number := range metadata.Shards {
			id := repository.ShardID{IndexID: id, Number: number}
			shards[id] = append(shards[id], snapshots...)
		}
	}
	j.Progress(func(p *migration.Progress) { p.ShardsTotal += len(shards) })
	return needs, shards, nil
}

// walk is what an audit knows while it goes through an index.
type walk struct {
	*job
	needs  map[string]*need
	shards map[repository.ShardID][]int // the snapshots that need each
	shard  *shard                       // the present one
}

func (w *walk) enter(ctx context.Context, id repository.ShardID) (err error) {
	w.shard, err = w.readShard(ctx, id, w.shards[id])
	return err
}

func (w *walk) see(_ context.Context, pair sides.Pair, k repository.Key) error {
	needs := w.needs
	switch k.Class {
	case repository.ClassData, repository.ClassShardSnapshot, repository.ClassShardIndex:
		needs = w.shard.needs
	}
	if n := needs[pair.Key]; n != nil {
		n.Pair = pair
	} else if w.everything() {
		w.unneeded(pair)
	}
	return nil
}

func (w *walk) leave(ctx context.Context, _ repository.ShardID) error {
	if err := w.checkShard(ctx, w.shard); err != nil {
		return err
	}
	if len(w.shard.needs) > 0 {
		w.Progress(func(p *migration.Progress) { p.ShardsDone++ })
	}
	return nil
}

// shard is what snapshots need of a shard.
type shard struct {
	id    repository.ShardID
	needs map[string]*need
	files map[string]repository.File // by the name of their blobs
}

// readShard reads the shard's lists of files.
func (j *job) readShard(ctx context.Context, id repository.ShardID, snapshots []int) (*shard, error) {
	s := &shard{id: id, needs: map[string]*need{}, files: map[string]repository.File{}}
	for _, number := range snapshots {
		key, err := repository.ShardSnapshotKey(id, j.snapshots[number].UUID)
		if err != nil {
			return nil, err
		}
		n := &need{
			Pair: sides.Pair{Key: key}, class: repository.ClassShardSnapshot, length: -1,
			snapshots: []int{number},
		}
		s.needs[key] = n
		data, err := j.either(ctx, key)
		if err != nil {
			return nil, err
		}
		files, err := repository.ParseShardSnapshot(data)
		if err != nil {
			n.conflict = fmt.Sprintf("it can't be understood: %v", err)
			continue
		}
		if err := s.add(files, number); err != nil {
			n.conflict = err.Error()
		}
	}
	return s, nil
}

// add takes a snapshot's files. Two snapshots may name the same blob if they mean the same bytes.
func (s *shard) add(list *repository.ShardSnapshot, snapshot int) error {
	for _, f := range list.Files {
		if f.Virtual() {
			continue
		}
		known, again := s.files[f.Name]
		conflict := ""
		if again && (known.Length != f.Length || known.Checksum != f.Checksum || known.PartSize != f.PartSize) {
			conflict = "two snapshots need different bytes of it"
		}
		s.files[f.Name] = f
		for _, part := range f.Blobs() {
			key, err := repository.DataBlobKey(s.id, f.Name, part.Part)
			if err != nil {
				return err
			}
			n := s.needs[key]
			if n == nil {
				n = &need{Pair: sides.Pair{Key: key}, class: repository.ClassData, length: part.Length}
				s.needs[key] = n
			}
			n.snapshots = append(n.snapshots, snapshot)
			n.conflict = cmp.Or(n.conflict, conflict)
		}
	}
	return nil
}

// checkShard compares every object of a shard; a deep audit goes file by file through the data.
func (j *job) checkShard(ctx context.Context, s *shard) error {
	for _, key := range slices.Sorted(maps.Keys(s.needs)) {
		if n := s.needs[key]; n.class != repository.ClassData || !j.request.Deep {
			if err := j.check(ctx, n); err != nil {
				return err
			}
		}
	}
	if !j.request.Deep {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(s.files)) {
		if err := j.checkFile(ctx, s, s.files[name]); err != nil {
			return err
		}
	}
	return nil
}
