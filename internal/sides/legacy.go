package sides

import (
	"context"
	"fmt"
	"slices"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/repository"
)

// Legacy tells whether the repository is one of Elasticsearch 2.x.
func (s Side) Legacy() bool { return s.Root != nil && s.Generation < 0 }

// orLegacy finds the root of Elasticsearch 2.x where there is no index-N: 5.0 and later prefers
// one, even if the other is there (Elasticsearch 5.5: BlobStoreRepository.getRepositoryData).
func orLegacy(objects map[string]objectstore.Object, generation int64, found bool) (int64, bool) {
	if _, legacy := objects[repository.LegacyRootKey]; !found && legacy {
		return -1, true
	}
	return generation, found
}

// OfElasticsearch1 tells whether a snapshot was written by Elasticsearch 1.x, which calls its
// object snapshot-NAME instead of what 2.x calls it, which is the key.
func (s Side) OfElasticsearch1(snapshot repository.Snapshot, key string) bool {
	_, old := s.Objects["snapshot-"+snapshot.Name]
	return old && s.Objects[key].Key == ""
}

// InfoError says that a snapshot's own object can't be understood.
type InfoError struct {
	Key string
	Err error
}

func (e *InfoError) Error() string { return e.Key + ": " + e.Err.Error() }

func (e *InfoError) Unwrap() error { return e.Err }

// SnapshotInfos reads the objects of all snapshots that a root of Elasticsearch 2.x lists, at most
// limit at once. It leaves out those of which read gives nothing. The error is an *[InfoError] if
// one can't be understood.
func SnapshotInfos(ctx context.Context, limit int, root *repository.Root,
	read func(ctx context.Context, key string, s repository.Snapshot) ([]byte, error),
) ([]*repository.SnapshotInfo, error) {
	infos := make([]*repository.SnapshotInfo, len(root.Snapshots))
	numbers := make([]int, len(root.Snapshots))
	for n := range numbers {
		numbers[n] = n
	}
	err := InParallel(ctx, limit, numbers, func(ctx context.Context, n int) error {
		s := root.Snapshots[n]
		key, err := repository.SnapshotKey(s.UUID)
		if err != nil {
			return err
		}
		data, err := read(ctx, key, s)
		if err != nil || data == nil {
			return err
		}
		info, err := repository.ParseSnapshotInfo(data)
		if err == nil && info.Name != s.Name {
			err = &repository.FormatError{
				What:   "snapshot info",
				Reason: fmt.Sprintf("it is that of another snapshot, %q", info.Name),
			}
		}
		if err != nil {
			return &InfoError{key, err}
		}
		infos[n] = info
		return nil
	})
	return slices.DeleteFunc(infos, func(info *repository.SnapshotInfo) bool { return info == nil }), err
}
