//go:build lab

package e2e

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/osstest"
	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/lab/cluster"
	"github.com/snapferry/snapferry/migration"
)

var prometheusPath = flag.String("prometheus", "", "the prometheus program, for the test of alerts and dashboard")

// A real Prometheus reads the metrics of two workers while a migration runs, one that needs attention
// on the way. Each query of the dashboard returns series, no alert rule has an error, and nothing is
// shown of a migration that has ended.
func TestDashboard(t *testing.T) {
	if *prometheusPath == "" {
		t.Skip("make test-deploy has a Prometheus")
	}
	t.Parallel()
	s := newScenario(t, labs.take(t, usual), "dashboard", 3000)
	s.noRoundBesides()
	s.plan.Indices = append(s.plan.Indices, s.manyBlobs())
	s.write()
	var targets []string
	for range 2 {
		worker := s.workerWith("--metrics-addr", "127.0.0.1:0", "--metrics-interval", "1s")
		targets = append(targets, s.logged(worker, `"serving metrics".*"address":"([^"]+)"`))
	}
	p := s.prometheus(targets)
	p.await(`snapferry_watch_last_pass_timestamp_seconds > 0`)

	// The baseline is copied in pages, since no shard can be copied before its snapshot has ended: the
	// source refuses to tell how far it is. One is held until its numbers are seen.
	began := time.Now()
	s.lab.Source.Front.Faults.FailNext(1000, lab.Requests(http.MethodGet, "/_status"), http.StatusForbidden,
		`{"error":"not for you","status":403}`)
	release := make(chan struct{})
	s.lab.OSS.Server.Inject(osstest.Rule{Match: func(c osstest.Call) bool {
		return c.Op == "PutObject" && strings.Contains(c.Key, "/"+s.name+"/") && strings.Contains(c.Key, "/__")
	}, Times: 1, Fault: osstest.Hook(func() { <-release })})
	s.start()
	p.await(`snapferry_migration_copy_pages{state="running"} > 0`)
	p.await(`snapferry_migration_copy_bytes > 0`)
	p.await(`sum(increase(snapferry_copy_read_bytes_total[10s])) > 0`)
	close(release)
	s.await(func(status migration.Status) bool { return status.RoundsEnded >= 1 })
	p.await(`snapferry_migration_proof_shards > 0`)

	s.lab.Source.Front.Faults.FailNext(1, lab.Requests(http.MethodPut, "/"+s.name+"-r"), http.StatusForbidden,
		`{"error":"not today","status":403}`)
	s.signal(migration.RequestRound)
	s.awaitAttention()
	p.await(`snapferry_migration_attention{type="Unauthorized", retrying="false"}`)
	p.await(`ALERTS{alertname="SnapferryNeedsAttention"}`)
	s.signal(migration.RequestRetry)
	s.await(func(status migration.Status) bool { return status.RoundsEnded >= 2 && status.Attention == nil })

	held := s.holdAComparison()
	s.signal(migration.RequestFreeze)
	s.awaitHeld(held)
	p.await(`snapferry_migration_verify_done_documents > 0`)
	held.Release()
	s.awaitPhase(migration.PhaseAwaitCutover)
	p.await(`snapferry_migration_phase{phase="awaitCutover"} == 1`)
	p.await(`snapferry_migration_measured_window_seconds > 0`)
	p.await(`ALERTS{alertname="SnapferryAwaitsCutover"}`)
	require.Len(t, p.query(`count by (instance) (snapferry_migration_frozen_left_seconds > 0)`), len(targets),
		"each worker shows each migration once")

	for _, q := range dashboardQueries(t) {
		found := p.during(q.expr, began)
		require.NotEmpty(t, found, "panel %q, query %s", q.panel, q.expr)
		t.Logf("%-40s %3d series", q.panel, len(found))
	}
	for _, rule := range p.rules() {
		require.Equal(t, "ok", rule.Health, "%s: %s", rule.Name, rule.LastError)
	}

	s.signal(migration.RequestCutover)
	s.completed()
	p.await(`absent(snapferry_migration_info)`)
	for _, gone := range []string{`snapferry_migration_rounds_total`, `snapferry_migration_frozen_seconds`} {
		require.Empty(t, p.query(gone))
	}
	require.NotEmpty(t, p.query(`snapferry_watch_migrations == 0`))
}

