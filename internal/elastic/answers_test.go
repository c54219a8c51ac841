package elastic_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestVersions(t *testing.T) {
	for number, id := range map[string]int{
		"5.5.2": 5050299, "7.10.2": 7100299, "2.4.6": 2040699,
		"6.0.0-beta1": 6000026, "6.0.0-rc2": 6000052, "5.0.0-alpha3": 5000003,
	} {
		version, err := elastic.ParseVersion(number)
		require.NoError(t, err)
		assert.Equal(t, id, version.ID, number)
		assert.Equal(t, number, elastic.VersionString(id))
	}
	assert.Equal(t, "OpenSearch 1.3.2", elastic.VersionString(0x08000000|1030299))
	assert.Contains(t, elastic.VersionString(8521000), "8.11 or later")
	assert.True(t, elastic.NamesNoVersion(8521000))
	assert.False(t, elastic.NamesNoVersion(8100299))
	assert.False(t, elastic.NamesNoVersion(0x08000000|1030299), "OpenSearch's do")
	assert.Equal(t, "unknown", elastic.VersionString(0))
	_, err := elastic.ParseVersion("seven")
	assert.Error(t, err)
	older, _ := elastic.ParseVersion("5.5.2")
	newer, _ := elastic.ParseVersion("5.5.3")
	assert.Negative(t, older.Compare(newer))
	assert.True(t, newer.AtLeast(5, 5))
	assert.False(t, newer.AtLeast(5, 6))
	assert.False(t, newer.AtLeast(6, 0))
}

func TestInfoTellsDistributionsApart(t *testing.T) {
	for body, want := range map[string]elastic.Info{
		`{"cluster_name":"123:dom","version":{"number":"7.10.2","build_flavor":"oss"},"tagline":"You Know, for Search"}`:                  {ClusterName: "123:dom", Distribution: "elasticsearch", BuildFlavor: "oss"},
		`{"version":{"number":"7.10.2","distribution":"opensearch"},"tagline":"The OpenSearch Project: https://opensearch.org/"}`:         {Distribution: "opensearch"},
		`{"version":{"number":"7.10.2"},"tagline":"The OpenSearch Project: https://opensearch.org/"}`:                                     {Distribution: "opensearch"},
		`{"cluster_name":"c","cluster_uuid":"u","version":{"number":"7.10.2","build_flavor":"default"},"tagline":"You Know, for Search"}`: {ClusterName: "c", ClusterUUID: "u", Distribution: "elasticsearch", BuildFlavor: "default"},
	} {
		fake, client := newFake(t, "7.10.2", map[string]answer{})
		fake.answers["GET /"] = ok(body)
		info, err := client.Info(t.Context())
		require.NoError(t, err)
		want.Version, _ = elastic.ParseVersion("7.10.2")
		assert.Equal(t, want, info)
	}
}

