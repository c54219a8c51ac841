//go:build lab

package activities

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/internal/secrets"
	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/lab/cluster"
	"github.com/snapferry/snapferry/migration"
)

// labRig is a lab with the activities of a worker.
type labRig struct {
	t          *testing.T
	lab        *lab.Lab
	front      *s3Front // of the shared lab
	run        migration.Run
	activities *Activities
}

// newLabRig registers a migration's repositories on a lab.
func newLabRig(t *testing.T, l *lab.Lab, front *s3Front) *labRig {
	t.Helper()
	setEnvironment(t, l)
	input, err := migration.NewInput(l.Plan("throttled", "films", "fast"))
	require.NoError(t, err)
	plan, err := input.Plan()
	require.NoError(t, err)
	r := &labRig{
		t: t, lab: l, front: front, run: migration.Run{Plan: plan, Token: "t0ken"},
		activities: New(secrets.Fence{}),
	}
	labMust[any](r, r.activities.EnsureTargetBucket, r.run)
	labMust[any](r, r.activities.RegisterRepositories, r.run)
	return r
}

// tidy leaves nothing of the test on a lab that is shared.
func (r *labRig) tidy() {
	ctx := context.Background()
	for _, c := range []*cluster.Client{r.lab.Source.Direct(), r.lab.Target.Direct()} {
		for _, path := range []string{"/films,held,fast?ignore_unavailable=true", "/_snapshot/" +
			r.run.RepositoryName(), "/_snapshot/cs-automated", "/_snapshot/aliyun_auto_snapshot"} {
			_ = c.Do(ctx, http.MethodDelete, path, nil, nil)
		}
	}
	for _, kind := range []string{"transient", "persistent"} {
		_ = r.lab.Target.Direct().Do(ctx, http.MethodPut, "/_cluster/settings",
			map[string]any{kind: map[string]any{recoveryThrottle: nil}}, nil)
	}
}

func labMust[T any](r *labRig, method, in any) T {
	r.t.Helper()
	out, err := labTry[T](r, method, in)
	require.NoError(r.t, err)
	return out
}

// labTry runs an activity once.
func labTry[T any](r *labRig, method, in any) (T, error) {
	r.t.Helper()
	env := newEnvironment(quiet{})
	env.RegisterActivityWithOptions(method, activity.RegisterOptions{Name: "under test"})
	value, err := env.ExecuteActivity("under test", in)
	return result[T](r.t, value, err)
}

func (r *labRig) ask(c *cluster.Client, method, path string, body any) string {
	r.t.Helper()
	var answer json.RawMessage
	require.NoError(r.t, c.Do(r.t.Context(), method, path, body, &answer))
	return string(answer)
}

// standing is all that could be changed, as the nodes themselves show it.
func (r *labRig) standing() []string {
	var all []string
	for _, c := range []*cluster.Client{r.lab.Source.Direct(), r.lab.Target.Direct()} {
		all = append(all, r.ask(c, http.MethodGet, "/_snapshot/"+r.run.RepositoryName(), nil),
			r.ask(c, http.MethodGet, "/_cluster/settings?flat_settings=true", nil))
	}
	return all
}

// byHand changes settings of a registration as an operator would.
func (r *labRig) byHand(c *cluster.Client, changes map[string]any) {
	var registered map[string]struct {
		Type     string         `json:"type"`
		Settings map[string]any `json:"settings"`
	}
	path := "/_snapshot/" + r.run.RepositoryName()
	require.NoError(r.t, json.Unmarshal([]byte(r.ask(c, http.MethodGet, path, nil)), &registered))
	body := registered[r.run.RepositoryName()]
	for name, value := range changes {
		body.Settings[name] = value
	}
	r.ask(c, http.MethodPut, path, body)
}

func (r *labRig) settingsByHand(kind, value string) {
	r.ask(r.lab.Target.Direct(), http.MethodPut, "/_cluster/settings",
		map[string]any{kind: map[string]any{recoveryThrottle: value}})
}

