package activities

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

const (
	final    = "movies-r0001-a1"
	putFinal = "PUT /_snapshot/*/" + final
)

// asks has the wait for the standstill ask for the final snapshot of what changed.
func (w *timedWorld) asks(in migration.ChangedRequest) {
	in.Run, in.Indices = w.run, w.present
	w.still.changed = &changeFinder{Activities: w.still.Activities, in: in}
	w.still.ahead = &askingAhead{client: w.still.client, repository: w.run.RepositoryName(), snapshot: final}
	w.still.looked = make(chan struct{})
	close(w.still.looked)
}

// What takes part is known after the first equal sample. The request takes no time of its own, and
// however long a refresh takes, it doesn't wait for that.
func TestTheSnapshotIsAskedForBesideTheSamples(t *testing.T) {
	for name, test := range map[string]struct{ refresh, request, asked, stands time.Duration }{
		"all is fast":    {0, 0, 50, 150},
		"a slow answer":  {0, 400, 50, 450},
		"a slow refresh": {4000, 0, 50, 4000},
	} {
		t.Run(name, func(t *testing.T) {
			inTime(t, func(w *timedWorld) {
				w.asks(migration.ChangedRequest{All: true})
				w.takes("POST /*/_refresh", test.refresh*time.Millisecond)
				w.takes(putFinal, test.request*time.Millisecond)
				require.EqualValues(w.t, 8, w.stands())
				found, err := w.still.found(context.Background())
				require.NoError(w.t, err)
				require.Equal(w.t, both2, found.Taking.Names())
				require.Equal(w.t, []int{int(test.asked)}, w.beganAt(putFinal))
				require.EqualValues(w.t, test.stands, w.now())
				require.Equal(w.t, migration.AskedFor, w.still.ahead.became())
				require.Contains(w.t, w.from.Bodies(putFinal)[0], `"indices":"catalog,movies"`)
			})
		})
	}
}

// The marks of a source that was written to after they were read are none of its snapshot's. No
// other one is asked for.
func TestAWriteMakesTheSnapshotVoid(t *testing.T) {
	for name, at := range map[string]time.Duration{
		"right after the request": 60 * time.Millisecond, "before the last sample": 140 * time.Millisecond,
	} {
		t.Run(name, func(t *testing.T) {
			inTime(t, func(w *timedWorld) {
				w.asks(migration.ChangedRequest{All: true})
				w.writes(at)
				require.EqualValues(w.t, 9, w.stands())
				require.Equal(w.t, []int{50}, w.beganAt(putFinal))
				require.Equal(w.t, migration.AskedInVain, w.still.ahead.became())
				before := w.still.changed.marks
				found, err := w.still.found(context.Background())
				require.NoError(w.t, err)
				require.Equal(w.t, before["movies"].Shards, found.Marks["movies"].Shards)
			})
		})
	}
}

// A write before there is an equal sample costs no snapshot.
func TestASourceThatMovesIsAskedForNoSnapshot(t *testing.T) {
	inTime(t, func(w *timedWorld) {
		w.asks(migration.ChangedRequest{All: true})
		w.writes(20 * time.Millisecond)
		require.EqualValues(w.t, 9, w.stands())
		require.Equal(w.t, []int{100}, w.beganAt(putFinal))
		require.Equal(w.t, migration.AskedFor, w.still.ahead.became())
	})
}

// Whatever ends the wait without a standstill makes the snapshot void, and leaves no request behind.
func TestWithoutAStandstillTheSnapshotIsVoid(t *testing.T) {
	inTime(t, func(w *timedWorld) {
		w.asks(migration.ChangedRequest{All: true})
		w.from.SetSetting("catalog", writeBlock, "")
		w.takes("POST /_bulk", 120*time.Millisecond)
		_, err := w.still.await(context.Background())
		require.Equal(w.t, migration.ErrorNoStandstill, typeOf(err))
		require.Equal(w.t, migration.AskedInVain, w.still.ahead.became())
	})
	inTime(t, func(w *timedWorld) {
		w.asks(migration.ChangedRequest{All: true})
		w.takes(putFinal, time.Hour)
		ctx, cancel := context.WithTimeout(context.Background(), 70*time.Millisecond)
		defer cancel()
		_, err := w.still.await(ctx)
		require.Error(w.t, err)
		require.EqualValues(w.t, 70, w.now())
		require.Equal(w.t, migration.AskedInVain, w.still.ahead.became(), "the source may have the request")
	})
}