func TestIndices(t *testing.T) {
	_, client := newFake(t, "5.5.2", map[string]answer{
		"GET /a*,b/_settings": ok(
			`{"a1":{"settings":{"index.uuid":"U1","index.number_of_shards":"3","index.number_of_replicas":"1","index.version.created":"5050299","index.refresh_interval":"5s","index.blocks.write":"true","index.analysis.x":["p","q"],"index.gone":null}},` +
				`"b":{"settings":{"index.uuid":"U2","index.number_of_shards":"1","index.number_of_replicas":"0","index.version.created":"2040699"}}}`),
		"GET /_cluster/state/metadata/a1,b": ok(
			`{"metadata":{"indices":{"a1":{"state":"open"},"b":{"state":"close"}}}}`),
		"GET /a1/_stats/docs,indexing,store": ok(
			`{"_shards":{"total":6,"successful":3,"failed":0},"indices":{"a1":{"primaries":{"docs":{"count":42,"deleted":1},"indexing":{"index_total":50,"delete_total":4},"store":{"size_in_bytes":1000}}}}}`),
		"GET /nope/_settings": {
			404,
			`{"error":{"type":"index_not_found_exception","reason":"no such index","resource.id":"nope","index":"nope"},"status":404}`,
		},
	})
	indices, err := client.Indices(t.Context(), "a*,b")
	require.NoError(t, err)
	assert.Equal(t, []elastic.Index{
		{
			Name: "a1", UUID: "U1", Open: true, CreatedVersion: 5050299, Shards: 3, Replicas: 1, RefreshInterval: "5s",
			PrimaryDocs: 42, PrimaryBytes: 1000, PrimaryWrites: 54,
			Blocks: map[string]string{"index.blocks.write": "true"},
			Settings: map[string]string{
				"index.uuid": "U1", "index.number_of_shards": "3",
				"index.number_of_replicas": "1", "index.version.created": "5050299",
				"index.refresh_interval": "5s", "index.blocks.write": "true", "index.analysis.x": "p,q",
			},
		},
		{
			Name: "b", UUID: "U2", CreatedVersion: 2040699, Shards: 1, Blocks: map[string]string{},
			Settings: map[string]string{
				"index.uuid": "U2", "index.number_of_shards": "1",
				"index.number_of_replicas": "0", "index.version.created": "2040699",
			},
		},
	}, indices)
	_, err = client.Indices(t.Context(), "nope")
	assert.Equal(t, elastic.Missing, elastic.KindOf(err))
	assert.ErrorContains(t, err, "no such index [nope]")
}

func TestLoads(t *testing.T) {
	_, client := newFake(t, "5.5.2", map[string]answer{
		"GET /a1/_stats/docs,indexing,merge,segments,store": ok(
			`{"_shards":{"total":6,"successful":3,"failed":0},"indices":{"a1":{"primaries":{` +
				`"docs":{"count":42,"deleted":1},"indexing":{"index_total":50,"delete_total":4,"noop_update_total":1},` +
				`"merges":{"current":0,"total":3,"total_docs":30,"total_size_in_bytes":700},` +
				`"segments":{"count":9},"store":{"size_in_bytes":1000}},"total":{"docs":{"count":84,"deleted":2}}}}}`),
	})
	loads, err := client.Loads(t.Context(), []string{"a1"})
	require.NoError(t, err)
	assert.Equal(t, map[string]elastic.Load{"a1": {
		Docs: 42, Deleted: 1, Bytes: 1000, Segments: 9, IndexTotal: 50, DeleteTotal: 4, MergedBytes: 700,
	}}, loads)
}

func TestMappingsAndAliases(t *testing.T) {
	typed := `{"a":{"mappings":{"kid":{"_parent":{"type":"dad"}},"dad":{}}}}`
	_, five := newFake(t, "5.5.2", map[string]answer{
		"GET /a,empty/_mapping": ok(typed),
		"GET /a,empty/_alias":   ok(`{"a":{"aliases":{"x":{"filter":{"term":{"k":1}}}}}}`),
	})
	mappings, err := five.Mappings(t.Context(), []string{"a", "empty"})
	require.NoError(t, err)
	assert.Equal(t, []string{"dad", "kid"}, mappings["a"].Types)
	assert.JSONEq(t, `{"kid":{"_parent":{"type":"dad"}},"dad":{}}`, string(mappings["a"].Raw))
	assert.Empty(t, mappings["empty"].Types)
	aliases, err := five.Aliases(t.Context(), []string{"a", "empty"})
	require.NoError(t, err)
	assert.JSONEq(t, `{"filter":{"term":{"k":1}}}`, string(aliases["a"]["x"]))
	assert.Contains(t, aliases, "empty")

	_, seven := newFake(t, "7.10.2",
		map[string]answer{"GET /a,empty/_mapping": ok(
			`{"a":{"mappings":{"dynamic":"strict","properties":{"n":{"type":"long"}}}},"empty":{"mappings":{}}}`)})
	mappings, err = seven.Mappings(t.Context(), []string{"a", "empty"})
	require.NoError(t, err)
	assert.Equal(t, []string{"_doc"}, mappings["a"].Types)
	assert.Empty(t, mappings["empty"].Types)
}

