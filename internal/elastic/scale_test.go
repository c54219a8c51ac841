package elastic_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/internal/elastic/elastictest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// requestLine is Elasticsearch's default http.max_initial_line_length, which Amazon doesn't change.
const requestLine = 4096

// lines is a cluster that only takes down the longest request line and the largest body, as nodes
// measure them.
type lines struct {
	mu      sync.Mutex
	longest string
	body    int64
}

func (l *lines) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if line := r.Method + " " + r.RequestURI + " " + r.Proto + "\r\n"; len(line) > len(l.longest) {
		l.longest = line
	}
	l.body = max(l.body, r.ContentLength)
	answer := `{"acknowledged":true,"accepted":true}`
	if r.URL.Path == "/" {
		answer = `{"version":{"number":"7.10.2"}}`
	}
	_, _ = w.Write([]byte(answer))
}

// A name has up to 255 bytes, and a percent sign takes three in a path.
func TestEveryRequestLineIsShortEnough(t *testing.T) {
	var names []string
	for i := range 50 {
		names = append(names, fmt.Sprintf("%s%03d", strings.Repeat("%", 252), i))
	}
	for call, do := range map[string]func(context.Context, *elastic.Client) error{
		"BlockWrites":   func(ctx context.Context, c *elastic.Client) error { return c.BlockWrites(ctx, names) },
		"CloseIndices":  func(ctx context.Context, c *elastic.Client) error { return c.CloseIndices(ctx, names) },
		"OpenIndices":   func(ctx context.Context, c *elastic.Client) error { return c.OpenIndices(ctx, names) },
		"DeleteIndices": func(ctx context.Context, c *elastic.Client) error { return c.DeleteIndices(ctx, names) },
		"Refresh":       func(ctx context.Context, c *elastic.Client) error { return c.Refresh(ctx, names) },
		"Flush":         func(ctx context.Context, c *elastic.Client) error { return c.Flush(ctx, names) },
		"CreateIndex": func(ctx context.Context, c *elastic.Client) error {
			return c.CreateIndex(ctx, names[0], elastic.NewIndex{Typed: true})
		},
		"IndexSettings": read(names, (*elastic.Client).IndexSettings),
		"Definitions":   read(names, (*elastic.Client).Definitions),
		"Mappings":      read(names, (*elastic.Client).Mappings),
		"Aliases":       read(names, (*elastic.Client).Aliases),
		"Present": func(ctx context.Context, c *elastic.Client) error {
			_, _, err := c.Present(ctx, names)
			return err
		},
		"Health":   read(names, (*elastic.Client).Health),
		"Shards":   read(names, (*elastic.Client).Shards),
		"Recovery": read(names, (*elastic.Client).Recovery),
		"Counts":   read(names, (*elastic.Client).Counts),
		"Count": func(ctx context.Context, c *elastic.Client) error {
			_, err := c.Count(ctx, names[0])
			return err
		},
		"DocCounts": read(names, (*elastic.Client).DocCounts),
		"Indices": func(ctx context.Context, c *elastic.Client) error {
			_, err := c.Indices(ctx, names...)
			return err
		},
		"Matching":      read(names, (*elastic.Client).Matching),
		"ProbeWrites":   func(ctx context.Context, c *elastic.Client) error { return probed(ctx, c, names) },
		"WriteCounters": read(names, (*elastic.Client).WriteCounters),
		"CreateSnapshot": func(ctx context.Context, c *elastic.Client) error {
			return c.CreateSnapshot(ctx, "repository", "snapshot", names)
		},
		"Restore": func(ctx context.Context, c *elastic.Client) error {
			return c.Restore(ctx, "repository", "snapshot", elastic.RestoreOptions{Indices: names})
		},
	} {
		t.Run(call, func(t *testing.T) {
			cluster := &lines{}
			server := httptest.NewServer(cluster)
			t.Cleanup(server.Close)
			client, err := elastic.New(elastic.Config{Endpoint: server.URL})
			require.NoError(t, err)
			t.Cleanup(client.Close)
			_ = do(t.Context(), client) // only what was sent matters
			assert.Less(t, len(cluster.longest), requestLine)
			assert.Greater(t, len(cluster.longest), 20)
		})
	}
}

// read is a call that reads something of indices.
func read[T any](names []string,
	call func(*elastic.Client, context.Context, []string) (T, error),
) func(context.Context, *elastic.Client) error {
	return func(ctx context.Context, c *elastic.Client) error {
		_, err := call(c, ctx, names)
		return err
	}
}

