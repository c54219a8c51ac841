package elastic_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// scrollServer holds documents in three shards and serves them by searches and scrolls.
type scrollServer struct {
	version   string
	documents []map[string]any
	window    int  // index.max_result_window, if set
	losePage  bool // answers one page as if it were the end
	failShard bool
	lapse     bool // forgets every scroll
	deaf      bool // doesn't honour preference
	allowed   int  // scroll contexts that may be open; any number if 0
	others    int  // contexts of somebody else that count, too
	longest   string
	during    func() // runs in each first request of a scroll, before its answer

	mu      sync.Mutex
	open    map[string][]map[string]any
	sizes   map[string]int
	most    int              // contexts that were open at the same time
	refused int              // first requests that found no context left
	started []map[string]any // bodies of first requests
	paths   []string         // of first requests, with what they prefer
	cleared int
	pages   int
}

const scrollShards = 3

func (s *scrollServer) of(path string, shard int) []map[string]any {
	var found []map[string]any
	for i, document := range s.documents {
		if shard >= 0 && i%scrollShards != shard {
			continue
		}
		// As 2.x does; later versions hide nothing.
		if percolator := document["_type"] == ".percolator"; s.version[0] != '2' ||
			percolator == strings.Contains(path, "/.percolator/") {
			found = append(found, document)
		}
	}
	return found
}

