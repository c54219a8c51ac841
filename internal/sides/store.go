package sides

import (
	"context"
	"iter"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/transfer"
)

// MetadataLimit is the largest object in bytes that is read into memory, as large as package
// repository takes one.
const MetadataLimit = 256 << 20

// Store is the repository's folder in one of the buckets, and how it is asked. Failed requests are
// sent again as the retry says.
type Store struct {
	bucket objectstore.Reader
	read   func(ctx context.Context, key string, limit int64) ([]byte, objectstore.Info, error)
	retry  transfer.Retry
}

// Open gives the stores of both sides. What is read of an object comes through the mover, which
// proves it.
func Open(from objectstore.Source, to objectstore.Sink, mover *transfer.Mover,
	retry transfer.Retry,
) (source, target Store) {
	return Store{bucket: from, read: mover.Read, retry: retry}, Store{bucket: to, read: mover.ReadBack, retry: retry}
}

// Read reads a metadata object. See [Gone] and [Damaged] for what its error may say of the object.
func (s Store) Read(ctx context.Context, key string) ([]byte, objectstore.Info, error) {
	return s.read(ctx, key, MetadataLimit)
}

// List gives all objects whose keys begin with the prefix, by key.
func (s Store) List(ctx context.Context, prefix string) (map[string]objectstore.Object, error) {
	return transfer.Do(ctx, s.retry, func() (map[string]objectstore.Object, error) {
		objects := map[string]objectstore.Object{}
		for o, err := range s.bucket.List(ctx, prefix) {
			if err != nil {
				return nil, err
			}
			objects[o.Key] = o
		}
		return objects, nil
	})
}

// Ordered lists a prefix in the order of the keys. It goes on behind the last key when the listing
// breaks off. An error comes last.
func (s Store) Ordered(ctx context.Context, prefix string) iter.Seq2[objectstore.Object, error] {
	return func(yield func(objectstore.Object, error) bool) {
		last, stopped := "", false
		_, err := transfer.Do(ctx, s.retry, func() (struct{}, error) {
			for o, err := range s.bucket.List(ctx, prefix) {
				if err != nil {
					return struct{}{}, err
				}
				if o.Key <= last {
					continue
				}
				last = o.Key
				if stopped = !yield(o, nil); stopped {
					break
				}
			}
			return struct{}{}, nil
		})
		if err != nil && !stopped {
			yield(objectstore.Object{}, err)
		}
	}
}

// Folder lists one level below a prefix.
func (s Store) Folder(ctx context.Context, prefix string) (objectstore.Folder, error) {
	return transfer.Do(ctx, s.retry, func() (objectstore.Folder, error) { return s.bucket.ListFolder(ctx, prefix) })
}

// Indices lists the folders of indices: their ids, in the order of the keys, and the objects that
// stand beside them, of which Elasticsearch writes none.
func (s Store) Indices(ctx context.Context) (ids []string, beside []objectstore.Object, err error) {
	folder, err := s.Folder(ctx, repository.IndicesPrefix)
	for _, f := range folder.Folders {
		ids = append(ids, f[len(repository.IndicesPrefix):len(f)-1])
	}
	return ids, folder.Objects, err
}

// Highest lists the root folder. It gives the objects in it by key, and the generation of the
// highest root index-N; found is false if there is none. The root of Elasticsearch 2.x doesn't
// count.
func (s Store) Highest(ctx context.Context) (objects map[string]objectstore.Object, generation int64, found bool,
	err error,
) {
	folder, err := s.Folder(ctx, "")
	if err != nil {
		return nil, 0, false, err
	}
	objects = map[string]objectstore.Object{}
	keys := make([]string, 0, len(folder.Objects))
	for _, o := range folder.Objects {
		objects[o.Key] = o
		keys = append(keys, o.Key)
	}
	generation, found = repository.LatestGeneration(keys)
	return objects, generation, found, nil
}
