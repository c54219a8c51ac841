//go:build lab

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/lab/cluster"
	"github.com/snapferry/snapferry/migration"
)

// changing is a scenario of several indices that change in ways that no counter of documents shows.
type changing struct {
	*scenario
	old, typeless  bool // the source has no sequence numbers; no types
	source, target *cluster.Client
	rounds         int
}

func newChanging(t *testing.T, between versions) *changing {
	s := newScenario(t, labs.take(t, between), "changing", 2000)
	c := &changing{
		scenario: s, old: between.source < "6", typeless: between.source >= "7",
		source: s.lab.Source.Direct(), target: s.lab.Target.Direct(),
	}
	s.noRoundBesides()
	for _, name := range []string{"mapping", "alias", "setting", "count", "again"} {
		c.create("changing-" + name)
		s.plan.Indices = append(s.plan.Indices, "changing-"+name)
	}
	c.ask(c.source, http.MethodPut, "/changing-alias/_alias/former", "")
	c.flush()
	return c
}

// create makes an index of ten documents.
func (c *changing) create(name string) {
	c.t.Helper()
	c.ask(c.source, http.MethodPut, "/"+name, `{"settings":{"number_of_replicas":0,"number_of_shards":1}}`)
	for i := range 10 {
		c.doc(name, fmt.Sprint(i), "first")
	}
}

func (c *changing) doc(index, id, name string) {
	c.t.Helper()
	c.ask(c.source, http.MethodPut, "/"+index+"/"+lab.CatalogType+"/"+id, `{"name":"`+name+`"}`)
}

func (c *changing) ask(at *cluster.Client, method, path, body string) string {
	c.t.Helper()
	var answer json.RawMessage
	var send any
	if body != "" {
		send = body
	}
	require.NoError(c.t, at.Do(c.ctx, method, path, send, &answer))
	return string(answer)
}

// flush commits what was written: before 6.0 a shard with operations that are not committed has no
// mark, and its index takes part once more.
func (c *changing) flush() { c.ask(c.source, http.MethodPost, "/changing*/_flush", "") }

// round runs one more round.
func (c *changing) round() (migration.Round, migration.Status) {
	c.t.Helper()
	c.rounds++
	if c.rounds > 1 {
		c.signal(migration.RequestRound)
	}
	status := c.await(func(status migration.Status) bool { return status.RoundsEnded == c.rounds })
	round := status.Rounds[len(status.Rounds)-1]
	c.t.Logf("round %d: %v, %d skipped; %d bytes restored, %d reused; %v", round.Number, round.Taken, round.Skipped,
		round.BytesRestored, round.BytesReused, status.Because)
	return round, status
}

// takes requires what a round takes, by reason, and that it skips the others.
func (c *changing) takes(taken map[migration.Reason]int, names ...string) migration.Round {
	c.t.Helper()
	round, status := c.round()
	if len(taken) == 0 {
		require.Empty(c.t, round.Taken)
		require.Empty(c.t, round.Snapshot)
	} else {
		require.Equal(c.t, taken, round.Taken)
	}
	var because []string
	indices := 0
	for _, reason := range status.Because {
		because = append(because, reason.First...)
		indices += reason.Indices
	}
	require.Equal(c.t, len(c.plan.Indices)-indices, round.Skipped)
	if len(names) > 0 {
		require.ElementsMatch(c.t, names, because)
	}
	return round
}

// Only what changed takes part in a round, and whatever changed is carried: what no counter shows,
// too.
func TestOnlyWhatChangedTakesPart(t *testing.T) {
	t.Parallel()
	for name, between := range map[string]versions{"5.5": usual, "6.8": from6to7, "7.10": within7} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			newChanging(t, between).test()
		})
	}
}