// holdAComparison holds the first shard of the source that is read after the block. Others are read
// beside it, so a verification of few documents is under way until it is seen.
func (s *scenario) holdAComparison() *lab.Fault {
	var blocked atomic.Bool
	return s.lab.Source.Front.Faults.HoldNext(func(r *http.Request) bool {
		if lab.Requests(http.MethodPut, "/_settings")(r) {
			blocked.Store(true)
		}
		return blocked.Load() && strings.Contains(r.URL.Query().Get("preference"), "_shards:")
	})
}

// manyBlobs makes an index whose shards have so many segments that their snapshot is copied in pages,
// and returns its name.
func (s *scenario) manyBlobs() string {
	s.t.Helper()
	const index, shards, segments = "dashboard-pages", 5, 160
	direct := s.lab.Source.Direct()
	require.NoError(s.t, direct.Do(s.ctx, http.MethodPut, "/"+index, map[string]any{"settings": map[string]any{
		"index": map[string]any{
			"number_of_shards": shards, "number_of_replicas": 0, "refresh_interval": "-1",
			"merge": map[string]any{"policy": map[string]any{"segments_per_tier": 1000, "floor_segment": "1kb"}},
		},
	}}, nil))
	for n := range segments {
		documents := make([]cluster.Document, 8*shards) // some for each shard
		for i := range documents {
			documents[i] = cluster.Document{ID: fmt.Sprintf("%d-%d", n, i), Source: json.RawMessage(`{"a":1}`)}
		}
		require.NoError(s.t, direct.Bulk(s.ctx, index, lab.CatalogType, documents))
		require.NoError(s.t, direct.Refresh(s.ctx, index))
	}
	return index
}

// workerWith is worker with more arguments.
func (s *scenario) workerWith(arguments ...string) *lab.Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	worker, err := s.rig.Worker(fmt.Sprintf("worker-%s-%d", s.name, len(s.workers)+1), arguments...)
	require.NoError(s.t, err)
	s.workers = append(s.workers, worker)
	return worker
}

// logged waits for a line in a process's log and returns what the pattern's group matches.
func (s *scenario) logged(process *lab.Process, pattern string) (found string) {
	s.t.Helper()
	expression := regexp.MustCompile(pattern)
	require.Eventually(s.t, func() bool {
		log, err := os.ReadFile(process.LogPath)
		if match := expression.FindSubmatch(log); err == nil && match != nil {
			found = string(match[1])
		}
		return found != ""
	}, lab.Patience, 50*time.Millisecond, "the log %s has no %s", process.LogPath, pattern)
	return found
}

// prometheusServer is a Prometheus that reads workers each second.
type prometheusServer struct {
	s       *scenario
	address string
}

func (s *scenario) prometheus(targets []string) prometheusServer {
	s.t.Helper()
	root, err := lab.Root()
	require.NoError(s.t, err)
	dir := s.t.TempDir()
	configuration, err := json.Marshal(map[string]any{ // which is YAML, too
		"global":     map[string]any{"scrape_interval": "1s", "evaluation_interval": "1s"},
		"rule_files": []string{filepath.Join(root, "deploy", "prometheus", "snapferry.rules.yml")},
		"scrape_configs": []any{map[string]any{
			"job_name": "snapferry", "static_configs": []any{map[string]any{"targets": targets}},
		}},
	})
	require.NoError(s.t, err)
	file := filepath.Join(dir, "prometheus.yml")
	require.NoError(s.t, os.WriteFile(file, configuration, 0o644))
	process, err := s.lab.Run("prometheus", []string{
		*prometheusPath, "--config.file", file, "--storage.tsdb.path", filepath.Join(dir, "data"),
		"--web.listen-address", "127.0.0.1:0", "--log.format", "json",
	})
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = process.Stop() })
	return prometheusServer{s: s, address: s.logged(process, `"Listening on","[^\n]*"address":"(127[^"]+)"`)}
}

