//go:build lab

package e2e

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"

	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/migration"
)

// kill terminates the migration and its guard, so that nobody is left to clean up. Its worker goes
// first: an activity that still ran would start the guard again.
func (s *scenario) kill() {
	s.t.Helper()
	s.mu.Lock()
	newest := s.workers[len(s.workers)-1]
	s.mu.Unlock()
	require.NoError(s.t, newest.Kill())
	for _, id := range []string{s.id, migration.GuardID(s.name)} {
		err := s.rig.Client.TerminateWorkflow(s.ctx, id, "", "the test wants so")
		if _, unknown := errors.AsType[*serviceerror.NotFound](err); !unknown {
			require.NoError(s.t, err)
		}
	}
	s.worker()
}

// refusedFor has preflight refuse the next migration of the source, of this plan or of another one:
// the killed guard has left its block.
func (s *scenario) refusedFor(planName string) {
	s.t.Helper()
	plan, id := s.plan, migration.WorkflowID(planName)
	plan.Name = planName
	_, err := s.rig.Start(s.ctx, plan)
	require.NoError(s.t, err)
	status, err := s.rig.Await(s.ctx, id, func(status migration.Status) bool { return status.Attention != nil })
	require.NoError(s.t, err)
	require.Equal(s.t, string(migration.ErrorPreflight), status.Attention.Type)
	s.t.Log(status.Attention.Message)
	require.Contains(s.t, status.Attention.Message, "index "+s.index)
	require.Contains(s.t, status.Attention.Message, migration.GuardID(s.name))
	require.Contains(s.t, status.Attention.Message, "starter recover -f "+s.name+".yaml")
	s.abort(id)
}

// abort ends a migration.
func (s *scenario) abort(id string) {
	s.t.Helper()
	require.NoError(s.t, s.rig.Signal(s.ctx, id, migration.RequestAbort))
	_, err := s.rig.Report(s.ctx, id)
	require.ErrorContains(s.t, err, "abort")
}

const looksForAnEnd = 50 * time.Millisecond

// planFile is the plan as a person has it.
func (s *scenario) planFile() string {
	s.t.Helper()
	path, err := s.lab.WritePlan(s.plan)
	require.NoError(s.t, err)
	return path
}

// below lists what stands in the plan's folders in both buckets.
func (s *scenario) below() (keys []string) {
	s.t.Helper()
	w := s.world()
	for _, key := range append(w.s3, w.oss...) {
		if strings.HasPrefix(key, "snapferry/"+s.name+"/") {
			keys = append(keys, key)
		}
	}
	return keys
}

// A migration and its guard are terminated: recover shows what is in force and removes it, cleanup
// removes the rest, and everything is as before.
func TestRecoverAfterATermination(t *testing.T) {
	t.Parallel()
	r := labs.take(t, usual)
	for _, moment := range []struct {
		name  string
		reach func(*scenario)
		again bool // whether our block was set, so that the next migration is refused until recover has run
	}{
		{"killedwaiting", func(s *scenario) {
			s.await(func(status migration.Status) bool { return status.RoundsEnded >= 1 })
			s.signal(migration.RequestFreeze)
			s.awaitPhase(migration.PhaseAwaitCutover)
			s.kill()
		}, true},
		{"killedfinal", func(s *scenario) { // the snapshot that the dead run had asked for comes late
			s.await(func(status migration.Status) bool { return status.RoundsEnded >= 1 })
			held := s.lab.Source.Front.HoldNext(lab.Requests(http.MethodPut, "/"+s.name+"-r"))
			s.signal(migration.RequestFreeze)
			s.awaitHeld(held)
			s.kill()
			held.Release()
		}, false},
		{"killedrestore", func(s *scenario) { // and so does its restore
			held := s.lab.Target.Front.HoldNext(lab.Requests(http.MethodPost, "/_restore"))
			s.awaitHeld(held)
			s.kill()
			held.Release()
			require.Eventually(s.t, func() bool {
				return s.lab.Target.Direct().Do(s.ctx, http.MethodGet, "/"+s.index+"/_settings", nil, nil) == nil
			}, lab.Patience, looksForAnEnd)
		}, false},
	} {
		t.Run(moment.name, func(t *testing.T) {
			s := newScenario(t, r, moment.name, 300)
			s.noRoundBesides()
			before := s.world()
			s.worker()
			s.start()
			path := s.planFile()
			require.Contains(t, s.starter(3, "recover", "-f", path).Stderr, "is running")
			moment.reach(s)
			if moment.again {
				s.refusedFor(s.name)
				s.refusedFor(s.name + "-beside")
			}
			// In one of the moments there was no block yet.
			require.NoError(t, s.lab.Source.Direct().Do(s.ctx, http.MethodPut, "/"+s.index+"/_settings",
				map[string]any{"index.blocks.write": true}, nil))

			killed := s.world()
			shown := s.starter(9, "recover", "-f", path).Stdout
			require.Contains(t, shown, "1 write block, source")
			require.Contains(t, shown, "1 registered repository, target")
			t.Log(shown)
			require.Equal(t, killed.clusters, s.world().clusters, "to show changes nothing")

			removed := s.starter(0, "recover", "-f", path, "--yes", "--blocks").Stdout
			t.Log(removed)
			require.NoError(t, s.put(s.lab.Source.Client()), "the source takes writes")
			t.Log(s.starter(0, "cleanup", "-f", path, "--yes").Stdout)
			require.Empty(t, s.same(before), "left in S3")
			require.Empty(t, s.below())
		})
	}
}