func (s *scrollServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var body map[string]any
	_ = json.NewDecoder(r.Body).Decode(&body)
	refuse := func(status int, exception, reason string) {
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"error":{"root_cause":[{"type":%q,"reason":%q}],"type":"search_phase_execution_exception",`+
			`"reason":"all shards failed","caused_by":{"type":%q,"reason":%q}},"status":%d}`, exception, reason,
			exception, reason, status)
	}
	switch r.Method + " " + strings.ReplaceAll(r.URL.Path, "/.percolator", "") {
	case "GET /":
		fmt.Fprintf(w, `{"version":{"number":%q},"tagline":"You Know, for Search"}`, s.version)
	case "GET /a/_mapping":
		types := map[string]any{}
		for _, document := range s.documents {
			types[document["_type"].(string)] = map[string]any{}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"a": map[string]any{"mappings": types}})
	case "GET /a/_settings":
		window := ""
		if s.window > 0 {
			window = fmt.Sprintf(`,"index.max_result_window":"%d"`, s.window)
		}
		fmt.Fprintf(w, `{"a":{"settings":{"index.number_of_shards":"3","index.max_slices_per_scroll":"1"%s}}}`, window)
	case "POST /a/_count":
		fmt.Fprintf(w, `{"count":%d,"_shards":{"total":3,"successful":3,"failed":0}}`, len(s.of(r.URL.Path, -1)))
	case "POST /a/_search":
		size := int(body["size"].(float64))
		if s.window > 0 && size > s.window {
			refuse(500, "query_phase_execution_exception", "Batch size is too large")
			return
		}
		if slice, ok := body["slice"].(map[string]any); ok { // index.max_slices_per_scroll is 1
			refuse(500, "query_phase_execution_exception", fmt.Sprintf("The number of slices [%v] is too large. It "+
				"must be less than [1]. This limit can be set by changing the [index.max_slices_per_scroll] index "+
				"level setting.", slice["max"]))
			return
		}
		shard, answering := -1, scrollShards
		if n, ok := strings.CutPrefix(r.URL.Query().Get("preference"), "_shards:"); ok && !s.deaf {
			shard, _ = strconv.Atoi(n)
			answering = 1
		}
		hits := s.of(r.URL.Path, shard)
		s.started = append(s.started, body)
		s.paths = append(s.paths, r.URL.Path+" "+r.URL.Query().Get("preference"))
		if r.URL.Query().Get("scroll") == "" {
			s.pages++
			s.answer(w, "", hits[:min(size, len(hits))], len(hits), answering)
			return
		}
		if s.longest != "" && r.URL.Query().Get("scroll") == "300000ms" {
			refuse(400, "illegal_argument_exception", "Keep alive for scroll (5m) is too large. It must be less than ("+
				s.longest+"). This limit can be set by changing the [search.max_keep_alive] cluster level setting.")
			return
		}
		if s.allowed > 0 && len(s.open)+s.others+answering > s.allowed {
			s.refused++
			refuse(500, "exception", fmt.Sprintf("Trying to create too many scroll contexts. Must be less than or "+
				"equal to: [%d]. This limit can be set by changing the [search.max_open_scroll_context] setting.",
				s.allowed))
			return
		}
		scroll := "scroll-" + strconv.Itoa(len(s.started))
		s.open[scroll], s.sizes[scroll] = hits, size
		s.most = max(s.most, len(s.open))
		if s.during != nil {
			s.during()
		}
		s.page(w, scroll, len(hits), answering)
	case "POST /_search/scroll":
		if s.lapse {
			refuse(404, "search_context_missing_exception", "No search context found for id [1]")
			return
		}
		s.page(w, body["scroll_id"].(string), -1, 1)
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

func (s *scrollServer) page(w http.ResponseWriter, scroll string, total, answering int) {
	hits, size := s.open[scroll], s.sizes[scroll]
	n := min(size, len(hits))
	page, rest := hits[:n], hits[n:]
	s.pages++
	if s.losePage && s.pages > 2 {
		page = nil
	}
	s.open[scroll] = rest
	s.answer(w, scroll, page, total, answering)
}

func (s *scrollServer) answer(w http.ResponseWriter, scroll string, page []map[string]any, total, answering int) {
	answer := map[string]any{
		"timed_out": false,
		"_shards":   map[string]int{"total": answering, "successful": answering, "failed": 0},
	}
	if scroll != "" {
		answer["_scroll_id"] = scroll
	}
	if s.failShard {
		answer["_shards"] = map[string]int{"total": answering, "successful": answering - 1, "failed": 1}
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
	if options.Sleep == nil {
		options.Sleep = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	}
	listener := httptest.NewServer(server)
	defer listener.Close()
	client, err := elastic.New(elastic.Config{Endpoint: listener.URL})
	require.NoError(t, err)
	defer client.Close()
	return client.Checksum(ctx, "a", options)
}

func TestChecksumPagesFitIntoTheResultWindow(t *testing.T) {
	for _, version := range []string{"2.4.6", "5.5.2", "7.10.2"} {
		for _, options := range []elastic.ChecksumOptions{
			{},
			{PageSize: 500},
			{PageSize: 50},
			{AtOnce: 2},
			{ShardDocs: []int64{334, 333, 333}},
		} {
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
		reads   int // searches, of which each but the plain ones opens a scroll
		plain   bool
	}{
		"one at a time": {"5.5.2", elastic.ChecksumOptions{AtOnce: 1}, 3, false},
		"small pages":   {"5.5.2", elastic.ChecksumOptions{AtOnce: 7, PageSize: 10}, 3, false},
		"2.x":           {"2.4.6", elastic.ChecksumOptions{PageSize: 100}, 3, false},
		"6.x":           {"6.8.23", elastic.ChecksumOptions{PageSize: 100}, 3, false},
		"7.x":           {"7.10.2", elastic.ChecksumOptions{PageSize: 1000}, 3, false},
		"small shards":  {"7.10.2", elastic.ChecksumOptions{PageSize: 500, ShardDocs: []int64{334, 333, 333}}, 3, true},
		"a small index": {
			"6.8.23",
			elastic.ChecksumOptions{PageSize: 1000, ShardDocs: []int64{334, 333, 333}},
			1,
			true,
		},
		"settings that are known": {"5.5.2", elastic.ChecksumOptions{
			Settings: map[string]string{"index.number_of_shards": "3", "index.max_result_window": "20"},
		}, 3, false},
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
			assert.Len(t, server.started, c.reads)
			if c.plain {
				assert.Zero(t, server.cleared)
				assert.Equal(t, c.reads, server.pages)
			} else {
				assert.Equal(t, c.reads, server.cleared)
			}
			assert.Empty(t, server.open)
			for _, body := range server.started {
				assert.NotContains(t, body, "slice", "index.max_slices_per_scroll is 1")
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
	for way, options := range map[string]elastic.ChecksumOptions{
		"scrolls": {PageSize: 10}, "a page a shard": {PageSize: 20, ShardDocs: []int64{17, 17, 16}},
		"one page": {ShardDocs: []int64{17, 17, 16}},
	} {
		t.Run(way, func(t *testing.T) { seesEveryDifference(t, options) })
	}
}

func seesEveryDifference(t *testing.T, options elastic.ChecksumOptions) {
	t.Helper()
	want, err := checksum(t, &scrollServer{version: "5.5.2", documents: documents(50)}, options)
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
		got, err := checksum(t, &scrollServer{version: "5.5.2", documents: change(documents(50))}, options)
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
		_, err := checksum(t, server, elastic.ChecksumOptions{AtOnce: 1, PageSize: 20})
		assert.Equal(t, elastic.Unavailable, elastic.KindOf(err), "%s: %v", name, err)
		assert.Empty(t, server.open, "%s: scrolls are cleared", name)
	}
	_, err := checksum(t, &scrollServer{version: "7.10.2", documents: documents(300), deaf: true},
		elastic.ChecksumOptions{})
	assert.Equal(t, elastic.NotSupported, elastic.KindOf(err), "%v", err)
	assert.ErrorContains(t, err, "3 shards answered a search of shard")
	_, err = checksum(t, &scrollServer{version: "7.10.2", documents: documents(300)},
		elastic.ChecksumOptions{PageSize: 100, ShardDocs: []int64{30, 30, 30}})
	assert.Equal(t, elastic.Unavailable, elastic.KindOf(err), "more documents than were counted: %v", err)
}

func TestChecksumReportsProgressAndStopsWhenCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	server := &scrollServer{version: "5.5.2", documents: documents(300)}
	var seen []int64
	_, err := checksumCtx(t, ctx, server, elastic.ChecksumOptions{AtOnce: 1, PageSize: 20, Progress: func(docs int64) {
		if seen = append(seen, docs); docs >= 60 {
			cancel()
		}
	}})
	assert.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, []int64{20, 40, 60}, seen)
	assert.Empty(t, server.open, "the scroll is cleared anyway")
}

// An answer that nobody waits for leaves its contexts open for minutes.
func TestChecksumClearsAScrollThatWasCancelledWhileItBegan(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	server := &scrollServer{version: "5.5.2", documents: documents(300), during: cancel}
	_, err := checksumCtx(t, ctx, server, elastic.ChecksumOptions{AtOnce: 1, PageSize: 20})
	assert.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, 1, server.cleared)
	assert.Empty(t, server.open)
}

func TestChecksumOfAnEmptyIndexReadsNothing(t *testing.T) {
	server := &scrollServer{version: "5.5.2"}
	got, err := checksum(t, server, elastic.ChecksumOptions{})
	require.NoError(t, err)
	assert.Equal(t, elastic.Checksum{}, got)
	assert.Empty(t, server.started)
}

// On 2.x a search that names no type finds no percolator queries, on 5.x it does: the two agree.
func TestChecksumReadsThePercolatorsOf2x(t *testing.T) {
	with := documents(300)
	for i := range 7 {
		with = append(with, map[string]any{"_type": ".percolator", "_id": strconv.Itoa(i), "_version": 1})
	}
	read := func(version string, documents []map[string]any) (elastic.Checksum, *scrollServer) {
		server := &scrollServer{version: version, documents: documents}
		sum, err := checksum(t, server, elastic.ChecksumOptions{PageSize: 20})
		require.NoError(t, err)
		require.Empty(t, server.open)
		return sum, server
	}
	five, _ := read("5.5.3", with)
	two, server := read("2.4.6", with)
	require.EqualValues(t, 307, two.Docs)
	require.Equal(t, five, two)
	require.Contains(t, server.paths, "/a/.percolator/_search _shards:0")
	without, server := read("2.4.6", documents(300))
	require.Len(t, server.started, 3)
	require.NotEqual(t, two, without)
	lost, _ := read("2.4.6", with[:306])
	require.NotEqual(t, two, lost, "one query is missing")
	with[306]["_version"] = 2
	stale, _ := read("2.4.6", with)
	require.NotEqual(t, two, stale, "one query is another")
}

// A cluster that has few contexts is asked for fewer, and then gives the same checksum.
func TestChecksumMakesDoWithFewScrollContexts(t *testing.T) {
	want, err := checksum(t, &scrollServer{version: "7.10.2", documents: documents(300)},
		elastic.ChecksumOptions{PageSize: 20})
	require.NoError(t, err)
	server := &scrollServer{version: "7.10.2", documents: documents(300), allowed: 3, others: 2}
	got, err := checksum(t, server, elastic.ChecksumOptions{PageSize: 20})
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.Equal(t, 1, server.most)
	require.Empty(t, server.open)

	server = &scrollServer{version: "7.10.2", documents: documents(300), allowed: 3, others: 3}
	var waited time.Duration
	_, err = checksum(t, server, elastic.ChecksumOptions{
		PageSize: 20, AtOnce: 1,
		Sleep: func(_ context.Context, d time.Duration) error { waited += d; return nil },
	})
	require.Equal(t, elastic.Rejected, elastic.KindOf(err), "%v", err)
	require.ErrorContains(t, err, "checksum a on ")
	require.ErrorContains(t, err, "raise the cluster setting search.max_open_scroll_context")
	require.ErrorContains(t, err, "Must be less than or equal to: [3]")
	require.Greater(t, waited, 30*time.Second, "others may end theirs")
	require.Less(t, waited, 2*time.Minute, "writes may be blocked meanwhile")

	// What the cluster has room for later is used again.
	server.allowed = 0
	got, err = checksum(t, server, elastic.ChecksumOptions{PageSize: 20})
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func TestChecksumKeepsScrollsForAsLongAsTheClusterAllows(t *testing.T) {
	server := &scrollServer{version: "7.10.2", documents: documents(300), longest: "1m"}
	got, err := checksum(t, server, elastic.ChecksumOptions{PageSize: 20})
	require.NoError(t, err)
	require.EqualValues(t, 300, got.Docs)
	require.Empty(t, server.open)
}
