package workflows

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// newEarlyWorld has a final snapshot that is published before it ends. It ends once it is restored.
// then says how the source's answer fails, by how often it was asked in the final round.
func newEarlyWorld(t *testing.T, then func(n int) error) *world {
	w := newAheadWorld(t, 0)
	w.ready = func(r migration.CopyRequest) migration.Ahead {
		if !r.Publish {
			return migration.Ahead{Why: "nobody asked for that"}
		}
		uuid := "uuid-" + r.Snapshot.Name
		w.inOSS = true
		w.publish(uuid)
		return migration.Ahead{UUID: uuid, BlobsCopied: 4, BytesCopied: 50, Early: &migration.EarlyCopy{
			Snapshot:   migration.Snapshot{Name: r.Snapshot.Name, UUID: uuid, StartMillis: 1, EndMillis: 2},
			Generation: w.generation, Millis: 3,
		}}
	}
	restored := make(chan struct{})
	w.after[migration.ActivityRestoreSnapshot] = func(n int) {
		if n == 3 {
			close(restored)
		}
	}
	w.on[migration.ActivityTakeSnapshot] = func(n int) error {
		if n < 3 {
			return nil
		}
		if n == 3 {
			<-restored
		}
		assert.Zero(t, w.called(migration.ActivityVerifyTarget), "nothing is verified before the snapshot has ended")
		return then(n - 2)
	}
	return w
}

func neverFails(int) error { return nil }

// Writers wait, so what the root lists is published and restored while the cluster still ends its
// snapshot. It is verified when the cluster has said so as well.
func TestTheFinalSnapshotIsRestoredBeforeItEnds(t *testing.T) {
	w := newEarlyWorld(t, neverFails)
	w.usualRequests()
	w.run()
	report := w.completed()
	require.Zero(t, w.called(migration.ActivityPublishAhead))
	require.Len(t, w.copies, 2, "baseline and round")
	require.Len(t, w.restored, 3)
	final := report.Rounds[2]
	require.Equal(t, w.published, final.UUID)
	require.Equal(t, w.generation, final.Generation)
	require.EqualValues(t, 4, final.BlobsCopied)
	require.EqualValues(t, 2, final.EndTimeMillis)
	require.Empty(t, w.stopped)
}

// Whatever the source says of a snapshot that is restored already: unless it is complete and that very
// one, another one is taken and restored, and that is what is verified.
func TestASnapshotThatFailsAfterItWasRestoredIsTakenAgain(t *testing.T) {
	for name, test := range map[string]struct {
		prepare func(w *world)
		then    func(n int) error
	}{
		"it failed": {then: func(n int) error {
			if n == 1 {
				return temporal.NewNonRetryableApplicationError("gone", string(migration.ErrorSnapshotFailed), nil)
			}
			return nil
		}},
		"nobody knows whose it is": {
			prepare: func(w *world) { w.earlier = []string{finalSnapshot} },
			then:    neverFails,
		},
		"it was lost and taken again": {
			prepare: func(w *world) { w.uuidOf = map[string]string{finalSnapshot: "another"} },
			then:    neverFails,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newEarlyWorld(t, test.then)
			if test.prepare != nil {
				test.prepare(w)
			}
			w.usualRequests()
			w.run()
			report := w.completed()
			require.Equal(t, []string{finalSnapshot, "movies-r0002-a2"}, w.restored[2:])
			require.Equal(t, "movies-r0002-a2", report.Rounds[2].Snapshot)
			require.Equal(t, "uuid-movies-r0002-a2", w.published)
			require.Equal(t, 1, w.called(migration.ActivityVerifyTarget))
		})
	}
}

// A failure that a person has to see is seen, and what was restored is not restored again.
func TestTheEndOfARestoredSnapshotMayNeedAPerson(t *testing.T) {
	w := newEarlyWorld(t, func(n int) error {
		if n == 1 {
			return temporal.NewNonRetryableApplicationError("no", string(migration.ErrorUnauthorized), nil)
		}
		return nil
	})
	w.usualRequests()
	var seen migration.Status
	w.env.RegisterDelayedCallback(func() { seen = w.status() }, 20*time.Minute+30*time.Second)
	w.at(21*time.Minute, migration.RequestRetry)
	w.run()
	w.completed()
	require.NotNil(t, seen.Attention)
	require.Equal(t, "wait for the end of snapshot "+finalSnapshot, seen.Attention.Step)
	require.Len(t, w.restored, 3)
	last := w.taken[len(w.taken)-1]
	require.Equal(t, finalSnapshot, last.Snapshot)
	require.False(t, last.New)
}

func TestAnAbortStopsASnapshotThatIsRestoredAlready(t *testing.T) {
	var w *world
	w = newEarlyWorld(t, func(int) error {
		w.env.SignalWorkflow(string(migration.RequestAbort), nil)
		return temporal.NewApplicationError("it goes on", "passing")
	})
	w.at(20*time.Minute, migration.RequestFreeze)
	w.run()
	w.aborted()
	require.Equal(t, []string{finalSnapshot}, w.stopped)
	require.Zero(t, w.called(migration.ActivityVerifyTarget))
}

