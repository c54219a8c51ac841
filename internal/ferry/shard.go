package ferry

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/sides"
	"github.com/snapferry/snapferry/internal/transfer"
)

// hold reads a metadata object and keeps it for the publish.
func (l lists) hold(ctx context.Context, p *plan, key string) ([]byte, error) {
	p.mu.Lock()
	o, ok := p.held[key]
	p.mu.Unlock()
	if ok {
		return o.data, nil
	}
	data, info, err := l.s3.Read(ctx, key)
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

// lists finds what shards need from the lists of files that both sides hold. It is what a round, a
// page and a stream share.
type lists struct {
	*job
	bases bases
}

// shardDelta is what the snapshots of a shard need beyond the base.
type shardDelta struct {
	blobs                []repository.Blob // in the order of their keys
	skipped, skippedSize int64             // of the snapshot that is asked for: what the base has
}

// deltaOf reads the lists of files of a shard, of the snapshots and of the base.
func (l lists) deltaOf(ctx context.Context, p *plan, t shardTask) (*shardDelta, error) {
	base, found, err := l.listsOf(ctx, p, t)
	if err != nil {
		return nil, err
	}
	d, wanted := &shardDelta{}, map[string]repository.Blob{}
	for i, uuid := range t.snapshots {
		key, data := found[i].key, found[i].data
		files, err := repository.ParseShardSnapshot(data)
		if err != nil {
			return nil, parsed(key, err)
		}
		delta, err := repository.ShardDelta(t.shard, files, t.shard, base)
		if err != nil {
			return nil, parsed(key, err)
		}
		if err := l.sameAsBase(t.shard, files, base); err != nil {
			return nil, err
		}
		for _, b := range delta.Blobs {
			other, ok := wanted[b.Key]
			if ok && (other.Length != b.Length || other.Checksum != b.Checksum) {
				return nil, l.unusable("two snapshots need different contents of the blob %s", b.Key)
			}
			if !ok {
				wanted[b.Key] = b
				d.blobs = append(d.blobs, b)
			}
		}
		if uuid == l.snapshot.UUID {
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

// listsOf reads the lists of files of a shard's snapshots, and the base's, from both sides at the
// same time.
func (l lists) listsOf(ctx context.Context, p *plan,
	t shardTask,
) (base *repository.ShardSnapshot, found []filesList, err error) {
	found = make([]filesList, len(t.snapshots))
	err = sides.Together(ctx,
		func(ctx context.Context) (err error) { base, err = l.baseOf(ctx, t.shard); return err },
		func(ctx context.Context) error {
			for i, uuid := range t.snapshots {
				key, err := repository.ShardSnapshotKey(t.shard, uuid)
				if err != nil {
					return err
				}
				data, err := l.hold(ctx, p, key)
				if err != nil {
					return err
				}
				found[i] = filesList{key, data}
			}
			return nil
		})
	return base, found, err
}

// sameAsBase makes sure that a snapshot and the base mean the same by the names that both use: S3
// lists both, so it has to be. Else something took the base's blob away, and the source gave its
// name to another. To copy that would take it away in OSS as well.
func (l lists) sameAsBase(shard repository.ShardID, files, base *repository.ShardSnapshot) error {
	if base == nil {
		return nil
	}
	had := make(map[string]*repository.File, len(base.Files))
	for i := range base.Files {
		had[base.Files[i].Name] = &base.Files[i]
	}
	for _, f := range files.Files {
		old, ok := had[f.Name]
		if !ok || f.Virtual() || f.Length == old.Length &&
			(f.Checksum == old.Checksum || f.Checksum == "" || old.Checksum == "") {
			continue
		}
		key, err := repository.DataBlobKey(shard, f.Name, f.Blobs()[0].Part)
		if err != nil {
			return err
		}
		return &contradiction{key, l.bases[shard.IndexID]}
	}
	return nil
}

// baseOf reads the base's list of files from OSS: what it names is complete there. Without one all
// of the shard is copied.
func (l lists) baseOf(ctx context.Context, shard repository.ShardID) (*repository.ShardSnapshot, error) {
	uuid, ok := l.bases[shard.IndexID]
	if !ok {
		return nil, nil
	}
	key, err := repository.ShardSnapshotKey(shard, uuid)
	if err != nil {
		return nil, err
	}
	data, _, err := l.oss.Read(ctx, key)
	if objectstore.KindOf(err) == objectstore.NotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	base, err := repository.ParseShardSnapshot(data)
	if err != nil {
		return nil, l.conflict("%s in OSS can't be understood: %v", key, err)
	}
	return base, nil
}

// locate makes of wanted blobs of a shard what is to be copied. In the first attempt the snapshot
// says all that is needed. If there was an earlier one, both sides are listed, to find what OSS may
// have already; keys are then all of the shard in S3, else nil.
func (l lists) locate(ctx context.Context, shard repository.ShardID,
	wanted []repository.Blob,
) (blobs []transfer.Blob, keys []string, err error) {
	unknown := func(b repository.Blob) bool { return b.Length <= 0 }
	if !l.again && !slices.ContainsFunc(wanted, unknown) {
		for _, b := range wanted {
			blobs = append(blobs, transfer.Blob{Key: b.Key, Size: b.Length})
		}
		return blobs, nil, nil
	}
	return l.listBlobs(ctx, shard, wanted)
}

func (l lists) listBlobs(ctx context.Context, shard repository.ShardID,
	wanted []repository.Blob,
) (blobs []transfer.Blob, keys []string, err error) {
	prefix, err := repository.ShardPrefix(shard)
	if err != nil {
		return nil, nil, err
	}
	inSource, err := l.s3.List(ctx, prefix)
	if err != nil {
		return nil, nil, err
	}
	var inSink map[string]objectstore.Object
	if l.again {
		if inSink, err = l.oss.List(ctx, prefix); err != nil {
			return nil, nil, err
		}
	}
	for _, b := range wanted {
		o, ok := inSource[b.Key]
		if !ok {
			return nil, nil, vanished(b.Key, "it is not in the listing of S3")
		}
		if o.Size != b.Length {
			return nil, nil, vanished(b.Key, "it has %d bytes in S3, the snapshot says %d", o.Size, b.Length)
		}
		old, there := inSink[b.Key]
		blobs = append(blobs, transfer.Blob{Key: b.Key, Size: o.Size, ETag: o.ETag, Look: there && old.Size == o.Size})
	}
	return blobs, slices.Collect(maps.Keys(inSource)), nil
}
