//go:build lab

package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/migration"
)

// A check of a plan that is ready, with a probe on real clusters, leaves everything as it was. One of a
// plan that isn't names each cause: too few shards, a file of stop words and a permission that are
// missing.
func TestAPlanIsChecked(t *testing.T) {
	t.Parallel()
	s := newScenario(t, labs.take(t, from6to7), "checked", 8000)
	s.worker()
	path := s.planFile()
	if len(s.lab.OSS.Server.Objects(s.lab.OSS.Bucket)) == 0 { // a migration before may have made the bucket
		require.Contains(t, s.starter(0, "check", "-f", path, "--probe", "--watch", "1s").Stdout, "Ready")
	}
	s.bucket()
	before := s.world()
	page := filepath.Join(t.TempDir(), "check.html")
	var idle migration.CheckReport
	require.NoError(t, json.Unmarshal([]byte(s.starter(0, "check", "-f", path, "--probe", "--watch", "2s",
		"--html", page, "-o", "json").Stdout), &idle))
	s.same(before)
	require.True(t, idle.Written.Nothing())
	require.Nil(t, idle.Round)
	require.Positive(t, idle.Probed.Round.SnapshotMillis, "the probe's round takes the index in any case")
	html, err := os.ReadFile(page)
	require.NoError(t, err)
	require.Contains(t, string(html), "checked, ")
	require.Contains(t, string(html), "not known: nothing was written while the source was watched")
	s.noSecretIn("the page", string(html))

	s.checkWhileWritten(path)

	// The source has a file of stop words that the target lacks. The target has room for one shard, and
	// the source refuses to have settings changed.
	const words = "checked-stop-words.txt"
	config := filepath.Join(s.lab.Dir, string(lab.PartSource), "home", "config")
	require.NoError(t, os.WriteFile(filepath.Join(config, words), []byte("the\n"), 0o644))
	source, target := s.lab.Source.Direct(), s.lab.Target.Direct()
	require.NoError(t, source.Do(s.ctx, http.MethodPut, "/checked-words", map[string]any{
		"settings": map[string]any{"analysis": map[string]any{
			"filter": map[string]any{"words": map[string]any{"type": "stop", "stopwords_path": words}},
		}},
	}, nil))
	limit := func(value any) {
		require.NoError(t, target.Do(s.ctx, http.MethodPut, "/_cluster/settings",
			map[string]any{"transient": map[string]any{"cluster.max_shards_per_node": value}}, nil))
	}
	var has struct {
		Active     int `json:"active_shards"`
		Unassigned int `json:"unassigned_shards"`
	}
	require.NoError(t, target.Do(s.ctx, http.MethodGet, "/_cluster/health", nil, &has))
	limit(has.Active + has.Unassigned + 1) // what is tried there fits
	defer limit(nil)
	s.plan.Indices = append(s.plan.Indices, "checked-words")
	refusing := s.lab.Source.Front.Faults.FailNext(100, lab.Requests(http.MethodPut, "/_settings"),
		http.StatusForbidden, `{"error":{"type":"security_exception","reason":"no permissions for [indices:admin/settings/update]"},"status":403}`)
	before, path = s.world(), s.planFile()
	var found migration.CheckReport
	require.NoError(t, json.Unmarshal([]byte(s.starter(10, "check", "-f", path, "-o", "json").Stdout), &found))
	require.Positive(t, refusing.Hits())
	require.Equal(t, before, s.world())
	require.False(t, found.Ready)
	says := map[string]string{
		"Shard limit of the target":   "set cluster.max_shards_per_node to at least",
		"Analysis, mappings, filters": "setting index.analysis.filter.words.stopwords_path of index checked-words",
		"Permission to block writes":  "could not block writes: allow PUT INDEX/_settings",
	}
	for _, area := range found.Areas {
		if want := says[area.Name]; want != "" {
			require.Len(t, area.Problems, 1, area.Name)
			require.Contains(t, area.Problems[0], want)
		} else {
			require.Empty(t, area.Problems, area.Name)
		}
	}
}

