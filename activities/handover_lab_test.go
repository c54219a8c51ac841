//go:build lab

package activities

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/osstest"
	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/migration"
)

// The settings that a plugin of the source registers, and the target doesn't know.
const (
	labPolicy  = "index.opendistro.index_state_management.policy_id"
	labUnknown = "index.snapferry.unknown"
)

var labPlugins = map[string]string{
	"lab.index_settings": strings.Join([]string{labPolicy, labUnknown, lifecyclePolicy}, ","),
}

// What a source has on its indices: a vendor's setting, one that nobody knows, a lifecycle policy,
// and one that is validated against the number of replicas. Further ones are real settings that the
// next version has lost.
func TestLabHandover(t *testing.T) {
	for _, pair := range []struct {
		from, to string
		lost     map[string]any
	}{
		{"5.5.2", "5.5.3", nil},
		{"5.5.2", "6.8.23", map[string]any{"index.store.throttle.type": "none"}},
		{"6.8.23", "7.10.2", map[string]any{"index.ttl.disable_purge": true}},
		{"7.10.2", "7.17.28", nil},
	} {
		t.Run(pair.from+" to "+pair.to, func(t *testing.T) {
			l, err := lab.Start(t.Context(), lab.Options{
				Dir: t.TempDir(), Out: os.Stderr, Parts: []lab.Part{
					lab.PartS3, lab.PartOSS, lab.PartSource,
					lab.PartTarget,
				},
				SourceVersion: pair.from, TargetVersion: pair.to,
				SourceSettings: labPlugins,
			})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, l.Close()) })
			require.NoError(t, l.OSS.Server.CreateBucket(l.OSS.Bucket, osstest.BucketOptions{}))
			handsOverOnNodes(t, l, pair.to, pair.lost)
		})
	}
}

func handsOverOnNodes(t *testing.T, l *lab.Lab, to string, lost map[string]any) {
	h := labHandover{labRig: newLabRig(t, l, nil), names: []string{"plain", "managed", "strange", "waiting"}}
	h.run.Plan.Indices = h.names
	h.load(lost)
	h.handsOver(false, to, len(lost))
	h.handsOver(true, to, len(lost))
	if to > "7" {
		h.shardLimit()
	}
}

type labHandover struct {
	*labRig
	names []string
	taken migration.Snapshot
	found []migration.Index
}

func (h *labHandover) load(lost map[string]any) {
	t := h.t
	settings := map[string]map[string]any{
		"managed": {labPolicy: "hot-warm", lifecyclePolicy: "hot-warm", "index.refresh_interval": "7s"},
		"strange": {labUnknown: "x"},
		"waiting": {waitForActive: "2"},
	}
	for name, value := range lost {
		settings["strange"][name] = value
	}
	for _, name := range h.names {
		require.NoError(t, lab.LoadCatalog(t.Context(), h.lab.Source.Direct(),
			lab.CatalogOptions{Index: name, Documents: 10, Shards: 1}))
		h.ask(h.lab.Source.Direct(), http.MethodPut, "/"+name+"/_settings", map[string]any{numberOfReplicas: 1})
		if len(settings[name]) > 0 {
			h.ask(h.lab.Source.Direct(), http.MethodPut, "/"+name+"/_settings", settings[name])
		}
	}
	found := labMust[migration.IndexList](h.labRig, h.activities.ResolveIndices, migration.ResolveRequest{Run: h.run})
	h.found = found.Inline
	h.taken = labMust[migration.Snapshot](h.labRig, h.activities.TakeSnapshot,
		migration.SnapshotRequest{Run: h.run, Snapshot: "throttled-r0000-a1", Indices: h.names})
	labMust[migration.CopyResult](h.labRig, copierAlone().CopySnapshot,
		migration.CopyRequest{Run: h.run, Snapshot: h.taken, BaseGeneration: -1})
}

// restored restores all indices, and says what the target doesn't know.
func (h *labHandover) restored() migration.OpenResult {
	require.NoError(h.t, h.client(onTarget).DeleteIndices(h.t.Context(), h.names))
	labMust[migration.RestoreResult](h.labRig, h.activities.RestoreSnapshot,
		migration.RestoreRequest{Run: h.run, Snapshot: h.taken, Indices: h.found})
	return labMust[migration.OpenResult](h.labRig, h.activities.OpenTarget,
		migration.IndicesRequest{Run: h.run, Indices: h.names})
}

