package elastic_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeCluster answers by "METHOD /path?query" or by "METHOD /path", and records what it was sent.
type fakeCluster struct {
	*httptest.Server
	mu       sync.Mutex
	answers  map[string]answer
	requests []sent

	prefix       string // answers what no entry of answers fits
	prefixAnswer answer
}

type answer struct {
	status int
	body   string
}

type sent struct {
	line   string // "PUT /_snapshot/mig?wait_for_completion=false"
	body   string
	length int64
	header http.Header
}

func ok(body string) answer { return answer{200, body} }

// newFake starts a cluster of that version.
func newFake(t *testing.T, version string, answers map[string]answer) (*fakeCluster, *elastic.Client) {
	t.Helper()
	fake := &fakeCluster{answers: answers}
	fake.answers["GET /"] = ok(`{"name":"n","cluster_name":"c","cluster_uuid":"u","version":{"number":"` + version +
		`"},"tagline":"You Know, for Search"}`)
	fake.Server = httptest.NewServer(fake)
	t.Cleanup(fake.Close)
	client, err := elastic.New(elastic.Config{Endpoint: fake.URL})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return fake, client
}

func (f *fakeCluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	line := r.Method + " " + r.RequestURI
	f.mu.Lock()
	f.requests = append(f.requests, sent{line, string(body), r.ContentLength, r.Header.Clone()})
	found, known := f.answers[line]
	if !known {
		path, _, _ := strings.Cut(line, "?")
		found, known = f.answers[path]
	}
	if !known && f.prefix != "" && strings.HasPrefix(line, f.prefix) {
		found, known = f.prefixAnswer, true
	}
	f.mu.Unlock()
	if !known {
		found = answer{400, `{"error":{"type":"illegal_argument_exception","reason":"the fake has no answer to ` +
			line + `"},"status":400}`}
	}
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(found.status)
	_, _ = io.WriteString(w, found.body)
}

// last is the last request that the cluster got.
func (f *fakeCluster) last() sent {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.requests[len(f.requests)-1]
}

func (f *fakeCluster) lines() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var lines []string
	for _, request := range f.requests {
		lines = append(lines, request.line)
	}
	return lines
}

func replaceOnce(s, old, replacement string) string { return strings.Replace(s, old, replacement, 1) }
