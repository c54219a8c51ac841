//go:build lab

package e2e

import (
	"context"
	"flag"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/lab/oddities"
	"github.com/snapferry/snapferry/migration"
)

// allPairs has the catalogue carried between all versions, and not only between these.
var (
	allPairs   = flag.Bool("pairs", false, "carry the catalogue of odd indices between all pairs of versions")
	usualPairs = []versions{usual, from7to8}
)

// Indices as people have them, by a complete migration. The test compares both clusters with code of
// its own.
func TestOddIndices(t *testing.T) {
	t.Parallel()
	for _, pair := range oddities.Pairs {
		between := versions{pair.Source, pair.Target}
		if !slices.Contains(usualPairs, between) && !*allPairs {
			continue
		}
		t.Run(pair.Source+"-"+pair.Target, func(t *testing.T) {
			t.Parallel()
			carryOddities(t, pair, newScenario(t, labs.take(t, between),
				"oddities-"+strings.ReplaceAll(pair.Source+"-"+pair.Target, ".", "-"), 10))
		})
	}
}

func carryOddities(t *testing.T, pair oddities.Pair, s *scenario) {
	v, to, err := pair.Versions()
	require.NoError(t, err)
	indices, err := pair.Indices(oddities.Carried)
	require.NoError(t, err)
	refused, err := pair.Indices(oddities.Refused)
	require.NoError(t, err)
	source := oddities.Side{Client: s.lab.Source.Direct(), Version: v}
	target := oddities.Side{Client: s.lab.Target.Direct(), Version: to}
	t.Cleanup(func() { // the next test on these clusters has its own
		for _, side := range []oddities.Side{source, target} {
			for _, x := range indices {
				require.NoError(t, x.Delete(context.Background(), side))
			}
		}
	})
	require.NoError(t, oddities.Prepare(s.ctx, target.Client, to, indices))
	require.NoError(t, oddities.Load(s.ctx, source.Client, v, append(refused, indices...)))
	s.plan.Indices = append(s.plan.Indices, oddities.Prefix+"*")
	s.noRoundBesides()
	s.worker()
	s.start()
	if len(refused) > 0 {
		refuseOddities(t, s, source, refused)
	}
	s.await(func(status migration.Status) bool { return status.RoundsEnded >= 1 })
	for _, x := range indices {
		require.NoError(t, x.WriteLate(s.ctx, source.Client, v), x.Name)
	}
	s.signal(migration.RequestRound)
	s.await(func(status migration.Status) bool { return status.RoundsEnded >= 2 })
	s.signal(migration.RequestFreeze)
	s.awaitPhase(migration.PhaseAwaitCutover)
	s.signal(migration.RequestCutover)
	report, err := s.rig.Report(s.ctx, s.id)
	require.NoError(t, err)
	require.Equal(t, migration.ResultCompleted, report.Result)

	var stay []string
	for _, x := range indices {
		if x.Stays {
			stay = append(stay, x.Name)
			require.Error(t, target.Do(s.ctx, http.MethodGet, "/"+x.Name+"/_count", nil, nil), "%s stays", x.Name)
			continue
		}
		differences, err := oddities.Compare(s.ctx, source, target, x)
		require.NoError(t, err)
		for _, difference := range differences {
			t.Error(difference)
		}
		if err := x.WriteOn(s.ctx, target); err != nil {
			t.Errorf("%s takes no writes on the target: %v", x.Name, err)
		}
	}
	for _, name := range stay {
		require.Contains(t, strings.Join(report.Warnings, "\n"), name)
	}
	named := map[string]bool{} // settings that the report says are not on the target
	for _, setting := range report.SettingsLeftOut {
		named[setting.Setting] = true
	}
	for _, result := range report.Indices {
		require.True(t, result.Equal, "%+v", result)
		require.False(t, slices.Contains(stay, result.Name))
		for _, difference := range result.Differences {
			at := slices.IndexFunc(indices, func(x oddities.Index) bool { return x.Name == result.Name })
			require.GreaterOrEqual(t, at, 0, "%s: %s", result.Name, difference)
			lost := slices.IndexFunc(indices[at].Lost, func(setting string) bool {
				return strings.Contains(difference, setting)
			})
			require.GreaterOrEqual(t, lost, 0, "%s: %s", result.Name, difference)
			named[indices[at].Lost[lost]] = true
		}
	}
	for _, x := range indices {
		for _, setting := range x.Lost {
			if setting == oddities.PolicyOfISM || setting == oddities.OwnOfAPlugin {
				require.True(t, named[setting], "%s: %v", setting, report.SettingsLeftOut)
			}
		}
	}
}

// refuseOddities expects that preflight names each index that the target lacks a module for, what it
// lacks and what to do. Without these indices, the migration goes on.
func refuseOddities(t *testing.T, s *scenario, source oddities.Side, refused []oddities.Index) {
	attention := s.awaitAttention()
	require.Equal(t, string(migration.ErrorPreflight), attention.Type)
	problems := strings.Split(attention.Message, "\n- ")
	for _, x := range refused {
		at := slices.IndexFunc(problems, func(problem string) bool {
			return strings.Contains(problem, "index "+x.Name+" ") && strings.Contains(problem, x.Refusal) &&
				strings.Contains(problem, "install the plugin")
		})
		require.GreaterOrEqual(t, at, 0, "%s: %s", x.Name, attention.Message)
		require.NoError(t, x.Delete(s.ctx, source))
	}
	require.Len(t, problems, len(refused)+1, "nothing else is refused: %s", attention.Message)
	s.signal(migration.RequestRetry)
}
