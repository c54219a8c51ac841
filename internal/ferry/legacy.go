package ferry

import (
	"context"
	"errors"
	"strconv"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/sides"
	"github.com/snapferry/snapferry/internal/transfer"
)

// leftByCopy tells whether a small object in OSS was written by a copy, and is what that has
// written.
func leftByCopy(info objectstore.Info) bool {
	return info.Metadata[transfer.MetadataETag] != "" &&
		info.Metadata[transfer.MetadataLength] == strconv.FormatInt(info.Size, 10) &&
		info.Metadata[transfer.MetadataCRC64] == strconv.FormatUint(info.CRC64, 10)
}

// completed reads what a root of Elasticsearch 2.x leaves to its snapshots' own objects, and gives
// those in state SUCCESS.
func (r *round) completed(ctx context.Context, root *repository.Root) ([]repository.Snapshot, error) {
	infos, err := sides.SnapshotInfos(ctx, r.concurrency, root,
		func(ctx context.Context, key string, s repository.Snapshot) ([]byte, error) {
			if r.from.OfElasticsearch1(s, key) {
				return nil, failed(Refused, "copy the snapshot %s: the repository in S3 is of Elasticsearch 1.x, "+
					"whose snapshots only 2.x restores", r.snapshot.Name)
			}
			data, _, err := r.s3.Read(ctx, key)
			return data, err
		})
	if err != nil {
		if wrong, ok := errors.AsType[*sides.InfoError](err); ok {
			return nil, parsed(wrong.Key, wrong.Err)
		}
		return nil, err
	}
	if err := root.Complete(infos); err != nil {
		return nil, parsed(repository.RootIndexKey(root.Generation), err)
	}
	return root.Successful(), nil
}

// completeTarget finds out the indices of the snapshot that is asked for from OSS.
func (r *round) completeTarget(ctx context.Context) error {
	key, err := repository.SnapshotKey(r.snapshot.UUID)
	if err != nil {
		return err
	}
	data, err := r.published(ctx, r.to, key)
	if err != nil {
		return err
	}
	info, err := repository.ParseSnapshotInfo(data)
	if err == nil {
		err = r.to.Complete([]*repository.SnapshotInfo{info})
	}
	if err == nil && len(r.to.IndicesOf(r.snapshot.UUID)) == 0 {
		err = errors.New("it is that of another snapshot, or of none of the indices")
	}
	if err != nil {
		return r.conflict("%s in OSS can't be understood: %v", key, err)
	}
	return nil
}

// compareLegacyRoots is compareRoots for a repository of Elasticsearch 2.x. Such a root has no
// generation, but what a copy writes has its mark.
func (r *round) compareLegacyRoots() (published bool, err error) {
	base, want := r.request.BaseUUID, r.snapshot
	switch {
	case r.to.Root == nil && base != "":
		return false, r.conflict("the root %s of the last round is gone", repository.LegacyRootKey)
	case r.to.Root == nil:
		return false, nil
	case !r.to.Legacy():
		return false, r.conflict("OSS has index-%d, which S3 doesn't have: "+
			"a cluster on which the repository isn't readonly has written it", r.to.Generation)
	case !leftByCopy(r.to.Info):
		return false, r.conflict("the root %s in OSS was not written by snapferry", repository.LegacyRootKey)
	}
	if _, ok := r.to.Snapshot(want.UUID); ok {
		return true, nil // an earlier attempt, whose answer got lost
	}
	if _, ok := r.to.Snapshot(base); ok {
		return false, nil
	}
	// A publish that the workflow didn't hear of, or one that came late and replaced a newer root.
	// What is copied doesn't build on either, so only somebody else's is a conflict.
	for _, s := range r.to.Snapshots {
		if _, ok := r.from.Snapshot(s.UUID); !ok {
			return false, r.conflict("the root %s in OSS lacks the snapshot of the last round. It lists %s, which S3 "+
				"doesn't have",
				repository.LegacyRootKey, s.Name)
		}
	}
	return false, nil
}

// unlisted are the successful snapshots that the root in OSS doesn't list.
func (r *round) unlisted() []string {
	var uuids []string
	for _, s := range r.success {
		if r.to.Root != nil {
			if _, ok := r.to.Snapshot(s.UUID); ok {
				continue
			}
		}
		uuids = append(uuids, s.UUID)
	}
	return uuids
}