func (r *labRig) settings(c *cluster.Client) map[string]any {
	var registered map[string]struct {
		Settings map[string]any `json:"settings"`
	}
	require.NoError(r.t, json.Unmarshal([]byte(r.ask(c, http.MethodGet, "/_snapshot/"+r.run.RepositoryName(), nil)),
		&registered))
	return registered[r.run.RepositoryName()].Settings
}

func (r *labRig) set(found migration.ThrottlesFound, wanted migration.Limits) {
	r.t.Helper()
	set := labMust[migration.ThrottlesSet](r, r.activities.SetThrottles,
		migration.SetThrottlesRequest{Run: r.run, Found: found, Wanted: wanted})
	require.Empty(r.t, set.Warnings)
}

func (r *labRig) client(at side) *elastic.Client {
	client, err := r.activities.cluster(r.t.Context(), at, r.run)
	require.NoError(r.t, err)
	return client
}

// requireSame compares two states and shows no secret.
func requireSame(t *testing.T, want, have []string) {
	t.Helper()
	for i := range want {
		require.JSONEq(t, want[i], have[i])
	}
}

// On the versions of the procedure that snapferry replaces: whatever stood there, set by hand or
// not, stands there again. In between the limits hold, a snapshot that runs is seen and waited for,
// and automatic ones are found.
func TestLabThrottlesAndSlots(t *testing.T) {
	l, front := useSharedLab(t)
	r := newLabRig(t, l, front)
	t.Cleanup(r.tidy)
	source, target := r.lab.Source.Direct(), r.lab.Target.Direct()
	untouched := r.standing()
	found := labMust[migration.ThrottlesFound](r, r.activities.ReadThrottles, r.run)
	require.Equal(t, migration.ThrottlesFound{}, found)
	r.set(found, r.run.Plan.Throttles.Window)
	require.Equal(t, "4gb", r.settings(source)[snapshotThrottle])
	require.Equal(t, "4gb", r.settings(target)[restoreThrottle])
	labMust[any](r, r.activities.RestoreThrottles, migration.RestoreThrottlesRequest{Run: r.run, Found: found})
	requireSame(t, untouched, r.standing())

	r.byHand(source, map[string]any{snapshotThrottle: "1mb", "chunk_size": "100mb"})
	r.byHand(target, map[string]any{restoreThrottle: "30mb"})
	r.settingsByHand("persistent", "60mb")
	r.settingsByHand("transient", "50mb")
	before := r.standing()
	found = labMust[migration.ThrottlesFound](r, r.activities.ReadThrottles, r.run)
	require.Equal(t, migration.ThrottlesFound{Snapshot: "1mb", Restore: "30mb"}, found,
		"recoveries play no role before 7.9")

	// A snapshot at 1 MB/s, which can't be faster than its bytes allow.
	for index, documents := range map[string]int{"films": 15_000, "held": 1000, "fast": 5000} {
		require.NoError(t, lab.LoadCatalog(t.Context(), r.lab.Source.Client(),
			lab.CatalogOptions{Index: index, Documents: documents, RefreshInterval: "-1"}))
	}
	r.ask(source, http.MethodPost, "/_flush?wait_if_ongoing=true", nil)
	name := r.run.RepositoryName()
	taken := labMust[migration.Snapshot](r, r.activities.TakeSnapshot,
		migration.SnapshotRequest{Run: r.run, Snapshot: "slow", Indices: []string{"films"}})
	status, err := r.client(onSource).SnapshotStatus(t.Context(), name, "slow")
	require.NoError(t, err)
	took := time.Duration(taken.EndMillis-taken.StartMillis) * time.Millisecond
	t.Logf("slow: %d bytes in %v at 1mb", status.BytesTotal, took)
	require.Greater(t, took, time.Duration(float64(status.BytesTotal)/(1<<20)/2*float64(time.Second)),
		"the limit that was set by hand held")

	r.whileOneRuns(name, found)

	// Without a limit, there and back again.
	require.Equal(t, "0", r.settings(source)[snapshotThrottle])
	require.Equal(t, "0", r.settings(target)[restoreThrottle])
	fast := migration.SnapshotRequest{Run: r.run, Snapshot: "fast", Indices: []string{"fast"}}
	began := time.Now()
	taken = labMust[migration.Snapshot](r, r.activities.TakeSnapshot, fast)
	t.Logf("fast: a third of that in %d ms (%v with polls)", taken.EndMillis-taken.StartMillis,
		time.Since(began).Round(time.Millisecond))
	labMust[migration.CopyResult](r, copierAlone().CopySnapshot,
		migration.CopyRequest{Run: r.run, Snapshot: taken, BaseGeneration: -1})
	began = time.Now()
	indices := []migration.Index{{Name: "fast", Shards: 5}}
	restored := labMust[migration.RestoreResult](r, r.activities.RestoreSnapshot,
		migration.RestoreRequest{Run: r.run, Snapshot: taken, Indices: indices})
	t.Logf("restored %d bytes in %v", restored.BytesRestored, time.Since(began).Round(time.Millisecond))

	// A second attempt, by another worker, takes nothing of ours for what was found; and then all
	// is as before.
	r.activities = New(secrets.Fence{})
	r.set(found, r.run.Plan.Throttles.Window)
	for range 2 {
		labMust[any](r, r.activities.RestoreThrottles, migration.RestoreThrottlesRequest{Run: r.run, Found: found})
		requireSame(t, before, r.standing())
	}

	r.slots()
}

