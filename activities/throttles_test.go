package activities

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

var windowLimits = migration.Limits{Snapshot: "4gb", Restore: "unlimited", Recovery: "200mb"}

func (w *world) foundThrottles() migration.ThrottlesFound {
	w.t.Helper()
	return twice[migration.ThrottlesFound](w, w.activities.ReadThrottles, w.run)
}

func (w *world) raise(found migration.ThrottlesFound) migration.ThrottlesSet {
	w.t.Helper()
	return twice[migration.ThrottlesSet](w, w.activities.SetThrottles,
		migration.SetThrottlesRequest{Run: w.run, Found: found, Wanted: windowLimits})
}

func (w *world) putBack(found migration.ThrottlesFound) {
	w.t.Helper()
	twice[any](w, w.activities.RestoreThrottles, migration.RestoreThrottlesRequest{Run: w.run, Found: found})
}

func (w *world) repositorySettings() (source, target map[string]any) {
	_, source = w.from.Repository(w.run.RepositoryName())
	_, target = w.to.Repository(w.run.RepositoryName())
	return source, target
}

// Whatever was set before is set afterwards, and nothing else changes.
func TestThrottlesAreRaisedAndRestored(t *testing.T) {
	for name, test := range map[string]struct {
		version  string
		byHand   func(*world)
		found    migration.ThrottlesFound
		snapshot any
		recovery string // while raised
	}{
		"as registered": {"5.5.3", func(*world) {}, migration.ThrottlesFound{Snapshot: "80mb"}, "80mb", ""},
		"set by hand": {"5.5.3", func(w *world) {
			w.from.SetRepositorySetting(w.run.RepositoryName(), snapshotThrottle, "20mb")
			w.from.SetRepositorySetting(w.run.RepositoryName(), "chunk_size", "100mb")
			w.to.SetRepositorySetting(w.run.RepositoryName(), restoreThrottle, "10mb")
		}, migration.ThrottlesFound{Snapshot: "20mb", Restore: "10mb"}, "20mb", ""},
		"taken away by hand": {"5.5.3", func(w *world) {
			w.from.SetRepositorySetting(w.run.RepositoryName(), snapshotThrottle, nil)
		}, migration.ThrottlesFound{}, nil, ""},
		"recovery before 7.9 is left alone": {"7.8.1", func(w *world) {
			w.to.SetClusterSetting("transient", recoveryThrottle, "50mb")
		}, migration.ThrottlesFound{Snapshot: "80mb"}, "80mb", "50mb"},
		"recovery from 7.9": {"7.9.0", func(w *world) {
			w.to.SetClusterSetting("persistent", "cluster.routing.allocation.enable", "all")
		}, migration.ThrottlesFound{Snapshot: "80mb", Recovery: &migration.RecoveryFound{}}, "80mb", "200mb"},
		"persistent recovery": {
			"7.17.28", func(w *world) {
				w.to.SetClusterSetting("persistent", recoveryThrottle, "60mb")
			},
			migration.ThrottlesFound{Snapshot: "80mb", Recovery: &migration.RecoveryFound{Persistent: "60mb"}},
			"80mb",
			"200mb",
		},
		"transient and persistent recovery": {"7.17.28", func(w *world) {
			w.to.SetClusterSetting("persistent", recoveryThrottle, "60mb")
			w.to.SetClusterSetting("transient", recoveryThrottle, "50mb")
		}, migration.ThrottlesFound{Snapshot: "80mb", Recovery: &migration.RecoveryFound{
			Transient:  "50mb",
			Persistent: "60mb",
		}}, "80mb", "200mb"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.to.Version = test.version
			w.prepared()
			test.byHand(w)
			before := w.text()
			sourceBefore, targetBefore := w.repositorySettings()
			persistent := w.to.ClusterSetting("persistent", recoveryThrottle)

			found := w.foundThrottles()
			require.Equal(t, test.found, found)
			require.Empty(t, w.raise(found).Warnings)
			source, target := w.repositorySettings()
			require.Equal(t, "4gb", source[snapshotThrottle])
			require.Equal(t, "0", target[restoreThrottle])
			require.Equal(t, test.recovery, w.to.ClusterSetting("transient", recoveryThrottle))
			require.Equal(t, persistent, w.to.ClusterSetting("persistent", recoveryThrottle), "never changed")
			for _, side := range []struct {
				settings, before map[string]any
				raised           string
			}{{source, sourceBefore, snapshotThrottle}, {target, targetBefore, restoreThrottle}} {
				delete(side.settings, side.raised)
				delete(side.before, side.raised)
				require.Equal(t, side.before, side.settings)
			}

			w.putBack(found)
			require.Equal(t, before, w.text())
			source, _ = w.repositorySettings()
			require.Equal(t, test.snapshot, source[snapshotThrottle])
		})
	}
}

