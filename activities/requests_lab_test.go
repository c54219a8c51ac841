//go:build lab

package activities

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/migration"
)

var labVersions = []string{"2.4.6", "5.5.2", "6.8.23", "7.10.2", "7.17.28", "8.17.2"}

// From 5.0 on a node refuses a parameter that it doesn't know. So every request that changes a
// cluster's state goes to each version once.
func TestLabVersionsTakeOurRequests(t *testing.T) {
	for _, version := range labVersions {
		t.Run(version, func(t *testing.T) {
			r := sourceRig(t, version)
			t.Run("changes of the cluster's state", func(t *testing.T) { takesChanges(t, r) })
			t.Run("probes", func(t *testing.T) { answersProbes(t, r) })
			t.Run("counts", func(t *testing.T) { answersCounts(t, r) })
		})
	}
}

// direct is a client of the node behind Amazon's front end, which refuses some requests.
func (r *labRig) direct(t *testing.T) *elastic.Client {
	t.Helper()
	client, err := elastic.New(elastic.Config{Endpoint: r.lab.Source.DirectURL})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return client
}

func takesChanges(t *testing.T, r *labRig) {
	ctx, c := t.Context(), r.direct(t)
	version, err := c.Version(ctx)
	require.NoError(t, err)
	repository := elastic.Repository{Type: "s3", Settings: map[string]any{
		"bucket": r.lab.S3.Bucket, "base_path": "requests/" + version.Number,
	}}
	require.NoError(t, c.PutRepository(ctx, "requests", repository))
	repository.Settings["max_snapshot_bytes_per_sec"] = "20mb"
	require.NoError(t, c.ChangeRepository(ctx, "requests", repository))

	require.NoError(t, c.CreateIndex(ctx, "changed", elastic.NewIndex{
		Settings: map[string]json.RawMessage{"number_of_replicas": json.RawMessage("0")},
		Aliases:  map[string]json.RawMessage{"also": json.RawMessage("{}")},
	}))
	require.NoError(t, c.BlockWrites(ctx, []string{"changed"}))
	require.NoError(t, c.PutIndexSettings(ctx, []string{"changed"}, map[string]any{writeBlock: false}))
	require.NoError(t, c.RemoveAliases(ctx, []elastic.IndexAlias{{Index: "changed", Alias: "also"}}))
	require.NoError(t, c.PutClusterSettings(ctx, nil, map[string]any{"indices.recovery.max_bytes_per_sec": "41mb"}))
	r.until(func() bool { // its primary may start a moment later
		health, err := c.Health(ctx, []string{"changed"})
		return err == nil && health.Indices["changed"] != "red"
	})

	require.NoError(t, c.CreateSnapshot(ctx, "requests", "one", []string{"changed"}))
	// Whoever asks for a snapshot without a look is told that there is one, also while it runs.
	again := func() elastic.Kind {
		kind := elastic.KindOf(c.CreateSnapshot(ctx, "requests", "one", []string{"changed"}))
		require.Contains(t, []elastic.Kind{elastic.SlotTaken, elastic.AlreadyExists}, kind)
		return kind
	}
	again()
	r.until(func() bool {
		info, err := c.Snapshot(ctx, "requests", "one")
		return err == nil && info.Complete()
	})
	r.until(func() bool { return again() == elastic.AlreadyExists })
	require.NoError(t, c.CloseIndices(ctx, []string{"changed"}))
	require.NoError(t, c.OpenIndices(ctx, []string{"changed"}))
	require.NoError(t, c.Restore(ctx, "requests", "one", elastic.RestoreOptions{
		Indices: []string{"changed"}, RenamePattern: "(.+)", RenameReplacement: "restored-$1",
	}))
	r.until(func() bool {
		health, err := c.Health(ctx, []string{"restored-changed"})
		return err == nil && health.Indices["restored-changed"] == "green"
	})
	r.until(func() bool { // a restore ends a moment after its shards
		return c.DeleteSnapshot(ctx, "requests", "one") == nil
	})
	require.NoError(t, c.DeleteIndices(ctx, []string{"changed", "restored-changed", "never-there"}))
	require.NoError(t, c.DeleteRepository(ctx, "requests"))
}

