package elastic_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/internal/version"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestRequestsAsTheyTravel fixes what each call sends; 5.x refuses any parameter that it doesn't
// know.
func TestRequestsAsTheyTravel(t *testing.T) {
	ctx := context.Background()
	for name, c := range map[string]struct {
		version string
		call    func(*elastic.Client) error
		answer  string
		line    string
		body    string
	}{
		"create snapshot": {
			"5.5.2", func(c *elastic.Client) error {
				return c.CreateSnapshot(ctx, "mig", "run1-r0003-a1", []string{"a", "b"})
			}, `{"accepted":true}`,
			"PUT /_snapshot/mig/run1-r0003-a1?master_timeout=200000ms&wait_for_completion=false",
			`{"indices":"a,b","ignore_unavailable":false,"include_global_state":false,"partial":false}`,
		},
		"restore": {
			"5.5.3", func(c *elastic.Client) error {
				return c.Restore(ctx, "oss_ro", "s1", elastic.RestoreOptions{
					Indices:             []string{"a", "b"},
					IncludeAliases:      true,
					IndexSettings:       map[string]any{"index.number_of_replicas": 0, "index.blocks.write": true},
					IgnoreIndexSettings: []string{"index.blocks.*", "index.routing.allocation.*"},
				})
			}, `{"accepted":true}`,
			"POST /_snapshot/oss_ro/s1/_restore?master_timeout=200000ms&wait_for_completion=false",
			`{"indices":"a,b","ignore_unavailable":false,"include_global_state":false,"include_aliases":true,"partial":false,` +
				`"index_settings":{"index.blocks.write":true,"index.number_of_replicas":0},"ignore_index_settings":["index.blocks.*","index.routing.allocation.*"]}`,
		},
		"restore under other names": {
			"5.5.3", func(c *elastic.Client) error {
				return c.Restore(ctx, "r", "s", elastic.RestoreOptions{
					Indices: []string{"a"}, RenamePattern: "(.+)",
					RenameReplacement: "new-$1",
				})
			}, `{"accepted":true}`,
			"POST /_snapshot/r/s/_restore?master_timeout=200000ms&wait_for_completion=false",
			`{"indices":"a","ignore_unavailable":false,"include_global_state":false,"include_aliases":false,"partial":false,"rename_pattern":"(.+)","rename_replacement":"new-$1"}`,
		},
		"restore with nothing to do": {
			"5.5.3", func(c *elastic.Client) error {
				return c.Restore(ctx, "r", "s", elastic.RestoreOptions{Indices: []string{"a"}})
			}, `{"snapshot":{"snapshot":"s","indices":[],"shards":{"total":0,"failed":0,"successful":0}}}`,
			"POST /_snapshot/r/s/_restore?master_timeout=200000ms&wait_for_completion=false",
			`{"indices":"a","ignore_unavailable":false,"include_global_state":false,"include_aliases":false,"partial":false}`,
		},
		"register": {
			"5.5.2", func(c *elastic.Client) error {
				return c.PutRepository(ctx, "mig", elastic.Repository{
					Type:     "s3",
					Settings: map[string]any{"bucket": "b", "base_path": "mig/run1", "compress": true},
				})
			}, `{"acknowledged":true}`, "PUT /_snapshot/mig?master_timeout=200000ms&timeout=75000ms",
			`{"type":"s3","settings":{"base_path":"mig/run1","bucket":"b","compress":true}}`,
		},
		"unregister": {
			"5.5.2", func(c *elastic.Client) error { return c.DeleteRepository(ctx, "mig") },
			`{"acknowledged":true}`, "DELETE /_snapshot/mig?master_timeout=80000ms&timeout=30000ms", "",
		},
		"delete snapshot": {
			"5.5.2", func(c *elastic.Client) error { return c.DeleteSnapshot(ctx, "mig", "s1") },
			`{"acknowledged":true}`, "DELETE /_snapshot/mig/s1?master_timeout=200000ms", "",
		},
		"close": {
			"7.10.2", func(c *elastic.Client) error { return c.CloseIndices(ctx, []string{"a", "b"}) },
			`{"acknowledged":true,"shards_acknowledged":true,"indices":{"a":{"closed":true}}}`, "POST /a,b/_close?master_timeout=200000ms&timeout=75000ms", "",
		},
		"open": {
			"5.5.3", func(c *elastic.Client) error { return c.OpenIndices(ctx, []string{"a"}) },
			`{"acknowledged":true}`, "POST /a/_open?master_timeout=200000ms&timeout=75000ms", "",
		},
		"delete indices": {
			"5.5.3", func(c *elastic.Client) error { return c.DeleteIndices(ctx, []string{"a", "b"}) },
			`{"acknowledged":true}`, "DELETE /a,b?ignore_unavailable=true&master_timeout=200000ms&timeout=75000ms", "",
		},
		"block, 5.x": {
			"5.5.2", func(c *elastic.Client) error { return c.BlockWrites(ctx, []string{"a"}) },
			`{"acknowledged":true}`, "PUT /a/_settings?master_timeout=80000ms&timeout=30000ms", `{"index.blocks.write":true}`,
		},
		"block, 7.10": {
			"7.10.2", func(c *elastic.Client) error { return c.BlockWrites(ctx, []string{"a"}) },
			`{"acknowledged":true}`, "PUT /a/_settings?master_timeout=80000ms&timeout=30000ms", `{"index.blocks.write":true}`,
		},
		"unblock": {"5.5.2", func(c *elastic.Client) error {
			return c.PutIndexSettings(ctx, []string{"a"}, map[string]any{"index.blocks.write": nil})
		}, `{"acknowledged":true}`, "PUT /a/_settings?master_timeout=80000ms&timeout=30000ms", `{"index.blocks.write":null}`},
		"unblock, 2.x": {"2.4.6", func(c *elastic.Client) error {
			return c.PutIndexSettings(ctx, []string{"a"}, map[string]any{"index.blocks.write": false})
		}, `{"acknowledged":true}`, "PUT /a/_settings?master_timeout=80000ms&timeout=30000ms", `{"index.blocks.write":false}`},
		"loads": {
			"5.5.2", func(c *elastic.Client) error { _, err := c.Loads(ctx, []string{"a", "b"}); return err },
			`{"indices":{}}`, "GET /a,b/_stats/docs,indexing,merge,segments,store", "",
		},
		"cluster settings": {
			"5.5.2", func(c *elastic.Client) error { _, err := c.ClusterSettings(ctx); return err },
			`{}`, "GET /_cluster/settings?flat_settings=true", "",
		},
		"put cluster setting": {"5.5.2", func(c *elastic.Client) error {
			return c.PutClusterSettings(ctx, nil,
				map[string]any{"a.b": nil})
		}, `{"acknowledged":true}`, "PUT /_cluster/settings?master_timeout=80000ms&timeout=30000ms", `{"transient":{"a.b":null}}`},
		"refresh": {
			"5.5.2", func(c *elastic.Client) error { return c.Refresh(ctx, []string{"a"}) },
			`{"_shards":{"total":2,"successful":1,"failed":0}}`, "POST /a/_refresh", "",
		},
		"flush": {
			"5.5.2", func(c *elastic.Client) error { return c.Flush(ctx, []string{"a"}) },
			`{"_shards":{"total":2,"successful":1,"failed":0}}`, "POST /a/_flush?wait_if_ongoing=true", "",
		},
		"running snapshots": {"5.5.2", func(c *elastic.Client) error {
			_, err := c.RunningSnapshots(ctx)
			return err
		}, `{"snapshots":[]}`, "GET /_snapshot/_status", ""},
		"list snapshots": {"5.5.2", func(c *elastic.Client) error {
			_, err := c.Snapshots(ctx, "mig")
			return err
		}, `{"snapshots":[]}`, "GET /_snapshot/mig/_all", ""},
		"shards": {"5.5.2", func(c *elastic.Client) error {
			_, err := c.Shards(ctx, []string{"a"})
			return err
		}, `{}`, "GET /_cluster/state/routing_table/a?filter_path=routing_table", ""},
		"recovery": {"5.5.2", func(c *elastic.Client) error {
			_, err := c.Recovery(ctx, []string{"a"})
			return err
		}, `{}`, "GET /a/_recovery", ""},
		"health of indices": {"5.5.2", func(c *elastic.Client) error {
			_, err := c.Health(ctx, []string{"a"})
			return err
		}, `{}`, "GET /_cluster/health/a?level=indices", ""},
	} {
		t.Run(name, func(t *testing.T) {
			path, _, _ := strings.Cut(c.line, "?")
			answers := map[string]answer{
				path: ok(c.answer), "PUT /a/_settings": ok(`{"acknowledged":true}`),
			}
			fake, client := newFake(t, c.version, answers)
			require.NoError(t, c.call(client))
			last := fake.last()
			assert.Equal(t, c.line, last.line)
			assert.Equal(t, c.body, last.body)
			assert.EqualValues(t, len(c.body), last.length, "Content-Length")
			assert.Empty(t, last.header.Values("X-Elastic-Client-Meta"))
			if c.body != "" {
				assert.Equal(t, "application/json", last.header.Get("Content-Type"))
			}
		})
	}
}