// An attempt that changed the first limit and died leaves nothing wrong behind: the second does the
// rest.
func TestThrottlesAreRaisedInTwoAttempts(t *testing.T) {
	w := newWorld(t)
	w.to.Version = "7.17.28"
	w.prepared()
	before := w.text()
	found := w.foundThrottles()
	w.to.Refuse("PUT /_snapshot/*", 1, http.StatusServiceUnavailable, "master_not_discovered_exception", "no master")
	lifting := migration.SetThrottlesRequest{Run: w.run, Found: found, Wanted: windowLimits}
	passes(w, retryUnavailable, w.activities.SetThrottles, lifting)
	source, target := w.repositorySettings()
	require.Equal(t, "4gb", source[snapshotThrottle])
	require.NotContains(t, target, restoreThrottle)
	require.Equal(t, "200mb", w.to.ClusterSetting("transient", recoveryThrottle),
		"one that fails keeps no other waiting")
	require.Empty(t, w.raise(found).Warnings)
	w.putBack(found)
	require.Equal(t, before, w.text())
}

// From the window's limits to the rounds', where what is kept is what was found.
func TestThrottlesThatAreKeptAreThoseThatWereFound(t *testing.T) {
	w := newWorld(t)
	w.to.Version = "7.17.28"
	w.prepared()
	w.to.SetClusterSetting("transient", recoveryThrottle, "50mb")
	found := w.foundThrottles()
	w.raise(found)
	set := twice[migration.ThrottlesSet](w, w.activities.SetThrottles, migration.SetThrottlesRequest{
		Run: w.run, Found: found, Wanted: migration.Limits{Snapshot: "keep", Restore: "20mb"},
	})
	require.Empty(t, set.Warnings)
	source, target := w.repositorySettings()
	require.Equal(t, "80mb", source[snapshotThrottle])
	require.Equal(t, "20mb", target[restoreThrottle])
	require.Equal(t, "50mb", w.to.ClusterSetting("transient", recoveryThrottle))
}

// What stands as it should is not registered again: that would have to wait for whatever uses it.
func TestThrottlesThatStandAreLeftAlone(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	found := w.foundThrottles()
	w.raise(found)
	w.from.BeginAutomatic(w.run.RepositoryName(), w.activities.now())
	w.raise(found)
	require.Len(t, w.from.Requests("PUT /_snapshot/*"), 2, "registered, and raised once")
	require.Len(t, w.to.Requests("PUT /_snapshot/*"), 2)
}

// A repository can't be changed while a snapshot uses it; what can be changed is, at once.
func TestThrottlesWaitForTheRepository(t *testing.T) {
	for name, change := range map[string]func(*world, migration.ThrottlesFound){
		"set": func(w *world, found migration.ThrottlesFound) { w.raise(found) },
		"restore": func(w *world, found migration.ThrottlesFound) {
			found.Snapshot, found.Restore = "4gb", "0"
			w.putBack(found)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.prepared()
			found := w.foundThrottles()
			w.from.BeginAutomatic(w.run.RepositoryName(), w.activities.now())
			waits := 0
			w.onSleep = func() {
				source, target := w.repositorySettings()
				require.Equal(t, "80mb", source[snapshotThrottle])
				require.Equal(t, "0", target[restoreThrottle], "the target's waits for nothing")
				if waits++; waits == 3 {
					w.awaitHeartbeat(func(p migration.Progress) bool { return p.Waiting != "" })
					w.from.EndAutomatic(w.run.RepositoryName())
				}
			}
			change(w, found)
			require.Equal(t, 3, waits)
			source, _ := w.repositorySettings()
			require.Equal(t, "4gb", source[snapshotThrottle])
		})
	}
}

func TestThrottlesStopWaitingWhenCancelled(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	found := w.foundThrottles()
	w.from.BeginAutomatic(w.run.RepositoryName(), w.activities.now())
	w.activities.sleep = func(context.Context, time.Duration) error { return context.Canceled }
	_, err := do[any](w, w.activities.SetThrottles, migration.SetThrottlesRequest{
		Run: w.run, Found: found,
		Wanted: windowLimits,
	})
	require.ErrorContains(t, err, context.Canceled.Error())
	require.Len(t, w.from.Requests("PUT /_snapshot/*"), 2, "it asked once")
}

