package elastic_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// scrollServer holds documents and serves them by sliced scrolls.
type scrollServer struct {
	version   string
	documents []map[string]any
	window    int  // index.max_result_window, if set
	losePage  bool // answers one page as if it were the end
	failShard bool
	lapse     bool // forgets every scroll

	mu      sync.Mutex
	open    map[string][]map[string]any
	sizes   map[string]int
	started []map[string]any // bodies of first requests
	cleared int
	pages   int
}

func (s *scrollServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var body map[string]any
	_ = json.NewDecoder(r.Body).Decode(&body)
	switch r.Method + " " + r.URL.Path {
	case "GET /":
		fmt.Fprintf(w, `{"version":{"number":%q},"tagline":"You Know, for Search"}`, s.version)
	case "GET /a/_settings":
		window := ""
		if s.window > 0 {
			window = fmt.Sprintf(`,"index.max_result_window":"%d"`, s.window)
		}
		fmt.Fprintf(w, `{"a":{"settings":{"index.number_of_shards":"3"%s}}}`, window)
	case "POST /a/_count":
		fmt.Fprintf(w, `{"count":%d,"_shards":{"total":3,"successful":3,"failed":0}}`, len(s.documents))
	case "POST /a/_search":
		s.started = append(s.started, body)
		id, most := 0, 1
		if slice, ok := body["slice"].(map[string]any); ok {
			id, most = int(slice["id"].(float64)), int(slice["max"].(float64))
		}
		var hits []map[string]any
		for i, document := range s.documents {
			if i%most == id {
				hits = append(hits, document)
			}
		}
		if s.window > 0 && body["size"].(float64) > float64(s.window) {
			w.WriteHeader(500)
			fmt.Fprint(w,
				`{"error":{"root_cause":[{"type":"query_phase_execution_exception","reason":"Batch size is too large"}],"type":"search_phase_execution_exception","reason":"all shards failed"},"status":500}`)
			return
		}
		scroll := "scroll-" + strconv.Itoa(len(s.started))
		s.open[scroll], s.sizes[scroll] = hits, int(body["size"].(float64))
		s.page(w, scroll, len(hits))
	case "POST /_search/scroll":
		if s.lapse {
			w.WriteHeader(404)
			fmt.Fprint(w,
				`{"error":{"root_cause":[{"type":"search_context_missing_exception","reason":"No search context found for id [1]"}],"type":"search_phase_execution_exception","reason":"all shards failed"},"status":404}`)
			return
		}
		s.page(w, body["scroll_id"].(string), -1)
	case "DELETE /_search/scroll":
		for _, id := range body["scroll_id"].([]any) {
			delete(s.open, id.(string))
			s.cleared++
		}
		fmt.Fprint(w, `{"succeeded":true}`)
	default:
		w.WriteHeader(500)
	}
}

func (s *scrollServer) page(w http.ResponseWriter, scroll string, total int) {
	hits, size := s.open[scroll], s.sizes[scroll]
	n := min(size, len(hits))
	page, rest := hits[:n], hits[n:]
	s.pages++
	if s.losePage && s.pages > 2 {
		page = nil
	}
	s.open[scroll] = rest
	answer := map[string]any{
		"_scroll_id": scroll, "timed_out": false,
		"_shards": map[string]int{"total": 3, "successful": 3, "failed": 0},
	}
	if s.failShard {
		answer["_shards"] = map[string]int{"total": 3, "successful": 2, "failed": 1}
	}
	inner := map[string]any{"hits": page}
	if total >= 0 {
		inner["total"] = total
		if s.version[0] >= '7' {
			inner["total"] = map[string]any{"value": total, "relation": "eq"}
		}
	}
	answer["hits"] = inner
	_ = json.NewEncoder(w).Encode(answer)
}

func documents(n int) []map[string]any {
	var all []map[string]any
	for i := range n {
		document := map[string]any{"_type": "film", "_id": fmt.Sprintf("m%d", i), "_version": i%3 + 1}
		if i%5 == 0 {
			document["_routing"] = "r"
		}
		all = append(all, document)
	}
	return all
}

func checksum(t *testing.T, server *scrollServer, options elastic.ChecksumOptions) (elastic.Checksum, error) {
	t.Helper()
	return checksumCtx(t, t.Context(), server, options)
}

func checksumCtx(t *testing.T, ctx context.Context, server *scrollServer,
	options elastic.ChecksumOptions,
) (elastic.Checksum, error) {
	t.Helper()
	server.open, server.sizes = map[string][]map[string]any{}, map[string]int{}
	listener := httptest.NewServer(server)
	defer listener.Close()
	client, err := elastic.New(elastic.Config{Endpoint: listener.URL})
	require.NoError(t, err)
	defer client.Close()
	return client.Checksum(ctx, "a", options)
}

func TestChecksumPagesFitIntoTheResultWindow(t *testing.T) {
	for _, version := range []string{"2.4.6", "5.5.2", "7.10.2"} {
		for _, options := range []elastic.ChecksumOptions{{}, {PageSize: 500}, {PageSize: 50}, {Slices: 2}} {
			sum, err := checksum(t, &scrollServer{version: version, documents: documents(1000), window: 100}, options)
			require.NoError(t, err)
			assert.EqualValues(t, 1000, sum.Docs)
		}
	}
}