// checkWhileWritten checks a plan while its index is written. It tells what a round copies and takes,
// and what that costs.
func (s *scenario) checkWhileWritten(path string) {
	t := s.t
	prices := filepath.Join(t.TempDir(), "prices.yaml")
	require.NoError(t, os.WriteFile(prices, []byte("currency: EUR\ndays: 7\n"+
		"s3: {storage: 1, writes: 1, reads: 1, traffic: 1}\noss: {storage: 1, writes: 1, reads: 1, traffic: 1}\n"),
		0o600))
	s.write()
	var found migration.CheckReport
	watch := 5 * time.Second
	for ; found.Written == nil || found.Written.Shards < 3; watch *= 2 { // on a busy computer writes are few
		found = migration.CheckReport{}
		require.NoError(t, json.Unmarshal([]byte(s.starter(0, "check", "-f", path, "--probe", "--watch",
			watch.String(), "--prices", prices, "-o", "json").Stdout), &found))
	}
	require.NoError(t, s.writer.Stop())
	text, err := json.MarshalIndent(found, "", "  ")
	require.NoError(t, err)
	t.Log(string(text))

	require.Equal(t, 1, found.Written.Indices)
	require.Equal(t, 3, found.Written.Shards)
	require.Positive(t, found.Written.Indexed)
	require.GreaterOrEqual(t, found.Written.Millis, (watch / 2).Milliseconds(), "as long as was asked for")
	require.Positive(t, found.Written.NewBytes)
	require.Less(t, found.Written.NewBytes, found.Bytes, "8000 documents, and not as many were written")
	require.GreaterOrEqual(t, found.Segments, int64(3))
	require.Equal(t, found.Segments, found.ProbeSegments, "the probe is the only index")
	require.NotNil(t, found.Probed.Round)
	require.Positive(t, found.Probed.Round.SnapshotMillis, "the round took the index")
	require.Positive(t, found.Probed.Round.RestoreMillis)
	round := found.Round
	require.NotNil(t, round)
	require.Empty(t, round.NoTime)
	require.Positive(t, round.Least.Bytes)
	require.Positive(t, round.Least.SnapshotMillis)
	require.GreaterOrEqual(t, round.Most.Bytes, round.Least.Bytes)
	require.GreaterOrEqual(t, round.Most.Millis, round.Least.Millis)
	require.GreaterOrEqual(t, round.Least.Millis, found.Probed.Round.SnapshotMillis+found.Probed.Round.RestoreMillis)
	require.Equal(t, "indices.recovery.max_bytes_per_sec", found.Limits[len(found.Limits)-1].Setting)
	require.Empty(t, found.Costs.NoRounds)
	require.Positive(t, found.Costs.Baseline)
	require.Positive(t, found.Costs.Daily)
}

// The requests that a check counts for a baseline are no fewer than those that OSS gets, and of the same
// order.
func TestACheckCountsTheRequests(t *testing.T) {
	t.Parallel()
	s := newScenario(t, labs.take(t, from6to7), "counted", 20_000)
	s.noRoundBesides()
	s.worker()
	require.NoError(t, s.lab.Source.Direct().Do(s.ctx, http.MethodPost, "/"+s.index+"/_forcemerge?max_num_segments=1",
		nil, nil), "or a merge between check and baseline changes what there is")
	prices := filepath.Join(t.TempDir(), "prices.yaml")
	require.NoError(t, os.WriteFile(prices, []byte("currency: EUR\ndays: 1\n"+
		"s3: {storage: 0, writes: 0, reads: 0, traffic: 0}\noss: {storage: 0, writes: 1, reads: 1, traffic: 0}\n"),
		0o600))
	var found migration.CheckReport
	require.NoError(t, json.Unmarshal([]byte(s.starter(0, "check", "-f", s.planFile(), "--prices", prices, "-o",
		"json").Stdout), &found))
	counted := map[string]float64{}
	for _, item := range found.Costs.Items {
		counted[item.Item] = item.BaselineQuantity * 1000
	}
	s.bucket()
	s.lab.OSS.Server.ResetCounts()
	s.firstRound()
	asked := s.lab.OSS.Server.Counts()
	t.Logf("counted: %v\nasked: %v", counted, asked)
	writes, reads := 0.0, 0.0
	for name, times := range asked {
		if strings.HasPrefix(name, "Get") || strings.HasPrefix(name, "Head") {
			reads += float64(times)
		} else {
			writes += float64(times)
		}
	}
	const slack = 3 // a segment counts with as many files as it has at most
	for item, real := range map[string]float64{"Writing requests to OSS": writes, "Reading requests to OSS": reads} {
		require.Positive(t, real)
		require.GreaterOrEqual(t, counted[item], real, item)
		require.LessOrEqual(t, counted[item], slack*real, item)
	}
}
