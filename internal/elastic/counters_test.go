package elastic_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/stretchr/testify/require"
)

// meeting answers requests about indices with one shard and a write block, but none of the first ones
// before so many are under way.
type meeting struct {
	mu   sync.Mutex
	left int
	met  chan struct{}
}

func (m *meeting) RoundTrip(r *http.Request) (*http.Response, error) {
	var body string
	switch {
	case r.URL.Path == "/":
		body = `{"version":{"number":"6.8.23"}}`
	case r.URL.Path == "/_bulk":
		var items []string
		sent, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		for range strings.Count(string(sent), `{"update"`) {
			items = append(items, `{"update":{"status":403,"error":{"type":"cluster_block_exception","reason":"blocked"}}}`)
		}
		body = `{"items":[` + strings.Join(items, ",") + `]}`
	default:
		m.mu.Lock()
		if m.left--; m.left == 0 {
			close(m.met)
		}
		m.mu.Unlock()
		select {
		case <-m.met:
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
		body = metAnswer(r.URL.Path)
	}
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(body)),
	}, nil
}

func metAnswer(path string) string {
	for _, known := range []struct{ before, after, outer, each string }{
		{"/", "/_settings", `%s`, `{"settings":{"index.number_of_shards":"1"}}`},
		{
			"/", "/_stats/docs,indexing,translog", `{"indices":%s}`,
			`{"shards":{"0":[{"routing":{"state":"STARTED","primary":true,"node":"n"},"docs":{"count":1}}]}}`,
		},
		{"/_cluster/state/metadata/", "", `{"metadata":{"indices":%s}}`, `{"state":"open"}`},
	} {
		names, fits := strings.CutPrefix(path, known.before)
		names, ends := strings.CutSuffix(names, known.after)
		if !fits || !ends {
			continue
		}
		var all []string
		for _, name := range strings.Split(names, ",") {
			all = append(all, fmt.Sprintf("%q:%s", name, known.each))
		}
		return fmt.Sprintf(known.outer, "{"+strings.Join(all, ",")+"}")
	}
	return `{}`
}

// While writes are blocked, many indices are asked several times. No request waits for one of another
// batch, nor counters for settings.
func TestManyIndicesAreAskedSideBySide(t *testing.T) {
	const batches = 2
	var names []string
	for i := range 40 {
		names = append(names, fmt.Sprintf("%s-%02d", strings.Repeat("long", 24), i))
	}
	require.Len(t, elastic.Batches(names), batches)
	for what, test := range map[string]struct {
		atOnce int
		ask    func(context.Context, *testing.T, *elastic.Client)
	}{
		"counters": {2 * batches, func(ctx context.Context, t *testing.T, client *elastic.Client) {
			counters, err := client.WriteCounters(ctx, names)
			require.NoError(t, err)
			require.Len(t, counters, len(names))
			for i, shard := range counters {
				require.Equal(t, names[i], shard.Index, "sorted")
			}
		}},
		"refresh": {batches, func(ctx context.Context, t *testing.T, client *elastic.Client) {
			require.NoError(t, client.Refresh(ctx, names))
		}},
		"probes": {batches, func(ctx context.Context, t *testing.T, client *elastic.Client) {
			probes, err := client.ProbeWrites(ctx, names, elastic.ExpectBlocked)
			require.NoError(t, err)
			for _, name := range names {
				require.Equal(t, elastic.Probe{Blocked: true}, probes[name])
			}
		}},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, err := elastic.New(elastic.Config{
					Endpoint: "http://cluster", Transport: &meeting{left: test.atOnce, met: make(chan struct{})},
				})
				require.NoError(t, err)
				test.ask(t.Context(), t, client)
			})
		})
	}
}