func probed(ctx context.Context, c *elastic.Client, names []string) error {
	_, err := c.ProbeWrites(ctx, names, elastic.ExpectBlocked)
	return err
}

// A cluster that is asked to give up later than its caller can't tell it.
func TestTheClusterAnswersBeforeTheCallEnds(t *testing.T) {
	for name, tt := range map[string]struct {
		timeout, deadline time.Duration
		call              func(context.Context, *elastic.Client) error
		total             time.Duration // of the call
	}{
		"settings": {0, 0, func(ctx context.Context, c *elastic.Client) error {
			return c.BlockWrites(ctx, []string{"a"})
		}, 2 * time.Minute},
		"closing": {0, 0, func(ctx context.Context, c *elastic.Client) error {
			return c.CloseIndices(ctx, []string{"a"})
		}, 5 * time.Minute},
		"a shorter timeout": {20 * time.Second, 0, func(ctx context.Context, c *elastic.Client) error {
			return c.BlockWrites(ctx, []string{"a"})
		}, 40 * time.Second},
		"a caller with less time": {0, time.Minute, func(ctx context.Context, c *elastic.Client) error {
			return c.CloseIndices(ctx, []string{"a"})
		}, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			var master, nodes time.Duration
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				master, _ = time.ParseDuration(r.URL.Query().Get("master_timeout"))
				nodes, _ = time.ParseDuration(r.URL.Query().Get("timeout"))
				_, _ = w.Write([]byte(`{"acknowledged":true}`))
			}))
			t.Cleanup(server.Close)
			client, err := elastic.New(elastic.Config{Endpoint: server.URL, Timeout: tt.timeout})
			require.NoError(t, err)
			t.Cleanup(client.Close)
			ctx := t.Context()
			if tt.deadline > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, tt.deadline)
				defer cancel()
			}
			require.NoError(t, tt.call(ctx, client))
			assert.Less(t, master+nodes, tt.total)
			assert.Greater(t, master+nodes, tt.total*3/4)
		})
	}
}

func TestAChangeThatNotEveryNodeConfirmedWasMade(t *testing.T) {
	for name, tt := range map[string]struct {
		answer         answer
		unacknowledged bool
	}{
		"not every node has it": {ok(`{"acknowledged":false}`), true},
		"it is not made": {answer{503, `{"error":{"type":"process_cluster_event_timeout_exception","reason":` +
			`"failed to process cluster event (update-settings) within 1.3m"},"status":503}`}, false},
	} {
		t.Run(name, func(t *testing.T) {
			_, client := newFake(t, "7.10.2", map[string]answer{
				"PUT /a/_settings": tt.answer, "POST /a/_close": tt.answer,
			})
			for _, err := range []error{
				client.BlockWrites(t.Context(), []string{"a"}), client.CloseIndices(t.Context(), []string{"a"}),
			} {
				assert.Equal(t, elastic.Unavailable, elastic.KindOf(err), "a retry is right: %v", err)
				assert.Equal(t, tt.unacknowledged, elastic.Unacknowledged(err))
			}
		})
	}
	assert.False(t, elastic.Unacknowledged(nil))
	assert.False(t, elastic.Unacknowledged(errors.New("other")))
}

func newCluster(t *testing.T, indices int) (*elastictest.Cluster, *elastic.Client, []string) {
	cluster := elastictest.New(elastictest.NewStore())
	t.Cleanup(cluster.Close)
	var names []string
	for i := range indices {
		names = append(names, fmt.Sprintf("index-%04d", i))
		cluster.Create(names[i], 1, nil)
	}
	client, err := elastic.New(elastic.Config{Endpoint: cluster.URL})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return cluster, client, names
}

func TestProbesOfManyIndices(t *testing.T) {
	cluster, client, names := newCluster(t, 20)
	cluster.SetSetting("index-0001", "index.blocks.write", "true")
	cluster.SetOpen("index-0002", false)
	cluster.RefuseWrite("index-0003", 503, "unavailable_shards_exception", "primary shard is not active")
	before := cluster.World()
	probes, err := client.ProbeWrites(t.Context(), append(names, "absent"), elastic.ExpectBlocked)
	require.NoError(t, err)
	require.Len(t, probes, 21)
	for name, probe := range probes {
		kind := map[string]elastic.Kind{
			"index-0002": elastic.Invalid, "index-0003": elastic.Unavailable, "absent": elastic.Missing,
		}[name]
		assert.Equal(t, kind, elastic.KindOf(probe.Err), "%s: %v", name, probe.Err)
		assert.Equal(t, name == "index-0001", probe.Blocked, name)
	}
	assert.ErrorContains(t, probes["index-0003"].Err, "probe writing index-0003")
	require.Len(t, cluster.Requests("POST /_bulk"), 1)
	assert.NotContains(t, cluster.Bodies("POST /_bulk")[0], "absent", "a write would create it")
	assert.Equal(t, before, cluster.World(), "nothing was written")

	cluster.BlockCluster("all are")
	probes, err = client.ProbeWrites(t.Context(), names[:1], elastic.ExpectBlocked)
	require.NoError(t, err)
	assert.True(t, probes[names[0]].Blocked)
}

