package workflows

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"github.com/snapferry/snapferry/migration"
)

// inPages makes every copy of a world in so many pages of ten blobs.
func (w *world) inPages(pages int) {
	w.pages = make([]migration.CopyPage, pages)
	for i := range w.pages {
		w.pages[i] = migration.CopyPage{
			Shards: []migration.ShardRange{{IndexID: "i", Shard: i, From: 0, To: 10}}, Blobs: 10, Bytes: 1000,
		}
	}
}

func TestALargeDeltaIsCarriedInPages(t *testing.T) {
	w := newWorld(t)
	w.inPages(40)
	w.meet(migration.DefaultPages)
	w.usualRequests()
	w.run()
	report := w.completed()
	rounds := len(report.Rounds)
	require.Equal(t, 40*rounds, w.called(migration.ActivityCopyPage))
	require.Equal(t, rounds, w.called(migration.ActivityPublishSnapshot))
	require.Equal(t, migration.DefaultPages, w.mostInFlight)
	for _, round := range report.Rounds {
		require.Equal(t, int64(400), round.BlobsCopied)
		require.Equal(t, int64(40_000), round.BytesCopied)
		require.Equal(t, int64(3), round.BlobsSkipped)
	}
	for _, publish := range w.publishes {
		require.Equal(t, int64(400), publish.Blobs)
		require.Equal(t, migration.Digest(40*7), publish.Digest, "the sum of the pages' digests")
	}
}

func TestACopyBeginsAgainWhenTheRepositoryMoves(t *testing.T) {
	for _, name := range []string{migration.ActivityCopyPage, migration.ActivityPublishSnapshot} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.inPages(3)
			w.moves = func(activity string, n int) bool { return activity == name && n == 2 }
			w.usualRequests()
			w.run()
			report := w.completed()
			require.Equal(t, len(report.Rounds)+1, w.called(migration.ActivityCopySnapshot))
			require.Len(t, w.publishes, len(report.Rounds))
			again := 0
			for _, r := range w.copies {
				if r.Again {
					again++
				}
			}
			require.Equal(t, 1, again, "the second try looks what is there")
		})
	}
	t.Run("for ever", func(t *testing.T) {
		w := newWorld(t)
		w.inPages(3)
		w.moves = func(activity string, n int) bool {
			return activity == migration.ActivityPublishSnapshot && n <= movesTolerated
		}
		w.at(5*time.Minute, migration.RequestRetry)
		w.env.RegisterDelayedCallback(func() {
			attention := w.status().Attention
			require.NotNil(t, attention)
			require.Equal(t, string(migration.ErrorRepository), attention.Type)
			require.Contains(t, attention.Message, "changed during each of 5 tries")
		}, 4*time.Minute)
		w.usualRequests()
		w.run()
		w.completed()
	})
}

func TestAPageThatFailsEndsTheOthersAndParks(t *testing.T) {
	w := newWorld(t)
	w.inPages(30)
	known := make(chan struct{}) // closed once the workflow learns of the failure, so that no page ends before
	var once sync.Once
	w.env.SetOnActivityCompletedListener(func(info *activity.Info, _ converter.EncodedValue, err error) {
		if info.ActivityType.Name == migration.ActivityCopyPage && err != nil {
			once.Do(func() { close(known) })
		}
	})
	w.on[migration.ActivityCopyPage] = func(n int) error {
		if n == 1 {
			return refusal(migration.ErrorUnauthorized, "403")
		}
		<-known
		return nil
	}
	w.at(5*time.Minute, migration.RequestRetry)
	w.env.RegisterDelayedCallback(func() {
		require.Equal(t, string(migration.ErrorUnauthorized), w.status().Attention.Type)
		require.LessOrEqual(t, w.called(migration.ActivityCopyPage), migration.DefaultPages+1,
			"no page begins after the failure")
		require.Nil(t, w.status().Copy)
	}, 4*time.Minute)
	w.usualRequests()
	w.run()
	w.completed()
	require.True(t, w.copies[1].Again)
	require.False(t, w.copies[0].Again)
}

func TestAPageIsRetriedWithoutAPerson(t *testing.T) {
	w := newWorld(t)
	w.inPages(4)
	w.on[migration.ActivityCopyPage] = func(n int) error {
		if n%2 == 1 {
			return errors.New("connection reset")
		}
		return nil
	}
	w.usualRequests()
	w.run()
	require.Equal(t, 2*4*len(w.completed().Rounds), w.called(migration.ActivityCopyPage))
}