// Each kind of index answers a probe as it would answer a write, and none is changed by it.
func answersProbes(t *testing.T, r *labRig) {
	ctx, c := t.Context(), r.direct(t)
	version, err := c.Version(ctx)
	require.NoError(t, err)
	// An own type, as old applications have, and an index that demands a routing.
	mapping := func(inner string) string {
		if version.Major >= 7 {
			return inner
		}
		return `{"film":` + inner + `}`
	}
	expected := map[string]string{}
	create := func(name, kind, mappings string, settings map[string]any) {
		body := map[string]any{"settings": map[string]any{"number_of_shards": 2, "number_of_replicas": 0}}
		if mappings != "" {
			body["mappings"] = json.RawMessage(mappings)
		}
		r.ask(r.node(), http.MethodPut, "/"+name, body)
		for setting, value := range settings {
			r.setting(name, map[string]any{setting: value})
		}
		expected[name] = kind
	}
	create("unmapped", "open", "", nil)
	create("typed", "open", mapping(`{"properties":{"title":{"type":"integer"}}}`), nil)
	create("routed", "open", mapping(`{"_routing":{"required":true}}`), nil)
	create("strict", "open", mapping(`{"dynamic":"strict"}`), nil)
	create("percent%25", "open", "", nil)
	delete(expected, "percent%25")
	expected["percent%"] = "open"
	create("blocked", "blocked", mapping(`{}`), map[string]any{writeBlock: true})
	create("blocked-routed", "blocked", mapping(`{"_routing":{"required":true}}`), map[string]any{writeBlock: true})
	create("read-only", "blocked", "", map[string]any{"index.blocks.read_only": true})
	if version.Major >= 6 {
		create("allows-delete", "blocked", "", map[string]any{"index.blocks.read_only_allow_delete": true})
	}
	if version.Major < 6 {
		create("child", "open", `{"film":{"_parent":{"type":"studio"}},"studio":{}}`, nil)
	}
	// No node may hold its shards, so that it has no primary.
	r.ask(r.node(), http.MethodPut, "/red"+map[bool]string{true: "?wait_for_active_shards=0"}[version.Major >= 5],
		map[string]any{"settings": map[string]any{
			"number_of_shards": 1, "number_of_replicas": 0, "index.routing.allocation.require._name": "nobody",
		}})
	expected["red"] = "unavailable"
	create("closed", "closed", "", nil)
	there := slices.DeleteFunc(slices.Sorted(maps.Keys(expected)), func(name string) bool { return name == "red" })
	active, err := c.AwaitPrimaries(ctx, there, time.Minute)
	require.NoError(t, err)
	require.True(t, active)
	active, err = c.AwaitPrimaries(ctx, []string{"red"}, time.Millisecond)
	require.NoError(t, err, "no answer in time is no failure")
	require.False(t, active)
	copies, err := c.Shards(ctx, there)
	require.NoError(t, err)
	started := map[string]int{}
	for _, shard := range copies {
		if shard.Started() {
			started[shard.Index]++
		}
	}
	active, err = c.AwaitActive(ctx, started, time.Minute)
	require.NoError(t, err)
	require.True(t, active)
	started["red"] = 1
	active, err = c.AwaitActive(ctx, started, time.Millisecond)
	require.NoError(t, err)
	require.False(t, active)
	r.ask(r.node(), http.MethodPost, "/closed/_close", nil)
	expected["never-there"] = "missing"
	names := slices.Sorted(maps.Keys(expected))

	counted := slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return expected[name] == "closed" || expected[name] == "missing" || expected[name] == "unavailable"
	})
	mappings := func() string { return r.ask(r.node(), http.MethodGet, "/_all/_mapping", nil) }
	before, err := c.WriteCounters(ctx, counted)
	require.NoError(t, err)
	mappingsBefore := mappings()

	for _, expectation := range []elastic.Expected{elastic.ExpectBlocked, elastic.ExpectOpen} {
		probes, err := c.ProbeWrites(ctx, names, expectation)
		require.NoError(t, err)
		got := map[string]string{}
		for name, probe := range probes {
			switch kind := elastic.KindOf(probe.Err); {
			case probe.Blocked:
				got[name] = "blocked"
			case kind == elastic.None:
				got[name] = "open"
			case kind == elastic.Missing:
				got[name] = "missing"
			case kind == elastic.Invalid && name == "closed":
				got[name] = "closed"
			case kind == elastic.Unavailable:
				got[name] = "unavailable"
			default:
				got[name] = probe.Err.Error()
			}
		}
		if got["closed"] == "blocked" { // as some versions say
			got["closed"] = "closed"
		}
		require.Equal(t, expected, got)
	}
	for _, name := range counted { // one by one, as where bulk requests are forbidden
		blocked, err := c.ProbeWrite(ctx, name, "")
		require.NoError(t, err, name)
		require.Equal(t, expected[name] == "blocked", blocked, name)
	}
	after, err := c.WriteCounters(ctx, counted)
	require.NoError(t, err)
	require.Equal(t, before, after, "no counter and no sequence number moved")
	require.JSONEq(t, mappingsBefore, mappings(), "no mapping changed, and no index was made")

	// A block of the cluster refuses all.
	setting := "cluster.blocks.read_only"
	r.ask(r.node(), http.MethodPut, "/_cluster/settings", map[string]any{"transient": map[string]any{setting: true}})
	probes, err := c.ProbeWrites(ctx, counted, elastic.ExpectOpen)
	r.ask(r.node(), http.MethodPut, "/_cluster/settings", map[string]any{"transient": map[string]any{setting: false}})
	require.NoError(t, err)
	for _, name := range counted {
		require.True(t, probes[name].Blocked, "%s: %v", name, probes[name].Err)
	}
	for name, setting := range map[string]string{
		"read-only": "index.blocks.read_only", "allows-delete": "index.blocks.read_only_allow_delete",
	} {
		if expected[name] != "" {
			r.setting(name, map[string]any{setting: false})
		}
	}
	require.NoError(t, c.DeleteIndices(ctx, slices.DeleteFunc(names, func(name string) bool {
		return name == "never-there"
	})))
}

