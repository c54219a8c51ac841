package sidestest

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/repository/repositorytest"
	"github.com/snapferry/snapferry/migration"
)

// Legacy is a World whose cluster runs Elasticsearch 2.x. A snapshot's name is its uuid there.
type Legacy struct{ *World }

// NewLegacy makes a world without a snapshot.
func NewLegacy() *Legacy { return &Legacy{New(repositorytest.Layout55)} }

// Take takes a snapshot; the bucket in S3 has it at once.
func (w *Legacy) Take(name string, changes ...repositorytest.Change) string {
	w.Snapshot(name, changes...)
	w.Names[name] = name
	w.Sync()
	return name
}

// Remove deletes a snapshot; the bucket in S3 shows it at once.
func (w *Legacy) Remove(name string) {
	w.Delete(name)
	w.Sync()
}

// Sync makes the bucket in S3 hold what the cluster has, and nothing else.
func (w *Legacy) Sync() { w.Source.Replace(w.LegacyObjects()) }

// LegacyObjects are those of the repository in the layout of 2.x: names for ids, and one root that
// lists names. The content of the objects is the same but for fields that nobody reads here.
func (w *Legacy) LegacyObjects() map[string][]byte {
	objects := map[string][]byte{}
	translate := w.translator()
	for key, data := range w.Objects() {
		if to := translate(key); to != "" {
			objects[to] = data
		}
	}
	names := []string{}
	for _, s := range w.root().Snapshots {
		names = append(names, s.Name)
	}
	root, err := json.Marshal(map[string]any{"snapshots": names})
	if err != nil {
		panic(err)
	}
	objects[repository.LegacyRootKey] = root
	return objects
}

func (w *Legacy) root() *repository.Root {
	root, err := repository.ParseRoot(w.Generation(), w.Objects()[repository.RootIndexKey(w.Generation())])
	if err != nil {
		panic(err)
	}
	return root
}

// translator gives keys of 5.5 as 2.x has them, nothing for those that it doesn't have.
func (w *Legacy) translator() func(key string) string {
	root, pairs := w.root(), []string{}
	for _, s := range root.Snapshots {
		pairs = append(pairs, "-"+s.UUID+".dat", "-"+s.Name+".dat")
	}
	for _, index := range root.Indices {
		pairs = append(pairs, "indices/"+index.ID+"/", "indices/"+index.Name+"/")
	}
	replacer := strings.NewReplacer(pairs...)
	return func(key string) string {
		switch repository.Classify(key).Class {
		case repository.ClassRootIndex, repository.ClassLatest, repository.ClassIncompatible:
			return ""
		}
		return replacer.Replace(key)
	}
}

// LegacyBlobs are those that a snapshot needs, with their lengths.
func (w *Legacy) LegacyBlobs(name string) map[string]int64 {
	snapshots := w.root().Snapshots
	s := snapshots[slices.IndexFunc(snapshots, func(s repository.Snapshot) bool { return s.Name == name })]
	translate, blobs := w.translator(), map[string]int64{}
	for key, length := range w.Blobs(s.UUID) {
		blobs[translate(key)] = length
	}
	return blobs
}

// Copy copies a snapshot, checks what OSS has then and remembers it as the base of the next.
func (w *Legacy) Copy(t *testing.T, name string) migration.CopyResult {
	t.Helper()
	result, err := w.Run(t, w.Request(name))
	require.NoError(t, err)
	w.RequirePublished(t, name)
	require.Equal(t, int64(-1), result.Generation)
	require.Nil(t, result.Pages)
	w.Base = name
	return result
}

// RequirePublished checks that OSS has the root of S3, that it is readable, and all that S3 has of
// what Elasticsearch writes.
func (w *Legacy) RequirePublished(t *testing.T, name string) {
	t.Helper()
	got := w.Sink.Objects()
	root := RequireLegacyReadable(t, got)
	require.NotNil(t, root)
	_, ok := root.Snapshot(name)
	require.True(t, ok)
	for key, data := range w.LegacyObjects() {
		require.Equal(t, string(data), string(got[key]), key)
	}
	require.Zero(t, w.Sink.OpenUploads())
}

// RequireLegacyReadable reads OSS as Elasticsearch 5.x reads a repository of 2.x, down to every
// byte of every successful snapshot. It returns the root, nil if there is none.
func RequireLegacyReadable(t *testing.T, objects map[string][]byte) *repository.Root {
	t.Helper()
	for key := range objects {
		class := repository.Classify(key).Class
		require.NotContains(t, []repository.Class{repository.ClassTemporary, repository.ClassUnknown}, class, key)
	}
	data, ok := objects[repository.LegacyRootKey]
	if !ok {
		return nil
	}
	read := func(key string, err error) []byte {
		require.NoError(t, err)
		require.Contains(t, objects, key, "the root needs it")
		return objects[key]
	}
	root, err := repository.ParseRoot(-1, data)
	require.NoError(t, err)
	var infos []*repository.SnapshotInfo
	for _, s := range root.Snapshots {
		info, err := repository.ParseSnapshotInfo(read(repository.SnapshotKey(s.Name)))
		require.NoError(t, err)
		infos = append(infos, info)
	}
	require.NoError(t, root.Complete(infos))
	for _, s := range root.Successful() {
		read(repository.SnapshotMetadataKey(s.Name))
		for _, index := range root.IndicesOf(s.UUID) {
			metadata, err := repository.ParseIndexMetadata(read(repository.IndexMetadataKey(index.ID, s.Name)))
			require.NoError(t, err)
			for n := range metadata.Shards {
				RequireShard(t, repository.ShardID{IndexID: index.ID, Number: n}, s.Name, read)
			}
		}
	}
	return root
}