// From 8.11 on a record has a range of versions where the snapshot could be of several.
func TestVersionsOfSnapshotRecordsOf8x(t *testing.T) {
	record := func(name, version string, id int) string {
		return fmt.Sprintf(`{"snapshot":%q,"uuid":"U","version_id":%d,"version":%q,"indices":["a"],"state":"SUCCESS",`+
			`"repository":"mig","feature_states":[],"data_streams":[],"failures":[],`+
			`"shards":{"total":1,"failed":0,"successful":1}}`, name, id, version)
	}
	_, client := newFake(t, "8.17.2", map[string]answer{"GET /_snapshot/mig/_all": ok(`{"snapshots":[` +
		record("old", "7.10.2", 7100299) + "," + record("between", "7.17.28-8.0.0", 7172899) + "," +
		record("own", "8.17.0-8.17.2", 8521000) + `],"total":3,"remaining":0}`)})
	snapshots, err := client.Snapshots(t.Context(), "mig")
	require.NoError(t, err)
	require.Len(t, snapshots, 3)
	for i, version := range []string{"7.10.2", "7.17.28-8.0.0", "8.17.0-8.17.2"} {
		assert.Equal(t, version, snapshots[i].Version)
		assert.True(t, snapshots[i].Complete())
	}
}

func TestSnapshotRecords(t *testing.T) {
	_, client := newFake(t, "5.5.2", map[string]answer{"GET /_snapshot/mig/_all": ok(`{"snapshots":[` +
		`{"snapshot":"s1","uuid":"U","version_id":5050299,"version":"5.5.2","indices":["a","b"],"state":"SUCCESS","start_time_in_millis":1,"end_time_in_millis":2,"duration_in_millis":1,"failures":[],"shards":{"total":10,"failed":0,"successful":10}},` +
		`{"snapshot":"s2","uuid":"V","version_id":5050299,"version":"5.5.2","indices":["a"],"state":"PARTIAL","start_time_in_millis":3,"end_time_in_millis":4,"failures":[{"index":"a","shard_id":1,"reason":"disk","node_id":"n","status":"INTERNAL_SERVER_ERROR"}],"shards":{"total":5,"failed":1,"successful":4}},` +
		`{"snapshot":"s3","uuid":"W","version_id":5050299,"version":"5.5.2","indices":["a"],"state":"IN_PROGRESS","start_time_in_millis":5,"end_time_in_millis":0,"failures":[],"shards":{"total":0,"failed":0,"successful":0}}]}`)})
	snapshots, err := client.Snapshots(t.Context(), "mig")
	require.NoError(t, err)
	require.Len(t, snapshots, 3)
	assert.Equal(t, elastic.SnapshotInfo{
		Name: "s1", UUID: "U", State: elastic.Success, Version: "5.5.2",
		VersionID: 5050299, Indices: []string{"a", "b"},
		StartMillis: 1, EndMillis: 2, Failures: []elastic.SnapshotFailure{}, ShardsTotal: 10, ShardsSuccessful: 10,
	},
		snapshots[0])
	assert.True(t, snapshots[0].Complete())
	assert.False(t, snapshots[1].Complete())
	assert.Equal(t, []elastic.SnapshotFailure{{Index: "a", Shard: 1, Reason: "disk"}}, snapshots[1].Failures)
	assert.False(t, snapshots[2].Complete())

	// As 2.4.6 answers; 5.5.3 shows the name as the uuid of the same snapshot.
	_, old := newFake(t, "2.4.6",
		map[string]answer{"GET /_snapshot/mig/s1": ok(
			`{"snapshots":[{"snapshot":"s1","version_id":2040699,"version":"2.4.6","indices":["a"],"state":"SUCCESS",` +
				`"start_time":"2026-11-23T09:00:00.000Z","start_time_in_millis":1,"end_time":"2026-11-23T09:00:01.000Z","end_time_in_millis":2,"duration_in_millis":1,"failures":[],"shards":{"total":1,"failed":0,"successful":1}}]}`)})
	snapshot, err := old.Snapshot(t.Context(), "mig", "s1")
	require.NoError(t, err)
	assert.Equal(t, "s1", snapshot.UUID)
	assert.True(t, snapshot.Complete())
}

