//go:build lab

package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/worker"

	"github.com/snapferry/snapferry/internal/osstest"
	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/migration"
	"github.com/snapferry/snapferry/workflows"
)

// A whole migration; afterwards no secret stands in its history, in any log or in the report, and its history replays.
func TestAWholeMigration(t *testing.T) {
	s := newScenario(t, "whole", 3000)
	s.write()
	s.worker()
	s.start()
	s.await(func(status migration.Status) bool { return status.RoundsEnded >= 3 })
	report := s.finish()
	require.GreaterOrEqual(t, len(report.Rounds), 4)
	require.Positive(t, report.Rounds[0].BlobsCopied)
	last := report.Rounds[len(report.Rounds)-1]
	require.Positive(t, last.BlobsSkipped, "the last round carries only what is new")

	path := filepath.Join(t.TempDir(), "history.json")
	require.NoError(t, shared.History(s.ctx, s.id, path))
	replayer := worker.NewWorkflowReplayer()
	workflows.Register(replayer)
	require.NoError(t, replayer.ReplayWorkflowHistoryFromJSONFile(nil, path))

	history, err := os.ReadFile(path)
	require.NoError(t, err)
	noSecretIn(t, "the history", string(history))
	text, err := json.Marshal(report)
	require.NoError(t, err)
	noSecretIn(t, "the report", string(text))
	logs, err := filepath.Glob(filepath.Join(shared.Lab.Dir, "run", "*.log"))
	require.NoError(t, err)
	require.NotEmpty(t, logs)
	for _, log := range logs {
		text, err := os.ReadFile(log)
		require.NoError(t, err)
		require.NotEmpty(t, text)
		noSecretIn(t, log, string(text))
	}
}

// The cutover leaves the target's index as the source's was: replicas, refresh interval, aliases, mappings, no block.
func TestTheTargetIsAsTheSourceWas(t *testing.T) {
	s := newScenario(t, "settings", 300)
	direct := shared.Lab.Source.Direct()
	require.NoError(t, direct.Do(s.ctx, http.MethodPut, "/settings/_settings", map[string]any{"index": map[string]any{"number_of_replicas": 2, "refresh_interval": "17s"}}, nil))
	require.NoError(t, direct.Do(s.ctx, http.MethodPut, "/settings/_alias/shop", nil, nil))
	s.worker()
	s.start()
	s.await(func(status migration.Status) bool { return status.RoundsEnded >= 1 })
	s.finish()

	target := shared.Lab.Target.Direct()
	var settings map[string]struct {
		Settings struct {
			Index map[string]any `json:"index"`
		} `json:"settings"`
	}
	require.NoError(t, target.Do(s.ctx, http.MethodGet, "/settings/_settings", nil, &settings))
	index := settings["settings"].Settings.Index
	require.Equal(t, "2", index["number_of_replicas"])
	require.Equal(t, "17s", index["refresh_interval"])
	if blocks, ok := index["blocks"]; ok {
		require.NotContains(t, blocks, "write")
	}
	for _, path := range []string{"/settings/_mapping", "/settings/_alias"} {
		var atSource, atTarget map[string]any
		require.NoError(t, direct.Do(s.ctx, http.MethodGet, path, nil, &atSource))
		require.NoError(t, target.Do(s.ctx, http.MethodGet, path, nil, &atTarget))
		require.Equal(t, atSource, atTarget, path)
	}
}

// A worker that is killed in the middle of the copy: another one finishes it.
func TestTheWorkerIsKilledInMidCopy(t *testing.T) {
	s := newScenario(t, "killcopy", 3000)
	s.write()
	s.worker()
	reached := make(chan struct{})
	release := make(chan struct{})
	data := func(c osstest.Call) bool { return c.Op == "PutObject" && strings.Contains(c.Key, "/__") }
	puts := 0
	shared.Lab.OSS.Server.Inject(osstest.Rule{Match: func(c osstest.Call) bool {
		if !data(c) {
			return false
		}
		puts++
		return puts == 10
	}, Times: 1, Fault: osstest.Hook(func() { close(reached); <-release })})
	s.start()
	select {
	case <-reached:
	case <-s.ctx.Done():
		t.Fatal("the copy never came to its tenth blob")
	}
	s.replaceWorker()
	close(release)
	s.await(func(status migration.Status) bool { return status.RoundsEnded >= 1 })
	s.finish()
}