func (c *changing) test() {
	c.worker()
	c.start()
	c.takes(map[migration.Reason]int{migration.ReasonFull: 6})
	c.takes(nil) // nothing has changed
	require.Contains(c.t, c.ask(c.target, http.MethodGet, "/changing-alias/_alias", ""), `"former"`)

	// Only the mapping; only aliases, of which one goes; only a setting; updates and deletes that leave the count; an
	// index deleted and created again with as many documents.
	if c.typeless {
		c.ask(c.source, http.MethodPut, "/changing-mapping/_mapping", `{"properties":{"length":{"type":"long"}}}`)
	} else {
		c.ask(c.source, http.MethodPut, "/changing-mapping/_mapping/"+lab.CatalogType,
			`{"properties":{"length":{"type":"long"}}}`)
	}
	c.ask(c.source, http.MethodPost, "/_aliases", `{"actions":[
		{"remove":{"index":"changing-alias","alias":"former"}},{"add":{"index":"changing-alias","alias":"changed"}}]}`)
	c.ask(c.source, http.MethodPut, "/changing-setting/_settings", `{"index.max_result_window":12345}`)
	c.doc("changing-count", "1", "second")
	c.ask(c.source, http.MethodDelete, "/changing-count/"+lab.CatalogType+"/2", "")
	c.doc("changing-count", "instead", "second")
	c.ask(c.source, http.MethodDelete, "/changing-again", "")
	c.create("changing-again")
	c.doc("changing-again", "1", "second")
	c.flush()
	c.takes(map[migration.Reason]int{
		migration.ReasonDefinition: 3, migration.ReasonWritten: 1, migration.ReasonCreatedAgain: 1,
	}, "changing-mapping", "changing-alias", "changing-setting", "changing-count", "changing-again")
	c.sameOnTarget()

	// A primary that is allocated again, as after a move or a failover.
	c.ask(c.source, http.MethodPost, "/_cluster/reroute", `{"commands":[{"cancel":
		{"index":"changing-count","shard":0,"node":"source-1","allow_primary":true}}]}`)
	c.ask(c.source, http.MethodGet, "/_cluster/health?wait_for_status=yellow&timeout=60s", "")
	c.takes(map[migration.Reason]int{migration.ReasonMoved: 1}, "changing-count")

	// The target lost an index, and somebody closed another one.
	c.ask(c.target, http.MethodDelete, "/changing-mapping", "")
	c.ask(c.target, http.MethodPost, "/changing-alias/_close", "")
	c.takes(map[migration.Reason]int{migration.ReasonTarget: 2}, "changing-mapping", "changing-alias")

	// The source's node is killed: all take part. Their segments are what they were, so that their
	// restores find nearly everything on the target.
	require.NoError(c.t, c.lab.Kill(lab.PartSource))
	require.NoError(c.t, c.lab.Restart(c.ctx, lab.PartSource))
	c.ask(c.source, http.MethodGet, "/_cluster/health?wait_for_status=yellow&timeout=60s", "")
	round := c.takes(map[migration.Reason]int{migration.ReasonMoved: 6})
	require.Positive(c.t, round.BytesReused)
	require.Less(c.t, 20*round.BytesRestored, round.BytesRestored+round.BytesReused,
		"a restore over an unchanged set of segments recovers less than 5 %% of the bytes again")
	c.takes(nil)

	report := c.finish()
	last := report.Rounds[len(report.Rounds)-1]
	require.Equal(c.t, migration.RoundFinal, last.Kind)
	require.Empty(c.t, last.Snapshot, "the window takes nothing")
	require.Equal(c.t, 6, last.Skipped)
	c.sameOnTarget()
}

// sameOnTarget compares what the changes left on both clusters.
func (c *changing) sameOnTarget() {
	c.t.Helper()
	require.Contains(c.t, c.ask(c.target, http.MethodGet, "/changing-mapping/_mapping", ""), `"length":{"type":"long"}`)
	require.JSONEq(c.t, `{"changing-alias":{"aliases":{"changed":{}}}}`,
		c.ask(c.target, http.MethodGet, "/changing-alias/_alias", ""), "what the source has removed is gone here, too")
	require.Contains(c.t, c.ask(c.target, http.MethodGet, "/changing-setting/_settings", ""), `"12345"`)
	for _, path := range []string{
		"/changing-count/" + lab.CatalogType + "/1", "/changing-count/" + lab.CatalogType + "/instead",
		"/changing-again/" + lab.CatalogType + "/1",
	} {
		require.Contains(c.t, c.ask(c.target, http.MethodGet, path, ""), `"second"`, path)
	}
	err := c.target.Do(c.ctx, http.MethodGet, "/changing-count/"+lab.CatalogType+"/2", nil, nil)
	require.ErrorContains(c.t, err, "HTTP 404")
	require.False(c.t, strings.Contains(fmt.Sprint(err), "no such index"))
}
