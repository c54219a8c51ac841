package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	activitypb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.uber.org/zap"
	"sigs.k8s.io/yaml"

	"github.com/snapferry/snapferry/migration"
)

// watchedServer is a Temporal server with migrations. One without a status gives no answer.
type watchedServer struct {
	mu       sync.Mutex
	statuses map[string]*migration.Status
	pending  []*workflowpb.PendingActivityInfo
	listErr  error
	hangs    bool // no query is answered
	page     int
	asked    map[string]int
	// atOnce counts the queries that run, most is the most of them.
	atOnce, most int
}

func (s *watchedServer) ListWorkflow(_ context.Context,
	request *workflowservice.ListWorkflowExecutionsRequest,
) (*workflowservice.ListWorkflowExecutionsResponse, error) {
	if s.listErr != nil {
		return nil, s.listErr
	}
	ids := slices.Sorted(maps.Keys(s.statuses))
	from := 0
	if token := request.GetNextPageToken(); len(token) > 0 {
		if _, err := fmt.Sscan(string(token), &from); err != nil {
			return nil, err
		}
	}
	to := min(from+s.page, len(ids))
	response := new(workflowservice.ListWorkflowExecutionsResponse)
	for _, id := range append(ids[from:to:to], ids[from]) { // an id may come twice: a run ends, the next one begins
		response.Executions = append(response.Executions, &workflowpb.WorkflowExecutionInfo{
			Execution: &activitypb.WorkflowExecution{WorkflowId: id},
		})
	}
	if to < len(ids) {
		response.NextPageToken = []byte(fmt.Sprint(to))
	}
	return response, nil
}

func (s *watchedServer) QueryWorkflow(ctx context.Context, id, _, _ string, _ ...any) (converter.EncodedValue, error) {
	s.mu.Lock()
	s.asked[id]++
	s.atOnce++
	s.most = max(s.most, s.atOnce)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.atOnce--
	}()
	if s.hangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	status := s.statuses[id]
	if status == nil {
		return nil, errors.New("no poller")
	}
	payloads, err := converter.GetDefaultDataConverter().ToPayloads(status)
	return client.NewValue(payloads), err
}

func (s *watchedServer) DescribeWorkflowExecution(context.Context, string, string) (
	*workflowservice.DescribeWorkflowExecutionResponse, error,
) {
	return &workflowservice.DescribeWorkflowExecutionResponse{PendingActivities: s.pending}, nil
}

var moment = time.Unix(1_800_000_000, 0)

// observed is a watcher of a server, and a registry with its numbers.
func observed(t *testing.T, s *watchedServer) (*watcher, *prometheus.Registry) {
	t.Helper()
	s.asked = map[string]int{}
	if s.page == 0 {
		s.page = 2
	}
	w := newWatcher(s, "default", zap.NewNop())
	w.now = func() time.Time { return moment }
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(&numbers{newest: w.newest, now: w.now})
	return w, registry
}

func pendingOf(t *testing.T, activity string, progress *migration.Progress) *workflowpb.PendingActivityInfo {
	t.Helper()
	info := &workflowpb.PendingActivityInfo{
		ActivityType: &activitypb.ActivityType{Name: activity}, State: enums.PENDING_ACTIVITY_STATE_STARTED,
	}
	if progress != nil {
		payloads, err := converter.GetDefaultDataConverter().ToPayloads(progress)
		require.NoError(t, err)
		info.HeartbeatDetails = payloads
	}
	return info
}

// full is a migration of which everything is known.
func full() *migration.Status {
	millis := moment.UnixMilli()
	return &migration.Status{
		WorkflowID: "migration/movies", Plan: migration.Plan{
			Name: "movies", Rounds: migration.Rounds{Interval: migration.Duration(15 * time.Minute)},
		},
		Phase: migration.PhaseVerify, PhaseSinceMillis: millis - 5_000, StartedMillis: millis - 3_600_000,
		RoundsEnded: 7, IndicesTotal: 2,
		FrozenSinceMillis: millis - 12_500, FrozenUntilMillis: millis + 3_600_000,
		DownSinceMillis: millis - 20_000,
		Prediction: &migration.Prediction{
			Millis: 42_000, BlockMillis: 350, SnapshotMillis: 9_000, CopyMillis: 4_000, RestoreMillis: 8_000,
			VerifyMillis: 20_650,
		},
		FrozenWindow: &migration.FrozenWindow{
			Millis: 40_000, BlockMillis: 400, Groups: 3, GroupedMillis: 19_600, VerifyMillis: 20_000,
		},
		Rounds: []migration.Round{{Number: 5, BytesCopied: 1}, {
			Number: 6, BytesCopied: 2048, BlobsCopied: 31, Writes: 412, StartTimeMillis: millis - 60_000,
			SnapshotMillis: 21_000, CopyMillis: 14_300, RestoreMillis: 18_000,
		}},
		Failed: make([]migration.FailedSnapshot, 1), FailedOmitted: 2,
		Attention: &migration.Attention{Type: string(migration.ErrorVerification)},
		Copy: &migration.CopyProgress{
			PagesDone: 3, PagesTotal: 10, BlobsDone: 30, BlobsTotal: 100, BytesDone: 300, BytesTotal: 1000,
		},
		Proven:    &migration.Proven{Docs: 90, OfDocs: 100, Shards: 4, OfShards: 6, UnlikeShards: 1},
		Rehearsal: &migration.Rehearsal{Attention: make([]migration.Attention, 2), AttentionOmitted: 1},
	}
}

