//go:build lab

package e2e

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/lab/rig"
	"github.com/snapferry/snapferry/migration"
)

// Started by Temporal's own command line with a JSON plan, moved on by bare signals.
func TestStartedByTheTemporalCommandLine(t *testing.T) {
	t.Parallel()
	s := newScenario(t, labs.take(t, usual), "bytemporal", 500)
	s.write()
	s.worker()
	text, err := json.Marshal(s.plan)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "plan.json")
	require.NoError(t, os.WriteFile(path, text, 0o644))
	s.temporal("workflow", "start", "--type", migration.WorkflowType, "--task-queue", migration.TaskQueue,
		"--workflow-id", s.id, "--input-file", path)
	s.await(func(status migration.Status) bool { return status.RoundsEnded >= 2 })
	s.temporal("workflow", "signal", "--workflow-id", s.id, "--name", "freeze")
	s.awaitPhase(migration.PhaseAwaitCutover)
	require.Contains(t, s.temporal("workflow", "query", "--workflow-id", s.id, "--type", "status"), "awaitCutover")
	s.temporal("workflow", "signal", "--workflow-id", s.id, "--name", "cutover")
	s.completed()
}

func (s *scenario) temporal(arguments ...string) string {
	out, err := s.rig.TemporalCLI(s.ctx, arguments...)
	require.NoError(s.t, err)
	require.Zero(s.t, out.Code, out.Stderr)
	return out.Stdout
}

// The starter's commands, from start to report.
func TestDrivenByTheStarter(t *testing.T) {
	t.Parallel()
	s := newScenario(t, labs.take(t, usual), "bystarter", 500)
	s.worker()
	path, err := s.lab.WritePlan(s.plan)
	require.NoError(t, err)
	starter := func(code int, arguments ...string) rig.Output {
		t.Helper()
		out, err := s.rig.Starter(s.ctx, arguments...)
		require.NoError(t, err)
		require.Equal(t, code, out.Code, "starter %v: %s%s", arguments, out.Stdout, out.Stderr)
		return out
	}
	starter(0, "plan", "validate", "-f", path)
	starter(4, "status", s.name) // not there yet
	starter(0, "start", "-f", path)
	again := starter(1, "start", "-f", path)
	require.Contains(t, again.Stdout+again.Stderr, "already")
	s.await(func(status migration.Status) bool { return status.RoundsEnded >= 1 })
	starter(3, "cutover", s.name, "--yes") // freeze first
	starter(0, "pause", s.name, "--reason", "lunch")
	starter(0, "resume", s.name)
	starter(0, "round", s.name)
	starter(0, "freeze", s.name)
	s.awaitPhase(migration.PhaseAwaitCutover)
	require.Contains(t, starter(0, "status", s.name).Stdout, "cutover")
	var status migration.Status
	require.NoError(t, json.Unmarshal([]byte(starter(0, "status", s.name, "--output", "json").Stdout), &status))
	require.Equal(t, migration.PhaseAwaitCutover, status.Phase)
	starter(0, "cutover", s.name, "--yes", "--reason", "all equal")
	starter(0, "watch", s.name)
	require.Contains(t, starter(0, "report", s.name).Stdout, s.index)
	report := s.completed()
	require.Equal(t, "lunch", decision(report, migration.RequestPause).Reason)
	require.Equal(t, "all equal", decision(report, migration.RequestCutover).Reason)

	// The copy in OSS is complete, until somebody deletes a blob of it.
	starter(0, "audit", "-f", path, "--deep")
	oss := s.lab.OSS.Server
	for _, object := range oss.Objects(s.lab.OSS.Bucket) {
		if strings.HasPrefix(object.Key, "snapferry/"+s.name+"/") && strings.Contains(object.Key, "/__") {
			require.NoError(t, oss.Delete(s.lab.OSS.Bucket, object.Key))
			break
		}
	}
	require.Contains(t, starter(7, "audit", "-f", path).Stdout, "Missing: 1")
}

func decision(report migration.Report, request migration.Request) migration.Decision {
	for _, d := range report.Decisions {
		if d.Request == request && d.Verdict == migration.Taken {
			return d
		}
	}
	return migration.Decision{}
}

