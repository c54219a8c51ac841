package sides

import (
	"context"
	"errors"
	"fmt"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/transfer"
)

// FileLists are the lists of files of a snapshot's shards, as they stand in a bucket. They are read
// when they are asked for.
type FileLists struct {
	store    Store
	snapshot string            // uuid
	folders  map[string]string // ids of the snapshot's indices, by name
}

// ReadFileLists finds a snapshot's lists of files in a bucket. It reads the root only. The error is
// a *[transfer.Error] or of the object store if the bucket doesn't answer.
func ReadFileLists(ctx context.Context, from objectstore.Reader, retry transfer.Retry,
	snapshot string,
) (*FileLists, error) {
	store := Store{bucket: from, retry: retry}
	store.read = func(ctx context.Context, key string, limit int64) ([]byte, objectstore.Info, error) {
		type object struct {
			data []byte
			info objectstore.Info
		}
		o, err := transfer.Do(ctx, retry, func() (object, error) {
			data, info, err := from.Get(ctx, key, limit)
			return object{data, info}, err
		})
		return o.data, o.info, err
	}
	root, err := store.ReadSide(ctx)
	switch {
	case err != nil:
		return nil, err
	case root.Flaw != nil:
		return nil, fmt.Errorf("the root %s can't be read: %w", root.Key(), root.Flaw)
	case root.Root == nil:
		return nil, errors.New("the repository has no root")
	}
	lists := &FileLists{store: store, snapshot: snapshot, folders: map[string]string{}}
	for _, index := range root.IndicesOf(snapshot) {
		lists.folders[index.Name] = index.ID
	}
	if len(lists.folders) == 0 {
		return nil, fmt.Errorf("the root %s lists no indices of the snapshot %s", root.Key(), snapshot)
	}
	return lists, nil
}

// Of are the files of a shard. The list proves itself: it ends with a checksum.
func (l *FileLists) Of(ctx context.Context, index string, shard int) ([]repository.PhysicalFile, error) {
	id, ok := l.folders[index]
	if !ok {
		return nil, fmt.Errorf("the snapshot %s has no index %s", l.snapshot, index)
	}
	key, err := repository.ShardSnapshotKey(repository.ShardID{IndexID: id, Number: shard}, l.snapshot)
	if err != nil {
		return nil, err
	}
	data, _, err := l.store.Read(ctx, key)
	if err != nil {
		return nil, err
	}
	list, err := repository.ParseShardSnapshot(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return list.PhysicalFiles(), nil
}
