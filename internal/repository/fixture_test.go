package repository_test

import (
	"archive/tar"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/repository"
)

// fixture reads a repository that a real node wrote (testdata/README.md).
func fixture(t *testing.T, name string) map[string][]byte {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name))
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	objects := map[string][]byte{}
	for archive := tar.NewReader(z); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return objects
		}
		require.NoError(t, err)
		if h.Typeflag == tar.TypeReg {
			objects[strings.TrimPrefix(h.Name, "./")], err = io.ReadAll(archive)
			require.NoError(t, err)
		}
	}
}

func rootOf(t *testing.T, objects map[string][]byte) *repository.Root {
	t.Helper()
	if legacy, ok := objects[repository.LegacyRootKey]; ok {
		return legacyRoot(t, objects, legacy)
	}
	n, ok := repository.LatestGeneration(slices.Collect(maps.Keys(objects)))
	require.True(t, ok)
	latest, err := repository.ParseLatest(objects[repository.LatestKey])
	require.NoError(t, err)
	assert.Equal(t, n, latest)
	root, err := repository.ParseRoot(n, objects[repository.RootIndexKey(n)])
	require.NoError(t, err)
	return root
}

// legacyRoot reads the root of 2.x, and of each snapshot the object that tells its state and its
// indices.
func legacyRoot(t *testing.T, objects map[string][]byte, data []byte) *repository.Root {
	t.Helper()
	root, err := repository.ParseRoot(-1, data)
	require.NoError(t, err)
	var infos []*repository.SnapshotInfo
	for _, s := range root.Snapshots {
		info, err := repository.ParseSnapshotInfo(objects["snap-"+s.Name+".dat"])
		require.NoError(t, err)
		infos = append(infos, info)
	}
	require.NoError(t, root.Complete(infos))
	return root
}

func shardSnapshot(t *testing.T, objects map[string][]byte, shard repository.ShardID,
	uuid string,
) *repository.ShardSnapshot {
	t.Helper()
	key, err := repository.ShardSnapshotKey(shard, uuid)
	require.NoError(t, err)
	require.Contains(t, objects, key)
	s, err := repository.ParseShardSnapshot(objects[key])
	require.NoError(t, err, key)
	return s
}

// shapesOf reads the shapes of a snapshot's indices as a copier would: shards from the metadata,
// generations by listing.
func shapesOf(t *testing.T, objects map[string][]byte, root *repository.Root,
	s repository.Snapshot,
) map[string]repository.Shape {
	t.Helper()
	shapes := map[string]repository.Shape{}
	for _, index := range root.IndicesOf(s.UUID) {
		key, err := repository.IndexMetadataKey(index.ID, s.IndexMetadataID(index.ID))
		require.NoError(t, err)
		m, err := repository.ParseIndexMetadata(objects[key])
		require.NoError(t, err, key)
		assert.Equal(t, index.Name, m.Name)
		assert.Len(t, m.UUID, 22)
		shape := repository.Shape{Shards: m.Shards}
		if index.ShardGenerations == nil {
			shape.Generations = repository.ShardGenerations(index.ID, slices.Collect(maps.Keys(objects)))
		}
		shapes[index.ID] = shape
	}
	return shapes
}

// luceneFile proves a file by Lucene's own footer: the CRC32 of its bytes, and that it is the
// checksum which the shard snapshot names.
func luceneFile(t *testing.T, content []byte, checksum string) {
	t.Helper()
	require.Greater(t, len(content), 16)
	footer := content[len(content)-16:]
	require.EqualValues(t, 0xc02893e8, binary.BigEndian.Uint32(footer))
	crc := crc32.ChecksumIEEE(content[:len(content)-8])
	assert.EqualValues(t, crc, binary.BigEndian.Uint64(footer[8:]))
	assert.Equal(t, strconv.FormatUint(uint64(crc), 36), checksum)
}

