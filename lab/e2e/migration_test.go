//go:build lab

package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/worker"

	"github.com/snapferry/snapferry/internal/osstest"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/migration"
	"github.com/snapferry/snapferry/workflows"
)

// A complete migration of an index that is written to and of one that stands still. What the first
// round has copied of the latter is never copied again, and soon it takes part in no round.
// Afterwards no secret stands in its history, in any log or in the report, and its history replays.
func TestAWholeMigration(t *testing.T) {
	t.Parallel()
	s := newScenario(t, labs.take(t, usual), "whole", 3000)
	const still = "whole-still"
	require.NoError(t, lab.LoadCatalog(s.ctx, s.lab.Source.Direct(),
		lab.CatalogOptions{Index: still, Documents: 1000, Shards: 2}))
	s.plan.Indices = append(s.plan.Indices, still)
	s.write()
	s.worker()
	s.start()
	s.await(func(status migration.Status) bool { return status.RoundsEnded >= 1 })
	written := s.recordWrites()
	s.await(func(status migration.Status) bool { return status.RoundsEnded >= 3 })
	report := s.finish()
	require.GreaterOrEqual(t, len(report.Rounds), 4)
	first, last := report.Rounds[0], report.Rounds[len(report.Rounds)-1]
	before := s.blobsOf(still, 2, first.UUID)
	require.NotEmpty(t, before)
	require.GreaterOrEqual(t, first.BlobsCopied, int64(len(before)))
	again := written()
	for _, key := range before {
		require.NotContains(t, again, key, "no file of an index that stands still is copied twice")
	}
	require.Equal(t, 1, last.Skipped, "what stands still takes no part")
	require.Equal(t, 1, last.Taken[migration.ReasonWritten])

	path := filepath.Join(t.TempDir(), "history.json")
	require.NoError(t, s.rig.History(s.ctx, s.id, path))
	replayer := worker.NewWorkflowReplayer()
	workflows.Register(replayer)
	require.NoError(t, replayer.ReplayWorkflowHistoryFromJSONFile(nil, path))

	history, err := os.ReadFile(path)
	require.NoError(t, err)
	s.noSecretIn("the history", string(history))
	text, err := json.Marshal(report)
	require.NoError(t, err)
	s.noSecretIn("the report", string(text))
	own, err := os.ReadFile(s.workers[0].LogPath)
	require.NoError(t, err)
	require.NotEmpty(t, own)
	logs, err := filepath.Glob(filepath.Join(s.lab.Dir, "run", "*.log")) // of earlier tests on this lab, too
	require.NoError(t, err)
	require.Contains(t, logs, s.workers[0].LogPath)
	for _, log := range logs {
		text, err := os.ReadFile(log)
		require.NoError(t, err)
		s.noSecretIn(log, string(text))
	}
}

// recordWrites notes the keys of what is written to OSS from now on.
func (s *scenario) recordWrites() (written func() []string) {
	var mu sync.Mutex
	var keys []string
	s.lab.OSS.Server.Inject(osstest.Rule{Match: func(c osstest.Call) bool {
		if slices.Contains([]string{"PutObject", "InitiateMultipartUpload"}, c.Op) {
			mu.Lock()
			defer mu.Unlock()
			keys = append(keys, c.Key)
		}
		return false
	}})
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(keys)
	}
}

// blobsOf lists the data blobs in OSS that a snapshot needs of an index.
func (s *scenario) blobsOf(index string, shards int, uuid string) (blobs []string) {
	s.t.Helper()
	server, bucket := s.lab.OSS.Server, s.lab.OSS.Bucket
	base, names := "", []string{}
	for _, o := range server.Objects(bucket) {
		below, ours := strings.CutPrefix(o.Key, "snapferry/"+s.name+"/")
		token, key, _ := strings.Cut(below, "/")
		if ours {
			base, names = "snapferry/"+s.name+"/"+token+"/", append(names, key)
		}
	}
	read := func(key string) []byte {
		data, err := server.Read(bucket, base+key)
		require.NoError(s.t, err)
		return data
	}
	generation, ok := repository.LatestGeneration(names)
	require.True(s.t, ok)
	root, err := repository.ParseRoot(generation, read(repository.RootIndexKey(generation)))
	require.NoError(s.t, err)
	at := slices.IndexFunc(root.Indices, func(i repository.Index) bool { return i.Name == index })
	require.GreaterOrEqual(s.t, at, 0)
	for number := range shards {
		shard := repository.ShardID{IndexID: root.Indices[at].ID, Number: number}
		key, err := repository.ShardSnapshotKey(shard, uuid)
		require.NoError(s.t, err)
		files, err := repository.ParseShardSnapshot(read(key))
		require.NoError(s.t, err)
		needed, err := repository.ShardBlobs(shard, files)
		require.NoError(s.t, err)
		for _, blob := range needed {
			blobs = append(blobs, base+blob.Key)
		}
	}
	return blobs
}

