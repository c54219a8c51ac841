//go:build lab

package lab

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/osstest"
	"github.com/snapferry/snapferry/lab/cluster"
)

// Every version that the lab can start snapshots to both repository types and restores from them
// read-only, as a target would; after 5.5.2 the next major version reads what it wrote.
func TestVersions(t *testing.T) {
	for _, version := range []string{"2.4.6", "5.5.2", "5.5.3", "5.6.16", "6.8.23", "7.10.2", "7.17.28", "8.17.2"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			withNode(t, dir, version, func(l *Lab, c *cluster.Client) {
				require.NoError(t, l.OSS.Server.CreateBucket(l.OSS.Bucket, osstest.BucketOptions{}))
				for _, repo := range []string{"s3", "oss"} {
					require.NoError(t, c.Do(t.Context(), http.MethodPut, "/_snapshot/"+repo,
						repositoryBody(l, repo, false), nil))
				}
				writeSnapshots(t, c)
				restoreBoth(t, l, c, 30)
			})
			if version != "5.5.2" {
				return
			}
			require.NoError(t, os.RemoveAll(filepath.Join(dir, string(PartSource))))
			withNode(t, dir, "6.8.23", func(l *Lab, c *cluster.Client) { restoreBoth(t, l, c, 30) })
		})
	}
}

func withNode(t *testing.T, dir, version string, try func(*Lab, *cluster.Client)) {
	l, err := Start(t.Context(), Options{
		Dir: dir, Out: t.Output(), SourceVersion: version,
		Parts: []Part{PartS3, PartOSS, PartSource},
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	c := &cluster.Client{URL: l.Source.DirectURL, HTTP: &http.Client{Transport: loopback}}
	have, err := c.Version(t.Context())
	require.NoError(t, err)
	assert.Equal(t, version, have)
	try(l, c)
}

func repositoryBody(l *Lab, kind string, readonly bool) map[string]any {
	settings := map[string]any{"base_path": "versions/" + kind, "readonly": readonly}
	if kind == "s3" {
		settings["bucket"] = l.S3.Bucket
	} else {
		settings["bucket"], settings["endpoint"] = l.OSS.Bucket, l.OSS.Endpoint
		settings["access_key_id"], settings["secret_access_key"] = l.OSS.CopierKey.ID, l.OSS.CopierKey.Secret
	}
	return map[string]any{"type": kind, "settings": settings}
}

// writeSnapshots takes two snapshots to each repository and deletes the older one, whose blobs the
// newer one shares.
func writeSnapshots(t *testing.T, c *cluster.Client) {
	t.Helper()
	require.NoError(t, c.Do(t.Context(), http.MethodPut, "/movies",
		`{"settings":{"number_of_shards":2,"number_of_replicas":0}}`, nil))
	docType := "doc"
	typeless, err := c.Typeless(t.Context())
	require.NoError(t, err)
	if typeless {
		docType = ""
	}
	for round := range 2 {
		documents := make([]cluster.Document, 15)
		for i := range documents {
			documents[i] = cluster.Document{ID: fmt.Sprint(round*15 + i), Source: map[string]int{"title": i}}
		}
		require.NoError(t, c.Bulk(t.Context(), "movies", docType, documents))
		require.NoError(t, c.Refresh(t.Context(), "movies"))
		for _, repo := range []string{"s3", "oss"} {
			var answer struct{ Snapshot struct{ State string } }
			path := fmt.Sprintf("/_snapshot/%s/round%d?wait_for_completion=true", repo, round)
			require.NoError(t, c.Do(t.Context(), http.MethodPut, path,
				`{"indices":"movies","include_global_state":false}`, &answer))
			require.Equal(t, "SUCCESS", answer.Snapshot.State)
		}
	}
	for _, repo := range []string{"s3", "oss"} {
		require.NoError(t, c.Do(t.Context(), http.MethodDelete, "/_snapshot/"+repo+"/round0", nil, nil))
		require.NoError(t, c.Do(t.Context(), http.MethodDelete, "/_snapshot/"+repo, nil, nil))
	}
}

func restoreBoth(t *testing.T, l *Lab, c *cluster.Client, docs int) {
	t.Helper()
	for _, repo := range []string{"s3", "oss"} {
		require.NoError(t, c.Do(t.Context(), http.MethodPut, "/_snapshot/"+repo+"-read", repositoryBody(l, repo, true),
			nil))
		body := map[string]any{
			"indices": "movies", "rename_pattern": "(.+)", "rename_replacement": "$1-" + repo,
			"include_global_state": false,
		}
		require.NoError(t, c.Do(t.Context(), http.MethodPost, "/_snapshot/"+repo+
			"-read/round1/_restore?wait_for_completion=true", body, nil))
		var count struct{ Count int }
		require.NoError(t, c.Do(t.Context(), http.MethodGet, "/"+url.PathEscape("movies-"+repo)+"/_count", nil, &count))
		assert.Equal(t, docs, count.Count, repo)
	}
}