func TestSnapshotProgressHasOneShapeForAllVersions(t *testing.T) {
	status := func(stage, stats string) answer {
		return ok(
			`{"snapshots":[{"snapshot":"s1","repository":"mig","uuid":"U","state":"STARTED","shards_stats":{"initializing":1,"started":1,"finalizing":0,"done":0,"failed":0,"total":2},"stats":` + stats +
				`,"indices":{"a":{"stats":` + stats + `,"shards":{"0":{"stage":"` + stage + `","stats":` + stats +
				`,"node":"n"},"1":{"stage":"INIT","stats":{"number_of_files":0,"processed_files":0,"total_size_in_bytes":0,"processed_size_in_bytes":0}}}}}}]}`)
	}
	old := `"number_of_files":4,"processed_files":1,"total_size_in_bytes":1000,"processed_size_in_bytes":250`
	newer := `"incremental":{"file_count":4,"size_in_bytes":1000},"total":{"file_count":9,"size_in_bytes":9000}`
	processed := `,"processed":{"file_count":1,"size_in_bytes":250}`
	quarter := elastic.Progress{FilesTotal: 4, FilesDone: 1, BytesTotal: 1000, BytesDone: 250}
	all := elastic.Progress{FilesTotal: 4, FilesDone: 4, BytesTotal: 1000, BytesDone: 1000}
	for name, c := range map[string]struct {
		answer answer
		want   elastic.Progress
	}{
		"5.x": {
			status("STARTED", `{`+old+`,"start_time_in_millis":1,"time_in_millis":1}`),
			quarter,
		},
		"6.8":                      {status("STARTED", `{`+newer+processed+`,`+old+`}`), quarter},
		"7.x running":              {status("STARTED", `{`+newer+processed+`}`), quarter},
		"7.x complete":             {status("FINALIZE", `{`+newer+`}`), all},
		"7.x done with tiny files": {status("DONE", `{`+newer+processed+`}`), all},
		"5.x done":                 {status("DONE", `{`+old+`}`), all},
		"nothing to upload, 7.x": {
			status("DONE",
				`{"incremental":{"file_count":0,"size_in_bytes":0},"total":{"file_count":9,"size_in_bytes":9000}}`),
			elastic.Progress{},
		},
		"nothing to upload on 5.5.": {
			status("DONE",
				`{"number_of_files":0,"processed_files":0,"total_size_in_bytes":0,"processed_size_in_bytes":0}`),
			elastic.Progress{},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, client := newFake(t, "5.5.2", map[string]answer{
				"GET /_snapshot/mig/_status": c.answer,
				"GET /_snapshot/_status":     c.answer,
			})
			got, err := client.SnapshotStatus(t.Context(), "mig", "s1")
			require.NoError(t, err)
			assert.Equal(t, c.want, got.Progress)
			assert.Equal(t, c.want, got.Indices["a"].Shards[0].Progress)
			assert.Equal(t, "INIT", got.Indices["a"].Shards[1].Stage)
			assert.Equal(t, 2, got.ShardsTotal)
			running, err := client.RunningSnapshots(t.Context())
			require.NoError(t, err)
			assert.Equal(t, []elastic.RunningSnapshot{{Repository: "mig", Name: "s1"}}, running)
		})
	}
}