// The cutover leaves the target's index as the source's was: replicas, refresh interval, aliases,
// mappings, no block.
func TestTheTargetIsAsTheSourceWas(t *testing.T) {
	t.Parallel()
	s := newScenario(t, labs.take(t, usual), "settings", 300)
	direct := s.lab.Source.Direct()
	require.NoError(t, direct.Do(s.ctx, http.MethodPut, "/settings/_settings",
		map[string]any{"index": map[string]any{"number_of_replicas": 2, "refresh_interval": "17s"}}, nil))
	require.NoError(t, direct.Do(s.ctx, http.MethodPut, "/settings/_alias/shop", nil, nil))
	s.worker()
	s.start()
	s.await(func(status migration.Status) bool { return status.RoundsEnded >= 1 })
	s.finish()

	target := s.lab.Target.Direct()
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
	t.Parallel()
	s := newScenario(t, labs.take(t, usual), "killcopy", 3000)
	s.write()
	s.worker()
	reached := make(chan struct{})
	release := make(chan struct{})
	data := func(c osstest.Call) bool { return c.Op == "PutObject" && strings.Contains(c.Key, "/__") }
	puts := 0
	s.lab.OSS.Server.Inject(osstest.Rule{Match: func(c osstest.Call) bool {
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

// A worker that is killed at each of the moments in which the clusters are made ready, or the
// source is being frozen or is frozen. However it went, the throttles are those of the window as
// long as it lasts, and afterwards those that were found.
func TestTheWorkerIsKilledInTheFrozenWindow(t *testing.T) {
	t.Parallel()
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
			t.Parallel()
			s := newScenario(t, labs.take(t, usual), moment.name, 1000)
			s.noRoundBesides()
			s.plan.Source.Repository.Settings = map[string]any{"max_snapshot_bytes_per_sec": "30mb"}
			s.plan.Cutover.KeepRepositories = true
			s.write()
			s.worker()
			s.start()
			s.await(func(status migration.Status) bool { return status.RoundsEnded >= 1 })
			s.requireThrottles("30mb", "")
			faults := &s.lab.Target.Front.Faults
			if moment.source {
				faults = &s.lab.Source.Front.Faults
			}
			held := faults.HoldNext(func(r *http.Request) bool {
				return r.Method == moment.method && strings.Contains(r.URL.Path, moment.match) &&
					!strings.Contains(r.URL.Path, lab.CatalogType)
			})
			s.signal(migration.RequestFreeze)
			s.awaitHeld(held)
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

// requireThrottles reads the migration's repositories on both clusters; empty means that none is
// set.
func (s *scenario) requireThrottles(snapshot, restore string) {
	s.t.Helper()
	setting := func(direct interface {
		Do(ctx context.Context, method, path string, body, out any) error
	}, name string,
	) string {
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
	require.Equal(s.t, snapshot, setting(s.lab.Source.Direct(), "max_snapshot_bytes_per_sec"))
	require.Equal(s.t, restore, setting(s.lab.Target.Direct(), "max_restore_bytes_per_sec"))
}

// The answers to requests that must not be repeated blindly are lost, as Amazon's front end does
// with 504.
func TestAnswersAreLost(t *testing.T) {
	t.Parallel()
	s := newScenario(t, labs.take(t, usual), "lostanswers", 1000)
	s.write()
	s.worker()
	source, target := &s.lab.Source.Front.Faults, &s.lab.Target.Front.Faults
	lost := []*lab.Fault{
		source.LoseNext(2, lab.Requests(http.MethodPut, "/_snapshot/snapferry-lostanswers-"),
			http.StatusGatewayTimeout),
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
	t.Parallel()
	s := newScenario(t, labs.take(t, usual), "badoss", 3000)
	s.write()
	s.worker()
	puts := osstest.Ops("PutObject")
	for _, fault := range []osstest.Fault{
		osstest.Throttle(50 * time.Millisecond), osstest.ResetUpload(100),
		osstest.WrongCRC(), osstest.LoseAnswer(),
	} {
		s.lab.OSS.Server.Inject(osstest.Rule{Match: puts, Rate: 0.03, Fault: fault})
	}
	s.start()
	s.await(func(status migration.Status) bool { return status.RoundsEnded >= 2 })
	s.finish()
}

// Temporal's server is killed and comes back.
func TestTemporalIsKilled(t *testing.T) {
	t.Parallel()
	s := newScenario(t, labs.take(t, usual), "killtemporal", 1000)
	s.write()
	s.worker()
	s.start()
	s.await(func(status migration.Status) bool { return status.RoundsEnded >= 1 })
	s.signal(migration.RequestFreeze)
	s.await(func(status migration.Status) bool { return status.Phase.Frozen() })
	require.NoError(t, s.lab.Kill(lab.PartTemporal))
	require.NoError(t, s.lab.Restart(s.ctx, lab.PartTemporal))
	s.awaitPhase(migration.PhaseAwaitCutover)
	s.signal(migration.RequestCutover)
	s.completed()
}