func TestAbortAndPauseWhilePagesAreCarried(t *testing.T) {
	w := newWorld(t)
	w.inPages(40)
	w.afterPages(20, migration.RequestAbort)
	w.run()
	w.aborted()
	require.Zero(t, w.called(migration.ActivityPublishSnapshot))

	w = newWorld(t)
	w.inPages(40)
	w.afterPages(20, migration.RequestPause)
	w.env.RegisterDelayedCallback(func() {
		status := w.status()
		require.True(t, status.Paused)
		require.LessOrEqual(t, w.called(migration.ActivityCopyPage), 20+migration.DefaultPages)
		require.Equal(t, 40, status.Copy.PagesTotal)
		require.Equal(t, int64(status.Copy.PagesDone*10), status.Copy.BlobsDone)
	}, 3*time.Minute)
	w.at(4*time.Minute, migration.RequestResume)
	w.usualRequests()
	w.run()
	w.completed()
}

// afterPages sends a request during the page of that number; none that begins later ends before the
// workflow has it.
func (w *world) afterPages(number int, request migration.Request) {
	taken := make(chan struct{})
	w.on[migration.ActivityCopyPage] = func(n int) error {
		if n > number {
			<-taken
		}
		return nil
	}
	w.during(migration.ActivityCopyPage, number, func() {
		w.env.SignalWorkflow(string(request), nil)
		w.env.RegisterDelayedCallback(func() { close(taken) }, 0) // behind the signal
	})
}

func TestBandwidthIsSharedAndChanged(t *testing.T) {
	share := func(w *world) int64 {
		value, err := w.env.QueryWorkflow(migration.QueryBandwidth)
		require.NoError(w.t, err)
		var share int64
		require.NoError(w.t, value.Get(&share))
		return share
	}
	w := newWorld(t)
	w.plan = strings.Replace(planJSON, `"indices"`, `"copy": {"bandwidth": "160MB/s", "pages": 4}, "indices"`, 1)
	w.inPages(8)
	w.during(migration.ActivityCopyPage, 4, func() {
		got := share(w)
		require.Contains(t, []int64{160e6, 80e6, 53_333_333, 40e6}, got, "a share of the plan's limit")
	})
	w.env.RegisterDelayedCallback(func() {
		require.Equal(t, int64(160e6), share(w), "nothing is copied: all of it")
		w.env.SignalWorkflow(migration.Bandwidth, map[string]string{"limit": "30MB/s", "by": "ann"})
		w.env.SignalWorkflow(migration.Bandwidth, map[string]string{"limit": "fast"})
		w.env.SignalWorkflow(migration.Bandwidth, nil)
	}, 2*time.Minute)
	var good, bad outcome
	w.env.RegisterDelayedCallback(func() {
		require.Equal(t, int64(30e6), share(w))
		status := w.status()
		require.Equal(t, "30MB/s", status.Bandwidth.String())
		require.Contains(t, fmt.Sprint(status.Warnings), `"fast" is not a rate`)
		require.Contains(t, fmt.Sprint(status.Warnings), "it names no limit")
		w.env.UpdateWorkflow(migration.Bandwidth, "1", good.callbacks(), map[string]string{"limit": "5MB/s"})
		w.env.UpdateWorkflow(migration.Bandwidth, "2", bad.callbacks(), "fast")
	}, 3*time.Minute)
	w.env.RegisterDelayedCallback(func() { require.Equal(t, int64(5e6), share(w)) }, 4*time.Minute)
	w.usualRequests()
	w.run()
	w.completed()
	require.Contains(t, good.answer.Message, "5MB/s")
	require.ErrorContains(t, bad.rejected, "is not a rate")
}

func TestCopyWithoutAMigration(t *testing.T) {
	w := newWorld(t)
	w.inPages(3)
	w.meet(1)
	w.env.RegisterWorkflow(Copy)
	request := migration.CopyRequest{Snapshot: migration.Snapshot{Name: "s", UUID: "u"}, BaseGeneration: -1}
	w.env.ExecuteWorkflow(Copy, request)
	require.NoError(t, w.env.GetWorkflowError())
	var result migration.CopyResult
	require.NoError(t, w.env.GetWorkflowResult(&result))
	require.Equal(t, int64(30), result.BlobsCopied)
	require.Equal(t, 1, w.mostInFlight, "a plan without defaults")

	w = newWorld(t)
	w.inPages(3)
	w.fails(migration.ActivityCopyPage, 1, migration.ErrorUnauthorized)
	w.env.RegisterWorkflow(Copy)
	w.env.ExecuteWorkflow(Copy, request)
	var failure *temporal.ApplicationError
	require.ErrorAs(t, w.env.GetWorkflowError(), &failure)
	require.Equal(t, string(migration.ErrorUnauthorized), failure.Type())
}

// An activity begins with the limit that is in force, and not with the plan's.
func TestAnActivityBeginsWithTheLimitInForce(t *testing.T) {
	w := newWorld(t)
	w.env.RegisterDelayedCallback(func() {
		w.env.SignalWorkflow(migration.Bandwidth, map[string]string{"limit": "30MB/s"})
	}, 2*time.Minute)
	w.usualRequests()
	w.run()
	w.completed()
	require.Zero(t, w.copies[0].Plan.Copy.Bandwidth)
	require.EqualValues(t, 30e6, w.copies[1].Plan.Copy.Bandwidth.Bytes())
}
