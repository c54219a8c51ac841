//go:build lab

package e2e

import (
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/worker"

	"github.com/snapferry/snapferry/internal/osstest"
	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/migration"
	"github.com/snapferry/snapferry/workflows"
)

// The final round is cut into groups, each with a snapshot of its own. Nothing is lost, all indices
// are equal, and afterwards every byte in OSS is compared.
func TestTheFinalRoundInGroups(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		between versions
		// killed is the first object of the final round whose PUT the worker doesn't survive.
		killed string
	}{
		"groups2": {between: from2to5},
		"groups5": {usual, `/__[^/]+$`},
		"groups7": {from6to7, `^[^/]+/[^/]+/[^/]+/index-[0-9]+$`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScenario(t, labs.take(t, test.between), name, 2000)
			for n := range 2 {
				other := fmt.Sprintf("%s-%d", name, n)
				require.NoError(t, lab.LoadCatalog(s.ctx, s.lab.Source.Direct(),
					lab.CatalogOptions{Index: other, Documents: 500, Shards: 2}))
				s.plan.Indices = append(s.plan.Indices, other)
			}
			s.noRoundBesides()
			s.plan.Freeze.Pipeline.Groups = 3
			s.write()
			s.worker()
			s.start()
			s.await(func(status migration.Status) bool { return status.RoundsEnded >= 1 })
			for _, index := range s.plan.Indices[1:] {
				for n := range 5 {
					path := fmt.Sprintf("/%s/%s/later-%d", index, lab.CatalogType, n)
					require.NoError(t, s.lab.Source.Client().Do(s.ctx, http.MethodPut, path,
						map[string]any{"name": "written after the baseline"}, nil))
				}
			}
			if test.killed == "" {
				s.signal(migration.RequestFreeze)
			} else {
				s.killAt(regexp.MustCompile(test.killed))
			}
			s.awaitPhase(migration.PhaseAwaitCutover)
			s.signal(migration.RequestCutover)
			report := s.completed()
			final := report.Rounds[len(report.Rounds)-1]
			require.Equal(t, 3, final.Groups)
			require.Equal(t, 3, report.FrozenWindow.Groups)
			require.Positive(t, final.GroupedMillis)
			t.Logf("snapshot %d ms, copy %d ms, restore %d ms, together %d ms", final.SnapshotMillis, final.CopyMillis,
				final.RestoreMillis, final.GroupedMillis)
			path := filepath.Join(t.TempDir(), "history.json")
			require.NoError(t, s.rig.History(s.ctx, s.id, path))
			replayer := worker.NewWorkflowReplayer()
			workflows.Register(replayer)
			require.NoError(t, replayer.ReplayWorkflowHistoryFromJSONFile(nil, path))
			out, err := s.rig.Starter(s.ctx, "audit", "-f", filepath.Join(s.lab.Dir, name+".yaml"), "--deep")
			require.NoError(t, err)
			require.Zero(t, out.Code, out.Stdout+out.Stderr)
			require.Contains(t, out.Stdout, "complete")
		})
	}
}

// killAt freezes, and kills the worker that writes the first object of such a key to OSS; another one
// takes over.
func (s *scenario) killAt(key *regexp.Regexp) {
	reached, release := make(chan struct{}), make(chan struct{})
	once := sync.OnceFunc(func() { close(reached) })
	s.lab.OSS.Server.Inject(osstest.Rule{Match: func(c osstest.Call) bool {
		return c.Op == "PutObject" && strings.Contains(c.Key, "/"+s.name+"/") && key.MatchString(c.Key)
	}, Times: 1, Fault: osstest.Hook(func() { once(); <-release })})
	s.signal(migration.RequestFreeze)
	select {
	case <-reached:
	case <-s.ctx.Done():
		s.t.Fatal("the final round wrote no such object")
	}
	s.replaceWorker()
	close(release)
}