// A plan that is wrong is refused before anything starts by the starter, and by the workflow for
// whoever comes past it.
func TestAWrongPlan(t *testing.T) {
	t.Parallel()
	s := newScenario(t, labs.take(t, usual), "wrongplan", 10)
	s.worker()
	path := filepath.Join(t.TempDir(), "plan.json")
	require.NoError(t, os.WriteFile(path, []byte(`{"name": "wrongplan", "indexes": ["a"]}`), 0o644))
	out, err := s.rig.Starter(s.ctx, "start", "-f", path)
	require.NoError(t, err)
	require.Equal(t, 2, out.Code)
	require.Contains(t, out.Stderr, "indexes is not a field of a plan; did you mean indices?")

	s.temporal("workflow", "start", "--type", migration.WorkflowType, "--task-queue", migration.TaskQueue,
		"--workflow-id", s.id, "--input-file", path)
	_, err = s.rig.Report(s.ctx, s.id)
	var failure *temporal.ApplicationError
	require.True(t, errors.As(err, &failure), "%v", err)
	require.Equal(t, string(migration.ErrorInvalidPlan), failure.Type())
	require.Contains(t, failure.Message(), "did you mean indices?")
}

// An index that is not there stops the migration before it begins; once it is there, retry goes on.
func TestAMissingIndex(t *testing.T) {
	t.Parallel()
	s := newScenario(t, labs.take(t, usual), "missing", 100)
	s.plan.Indices = []string{"missing", "missing-later"}
	s.worker()
	s.start()
	attention := s.awaitAttention()
	require.Equal(t, string(migration.ErrorPreflight), attention.Type)
	require.Contains(t, attention.Message, "missing-later")
	require.NoError(t, lab.LoadCatalog(s.ctx, s.lab.Source.Direct(),
		lab.CatalogOptions{Index: "missing-later", Documents: 5, Shards: 1}))
	s.signal(migration.RequestRetry)
	s.await(func(status migration.Status) bool { return status.RoundsEnded >= 1 })
	s.signal(migration.RequestAbort)
	_, err := s.rig.Report(s.ctx, s.id)
	require.ErrorContains(t, err, "aborted")
}

// A key that OSS does not know, for the worker and for the cluster: both are found before anything
// is copied, and neither secret is told.
func TestABadKey(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*migration.Plan){
		"badwriter": func(p *migration.Plan) {
			p.Target.Repository.Writer.AccessKeySecret = "env:SNAPFERRY_SECRET_TARGET_PASSWORD"
		},
		"badreader": func(p *migration.Plan) {
			p.Target.Repository.SecretAccessKey = "env:SNAPFERRY_SECRET_TARGET_PASSWORD"
		},
		"nosecret": func(p *migration.Plan) {
			p.Target.Repository.Writer.AccessKeySecret = "env:SNAPFERRY_SECRET_NOT_SET"
		},
		"badcluster": func(p *migration.Plan) { p.Target.Auth.Password = "env:SNAPFERRY_SECRET_OSS_ACCESS_KEY_SECRET" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScenario(t, labs.take(t, usual), name, 10)
			spoil(&s.plan)
			s.worker()
			s.start()
			attention := s.awaitAttention()
			require.Contains(t, []string{
				string(migration.ErrorUnauthorized), string(migration.ErrorPreflight),
				string(migration.ErrorSecret), string(migration.ErrorRefused), string(migration.ErrorRepository),
			},
				attention.Type, attention.Message)
			s.noSecretIn("the attention", attention.Message)
			out, err := s.rig.Starter(s.ctx, "status", name)
			require.NoError(t, err)
			require.Equal(t, 5, out.Code, "the exit code says that it needs attention: %s", out.Stdout)
			s.noSecretIn("the status", out.Stdout+out.Stderr)
			s.signal(migration.RequestAbort)
			_, err = s.rig.Report(s.ctx, s.id)
			require.ErrorContains(t, err, "aborted")
			path := filepath.Join(t.TempDir(), "history.json")
			require.NoError(t, s.rig.History(s.ctx, s.id, path))
			history, err := os.ReadFile(path)
			require.NoError(t, err)
			s.noSecretIn("the history", string(history))
		})
	}
}

