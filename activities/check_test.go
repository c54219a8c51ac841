package activities

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

// area is what a check has found in one.
func area(t *testing.T, found migration.Checked, name string) migration.CheckArea {
	t.Helper()
	for _, a := range found.Areas {
		if a.Name == name {
			return a
		}
	}
	t.Fatalf("there is no area %s: %+v", name, found.Areas)
	return migration.CheckArea{}
}

// A check finds in one look what a migration would find step by step, and leaves both clusters as they
// were.
func TestCheckOfAPlan(t *testing.T) {
	problems := func(found migration.Checked) (all []string) {
		for _, a := range found.Areas {
			for _, problem := range a.Problems {
				all = append(all, a.Name+": "+problem)
			}
		}
		return all
	}
	for name, tt := range map[string]struct {
		spoil func(*world)
		area  string
		says  []string
	}{
		"ready": {},
		"a plugin that the target lacks": {
			spoil: func(w *world) {
				w.to.Unknown = []string{"icu_folding"}
				w.from.Define("movies", `{"analysis":{"filter":{"fold":{"type":"icu_folding"}}}}`, "")
			},
			area: "Analysis, mappings, filters",
			says: []string{"setting index.analysis.filter.fold.type of index movies can't be used there"},
		},
		"too few shards": {
			spoil: func(w *world) { w.to.LimitShards(1) },
			area:  "Shard limit of the target",
			says:  []string{"set cluster.max_shards_per_node to at least"},
		},
		"no permission to change settings": {
			spoil: func(w *world) {
				w.from.Refuse("PUT /*/_settings", 99, 403, "security_exception", "no permission for settings")
			},
			area: "Permission to block writes",
			says: []string{"could not block writes: allow PUT INDEX/_settings", "movies"},
		},
		"the target doesn't answer": {
			spoil: func(w *world) { w.to.Close() },
			area:  "Clusters and versions",
			says:  []string{"127.0.0.1"},
		},
		"an index in the way": {
			spoil: func(w *world) { w.to.Create("movies", 1, nil) },
			area:  "Names on the target",
			says:  []string{"index movies exists on the target already"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.from.Create("ranked", 1, map[string]string{"index.priority": "7"})
			w.run.Plan.Indices = append([]string{"ranked"}, both2...)
			w.from.Version, w.to.Version = "6.8.23", "7.10.2" // which count shards
			for _, name := range w.run.Plan.Indices {
				w.from.Change(name, "index.version.created", "6082399")
			}
			if tt.spoil != nil {
				tt.spoil(w)
			}
			from, to := w.from.World(), w.to.World()
			found := must[migration.Checked](w, w.activities.CheckPlan, w.run)
			require.Equal(t, from, w.from.World())
			require.Equal(t, to, w.to.World())
			require.Equal(t, len(w.run.Plan.Indices), found.Indices)
			require.Equal(t, "6.8.23", found.SourceVersion)
			require.NotNil(t, found.Probe)
			if tt.area == "" {
				require.Empty(t, problems(found))
				require.Equal(t, "7.10.2", found.TargetVersion)
				require.Contains(t, area(t, found, "Permission to block writes").Note, "3 indices")
				require.Equal(t, "max_snapshot_bytes_per_sec 80mb, indices.recovery.max_bytes_per_sec 40mb",
					area(t, found, "Throttles").Note)
				require.Len(t, found.Limits, 2)
				require.EqualValues(t, found.Shards, found.Segments, "the fake has one segment in each shard")
				require.EqualValues(t, found.Probe.Shards, found.ProbeSegments)
				return
			}
			all := strings.Join(area(t, found, tt.area).Problems, "\n")
			for _, says := range tt.says {
				require.Contains(t, all, says)
			}
			for _, problem := range problems(found) {
				require.True(t, strings.HasPrefix(problem, tt.area+": "), problem)
			}
		})
	}
}

// What the plan and the target say limits the pace. What can't be read is taken for the default.
func TestCheckReadsTheThrottles(t *testing.T) {
	w := newWorld(t)
	w.from.Version, w.to.Version = "6.8.23", "7.10.2"
	for _, name := range both2 {
		w.from.Change(name, "index.version.created", "6082399")
	}
	w.run.Plan.Indices, w.run.Plan.Copy.Bandwidth = both2, 50_000_000
	w.run.Plan.Throttles.Rounds.Snapshot = "60mb"
	recovery := func() (string, migration.CheckArea) {
		found := must[migration.Checked](w, w.activities.CheckPlan, w.run)
		require.Equal(t, []string{"60mb", "50MB/s"}, []string{found.Limits[0].Value, found.Limits[1].Value})
		last := found.Limits[len(found.Limits)-1]
		require.Equal(t, recoveryThrottle, last.Setting)
		return last.Value, area(t, found, "Throttles")
	}
	w.to.SetClusterSetting("persistent", recoveryThrottle, "25mb")
	value, noted := recovery()
	require.Equal(t, "25mb", value)
	require.Empty(t, noted.Problems)

	w.to.Refuse("GET /_cluster/settings", 99, 403, "security_exception", "no permission for the cluster's settings")
	value, noted = recovery()
	require.Equal(t, "40mb", value)
	require.Contains(t, noted.Note, "can't be read, so the default is assumed")
	require.Empty(t, noted.Problems)
}
