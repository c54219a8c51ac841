package activities

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

// hourly gives so many start times, the last so long ago.
func (w *world) hourly(count int, ago time.Duration) []time.Time {
	var starts []time.Time
	for i := range count {
		starts = append(starts, w.activities.now().Add(-ago-time.Duration(count-1-i)*time.Hour))
	}
	return starts
}

// after runs something in the first sleep that ends at or after a time.
func (w *world) after(d time.Duration, do func()) {
	at, before := w.activities.now().Add(d), w.onSleep
	done := false
	w.onSleep = func() {
		if before != nil {
			before()
		}
		if !done && !w.activities.now().Before(at) {
			done = true
			do()
		}
	}
}

// awaitSlot runs AwaitFreeSlot for a window and tells how long it waited.
func (w *world) awaitSlot(window time.Duration) (migration.FreeSlot, time.Duration) {
	w.t.Helper()
	began := w.activities.now()
	free := must[migration.FreeSlot](w, w.activities.AwaitFreeSlot,
		migration.FreeSlotRequest{Run: w.run, PredictedWindowMillis: window.Milliseconds()})
	return free, w.activities.now().Sub(began)
}

const noAlibaba = "the target has no known repository of automatic snapshots (aliyun_auto_snapshot): if it takes " +
	"any, snapferry doesn't predict them"

func TestASlotThatIsFree(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	starts := w.hourly(5, 10*time.Minute)
	w.from.Automatic("cs-automated", starts...)
	w.to.Automatic("aliyun_auto_snapshot", w.activities.now().Add(-25*time.Hour), w.activities.now().Add(-time.Hour))
	free, waited := w.awaitSlot(45 * time.Minute)
	require.Zero(t, waited)
	require.Equal(t, migration.FreeSlot{
		Free:            true,
		FreeUntilMillis: starts[4].Add(59 * time.Minute).UnixMilli(),
		Automatic: []migration.AutomaticSnapshots{
			{
				Cluster: "source", Repository: "cs-automated", LastMillis: starts[4].UnixMilli(),
				NextMillis:     starts[4].Add(time.Hour).UnixMilli(),
				IntervalMillis: time.Hour.Milliseconds(), SlackMillis: time.Minute.Milliseconds(),
			},
			{
				Cluster: "target", Repository: "aliyun_auto_snapshot",
				LastMillis:     w.activities.now().Add(-time.Hour).UnixMilli(),
				NextMillis:     w.activities.now().Add(23 * time.Hour).UnixMilli(),
				IntervalMillis: (24 * time.Hour).Milliseconds(), SlackMillis: time.Minute.Milliseconds(),
			},
		},
	}, free)
	require.Len(t, w.from.Requests("GET /_snapshot/cs-automated/*"), 2, "it lists them once: names, then records")
}

// A snapshot that runs is waited for, whose ever it is.
func TestASnapshotThatRuns(t *testing.T) {
	for name, test := range map[string]struct {
		begin func(*world)
		says  string
	}{
		"Amazon's": {func(w *world) {
			w.from.Automatic("cs-automated", w.hourly(3, time.Hour)...)
			w.from.BeginAutomatic("cs-automated", w.activities.now())
			w.after(time.Minute, func() { w.from.EndAutomatic("cs-automated") })
		}, "in repository cs-automated runs on the source"},
		"Alibaba's": {func(w *world) {
			w.to.BeginAutomatic("aliyun_auto_snapshot", w.activities.now())
			w.after(time.Minute, func() { w.to.EndAutomatic("aliyun_auto_snapshot") })
		}, "in repository aliyun_auto_snapshot runs on the target"},
		"somebody's": {func(w *world) {
			w.from.BeginAutomatic("backup", w.activities.now())
			w.after(time.Minute, func() { w.from.EndAutomatic("backup") })
		}, "in repository backup runs on the source"},
		"one after the other": {func(w *world) {
			w.from.BeginAutomatic("backup", w.activities.now())
			w.after(30*time.Second, func() {
				w.to.BeginAutomatic("backup", w.activities.now())
				w.from.EndAutomatic("backup")
			})
			w.after(time.Minute, func() { w.to.EndAutomatic("backup") })
		}, "in repository backup runs on the target"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.prepared()
			test.begin(w)
			beats := w.onSleep
			w.onSleep = func() {
				if w.activities.now().Sub(time.Unix(1_700_000_000, 0)) < 45*time.Second {
					beats()
					return
				}
				w.awaitHeartbeat(func(p migration.Progress) bool {
					return strings.Contains(p.Waiting, test.says) &&
						strings.HasSuffix(p.Waiting, "; waiting until 23:13:20 UTC at most")
				})
				beats()
			}
			free, waited := w.awaitSlot(10 * time.Minute)
			require.True(t, free.Free, "%v", free.Obstacles)
			require.GreaterOrEqual(t, waited, time.Minute)
			require.LessOrEqual(t, waited, time.Minute+slotPace)
		})
	}
}

