//go:build lab

package e2e

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/lab/cluster"
	"github.com/snapferry/snapferry/migration"
)

// What the source's nodes know and the target's don't, as on a domain with Amazon's plugins.
const (
	policyOfISM  = "index.opendistro.index_state_management.policy_id"
	ownOfAPlugin = "index.snapferry.unknown"
)

var pluginSettings = map[string]string{"lab.index_settings": policyOfISM + "," + ownOfAPlugin}

// settingsOf are an index's settings, by flat name.
func settingsOf(s *scenario, c *cluster.Client, index string) map[string]any {
	var answer map[string]struct{ Settings map[string]any }
	require.NoError(s.t, c.Do(s.ctx, http.MethodGet, "/"+index+"/_settings?flat_settings=true", nil, &answer))
	return answer[index].Settings
}

// Indices as they are on Amazon, under a policy of Index State Management, and with settings that
// the next version has lost: the handover is green, nothing archived is left on the target, and the
// report lists what it doesn't have.
func TestSettingsThatTheTargetDoesNotKnow(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		between versions
		lost    map[string]any
	}{
		"settings5to6":    {from5to6, map[string]any{"index.store.throttle.type": "none"}},
		"settings6to7":    {from6to7, map[string]any{"index.ttl.disable_purge": true}},
		"settingswithin7": {within7, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScenario(t, labs.take(t, c.between), name, 500)
			still := name + "-still"
			require.NoError(t, lab.LoadCatalog(s.ctx, s.lab.Source.Direct(),
				lab.CatalogOptions{Index: still, Documents: 100, Shards: 1}))
			s.plan.Indices = append(s.plan.Indices, still)
			settings := map[string]any{policyOfISM: "hot-warm", ownOfAPlugin: "x"}
			for setting, value := range c.lost {
				settings[setting] = value
			}
			require.NoError(t, s.lab.Source.Direct().Do(s.ctx, http.MethodPut, "/"+still+"/_settings", settings, nil))
			s.write()
			s.worker()
			s.start()
			s.await(func(status migration.Status) bool { return status.RoundsEnded >= 2 })
			report := s.finish()

			left := map[string]migration.LeftOut{}
			for _, setting := range report.SettingsLeftOut {
				left[setting.Setting] = setting
			}
			for setting := range settings {
				require.Equal(t, []string{still}, left[setting].Names, "%s: %v", setting, report.SettingsLeftOut)
				require.NotContains(t, settingsOf(s, s.lab.Target.Direct(), still), setting)
			}
			require.Empty(t, report.NotHandedOver)
			for _, index := range s.plan.Indices {
				for setting := range settingsOf(s, s.lab.Target.Direct(), index) {
					require.False(t, strings.HasPrefix(setting, "archived."), "%s of %s", setting, index)
				}
			}
		})
	}
}

// The target's shard limit is met in preflight, which says which number to set and changes nothing.
func TestTheTargetsShardLimit(t *testing.T) {
	t.Parallel()
	s := newScenario(t, labs.take(t, within7), "shardlimit", 10)
	require.NoError(t, s.lab.Source.Direct().Do(s.ctx, http.MethodPut, "/"+s.index+"/_settings",
		map[string]any{"index.number_of_replicas": 1}, nil))
	limit := func(n any) { // also once the test's own context has ended
		require.NoError(t, s.lab.Target.Direct().Do(context.Background(), http.MethodPut, "/_cluster/settings",
			map[string]any{"persistent": map[string]any{"cluster.max_shards_per_node": n}}, nil))
	}
	var health struct {
		Active     int `json:"active_shards"`
		Unassigned int `json:"unassigned_shards"`
	}
	require.NoError(t, s.lab.Target.Direct().Do(s.ctx, http.MethodGet, "/_cluster/health", nil, &health))
	t.Cleanup(func() { limit(nil) })
	limit(health.Active + health.Unassigned + 3) // room for the primaries alone
	s.noRoundBesides()
	s.worker()
	s.start()
	attention := s.awaitAttention()
	require.Equal(t, string(migration.ErrorPreflight), attention.Type)
	require.Contains(t, attention.Message, "cluster.max_shards_per_node to at least")
	var repositories map[string]any
	require.NoError(t, s.lab.Target.Direct().Do(s.ctx, http.MethodGet, "/_snapshot", nil, &repositories))
	for name := range repositories {
		require.NotContains(t, name, "snapferry-shardlimit-", "nothing was changed")
	}
	limit(nil)
	s.signal(migration.RequestRetry)
	s.await(func(status migration.Status) bool { return status.RoundsEnded >= 1 })
	s.finish()
}
