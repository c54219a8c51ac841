//go:build lab

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"

	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/migration"
	"github.com/snapferry/snapferry/workflows"
)

// A migration of 100,000 blobs in 200 shards and 20 rounds keeps its histories small. Each round is
// taken to copy all of it again, which is the most that rounds can do. Neither the clusters nor the
// copy are needed for that: what the copy makes of 200 shards of 500 blobs is held by
// TestPagesSpreadAndStayFew.
func TestHistoriesStaySmall(t *testing.T) {
	const (
		name      = "longhistory"
		indices   = 40
		shards    = 5
		rounds    = 20
		pages     = 50
		mostEvent = 5000
		mostBytes = 5 << 20
	)
	t.Parallel()
	on := labs.take(t, usual)
	ctx, cancel := context.WithTimeout(t.Context(), lab.Patience)
	defer cancel()
	found := make([]migration.Index, indices)
	counters := migration.WriteCounters{}
	for i := range found {
		found[i] = migration.Index{
			Name: fmt.Sprintf("catalog-of-the-shop-%06d", i), Shards: shards, Docs: 1e6,
			Bytes: 1e9,
		}
		counters[found[i].Name] = migration.Counter{UUID: strings.Repeat("u", 22), Writes: 1e6, Docs: 1e6}
	}
	delta := migration.CopyPages{Pages: make([]migration.CopyPage, pages)}
	for i := range pages * 4 {
		page := &delta.Pages[i/4]
		page.Blobs, page.Bytes = page.Blobs+500, page.Bytes+1e6
		page.Shards = append(page.Shards, migration.ShardRange{
			IndexID: fmt.Sprintf("%022d", i/shards),
			Shard:   i % shards, To: 500,
		})
	}

	options := worker.Options{Identity: name, MaxConcurrentActivityExecutionSize: 20}
	all := worker.New(on.Client, migration.TaskQueue, options)
	copies := worker.New(on.Client, migration.CopyTaskQueue, options)
	guards := worker.New(on.Client, migration.GuardTaskQueue, options)
	workflows.Register(all)
	meet := func(ctx context.Context, _ migration.GuardRequest) (migration.GuardAnswer, error) {
		return migration.GuardAnswer{RunID: activity.GetInfo(ctx).WorkflowExecution.RunID}, nil
	}
	serve(all, migration.ActivityAskGuard, meet)
	serve(guards, migration.ActivityAskGuard, meet)
	generation := int64(0)
	taken, ended := 0, make(chan struct{}) // snapshots; those of the baseline and of all rounds are restored
	serve(all, migration.ActivityPreflight, func(context.Context, migration.Run) (migration.PreflightResult, error) {
		return migration.PreflightResult{
			SourceVersion: "5.5.2", TargetVersion: "5.5.3",
			Indices: migration.ListIndices(found),
		}, nil
	})
	serve(all, migration.ActivityAwaitShards,
		func(context.Context, migration.ShardsRequest) (migration.DoneShards, error) {
			return migration.DoneShards{Ended: true}, nil
		})
	serve(all, migration.ActivityReadThrottles, func(context.Context, migration.Run) (migration.ThrottlesFound, error) {
		return migration.ThrottlesFound{}, nil
	})
	serve(all, migration.ActivitySetThrottles,
		func(context.Context, migration.SetThrottlesRequest) (migration.ThrottlesSet, error) {
			return migration.ThrottlesSet{}, nil
		})
	for _, quick := range []string{
		migration.ActivityEnsureTargetBucket, migration.ActivityRegisterRepositories,
		migration.ActivityUnregisterRepositories, migration.ActivityAbortSnapshot, migration.ActivityCloseTarget,
		migration.ActivityTryDefinitions, migration.ActivityTryHandover, migration.ActivityCheckShardLimit,
		migration.ActivityClearTarget, migration.ActivityCheckDependencies,
	} {
		serve(all, quick, func(context.Context, any) (any, error) { return nil, nil })
	}
	serve(all, migration.ActivityResolveIndices,
		func(context.Context, migration.Run) ([]migration.Index, error) { return found, nil })
	serve(all, migration.ActivityFindChanged,
		func(context.Context, migration.ChangedRequest) (migration.Changed, error) {
			marks := migration.IndexMarks{}
			for i, index := range found {
				mark := migration.IndexMark{UUID: fmt.Sprintf("%022d", i), Definition: strings.Repeat("d", 24)}
				for range shards {
					mark.Shards = append(mark.Shards, fmt.Sprintf("%d/%012d", 1_000_000*taken, i))
				}
				marks[index.Name] = mark
			}
			return migration.Changed{
				Taking: migration.ListIndices(found), Marks: marks,
				Because: []migration.TakenBecause{{
					Reason: migration.ReasonWritten, Indices: indices, First: migration.IndexNames(found[:3]),
				}},
			}, nil
		})
	serve(all, migration.ActivityTakeSnapshot,
		func(ctx context.Context, r migration.SnapshotRequest) (migration.Snapshot, error) {
			request := migration.RequestRound // the next round follows at once
			if taken++; taken == 1+rounds+1 {
				request = migration.RequestPause
				close(ended)
			}
			err := on.Client.SignalWorkflow(ctx, migration.WorkflowID(name), "", string(request), nil)
			return migration.Snapshot{
				Name: r.Snapshot, UUID: fmt.Sprintf("%022d", taken), StartMillis: 1e12,
				EndMillis: 1e12, Shards: indices * shards,
			}, err
		})
	serve(copies, migration.ActivityCopySnapshot,
		func(_ context.Context, r migration.CopyRequest) (migration.CopyResult, error) {
			planned := delta
			planned.Delta = migration.CopyDelta{
				RootGeneration: generation, RootETag: strings.Repeat("e", 32),
				Snapshots: []string{r.Snapshot.UUID}, Base: r.BaseUUID,
			}
			return migration.CopyResult{BlobsSkipped: 1e5, BytesSkipped: 1e12, Pages: &planned}, nil
		})
	serve(copies, migration.ActivityCopyPage,
		func(_ context.Context, r migration.PageRequest) (migration.PageResult, error) {
			return migration.PageResult{BlobsCopied: r.Page.Blobs, BytesCopied: r.Page.Bytes, Digest: 1}, nil
		})
	serve(copies, migration.ActivityPublishSnapshot,
		func(context.Context, migration.PublishRequest) (migration.CopyResult, error) {
			generation++
			return migration.CopyResult{Generation: generation, Proven: 1e5}, nil
		})
	serve(all, migration.ActivityRestoreSnapshot,
		func(context.Context, migration.RestoreRequest) (migration.RestoreResult, error) {
			return migration.RestoreResult{Shards: indices * shards, BytesRestored: 1e9}, nil
		})
	serve(all, migration.ActivityOpenTarget,
		func(context.Context, migration.IndicesRequest) (migration.OpenResult, error) {
			return migration.OpenResult{Counters: counters}, nil
		})
	require.NoError(t, all.Start())
	defer all.Stop()
	require.NoError(t, copies.Start())
	defer copies.Stop()
	require.NoError(t, guards.Start())
	defer guards.Stop()

	started, err := on.Client.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID:        migration.WorkflowID(name),
		TaskQueue: migration.TaskQueue,
	},
		migration.WorkflowType, on.Lab.Plan(name, "catalog-*"))
	require.NoError(t, err)
	defer func() {
		_ = on.Client.TerminateWorkflow(context.WithoutCancel(ctx), started.GetID(), "", "the test has ended")
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		t.Fatalf("only %d snapshots were taken", taken)
	}

	seen := 0
	for next := started.GetRunID(); next != ""; seen++ {
		run := next
		described, err := on.Client.DescribeWorkflowExecution(ctx, started.GetID(), run)
		require.NoError(t, err)
		info := described.GetWorkflowExecutionInfo()
		t.Logf("run %d: %d events, %d bytes", seen+1, info.GetHistoryLength(), info.GetHistorySizeBytes())
		require.Less(t, info.GetHistoryLength(), int64(mostEvent))
		require.Less(t, info.GetHistorySizeBytes(), int64(mostBytes))
		next = ""
		history := on.Client.GetWorkflowHistory(ctx, started.GetID(), run, false, 0)
		for history.HasNext() {
			event, err := history.Next()
			require.NoError(t, err)
			if again := event.GetWorkflowExecutionContinuedAsNewEventAttributes(); again != nil {
				next = again.GetNewExecutionRunId()
			}
		}
	}
	require.Greater(t, seen, 1, "a long migration continues as new")
}

// serve registers a fake of an activity.
func serve[I, O any](w worker.Worker, name string, run func(context.Context, I) (O, error)) {
	w.RegisterActivityWithOptions(run, activity.RegisterOptions{Name: name})
}
