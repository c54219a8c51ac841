//go:build lab

package e2e

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/lab/rig"
	"github.com/snapferry/snapferry/migration"
)

// Whole migrations between other versions than those of all other tests: one major up at a time, as Elasticsearch demands, and
// within 7.x. Each has a lab of its own. Afterwards every byte in OSS is compared.
func TestOtherVersions(t *testing.T) {
	for name, versions := range map[string][2]string{
		"from2to5": {"2.4.6", "5.5.3"}, "from5to6": {"5.5.2", "6.8.23"}, "from6to7": {"6.8.23", "7.10.2"}, "within7": {"7.10.2", "7.17.28"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := lab.Start(t.Context(), lab.Options{Dir: t.TempDir(), Out: os.Stderr, SourceVersion: versions[0], TargetVersion: versions[1]})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, l.Close()) })
			r, err := rig.NewIn(t.Context(), l, bin)
			require.NoError(t, err)
			t.Cleanup(r.Close)
			defer func(usual *rig.Rig) { shared = usual }(shared)
			shared = r

			s := newScenario(t, name, 1000)
			s.write()
			s.worker()
			s.start()
			s.await(func(status migration.Status) bool { return status.RoundsEnded >= 3 })
			s.finish()
			out, err := shared.Starter(s.ctx, "audit", "-f", filepath.Join(l.Dir, name+".yaml"), "--deep")
			require.NoError(t, err)
			require.Zero(t, out.Code, out.Stdout+out.Stderr)
			require.Contains(t, out.Stdout, "complete")
		})
	}
}

// What Elasticsearch can't restore is refused before anything is done, with the rule.
func TestVersionsThatDontGoTogether(t *testing.T) {
	l, err := lab.Start(t.Context(), lab.Options{Dir: t.TempDir(), Out: os.Stderr, TargetVersion: "7.10.2"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	r, err := rig.NewIn(t.Context(), l, bin)
	require.NoError(t, err)
	t.Cleanup(r.Close)
	defer func(usual *rig.Rig) { shared = usual }(shared)
	shared = r

	s := newScenario(t, "from5to7", 10)
	s.plan.Rounds.Interval = migration.Duration(time.Hour)
	s.worker()
	s.start()
	attention := s.awaitAttention()
	require.Equal(t, string(migration.ErrorPreflight), attention.Type)
	require.Contains(t, attention.Message, "from5to7")
	require.Contains(t, attention.Message, "5.5.2")
	s.signal(migration.RequestAbort)
	_, err = shared.Report(s.ctx, s.id)
	require.ErrorContains(t, err, "aborted")
}