// 2.4.6 refuses to refresh an index that is read-only.
func TestAShardThatABlockRefusesIsBlocked(t *testing.T) {
	for reason, kind := range map[string]elastic.Kind{
		"blocked by: [FORBIDDEN/5/index read-only (api)];":   elastic.Blocked,
		"blocked by: [SERVICE_UNAVAILABLE/2/no master];":     elastic.Unavailable,
		"blocked by: [TOO_MANY_REQUESTS/12/disk usage ...];": elastic.Blocked,
	} {
		_, client := newFake(t, "2.4.6", map[string]answer{"POST /a/_refresh": ok(
			`{"_shards":{"total":2,"successful":1,"failed":1,"failures":[{"index":"a","shard":1,"reason":` +
				`{"type":"cluster_block_exception","reason":"` + reason + `"}}]}}`)})
		assert.Equal(t, kind, elastic.KindOf(client.Refresh(t.Context(), []string{"a"})), reason)
	}
}

func TestAnUnfinishedChangeIsAnError(t *testing.T) {
	ctx := t.Context()
	_, client := newFake(t, "7.10.2", map[string]answer{
		"PUT /a/_settings": ok(`{"acknowledged":false}`),
		"POST /a/_close": ok(
			`{"acknowledged":true,"shards_acknowledged":false,"indices":{"a":{"closed":false,"exception":{"type":"x","reason":"busy"}}}}`),
		"POST /a/_refresh": ok(
			`{"_shards":{"total":2,"successful":1,"failed":1,"failures":[{"index":"a","shard":1,"reason":{"type":"x","reason":"busy"}}]}}`),
		"POST /a/_count":      ok(`{"count":7,"_shards":{"total":2,"successful":1,"failed":0}}`),
		"PUT /_snapshot/r/s":  ok(`{}`),
		"GET /_snapshot/r/s":  ok(`not JSON`),
		"GET /_snapshot/r/s2": ok(`{"snapshots":[]}`),
	})
	assert.Equal(t, elastic.Unavailable, elastic.KindOf(client.PutIndexSettings(ctx, []string{"a"},
		map[string]any{"x": 1})))
	assert.ErrorContains(t, client.CloseIndices(ctx, []string{"a"}), "a was not closed: x: busy")
	assert.ErrorContains(t, client.Refresh(ctx, []string{"a"}), "1 of 2 shards failed, first [a][1] x: busy")
	_, err := client.Count(ctx, "a")
	assert.Equal(t, elastic.Unavailable, elastic.KindOf(err))
	assert.Equal(t, elastic.OutcomeUnknown, elastic.KindOf(client.CreateSnapshot(ctx, "r", "s", []string{"a"})))
	_, err = client.Snapshot(ctx, "r", "s")
	assert.Equal(t, elastic.Internal, elastic.KindOf(err))
	_, err = client.Snapshot(ctx, "r", "s2")
	assert.Equal(t, elastic.Missing, elastic.KindOf(err))
}