const fullNumbers = `
# HELP snapferry_migration_attention 1 while a step needs attention; retrying is true if it goes on without a person.
# TYPE snapferry_migration_attention gauge
snapferry_migration_attention{migration="migration/movies",retrying="false",type="VerificationFailed"} 1
# HELP snapferry_migration_carried_timestamp_seconds All writes before this time are on the target.
# TYPE snapferry_migration_carried_timestamp_seconds gauge
snapferry_migration_carried_timestamp_seconds{migration="migration/movies"} 1.79999994e+09
# HELP snapferry_migration_copy_pages Pages of the delta: done, running, or waiting for a place.
# TYPE snapferry_migration_copy_pages gauge
snapferry_migration_copy_pages{migration="migration/movies",state="done"} 3
snapferry_migration_copy_pages{migration="migration/movies",state="running"} 2
snapferry_migration_copy_pages{migration="migration/movies",state="waiting"} 5
# HELP snapferry_migration_down_seconds For how long nobody could write: since the writers were stopped, or the block.
# TYPE snapferry_migration_down_seconds gauge
snapferry_migration_down_seconds{migration="migration/movies"} 20
# HELP snapferry_migration_failed_snapshots_total Snapshots that ended PARTIAL or FAILED.
# TYPE snapferry_migration_failed_snapshots_total counter
snapferry_migration_failed_snapshots_total{migration="migration/movies"} 3
# HELP snapferry_migration_findings What a rehearsal has found that would have needed attention.
# TYPE snapferry_migration_findings gauge
snapferry_migration_findings{migration="migration/movies"} 3
# HELP snapferry_migration_frozen_left_seconds In how long the write block is removed if nobody sends cutover.
# TYPE snapferry_migration_frozen_left_seconds gauge
snapferry_migration_frozen_left_seconds{migration="migration/movies"} 3600
# HELP snapferry_migration_frozen_seconds For how long writes to the source have been blocked.
# TYPE snapferry_migration_frozen_seconds gauge
snapferry_migration_frozen_seconds{migration="migration/movies"} 12.5
# HELP snapferry_migration_last_round_copied_bytes What the last round copied: its delta.
# TYPE snapferry_migration_last_round_copied_bytes gauge
snapferry_migration_last_round_copied_bytes{migration="migration/movies"} 2048
# HELP snapferry_migration_last_round_step_seconds How long the steps of the last round took.
# TYPE snapferry_migration_last_round_step_seconds gauge
snapferry_migration_last_round_step_seconds{migration="migration/movies",step="copy"} 14.3
snapferry_migration_last_round_step_seconds{migration="migration/movies",step="restore"} 18
snapferry_migration_last_round_step_seconds{migration="migration/movies",step="snapshot"} 21
# HELP snapferry_migration_measured_window_part_seconds The parts of the measured window.
# TYPE snapferry_migration_measured_window_part_seconds gauge
snapferry_migration_measured_window_part_seconds{migration="migration/movies",part="block"} 0.4
snapferry_migration_measured_window_part_seconds{migration="migration/movies",part="groups"} 19.6
snapferry_migration_measured_window_part_seconds{migration="migration/movies",part="verify"} 20
# HELP snapferry_migration_predicted_window_part_seconds The parts of the predicted window.
# TYPE snapferry_migration_predicted_window_part_seconds gauge
snapferry_migration_predicted_window_part_seconds{migration="migration/movies",part="block"} 0.35
snapferry_migration_predicted_window_part_seconds{migration="migration/movies",part="copy"} 4
snapferry_migration_predicted_window_part_seconds{migration="migration/movies",part="restore"} 8
snapferry_migration_predicted_window_part_seconds{migration="migration/movies",part="snapshot"} 9
snapferry_migration_predicted_window_part_seconds{migration="migration/movies",part="verify"} 20.65
# HELP snapferry_migration_proof_proven_documents Those that are proven equal.
# TYPE snapferry_migration_proof_proven_documents gauge
snapferry_migration_proof_proven_documents{migration="migration/movies"} 90
# HELP snapferry_migration_round_interval_seconds The plan's time between two rounds.
# TYPE snapferry_migration_round_interval_seconds gauge
snapferry_migration_round_interval_seconds{migration="migration/movies"} 900
# HELP snapferry_migration_rounds_total Rounds that have ended, with the baseline.
# TYPE snapferry_migration_rounds_total counter
snapferry_migration_rounds_total{migration="migration/movies"} 7
# HELP snapferry_migration_verify_done_documents Those that it has read.
# TYPE snapferry_migration_verify_done_documents gauge
snapferry_migration_verify_done_documents{migration="migration/movies"} 120
# HELP snapferry_watch_migrations Migrations and rehearsals that run and gave an answer when this worker last asked.
# TYPE snapferry_watch_migrations gauge
snapferry_watch_migrations 1
`

