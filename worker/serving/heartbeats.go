package serving

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/grpc"
)

// leaseMargin is how long before Temporal may give an activity to another worker this one gives it up:
// what an attempt's task took on its way here, and what the work takes to end.
const leaseMargin = 500 * time.Millisecond

// forgotten is how long a lease has been over that nobody can mean any more.
const forgotten = time.Minute

// Heartbeats lets a heartbeat wait for its answer as long as the activity is this worker's: for the
// activity's heartbeat timeout since the last one that was answered was sent, less half a second.
// The client alone gives the activity up when an answer takes longer than the throttle interval,
// which happens on a computer that has too much to do. Give the option to the client of a worker. It
// replaces another [grpc.WithUnaryInterceptor].
func Heartbeats() grpc.DialOption {
	// It has to come before the client's own: one of these repeats a request until its deadline.
	return grpc.WithUnaryInterceptor((&leases{held: map[string]lease{}}).intercept)
}

// leases are the activities that this process may work on, by task token.
type leases struct {
	mu   sync.Mutex
	held map[string]lease
}

// lease is an activity that is this worker's as long as Temporal hears of it in time.
type lease struct {
	heard   time.Time     // not later than when Temporal heard of it last
	timeout time.Duration // the activity's heartbeat timeout
}

func (l lease) ends() time.Time { return l.heard.Add(l.timeout - leaseMargin) }

// intercept is a [grpc.UnaryClientInterceptor].
func (l *leases) intercept(ctx context.Context, method string, request, reply any, connection *grpc.ClientConn,
	invoke grpc.UnaryInvoker, options ...grpc.CallOption,
) error {
	next := func(ctx context.Context) error {
		return invoke(ctx, method, request, reply, connection, options...)
	}
	switch r := request.(type) {
	case *workflowservice.RecordActivityTaskHeartbeatRequest:
		return l.beat(ctx, string(r.GetTaskToken()), next)
	case *workflowservice.RespondActivityTaskCompletedRequest:
		defer l.end(r.GetTaskToken())
	case *workflowservice.RespondActivityTaskFailedRequest:
		defer l.end(r.GetTaskToken())
	case *workflowservice.RespondActivityTaskCanceledRequest:
		defer l.end(r.GetTaskToken())
	}
	err := next(ctx)
	if err != nil {
		return err
	}
	switch r := reply.(type) {
	case *workflowservice.PollActivityTaskQueueResponse:
		l.begin(r)
	case *workflowservice.RespondWorkflowTaskCompletedResponse: // with eager starts
		for _, task := range r.GetActivityTasks() {
			l.begin(task)
		}
	}
	return nil
}

// begin notes an attempt that was given to this worker.
func (l *leases) begin(task *workflowservice.PollActivityTaskQueueResponse) {
	timeout := task.GetHeartbeatTimeout().AsDuration()
	if len(task.GetTaskToken()) == 0 || timeout <= leaseMargin {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	// Of what ran into another limit of its time, Temporal hears no end.
	maps.DeleteFunc(l.held, func(_ string, old lease) bool { return now.Sub(old.ends()) > forgotten })
	l.held[string(task.GetTaskToken())] = lease{heard: now, timeout: timeout}
}

func (l *leases) end(token []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.held, string(token))
}

func (l *leases) of(token string) (held lease, known bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	held, known = l.held[token]
	return held, known
}

func (l *leases) renew(token string, sent time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if held, known := l.held[token]; known {
		l.held[token] = lease{heard: sent, timeout: held.timeout}
	}
}

// beat sends a heartbeat. Its context ends with the lease, or when it is cancelled, but not with the
// deadline that the client has given it.
func (l *leases) beat(ctx context.Context, token string, send func(context.Context) error) error {
	held, known := l.of(token)
	if !known {
		return send(ctx)
	}
	sent := time.Now()
	lasting, cancel := context.WithDeadline(context.WithoutCancel(ctx), held.ends())
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.Canceled) {
			cancel()
		}
	})()
	if err := send(lasting); err != nil {
		return err
	}
	l.renew(token, sent)
	return nil
}