// One that doesn't run is asked for by name, and so is each where the service allows nothing else.
func TestSnapshotStatusByName(t *testing.T) {
	byName := ok(`{"snapshots":[{"snapshot":"s1","repository":"mig","uuid":"u1","state":"SUCCESS"}]}`)
	for name, running := range map[string]answer{
		"nothing runs":      ok(`{"snapshots":[]}`),
		"another one runs":  ok(`{"snapshots":[{"snapshot":"s2","repository":"mig","uuid":"u2","state":"STARTED"}]}`),
		"it is not allowed": {403, `{"Message":"not allowed"}`},
	} {
		t.Run(name, func(t *testing.T) {
			_, client := newFake(t, "5.5.2", map[string]answer{
				"GET /_snapshot/mig/_status": running, "GET /_snapshot/mig/s1/_status": byName,
			})
			got, err := client.SnapshotStatus(t.Context(), "mig", "s1")
			require.NoError(t, err)
			require.Equal(t, "u1", got.UUID)
		})
	}
}

func TestRecoveryAndShards(t *testing.T) {
	_, client := newFake(t, "5.5.3", map[string]answer{
		"GET /a/_recovery": ok(`{"a":{"shards":[{"id":1,"type":"SNAPSHOT","stage":"INDEX","primary":true,"start_time_in_millis":5,"stop_time_in_millis":0,
			"source":{"repository":"r","snapshot":"s","version":"5.5.2","index":"a"},"target":{"id":"n","name":"node-1"},
			"index":{"size":{"total_in_bytes":100,"reused_in_bytes":40,"recovered_in_bytes":30,"percent":"50.0%"},"files":{"total":10,"reused":4,"recovered":3,"percent":"50.0%"}}},
			{"id":0,"type":"peer","stage":"done","primary":false,"source":{"id":"m","name":"node-2"},"target":{"name":"node-1"},"index":{"size":{},"files":{}}}]}}`),
		"GET /_cluster/state/routing_table/a": ok(`{"routing_table":{"indices":{"a":{"shards":{
			"1":[{"state":"UNASSIGNED","primary":true,"node":null,"relocating_node":null,"shard":1,"index":"a","recovery_source":{"type":"SNAPSHOT","repository":"r","snapshot":"s","version":"5.5.2","index":"a"},
				"unassigned_info":{"reason":"ALLOCATION_FAILED","at":"2026-01-01T00:00:00.000Z","failed_attempts":5,"delayed":false,"details":"failed recovery","allocation_status":"deciders_no"}}],
			"0":[{"state":"INITIALIZING","primary":false,"node":"n","shard":0,"index":"a","allocation_id":{"id":"A2"}},{"state":"STARTED","primary":true,"node":"m","shard":0,"index":"a","allocation_id":{"id":"A1"}}]}}}}}`),
	})
	recoveries, err := client.Recovery(t.Context(), []string{"a"})
	require.NoError(t, err)
	assert.Equal(t, []elastic.ShardRecovery{
		{Index: "a", Shard: 0, Type: "PEER", Stage: "DONE", Node: "node-1"},
		{
			Index: "a", Shard: 1, Primary: true, Type: "SNAPSHOT", Stage: "INDEX", Repository: "r", Snapshot: "s",
			Node:       "node-1",
			BytesTotal: 100, BytesReused: 40, BytesRecovered: 30, FilesTotal: 10, FilesReused: 4, FilesRecovered: 3,
			StartMillis: 5,
		},
	}, recoveries)
	shards, err := client.Shards(t.Context(), []string{"a"})
	require.NoError(t, err)
	assert.Equal(t, []elastic.ShardCopy{
		{Index: "a", Shard: 0, Primary: true, State: "STARTED", Node: "m", AllocationID: "A1"},
		{Index: "a", Shard: 0, State: "INITIALIZING", Node: "n", AllocationID: "A2"},
		{
			Index: "a", Shard: 1, Primary: true, State: "UNASSIGNED",
			Source: &elastic.RecoverySource{Type: "SNAPSHOT", Repository: "r", Snapshot: "s"},
			Unassigned: &elastic.Unassigned{
				Reason: "ALLOCATION_FAILED", Details: "failed recovery",
				At: "2026-01-01T00:00:00.000Z", FailedAttempts: 5, AllocationStatus: "deciders_no",
			},
		},
	}, shards)
	assert.True(t, shards[0].Started())
	assert.Equal(t, "[a][1] primary", shards[2].String())
}