func TestTheNumbersOfAMigration(t *testing.T) {
	s := &watchedServer{statuses: map[string]*migration.Status{"migration/movies": full()}}
	s.pending = []*workflowpb.PendingActivityInfo{
		pendingOf(t, migration.ActivityCopyPage, nil), pendingOf(t, migration.ActivityCopyPage, nil),
		{ActivityType: &activitypb.ActivityType{Name: migration.ActivityCopyPage}},
		pendingOf(t, migration.ActivityVerifyTarget, &migration.Progress{DocsDone: 120, DocsTotal: 200}),
	}
	w, registry := observed(t, s)
	w.pass(t.Context())
	var names []string
	for _, match := range regexp.MustCompile(`(?m)^# TYPE (\S+)`).FindAllStringSubmatch(fullNumbers, -1) {
		names = append(names, match[1])
	}
	require.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(fullNumbers), names...))
	require.Equal(t, 1, s.asked["migration/movies"], "although it is listed twice")

	phases := 0
	families, err := registry.Gather()
	require.NoError(t, err)
	require.Len(t, families, 3+len(allNumbers), "everything is known of it")
	for _, family := range families {
		require.NotEmpty(t, family.GetHelp())
		if family.GetName() == "snapferry_migration_phase" {
			for _, metric := range family.GetMetric() {
				phases += int(metric.GetGauge().GetValue())
			}
		}
	}
	require.Equal(t, 1, phases, "it is in one phase")
	lint, err := testutil.GatherAndLint(registry)
	require.NoError(t, err)
	require.Empty(t, lint, "Prometheus's conventions")
}

// What ends, and what a worker can't read any more, is not shown as it was.
func TestNumbersAreDropped(t *testing.T) {
	s := &watchedServer{statuses: map[string]*migration.Status{}}
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		s.statuses["migration/"+name] = &migration.Status{WorkflowID: "migration/" + name, Phase: migration.PhaseRounds}
	}
	w, registry := observed(t, s)
	count := func(name string) float64 {
		families, err := registry.Gather()
		require.NoError(t, err)
		for _, family := range families {
			if family.GetName() == name && strings.HasPrefix(name, "snapferry_watch") {
				return family.GetMetric()[0].GetGauge().GetValue()
			} else if family.GetName() == name {
				return float64(len(family.GetMetric()))
			}
		}
		return 0
	}
	const rounds, unreadable = "snapferry_migration_rounds_total", "snapferry_watch_unreadable_migrations"
	require.Zero(t, count(rounds), "nothing was seen yet")
	require.Zero(t, count("snapferry_watch_last_pass_timestamp_seconds"))
	w.pass(t.Context())
	require.EqualValues(t, 5, count(rounds))

	s.statuses["migration/a"].Phase = migration.PhaseCompleted // it is still listed
	delete(s.statuses, "migration/b")
	s.statuses["migration/c"] = nil
	w.pass(t.Context())
	require.EqualValues(t, 2, count(rounds))
	require.EqualValues(t, 1, count(unreadable))
	require.EqualValues(t, 2, count("snapferry_watch_migrations"))

	// Without a server nothing is known; for a moment that is no reason to forget.
	s.listErr = errors.New("down")
	w.pass(t.Context())
	require.EqualValues(t, 2, count(rounds))
	w.now = func() time.Time { return moment.Add(watchedFor + time.Second) }
	require.Zero(t, count(rounds))
	require.EqualValues(t, moment.Unix(), count("snapferry_watch_last_pass_timestamp_seconds"), "an alert sees its age")
}