// get asks Prometheus's API for something.
func (p prometheusServer) get(path string, values url.Values, into any) error {
	request, err := http.NewRequestWithContext(p.s.ctx, http.MethodGet,
		"http://"+p.address+path+"?"+values.Encode(), nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return err
	}
	if answer.Status != "success" {
		return fmt.Errorf("prometheus answered %s: %s", values, answer.Error)
	}
	return json.Unmarshal(answer.Data, into)
}

type series struct {
	Metric map[string]string
}

// query are the series that an expression has now.
func (p prometheusServer) query(expr string) []series {
	p.s.t.Helper()
	var found struct{ Result []series }
	require.NoError(p.s.t, p.get("/api/v1/query", url.Values{"query": {expr}}, &found))
	return found.Result
}

// during are the series that an expression had since then. The last step is after what was seen last.
func (p prometheusServer) during(expr string, since time.Time) []series {
	p.s.t.Helper()
	var found struct{ Result []series }
	require.NoError(p.s.t, p.get("/api/v1/query_range", url.Values{
		"query": {expr}, "step": {"1"}, "start": {fmt.Sprint(since.Unix())},
		"end": {fmt.Sprint(time.Now().Unix() + 1)},
	}, &found))
	return found.Result
}

// await waits until an expression has series.
func (p prometheusServer) await(expr string) {
	p.s.t.Helper()
	require.Eventually(p.s.t, func() bool {
		var found struct{ Result []series }
		return p.get("/api/v1/query", url.Values{"query": {expr}}, &found) == nil && len(found.Result) > 0
	}, lab.Patience, 200*time.Millisecond, "there are no series of %s", expr)
}

type alertRule struct{ Name, Health, LastError string }

// rules are the alert rules, once each was evaluated.
func (p prometheusServer) rules() (all []alertRule) {
	p.s.t.Helper()
	require.Eventually(p.s.t, func() bool {
		var found struct{ Groups []struct{ Rules []alertRule } }
		all = nil
		if p.get("/api/v1/rules", nil, &found) != nil {
			return false
		}
		for _, group := range found.Groups {
			all = append(all, group.Rules...)
		}
		return len(all) > 0 && !slices.ContainsFunc(all, func(r alertRule) bool { return r.Health == "unknown" })
	}, lab.Patience, 200*time.Millisecond)
	return all
}

type dashboardQuery struct{ panel, expr string }

// dashboardQueries are those of the dashboard's panels and variables, with its variables replaced.
func dashboardQueries(t *testing.T) (all []dashboardQuery) {
	t.Helper()
	root, err := lab.Root()
	require.NoError(t, err)
	text, err := os.ReadFile(filepath.Join(root, "deploy", "grafana", "snapferry.json"))
	require.NoError(t, err)
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
		Templating struct {
			List []struct{ Name, Definition string }
		}
	}
	require.NoError(t, json.Unmarshal(text, &dashboard))
	for _, panel := range dashboard.Panels {
		require.NotEmpty(t, panel.Targets, panel.Title)
		for _, target := range panel.Targets {
			expr := strings.NewReplacer("$migration", ".*", "$__rate_interval", "10s").Replace(target.Expr)
			require.NotContains(t, expr, "$", panel.Title)
			all = append(all, dashboardQuery{panel.Title, expr})
		}
	}
	label := regexp.MustCompile(`^label_values\((\w+), (\w+)\)$`)
	for _, variable := range dashboard.Templating.List {
		if match := label.FindStringSubmatch(variable.Definition); match != nil {
			all = append(all, dashboardQuery{"variable " + variable.Name, match[1] + `{` + match[2] + `!=""}`})
		}
	}
	require.Greater(t, len(all), 20)
	return all
}