func TestLongListsFitIntoRequestLines(t *testing.T) {
	answers := map[string]answer{}
	fake, client := newFake(t, "5.5.2", answers)
	var names []string
	for i := range 200 {
		names = append(names, fmt.Sprintf("logs-application-2017.%03d-%s", i, strings.Repeat("x", 30)))
	}
	fake.answers["*"] = ok(`{"acknowledged":true}`)
	_ = client.CloseIndices(t.Context(), names[:1]) // the fake has no answer: only the line matters
	assert.Less(t, len(fake.last().line), 4096)
	var seen []string
	for rest := names; len(rest) > 0; {
		_ = client.CloseIndices(t.Context(), rest)
		line := fake.last().line
		require.Less(t, len(line), 3100)
		path, _, _ := strings.Cut(line, "?")
		batch := strings.Split(strings.TrimSuffix(strings.TrimPrefix(path, "POST /"), "/_close"), ",")
		seen = append(seen, batch...)
		rest = rest[len(batch):]
	}
	assert.Equal(t, names, seen)
}

// An operator of the cluster sees which build of snapferry sent a request.
func TestRequestsNameTheVersion(t *testing.T) {
	fake, client := newFake(t, "5.5.2", map[string]answer{"PUT /_snapshot/mig": ok(`{"acknowledged":true}`)})
	require.NoError(t, client.PutRepository(t.Context(), "mig", elastic.Repository{Type: "s3"}))
	require.Equal(t, version.UserAgent(), fake.last().header.Get("User-Agent"))
}