func TestWriteCounters(t *testing.T) {
	settings := ok(`{"a":{"settings":{"index.number_of_shards":"2"}}}`)
	stats := `{"_shards":{"total":4,"successful":3,"failed":0},"indices":{"a":{"shards":{
		"0":[{"routing":{"state":"STARTED","primary":false,"node":"m"},"docs":{"count":9}},
			{"routing":{"state":"RELOCATING","primary":true,"node":"n","relocating_node":"m"},"docs":{"count":5,"deleted":1},"indexing":{"index_total":7,"index_current":1,"delete_total":2,"delete_current":0},"translog":{"operations":9,"size_in_bytes":1}},
			{"routing":{"state":"INITIALIZING","primary":true,"node":"m"},"docs":{"count":0}}]SECOND}}}}`
	second := `,"1":[{"routing":{"state":"STARTED","primary":true,"node":"n"},"docs":{"count":3,"deleted":0},"indexing":{"index_total":3},"seq_no":{"max_seq_no":2,"local_checkpoint":2,"global_checkpoint":2}}]`
	with := func(second string) answer {
		return ok(replaceOnce(stats, "SECOND", second))
	}
	_, client := newFake(t, "5.5.2", map[string]answer{
		"GET /a/_settings":                     settings,
		"GET /a/_stats/docs,indexing,translog": with(second), "GET /a/_stats/docs": with(second),
	})
	counters, err := client.WriteCounters(t.Context(), []string{"a"})
	require.NoError(t, err)
	assert.Equal(t, []elastic.ShardCounters{
		{
			Index: "a", Shard: 0, Node: "n", IndexTotal: 7, IndexCurrent: 1, DeleteTotal: 2, Docs: 5, DocsDeleted: 1,
			TranslogOperations: 9,
		},
		{Index: "a", Shard: 1, Node: "n", IndexTotal: 3, Docs: 3, SeqNo: &elastic.SeqNo{Max: 2, Local: 2, Global: 2}},
	}, counters)
	assert.False(t, counters[0].Settled())
	assert.True(t, counters[1].Settled())
	assert.True(t, counters[1].SameAs(counters[1]))
	assert.False(t, counters[1].SameAs(counters[0]))
	moved := counters[1]
	moved.Node = "m"
	assert.False(t, counters[1].SameAs(moved), "counters start again on another node")
	docs, err := client.DocCounts(t.Context(), []string{"a"})
	require.NoError(t, err)
	assert.Equal(t, []elastic.ShardDocs{{"a", 0, 5, 1}, {"a", 1, 3, 0}}, docs)

	_, client = newFake(t, "5.5.2", map[string]answer{
		"GET /a/_settings":                     settings,
		"GET /a/_stats/docs,indexing,translog": with(""),
	})
	_, err = client.WriteCounters(t.Context(), []string{"a"})
	assert.Equal(t, elastic.Unavailable, elastic.KindOf(err))
	assert.ErrorContains(t, err, "no answer from [a][1]")
}

