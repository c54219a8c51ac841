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
	s := newScenario(t, "bytemporal", 500)
	s.write()
	s.worker()
	text, err := json.Marshal(s.plan)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "plan.json")
	require.NoError(t, os.WriteFile(path, text, 0o644))
	s.temporal("workflow", "start", "--type", migration.WorkflowType, "--task-queue", migration.TaskQueue, "--workflow-id", s.id, "--input-file", path)
	s.await(func(status migration.Status) bool { return status.RoundsEnded >= 2 })
	s.temporal("workflow", "signal", "--workflow-id", s.id, "--name", "freeze")
	s.awaitPhase(migration.PhaseAwaitCutover)
	require.Contains(t, s.temporal("workflow", "query", "--workflow-id", s.id, "--type", "status"), "awaitCutover")
	s.temporal("workflow", "signal", "--workflow-id", s.id, "--name", "cutover")
	s.completed()
}

func (s *scenario) temporal(arguments ...string) string {
	out, err := shared.TemporalCLI(s.ctx, arguments...)
	require.NoError(s.t, err)
	require.Zero(s.t, out.Code, out.Stderr)
	return out.Stdout
}

// The starter's commands, from start to report.
func TestDrivenByTheStarter(t *testing.T) {
	s := newScenario(t, "bystarter", 500)
	s.worker()
	path, err := shared.Lab.WritePlan(s.plan)
	require.NoError(t, err)
	starter := func(code int, arguments ...string) rig.Output {
		t.Helper()
		out, err := shared.Starter(s.ctx, arguments...)
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

	// The copy in OSS is whole, until somebody deletes a blob of it.
	starter(0, "audit", "-f", path, "--deep")
	oss := shared.Lab.OSS.Server
	for _, object := range oss.Objects(shared.Lab.OSS.Bucket) {
		if strings.HasPrefix(object.Key, "snapferry/"+s.name+"/") && strings.Contains(object.Key, "/__") {
			require.NoError(t, oss.Delete(shared.Lab.OSS.Bucket, object.Key))
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

// A plan that is wrong is refused before anything starts by the starter, and by the workflow for whoever comes past it.
func TestAWrongPlan(t *testing.T) {
	s := newScenario(t, "wrongplan", 10)
	s.worker()
	path := filepath.Join(t.TempDir(), "plan.json")
	require.NoError(t, os.WriteFile(path, []byte(`{"name": "wrongplan", "indexes": ["a"]}`), 0o644))
	out, err := shared.Starter(s.ctx, "start", "-f", path)
	require.NoError(t, err)
	require.Equal(t, 2, out.Code)
	require.Contains(t, out.Stderr, "indexes is not a field of a plan; did you mean indices?")

	s.temporal("workflow", "start", "--type", migration.WorkflowType, "--task-queue", migration.TaskQueue, "--workflow-id", s.id, "--input-file", path)
	_, err = shared.Report(s.ctx, s.id)
	var failure *temporal.ApplicationError
	require.True(t, errors.As(err, &failure), "%v", err)
	require.Equal(t, string(migration.ErrorInvalidPlan), failure.Type())
	require.Contains(t, failure.Message(), "did you mean indices?")
}

// An index that is not there stops the migration before it begins; once it is there, retry goes on.
func TestAMissingIndex(t *testing.T) {
	s := newScenario(t, "missing", 100)
	s.plan.Indices = []string{"missing", "missing-later"}
	s.worker()
	s.start()
	attention := s.awaitAttention()
	require.Equal(t, string(migration.ErrorPreflight), attention.Type)
	require.Contains(t, attention.Message, "missing-later")
	require.NoError(t, lab.LoadCatalog(s.ctx, shared.Lab.Source.Direct(), lab.CatalogOptions{Index: "missing-later", Documents: 5, Shards: 1}))
	s.signal(migration.RequestRetry)
	s.await(func(status migration.Status) bool { return status.RoundsEnded >= 1 })
	s.signal(migration.RequestAbort)
	_, err := shared.Report(s.ctx, s.id)
	require.ErrorContains(t, err, "aborted")
}

// A key that OSS does not know, for the worker and for the cluster: both are found before anything is copied, and neither secret is told.
func TestABadKey(t *testing.T) {
	for name, spoil := range map[string]func(*migration.Plan){
		"badwriter":  func(p *migration.Plan) { p.Target.Repository.Writer.AccessKeySecret = "env:LAB_TARGET_PASSWORD" },
		"badreader":  func(p *migration.Plan) { p.Target.Repository.SecretAccessKey = "env:LAB_TARGET_PASSWORD" },
		"nosecret":   func(p *migration.Plan) { p.Target.Repository.Writer.AccessKeySecret = "env:LAB_NOT_SET" },
		"badcluster": func(p *migration.Plan) { p.Target.Auth.Password = "env:LAB_OSS_ACCESS_KEY_SECRET" },
	} {
		t.Run(name, func(t *testing.T) {
			s := newScenario(t, name, 10)
			spoil(&s.plan)
			s.worker()
			s.start()
			attention := s.awaitAttention()
			require.Contains(t, []string{string(migration.ErrorUnauthorized), string(migration.ErrorPreflight), string(migration.ErrorSecret), string(migration.ErrorRefused), string(migration.ErrorRepository)}, attention.Type, attention.Message)
			noSecretIn(t, "the attention", attention.Message)
			out, err := shared.Starter(s.ctx, "status", name)
			require.NoError(t, err)
			require.Equal(t, 5, out.Code, "the exit code says that it needs attention: %s", out.Stdout)
			noSecretIn(t, "the status", out.Stdout+out.Stderr)
			s.signal(migration.RequestAbort)
			_, err = shared.Report(s.ctx, s.id)
			require.ErrorContains(t, err, "aborted")
			path := filepath.Join(t.TempDir(), "history.json")
			require.NoError(t, shared.History(s.ctx, s.id, path))
			history, err := os.ReadFile(path)
			require.NoError(t, err)
			noSecretIn(t, "the history", string(history))
		})
	}
}

// An aborted migration gives the source free: after the freeze, in mid-window, and by cancellation.
func TestAnAbortedMigrationGivesTheSourceFree(t *testing.T) {
	for name, end := range map[string]func(*scenario){
		"abortwaiting": func(s *scenario) {
			s.awaitPhase(migration.PhaseAwaitCutover)
			s.signal(migration.RequestAbort)
		},
		"abortafterkill": func(s *scenario) {
			s.awaitPhase(migration.PhaseAwaitCutover)
			s.requireThrottles("4gb", "4gb")
			s.signal(migration.RequestAbort)
			s.replaceWorker()
		},
		"abortwindow": func(s *scenario) {
			s.await(func(status migration.Status) bool { return status.Phase == migration.PhaseFinalRound })
			s.signal(migration.RequestAbort)
		},
		"cancelwaiting": func(s *scenario) {
			s.awaitPhase(migration.PhaseAwaitCutover)
			require.NoError(s.t, shared.Client.CancelWorkflow(s.ctx, s.id, ""))
		},
		"deadmansswitch": func(s *scenario) { // the dead man's switch
			s.await(func(status migration.Status) bool { return status.Phase == migration.PhaseAwaitCutover })
			s.await(func(status migration.Status) bool { return status.Phase == migration.PhaseRounds })
			require.NoError(s.t, s.put(shared.Lab.Source.Client()), "the switch gave the source free")
			s.signal(migration.RequestAbort)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScenario(t, name, 500)
			s.plan.Freeze = migration.Freeze{MaxDuration: migration.Duration(15 * time.Second), StandstillTimeout: migration.Duration(5 * time.Second)}
			s.worker()
			s.start()
			s.await(func(status migration.Status) bool { return status.RoundsEnded >= 1 })
			s.signal(migration.RequestFreeze)
			end(s)
			report, err := shared.Report(s.ctx, s.id)
			require.Error(t, err)
			require.Equal(t, migration.ResultAborted, report.Result)
			require.NotEmpty(t, report.Remains)
			require.NoError(t, s.put(shared.Lab.Source.Client()), "the source takes writes again")
			require.ErrorContains(t, s.put(shared.Lab.Target.Client()), "cluster_block_exception", "the target is not open for writes")
			s.requireThrottles("", "")
		})
	}
}

// Somebody writes to the target: the next round must not throw that away without asking.
func TestWritesToTheTargetAreNoticed(t *testing.T) {
	s := newScenario(t, "targetwritten", 200)
	s.plan.Rounds.Interval = migration.Duration(time.Hour)
	s.worker()
	s.start()
	s.await(func(status migration.Status) bool { return status.RoundsEnded >= 1 })
	target := shared.Lab.Target.Direct()
	require.NoError(t, target.Do(s.ctx, http.MethodPut, "/targetwritten/_settings", map[string]any{"index.blocks.write": nil}, nil))
	require.NoError(t, s.put(target))
	s.signal(migration.RequestRound)
	attention := s.awaitAttention()
	require.Equal(t, string(migration.ErrorTargetWritten), attention.Type)
	require.Contains(t, attention.Message, "targetwritten")
	s.signal(migration.RequestRetry)
	s.await(func(status migration.Status) bool { return status.RoundsEnded >= 2 })
	s.finish()
}