// What is asked is whether a block refuses writes, not whether all copies are there.
func TestProbesDoNotWaitForCopies(t *testing.T) {
	for _, version := range []string{"2.4.6", "5.5.2", "6.8.23", "7.10.2"} {
		cluster := elastictest.New(elastictest.NewStore())
		t.Cleanup(cluster.Close)
		cluster.Version = version
		cluster.Create("waiting", 1, map[string]string{
			"index.number_of_replicas": "2", "index.write.wait_for_active_shards": "2",
		})
		client, err := elastic.New(elastic.Config{Endpoint: cluster.URL})
		require.NoError(t, err)
		t.Cleanup(client.Close)
		probes, err := client.ProbeWrites(t.Context(), []string{"waiting"}, elastic.ExpectOpen)
		require.NoError(t, err)
		assert.Equal(t, map[string]elastic.Probe{"waiting": {}}, probes, version)
	}
}

// A cluster whose bulk requests may not name indices in the body is asked one by one.
func TestProbesWhereBodiesMayNotNameIndices(t *testing.T) {
	cluster, client, names := newCluster(t, 3)
	cluster.NoExplicitIndices = true
	cluster.SetSetting(names[1], "index.blocks.write", "true")
	probes, err := client.ProbeWrites(t.Context(), names, elastic.ExpectBlocked)
	require.NoError(t, err)
	assert.Equal(t, map[string]elastic.Probe{names[0]: {}, names[1]: {Blocked: true}, names[2]: {}}, probes)
}

// Who refuses everything is not asked once for each index.
func TestProbesWithoutPermissionEndAtOnce(t *testing.T) {
	cluster, client, names := newCluster(t, 30)
	for _, pattern := range []string{"POST /_bulk", "GET /*/_mapping"} {
		cluster.On(pattern, 100, func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(`{"Message":"User: x is not authorized to perform: es:ESHttpPost"}`))
			return true
		})
	}
	_, err := client.ProbeWrites(t.Context(), names, elastic.ExpectBlocked)
	assert.Equal(t, elastic.Unauthorized, elastic.KindOf(err))
	assert.Len(t, cluster.Requests("GET /*/_mapping"), 1)
}

// A queue that is full refuses some. They are asked again, fewer at once.
func TestProbesThatAQueueRefuses(t *testing.T) {
	cluster, client, names := newCluster(t, 100)
	for _, name := range names[60:] {
		cluster.RefuseWrite(name, 429, "es_rejected_execution_exception", "queue capacity 50")
	}
	probes, err := client.ProbeWrites(t.Context(), names, elastic.ExpectOpen)
	require.NoError(t, err)
	for _, name := range names {
		assert.Equal(t, elastic.Probe{}, probes[name], name)
	}
	assert.Len(t, cluster.Requests("POST /_bulk"), 2+8)
}

// The largest body stays far below Amazon's limit of 10 MB.
func TestProbesAreBoundedInBytes(t *testing.T) {
	var names []string
	for i := range 5000 {
		names = append(names, fmt.Sprintf("%s%04d", strings.Repeat("x", 251), i))
	}
	bulks, largest, items := 0, int64(0), 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/":
			_, _ = w.Write([]byte(`{"version":{"number":"7.10.2"}}`))
		case r.URL.Path == "/_bulk":
			bulks++
			largest = max(largest, r.ContentLength)
			var answer []any
			for lines := json.NewDecoder(r.Body); lines.More(); {
				var action, source any
				if lines.Decode(&action) != nil || lines.Decode(&source) != nil {
					break
				}
				answer = append(answer, map[string]any{"update": map[string]any{
					"status": 403, "error": map[string]any{"type": "cluster_block_exception", "reason": "blocked"},
				}})
			}
			items += len(answer)
			_ = json.NewEncoder(w).Encode(map[string]any{"items": answer})
		default:
			states := map[string]any{}
			for _, name := range strings.Split(strings.TrimPrefix(r.URL.Path, "/_cluster/state/metadata/"), ",") {
				states[name] = map[string]any{"state": "open"}
			}
			_ = json.NewEncoder(w).Encode(map[string]any{"metadata": map[string]any{"indices": states}})
		}
	}))
	t.Cleanup(server.Close)
	client, err := elastic.New(elastic.Config{Endpoint: server.URL})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	probes, err := client.ProbeWrites(t.Context(), names, elastic.ExpectBlocked)
	require.NoError(t, err)
	for _, name := range names {
		require.True(t, probes[name].Blocked)
	}
	assert.Equal(t, len(names), items)
	assert.LessOrEqual(t, largest, int64(1<<20))
	assert.Less(t, bulks, 5)
}