// Every claim that the parsers make about a real repository is held against its objects.
func TestRealRepositories(t *testing.T) {
	for _, name := range fixtures(t) {
		t.Run(name, func(t *testing.T) {
			objects := fixture(t, name)
			root := rootOf(t, objects)
			referenced := map[string]bool{}
			parts := 0
			var uuids []string
			shapes := map[string]repository.Shape{}
			for _, s := range root.Successful() {
				uuids = append(uuids, s.UUID)
				maps.Copy(shapes, shapesOf(t, objects, root, s))
				for _, index := range root.IndicesOf(s.UUID) {
					for n := range shapesOf(t, objects, root, s)[index.ID].Shards {
						parts += checkShard(t, objects, repository.ShardID{IndexID: index.ID, Number: n}, s, referenced)
					}
				}
				checkPublishing(t, objects, root, s, referenced)
				info, err := repository.ParseSnapshotInfo(objects["snap-"+s.UUID+".dat"])
				require.NoError(t, err)
				assert.Equal(t, s.Name, info.Name)
				if root.Generation >= 0 {
					assert.Equal(t, s.UUID, info.UUID)
				}
				assert.Equal(t, repository.StateSuccess, info.State)
				assert.Positive(t, info.StartTime)
				assert.GreaterOrEqual(t, info.EndTime, info.StartTime)
				assert.Equal(t, info.TotalShards, info.SuccessfulShards)
				assert.ElementsMatch(t, names(root.IndicesOf(s.UUID)), info.Indices)
			}
			for key := range objects {
				k := repository.Classify(key)
				assert.NotEqual(t, repository.ClassUnknown, k.Class, key)
				if k.Class == repository.ClassData {
					assert.True(t, referenced[key], "%s belongs to no snapshot", key)
					assert.Equal(t, name[0] >= '6', k.Immutable, "%s: counters up to 5.x, random names in 6.8", key)
				}
			}
			assert.Equal(t, strings.Contains(name, "chunked"), parts > 10, "%d parts", parts)
			assert.NotEmpty(t, uuids)
		})
	}
}

// checkShard checks one shard's files against the blobs, notes the blobs and counts those with a
// part.
func checkShard(t *testing.T, objects map[string][]byte, shard repository.ShardID, s repository.Snapshot,
	referenced map[string]bool,
) (parts int) {
	t.Helper()
	snapshot := shardSnapshot(t, objects, shard, s.UUID)
	assert.Equal(t, s.Name, snapshot.Name)
	require.NotEmpty(t, snapshot.Files)
	for _, f := range snapshot.Files {
		var content []byte
		for _, b := range f.Blobs() {
			key, err := repository.DataBlobKey(shard, f.Name, b.Part)
			require.NoError(t, err)
			require.Contains(t, objects, key)
			require.EqualValues(t, b.Length, len(objects[key]), key)
			content = append(content, objects[key]...)
			referenced[key] = true
			if b.Part >= 0 {
				parts++
			}
		}
		if f.Virtual() {
			content = f.MetaHash
		} else if len(f.MetaHash) > 0 {
			assert.Equal(t, content, f.MetaHash, f.PhysicalName)
		}
		require.EqualValues(t, f.Length, len(content))
		luceneFile(t, content, f.Checksum)
	}
	blobs, err := repository.ShardBlobs(shard, snapshot)
	require.NoError(t, err)
	for _, b := range blobs {
		assert.EqualValues(t, b.Length, len(objects[b.Key]), b.Key)
	}
	return parts
}

// checkPublishing proves that all that publishing needs is there, and with the data and what other
// snapshots need, nothing else is.
func checkPublishing(t *testing.T, objects map[string][]byte, root *repository.Root, s repository.Snapshot,
	referenced map[string]bool,
) {
	t.Helper()
	groups, err := repository.MetadataOf(root, []string{s.UUID}, shapesOf(t, objects, root, s))
	require.NoError(t, err)
	var stages []repository.Stage
	for _, g := range groups {
		stages = append(stages, g.Stage)
		for _, o := range g.Objects {
			referenced[o.Key] = true
			if o.Class != repository.ClassIncompatible { // not written any more from 7.6 on
				assert.Contains(t, objects, o.Key)
			}
		}
	}
	want := []repository.Stage{
		repository.StageShards, repository.StageIndexMetadata, repository.StageSnapshots,
		repository.StageIncompatible, repository.StageRoot, repository.StageLatest,
	}
	if root.Generation < 0 {
		want = []repository.Stage{
			repository.StageShards, repository.StageIndexMetadata, repository.StageSnapshots,
			repository.StageRoot,
		}
	}
	assert.Equal(t, want, stages)
}

