package ferry

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/sides"
	"github.com/snapferry/snapferry/migration"
)

// Two snapshots that S3 lists can't both be right about the bytes behind a name.
func TestCopyNamesThatMeanTwoThings(t *testing.T) {
	shard := repository.ShardID{IndexID: "i"}
	files := func(f repository.File) *repository.ShardSnapshot {
		return &repository.ShardSnapshot{Files: []repository.File{{Name: "__0", Length: 7, Checksum: "x"}, f}}
	}
	base := files(repository.File{Name: "__1", Length: 5, Checksum: "a"})
	root, err := repository.ParseRoot(1, []byte(`{"snapshots":[{"name":"s1","uuid":"u1","state":1}],"indices":{}}`))
	require.NoError(t, err)
	shared := lists{job: &job{snapshot: migration.Snapshot{Name: "s2"}}, bases: bases{"i": "u1"}}
	r := &round{lists: shared, from: sides.Side{Root: root}}
	for name, test := range map[string]struct {
		file repository.File
		fine bool
	}{
		"the same":      {repository.File{Name: "__1", Length: 5, Checksum: "a"}, true},
		"another name":  {repository.File{Name: "__2", Length: 5, Checksum: "b"}, true},
		"no checksum":   {repository.File{Name: "__1", Length: 5}, true},
		"other bytes":   {repository.File{Name: "__1", Length: 5, Checksum: "b"}, false},
		"more bytes":    {repository.File{Name: "__1", Length: 6, Checksum: "a"}, false},
		"in the lists":  {repository.File{Name: "v__1", Length: 5, Checksum: "b"}, true},
		"no base there": {repository.File{Name: "__1", Length: 5, Checksum: "b"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			of := base
			if name == "no base there" {
				of = nil
			}
			err := shared.sameAsBase(shard, files(test.file), of)
			if test.fine {
				require.NoError(t, err)
				return
			}
			blamed := r.blame(t.Context(), newPlan(Paging{}, nil), err)
			requireKind(t, Unusable, blamed)
			require.ErrorContains(t, blamed, "indices/i/0/__1")
			require.ErrorContains(t, blamed, "/s1)")
			g := &page{lists: shared}
			require.ErrorIs(t, g.blame(t.Context(), newPlan(Paging{}, nil), err), sides.ErrMoved,
				"a page leaves that to the plan")
		})
	}
}

// A manager of 7.9 or later that dies when it has written the root makes the next one end the snapshot
// once more, with metadata of its own. What OSS has is not all of that.
func TestASnapshotWithOtherMetadataIsMissing(t *testing.T) {
	parsed := func(blob string) sides.Side {
		root, err := repository.ParseRoot(1, []byte(`{"snapshots":[{"name":"s","uuid":"u","state":1,
			"index_metadata_lookup":{"i":"x"},"version":"7.10.2"}],"indices":{"movies":{"id":"i","snapshots":["u"],
			"shard_generations":["g"]}},"min_version":"7.9.0","index_metadata_identifiers":{"x":"`+blob+`"}}`))
		require.NoError(t, err)
		return sides.Side{Root: root}
	}
	r := &round{from: parsed("one"), to: parsed("one")}
	r.success = r.from.Snapshots
	require.Empty(t, r.missing())
	r.to = parsed("another")
	require.Equal(t, []string{"u"}, r.missing())
}
