package ferry

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"slices"
	"time"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/sides"
)

// later are the snapshots of our own later groups that a root of S3 lists.
func (r *round) later(root *repository.Root) (uuids []string) {
	for _, s := range root.Snapshots {
		if slices.Contains(r.request.Later, s.Name) {
			uuids = append(uuids, s.UUID)
		}
	}
	return uuids
}

// ownRoot goes back to the root that first listed the snapshot, if S3 has moved on since by our own
// later groups and nothing else: so a group is published without those that follow it, and is
// restored while they are still copied. Where that root is gone, the present one remains: then all
// that it lists as a success must be complete before it is published. So it does where a later
// group is published already, which includes this one.
func (r *round) ownRoot(ctx context.Context) error {
	later := int64(len(r.later(r.from.Root)))
	if later == 0 || r.from.Legacy() {
		return nil // the roots of 2.x replace each other under one name
	}
	generation := r.from.Generation - later
	if r.to.Root != nil && r.to.Generation >= generation {
		return nil
	}
	data, info, err := r.readOwnRoot(ctx, generation)
	if data == nil || err != nil {
		return err
	}
	root, err := repository.ParseRoot(generation, data)
	if err != nil {
		return nil //nolint:nilerr // the present root tells the same and more
	}
	own := r.from.WithRoot(root, data)
	own.Info, own.ETag = info, info.ETag
	_, lists := own.Snapshot(r.snapshot.UUID)
	if lists && len(r.later(root)) == 0 && grown(own, r.from, r.request.Later) {
		r.from = own
	}
	return nil
}

// readOwnRoot reads a root that is not the highest one of S3, or takes the one that was kept; nil
// if there is neither. Elasticsearch before 7.6 keeps the last but one.
func (r *round) readOwnRoot(ctx context.Context, generation int64) ([]byte, objectstore.Info, error) {
	if r.kept != nil && r.keptOf.RootGeneration == generation {
		info := objectstore.Info{ETagIsMD5: r.from.Info.ETagIsMD5}
		info.ETag = r.keptOf.RootETag
		return r.kept, info, nil
	}
	key := repository.RootIndexKey(generation)
	if r.from.Object(key) == nil {
		return nil, objectstore.Info{}, nil
	}
	data, info, err := r.s3.Read(ctx, key)
	if sides.Gone(err) || sides.Damaged(err) {
		return nil, info, nil
	}
	return data, info, err
}

// unmoved is the fence: what was copied must still be what S3 has. It lets pass that S3 has got a
// newer root, if all that this adds are snapshots of our own later groups; else the error is
// [sides.ErrMoved].
func (r *round) unmoved(ctx context.Context) error {
	err := r.from.Unchanged(ctx)
	if !errors.Is(err, sides.ErrMoved) || len(r.request.Later) == 0 {
		return err
	}
	now, err := r.s3.ReadSide(ctx)
	if err != nil {
		return err
	}
	if now.Root != nil && grown(r.from, now, r.request.Later) {
		return nil
	}
	return sides.ErrMoved
}

// unmoved is the fence of a mirrored repository: its root has the same name always, and the same
// bytes again when a snapshot was deleted and another taken under its name.
func (m *mirror) unmoved(ctx context.Context) error {
	now, err := m.s3.ReadSide(ctx)
	if err != nil {
		return err
	}
	before := m.from.Objects[repository.LegacyRootKey]
	same := now.Generation == m.from.Generation && now.ETag == m.from.ETag && bytes.Equal(now.Data, m.from.Data) &&
		sameTime(now.Info.Object, before)
	if now.Root == nil || !same && !grown(m.from, now, m.request.Later) {
		return sides.ErrMoved
	}
	return nil
}

// sameTime tells whether S3 says of two objects that they were written in the same second: an
// object's header tells seconds, a listing may tell more.
func sameTime(a, b objectstore.Object) bool {
	return a.LastModified.Truncate(time.Second).Equal(b.LastModified.Truncate(time.Second))
}

// grown tells whether a root of S3 is another one with snapshots of these names added to it, in
// whatever state, and nothing else. Each write of a root raises its generation, so that nothing
// happened in between either: neither another snapshot that is gone again nor a cleanup.
func grown(was, now sides.Side, names []string) bool {
	if was.Legacy() != now.Legacy() || was.UUID != now.UUID || was.ClusterID != now.ClusterID {
		return false
	}
	added := map[string]bool{}
	for _, s := range now.Snapshots {
		if _, known := was.Snapshot(s.UUID); known {
			continue
		}
		if !slices.Contains(names, s.Name) {
			return false
		}
		added[s.UUID] = true
	}
	if len(added) == 0 || len(now.Snapshots) != len(was.Snapshots)+len(added) {
		return false // a delete
	}
	if was.Legacy() {
		return sameObjects(was, now)
	}
	for _, s := range was.Snapshots {
		if kept, _ := now.Snapshot(s.UUID); !reflect.DeepEqual(s, kept) {
			return false
		}
	}
	return now.Generation-was.Generation == int64(len(added)) && sameIndices(was.Root, now.Root, added)
}

// sameIndices tells whether a root has the indices of another, but for what these snapshots add.
func sameIndices(was, now *repository.Root, added map[string]bool) bool {
	before := map[string]repository.Index{}
	for _, index := range was.Indices {
		before[index.ID] = index
	}
	for _, index := range now.Indices {
		old, known := before[index.ID]
		delete(before, index.ID)
		kept := slices.DeleteFunc(slices.Clone(index.Snapshots), func(uuid string) bool { return added[uuid] })
		switch {
		case !known && len(kept) > 0:
			return false
		case !known:
		case old.Name != index.Name, !slices.Equal(slices.Sorted(slices.Values(kept)),
			slices.Sorted(slices.Values(old.Snapshots))):
			return false
		case len(kept) == len(index.Snapshots) && !slices.Equal(old.ShardGenerations, index.ShardGenerations):
			return false // something wrote to the shards of an index that none of ours holds
		}
	}
	return len(before) == 0
}

// sameObjects tells whether the snapshots of a root of Elasticsearch 2.x are still the same. It
// gives neither uuids nor generations, so a snapshot that was deleted and taken again under its
// name shows only in its own objects.
func sameObjects(was, now sides.Side) bool {
	for _, s := range was.Snapshots {
		for _, keyOf := range []func(string) (string, error){repository.SnapshotKey, repository.SnapshotMetadataKey} {
			key, err := keyOf(s.UUID)
			if err != nil {
				return false
			}
			before, after := was.Objects[key], now.Objects[key]
			if before.ETag != after.ETag || before.Size != after.Size || !sameTime(before, after) {
				return false
			}
		}
	}
	return true
}

// keep is what a publish of pages needs of the root, if S3 may have a newer one by then.
func (r *round) keep() []byte {
	if len(r.later(r.from.Root)) == len(r.request.Later) {
		return nil
	}
	return r.from.Data
}
