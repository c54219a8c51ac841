package elastic_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/elastic"
)

func TestColdIndicesComeInPages(t *testing.T) {
	pages := []answer{
		ok(`{"pagination_id":"p/1","total_results":3,"indices":[{"index":"logs-2","size":1},{"index":"logs-3"}]}`),
		ok(`{"pagination_id":"p/2","total_results":3,"indices":[{"index":"a"}]}`),
	}
	const line = "GET /_cold/indices/_search?page_size=100"
	fake, client := newFake(t, "7.10.2", map[string]answer{line: pages[0]})
	asked := 0
	fake.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/_cold/indices/_search" {
			fake.mu.Lock()
			fake.answers[line] = pages[asked]
			fake.mu.Unlock()
			asked++
		}
		fake.ServeHTTP(w, r)
	})
	names, err := client.ColdIndices(context.Background())
	require.NoError(t, err)
	require.Equal(t, []string{"a", "logs-2", "logs-3"}, names)
	require.Equal(t, 2, asked)
	require.Equal(t, sent{line: line, body: `{"pagination_id":"p/1"}`}.body, fake.last().body)
}

// What has no cold storage has no cold indices. What can't tell is an error.
func TestColdIndicesWhereThereAreNone(t *testing.T) {
	for version, says := range map[string]answer{
		"7.10.2": {400, `{"error":{"type":"invalid_index_name_exception","reason":"Invalid index name [_cold], must ` +
			`not start with '_'."},"status":400}`},
		"7.10.0": {404, `{"error":{"type":"index_not_found_exception","reason":"no such index [_cold]"},"status":404}`},
		"7.9.0":  {401, `{"Message":"Your request: '/_cold/indices/_search' is not allowed."}`},
		"8.17.2": {400, `{"error":"no handler found for uri [/_cold/indices/_search] and method [GET]"}`},
		"7.9.1":  ok(`{"total_results":0,"indices":[]}`),
	} {
		fake, client := newFake(t, version, map[string]answer{"GET /_cold/indices/_search": says})
		names, err := client.ColdIndices(context.Background())
		require.NoError(t, err, version)
		require.Empty(t, names)
		require.Contains(t, fake.last().line, "_cold", version)
	}
	fake, client := newFake(t, "7.8.0", map[string]answer{})
	names, err := client.ColdIndices(context.Background())
	require.NoError(t, err)
	require.Empty(t, names)
	require.Equal(t, "GET /", fake.last().line, "an old domain is not asked")

	_, client = newFake(t, "7.10.2", map[string]answer{"GET /_cold/indices/_search": {403, `{"Message":"no"}`}})
	_, err = client.ColdIndices(context.Background())
	require.Equal(t, elastic.Unauthorized, elastic.KindOf(err))
	require.ErrorContains(t, err, "list the indices in cold storage")
}

func TestWarmIndices(t *testing.T) {
	warm := elastic.Index{Settings: map[string]string{"index.routing.allocation.require.box_type": "warm"}}
	for number, is := range map[string]bool{"6.8.0": true, "7.10.2": true, "6.7.2": false, "5.5.2": false} {
		version, err := elastic.ParseVersion(number)
		require.NoError(t, err)
		require.Equal(t, is, warm.Warm(version), number)
		require.False(t, elastic.Index{}.Warm(version))
	}
	require.Equal(t, "POST /_ultrawarm/migration/a%25%2B/_hot", elastic.MakeWarmHot("a%+"))
}