func TestCountsOfManyIndices(t *testing.T) {
	cluster, client, names := newCluster(t, 5)
	require.NoError(t, cluster.Index(names[1], "a", "b", "c"))
	counts, err := client.Counts(t.Context(), names)
	require.NoError(t, err)
	assert.Equal(t, map[string]int64{names[0]: 0, names[1]: 3, names[2]: 0, names[3]: 0, names[4]: 0}, counts)
	assert.Len(t, cluster.Requests("POST /*/_search"), 1)

	for name, text := range map[string]string{
		"a shard failed":  `{"_shards":{"total":2,"successful":1,"failed":1}}`,
		"it was cut":      `{"_shards":{"total":2,"successful":2},"timed_out":true}`,
		"an index is not": `{"_shards":{"total":2,"successful":2},"aggregations":{"indices":{"sum_other_doc_count":4}}}`,
	} {
		_, client := newFake(t, "7.10.2", map[string]answer{"POST /a/_search": ok(text)})
		_, err := client.Counts(t.Context(), []string{"a"})
		assert.Equal(t, elastic.Unavailable, elastic.KindOf(err), name)
	}
}

// Up to 2.x a search that names no type leaves out the queries of a percolator.
func TestCountsWithPercolators(t *testing.T) {
	_, client := newFake(t, "2.4.6", map[string]answer{
		"GET /a,b/_mapping":          ok(`{"a":{"mappings":{"film":{}}},"b":{"mappings":{".percolator":{}}}}`),
		"GET /b/_mapping":            ok(`{"b":{"mappings":{".percolator":{}}}}`),
		"POST /a/_search":            ok(`{"_shards":{"total":1,"successful":1},"aggregations":{"indices":{"buckets":[{"key":"a","doc_count":4}]}}}`),
		"POST /b/_count":             ok(`{"count":1,"_shards":{"total":1,"successful":1}}`),
		"POST /b/.percolator/_count": ok(`{"count":2,"_shards":{"total":1,"successful":1}}`),
	})
	counts, err := client.Counts(t.Context(), []string{"a", "b"})
	require.NoError(t, err)
	assert.Equal(t, map[string]int64{"a": 4, "b": 3}, counts)
}

// A node allows 500 scroll contexts from 7.0 on. Whatever runs on a worker at the same time keeps
// few of them open, each on one shard, and closes them: 31 workers stay within the limit.
func TestScrollContextsAreBoundedPerWorker(t *testing.T) {
	const workers, perWorker, shards = 2, 16, 40
	cluster := elastictest.New(elastictest.NewStore())
	t.Cleanup(cluster.Close)
	cluster.MaxScrolls = workers * perWorker // one more is refused, and would be asked for again
	var ids []string
	for i := range 400 {
		ids = append(ids, strconv.Itoa(i))
	}
	var running sync.WaitGroup
	for worker := range workers {
		client, err := elastic.New(elastic.Config{Endpoint: cluster.URL})
		require.NoError(t, err)
		t.Cleanup(client.Close)
		for activity := range 3 {
			name := fmt.Sprintf("index-%d-%d", worker, activity)
			cluster.Create(name, shards, nil)
			require.NoError(t, cluster.Index(name, ids...))
			running.Go(func() {
				sum, err := client.Checksum(t.Context(), name, elastic.ChecksumOptions{PageSize: 1, AtOnce: shards})
				assert.NoError(t, err)
				assert.EqualValues(t, len(ids), sum.Docs)
			})
		}
	}
	running.Wait()
	began := 0
	for _, request := range cluster.Requests("POST /*/_search") {
		if request != "POST /_search/scroll" {
			began++
		}
	}
	assert.Equal(t, workers*3*shards, began, "none was refused")
	assert.Len(t, cluster.Requests("DELETE /_search/scroll"), began, "each was closed")
}