// One request gives the counts that one request for each index would give.
func answersCounts(t *testing.T, r *labRig) {
	ctx, c := t.Context(), r.direct(t)
	var names []string
	docType := r.docType()
	for i := range 12 {
		name := fmt.Sprintf("counted-%02d", i)
		names = append(names, name)
		r.ask(r.node(), http.MethodPut, "/"+name, map[string]any{
			"settings": map[string]any{"number_of_shards": 1 + i%3, "number_of_replicas": 0},
		})
		for id := range i {
			r.ask(r.node(), http.MethodPut, fmt.Sprintf("/%s/%s/%d", name, docType, id), map[string]any{"a": id})
		}
	}
	require.NoError(t, c.Refresh(ctx, names))
	counts, err := c.Counts(ctx, names)
	require.NoError(t, err)
	for _, name := range names {
		one, err := c.Count(ctx, name)
		require.NoError(t, err)
		require.Equal(t, one, counts[name], name)
	}
	countsLoads(t, r, c, names)
	require.NoError(t, c.DeleteIndices(ctx, names))
}

// countsLoads looks at what each version counts of indices whose number is that of their documents.
func countsLoads(t *testing.T, r *labRig, c *elastic.Client, names []string) {
	loads, err := c.Loads(t.Context(), names)
	require.NoError(t, err)
	for i, name := range names {
		load := loads[name]
		require.EqualValues(t, i, load.Docs, name)
		require.EqualValues(t, i, load.IndexTotal, name)
		require.Positive(t, load.Bytes, name)
		require.Zero(t, load.MergedBytes, name)
		if i > 0 {
			require.Positive(t, load.Segments, name)
		}
	}

	// Merges are counted once a shard has several segments.
	merged := names[0]
	const docs = 4
	for id := range docs {
		r.ask(r.node(), http.MethodPut, fmt.Sprintf("/%s/%s/%d?refresh=true", merged, r.docType(), id),
			map[string]any{"a": id})
	}
	r.ask(r.node(), http.MethodDelete, "/"+merged+"/"+r.docType()+"/0?refresh=true", nil)
	r.ask(r.node(), http.MethodPost, "/"+merged+"/_forcemerge?max_num_segments=1", nil)
	loads, err = c.Loads(t.Context(), []string{merged})
	require.NoError(t, err)
	load := loads[merged]
	require.EqualValues(t, []int64{docs, 1}, []int64{load.IndexTotal, load.DeleteTotal})
	require.EqualValues(t, docs-1, load.Docs)
	require.Positive(t, load.MergedBytes, "%+v", load)
	require.Positive(t, load.Segments) // how many depends on when the old ones are let go
}