// What a request that failed says of the snapshot.
func TestWhatBecomesOfASnapshotThatIsAskedForAhead(t *testing.T) {
	refused := func(status int, exception string) func(*timedWorld) {
		return func(w *timedWorld) {
			w.from.Refuse(putFinal, 1, status, exception, "snapshot with the same name already exists")
		}
	}
	for name, test := range map[string]struct {
		source func(*timedWorld)
		want   migration.AskedAhead
	}{
		"another one holds the slot": {
			refused(http.StatusServiceUnavailable, "concurrent_snapshot_execution_exception"), migration.NotAsked,
		},
		"there is one": {refused(http.StatusBadRequest, "invalid_snapshot_name_exception"), migration.AskedInVain},
		"the repository is gone": {
			refused(http.StatusNotFound, "repository_missing_exception"), migration.NotAsked,
		},
		"no node has a primary": {
			func(w *timedWorld) {
				w.from.Refuse(putFinal, 1, http.StatusInternalServerError, "snapshot_exception",
					"Indices don't have primary shards [movies]")
			}, migration.NotAsked,
		},
		"the manager changes": {
			func(w *timedWorld) {
				w.from.Refuse(putFinal, 1, http.StatusInternalServerError, "snapshot_exception",
					"master changed before snapshot was initialized")
			}, migration.AskedInVain,
		},
		"a proxy answers": {refused(http.StatusBadGateway, ""), migration.AskedInVain},
	} {
		t.Run(name, func(t *testing.T) {
			inTime(t, func(w *timedWorld) {
				w.asks(migration.ChangedRequest{All: true})
				test.source(w)
				w.stands()
				found, err := w.still.found(context.Background())
				require.NoError(w.t, err)
				require.Equal(w.t, both2, found.Taking.Names())
				require.Equal(w.t, test.want, w.still.ahead.became())
				require.Len(w.t, w.beganAt(putFinal), 1, "nobody asks once more")
			})
		})
	}
}

// What the target lost takes part as well. A look at it that is slow, or fails, makes the request late,
// or none.
func TestTheSnapshotWaitsForTheLookAtTheTarget(t *testing.T) {
	for name, failure := range map[string]error{"slow": nil, "fails": errors.New("the target is gone")} {
		t.Run(name, func(t *testing.T) {
			inTime(t, func(w *timedWorld) {
				w.asks(migration.ChangedRequest{All: true})
				w.still.looked = make(chan struct{})
				time.AfterFunc(400*time.Millisecond, func() {
					w.still.lookFailure = failure
					close(w.still.looked)
				})
				w.stands()
				require.Equal(w.t, 150, w.now())
				_, err := w.still.found(context.Background())
				require.NoError(w.t, err)
				if failure != nil {
					require.Empty(w.t, w.beganAt(putFinal))
					require.Empty(w.t, w.still.ahead.became())
					return
				}
				require.Equal(w.t, []int{400}, w.beganAt(putFinal))
				require.Equal(w.t, migration.AskedFor, w.still.ahead.became())
			})
		})
	}
}

// To Elasticsearch an empty list of indices means all of them.
func TestNothingIsAskedForIfNothingTakesPart(t *testing.T) {
	inTime(t, func(w *timedWorld) {
		w.asks(migration.ChangedRequest{})
		w.still.changed.in.Indices = nil
		w.stands()
		_, err := w.still.found(context.Background())
		require.NoError(w.t, err)
		require.Empty(w.t, w.beganAt(putFinal))
		require.Empty(w.t, w.still.ahead.became())
	})
}

// again runs an activity as a second attempt. The first one has died before it did anything.
func again[In, Out any](w *world, method func(context.Context, In) (Out, error), in In) (out Out) {
	w.t.Helper()
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(quiet{})
	env := suite.NewTestWorkflowEnvironment()
	env.SetTestTimeout(slowest)
	env.RegisterActivityWithOptions(func(ctx context.Context, in In) (none Out, err error) {
		if activity.GetInfo(ctx).Attempt == 1 {
			return none, errors.New("the worker died")
		}
		return method(ctx, in)
	}, activity.RegisterOptions{Name: "under test"})
	env.ExecuteWorkflow(func(ctx workflow.Context) (out Out, err error) {
		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
			StartToCloseTimeout: time.Minute,
			RetryPolicy:         &temporal.RetryPolicy{InitialInterval: time.Millisecond, MaximumAttempts: 2},
		})
		err = workflow.ExecuteActivity(ctx, "under test", in).Get(ctx, &out)
		return out, err
	})
	require.NoError(w.t, env.GetWorkflowError())
	require.NoError(w.t, env.GetWorkflowResult(&out))
	return out
}