// A worker that is killed at each of the moments in which the clusters are made ready, or the source is being frozen or is frozen. However it
// went, the throttles are those of the window as long as it lasts, and afterwards those that were found.
func TestTheWorkerIsKilledInTheFrozenWindow(t *testing.T) {
	for _, moment := range []struct {
		name          string
		source        bool
		method, match string
	}{
		{"killthrottles", true, http.MethodPut, "/_snapshot/snapferry-killthrottles-"},
		{"killblock", true, http.MethodPut, "/_settings"},
		{"killsnapshot", true, http.MethodPut, "/killsnapshot-r"},
		{"killclose", false, http.MethodPost, "/_close"},
		{"killrestore", false, http.MethodPost, "/_restore"},
		{"killverify", true, http.MethodPost, "/_search"},
	} {
		t.Run(moment.name, func(t *testing.T) {
			s := newScenario(t, moment.name, 1000)
			s.plan.Rounds.Interval = migration.Duration(time.Hour)
			s.plan.Source.Repository.Settings = map[string]any{"max_snapshot_bytes_per_sec": "30mb"}
			s.plan.Cutover.KeepRepositories = true
			s.write()
			s.worker()
			s.start()
			s.await(func(status migration.Status) bool { return status.RoundsEnded >= 1 })
			s.requireThrottles("30mb", "")
			faults := &shared.Lab.Target.Front.Faults
			if moment.source {
				faults = &shared.Lab.Source.Front.Faults
			}
			held := faults.HoldNext(func(r *http.Request) bool {
				return r.Method == moment.method && strings.Contains(r.URL.Path, moment.match) && !strings.Contains(r.URL.Path, lab.CatalogType)
			})
			s.signal(migration.RequestFreeze)
			select {
			case <-held.Arrived():
			case <-s.ctx.Done():
				t.Fatalf("no request %s %s came", moment.method, moment.match)
			}
			s.replaceWorker()
			held.Release() // what the dead worker had sent arrives late
			s.awaitPhase(migration.PhaseAwaitCutover)
			s.requireThrottles("4gb", "4gb")
			s.signal(migration.RequestCutover)
			s.completed()
			s.requireThrottles("30mb", "")
		})
	}
}

// requireThrottles reads the migration's repositories on both clusters; empty means that none is set.
func (s *scenario) requireThrottles(snapshot, restore string) {
	s.t.Helper()
	setting := func(direct interface {
		Do(ctx context.Context, method, path string, body, out any) error
	}, name string) string {
		var repositories map[string]struct {
			Settings map[string]string `json:"settings"`
		}
		require.NoError(s.t, direct.Do(s.ctx, http.MethodGet, "/_snapshot/snapferry-"+s.name+"-*", nil, &repositories))
		require.Len(s.t, repositories, 1)
		for _, repository := range repositories {
			return repository.Settings[name]
		}
		return ""
	}
	require.Equal(s.t, snapshot, setting(shared.Lab.Source.Direct(), "max_snapshot_bytes_per_sec"))
	require.Equal(s.t, restore, setting(shared.Lab.Target.Direct(), "max_restore_bytes_per_sec"))
}

// The answers to requests that must not be repeated blindly are lost, as Amazon's front end does with 504.
func TestAnswersAreLost(t *testing.T) {
	s := newScenario(t, "lostanswers", 1000)
	s.write()
	s.worker()
	source, target := &shared.Lab.Source.Front.Faults, &shared.Lab.Target.Front.Faults
	lost := []*lab.Fault{
		source.LoseNext(2, lab.Requests(http.MethodPut, "/_snapshot/snapferry-lostanswers-"), http.StatusGatewayTimeout),
		target.LoseNext(1, lab.Requests(http.MethodPost, "/_restore"), http.StatusGatewayTimeout),
		target.LoseNext(1, lab.Requests(http.MethodPost, "/_close"), 0),
		source.LoseNext(1, lab.Requests(http.MethodPut, "/lostanswers/_settings"), http.StatusGatewayTimeout),
	}
	s.start()
	s.await(func(status migration.Status) bool { return status.RoundsEnded >= 2 })
	s.finish()
	for i, fault := range lost {
		require.Positive(t, fault.Hits(), "rule %d lost nothing", i)
	}
}

// OSS throttles, breaks connections and damages what it is sent.
func TestOSSMisbehaves(t *testing.T) {
	s := newScenario(t, "badoss", 3000)
	s.write()
	s.worker()
	puts := osstest.Ops("PutObject")
	for _, fault := range []osstest.Fault{osstest.Throttle(50 * time.Millisecond), osstest.ResetUpload(100), osstest.WrongCRC(), osstest.LoseAnswer()} {
		shared.Lab.OSS.Server.Inject(osstest.Rule{Match: puts, Rate: 0.03, Fault: fault})
	}
	s.start()
	s.await(func(status migration.Status) bool { return status.RoundsEnded >= 2 })
	s.finish()
}

// Temporal's server is killed and comes back.
func TestTemporalIsKilled(t *testing.T) {
	s := newScenario(t, "killtemporal", 1000)
	s.write()
	s.worker()
	s.start()
	s.await(func(status migration.Status) bool { return status.RoundsEnded >= 1 })
	s.signal(migration.RequestFreeze)
	s.await(func(status migration.Status) bool { return status.Phase.Frozen() })
	require.NoError(t, shared.Lab.Kill(lab.PartTemporal))
	require.NoError(t, shared.Lab.Restart(s.ctx, lab.PartTemporal))
	s.awaitPhase(migration.PhaseAwaitCutover)
	s.signal(migration.RequestCutover)
	s.completed()
}