func TestDiskFree(t *testing.T) {
	nodes := `{"nodes":{"m":{"roles":["master"],"fs":{"total":{"total_in_bytes":9,"free_in_bytes":1,"available_in_bytes":1}}},` +
		`"x":{"roles":["master","data"],"fs":{"total":{"total_in_bytes":100,"free_in_bytes":60,"available_in_bytes":50}}},` +
		`"y":{"roles":["data_hot"],"fs":{"total":{"total_in_bytes":100,"free_in_bytes":40,"available_in_bytes":30}}}}}`
	forbidden := answer{403, `{"Message":"User: anonymous is not authorized to perform: es:ESHttpGet"}`}
	for name, c := range map[string]struct {
		nodes, allocation answer
		want              elastic.Disk
	}{
		"told": {ok(nodes), forbidden, elastic.Disk{
			Known: true, Nodes: 2, LeastAvailable: 30, LeastFree: 40,
			SumAvailable: 80, SumFree: 100,
			Rooms: []elastic.DiskRoom{{Available: 50, Total: 100}, {Available: 30, Total: 100}},
		}},
		"redacted": {
			ok(`{"nodes":{"x":{"roles":["data"]}}}`),
			ok(
				`[{"disk.avail":"70","disk.total":"90"},{"disk.avail":"20","disk.total":"90"},{"disk.avail":null,"disk.total":null}]`),
			elastic.Disk{
				Known: true, Nodes: 2, LeastAvailable: 20, LeastFree: 20,
				SumAvailable: 90, SumFree: 90,
				Rooms: []elastic.DiskRoom{{Available: 70, Total: 90}, {Available: 20, Total: 90}},
			},
		},
		"all hidden": {forbidden, forbidden, elastic.Disk{}},
	} {
		_, client := newFake(t, "5.5.2", map[string]answer{
			"GET /_nodes/stats/fs": c.nodes,
			"GET /_cat/allocation": c.allocation,
		})
		disk, err := client.DiskFree(t.Context())
		require.NoError(t, err, name)
		slices.SortFunc(disk.Rooms, func(a, b elastic.DiskRoom) int { return int(b.Available - a.Available) })
		assert.Equal(t, c.want, disk, name)
	}
	_, client := newFake(t, "5.5.2", map[string]answer{"GET /_nodes/stats/fs": {503, ``}})
	_, err := client.DiskFree(t.Context())
	assert.Equal(t, elastic.Unavailable, elastic.KindOf(err), "a busy cluster isn't one that hides")
}

// A watermark is a part of the disk that may be used, or a room that must stay free.
func TestLowWatermark(t *testing.T) {
	const gib = 1 << 30
	disk := elastic.Disk{Rooms: []elastic.DiskRoom{
		{Available: 10 * gib, Total: 100 * gib}, {Available: 20 * gib, Total: 100 * gib},
	}}
	for settings, want := range map[string]struct {
		low  string
		full int
		room int64 // in GiB
	}{
		`{}`: {"85%", 1, 5},
		`{"defaults":{"cluster.routing.allocation.disk.threshold_enabled":"false"}}`: {"", 0, 30},
		`{"transient":{"cluster.routing.allocation.disk.watermark.low":"75%"}}`:      {"75%", 2, 0},
		`{"persistent":{"cluster.routing.allocation.disk.watermark.low":"0.95"}}`:    {"0.95", 0, 20},
		`{"transient":{"cluster.routing.allocation.disk.watermark.low":"15gb"},` +
			`"persistent":{"cluster.routing.allocation.disk.watermark.low":"90tb"}}`: {"15gb", 1, 5},
		`{"transient":{"cluster.routing.allocation.disk.watermark.low":"90TB"}}`: {"90TB", 2, 0},
		`{"defaults":{"cluster.routing.allocation.disk.watermark.low":"85%",` +
			`"cluster.routing.allocation.disk.watermark.low.max_headroom":"5gb"}}`: {"85%", 0, 20},
	} {
		_, client := newFake(t, "7.10.2", map[string]answer{"GET /_cluster/settings": ok(settings)})
		mark, err := client.LowWatermark(t.Context())
		require.NoError(t, err)
		assert.Equal(t, want.low, mark.Low, settings)
		assert.Equal(t, want.full, mark.Full(disk), settings)
		assert.InDelta(t, want.room*gib, mark.Room(disk), 1, settings)
	}
	_, client := newFake(t, "7.10.2", map[string]answer{"GET /_cluster/settings": {401, `{"Message":"not allowed"}`}})
	mark, err := client.LowWatermark(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "85%", mark.Low, "where the settings are hidden, it is the default")
}

