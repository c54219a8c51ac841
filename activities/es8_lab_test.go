//go:build lab

package activities

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/internal/osstest"
	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/lab/cluster"
	"github.com/snapferry/snapferry/migration"
)

// What other tests find out on a pair of nodes each, on one pair whose target is 8.x.
func TestLabElasticsearch8(t *testing.T) {
	const from, to = "7.10.2", "8.17.2"
	l, err := lab.Start(t.Context(), lab.Options{
		Dir: t.TempDir(), Out: os.Stderr, SourceVersion: from, TargetVersion: to,
		Parts:          []lab.Part{lab.PartS3, lab.PartOSS, lab.PartSource, lab.PartTarget},
		SourceSettings: labPlugins,
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	require.NoError(t, l.OSS.Server.CreateBucket(l.OSS.Bucket, osstest.BucketOptions{}))
	for _, test := range []struct {
		name string
		do   func(t *testing.T)
	}{
		{"handover", func(t *testing.T) { handsOverOnNodes(t, l, to, nil) }},
		{"aliases", func(t *testing.T) { clearOnNodes(t, rigOf(t, l), l.Source.Direct(), l.Target.Direct()) }},
		{"definitions", func(t *testing.T) { tryOnNodes(t, rigOf(t, l), l.Source.Direct(), l.Target.Direct(), from) }},
		{"a field that is not known", func(t *testing.T) { lacksAFieldType(t, rigOf(t, l)) }},
		{"OSS refuses", func(t *testing.T) { ossRefusesOnNodes(t, l) }},
		{"an index of 6.8", func(t *testing.T) { refusesOldIndices(t, rigOf(t, l)) }},
		{"evidence", func(t *testing.T) {
			v := verifyLabOf(t, l, slices.Concat(scanned, beyond, filed)...)
			evidenceOn(v, from).findsEverything(from, to)
		}},
	} {
		t.Run(test.name, test.do)
		emptied(t, l.Source.Direct())
		emptied(t, l.Target.Direct())
	}
}

// emptied leaves nothing on a cluster that a test has made there.
func emptied(t *testing.T, c *cluster.Client) {
	t.Helper()
	ctx := t.Context()
	var indices, repositories map[string]any
	require.NoError(t, c.Do(ctx, http.MethodGet, "/_all/_settings?expand_wildcards=all", nil, &indices))
	client, err := elastic.New(elastic.Config{Endpoint: c.URL})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	if len(indices) > 0 {
		require.NoError(t, client.DeleteIndices(ctx, slices.Sorted(maps.Keys(indices))))
	}
	require.NoError(t, c.Do(ctx, http.MethodGet, "/_snapshot", nil, &repositories))
	for name := range repositories {
		require.NoError(t, client.DeleteRepository(ctx, name))
	}
	require.NoError(t, client.PutClusterSettings(ctx, map[string]any{"cluster.max_shards_per_node": nil}, nil))
}

// lacksAFieldType has the target name a field type that no node knows, in words that TryDefinitions
// understands.
func lacksAFieldType(t *testing.T, r *labRig) {
	err := r.client(onTarget).CreateIndex(t.Context(), "hashed", elastic.NewIndex{
		Mappings: []byte(`{"properties":{"hash":{"type":"murmur3"}}}`),
	})
	require.Equal(t, elastic.Invalid, elastic.KindOf(err))
	found := unknownField.FindStringSubmatch(err.Error())
	require.Equal(t, []string{"murmur3", "hash"}, found[1:], "%v", err)
}

// refusesOldIndices has an index on the source that came from a 6.8 cluster, by a snapshot. Preflight
// says what 8.x does.
func refusesOldIndices(t *testing.T, r *labRig) {
	source := r.lab.Source.Direct()
	unpack(t, "../internal/repository/testdata/6.8.23-plain.tar.gz", filepath.Join(r.lab.Dir, "source", "repo"))
	r.ask(source, http.MethodPut, "/_snapshot/old", map[string]any{"type": "fs", "settings": map[string]any{
		"location": filepath.Join(r.lab.Dir, "source", "repo"), "readonly": true,
	}})
	var listed struct {
		Snapshots []struct {
			Snapshot string
			Indices  []string
		}
	}
	require.NoError(t, source.Do(t.Context(), http.MethodGet, "/_snapshot/old/_all", nil, &listed))
	require.NotEmpty(t, listed.Snapshots)
	snapshot := listed.Snapshots[0]
	r.ask(source, http.MethodPost, "/_snapshot/old/"+snapshot.Snapshot+"/_restore?wait_for_completion=true",
		map[string]any{"indices": snapshot.Indices[0], "include_global_state": false, "index_settings": map[string]any{
			numberOfReplicas: 0,
		}})
	r.ask(source, http.MethodDelete, "/_snapshot/old", nil)
	old := snapshot.Indices[0]
	rule := "index " + old + " was created by Elasticsearch 6.8.23, and 8.17.2 holds only indices created by 7.0 or " +
		"later"
	labRefused(r, migration.ErrorPreflight, rule, r.activities.Preflight, r.run)

	labMust[any](r, r.activities.RegisterRepositories, r.run)
	indices := labMust[migration.IndexList](r, r.activities.ResolveIndices, migration.ResolveRequest{Run: r.run}).Inline
	taken := labMust[migration.Snapshot](r, r.activities.TakeSnapshot,
		migration.SnapshotRequest{Run: r.run, Snapshot: "left-r0000-a1", Indices: []string{old}})
	labMust[migration.CopyResult](r, copierAlone().CopySnapshot,
		migration.CopyRequest{Run: r.run, Snapshot: taken, BaseGeneration: -1})
	labRefused(r, migration.ErrorRefused, "below the current versions minimum index compatibility version [7.0.0]",
		r.activities.RestoreSnapshot, migration.RestoreRequest{Run: r.run, Snapshot: taken, Indices: indices})
}

// unpack writes the files of an archive below a folder.
func unpack(t *testing.T, archive, folder string) {
	t.Helper()
	file, err := os.Open(archive)
	require.NoError(t, err)
	defer file.Close()
	zipped, err := gzip.NewReader(file)
	require.NoError(t, err)
	for files := tar.NewReader(zipped); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err)
		path := filepath.Join(folder, filepath.FromSlash(header.Name))
		if header.FileInfo().IsDir() {
			require.NoError(t, os.MkdirAll(path, 0o755))
			continue
		}
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		content, err := io.ReadAll(files)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, content, 0o644))
	}
}
