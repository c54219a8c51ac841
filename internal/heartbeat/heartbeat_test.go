package heartbeat

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
	timeout = 6 * time.Second
	first   = 4 * time.Second  // until the first heartbeat is answered
	lasting = timeout - margin // from then on
	clients = time.Second      // the deadline that the client gives a heartbeat
	moment  = time.Millisecond
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
	l.poll("a", timeout)
	return l
}

// server answers the nth request, from 1.
type server func(ctx context.Context, n int) error

func (l *leased) send(ctx context.Context, request, reply any, serve server) error {
	n := 0
	return l.intercept(ctx, "", request, reply, nil,
		func(ctx context.Context, _ string, _, _ any, _ *grpc.ClientConn, _ ...grpc.CallOption) error {
			n++
			return serve(ctx, n)
		})
}

// answersAfter is a server that answers the nth request after the nth pause, and each further one at once.
func answersAfter(pauses ...time.Duration) server {
	return func(ctx context.Context, n int) error {
		pause := time.Duration(0)
		if n <= len(pauses) {
			pause = pauses[n-1]
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
			return nil
		}
	}
}

func answers(context.Context, int) error { return nil }

func never(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() }

func fails(err error) server { return func(context.Context, int) error { return err } }

func task(token string, timeout time.Duration) *workflowservice.PollActivityTaskQueueResponse {
	return &workflowservice.PollActivityTaskQueueResponse{
		TaskToken: []byte(token), HeartbeatTimeout: durationpb.New(timeout),
	}
}

func (l *leased) poll(token string, timeout time.Duration) {
	require.NoError(l.t, l.send(l.t.Context(), &workflowservice.PollActivityTaskQueueRequest{}, task(token, timeout),
		answers))
}

func heartbeat(token string) *workflowservice.RecordActivityTaskHeartbeatRequest {
	return &workflowservice.RecordActivityTaskHeartbeatRequest{TaskToken: []byte(token)}
}

// beatIn sends a heartbeat with the client's own deadline. It returns when it ended, counted from when
// the activity was taken.
func (l *leased) beatIn(ctx context.Context, token string, serve server) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, clients)
	defer cancel()
	err := l.send(ctx, heartbeat(token), &workflowservice.RecordActivityTaskHeartbeatResponse{}, serve)
	return time.Since(l.began), err
}

// during is the context of an activity that is at work.
func (l *leased) during() context.Context { return During(l.t.Context(), l.t.Context()) }

func (l *leased) beat(token string, serve server) (time.Duration, error) {
	return l.beatIn(l.during(), token, serve)
}

// endsAt asserts that a heartbeat which gets no answer ends then, and the activity with it.
func (l *leased) endsAt(want time.Duration) {
	l.t.Helper()
	ended, err := l.beat("a", never)
	require.ErrorIs(l.t, err, context.DeadlineExceeded)
	require.Equal(l.t, want, ended)
}

// The activity may have been on its way for a while: the first heartbeat has less time.
func TestTheFirstHeartbeatWaitsForTwoThirdsOfTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLeased(t)
		ended, err := l.beat("a", answersAfter(first-moment))
		require.NoError(t, err)
		require.Equal(t, first-moment, ended)
	})
	synctest.Test(t, func(t *testing.T) { newLeased(t).endsAt(first) })
}

// The lease counts from when the answered heartbeat was sent, not from its answer.
func TestAnAnswerRenewsTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLeased(t)
		time.Sleep(2 * time.Second)
		_, err := l.beat("a", answersAfter(late))
		require.NoError(t, err)
		l.endsAt(2*time.Second + lasting)
	})
}

// After a late answer the client would send the next heartbeat too late. So another one goes at once, as
// long as its answer is late as well, and the end of the lease is never missed.
func TestALateAnswerIsFollowedByAnotherHeartbeatAtOnce(t *testing.T) {
	const slow = 2500 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		l := newLeased(t)
		ended, err := l.beat("a", answersAfter(slow, slow, slow, slow, moment))
		require.NoError(t, err, "the lease is renewed by each")
		require.Equal(t, 4*slow+moment, ended)
		l.endsAt(4*slow + lasting)
	})
	synctest.Test(t, func(t *testing.T) {
		l := newLeased(t)
		_, err := l.beat("a", answers)
		require.NoError(t, err)
		const slower = 3 * time.Second // sent at 0 and 3 s, answered at 3 and 6 s
		ended, err := l.beat("a", answersAfter(slower, slower))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, lasting, ended)
	})
}