// The window would not end before the next automatic snapshot: it is waited for, until it has come
// and gone.
func TestAnAutomaticSnapshotThatIsDue(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	w.from.Automatic("cs-automated", w.hourly(20, 50*time.Minute)...)
	w.after(11*time.Minute, func() { w.from.BeginAutomatic("cs-automated", w.activities.now()) })
	w.after(13*time.Minute, func() { w.from.EndAutomatic("cs-automated") })
	free, waited := w.awaitSlot(15 * time.Minute)
	require.True(t, free.Free, "%v", free.Obstacles)
	require.GreaterOrEqual(t, waited, 13*time.Minute)
	require.LessOrEqual(t, waited, 13*time.Minute+slotPace)
	require.Equal(t, w.activities.now().Add(time.Hour).Truncate(time.Minute),
		time.UnixMilli(free.Automatic[0].NextMillis).Add(2*time.Minute).Truncate(time.Minute),
		"reckoned from the new one")
	lists := len(w.from.Requests("GET /_snapshot/cs-automated/_all"))
	require.LessOrEqual(t, lists, 6, "at first, while it was due, and after its end")
	require.LessOrEqual(t, len(w.from.Requests("GET /_snapshot/_status")), 70, "polls gently")
	progress := w.awaitHeartbeat(func(p migration.Progress) bool { return p.Waiting != "" })
	require.Equal(t, "an automatic snapshot in repository cs-automated on the source begins at about 22:23:20 UTC, "+
		"within the predicted window of 15m; waiting until 23:13:20 UTC at most", progress.Waiting)
}

// One so short that nobody saw it running is seen in the list.
func TestAnAutomaticSnapshotThatIsNotSeenRunning(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	w.from.Automatic("cs-automated", w.hourly(20, 58*time.Minute)...)
	w.after(2*time.Minute, func() { w.from.Automatic("cs-automated", w.activities.now()) })
	free, waited := w.awaitSlot(15 * time.Minute)
	require.True(t, free.Free, "%v", free.Obstacles)
	require.GreaterOrEqual(t, waited, 2*time.Minute)
	require.LessOrEqual(t, waited, 2*time.Minute+listPace+slotPace)
}

// One that doesn't come is given up for this time.
func TestAnAutomaticSnapshotThatIsSkipped(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	w.from.Automatic("cs-automated", w.hourly(20, 58*time.Minute)...)
	free, waited := w.awaitSlot(15 * time.Minute)
	require.True(t, free.Free, "%v", free.Obstacles)
	require.GreaterOrEqual(t, waited, 3*time.Minute, "its time and a minute")
	require.LessOrEqual(t, waited, 3*time.Minute+slotPace)
	require.Equal(t, w.activities.now().Add(time.Hour).Sub(time.UnixMilli(free.FreeUntilMillis)).Truncate(time.Minute),
		2*time.Minute)
}

