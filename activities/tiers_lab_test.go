//go:build lab

package activities

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

// What marks a warm index is read from real nodes, and a node without cold storage answers to the call
// that lists it as the client expects.
func TestLabWarmIndices(t *testing.T) {
	for _, version := range []string{"6.8.23", "7.10.2"} {
		t.Run(version, func(t *testing.T) {
			r := sourceRig(t, version)
			for _, name := range []string{"logs-1", "logs-2"} {
				r.ask(r.node(), http.MethodPut, "/"+name,
					map[string]any{"settings": map[string]any{"number_of_shards": 1, "number_of_replicas": 0}})
				require.True(t, r.write(name, "1", ""))
			}
			cold, err := r.client(onSource).ColdIndices(t.Context())
			require.NoError(t, err)
			require.Empty(t, cold)

			resolve := migration.ResolveRequest{Run: r.run, LeaveOut: true}
			resolve.Plan.Indices = []string{"logs-*"}
			found := labMust[migration.IndexList](r, r.activities.ResolveIndices, resolve)
			require.Equal(t, []string{"logs-1", "logs-2"}, found.Names())
			require.Nil(t, found.NotHot)
			require.Empty(t, found.Warnings)

			r.setting("logs-1", map[string]any{
				"index.routing.allocation.require.box_type": "warm", "index.blocks.read_only_allow_delete": true,
			})
			found = labMust[migration.IndexList](r, r.activities.ResolveIndices, resolve)
			require.Equal(t, []string{"logs-2"}, found.Names())
			require.Equal(t, []string{"logs-1"}, found.NotHot.Warm)
			resolve.Frozen = true
			_, err = labTry[migration.IndexList](r, r.activities.ResolveIndices, resolve)
			require.ErrorContains(t, err, "POST /_ultrawarm/migration/logs-1/_hot")

			resolve.Plan.Source.Warm = migration.WarmLeftOut
			found = labMust[migration.IndexList](r, r.activities.ResolveIndices, resolve)
			require.Equal(t, []string{"logs-2"}, found.Names())
			require.True(t, found.NotHot.LeftOut)
		})
	}
}