// whileOneRuns tries what depends on a snapshot that runs, with one that can't end before it is let
// go. Then the limits are none.
func (r *labRig) whileOneRuns(name string, found migration.ThrottlesFound) {
	t := r.t
	held := migration.SnapshotRequest{Run: r.run, Snapshot: "held", Indices: []string{"held"}}
	arrived, release := r.front.holdBlobs(t, func(path string) bool { return strings.Contains(path, "/__") })
	require.NoError(t, r.client(onSource).CreateSnapshot(t.Context(), name, held.Snapshot, held.Indices))
	<-arrived
	running, err := r.client(onSource).RunningSnapshots(t.Context())
	require.NoError(t, err)
	require.Equal(t, []elastic.RunningSnapshot{{Repository: name, Name: "held"}}, running)
	current, err := r.client(onSource).CurrentSnapshots(t.Context(), name)
	require.NoError(t, err)
	require.Len(t, current, 1)
	require.Equal(t, "held", current[0].Name)
	require.Equal(t, elastic.SlotTaken, elastic.KindOf(r.client(onSource).ChangeRepository(t.Context(), name,
		sourceRepository(r.run))), "a repository in use can't be changed")
	free := labMust[migration.FreeSlot](r, r.activities.AwaitFreeSlot,
		migration.FreeSlotRequest{Run: r.run, DeadlineMillis: 1})
	require.False(t, free.Free)
	require.Contains(t, free.Obstacles[0], "snapshot held in repository "+name+" runs on the source")

	// The limits wait for the end of the snapshot: they are refused at least once.
	refused := make(chan struct{})
	once := sync.OnceFunc(func() { close(refused) })
	stop := r.lab.Source.Front.Observe(func(e lab.Exchange) {
		if e.Method == http.MethodPut && e.Path == "/_snapshot/"+name && e.Status >= http.StatusBadRequest {
			once()
		}
	})
	defer stop()
	set := make(chan error, 1)
	go func() {
		result, err := labTry[migration.ThrottlesSet](r, r.activities.SetThrottles, migration.SetThrottlesRequest{
			Run: r.run, Found: found, Wanted: migration.Limits{Snapshot: "unlimited", Restore: "unlimited"},
		})
		if err == nil && len(result.Warnings) > 0 {
			err = errors.New(strings.Join(result.Warnings, "; "))
		}
		set <- err
	}()
	<-refused
	release()
	require.NoError(t, <-set)
	labMust[migration.Snapshot](r, r.activities.TakeSnapshot, held)
}