func TestASlotThatDoesNotGetFree(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	w.from.BeginAutomatic("backup", w.activities.now())
	free, waited := w.awaitSlot(15 * time.Minute)
	require.False(t, free.Free)
	require.Equal(t, time.Hour, waited, "freeze.slotWait")
	require.Len(t, free.Obstacles, 1)
	require.Contains(t, free.Obstacles[0], "in repository backup runs on the source")
	require.Contains(t, free.Warnings, noAlibaba)
	require.LessOrEqual(t, len(w.from.Requests("GET /_snapshot/_status")), 260, "polls gently")
}

// A second attempt keeps the first one's deadline.
func TestTheDeadlineOfAFreeSlot(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	w.from.BeginAutomatic("backup", w.activities.now())
	began := w.activities.now()
	in := migration.FreeSlotRequest{Run: w.run, DeadlineMillis: began.Add(10 * time.Second).UnixMilli()}
	require.False(t, must[migration.FreeSlot](w, w.activities.AwaitFreeSlot, in).Free)
	require.Equal(t, 10*time.Second, w.activities.now().Sub(began))
	require.False(t, twice[migration.FreeSlot](w, w.activities.AwaitFreeSlot, in).Free)
	require.Equal(t, 10*time.Second, w.activities.now().Sub(began), "it looks once and waits no more")
}

// A window that is longer than what lies between two automatic snapshots: no wait would help.
func TestAWindowThatNeverFits(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	w.from.Automatic("cs-automated", w.hourly(20, 5*time.Minute)...)
	free, waited := w.awaitSlot(70 * time.Minute)
	require.Zero(t, waited)
	require.False(t, free.Free)
	require.Equal(t, []string{"the predicted window of 1h10m doesn't fit between two automatic snapshots in " +
		"repository cs-automated on the source: one begins every 1h, the next at about 23:08:20 UTC"}, free.Obstacles)

	// But the end of one that runs is the best moment that there is.
	w.from.BeginAutomatic("cs-automated", w.activities.now())
	w.after(time.Minute, func() { w.from.EndAutomatic("cs-automated") })
	free, waited = w.awaitSlot(70 * time.Minute)
	require.False(t, free.Free)
	require.GreaterOrEqual(t, waited, time.Minute)
	require.LessOrEqual(t, waited, time.Minute+slotPace)
}

// What can't be read or predicted becomes a warning, and is not waited for.
func TestAutomaticSnapshotsThatAreNotPredicted(t *testing.T) {
	for name, test := range map[string]struct {
		world func(*world)
		says  []string
	}{
		"none known": {func(*world) {}, []string{"the source has no known repository of automatic " +
			"snapshots (cs-automated, cs-automated-enc)", noAlibaba}},
		"empty": {
			func(w *world) { w.from.Automatic("cs-automated-enc") },
			[]string{"repository cs-automated-enc on the source can't be predicted: it holds no snapshot"},
		},
		"a single one, Alibaba": {
			func(w *world) { w.to.Automatic("aliyun_auto_snapshot", w.activities.now()) },
			[]string{"aliyun_auto_snapshot on the target can't be predicted: it holds a single snapshot"},
		},
		"switched off": {
			func(w *world) { w.from.Automatic("cs-automated", w.hourly(5, 5*time.Hour)...) },
			[]string{"none began since 2023-11-14T17:13:20Z, although one began every 1h before"},
		},
		"other repositories": {
			func(w *world) { w.to.Automatic("nightly", w.hourly(5, 59*time.Minute)...) },
			[]string{"doesn't predict snapshots in other repositories of the target: nightly"},
		},
		"unreadable, for good": {refuseList(100, http.StatusInternalServerError, "repository_exception",
			"[cs-automated] corrupt"), []string{"cs-automated on the source can't be predicted", "corrupt"}},
		"deleted since": {refuseList(100, http.StatusNotFound, "repository_missing_exception",
			"[cs-automated] missing"), []string{"there is no such repository"}},
		"unreadable, unknown": {
			refuseList(100, http.StatusInternalServerError, "null_pointer_exception", ""),
			[]string{"cs-automated on the source can't be predicted", "null_pointer_exception"},
		},
		"repositories not shown": {
			refuse("GET /_snapshot", "not allowed"),
			[]string{"the repositories of the source can't be listed, so only cs-automated, cs-automated-enc were " +
				"checked", "not allowed"},
		},
		"nothing shown at all": {func(w *world) {
			refuse("GET /_snapshot", "not allowed")(w)
			refuse("GET /_snapshot/_status", "not allowed")(w)
			refuse("GET /_snapshot/*/_current", "not allowed")(w)
		}, []string{"the source doesn't tell whether a snapshot runs"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.prepared()
			test.world(w)
			free, waited := w.awaitSlot(15 * time.Minute)
			require.True(t, free.Free, "%v", free.Obstacles)
			require.Less(t, waited, 5*time.Second)
			for _, says := range test.says {
				require.Contains(t, strings.Join(free.Warnings, "\n"), says)
			}
		})
	}
}

