//go:build lab

package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/failure/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"
	"google.golang.org/grpc"

	"github.com/snapferry/snapferry/internal/heartbeat"
	"github.com/snapferry/snapferry/internal/pause"
	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/migration"
	"github.com/snapferry/snapferry/worker/serving"
	"github.com/snapferry/snapferry/workflows"
)

// copyWorkerVariable tells a process of this test binary at which server it serves the copies.
const copyWorkerVariable = "SNAPFERRY_TEST_COPY_WORKER"

// TestLabCopyWorker is a worker that never ends its copy.
func TestLabCopyWorker(t *testing.T) {
	server := os.Getenv(copyWorkerVariable)
	if server == "" {
		t.Skip("only a process that another test starts has something to do")
	}
	c, err := client.Dial(client.Options{HostPort: server})
	require.NoError(t, err)
	options := serving.Options(migration.CopyTaskQueue, serving.Defaults())
	options.Identity = "killed"
	w := worker.New(c, migration.CopyTaskQueue, options)
	w.RegisterActivityWithOptions(func(ctx context.Context, _ migration.CopyRequest) (migration.CopyResult, error) {
		for {
			activity.RecordHeartbeat(ctx, migration.Progress{Doing: "copying"})
			if err := pause.For(ctx, time.Second); err != nil {
				return migration.CopyResult{}, err
			}
		}
	}, activity.RegisterOptions{Name: migration.ActivityCopySnapshot})
	require.NoError(t, w.Run(nil))
}

// startDevServer starts a server that ends with the test.
func startDevServer(ctx context.Context, t *testing.T) *testsuite.DevServer {
	t.Helper()
	root, err := lab.Root()
	require.NoError(t, err)
	server, err := testsuite.StartDevServer(ctx, testsuite.DevServerOptions{
		ExistingPath: filepath.Join(root, ".lab", "bin", "temporal"), LogLevel: "error",
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Stop() })
	return server
}

// An answer to a heartbeat that takes longer than the client waits ends no work. Without
// [heartbeat.DialOption] this activity needs a second attempt.
func TestLabASlowAnswerToAHeartbeatEndsNoWork(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), lab.Patience)
	defer cancel()
	server := startDevServer(ctx, t)
	const slow = 2 * time.Second // and 2 s more until the worker gives up
	var beats atomic.Int64
	slowly := grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, request, reply any,
		connection *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption,
	) error {
		err := invoke(ctx, method, request, reply, connection, options...)
		beat := method == workflowservice.WorkflowService_RecordActivityTaskHeartbeat_FullMethodName
		if err != nil || !beat || beats.Add(1) > 1 {
			return err
		}
		return pause.For(ctx, slow)
	})
	c, err := client.DialContext(ctx, client.Options{
		HostPort: server.FrontendHostPort(),
		ConnectionOptions: client.ConnectionOptions{
			DialOptions: dialOptions([]grpc.DialOption{slowly}, newRefusals()),
		},
	})
	require.NoError(t, err)
	defer c.Close()

	all := worker.New(c, migration.CopyTaskQueue, serving.Options(migration.CopyTaskQueue, serving.Defaults()))
	all.RegisterActivityWithOptions(func(ctx context.Context, _ migration.CopyRequest) (migration.CopyResult, error) {
		activity.RecordHeartbeat(heartbeat.During(ctx, ctx), migration.Progress{}) // the first one awaits its answer
		return migration.CopyResult{Generation: int64(activity.GetInfo(ctx).Attempt)}, ctx.Err()
	}, activity.RegisterOptions{Name: migration.ActivityCopySnapshot})
	require.NoError(t, all.Start())
	defer all.Stop()
	decides := worker.New(c, migration.TaskQueue, serving.Options(migration.TaskQueue, serving.Defaults()))
	decides.RegisterWorkflow(workflows.Copy)
	require.NoError(t, decides.Start())
	defer decides.Stop()
	run, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{TaskQueue: migration.TaskQueue}, workflows.Copy,
		migration.CopyRequest{Run: migration.Run{Plan: migration.Plan{Name: "slow"}}})
	require.NoError(t, err)
	var result migration.CopyResult
	require.NoError(t, run.Get(ctx, &result))
	require.EqualValues(t, 1, result.Generation, "attempts")
}

// A killed worker's copy is taken up by another one, once Temporal has heard nothing of it for the
// heartbeat timeout. Timeout and pause are at most 6.5 s; what comes on top are Temporal's timers, not
// quite 1.5 s late where this was measured, and a place at a worker.
func TestLabAKilledWorkersCopyIsTakenUp(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), lab.Patience)
	defer cancel()
	server := startDevServer(ctx, t)
	c := server.Client()
	options := serving.Options(migration.TaskQueue, serving.Defaults())
	decides := worker.New(c, migration.TaskQueue, options)
	decides.RegisterWorkflow(workflows.Copy)
	require.NoError(t, decides.Start())
	defer decides.Stop()

	killed := exec.Command(os.Args[0], "-test.run=^TestLabCopyWorker$", "-test.timeout="+lab.Patience.String())
	killed.Env = append(os.Environ(), copyWorkerVariable+"="+server.FrontendHostPort())
	require.NoError(t, killed.Start())
	defer func() { _ = killed.Process.Kill() }()
	run, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{TaskQueue: migration.TaskQueue}, workflows.Copy,
		migration.CopyRequest{Run: migration.Run{Plan: migration.Plan{Name: "taken-up"}}})
	require.NoError(t, err)
	for { // until the first worker's heartbeats arrive
		described, err := c.DescribeWorkflowExecution(ctx, run.GetID(), run.GetRunID())
		require.NoError(t, err)
		if p := described.GetPendingActivities(); len(p) == 1 && p[0].GetLastHeartbeatTime() != nil {
			break
		}
		require.NoError(t, pause.For(ctx, 100*time.Millisecond))
	}
	require.NoError(t, killed.Process.Kill())
	_ = killed.Wait()
	died := time.Now()

	copies := serving.Options(migration.CopyTaskQueue, serving.Defaults())
	copies.Identity = "another"
	another := worker.New(c, migration.CopyTaskQueue, copies)
	another.RegisterActivityWithOptions(
		func(context.Context, migration.CopyRequest) (migration.CopyResult, error) {
			t.Logf("taken up %s after the kill", time.Since(died).Round(time.Millisecond))
			return migration.CopyResult{Generation: 7}, nil
		}, activity.RegisterOptions{Name: migration.ActivityCopySnapshot})
	require.NoError(t, another.Start())
	defer another.Stop()
	var result migration.CopyResult
	require.NoError(t, run.Get(ctx, &result))
	require.EqualValues(t, 7, result.Generation)

	events := c.GetWorkflowHistory(ctx, run.GetID(), run.GetRunID(), false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	var limit time.Duration
	var last *failure.Failure
	for events.HasNext() {
		event, err := events.Next()
		require.NoError(t, err)
		if a := event.GetActivityTaskScheduledEventAttributes(); a != nil {
			limit = a.GetHeartbeatTimeout().AsDuration() + a.GetRetryPolicy().GetInitialInterval().AsDuration()
		}
		if a := event.GetActivityTaskStartedEventAttributes(); a != nil {
			require.Equal(t, int32(2), a.GetAttempt())
			require.Equal(t, "another", a.GetIdentity())
			last = a.GetLastFailure()
		}
	}
	require.LessOrEqual(t, limit, 6500*time.Millisecond)
	require.Equal(t, enums.TIMEOUT_TYPE_HEARTBEAT, last.GetTimeoutFailureInfo().GetTimeoutType())
}