// What an aborted run leaves is removed, once it was shown.
func TestCleanupAfterAnAbort(t *testing.T) {
	t.Parallel()
	s := newScenario(t, labs.take(t, usual), "cleanedabort", 300)
	s.noRoundBesides()
	before := s.world()
	s.worker()
	s.start()
	s.await(func(status migration.Status) bool { return status.RoundsEnded >= 1 })
	s.signal(migration.RequestFreeze)
	s.awaitPhase(migration.PhaseAwaitCutover)
	s.signal(migration.RequestAbort)
	report, err := s.rig.Report(s.ctx, s.id)
	require.Error(t, err)
	require.Contains(t, report.Remains[len(report.Remains)-1], "starter cleanup -f cleanedabort.yaml")

	path, aborted := s.planFile(), s.world()
	shown := s.starter(9, "cleanup", "-f", path, "--dry-run").Stdout
	require.Contains(t, shown, "left behind: 1 index")
	require.Equal(t, aborted, s.world(), "a dry run changes nothing")
	require.NotEmpty(t, s.below())

	t.Log(s.starter(0, "cleanup", "-f", path, "--yes").Stdout)
	require.Empty(t, s.same(before), "left in S3")
	require.Empty(t, s.below())
}

// The product of a completed run stays, whatever else is removed, and its source stays blocked.
func TestCleanupAfterACompletedRun(t *testing.T) {
	t.Parallel()
	s := newScenario(t, labs.take(t, usual), "cleanedwhole", 300)
	s.noRoundBesides()
	s.write()
	s.worker()
	s.start()
	s.await(func(status migration.Status) bool { return status.RoundsEnded >= 1 })
	s.finish()
	settings := func() (document any) {
		require.NoError(t, s.lab.Target.Direct().Do(s.ctx, http.MethodGet, "/"+s.index+"/_settings", nil, &document))
		return document
	}
	product, path := settings(), s.planFile()
	require.NotEmpty(t, s.below())

	t.Log(s.starter(0, "cleanup", "-f", path, "--yes").Stdout)
	require.Empty(t, s.below())
	require.Equal(t, product, settings())
	require.NoError(t, s.put(s.lab.Target.Client()), "the target takes writes")

	require.Contains(t, s.starter(0, "recover", "-f", path, "--yes", "--blocks", "--indices").Stdout,
		"stays: 1 write block")
	require.ErrorContains(t, s.put(s.lab.Source.Client()), "cluster_block_exception")
	require.NoError(t, s.put(s.lab.Target.Client()))

	// Without the starter, as somebody does it in the Temporal UI.
	out, err := s.rig.TemporalCLI(s.ctx, "workflow", "execute", "--type", migration.CleanupWorkflowType,
		"--task-queue", migration.TaskQueue, "--workflow-id", "cleanup/by-hand", "--input", `{"plan": `+s.planJSON()+
			`}`)
	require.NoError(t, err)
	require.Zero(t, out.Code, out.Stdout+out.Stderr)
}

func (s *scenario) planJSON() string {
	s.t.Helper()
	return s.starter(0, "plan", "json", "-f", s.planFile()).Stdout
}