func refuse(pattern, reason string) func(*world) {
	return func(w *world) { w.from.Refuse(pattern, 1000, http.StatusForbidden, "", reason) }
}

func refuseList(times, status int, exception, reason string) func(*world) {
	return func(w *world) {
		w.from.Automatic("cs-automated", w.hourly(5, 59*time.Minute)...)
		w.from.Refuse("GET /_snapshot/cs-automated/*", times, status, exception, reason)
	}
}

// Where Amazon doesn't offer the status of all snapshots, the repositories that count are asked one
// by one.
func TestASlotWithoutStatus(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	refuse("GET /_snapshot/_status", "not allowed")(w)
	w.from.BeginAutomatic("cs-automated", w.activities.now())
	w.after(time.Minute, func() { w.from.EndAutomatic("cs-automated") })
	free, waited := w.awaitSlot(15 * time.Minute)
	require.True(t, free.Free, "%v", free.Obstacles)
	require.GreaterOrEqual(t, waited, time.Minute)
	require.Len(t, w.from.Requests("GET /_snapshot/_status"), 1)
	require.Equal(t, []string{noAlibaba}, free.Warnings)
	require.Equal(t, time.Hour.Milliseconds(), free.Automatic[0].IntervalMillis, "Amazon's, as one tells nothing")
}

// A cluster that doesn't answer is asked again until the deadline; a list that fails twice is read
// the third time.
func TestASlotOfABusyCluster(t *testing.T) {
	busy := func(w *world, pattern string, times int) {
		w.from.Refuse(pattern, times, http.StatusServiceUnavailable, "master_not_discovered_exception", "no master")
	}
	w := newWorld(t)
	w.prepared()
	w.from.Automatic("cs-automated", w.hourly(5, time.Minute)...)
	busy(w, "GET /_snapshot", 2)
	busy(w, "GET /_snapshot/_status", 2)
	busy(w, "GET /_snapshot/cs-automated/*", 2)
	free, waited := w.awaitSlot(15 * time.Minute)
	require.True(t, free.Free, "%v", free.Obstacles)
	require.Equal(t, []string{noAlibaba}, free.Warnings)
	require.Greater(t, waited, 5*time.Second, "each failure is a look of its own")
	require.Less(t, waited, time.Minute)

	w = newWorld(t)
	w.prepared()
	busy(w, "GET /_snapshot/_status", 10_000)
	free, waited = w.awaitSlot(15 * time.Minute)
	require.False(t, free.Free)
	require.Equal(t, time.Hour, waited)
	require.Contains(t, free.Obstacles[0], "the source doesn't answer")
	require.Contains(t, free.Obstacles[0], "no master")
}

func TestAFreeSlotIsNotAwaitedAfterTheEnd(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	w.from.BeginAutomatic("backup", w.activities.now())
	w.activities.sleep = func(context.Context, time.Duration) error { return context.Canceled }
	_, err := do[any](w, w.activities.AwaitFreeSlot, migration.FreeSlotRequest{Run: w.run})
	require.ErrorContains(t, err, context.Canceled.Error())
}