// blockRequest is the guard's block, followed by a look that asks for the final snapshot.
func (w *changedWorld) blockRequest() (*Guards, migration.GuardRequest) {
	g, f := newGuards(w.world)
	f.guards[w.guardID()] = &fakeGuard{
		status: enums.WORKFLOW_EXECUTION_STATUS_RUNNING,
		knows:  migration.GuardStatus{Token: w.run.Token, Phase: migration.GuardWatching},
	}
	request := w.guardRequest(migration.AskBlock)
	request.Look = &migration.FrozenLookRequest{Indices: both2, Snapshot: final, Find: &w.request}
	request.Look.Find.Indices = w.indices()
	for _, name := range both2 {
		w.from.SetSetting(name, writeBlock, "true")
	}
	return g, request
}

// The look that follows the block asks for what changed, and for nothing else.
func TestTheLookAtTheBlockedSourceAsksForTheSnapshot(t *testing.T) {
	w := newChangedWorld(t)
	require.NoError(t, w.from.Index("movies", "zelig"))
	g, request := w.blockRequest()
	answer := must[migration.GuardAnswer](w.world, g.AskGuard, request)
	require.Equal(t, migration.AskedFor, answer.Snapshot)
	require.Equal(t, []string{"movies"}, answer.Look.Standstill.Found.Taking.Names())
	require.Contains(t, w.from.Bodies(putFinal)[0], `"indices":"movies"`)

	looks := -1
	w.from.During("GET /_snapshot/*/"+final, func() { looks = len(w.from.Requests("PUT /_snapshot/*/*")) })
	before := len(w.from.Requests("PUT /_snapshot/*/*"))
	snapshot := must[migration.Snapshot](w.world, w.activities.TakeSnapshot, migration.SnapshotRequest{
		Run: w.run, Snapshot: final, Indices: []string{"movies"}, Asked: true, Frozen: true,
	})
	require.Equal(t, final, snapshot.Name)
	require.False(t, snapshot.Earlier)
	require.Equal(t, before, looks, "it was asked for already")
}

// Nobody knows whether an attempt that died has asked. So the next one doesn't, and the name is spent.
func TestALaterAttemptAsksForNoSnapshot(t *testing.T) {
	w := newChangedWorld(t)
	require.NoError(t, w.from.Index("movies", "zelig"))
	g, request := w.blockRequest()
	answer := again(w.world, g.AskGuard, request)
	require.Equal(t, migration.AskedInVain, answer.Snapshot)
	require.Equal(t, []string{"movies"}, answer.Look.Standstill.Found.Taking.Names())
	require.Empty(t, w.from.Requests(putFinal))
}

// Neither does one that finds no guard any more: the snapshot of the attempt that died may be there.
func TestALaterAttemptThatIsNotServedKnowsNothing(t *testing.T) {
	for _, state := range []enums.WorkflowExecutionStatus{
		enums.WORKFLOW_EXECUTION_STATUS_RUNNING, enums.WORKFLOW_EXECUTION_STATUS_COMPLETED,
	} {
		w := newChangedWorld(t)
		g, request := w.blockRequest()
		f := g.temporal.(*fakeTemporal)
		f.answer.Served = false
		f.guards[w.guardID()] = &fakeGuard{
			status: state, knows: migration.GuardStatus{Token: w.run.Token, Phase: migration.GuardRemoved},
		}
		require.Equal(t, migration.AskedInVain, again(w.world, g.AskGuard, request).Snapshot)
		answer := must[migration.GuardAnswer](w.world, g.AskGuard, request)
		require.Equal(t, migration.NotAsked, answer.Snapshot)
		require.Empty(t, w.from.Requests(putFinal))
	}
}

// A look that fails leaves everything to the migration, but for the snapshot that it has asked for.
func TestALookThatFailsHasAskedInVain(t *testing.T) {
	w := newChangedWorld(t)
	require.NoError(t, w.from.Index("movies", "zelig"))
	g, request := w.blockRequest()
	asked := make(chan struct{})
	w.from.During(putFinal, func() {
		w.from.Refuse(samples, 1, http.StatusForbidden, "security_exception", "no")
		close(asked)
	})
	w.from.During("POST /*/_refresh", func() { <-asked }) // the last sample waits for it
	answer := must[migration.GuardAnswer](w.world, g.AskGuard, request)
	require.Nil(t, answer.Look)
	require.Equal(t, migration.AskedInVain, answer.Snapshot)
}

// A snapshot that the source has accepted may take a moment to be listed. If it is lost, the next
// attempt asks for it.
func TestASnapshotThatWasAskedForAheadMayBeLost(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	request := w.snapshotRequest("s")
	request.Asked = true
	passes(w, retryInternal, w.activities.TakeSnapshot, request)
	require.Empty(t, w.from.Requests("PUT /_snapshot/*/s"))
	snapshot := again(w, w.activities.TakeSnapshot, request)
	require.Equal(t, "s", snapshot.Name)
	require.Len(t, w.from.Requests("PUT /_snapshot/*/s"), 1)
}
