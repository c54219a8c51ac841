package sidestest

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/repository"
)

// RequireReadable reads OSS as Elasticsearch would, from the highest root index-N down to every
// byte of every successful snapshot. It returns the root, nil if there is none.
func RequireReadable(t *testing.T, objects map[string][]byte) *repository.Root {
	t.Helper()
	var keys []string
	for key := range objects {
		require.NotEqual(t, repository.ClassTemporary, repository.Classify(key).Class, key)
		keys = append(keys, key)
	}
	generation, ok := repository.LatestGeneration(keys)
	if !ok {
		return nil
	}
	read := func(key string, err error) []byte {
		require.NoError(t, err)
		data, ok := objects[key]
		require.True(t, ok, "index-%d needs %s", generation, key)
		return data
	}
	root, err := repository.ParseRoot(generation, objects[repository.RootIndexKey(generation)])
	require.NoError(t, err)
	for _, s := range root.Successful() {
		_, err := repository.ParseSnapshotInfo(read(repository.SnapshotKey(s.UUID)))
		require.NoError(t, err)
		read(repository.SnapshotMetadataKey(s.UUID))
		for _, index := range root.IndicesOf(s.UUID) {
			metadata, err := repository.ParseIndexMetadata(read(repository.IndexMetadataKey(index.ID,
				s.IndexMetadataID(index.ID))))
			require.NoError(t, err)
			for n := range metadata.Shards {
				RequireShard(t, repository.ShardID{IndexID: index.ID, Number: n}, s.UUID, read)
			}
		}
	}
	return root
}

// RequireShard reads every byte of a shard in a snapshot.
func RequireShard(t *testing.T, shard repository.ShardID, uuid string, read func(string, error) []byte) {
	t.Helper()
	files, err := repository.ParseShardSnapshot(read(repository.ShardSnapshotKey(shard, uuid)))
	require.NoError(t, err)
	for _, f := range files.Files {
		if f.Virtual() {
			continue
		}
		var content []byte
		for _, b := range f.Blobs() {
			part := read(repository.DataBlobKey(shard, f.Name, b.Part))
			require.Len(t, part, int(b.Length))
			content = append(content, part...)
		}
		require.Equal(t, f.Checksum, strconv.FormatInt(int64(crc32.ChecksumIEEE(content)), 36),
			"%s of snapshot %s in %v has other content", f.Name, uuid, shard)
	}
}

// Archive reads a repository that real nodes wrote, from a .tar.gz.
func Archive(t *testing.T, path string) map[string][]byte {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
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
