//go:build lab

package activities

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/internal/secrets"
	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/lab/cluster"
	"github.com/snapferry/snapferry/migration"
)

// sourceRig is a source of some version, alone.
func sourceRig(t *testing.T, version string) *labRig {
	t.Helper()
	l, err := lab.Start(t.Context(), lab.Options{
		Dir: t.TempDir(), Out: os.Stderr, Parts: []lab.Part{lab.PartS3, lab.PartOSS, lab.PartSource},
		SourceVersion: version,
		// Each time that a node of 7.4 or later has looked at its disk, it removes read_only_allow_delete.
		SourceSettings: map[string]string{"cluster.info.update.interval": "24h"},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	setEnvironment(t, l)
	plan := l.Plan("blocks", "*")
	plan.Target.Endpoint = "http://127.0.0.1:1"
	input, err := migration.NewInput(plan)
	require.NoError(t, err)
	plan, err = input.Plan()
	require.NoError(t, err)
	return &labRig{t: t, lab: l, run: migration.Run{Plan: plan, Token: "t0ken"}, activities: New(secrets.Fence{})}
}

func (r *labRig) node() *cluster.Client { return r.lab.Source.Direct() }

func (r *labRig) setting(index string, settings map[string]any) {
	r.t.Helper()
	r.ask(r.node(), http.MethodPut, "/"+index+"/_settings", settings)
}

// write sends a document and tells whether it was taken; a block refuses with 403, or 429 from 7.10
// on.
func (r *labRig) write(index, id, query string) bool {
	err := r.node().Do(r.t.Context(), http.MethodPut, "/"+index+"/"+r.docType()+"/"+id+query,
		map[string]any{"a": 1}, nil)
	if err != nil {
		require.ErrorContains(r.t, err, "cluster_block_exception")
	}
	return err == nil
}

func (r *labRig) docType() string {
	client := r.client(onSource)
	if version, err := client.Version(r.t.Context()); err == nil && version.Major < 6 {
		return "doc"
	}
	return "_doc"
}

func (r *labRig) names(names ...string) migration.IndicesRequest {
	return migration.IndicesRequest{Run: r.run, Indices: names}
}

// 81 indices, of which the last refuses writes of itself, and every change of its blocks: nothing
// stops, and in the end each is as it was found.
func TestLabSourceBlocks(t *testing.T) {
	for _, version := range []string{"2.4.6", "5.5.2", "7.10.2"} {
		t.Run(version, func(t *testing.T) { sourceBlocks(t, sourceRig(t, version)) })
	}
}

func sourceBlocks(t *testing.T, r *labRig) {
	var names []string
	for i := range 81 {
		names = append(names, fmt.Sprintf("%s-%02d", strings.Repeat("long-name", 9), i))
		r.ask(r.node(), http.MethodPut, "/"+names[i],
			map[string]any{"settings": map[string]any{"number_of_shards": 1, "number_of_replicas": 0}})
		require.True(t, r.write(names[i], "1", ""))
	}
	owns, off := []string{"index.blocks.read_only"}, any(nil)
	version, err := r.client(onSource).Version(t.Context())
	require.NoError(t, err)
	if version.Major >= 6 {
		owns = append(owns, "index.blocks.read_only_allow_delete")
	} else if version.Major < 5 {
		off = false
	}
	last := names[80]
	for _, own := range owns {
		r.setting(last, map[string]any{own: true})
		read := labMust[[]migration.SourceIndex](r, r.activities.ReadSourceBlocks, r.names(names...))
		require.Equal(t, map[string]string{own: "true"}, read[80].Blocks)
		blocked := labMust[migration.BlockResult](r, r.activities.BlockSource,
			migration.BlockRequest{Run: r.run, Indices: read})
		require.Empty(t, blocked.Refused)
		require.Len(t, blocked.Blocked, 81)
		for _, name := range names {
			require.False(t, r.write(name, "2", ""), name)
		}
		still, err := labTry[migration.Standstill](r, r.activities.AwaitStandstill, r.names(names...))
		if version.Major < 5 { // preflight says so
			require.ErrorContains(t, err, "read-only")
			require.True(t, permanent(err))
		} else {
			require.NoError(t, err)
			require.Equal(t, []int64{1}, still.Docs[last])
		}

		// Its own block goes: the standstill is none until ours is set.
		r.setting(last, map[string]any{own: off})
		_, err = labTry[migration.Standstill](r, r.activities.AwaitStandstill, r.names(names...))
		require.ErrorContains(t, err, last)
		blocked = labMust[migration.BlockResult](r, r.activities.BlockSource,
			migration.BlockRequest{Run: r.run, Indices: blocked.Blocked})
		require.False(t, forbidden(blocked.Blocked[80].Blocks))
		require.False(t, r.write(last, "2", ""))

		// One gets a block later: the others take writes, and it is named.
		r.setting(names[3], map[string]any{own: true})
		result := labMust[migration.UnblockResult](r, r.activities.UnblockSource,
			migration.UnblockRequest{Run: r.run, Indices: blocked.Blocked})
		require.Len(t, result.Refused, 1)
		require.Equal(t, names[3], result.Refused[0].Index)
		require.Equal(t, own, result.Refused[0].Setting)
		for _, name := range names {
			require.Equal(t, name != names[3], r.write(name, "1", ""), name)
		}
		r.setting(names[3], map[string]any{own: off})
		result = labMust[migration.UnblockResult](r, r.activities.UnblockSource,
			migration.UnblockRequest{Run: r.run, Indices: blocked.Blocked})
		require.Empty(t, result.Refused)
		require.True(t, r.write(names[3], "1", ""))
	}
	r.oldShape(names)
	r.waiting(version.Major)
	r.patterns(names)
}

// waiting is an index whose writes wait for copies that it doesn't have: before 5.0 for a quorum. A
// probe doesn't wait.
func (r *labRig) waiting(major int) {
	t := r.t
	const index = "waiting"
	r.ask(r.node(), http.MethodPut, "/"+index, map[string]any{"settings": map[string]any{
		"number_of_shards": 1, "number_of_replicas": 0,
	}})
	require.True(t, r.write(index, "1", ""))
	// It may be no more than there should be copies.
	r.setting(index, map[string]any{"index.number_of_replicas": 2})
	if major >= 5 {
		r.setting(index, map[string]any{waitForActive: "2"})
	}
	err := r.node().Do(t.Context(), http.MethodPut, "/"+index+"/"+r.docType()+"/2?timeout=1ms",
		map[string]any{"a": 1}, nil)
	require.ErrorContains(t, err, "Not enough active copies", "a write waits")

	read := labMust[[]migration.SourceIndex](r, r.activities.ReadSourceBlocks, r.names(index))
	probe := func() elastic.Probe {
		probes, err := r.client(onSource).ProbeWrites(t.Context(), []string{index}, elastic.ExpectOpen)
		require.NoError(t, err)
		return probes[index]
	}
	require.Equal(t, elastic.Probe{}, probe(), "one that waits would end with an error")
	blocked := labMust[migration.BlockResult](r, r.activities.BlockSource,
		migration.BlockRequest{Run: r.run, Indices: read})
	require.Empty(t, blocked.Refused)
	require.Equal(t, elastic.Probe{Blocked: true}, probe())
	still := labMust[migration.Standstill](r, r.activities.AwaitStandstill, r.names(index))
	require.Equal(t, []int64{1}, still.Docs[index])
	require.Empty(t, labMust[migration.UnblockResult](r, r.activities.UnblockSource,
		migration.UnblockRequest{Run: r.run, Indices: blocked.Blocked}).Refused)
	require.Equal(t, elastic.Probe{}, probe())
	r.ask(r.node(), http.MethodDelete, "/"+index, nil)
}

// oldShape is the same by the activities of runs that began before there was a guard.
func (r *labRig) oldShape(names []string) {
	t, last := r.t, names[80]
	r.setting(last, map[string]any{"index.blocks.read_only": true})
	found := labMust[migration.Blocks](r, r.activities.ReadBlocks, r.names(names...))
	labMust[any](r, r.activities.BlockWrites, r.names(names...))
	for _, name := range names {
		require.False(t, r.write(name, "1", ""), name)
	}
	labMust[any](r, r.activities.RemoveBlock, migration.LiftRequest{Run: r.run, Found: found})
	for _, name := range names {
		require.Equal(t, name != last, r.write(name, "1", ""), name)
	}
	r.setting(last, map[string]any{"index.blocks.read_only": false})
}

// patterns stand for what they match by name.
func (r *labRig) patterns(names []string) {
	t := r.t
	resolve := func(patterns ...string) (migration.IndexList, error) {
		run := r.run
		run.Plan.Indices = patterns
		return labTry[migration.IndexList](r, r.activities.ResolveIndices,
			migration.ResolveRequest{Run: run, LeaveOut: true})
	}
	r.ask(r.node(), http.MethodPut, "/app-users", nil)
	r.ask(r.node(), http.MethodPost, "/_aliases", map[string]any{"actions": []any{
		map[string]any{"add": map[string]any{"index": "app-users", "alias": "logs-users"}},
	}})
	r.ask(r.node(), http.MethodPut, "/logs-1", nil)
	r.ask(r.node(), http.MethodPut, "/logs-shut", nil)
	// 2.x closes no index whose primaries are not there yet.
	r.ask(r.node(), http.MethodGet, "/_cluster/health/logs-shut?wait_for_status=yellow", nil)
	r.ask(r.node(), http.MethodPost, "/logs-shut/_close", nil)
	version, err := r.client(onSource).Version(t.Context())
	require.NoError(t, err)
	want := []string{"logs-1"}
	if version.AtLeast(7, 7) {
		r.ask(r.node(), http.MethodPut, "/logs-hidden", map[string]any{"settings": map[string]any{"hidden": true}})
		want = append(want, "logs-hidden")
	}
	list, err := resolve("logs-*")
	require.NoError(t, err)
	require.Equal(t, want, list.Names())
	require.Len(t, list.Warnings, 1)
	require.Contains(t, list.Warnings[0], "logs-shut")
	list, err = resolve("*", "-long-name*", "-logs-h*")
	require.NoError(t, err)
	require.Equal(t, []string{"app-users", "logs-1"}, list.Names())
	if version.Major < 7 {
		r.ask(r.node(), http.MethodPut, "/app:events", nil)
		list, err = resolve("app:events")
		require.NoError(t, err)
		require.Equal(t, []string{"app:events"}, list.Names())
	}
	_, err = resolve("nothing-*")
	require.ErrorContains(t, err, "no index matches nothing-*")

	r.setting(names[40], map[string]any{"index.blocks.metadata": true})
	_, err = resolve("*")
	require.ErrorContains(t, err, "index "+names[40]+" has index.blocks.metadata")
	list, err = resolve("*", "-"+names[40])
	require.NoError(t, err)
	require.NotContains(t, list.Names(), names[40])
	r.setting(names[40], map[string]any{"index.blocks.metadata": false})
}

// PUT /a/_block/write goes on after its client is gone, for as long as a write is under way. Ours
// is removed anyway.
func TestLabUnblockOutlivesTheBlockAPI(t *testing.T) {
	r := sourceRig(t, "7.10.2")
	r.ask(r.node(), http.MethodPut, "/held", map[string]any{"settings": map[string]any{
		"number_of_shards": 1, "number_of_replicas": 0, "refresh_interval": "-1",
	}})
	read := labMust[[]migration.SourceIndex](r, r.activities.ReadSourceBlocks, r.names("held"))
	var pending sync.WaitGroup
	// A write that waits for a refresh that nobody does holds its permit.
	pending.Go(func() { r.write("held", "1", "?refresh=wait_for") })
	r.until(func() bool {
		return strings.Contains(r.ask(r.node(), http.MethodGet, "/held/_stats/indexing", nil), `"index_total":1`)
	})
	pending.Go(func() { _ = r.node().Do(t.Context(), http.MethodPut, "/held/_block/write", nil, nil) })
	r.until(func() bool { return strings.Contains(r.blocksInForce(), `"uuid"`) })

	pauses, pause := 0, r.activities.sleep
	r.activities.sleep = func(ctx context.Context, d time.Duration) error {
		if pauses++; pauses == 3 { // as far as the node has not refreshed by itself
			r.ask(r.node(), http.MethodPost, "/held/_refresh", nil)
		}
		return pause(ctx, d)
	}
	result := labMust[migration.UnblockResult](r, r.activities.UnblockSource,
		migration.UnblockRequest{Run: r.run, Indices: read})
	require.Empty(t, result.Refused)
	pending.Wait()
	t.Logf("the block outlived its setting by %d pauses", pauses)
	require.True(t, r.write("held", "2", ""))
}

// until waits for a state, not for a time.
func (r *labRig) until(reached func() bool) {
	r.t.Helper()
	require.Eventually(r.t, reached, lab.Patience, 50*time.Millisecond)
}

func (r *labRig) blocksInForce() string {
	return r.ask(r.node(), http.MethodGet, "/_cluster/state/blocks", nil)
}

// Without _block/write the standstill is still proven: whatever was acknowledged is there once it
// is reached, and nothing comes after it.
func TestLabStandstillWithoutTheBlockAPI(t *testing.T) {
	r := sourceRig(t, "7.10.2")
	const index = "busy"
	r.ask(r.node(), http.MethodPut, "/"+index, map[string]any{"settings": map[string]any{
		"number_of_shards": 3, "number_of_replicas": 0,
	}})
	read := labMust[[]migration.SourceIndex](r, r.activities.ReadSourceBlocks, r.names(index))
	var acknowledged atomic.Int64
	var writers sync.WaitGroup
	for writer := range 6 {
		writers.Go(func() {
			for round := 0; ; round++ {
				taken, blocked := r.bulk(index, fmt.Sprintf("%d-%d", writer, round))
				acknowledged.Add(taken)
				if blocked {
					return
				}
			}
		})
	}
	r.until(func() bool { return acknowledged.Load() > 5000 })
	labMust[migration.BlockResult](r, r.activities.BlockSource, migration.BlockRequest{Run: r.run, Indices: read})
	still := labMust[migration.Standstill](r, r.activities.AwaitStandstill, r.names(index))
	writers.Wait()
	var docs int64
	for _, shard := range still.Docs[index] {
		docs += shard
	}
	require.Equal(t, acknowledged.Load(), docs)
	require.Equal(t, still, labMust[migration.Standstill](r, r.activities.AwaitStandstill, r.names(index)))
}

// bulk writes some documents.
func (r *labRig) bulk(index, id string) (taken int64, blocked bool) {
	var body strings.Builder
	for i := range 200 {
		fmt.Fprintf(&body, "{\"index\":{\"_index\":%q,\"_id\":\"%s-%d\"}}\n{\"a\":%d}\n", index, id, i, i)
	}
	var answer struct {
		Items []map[string]struct{ Status int }
	}
	if err := r.node().Do(r.t.Context(), http.MethodPost, "/_bulk", body.String(), &answer); err != nil {
		return 0, true
	}
	for _, item := range answer.Items {
		if item["index"].Status/100 == 2 {
			taken++
		} else {
			blocked = true
		}
	}
	return taken, blocked
}