// What Temporal wants of the activity is told at once, however late it comes.
func TestALateAnswerThatTellsSomethingIsTold(t *testing.T) {
	for name, reply := range map[string]*workflowservice.RecordActivityTaskHeartbeatResponse{
		"cancel": {CancelRequested: true}, "pause": {ActivityPaused: true}, "reset": {ActivityReset: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLeased(t)
				require.NoError(t, l.send(l.during(), heartbeat("a"), reply, answersAfter(2*time.Second, time.Second)))
				require.Equal(t, 2*time.Second, time.Since(l.began))
			})
		})
	}
}

// What the server refuses, or says of another activity, renews nothing.
func TestARefusalRenewsNoLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLeased(t)
		l.poll("b", timeout)
		time.Sleep(2 * time.Second)
		refused := errors.New("refused")
		_, err := l.beat("a", fails(refused))
		require.ErrorIs(t, err, refused)
		_, err = l.beat("b", answers)
		require.NoError(t, err)
		l.endsAt(first)
	})
}

// An activity whose work has ended waits a second for the answer, so that its result isn't kept. Without
// an answer nothing is renewed, and nothing has failed.
func TestAHeartbeatIsDroppedSoonAfterTheWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLeased(t)
		work, ends := context.WithCancel(t.Context())
		time.AfterFunc(2*time.Second, ends) // after the client's own deadline
		ended, err := l.beatIn(During(t.Context(), work), "a", never)
		require.NoError(t, err)
		require.Equal(t, 2*time.Second+grace, ended)
		l.endsAt(first)
	})
	synctest.Test(t, func(t *testing.T) {
		l := newLeased(t)
		work, ends := context.WithCancel(t.Context())
		time.AfterFunc(2*time.Second, ends)
		ended, err := l.beatIn(During(t.Context(), work), "a", answersAfter(2*time.Second+grace-moment))
		require.NoError(t, err)
		require.Equal(t, 2*time.Second+grace-moment, ended, "none follows a late answer")
		l.endsAt(lasting)
	})
}

// The SDK sends one more heartbeat of what was cancelled or has failed. It keeps nothing.
func TestAHeartbeatAfterTheEndEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLeased(t)
		ctx, cancel := context.WithCancel(l.during())
		cancel()
		sent := 0
		require.ErrorIs(t, l.send(ctx, heartbeat("a"), nil, func(ctx context.Context, _ int) error {
			sent++
			return never(ctx, 0)
		}), context.Canceled)
		require.Equal(t, 1, sent)
		require.Zero(t, time.Since(l.began))
		ended, err := l.beatIn(t.Context(), "a", never) // without During
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, clients, ended)
	})
}

// What has ended, was never ours or has no heartbeat timeout has the client's deadline.
func TestWithoutALeaseTheClientsDeadlineHolds(t *testing.T) {
	lost := errors.New("lost")
	for name, end := range map[string]func(*leased) string{
		"completed": func(l *leased) string {
			require.NoError(l.t, l.send(l.t.Context(),
				&workflowservice.RespondActivityTaskCompletedRequest{TaskToken: []byte("a")}, nil, answers))
			return "a"
		},
		"failed, and the answer was lost": func(l *leased) string {
			require.ErrorIs(l.t, l.send(l.t.Context(),
				&workflowservice.RespondActivityTaskFailedRequest{TaskToken: []byte("a")}, nil, fails(lost)), lost)
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
		"with one that leaves no time": func(l *leased) string {
			l.poll("b", margin)
			return "b"
		},
		"a poll that fails": func(l *leased) string {
			require.ErrorIs(l.t, l.send(l.t.Context(), &workflowservice.PollActivityTaskQueueRequest{},
				task("b", timeout), fails(lost)), lost)
			return "b"
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLeased(t)
				ended, err := l.beat(end(l), never)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.Equal(t, clients, ended)
			})
		})
	}
}

// A poll without a task leaves nothing, and what was never ended doesn't stay for ever.
func TestLeasesAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLeased(t)
		l.poll("", timeout)
		require.Len(t, l.held, 1)
		time.Sleep(first + forgotten)
		l.poll("b", timeout)
		require.Len(t, l.held, 2)
		time.Sleep(moment)
		l.poll("b", timeout)
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
				ActivityTasks: []*workflowservice.PollActivityTaskQueueResponse{task("b", timeout)},
			}, answers))
		ended, err := l.beat("b", never)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, first, ended)
	})
}
