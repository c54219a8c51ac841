package elastictest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/internal/elastic/elastictest"
)

func newCluster(t *testing.T, version string, store *elastictest.Store) (*elastictest.Cluster, *elastic.Client) {
	t.Helper()
	cluster := elastictest.New(store)
	t.Cleanup(cluster.Close)
	cluster.Version = version
	client, err := elastic.New(elastic.Config{Endpoint: cluster.URL})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return cluster, client
}

// ask sends a request that package elastic never sends.
func ask(t *testing.T, cluster *elastictest.Cluster, method, path, body string) (status int, answer string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, cluster.URL+path, strings.NewReader(body))
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(text)
}

// Requests with a type are taken up to 7.x only, those without from 7.0 on.
func TestMappingTypes(t *testing.T) {
	const (
		typed    = "/films/film/x/_update"
		typeless = "/films/_update/x"
		bulk     = `{"update":{"_index":"films","_type":"film","_id":"x"}}` + "\n" + `{"doc":{}}` + "\n"
	)
	for version, expected := range map[string][3]int{
		"5.5.2": {404, 400, 200}, "7.10.2": {404, 404, 200}, "8.17.2": {400, 404, 400},
	} {
		cluster, client := newCluster(t, version, elastictest.NewStore())
		cluster.Create("films", 1, nil)
		for i, request := range [][2]string{{typed, `{"doc":{}}`}, {typeless, `{"doc":{}}`}, {"/_bulk", bulk}} {
			status, answer := ask(t, cluster, http.MethodPost, request[0], request[1])
			require.Equal(t, expected[i], status, "%s on %s: %s", request[0], version, answer)
		}
		blocked, err := client.ProbeWrite(t.Context(), "films", "")
		require.NoError(t, err, version)
		require.False(t, blocked)
		require.NoError(t, client.BlockWrites(t.Context(), []string{"films"}))
		blocked, err = client.ProbeWrite(t.Context(), "films", "")
		require.NoError(t, err, version)
		require.True(t, blocked)
		probes, err := client.ProbeWrites(t.Context(), []string{"films"}, elastic.ExpectBlocked)
		require.NoError(t, err, version)
		require.Equal(t, map[string]elastic.Probe{"films": {Blocked: true}}, probes)
	}
}

func TestTypesThatAreShown(t *testing.T) {
	for version, expected := range map[string]string{
		"5.5.2": `"_type":"doc"`, "7.10.2": `"_type":"_doc"`, "8.17.2": "",
	} {
		cluster, client := newCluster(t, version, elastictest.NewStore())
		cluster.Create("films", 1, nil)
		require.NoError(t, cluster.Index("films", "alien"))
		_, answer := ask(t, cluster, http.MethodPost, "/films/_search", `{"size":1}`)
		require.Contains(t, answer, `"_id":"alien"`)
		require.Contains(t, answer, expected)
		require.Equal(t, expected != "", strings.Contains(answer, "_type"), answer)
		mappings, err := client.Mappings(t.Context(), []string{"films"})
		require.NoError(t, err)
		require.Equal(t, version < "7", strings.Contains(string(mappings["films"].Raw), `"doc"`))
		sum, err := client.Checksum(t.Context(), "films", elastic.ChecksumOptions{})
		require.NoError(t, err)
		require.EqualValues(t, 1, sum.Docs)
	}
}

func TestMappingsOfNewIndices(t *testing.T) {
	typeless := json.RawMessage(`{"properties":{"title":{"type":"text"}}}`)
	typed := json.RawMessage(`{"film":{"properties":{"title":{"type":"text"}}}}`)
	for _, tt := range []struct {
		version  string
		index    elastic.NewIndex
		refusing string
	}{
		{"5.5.2", elastic.NewIndex{Mappings: typed}, ""},
		{"7.10.2", elastic.NewIndex{Mappings: typed}, "unsupported parameters"},
		{"7.10.2", elastic.NewIndex{Mappings: typed, Typed: true}, ""},
		{"7.10.2", elastic.NewIndex{Mappings: typeless}, ""},
		{"8.17.2", elastic.NewIndex{Mappings: typed}, "unsupported parameters"},
		{"8.17.2", elastic.NewIndex{Mappings: typed, Typed: true}, "unrecognized parameter: [include_type_name]"},
		{"8.17.2", elastic.NewIndex{Mappings: typeless}, ""},
	} {
		cluster, client := newCluster(t, tt.version, elastictest.NewStore())
		err := client.CreateIndex(t.Context(), "films", tt.index)
		if tt.refusing != "" {
			require.ErrorContains(t, err, tt.refusing)
			require.Equal(t, elastic.Invalid, elastic.KindOf(err))
			require.False(t, cluster.Has("films"))
			continue
		}
		require.NoError(t, err)
		const tiers = "index.routing.allocation.include._tier_preference"
		require.Equal(t, tt.version >= "8", cluster.Setting("films", tiers) == "data_content")
	}
}

// 8.x restores no index that was created before 7.0, and calls it a snapshot of that version.
func TestOldIndicesAreNotRestored(t *testing.T) {
	store := elastictest.NewStore()
	source, from := newCluster(t, "7.10.2", store)
	source.Create("old", 1, map[string]string{"index.version.created": "6082399"})
	source.Create("new", 1, map[string]string{"index.version.created": "7100299"})
	repository := elastic.Repository{Type: "s3", Settings: map[string]any{"base_path": "b"}}
	require.NoError(t, from.PutRepository(t.Context(), "r", repository))
	require.NoError(t, from.CreateSnapshot(t.Context(), "r", "s", []string{"new", "old"}))
	target, to := newCluster(t, "8.17.2", store)
	require.NoError(t, to.PutRepository(t.Context(), "r", repository))
	err := to.Restore(t.Context(), "r", "s", elastic.RestoreOptions{Indices: []string{"new", "old"}})
	require.ErrorContains(t, err, "created with Elasticsearch version [6.8.23] which is below the current versions "+
		"minimum index compatibility version [7.0.0]")
	require.Equal(t, elastic.Rejected, elastic.KindOf(err))
	require.False(t, target.Has("new"), "all or nothing")
	require.NoError(t, to.Restore(t.Context(), "r", "s", elastic.RestoreOptions{Indices: []string{"new"}}))
	require.True(t, target.Has("new"))
}