func TestChecksumDependsOnDocumentsOnly(t *testing.T) {
	want, err := checksum(t, &scrollServer{version: "5.5.2", documents: documents(1000)}, elastic.ChecksumOptions{})
	require.NoError(t, err)
	assert.EqualValues(t, 1000, want.Docs)

	for name, c := range map[string]struct {
		version string
		options elastic.ChecksumOptions
		slices  int
	}{
		"one slice":    {"5.5.2", elastic.ChecksumOptions{Slices: 1}, 1},
		"many slices":  {"5.5.2", elastic.ChecksumOptions{Slices: 7, PageSize: 10}, 7},
		"2.x":          {"2.4.6", elastic.ChecksumOptions{Slices: 7, PageSize: 100}, 1},
		"6.x":          {"6.8.23", elastic.ChecksumOptions{PageSize: 100}, 3},
		"7.x":          {"7.10.2", elastic.ChecksumOptions{PageSize: 1000}, 3},
		"a full page":  {"5.5.2", elastic.ChecksumOptions{Slices: 1, PageSize: 500}, 1},
		"beyond a cap": {"5.5.2", elastic.ChecksumOptions{Slices: 20}, 20},
	} {
		t.Run(name, func(t *testing.T) {
			backwards := documents(1000)
			for i, j := 0, len(backwards)-1; i < j; i, j = i+1, j-1 {
				backwards[i], backwards[j] = backwards[j], backwards[i]
			}
			server := &scrollServer{version: c.version, documents: backwards}
			got, err := checksum(t, server, c.options)
			require.NoError(t, err)
			assert.Equal(t, want, got)
			assert.Len(t, server.started, c.slices)
			assert.Equal(t, c.slices, server.cleared)
			assert.Empty(t, server.open)
			for _, body := range server.started {
				_, sliced := body["slice"]
				assert.Equal(t, c.slices > 1, sliced)
				_, tracks := body["track_total_hits"]
				assert.Equal(t, c.version[0] == '7', tracks, "5.x refuses track_total_hits")
				assert.Equal(t, false, body["_source"])
				assert.Equal(t, true, body["version"])
				assert.Equal(t, []any{"_doc"}, body["sort"])
			}
		})
	}
}

func TestChecksumSeesEveryDifference(t *testing.T) {
	want, err := checksum(t, &scrollServer{version: "5.5.2", documents: documents(50)}, elastic.ChecksumOptions{})
	require.NoError(t, err)
	for name, change := range map[string]func([]map[string]any) []map[string]any{
		"missing": func(d []map[string]any) []map[string]any { return d[1:] },
		"extra": func(d []map[string]any) []map[string]any {
			return append(d, map[string]any{"_type": "film", "_id": "new", "_version": 1})
		},
		"stale":         func(d []map[string]any) []map[string]any { d[7]["_version"] = 9; return d },
		"other routing": func(d []map[string]any) []map[string]any { d[7]["_routing"] = "x"; return d },
		"other parent":  func(d []map[string]any) []map[string]any { d[7]["_parent"] = "x"; return d },
		"other type":    func(d []map[string]any) []map[string]any { d[7]["_type"] = "actor"; return d },
		"fields run on": func(d []map[string]any) []map[string]any {
			d[7]["_type"], d[7]["_id"] = "filmm",
				"7"
			return d
		},
		"swapped with a pair of duplicates": func(d []map[string]any) []map[string]any {
			return append(d, map[string]any{"_type": "film", "_id": "x", "_version": 1},
				map[string]any{"_type": "film", "_id": "x", "_version": 1})
		},
	} {
		got, err := checksum(t, &scrollServer{version: "5.5.2", documents: change(documents(50))},
			elastic.ChecksumOptions{})
		require.NoError(t, err)
		assert.NotEqual(t, want, got, name)
	}
	typed, err := checksum(t, &scrollServer{version: "6.8.23", documents: documents(50)},
		elastic.ChecksumOptions{IgnoreTypes: true})
	require.NoError(t, err)
	untyped := documents(50)
	for _, document := range untyped {
		document["_type"] = "_doc"
	}
	got, err := checksum(t, &scrollServer{version: "7.10.2", documents: untyped},
		elastic.ChecksumOptions{IgnoreTypes: true})
	require.NoError(t, err)
	assert.Equal(t, typed, got)
}

func TestChecksumFailsRatherThanMissDocuments(t *testing.T) {
	for name, server := range map[string]*scrollServer{
		"a lost page":    {losePage: true},
		"a failed shard": {failShard: true},
		"a lapsed one":   {lapse: true},
	} {
		server.version, server.documents = "5.5.2", documents(300)
		_, err := checksum(t, server, elastic.ChecksumOptions{Slices: 1, PageSize: 20})
		assert.Equal(t, elastic.Unavailable, elastic.KindOf(err), "%s: %v", name, err)
		assert.Empty(t, server.open, "%s: scrolls are cleared", name)
	}
}

func TestChecksumReportsProgressAndStopsWhenCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	server := &scrollServer{version: "5.5.2", documents: documents(300)}
	var seen []int64
	_, err := checksumCtx(t, ctx, server, elastic.ChecksumOptions{Slices: 1, PageSize: 20, Progress: func(docs int64) {
		if seen = append(seen, docs); docs >= 60 {
			cancel()
		}
	}})
	assert.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, []int64{20, 40, 60}, seen)
	assert.Empty(t, server.open, "the scroll is cleared anyway")
}

func TestChecksumOfAnEmptyIndexAsksForNoSlices(t *testing.T) {
	server := &scrollServer{version: "5.5.2"}
	got, err := checksum(t, server, elastic.ChecksumOptions{})
	require.NoError(t, err)
	assert.Equal(t, elastic.Checksum{}, got)
	assert.Empty(t, server.started)
}
