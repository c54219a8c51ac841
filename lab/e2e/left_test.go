//go:build lab

package e2e

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/lab/cluster"
	"github.com/snapferry/snapferry/migration"
)

// aliasesAt gives the indices behind each alias, closed ones too.
func (s *scenario) aliasesAt(c *cluster.Client) map[string][]string {
	var answer map[string]struct{ Aliases map[string]json.RawMessage }
	require.NoError(s.t, c.Do(s.ctx, http.MethodGet, "/_alias?expand_wildcards=all", nil, &answer))
	behind := map[string][]string{}
	for index, found := range answer {
		if strings.HasPrefix(index, "try") {
			continue // another scenario's, on the same lab
		}
		for alias := range found.Aliases {
			behind[alias] = append(behind[alias], index)
		}
	}
	for _, indices := range behind {
		slices.Sort(indices)
	}
	return behind
}

// Between two rounds an alias moves to a new index and the old one is deleted, an alias is rolled
// over and retention deletes the old write index, an index becomes an alias, and one is created
// again with more shards. And an index names a pipeline that the target lacks.
func TestWhatLeavesTheSourceDoesNotSpoilTheTarget(t *testing.T) {
	t.Parallel()
	s := newScenario(t, labs.take(t, within7), "leaving", 50)
	s.noRoundBesides()
	s.plan.Indices = []string{"leaving", "made", "old*", "roll-*", "shop-*"}
	source, target := s.lab.Source.Direct(), s.lab.Target.Direct()
	ask := func(c *cluster.Client, method, path, body string) {
		t.Helper()
		var answer json.RawMessage
		require.NoError(t, c.Do(s.ctx, method, path, body, &answer))
	}
	create := func(name, shards, aliases string) {
		t.Helper()
		ask(source, http.MethodPut, "/"+name, `{"settings":{"number_of_replicas":0,"number_of_shards":`+shards+
			`},"aliases":{`+aliases+`}}`)
		ask(source, http.MethodPut, "/"+name+"/_doc/1?refresh=true", `{"name":"`+name+`"}`)
	}
	const shop, escaped = "Shop+1%&x", "Shop%2B1%25&x"
	create("roll-1", "1", `"roll":{"is_write_index":true}`)
	create("shop-v1", "1", `"`+shop+`":{"filter":{"exists":{"field":"name"}},"routing":"r"}`)
	create("old", "1", ``)
	create("made", "1", ``)
	s.worker()
	s.start()
	s.await(func(status migration.Status) bool { return status.RoundsEnded == 1 })
	require.Equal(t, []string{"shop-v1"}, s.aliasesAt(target)[shop])

	ask(source, http.MethodPost, "/_aliases",
		`{"actions":[{"add":{"index":"roll-1","alias":"roll","is_write_index":false}}]}`)
	create("roll-2", "1", `"roll":{"is_write_index":true}`)
	create("shop-v2", "1", `"`+shop+`":{"filter":{"exists":{"field":"name"}},"routing":"r"}`)
	create("old-2", "1", ``)
	ask(source, http.MethodPost, "/_aliases",
		`{"actions":[{"remove_index":{"index":"old"}},{"add":{"index":"old-2","alias":"old"}}]}`)
	ask(source, http.MethodDelete, "/roll-1,shop-v1,made", "")
	create("made", "3", `"again":{}`)
	s.signal(migration.RequestRound)
	s.await(func(status migration.Status) bool { return status.RoundsEnded == 2 })
	require.Equal(t, s.aliasesAt(source), s.aliasesAt(target))

	ask(source, http.MethodPut, "/shop-v2/_settings", `{"index.default_pipeline":"enrich"}`)
	s.signal(migration.RequestFreeze)
	attention := s.awaitAttention()
	require.Equal(t, string(migration.ErrorMissing), attention.Type)
	require.Contains(t, attention.Message, "ingest pipeline enrich does not exist")
	require.NoError(t, s.put(source), "writes go on")
	ask(target, http.MethodPut, "/_ingest/pipeline/enrich", `{"processors":[]}`)
	s.signal(migration.RequestRetry)
	s.awaitPhase(migration.PhaseAwaitCutover)
	s.signal(migration.RequestCutover)
	report := s.completed()
	require.Equal(t, s.aliasesAt(source), s.aliasesAt(target))
	for _, path := range []string{"/" + escaped + "/_doc/w", "/roll/_doc/w", "/old/_doc/w"} { // one index each
		ask(target, http.MethodPut, path, `{"name":"written after the cutover"}`)
	}
	told := strings.Join(report.Warnings, "\n")
	for _, says := range []string{
		shop + " of shop-v1", "roll of roll-1", "number of shards. Their old copies on the target were deleted, and " +
			"the next restore restores them completely: made",
		"these names are aliases on the source now, and were indices",
		"without aliases: roll-1, shop-v1",
	} {
		require.Contains(t, told, says)
	}
	for _, index := range report.Indices {
		require.Empty(t, index.Differences, index.Name)
	}
}
