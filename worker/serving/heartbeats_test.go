package serving

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	testTimeout = 6 * time.Second
	testLease   = testTimeout - leaseMargin
)

// leased is a client with an activity, as its requests and their answers leave it.
type leased struct {
	t *testing.T
	leases
	began time.Time
}

// newLeased takes the activity with the token "a".
func newLeased(t *testing.T) *leased {
	l := &leased{t: t, leases: leases{held: map[string]lease{}}, began: time.Now()}
	l.poll("a", testTimeout)
	return l
}

func (l *leased) send(ctx context.Context, request, reply any, serve func(context.Context) error) error {
	return l.intercept(ctx, "", request, reply, nil,
		func(ctx context.Context, _ string, _, _ any, _ *grpc.ClientConn, _ ...grpc.CallOption) error {
			return serve(ctx)
		})
}

func answers(context.Context) error { return nil }

func task(token string, timeout time.Duration) *workflowservice.PollActivityTaskQueueResponse {
	return &workflowservice.PollActivityTaskQueueResponse{
		TaskToken: []byte(token), HeartbeatTimeout: durationpb.New(timeout),
	}
}

func (l *leased) poll(token string, timeout time.Duration) {
	require.NoError(l.t, l.send(l.t.Context(), &workflowservice.PollActivityTaskQueueRequest{}, task(token, timeout),
		answers))
}

// beat sends a heartbeat with the client's own deadline, a second. It returns when the request ended,
// counted from when the activity was taken.
func (l *leased) beat(token string, serve func(context.Context) error) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(l.t.Context(), heartbeatThrottle)
	defer cancel()
	err := l.send(ctx, &workflowservice.RecordActivityTaskHeartbeatRequest{TaskToken: []byte(token)},
		&workflowservice.RecordActivityTaskHeartbeatResponse{}, serve)
	return time.Since(l.began), err
}

// answersAfter is a server that is slow.
func answersAfter(pause time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
			return nil
		}
	}
}

func never(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

// A heartbeat has the heartbeat timeout for its answer, and what it ends is what Temporal would soon
// give to another worker.
func TestAHeartbeatWaitsAsLongAsTheActivityIsOurs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLeased(t)
		ended, err := l.beat("a", answersAfter(testLease-time.Millisecond))
		require.NoError(t, err)
		require.Equal(t, testLease-time.Millisecond, ended)
		ended, err = l.beat("a", never)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, testLease, ended, "what was answered late counts from when it was sent")
	})
}

func TestAnAnswerRenewsTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLeased(t)
		time.Sleep(2 * time.Second)
		_, err := l.beat("a", answersAfter(2*time.Second))
		require.NoError(t, err)
		ended, err := l.beat("a", never)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 2*time.Second+testLease, ended)
	})
}

// What the server refuses, or says of another activity, renews nothing.
func TestARefusalRenewsNoLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLeased(t)
		l.poll("b", testTimeout)
		time.Sleep(2 * time.Second)
		refused := errors.New("refused")
		_, err := l.beat("a", func(context.Context) error { return refused })
		require.ErrorIs(t, err, refused)
		_, err = l.beat("b", answers)
		require.NoError(t, err)
		ended, err := l.beat("a", never)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, testLease, ended)
	})
}

// An activity that was cancelled doesn't wait for the answer.
func TestACancelledHeartbeatEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLeased(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		time.AfterFunc(time.Millisecond, cancel)
		err := l.send(ctx, &workflowservice.RecordActivityTaskHeartbeatRequest{TaskToken: []byte("a")}, nil, never)
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, time.Millisecond, time.Since(l.began))
	})
}

// What has ended, was never ours or has no heartbeat timeout has the client's deadline.
func TestWithoutALeaseTheClientsDeadlineHolds(t *testing.T) {
	for name, end := range map[string]func(*leased) string{
		"completed": func(l *leased) string {
			require.NoError(l.t, l.send(l.t.Context(),
				&workflowservice.RespondActivityTaskCompletedRequest{TaskToken: []byte("a")}, nil, answers))
			return "a"
		},
		"failed, and the answer was lost": func(l *leased) string {
			lost := errors.New("lost")
			require.ErrorIs(l.t, l.send(l.t.Context(),
				&workflowservice.RespondActivityTaskFailedRequest{TaskToken: []byte("a")}, nil,
				func(context.Context) error { return lost }), lost)
			return "a"
		},
		"cancelled": func(l *leased) string {
			require.NoError(l.t, l.send(l.t.Context(),
				&workflowservice.RespondActivityTaskCanceledRequest{TaskToken: []byte("a")}, nil, answers))
			return "a"
		},
		"unknown": func(*leased) string { return "b" },
		"without a timeout": func(l *leased) string {
			l.poll("b", 0)
			return "b"
		},
		"a poll that fails": func(l *leased) string {
			failed := errors.New("failed")
			require.ErrorIs(l.t, l.send(l.t.Context(), &workflowservice.PollActivityTaskQueueRequest{},
				task("b", testTimeout), func(context.Context) error { return failed }), failed)
			return "b"
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLeased(t)
				ended, err := l.beat(end(l), never)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.Equal(t, heartbeatThrottle, ended)
			})
		})
	}
}

// A poll without a task leaves nothing, and what was never ended doesn't stay for ever.
func TestLeasesAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLeased(t)
		l.poll("", testTimeout)
		require.Len(t, l.held, 1)
		time.Sleep(testTimeout + forgotten)
		l.poll("b", testTimeout)
		require.Len(t, l.held, 1)
		require.Contains(t, l.held, "b")
	})
}

// Activities that come with the answer to a workflow task begin without a poll.
func TestEagerActivitiesHaveALease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLeased(t)
		require.NoError(t, l.send(t.Context(), &workflowservice.RespondWorkflowTaskCompletedRequest{},
			&workflowservice.RespondWorkflowTaskCompletedResponse{
				ActivityTasks: []*workflowservice.PollActivityTaskQueueResponse{task("b", testTimeout)},
			}, answers))
		ended, err := l.beat("b", never)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, testLease, ended)
	})
}