// A restore that fails waits for the snapshot's end before another one is asked for.
func TestARestoreThatFailsBeforeTheEndTakesAnotherSnapshot(t *testing.T) {
	w := newEarlyWorld(t, neverFails)
	failed := make(chan struct{})
	w.on[migration.ActivityTakeSnapshot] = func(n int) error {
		if n == 3 {
			<-failed
		}
		return nil
	}
	w.on[migration.ActivityRestoreSnapshot] = func(n int) error {
		if n == 3 {
			close(failed)
			return temporal.NewNonRetryableApplicationError("no", string(migration.ErrorSnapshotUnusable), nil)
		}
		return nil
	}
	w.usualRequests()
	w.at(21*time.Minute, migration.RequestRetry)
	w.run()
	w.completed()
	require.Equal(t, "movies-r0002-a2", w.restored[len(w.restored)-1])
	require.Equal(t, []string{finalSnapshot, "movies-r0002-a2"}, w.snapshots[2:])
}

// failsBeforeItsRestore has the source's answer fail, and be heard, before the restore fails. again
// runs when the source is asked the next time.
func (w *world) failsBeforeItsRestore(answer, restore migration.ErrorType, again func()) {
	restoring, heard := make(chan struct{}), make(chan struct{})
	w.on[migration.ActivityTakeSnapshot] = func(n int) error {
		switch n {
		case 3:
			<-restoring
			return temporal.NewNonRetryableApplicationError("no", string(answer), nil)
		case 4:
			again()
		}
		return nil
	}
	w.env.SetOnActivityCompletedListener(func(info *activity.Info, _ converter.EncodedValue, err error) {
		if info.ActivityType.Name == migration.ActivityTakeSnapshot && err != nil {
			close(heard)
		}
	})
	w.on[migration.ActivityRestoreSnapshot] = func(n int) error {
		if n == 3 {
			close(restoring)
			<-heard
			return temporal.NewNonRetryableApplicationError("no", string(restore), nil)
		}
		return nil
	}
}

// If both fail, the snapshot's failure is noted, and needs nobody.
func TestASnapshotThatFailsBeforeItsRestoreNeedsNobody(t *testing.T) {
	w := newEarlyWorld(t, neverFails)
	w.failsBeforeItsRestore(migration.ErrorSnapshotFailed, migration.ErrorRestoreFailed, func() {})
	w.usualRequests()
	w.run()
	report := w.completed()
	require.Equal(t, "movies-r0002-a2", report.Rounds[2].Snapshot)
	require.Len(t, report.Failed, 1)
}

// The source's answer says nothing of the end, and the restore needs another snapshot: this one may run.
func TestASnapshotWhoseEndNobodyKnowsIsStopped(t *testing.T) {
	w := newEarlyWorld(t, neverFails)
	w.failsBeforeItsRestore(migration.ErrorUnauthorized, migration.ErrorSnapshotUnusable,
		func() { w.env.SignalWorkflow(string(migration.RequestAbort), nil) })
	w.at(20*time.Minute, migration.RequestFreeze)
	w.at(21*time.Minute, migration.RequestRetry)
	w.run()
	w.aborted()
	require.Contains(t, w.stopped, finalSnapshot)
}

// A restore that needs another snapshot may come before the answer that this one has failed, too: it
// is noted, and an abort stops it.
func TestTheEndOfASnapshotOfNoUseIsHeard(t *testing.T) {
	for name, test := range map[string]struct {
		answer  error
		earlier bool
		stopped bool
	}{
		"it failed": {
			answer:  temporal.NewNonRetryableApplicationError("gone", string(migration.ErrorSnapshotFailed), nil),
			stopped: true,
		},
		"nobody knows how it has ended": {
			answer:  temporal.NewNonRetryableApplicationError("no", string(migration.ErrorUnauthorized), nil),
			stopped: true,
		},
		"nobody knows whose it is": {earlier: true, stopped: true},
		"it has ended":             {},
	} {
		t.Run(name, func(t *testing.T) {
			w := newEarlyWorld(t, neverFails)
			if test.earlier {
				w.earlier = []string{finalSnapshot}
			}
			failed := make(chan struct{})
			w.on[migration.ActivityTakeSnapshot] = func(n int) error {
				switch n {
				case 3:
					<-failed
					return test.answer
				case 4:
					w.env.SignalWorkflow(string(migration.RequestAbort), nil)
				}
				return nil
			}
			w.env.SetOnActivityCompletedListener(func(info *activity.Info, _ converter.EncodedValue, err error) {
				if info.ActivityType.Name == migration.ActivityRestoreSnapshot && err != nil {
					close(failed)
				}
			})
			w.on[migration.ActivityRestoreSnapshot] = func(n int) error {
				if n == 3 {
					return temporal.NewNonRetryableApplicationError("no", string(migration.ErrorSnapshotUnusable), nil)
				}
				return nil
			}
			w.at(20*time.Minute, migration.RequestFreeze)
			w.at(21*time.Minute, migration.RequestRetry)
			w.run()
			w.aborted()
			require.Equal(t, test.stopped, slices.Contains(w.stopped, finalSnapshot), "%v", w.stopped)
		})
	}
}

// Runs that began before publish when the cluster has told the end.
func TestOlderShapesPublishAtTheEnd(t *testing.T) {
	w := newAheadWorld(t, 0)
	w.env.OnGetVersion("shape", workflow.Version(shapeFirst),
		workflow.Version(newestShape)).Return(workflow.Version(shapeAhead))
	w.endsAhead()
	w.usualRequests()
	w.run()
	w.completed()
	require.False(t, slices.ContainsFunc(w.aheads, func(r migration.CopyRequest) bool { return r.Publish }))
	require.Equal(t, 1, w.called(migration.ActivityPublishAhead))
}
