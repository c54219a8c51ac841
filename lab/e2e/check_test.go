//go:build lab

package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/migration"
)

// A check of a plan that is ready, with a probe on real clusters, leaves everything as it was. One of a
// plan that isn't names each cause: too few shards, a file of stop words and a permission that are
// missing.
func TestAPlanIsChecked(t *testing.T) {
	t.Parallel()
	s := newScenario(t, labs.take(t, from6to7), "checked", 400)
	s.worker()
	path := s.planFile()
	if len(s.lab.OSS.Server.Objects(s.lab.OSS.Bucket)) == 0 { // a migration before may have made the bucket
		require.Contains(t, s.starter(0, "check", "-f", path, "--probe").Stdout, "Verdict:   Ready")
	}
	s.bucket()
	before := s.world()
	page := filepath.Join(t.TempDir(), "check.html")
	t.Log(s.starter(0, "check", "-f", path, "--probe", "--html", page).Stdout)
	s.same(before)
	html, err := os.ReadFile(page)
	require.NoError(t, err)
	require.Contains(t, string(html), "checked, ")
	s.noSecretIn("the page", string(html))

	// The source has a file of stop words that the target lacks. The target has room for two shards, and
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
	limit(2)
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