// slots are free, and then not for long, as the vendors take snapshots of their own every moment.
func (r *labRig) slots() {
	t := r.t
	free := labMust[migration.FreeSlot](r, r.activities.AwaitFreeSlot,
		migration.FreeSlotRequest{Run: r.run, PredictedWindowMillis: time.Minute.Milliseconds()})
	require.True(t, free.Free, "%v", free.Obstacles)
	require.Len(t, free.Warnings, 2, "%v", free.Warnings)

	// Of an index, since up to 6.8 a list of names alone leaves out snapshots that hold none.
	for repository, c := range map[string]*cluster.Client{
		"cs-automated":         r.lab.Source.Direct(),
		"aliyun_auto_snapshot": r.lab.Target.Direct(),
	} {
		r.ask(c, http.MethodPut, "/_snapshot/"+repository,
			map[string]any{"type": "fs", "settings": map[string]any{"location": "automatic"}})
		for i := range 4 {
			r.ask(c, http.MethodPut, fmt.Sprintf("/_snapshot/%s/2026-01-31t0%d-00-00?wait_for_completion=true",
				repository, i), map[string]any{"indices": "fast"})
		}
	}
	types, err := r.client(onSource).Repositories(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[string]string{"cs-automated": "fs", r.run.RepositoryName(): "s3"}, types)
	latest, err := r.client(onSource).LatestSnapshots(t.Context(), "cs-automated", 2)
	require.NoError(t, err)
	require.Len(t, latest, 2)
	require.ElementsMatch(t, []string{"2026-01-31t02-00-00", "2026-01-31t03-00-00"},
		[]string{latest[0].Name, latest[1].Name})
	all, err := r.client(onTarget).LatestSnapshots(t.Context(), "aliyun_auto_snapshot", 10)
	require.NoError(t, err)
	require.Len(t, all, 4)

	last := max(latest[0].StartMillis, latest[1].StartMillis)
	r.activities.now = func() time.Time { return time.UnixMilli(last) } // the test's own pace is nobody's schedule
	free = labMust[migration.FreeSlot](r, r.activities.AwaitFreeSlot,
		migration.FreeSlotRequest{Run: r.run, PredictedWindowMillis: time.Hour.Milliseconds()})
	require.False(t, free.Free)
	require.Contains(t, strings.Join(free.Obstacles, "\n"),
		"doesn't fit between two automatic snapshots in repository cs-automated on the source")
	require.Equal(t, last, free.Automatic[0].LastMillis)
	require.Positive(t, free.Automatic[0].IntervalMillis)
}

// From 7.9 on the target's own setting limits restores as well.
func TestLabRecoveryThrottle(t *testing.T) {
	l, err := lab.Start(t.Context(), lab.Options{
		Dir: t.TempDir(), Out: os.Stderr, Parts: []lab.Part{lab.PartS3, lab.PartOSS, lab.PartSource, lab.PartTarget},
		SourceVersion: "7.10.2", TargetVersion: "7.17.28",
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	r := newLabRig(t, l, nil)
	for _, step := range []struct {
		byHand string
		found  migration.RecoveryFound
	}{
		{"", migration.RecoveryFound{}},
		{"persistent", migration.RecoveryFound{Persistent: "60mb"}},
		{"transient", migration.RecoveryFound{Transient: "60mb", Persistent: "60mb"}},
	} {
		if step.byHand != "" {
			r.settingsByHand(step.byHand, "60mb")
		}
		before := r.standing()
		found := labMust[migration.ThrottlesFound](r, r.activities.ReadThrottles, r.run)
		require.Equal(t, migration.ThrottlesFound{Recovery: &step.found}, found)
		for _, wanted := range []migration.Limits{
			r.run.Plan.Throttles.Window,
			{Snapshot: "unlimited", Restore: "unlimited", Recovery: "unlimited"},
		} {
			r.set(found, wanted)
			value, _ := wanted.Recovery.Setting()
			settings, err := r.client(onTarget).ClusterSettings(t.Context())
			require.NoError(t, err)
			require.Equal(t, value, settings.Transient[recoveryThrottle])
			require.Equal(t, step.found.Persistent, settings.Persistent[recoveryThrottle])
			require.Equal(t, value, r.settings(r.lab.Source.Direct())[snapshotThrottle])
			require.Equal(t, value, r.settings(r.lab.Target.Direct())[restoreThrottle])
		}
		labMust[any](r, r.activities.RestoreThrottles, migration.RestoreThrottlesRequest{Run: r.run, Found: found})
		requireSame(t, before, r.standing())
	}
}
