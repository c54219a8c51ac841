//go:build lab

package activities

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/snapferry/snapferry/internal/osstest"
	"github.com/snapferry/snapferry/internal/secrets"
	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/lab/cluster"
	"github.com/snapferry/snapferry/migration"
)

// verifyLab is a source and a target of some versions, with indices that were restored.
type verifyLab struct {
	*labRig
	source, target *cluster.Client
	request        migration.VerifyRequest
}

func newVerifyLab(t *testing.T, from, to string, indices ...string) *verifyLab {
	t.Helper()
	l, err := lab.Start(t.Context(), lab.Options{
		Dir: t.TempDir(), Out: os.Stderr, SourceVersion: from, TargetVersion: to,
		Parts: []lab.Part{lab.PartS3, lab.PartOSS, lab.PartSource, lab.PartTarget},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	require.NoError(t, l.OSS.Server.CreateBucket(l.OSS.Bucket, osstest.BucketOptions{}))
	return verifyLabOf(t, l, indices...)
}

func verifyLabOf(t *testing.T, l *lab.Lab, indices ...string) *verifyLab {
	t.Helper()
	setEnvironment(t, l)
	input, err := migration.NewInput(l.Plan("verified", indices...))
	require.NoError(t, err)
	plan, err := input.Plan()
	require.NoError(t, err)
	run := migration.Run{Plan: plan, Token: "t0ken"}
	r := &labRig{t: t, lab: l, run: run, activities: New(secrets.Fence{})}
	labMust[any](r, r.activities.RegisterRepositories, run)
	return &verifyLab{labRig: r, source: l.Source.Direct(), target: l.Target.Direct()}
}

func (v *verifyLab) put(path string, body any) { v.ask(v.source, http.MethodPut, path, body) }

// write sends documents, each as a path without the index and a source, in bulk lines.
func (v *verifyLab) bulk(lines ...string) {
	v.t.Helper()
	answer := v.ask(v.source, http.MethodPost, "/_bulk?refresh=true", strings.Join(lines, "\n")+"\n")
	require.Contains(v.t, answer, `"errors":false`, answer)
}

// carried freezes, copies and restores the plan's indices.
func (v *verifyLab) carried() {
	v.t.Helper()
	a := v.activities
	indices := labMust[migration.IndexList](v.labRig, a.ResolveIndices,
		migration.ResolveRequest{Run: v.run}).Inline
	request := migration.IndicesRequest{Run: v.run, Indices: migration.IndexNames(indices)}
	labMust[any](v.labRig, a.BlockWrites, request)
	still := labMust[migration.Standstill](v.labRig, a.AwaitStandstill,
		migration.StandstillRequest{IndicesRequest: request, Store: true})
	taken := labMust[migration.Snapshot](v.labRig, a.TakeSnapshot,
		migration.SnapshotRequest{Run: v.run, Snapshot: "verified", Indices: request.Indices})
	labMust[migration.CopyResult](v.labRig, copierAlone().CopySnapshot,
		migration.CopyRequest{Run: v.run, Snapshot: taken, BaseGeneration: -1})
	labMust[migration.RestoreResult](v.labRig, a.RestoreSnapshot,
		migration.RestoreRequest{Run: v.run, Snapshot: taken, Indices: indices})
	opened := labMust[migration.OpenResult](v.labRig, a.OpenTarget, migration.OpenRequest{IndicesRequest: request})
	v.request = migration.VerifyRequest{
		Run: v.run, Indices: indices, Frozen: still.Docs, FrozenOf: still.DocsOf, Counters: opened.Counters,
		Most: 64 << 10,
	}
}

func (v *verifyLab) verify() migration.VerifyResult {
	v.t.Helper()
	return labMust[migration.VerifyResult](v.labRig, v.activities.VerifyTarget, v.request)
}

// unequal has the verification fail, and gives what it says.
func (v *verifyLab) unequal() string {
	v.t.Helper()
	_, err := labTry[migration.VerifyResult](v.labRig, v.activities.VerifyTarget, v.request)
	var failure *temporal.ApplicationError
	require.ErrorAs(v.t, err, &failure)
	require.Equal(v.t, string(migration.ErrorVerification), failure.Type(), "%v", err)
	return failure.Message()
}

// spoil changes the target behind the product's back: nobody writes through the block.
func (v *verifyLab) spoil(method, path string, body any) {
	v.t.Helper()
	index := strings.Split(path, "/")[1]
	v.ask(v.target, http.MethodPut, "/"+index+"/_settings", map[string]any{"index.blocks.write": false})
	v.ask(v.target, method, path, body)
	v.ask(v.target, http.MethodPost, "/"+index+"/_refresh", nil)
	v.ask(v.target, http.MethodPut, "/"+index+"/_settings", map[string]any{"index.blocks.write": true})
	v.request.Counters = nil // or they would tell already
}

// equalWithout requires that each index is equal, and returns all differences beside that.
func (v *verifyLab) equalWithout(result migration.VerifyResult) {
	v.t.Helper()
	require.Len(v.t, result.Indices, len(v.request.Indices))
	for _, index := range result.Indices {
		require.True(v.t, index.Equal, "%+v", index)
		require.Empty(v.t, index.Differences, index.Name)
		require.Positive(v.t, index.SourceDocs)
	}
}

// richSettings are analysis settings with lists, as people have them.
var richSettings = map[string]any{
	"number_of_replicas": 0,
	"analysis": map[string]any{
		"analyzer": map[string]any{
			"one": map[string]any{"type": "custom", "tokenizer": "standard", "filter": []string{"lowercase"}},
			"many": map[string]any{
				"type": "custom", "tokenizer": "standard",
				"filter": []string{"lowercase", "st", "tt"},
			},
			"text": map[string]any{"type": "custom", "tokenizer": "standard", "filter": "lowercase"},
		},
		"filter": map[string]any{
			"st": map[string]any{"type": "stop", "stopwords": []string{"und", "oder"}},
			"tt": map[string]any{"type": "stop", "stopwords": []string{"der,die", "das"}},
		},
	},
}

func rich(more map[string]any) map[string]any {
	settings := map[string]any{}
	for name, value := range richSettings {
		settings[name] = value
	}
	for name, value := range more {
		settings[name] = value
	}
	return settings
}

// 2.x finds no percolator queries unless they are named, and 5.x finds them like any document.
func TestLabVerifyPercolatorsOf2x(t *testing.T) {
	v := newVerifyLab(t, "2.4.6", "5.5.3", "perc", "only", "plain")
	for index, query := range map[string]bool{"perc": true, "only": true, "plain": false} {
		mappings := map[string]any{"doc": map[string]any{"properties": map[string]any{
			"t": map[string]any{"type": "string", "analyzer": "many"},
		}}}
		if query {
			mappings[".percolator"] = map[string]any{"properties": map[string]any{
				"query": map[string]any{"type": "object", "enabled": false},
			}}
		}
		v.put("/"+index, map[string]any{"settings": rich(map[string]any{"number_of_shards": 3}), "mappings": mappings})
	}
	for i := range 5 {
		for _, index := range []string{"perc", "only"} {
			v.put(fmt.Sprintf("/%s/.percolator/q%d", index, i),
				map[string]any{"query": map[string]any{"match": map[string]any{"t": fmt.Sprint("word", i)}}})
		}
		for _, index := range []string{"perc", "plain"} {
			v.put(fmt.Sprintf("/%s/doc/d%d", index, i), map[string]any{"t": "word"})
		}
	}
	v.ask(v.source, http.MethodPost, "/_refresh", nil)
	v.carried()
	result := v.verify()
	v.equalWithout(result)
	for _, index := range result.Indices {
		require.EqualValues(t, map[string]int64{"perc": 10, "only": 5, "plain": 5}[index.Name], index.SourceDocs,
			index.Name)
	}
	v.spoil(http.MethodDelete, "/perc/.percolator/q3", nil)
	require.Contains(t, v.unequal(), "index perc is not equal")
	require.NotContains(t, v.unequal(), "index only is not equal")
}

// 6.8 shows lists and _all otherwise than 5.5 does, and what really differs stands out.
func TestLabVerifyFrom5x(t *testing.T) {
	v := newVerifyLab(t, "5.5.2", "6.8.23", "rich", "all", "queries", "nested")
	doc := func(more map[string]any) map[string]any {
		root := map[string]any{"properties": map[string]any{
			"title": map[string]any{"type": "text", "analyzer": "many", "fields": map[string]any{
				"raw": map[string]any{"type": "keyword", "ignore_above": 256},
			}},
			"when": map[string]any{"type": "date", "format": "yyyy-MM-dd||epoch_millis"},
			"n":    map[string]any{"type": "long", "include_in_all": false},
			"o":    map[string]any{"properties": map[string]any{"p": map[string]any{"type": "text"}}},
			"list": map[string]any{
				"type":       "nested",
				"properties": map[string]any{"a": map[string]any{"type": "keyword"}},
			},
		}}
		for name, value := range more {
			root[name] = value
		}
		return map[string]any{"doc": root}
	}
	v.put("/rich", map[string]any{"settings": rich(map[string]any{"number_of_shards": 2}), "mappings": doc(nil)})
	v.put("/all", map[string]any{
		"settings": rich(map[string]any{"number_of_shards": 1}),
		"mappings": doc(map[string]any{"_all": map[string]any{"enabled": false}, "dynamic": "strict"}),
	})
	v.put("/queries", map[string]any{
		"settings": rich(map[string]any{"number_of_shards": 1, "store.throttle.type": "none"}), "mappings": doc(nil),
	})
	v.put("/nested", map[string]any{
		"settings": rich(map[string]any{"number_of_shards": 5, "max_slices_per_scroll": 1, "max_result_window": 1}),
		"mappings": doc(map[string]any{"_routing": map[string]any{"required": true}}),
	})
	var lines []string
	for i := range 20 {
		for _, index := range []string{"rich", "all", "queries", "nested"} {
			lines = append(lines, fmt.Sprintf(`{"index":{"_index":%q,"_type":"doc","_id":"%d","_routing":"r%d"}}`,
				index, i,
				i%3), fmt.Sprintf(`{"title":"t%d","when":"2020-01-01","n":%d,"list":[{"a":"x"},{"a":"y"}]}`, i, i))
		}
	}
	v.bulk(lines...)
	v.carried()
	result := v.verify()
	for i, index := range result.Indices {
		require.True(t, index.Equal, "%+v", index)
		if index.Name == "queries" {
			require.Len(t, index.Differences, 1)
			require.Contains(t, index.Differences[0], "setting index.store.throttle.type")
			result.Indices[i].Differences = nil
		}
	}
	v.equalWithout(result)

	v.spoil(http.MethodPut, "/nested/doc/7?routing=r1", map[string]any{"title": "other"})
	require.Contains(t, v.unequal(), "index nested is not equal")
}

// Many shards, few slices and small pages on a cluster with few scroll contexts.
func TestLabVerifyFrom6x(t *testing.T) {
	v := newVerifyLab(t, "6.8.23", "7.10.2", "rich", "plain")
	v.put("/rich", map[string]any{
		"settings": rich(map[string]any{"number_of_shards": 3}),
		"mappings": map[string]any{"doc": map[string]any{"properties": map[string]any{
			"title": map[string]any{"type": "text", "analyzer": "many"},
			"when":  map[string]any{"type": "date", "format": "yyyy-MM-dd||epoch_millis"},
			"list": map[string]any{
				"type":       "nested",
				"properties": map[string]any{"a": map[string]any{"type": "keyword"}},
			},
		}, "dynamic_templates": []any{map[string]any{"s": map[string]any{
			"match_mapping_type": "string", "mapping": map[string]any{"type": "keyword"},
		}}}}},
		"aliases": map[string]any{"some": map[string]any{"filter": map[string]any{"term": map[string]any{"title": "x"}}}},
	})
	v.put("/plain", map[string]any{"settings": map[string]any{"number_of_shards": 1, "number_of_replicas": 0}})
	var lines []string
	for i := range 20 {
		for _, index := range []string{"rich", "plain"} {
			lines = append(lines, fmt.Sprintf(`{"index":{"_index":%q,"_type":"doc","_id":"%d"}}`, index, i),
				fmt.Sprintf(`{"title":"t%d","when":"2020-01-01","list":[{"a":"x"}]}`, i))
		}
	}
	v.bulk(lines...)
	v.carried()
	v.equalWithout(v.verify())
	v.spoil(http.MethodDelete, "/rich/_doc/7", nil)
	require.Contains(t, v.unequal(), "index rich is not equal")
}

// An index of 80 shards took 640 scroll contexts, of which 7.x allows 500.
func TestLabVerifyManyShards(t *testing.T) {
	v := newVerifyLab(t, "7.10.2", "7.17.28", "wide", "rich")
	v.put("/wide", map[string]any{"settings": map[string]any{
		"number_of_shards": 80, "number_of_replicas": 0, "max_result_window": 5, "max_slices_per_scroll": 2,
	}})
	v.put("/rich", map[string]any{
		"settings": rich(map[string]any{"number_of_shards": 2}),
		"mappings": map[string]any{"properties": map[string]any{
			"title": map[string]any{"type": "text", "analyzer": "many"},
			"when":  map[string]any{"type": "date", "format": "yyyy-MM-dd||epoch_millis"},
			"where": map[string]any{"type": "geo_point"},
		}},
		"aliases": map[string]any{"some": map[string]any{"is_write_index": true}},
	})
	var lines []string
	for i := range 1600 {
		lines = append(lines, fmt.Sprintf(`{"index":{"_index":"wide","_id":"%d"}}`, i), `{"n":1}`)
	}
	for i := range 20 {
		lines = append(lines, fmt.Sprintf(`{"index":{"_index":"rich","_id":"%d","routing":"r"}}`, i), `{"title":"x"}`)
	}
	v.bulk(lines...)
	v.carried()
	v.equalWithout(v.verify())
	open := func(node *cluster.Client) string {
		return v.ask(node, http.MethodGet,
			"/_nodes/stats/indices/search?filter_path=nodes.*.indices.search.open_contexts",
			nil)
	}
	require.Contains(t, open(v.source), `"open_contexts":0`, "every scroll is cleared")
	require.Contains(t, open(v.target), `"open_contexts":0`, "every scroll is cleared")

	// Few contexts, and short ones.
	for _, node := range []*cluster.Client{v.source, v.target} {
		v.ask(node, http.MethodPut, "/_cluster/settings", map[string]any{"transient": map[string]any{
			"search.max_open_scroll_context": 2, "search.default_keep_alive": "1m", "search.max_keep_alive": "2m",
		}})
	}
	v.equalWithout(v.verify())

	// None at all.
	for range 2 {
		v.ask(v.target, http.MethodPost, "/rich/_search?scroll=1m&size=1&preference=_shards:0", nil)
	}
	v.activities.sleep = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	_, err := labTry[migration.VerifyResult](v.labRig, v.activities.VerifyTarget, v.request)
	var failure *temporal.ApplicationError
	require.ErrorAs(t, err, &failure)
	require.Equal(t, string(migration.ErrorRefused), failure.Type(), "%v", err)
	require.True(t, failure.NonRetryable())
	require.Contains(t, failure.Message(), "search.max_open_scroll_context")
	v.ask(v.target, http.MethodDelete, "/_search/scroll/_all", nil)

	v.spoil(http.MethodDelete, "/wide/_doc/77", nil)
	require.Contains(t, v.unequal(), "index wide is not equal")
}