func fixtures(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.tar.gz")
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	for i := range paths {
		paths[i] = filepath.Base(paths[i])
	}
	return paths
}

func names(indices []repository.Index) []string {
	var out []string
	for _, index := range indices {
		out = append(out, index.Name)
	}
	return out
}

// shardStats is what a node's _status says of a shard: number_of_files and total_size_in_bytes up
// to 6.x, incremental and total from 6.4 on. Both the old pair and incremental mean what this
// snapshot uploaded.
type shardStats struct {
	Files       *int64 `json:"number_of_files"`
	Bytes       *int64 `json:"total_size_in_bytes"`
	Incremental *stats `json:"incremental"`
	Total       *stats `json:"total"`
}

type stats struct {
	Files int64 `json:"file_count"`
	Bytes int64 `json:"size_in_bytes"`
}

type snapshotStatus struct {
	Name    string `json:"snapshot"`
	Indices map[string]struct {
		Shards map[string]struct {
			Stats shardStats `json:"stats"`
		} `json:"shards"`
	} `json:"indices"`
}

// The node that wrote a repository counted the same files and bytes.
func TestRealCounts(t *testing.T) {
	for _, name := range fixtures(t) {
		text, err := os.ReadFile(filepath.Join("testdata", strings.TrimSuffix(name, ".tar.gz")+".status.json"))
		if errors.Is(err, fs.ErrNotExist) && strings.HasSuffix(name, "-before.tar.gz") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			require.NoError(t, err)
			var recorded struct {
				Snapshots []snapshotStatus `json:"snapshots"`
			}
			require.NoError(t, json.Unmarshal(text, &recorded))
			objects := fixture(t, name)
			root := rootOf(t, objects)
			assert.Len(t, recorded.Snapshots, len(root.Successful()))
			for _, status := range recorded.Snapshots {
				s, ok := root.ByName(status.Name)
				require.True(t, ok, status.Name)
				assert.Len(t, status.Indices, len(root.IndicesOf(s.UUID)))
				for _, index := range root.IndicesOf(s.UUID) {
					shards := status.Indices[index.Name].Shards
					assert.Len(t, shards, shapesOf(t, objects, root, s)[index.ID].Shards)
					for n := range shards {
						number, err := strconv.Atoi(n)
						require.NoError(t, err)
						snapshot := shardSnapshot(t, objects, repository.ShardID{IndexID: index.ID, Number: number},
							s.UUID)
						checkCounts(t, shards[n].Stats, snapshot)
					}
				}
			}
		})
	}
}

func checkCounts(t *testing.T, recorded shardStats, snapshot *repository.ShardSnapshot) {
	t.Helper()
	total := stats{Files: int64(len(snapshot.Files))}
	for _, f := range snapshot.Files {
		total.Bytes += f.Length
	}
	added := stats{snapshot.NewFiles, snapshot.NewBytes}
	if recorded.Incremental != nil {
		assert.Equal(t, added, *recorded.Incremental)
		require.NotNil(t, recorded.Total)
		assert.Equal(t, total, *recorded.Total)
		return
	}
	require.NotNil(t, recorded.Files)
	require.NotNil(t, recorded.Bytes)
	assert.Equal(t, added, stats{*recorded.Files, *recorded.Bytes})
}

// A root of 2.x tells so little that publishing from it alone would leave every shard behind.
func TestRealLegacyRootAlone(t *testing.T) {
	objects := fixture(t, "2.4.6-plain.tar.gz")
	root, err := repository.ParseRoot(-1, objects[repository.LegacyRootKey])
	require.NoError(t, err)
	_, err = repository.MetadataOf(root, []string{"four"}, nil)
	require.ErrorContains(t, err, "completed")
	require.Error(t, root.Complete([]*repository.SnapshotInfo{{Name: "another"}}))
	require.Error(t, root.Complete([]*repository.SnapshotInfo{{Name: "four", Indices: []string{".."}}}))
	require.Error(t, rootOf(t, fixture(t, "5.5.2-plain.tar.gz")).Complete(nil))

	root = rootOf(t, objects)
	var found []string
	for _, s := range root.Snapshots {
		found = append(found, s.Name+" "+s.State.String()+" "+strings.Join(names(root.IndicesOf(s.UUID)), ","))
	}
	assert.ElementsMatch(t, []string{
		"one SUCCESS logs,movies", "three SUCCESS logs,movies", "failed FAILED stuck",
		"four SUCCESS logs,movies",
	}, found)
}