// Workers that don't answer hold a pass up for a bounded time, with few questions at once.
func TestAPassIsBounded(t *testing.T) {
	s := &watchedServer{statuses: map[string]*migration.Status{}, page: 100, hangs: true}
	for i := range mostWatched + 50 {
		s.statuses[fmt.Sprintf("migration/m%03d", i)] = nil
	}
	synctest.Test(t, func(t *testing.T) {
		w, _ := observed(t, s)
		began := time.Now()
		w.pass(t.Context())
		require.Equal(t, mostWatched, w.newest().unreadable)
		require.Equal(t, watchedAtOnce, s.most)
		require.Equal(t, mostWatched/watchedAtOnce*watchTimeout, time.Since(began))
	})
}

func TestForeignTypesOfAttentionShareALabel(t *testing.T) {
	require.Equal(t, "SnapshotFailed", attentionType(migration.Attention{Type: "SnapshotFailed"}))
	require.Equal(t, "TimedOut", attentionType(migration.Attention{Type: "TimedOut"}))
	require.Equal(t, "other", attentionType(migration.Attention{Type: "PanicError 0x1234"}))
}

// allMetrics are the names of all metrics of snapferry's own.
func allMetrics() map[string]bool {
	names := map[string]bool{
		"snapferry_watch_last_pass_timestamp_seconds": true, "snapferry_watch_unreadable_migrations": true,
		"snapferry_watch_migrations": true,
	}
	for _, n := range allNumbers {
		names["snapferry_migration_"+n.name] = true
	}
	for _, name := range []string{"read_bytes", "resumed_bytes", "retries", "stalls", "corruptions"} {
		names["snapferry_copy_"+name+"_total"] = true
	}
	return names
}

var metricName = regexp.MustCompile(`\bsnapferry_(?:migration|watch|copy)_[a-z_]+[a-z]\b`)

// The documentation explains each metric, and alerts and dashboards use no other.
func TestMetricsAreDocumented(t *testing.T) {
	all := allMetrics()
	docs, err := os.ReadFile("../docs/metrics.md")
	require.NoError(t, err)
	for name := range all {
		require.Contains(t, string(docs), "`"+name+"`")
	}
	files := []string{"../docs/metrics.md"}
	for _, pattern := range []string{"../deploy/prometheus/*.yml", "../deploy/grafana/*.json"} {
		found, err := filepath.Glob(pattern)
		require.NoError(t, err)
		require.NotEmpty(t, found, pattern)
		files = append(files, found...)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		names := metricName.FindAllString(string(text), -1)
		require.NotEmpty(t, names, file)
		for _, name := range names {
			require.True(t, all[name], "%s names %s, which no worker has", file, name)
		}
	}
}

// Each alert has a case in which it fires and one in which it does not; promtool runs them (make
// test-deploy).
func TestEachAlertIsTested(t *testing.T) {
	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert       string            `json:"alert"`
				Labels      map[string]string `json:"labels"`
				Annotations map[string]string `json:"annotations"`
			} `json:"rules"`
		} `json:"groups"`
	}
	var tests struct {
		Tests []struct {
			Cases []struct {
				Alert    string `json:"alertname"`
				Expected []any  `json:"exp_alerts"`
			} `json:"alert_rule_test"`
		} `json:"tests"`
	}
	for file, into := range map[string]any{"snapferry.rules.yml": &rules, "snapferry.rules.test.yml": &tests} {
		text, err := os.ReadFile(filepath.Join("../deploy/prometheus", file))
		require.NoError(t, err)
		require.NoError(t, yaml.Unmarshal(text, into))
	}
	docs, err := os.ReadFile("../docs/metrics.md")
	require.NoError(t, err)
	fires, silent := map[string]bool{}, map[string]bool{}
	for _, test := range tests.Tests {
		for _, c := range test.Cases {
			if len(c.Expected) > 0 {
				fires[c.Alert] = true
			} else {
				silent[c.Alert] = true
			}
		}
	}
	require.NotEmpty(t, rules.Groups)
	for _, rule := range rules.Groups[0].Rules {
		require.True(t, fires[rule.Alert], "%s never fires in a test", rule.Alert)
		require.True(t, silent[rule.Alert], "%s always fires in the tests", rule.Alert)
		require.Contains(t, string(docs), "| `"+rule.Alert+"` | "+rule.Labels["severity"]+" |")
		require.NotEmpty(t, rule.Annotations["summary"])
		require.NotEmpty(t, rule.Annotations["description"])
	}
}