func (h *labHandover) request(opened migration.OpenResult) migration.HandOverRequest {
	prepared, err := h.activities.prepareHandover(h.t.Context(),
		migration.GuardRequest{Run: h.run, Counters: opened.Counters}, h.found)
	require.NoError(h.t, err)
	var left []string
	for _, setting := range prepared.leftOut {
		left = append(left, setting.Setting)
	}
	require.Equal(h.t, []string{lifecyclePolicy, labPolicy}, left)
	return migration.HandOverRequest{Run: h.run, Indices: prepared.indices}
}

func (h *labHandover) onTarget(index string) map[string]string {
	settings, err := h.client(onTarget).IndexSettings(h.t.Context(), []string{index})
	require.NoError(h.t, err)
	return settings[index]
}

// handsOver restores and hands over, with or without a trial before.
func (h *labHandover) handsOver(tried bool, version string, lost int) {
	t := h.t
	opened := h.restored()
	require.Len(t, opened.Archived, 1+lost, "%v", opened.Archived)
	for _, archived := range opened.Archived {
		require.Equal(t, []string{"strange"}, archived.Names)
	}
	if tried {
		before := h.onTarget("managed")
		result := labMust[migration.TryHandoverResult](h.labRig, h.activities.TryHandover,
			migration.TryHandoverRequest{IndicesRequest: migration.IndicesRequest{Run: h.run, Indices: h.names}})
		require.Empty(t, result.Refused)
		require.Equal(t, before, h.onTarget("managed"), "as it was, behind our block")
		require.Equal(t, "true", before[writeBlock])
		require.Equal(t, version < "6", len(archivedIn(h.onTarget("strange"))) > 0)
	}
	labMust[any](h.labRig, h.activities.CheckHandover,
		migration.CheckHandoverRequest{Run: h.run, Indices: h.names, Counters: opened.Counters})
	request := h.request(opened)
	for range 2 {
		require.Empty(t, labMust[migration.HandOverResult](h.labRig, h.activities.HandOver, request).Refused)
	}
	for _, name := range h.names {
		settings := h.onTarget(name)
		require.Empty(t, settings[writeBlock])
		require.Equal(t, "1", settings[numberOfReplicas])
		require.Equal(t, version < "6" && name == "strange", len(archivedIn(settings)) > 0, "%v", settings)
		require.Empty(t, settings[lifecyclePolicy])
	}
	require.Equal(t, "7s", h.onTarget("managed")[refreshInterval])
	require.Equal(t, "2", h.onTarget("waiting")[waitForActive])
}

// shardLimit has the target allow no more shards than there are without replicas.
func (h *labHandover) shardLimit() {
	t := h.t
	opened := h.restored()
	room, err := h.client(onTarget).ShardRoom(t.Context())
	require.NoError(t, err)
	require.Equal(t, len(h.names), room.Open)
	h.limit(len(h.names) + 1)
	_, err = labTry[any](h.labRig, h.activities.CheckShardLimit, migration.ShardLimitRequest{Run: h.run, Adds: 4})
	require.ErrorContains(t, err, "cluster.max_shards_per_node to at least 8")
	request := h.request(opened)
	refused := labMust[migration.HandOverResult](h.labRig, h.activities.HandOver, request).Refused
	require.Len(t, refused, len(h.names)-1)
	for _, refusal := range refused {
		require.Equal(t, numberOfReplicas, refusal.Setting)
		require.Empty(t, h.onTarget(refusal.Index)[writeBlock])
	}
	h.limit(8)
	labMust[any](h.labRig, h.activities.CheckShardLimit, migration.ShardLimitRequest{Run: h.run, Adds: 3})
	require.Empty(t, labMust[migration.HandOverResult](h.labRig, h.activities.HandOver, request).Refused)

	// Shards of closed indices don't count.
	require.NoError(t, h.client(onTarget).CloseIndices(t.Context(), []string{"plain"}))
	room, err = h.client(onTarget).ShardRoom(t.Context())
	require.NoError(t, err)
	require.Equal(t, 6, room.Open)
}

func (h *labHandover) limit(perNode int) {
	require.NoError(h.t, h.client(onTarget).PutClusterSettings(h.t.Context(),
		map[string]any{"cluster.max_shards_per_node": perNode}, nil))
}