// Up to 5.5.2 the names of a deleted snapshot's blobs come back with other bytes. What the delta
// skips must be the same bytes, and what it copies must include each name that came back.
func TestRealNamesComeBack(t *testing.T) {
	for _, version := range []string{"2.4.6", "5.5.2"} {
		t.Run(version, func(t *testing.T) { namesComeBack(t, version) })
	}
}

func namesComeBack(t *testing.T, version string) {
	t.Helper()
	before, after := fixture(t, version+"-plain-before.tar.gz"), fixture(t, version+"-plain.tar.gz")
	rootBefore, rootAfter := rootOf(t, before), rootOf(t, after)
	two, ok := rootBefore.ByName("two")
	require.True(t, ok)
	three, ok := rootAfter.ByName("three")
	require.True(t, ok)
	cameBack, skipped := 0, 0
	for _, index := range rootAfter.IndicesOf(three.UUID) {
		for n := range shapesOf(t, after, rootAfter, three)[index.ID].Shards {
			shard := repository.ShardID{IndexID: index.ID, Number: n}
			d, err := repository.ShardDelta(shard, shardSnapshot(t, after, shard, three.UUID), shard,
				shardSnapshot(t, before, shard, two.UUID))
			require.NoError(t, err)
			skipped += d.SkippedBlobs
			copied := map[string]bool{}
			for _, b := range d.Blobs {
				copied[b.Key] = true
				assert.False(t, b.Immutable)
			}
			blobs, err := repository.ShardBlobs(shard, shardSnapshot(t, after, shard, three.UUID))
			require.NoError(t, err)
			for _, b := range blobs {
				old, existed := before[b.Key]
				if existed && string(old) != string(after[b.Key]) {
					cameBack++
					assert.True(t, copied[b.Key], "%s holds other bytes now", b.Key)
				}
				if !copied[b.Key] {
					assert.Equal(t, old, after[b.Key], b.Key)
				}
			}
		}
	}
	assert.Positive(t, cameBack, "the fixture shows no name that came back")
	assert.Positive(t, skipped)
}

// An index that was deleted and created again under its name keeps its id in the repository, even
// with more shards.
func TestRealIndexCreatedAgain(t *testing.T) {
	objects := fixture(t, "5.5.2-plain.tar.gz")
	root := rootOf(t, objects)
	shards := map[string]int{}
	for _, name := range []string{"three", "four"} {
		s, ok := root.ByName(name)
		require.True(t, ok)
		for _, index := range root.IndicesOf(s.UUID) {
			if index.Name == "logs" {
				shards[name+" "+index.ID] = shapesOf(t, objects, root, s)[index.ID].Shards
			}
		}
	}
	id := root.Indices[slices.IndexFunc(root.Indices, func(i repository.Index) bool { return i.Name == "logs" })].ID
	assert.Equal(t, map[string]int{"three " + id: 1, "four " + id: 3}, shards)
}

func TestRealFailedAttempt(t *testing.T) {
	objects := fixture(t, "5.5.2-plain.tar.gz")
	root := rootOf(t, objects)
	failed, ok := root.ByName("failed")
	require.True(t, ok)
	assert.Equal(t, repository.StateFailed, failed.State)
	_, err := repository.MetadataOf(root, []string{failed.UUID}, nil)
	require.ErrorContains(t, err, "FAILED")
	groups, err := repository.MetadataOf(root, nil, nil)
	require.NoError(t, err)
	var keys []string
	for _, o := range groups[0].Objects {
		keys = append(keys, o.Key)
	}
	assert.Contains(t, keys, "snap-"+failed.UUID+".dat", "a listing of the target needs it")
	info, err := repository.ParseSnapshotInfo(objects["snap-"+failed.UUID+".dat"])
	require.NoError(t, err)
	assert.Equal(t, repository.StateFailed, info.State)
	assert.NotEmpty(t, info.Reason)
}