// After an abort the source is writable again: after the freeze, in mid-window, and by
// cancellation.
func TestAnAbortedMigrationGivesTheSourceFree(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*scenario){
		"abortwaiting": func(s *scenario) {
			s.signal(migration.RequestFreeze)
			s.awaitPhase(migration.PhaseAwaitCutover)
			s.signal(migration.RequestAbort)
		},
		"abortafterkill": func(s *scenario) {
			s.signal(migration.RequestFreeze)
			s.awaitPhase(migration.PhaseAwaitCutover)
			s.requireThrottles("4gb", "4gb")
			s.signal(migration.RequestAbort)
			s.replaceWorker()
		},
		"abortasked": func(s *scenario) { // while the guard's look asks for the final snapshot
			require.NoError(s.t, s.put(s.lab.Source.Client()), "or the final round takes nothing")
			held := s.lab.Source.Front.HoldNext(lab.Requests(http.MethodPut, "/"+s.name+"-r"))
			s.signal(migration.RequestFreeze)
			s.awaitHeld(held)
			s.signal(migration.RequestAbort)
			s.await(func(status migration.Status) bool { return status.Phase != migration.PhaseFreeze })
			held.Release()
		},
		"abortwindow": func(s *scenario) { // the final round stands still until it has the abort
			require.NoError(s.t, s.put(s.lab.Source.Client()), "or the final round takes nothing")
			held := s.lab.Target.Front.HoldNext(lab.Requests(http.MethodPost, "/_restore"))
			s.signal(migration.RequestFreeze)
			s.awaitHeld(held)
			s.awaitPhase(migration.PhaseFinalRound)
			s.signal(migration.RequestAbort)
			held.Release()
		},
		"cancelwaiting": func(s *scenario) {
			s.signal(migration.RequestFreeze)
			s.awaitPhase(migration.PhaseAwaitCutover)
			require.NoError(s.t, s.rig.Client.CancelWorkflow(s.ctx, s.id, ""))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			newScenario(t, labs.take(t, usual), name, 500).abortAfter(end)
		})
	}
	t.Run("deadmansswitch", func(t *testing.T) {
		t.Parallel()
		doubling(t, "deadmansswitch", 15*time.Second, func(t *testing.T, name string, limit time.Duration) bool {
			s := newScenario(t, labs.take(t, usual), name, 500)
			s.plan.Freeze.MaxDuration = migration.Duration(limit)
			waited := false
			s.abortAfter(func(s *scenario) {
				s.signal(migration.RequestFreeze)
				s.await(func(status migration.Status) bool {
					waited = waited || status.Phase == migration.PhaseAwaitCutover
					return windowIsOver(status)
				})
				require.NoError(t, s.put(s.lab.Source.Client()), "the switch has made the source writable again")
				s.signal(migration.RequestAbort)
			})
			return waited
		})
	})
}

// abortAfter runs a migration up to its first round, lets it be ended and looks at what is left.
func (s *scenario) abortAfter(end func(*scenario)) {
	s.noRoundBesides()
	s.worker()
	s.start()
	s.await(func(status migration.Status) bool { return status.RoundsEnded >= 1 })
	end(s)
	report, err := s.rig.Report(s.ctx, s.id)
	require.Error(s.t, err)
	require.Equal(s.t, migration.ResultAborted, report.Result)
	require.NotEmpty(s.t, report.Remains)
	require.NoError(s.t, s.put(s.lab.Source.Client()), "the source takes writes again")
	s.targetRefuses()
	s.requireThrottles("", "")
}

// Somebody writes to the target: the next round must not throw that away without asking.
func TestWritesToTheTargetAreNoticed(t *testing.T) {
	t.Parallel()
	s := newScenario(t, labs.take(t, usual), "targetwritten", 200)
	s.noRoundBesides()
	s.worker()
	s.start()
	s.await(func(status migration.Status) bool { return status.RoundsEnded >= 1 })
	target := s.lab.Target.Direct()
	require.NoError(t, target.Do(s.ctx, http.MethodPut, "/targetwritten/_settings",
		map[string]any{"index.blocks.write": nil}, nil))
	require.NoError(t, s.put(target))
	s.signal(migration.RequestRound)
	attention := s.awaitAttention()
	require.Equal(t, string(migration.ErrorTargetWritten), attention.Type)
	require.Contains(t, attention.Message, "targetwritten")
	s.signal(migration.RequestRetry)
	s.await(func(status migration.Status) bool { return status.RoundsEnded >= 2 })
	s.finish()
}