// A service that doesn't let a limit be read or changed costs time, not the migration.
func TestThrottlesThatAreRefusedAreLeftOut(t *testing.T) {
	t.Run("read", func(t *testing.T) {
		w := newWorld(t)
		w.to.Version = "7.10.2"
		w.prepared()
		w.to.Refuse("GET /_cluster/settings", 100, http.StatusForbidden, "security_exception", "not allowed")
		found := w.foundThrottles()
		require.Nil(t, found.Recovery)
		require.Len(t, found.Warnings, 1)
		require.Contains(t, found.Warnings[0], recoveryThrottle)
		require.Contains(t, found.Warnings[0], "not allowed")
		require.Empty(t, w.raise(found).Warnings)
		require.Empty(t, w.to.Requests("PUT /_cluster/settings"))
		w.putBack(found)
	})
	t.Run("set", func(t *testing.T) {
		w := newWorld(t)
		w.to.Version = "7.10.2"
		w.prepared()
		found := w.foundThrottles()
		w.to.Refuse("PUT /_cluster/settings", 100, http.StatusUnauthorized, "",
			"Your request: '/_cluster/settings' payload is not allowed.")
		w.from.Refuse("PUT /_snapshot/*", 100, http.StatusInternalServerError, "repository_exception", "[x] no")
		warnings := w.raise(found).Warnings
		require.Len(t, warnings, 2)
		require.Contains(t, warnings[0], snapshotThrottle+" of repository "+w.run.RepositoryName())
		require.Contains(t, warnings[1], recoveryThrottle)
		_, target := w.repositorySettings()
		require.Equal(t, "0", target[restoreThrottle])
	})
	t.Run("a busy cluster is no refusal", func(t *testing.T) {
		w := newWorld(t)
		w.to.Version = "7.10.2"
		w.prepared()
		w.to.Refuse("GET /_cluster/settings", 100, http.StatusTooManyRequests, "es_rejected_execution_exception",
			"busy")
		passes(w, retryUnavailable, w.activities.ReadThrottles, w.run)
	})
}

// What doesn't get back is an error, however much of it does.
func TestThrottlesThatDoNotGetBack(t *testing.T) {
	t.Run("refused", func(t *testing.T) {
		w := newWorld(t)
		w.prepared()
		found := w.foundThrottles()
		w.raise(found)
		w.from.Refuse("PUT /_snapshot/*", 100, http.StatusForbidden, "security_exception", "not allowed")
		refused(w, migration.ErrorUnauthorized, w.activities.RestoreThrottles,
			migration.RestoreThrottlesRequest{Run: w.run, Found: found}, "not allowed")
		_, target := w.repositorySettings()
		require.NotContains(t, target, restoreThrottle)
	})
	t.Run("without effect", func(t *testing.T) {
		w := newWorld(t)
		w.prepared()
		found := w.foundThrottles()
		w.raise(found)
		w.from.On("PUT /_snapshot/*", 100, func(rw http.ResponseWriter, _ *http.Request) bool {
			_, err := rw.Write([]byte(`{"acknowledged":true}`))
			return err == nil
		})
		passes(w, retryInternal, w.activities.RestoreThrottles,
			migration.RestoreThrottlesRequest{Run: w.run, Found: found})
	})
	t.Run("not understood, ever", func(t *testing.T) {
		w := newWorld(t)
		w.prepared()
		found := w.foundThrottles()
		w.raise(found)
		w.from.Refuse("PUT /_snapshot/*", 100, http.StatusInternalServerError, "null_pointer_exception", "")
		passes(w, retryInternal, w.activities.RestoreThrottles,
			migration.RestoreThrottlesRequest{Run: w.run, Found: found})
	})
}

func TestThrottlesOfARepositoryThatIsGone(t *testing.T) {
	w := newWorld(t)
	w.to.Version = "7.10.2"
	w.prepared()
	found := w.foundThrottles()
	w.raise(found)
	must[any](w, w.activities.UnregisterRepositories, w.run)
	w.putBack(found)
	require.Empty(t, w.to.ClusterSetting("transient", recoveryThrottle))
}

// Secrets come from the worker, not from the cluster's answer; a secret that only the cluster knows
// can't be sent again.
func TestThrottlesAndSecrets(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	found := w.foundThrottles()
	w.raise(found)
	_, target := w.repositorySettings()
	require.Equal(t, clusterSecret, target["secret_access_key"])
	require.Equal(t, clusterKeyID, target["access_key_id"])
	w.putBack(found)

	w.to.SetRepositorySetting(w.run.RepositoryName(), "client",
		map[string]any{"other": map[string]any{"secret_key": "by-hand"}})
	warnings := w.raise(found).Warnings
	require.Len(t, warnings, 1)
	require.Contains(t, warnings[0], "setting client")
	require.NotContains(t, warnings[0], "by-hand")
	_, after := w.repositorySettings()
	require.Contains(t, after, "client")
	require.NotContains(t, after, restoreThrottle)

	t.Setenv("TEST_CLUSTER_SECRET", "")
	w.to.SetRepositorySetting(w.run.RepositoryName(), "client", nil)
	set := must[migration.ThrottlesSet](w, w.activities.SetThrottles,
		migration.SetThrottlesRequest{Run: w.run, Found: found, Wanted: windowLimits})
	require.Len(t, set.Warnings, 1)
	require.Contains(t, set.Warnings[0], "TEST_CLUSTER_SECRET")
}
