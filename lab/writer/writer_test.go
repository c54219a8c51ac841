package writer

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/snapferry/snapferry/lab/cluster"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is the part of Elasticsearch that a writer sees, with the answers that a test wants.
type fake struct {
	mu      sync.Mutex
	docs    map[string]*fakeDoc
	blocked bool
	losing  int // so many requests take place without an answer
	version string
	log     []string
}

type fakeDoc struct {
	version int64
	deleted bool
	source  map[string]any
}

func newFake(t *testing.T) (*fake, *cluster.Client) {
	f := &fake{docs: map[string]*fakeDoc{}, version: "5.5.2"}
	server := httptest.NewServer(f)
	client := &cluster.Client{URL: server.URL, HTTP: &http.Client{Transport: &http.Transport{}}}
	t.Cleanup(func() { client.HTTP.CloseIdleConnections(); server.Close() })
	return f, client
}

func (f *fake) clone() *fake {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := &fake{docs: map[string]*fakeDoc{}, version: f.version}
	for id, d := range f.docs {
		copied := *d
		c.docs[id] = &copied
	}
	return c
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	defer f.mu.Unlock()
	status, answer := f.answer(r, body)
	if r.URL.Path != "/_mget" && f.losing > 0 {
		f.losing--
		status = http.StatusGatewayTimeout
		answer = "lost"
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer)
}

func (f *fake) answer(r *http.Request, body []byte) (int, any) {
	segments := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch r.URL.Path {
	case "/":
		return 200, map[string]any{"version": map[string]any{"number": f.version}}
	case "/_mget":
		if f.version >= "8" && bytes.Contains(body, []byte(`"_type"`)) {
			return 400, map[string]any{"error": map[string]any{
				"type": "parsing_exception", "reason": "unknown parameter [_type] in request body",
			}}
		}
		var request struct {
			Docs []struct {
				ID string `json:"_id"`
			}
		}
		_ = json.Unmarshal(body, &request)
		docs := []any{}
		for _, want := range request.Docs {
			answer := map[string]any{"_id": want.ID, "found": false}
			if d := f.docs[want.ID]; d != nil && !d.deleted {
				answer = map[string]any{"_id": want.ID, "found": true, "_version": d.version, "_source": d.source}
			}
			docs = append(docs, answer)
		}
		return 200, map[string]any{"docs": docs}
	case "/_bulk":
		decoder, items := json.NewDecoder(bytes.NewReader(body)), []any{}
		for decoder.More() {
			var action map[string]struct {
				ID string `json:"_id"`
			}
			_ = decoder.Decode(&action)
			for kind, meta := range action {
				var source map[string]any
				if kind != "delete" {
					_ = decoder.Decode(&source)
				}
				items = append(items, map[string]any{kind: f.apply(kind, meta.ID, source)})
			}
		}
		return 200, map[string]any{"items": items}
	default:
		kind := map[string]string{
			http.MethodPut: "index", http.MethodPost: "update",
			http.MethodDelete: "delete",
		}[r.Method]
		var source map[string]any
		_ = json.Unmarshal(body, &source)
		item := f.apply(kind, segments[2], source)
		return item["status"].(int), item
	}
}

func (f *fake) apply(kind, id string, source map[string]any) map[string]any {
	f.log = append(f.log, kind+" "+id)
	if f.blocked {
		return map[string]any{
			"_id": id, "status": 403,
			"error": map[string]any{
				"type":   "cluster_block_exception",
				"reason": "blocked by: [FORBIDDEN/8/index write (api)];",
			},
		}
	}
	d := f.docs[id]
	if d == nil {
		d = &fakeDoc{deleted: true}
		f.docs[id] = d
	}
	if d.deleted && kind == "update" {
		return map[string]any{"_id": id, "status": 404, "error": map[string]any{"type": "document_missing_exception"}}
	}
	if doc, ok := source["doc"].(map[string]any); ok {
		source = doc
	}
	d.version++
	d.deleted = kind == "delete"
	d.source = source
	return map[string]any{"_id": id, "status": 200, "_version": d.version}
}

// patience ends what hangs: no computer is so busy that what comes takes so long.
const patience = 20 * time.Minute

func start(t *testing.T, source *cluster.Client, o Options) *Writer {
	o.Source, o.Index, o.Timeout = source, "catalog", patience
	if o.Rate == 0 {
		o.Rate = 1e6
	}
	w, err := Start(o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = w.Stop() })
	return w
}

func acknowledgedAtLeast(t *testing.T, w *Writer, n int64) {
	require.Eventually(t, func() bool { return w.Stats().Acknowledged >= n }, patience, time.Millisecond)
}

func TestEveryAcknowledgedWriteIsFoundWhereItWasWritten(t *testing.T) {
	f, source := newFake(t)
	var journal bytes.Buffer
	w := start(t, source, Options{Seed: 7, Journal: &journal})
	acknowledgedAtLeast(t, w, 3000)
	require.NoError(t, w.Stop())

	result, err := w.Verify(t.Context(), source)
	require.NoError(t, err)
	assert.Empty(t, result.Details)
	assert.Zero(t, result.Lost)
	assert.Equal(t, w.Stats().Acknowledged, result.Acknowledged)
	assert.Zero(t, w.Stats().Rejected, w.Stats().LastRejection)
	assert.EqualValues(t, w.Stats().Acknowledged, bytes.Count(journal.Bytes(), []byte("\n")))
	seen := strings.Join(f.log, "\n")
	for _, kind := range []string{"index", "update", "delete"} {
		assert.Contains(t, seen, kind+" ")
	}
}

