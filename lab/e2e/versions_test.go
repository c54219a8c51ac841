//go:build lab

package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/migration"
)

// The other versions: one major up at a time, as Elasticsearch demands, and within 7.x.
var (
	from2to5 = versions{"2.4.6", "5.5.3"}
	from5to6 = versions{"5.5.2", "6.8.23"}
	from6to7 = versions{"6.8.23", "7.10.2"}
	within7  = versions{"7.10.2", "7.17.28"}
	from7to8 = versions{"7.10.2", "8.17.2"}
)

// Complete migrations between other versions than the usual ones. Afterwards every byte in OSS is
// compared.
func TestOtherVersions(t *testing.T) {
	t.Parallel()
	for name, between := range map[string]versions{
		"from2to5": from2to5, "from5to6": from5to6, "from6to7": from6to7, "within7": within7, "from7to8": from7to8,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScenario(t, labs.take(t, between), name, 1000)
			s.write()
			s.worker()
			s.start()
			s.await(func(status migration.Status) bool { return status.RoundsEnded >= 3 })
			report := s.finish()
			require.Empty(t, report.Indices[0].Differences, "settings, mappings and aliases")
			out, err := s.rig.Starter(s.ctx, "audit", "-f", filepath.Join(s.lab.Dir, name+".yaml"), "--deep")
			require.NoError(t, err)
			require.Zero(t, out.Code, out.Stdout+out.Stderr)
			require.Contains(t, out.Stdout, "complete")
		})
	}
}

// What Elasticsearch can't restore is refused before anything is done, with the rule.
func TestVersionsThatDontGoTogether(t *testing.T) {
	t.Parallel()
	s := newScenario(t, labs.take(t, usual), "from5to7", 10)
	later, err := lab.Start(s.ctx, lab.Options{
		Dir: t.TempDir(), Out: os.Stderr, Parts: []lab.Part{lab.PartTarget}, TargetVersion: "7.10.2",
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, later.Close()) })
	s.plan.Target.Endpoint = later.Target.Endpoint
	s.noRoundBesides()
	s.worker()
	s.start()
	attention := s.awaitAttention()
	require.Equal(t, string(migration.ErrorPreflight), attention.Type)
	require.Contains(t, attention.Message, "from5to7")
	require.Contains(t, attention.Message, "5.5.2")
	s.signal(migration.RequestAbort)
	_, err = s.rig.Report(s.ctx, s.id)
	require.ErrorContains(t, err, "aborted")
}