// 300 indices on real nodes: the block, the standstill with its probe, the verification and the
// handover take a few requests each.
func TestLabRequestsAreFew(t *testing.T) {
	v := newVerifyLab(t, "5.5.2", "6.8.23", "few-*")
	v.run.Plan.Verify.Checksum = migration.ChecksumNone
	var names, lines []string
	for i := range 300 {
		names = append(names, fmt.Sprintf("few-%03d", i))
		lines = append(lines, fmt.Sprintf(`{"index":{"_index":%q,"_type":"doc","_id":"1"}}`, names[i]), `{"a":1}`)
	}
	v.ask(v.source, http.MethodPut, "/_template/few", map[string]any{
		"template": "few-*", "settings": map[string]any{"number_of_shards": 1, "number_of_replicas": 0},
	})
	for batch := range slices.Chunk(lines, 100) { // more would not fit into the node's queue
		v.bulk(batch...)
	}
	var sent atomic.Int64
	for front, url := range map[interface{ SetUpstream(string) error }]string{
		v.lab.Source.Front: v.lab.Source.DirectURL, v.lab.Target.Front: v.lab.Target.DirectURL,
	} {
		require.NoError(t, front.SetUpstream(countingProxy(t, url, &sent)))
	}
	batches := len(elastic.Batches(names))
	few := func(name string, most int, do func()) {
		before := sent.Load()
		began := time.Now()
		do()
		took := int(sent.Load() - before)
		t.Logf("%s: %d requests, %s", name, took, time.Since(began).Round(time.Millisecond))
		require.LessOrEqual(t, took, most, name)
	}

	v.carried()
	found := labMust[[]migration.SourceIndex](v.labRig, v.activities.ReadSourceBlocks, v.names(names...))
	for i := range found {
		found[i].Blocks = nil // ours
	}
	v.ask(v.source, http.MethodPut, "/few-*/_settings", map[string]any{writeBlock: nil})
	few("BlockSource", 6*batches+3, func() {
		blocked := labMust[migration.BlockResult](v.labRig, v.activities.BlockSource,
			migration.BlockRequest{Run: v.run, Indices: found})
		require.Len(t, blocked.Blocked, len(names))
	})
	few("AwaitStandstill", 16*batches+5, func() {
		labMust[migration.Standstill](v.labRig, v.activities.AwaitStandstill,
			migration.StandstillRequest{IndicesRequest: v.names(names...)})
	})
	few("VerifyTarget", 16*batches+10+6*len(names)/metadataIndices, func() {
		for _, index := range v.verify().Indices {
			require.True(t, index.Equal, "%+v", index)
		}
	})
	handover := make([]migration.HandoverIndex, len(names))
	for i, name := range names {
		handover[i] = migration.HandoverIndex{Name: name, Settings: map[string]string{numberOfReplicas: "0"}}
	}
	few("HandOver", 8*batches+5+len(names)/int(elastic.ExpectOpen), func() {
		handed := labMust[migration.HandOverResult](v.labRig, v.activities.HandOver,
			migration.HandOverRequest{Run: v.run, Indices: handover})
		require.Empty(t, handed.Refused)
	})
	few("UnblockSource", 6*batches+5+len(names)/int(elastic.ExpectOpen), func() {
		unblocked := labMust[migration.UnblockResult](v.labRig, v.activities.UnblockSource,
			migration.UnblockRequest{Run: v.run, Indices: found})
		require.Empty(t, unblocked.Refused)
	})
}

// countingProxy stands before a node and counts what it is asked.
func countingProxy(t *testing.T, to string, count *atomic.Int64) string {
	t.Helper()
	upstream, err := url.Parse(to)
	require.NoError(t, err)
	forward := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		count.Add(1)
		p.SetURL(upstream)
		p.Out.URL.RawQuery = p.In.URL.RawQuery
	}}
	server := httptest.NewServer(forward)
	t.Cleanup(server.Close)
	return server.URL
}