func TestHealth(t *testing.T) {
	_, client := newFake(t, "5.5.3",
		map[string]answer{"GET /_cluster/health/a,b": ok(
			`{"status":"red","active_shards":3,"initializing_shards":1,"unassigned_shards":2,"number_of_data_nodes":3,"indices":{"a":{"status":"green"},"b":{"status":"red"}}}`)})
	health, err := client.Health(t.Context(), []string{"a", "b"})
	require.NoError(t, err)
	assert.Equal(t, elastic.Health{
		Status: "red", ActiveShards: 3, InitializingShards: 1, UnassignedShards: 2,
		DataNodes: 3, Indices: map[string]string{"a": "green", "b": "red"},
	}, health)
}

func TestProbeWrite(t *testing.T) {
	missing := answer{
		404,
		`{"error":{"type":"document_missing_exception","reason":"[film][x]: document missing"},"status":404}`,
	}
	blocked := answer{
		403,
		`{"error":{"type":"cluster_block_exception","reason":"blocked by: [FORBIDDEN/8/index write (api)];"},"status":403}`,
	}
	for name, c := range map[string]struct {
		version, mapping, docType, path string
		answer                          answer
		blocked                         bool
		kind                            elastic.Kind
	}{
		"writable": {
			"5.5.2", `{"a":{"mappings":{"film":{}}}}`, "", "POST /a/film/", missing, false,
			elastic.None,
		},
		"blocked": {
			"5.5.2", `{"a":{"mappings":{"film":{}}}}`, "", "POST /a/film/", blocked, true,
			elastic.None,
		},
		"the type given": {
			"5.5.2", `{"a":{"mappings":{"film":{},"actor":{}}}}`, "film", "POST /a/film/", missing,
			false, elastic.None,
		},
		"typeless": {
			"7.10.2", `{"a":{"mappings":{"properties":{}}}}`, "film", "POST /a/_update/", missing, false,
			elastic.None,
		},
		"no types at all": {
			"8.17.2", `{"a":{"mappings":{"properties":{}}}}`, "", "POST /a/_update/", blocked, true,
			elastic.None,
		},
		"nothing mapped": {"5.5.2", `{}`, "", "POST /a/doc/", missing, false, elastic.None},
		"index gone": {
			"5.5.2", `{"a":{"mappings":{"film":{}}}}`, "", "POST /a/film/",
			answer{404, `{"error":{"type":"index_not_found_exception","reason":"no such index","index":"a"}}`},
			false,
			elastic.Missing,
		},
		"something written": {
			"5.5.2", `{"a":{"mappings":{"film":{}}}}`, "", "POST /a/film/", ok(`{"result":"noop"}`),
			false, elastic.Internal,
		},
	} {
		t.Run(name, func(t *testing.T) {
			fake, client := newFake(t, c.version, map[string]answer{
				"GET /a/_mapping": ok(c.mapping), "GET /_cluster/state/blocks,metadata/a": ok(`{}`),
			})
			fake.prefix, fake.prefixAnswer = c.path, c.answer
			blocked, err := client.ProbeWrite(t.Context(), "a", c.docType)
			assert.Equal(t, c.kind, elastic.KindOf(err), "%v", err)
			assert.Equal(t, c.blocked, blocked)
			probe := fake.last()
			if c.kind == elastic.Missing { // then it looks whether the cluster has just been started
				probe = fake.requests[len(fake.requests)-2]
			}
			assert.Equal(t, `{"doc":{}}`, probe.body)
			assert.Regexp(t, `^POST /a/((film|doc)/([^/]+)/_update|_update/([^/]+))\?routing=snapferry-probe-`, probe.line)
			assert.Equal(t, "application/json", probe.header.Get("Content-Type"))
			assert.EqualValues(t, len(`{"doc":{}}`), probe.length, "Content-Length, as Amazon demands")
		})
	}
	fake, client := newFake(t, "5.5.2", map[string]answer{"GET /a/_mapping": {
		404,
		`{"error":{"type":"index_not_found_exception","reason":"no such index"}}`,
	}})
	_, err := client.ProbeWrite(t.Context(), "a", "film")
	assert.Equal(t, elastic.Missing, elastic.KindOf(err))
	assert.Equal(t, "GET /a/_mapping", fake.last().line, "an update would create the index")
}