func TestALossIsSeen(t *testing.T) {
	f, source := newFake(t)
	w := start(t, source, Options{Seed: 1})
	acknowledgedAtLeast(t, w, 1000)
	require.NoError(t, w.Stop())

	for name, damage := range map[string]func(d *fakeDoc) bool{
		"a document is missing":       func(d *fakeDoc) bool { gone := !d.deleted; d.deleted = true; return gone },
		"a deleted document is there": func(d *fakeDoc) bool { back := d.deleted; d.deleted = false; return back },
		"the last content is missing": func(d *fakeDoc) bool {
			d.source = map[string]any{"writerCounter": -1}
			return !d.deleted
		},
		"the version is an earlier one":  func(d *fakeDoc) bool { d.version--; return !d.deleted },
		"the content has no counter now": func(d *fakeDoc) bool { d.source = map[string]any{}; return !d.deleted },
	} {
		t.Run(name, func(t *testing.T) {
			damaged := f.clone()
			for _, d := range damaged.docs {
				if damage(d) {
					break
				}
			}
			server := httptest.NewServer(damaged)
			defer server.Close()
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			result, err := w.Verify(t.Context(), &cluster.Client{URL: server.URL, HTTP: client})
			require.NoError(t, err)
			assert.Equal(t, 1, result.Lost)
			assert.Len(t, result.Details, 1)
		})
	}
}

// From 8.0 on a cluster refuses a request that names a type.
func TestATargetWithoutTypesIsRead(t *testing.T) {
	f, source := newFake(t)
	w := start(t, source, Options{Seed: 6})
	acknowledgedAtLeast(t, w, 100)
	require.NoError(t, w.Stop())
	f.mu.Lock()
	f.version = "8.17.2"
	f.mu.Unlock()
	result, err := w.Verify(t.Context(), source)
	require.NoError(t, err)
	assert.Zero(t, result.Lost, result.Details)
	assert.Positive(t, result.Documents)
}

func TestARefusalIsNotedAndWritingGoesOnAfterIt(t *testing.T) {
	f, source := newFake(t)
	w := start(t, source, Options{Seed: 3})
	acknowledgedAtLeast(t, w, 500)
	select {
	case <-w.Refused():
		t.Fatal("refused before the block")
	default:
	}
	f.mu.Lock()
	f.blocked = true
	f.mu.Unlock()
	select {
	case <-w.Refused():
	case <-time.After(patience):
		t.Fatal("no write was refused")
	}
	w.Pause()
	frozen := w.Stats()
	assert.Positive(t, frozen.Refused)
	assert.False(t, frozen.FirstRefused.Before(frozen.FirstAcknowledged))
	f.mu.Lock()
	f.blocked = false
	f.mu.Unlock()
	w.Resume()
	acknowledgedAtLeast(t, w, frozen.Acknowledged+500)
	require.NoError(t, w.Stop())
	result, err := w.Verify(t.Context(), source)
	require.NoError(t, err)
	assert.Zero(t, result.Lost, result.Details)
}

func TestAnUnansweredWriteCountsNeitherWay(t *testing.T) {
	f, source := newFake(t)
	w := start(t, source, Options{Seed: 5})
	acknowledgedAtLeast(t, w, 500)
	w.Pause()
	before := f.clone() // the unanswered writes never took place
	f.mu.Lock()
	f.losing = 5
	f.mu.Unlock()
	w.Resume()
	require.Eventually(t, func() bool { return w.Stats().Unanswered >= 5 }, patience, time.Millisecond)
	require.NoError(t, w.Stop())

	result, err := w.Verify(t.Context(), source)
	require.NoError(t, err)
	assert.Zero(t, result.Lost, result.Details)

	w.mu.Lock()
	for id, d := range w.record {
		if d.unanswered != nil {
			if old := before.docs[id]; old != nil && old.version == d.version {
				f.docs[id] = old
			}
		}
	}
	w.mu.Unlock()
	result, err = w.Verify(t.Context(), source)
	require.NoError(t, err)
	assert.Zero(t, result.Lost, result.Details)
}

func TestPauseLetsNothingThrough(t *testing.T) {
	f, source := newFake(t)
	w := start(t, source, Options{Seed: 9})
	acknowledgedAtLeast(t, w, 100)
	w.Pause()
	f.mu.Lock()
	n := len(f.log)
	f.mu.Unlock()
	require.Never(t, func() bool { f.mu.Lock(); defer f.mu.Unlock(); return len(f.log) != n }, 50*time.Millisecond,
		5*time.Millisecond)
	w.Resume()
	acknowledgedAtLeast(t, w, int64(n)+100)
	w.Pause()
	require.NoError(t, w.Stop(), "a paused writer can be stopped")
}

func TestTheSameSeedWritesTheSame(t *testing.T) {
	logs := make([][]string, 2)
	for i := range logs {
		f, source := newFake(t)
		w := start(t, source, Options{Seed: 11, Workers: 1})
		acknowledgedAtLeast(t, w, 500)
		require.NoError(t, w.Stop())
		logs[i] = f.log[:500]
	}
	assert.Equal(t, logs[0], logs[1])
}

func TestTheRateIsBounded(t *testing.T) {
	_, source := newFake(t)
	began := time.Now()
	w := start(t, source, Options{Seed: 2, Rate: 200})
	acknowledgedAtLeast(t, w, 100)
	require.NoError(t, w.Stop())
	s := w.Stats()
	assert.Less(t, float64(s.Acknowledged), 200*time.Since(began).Seconds()+2*maxBulk)
}
