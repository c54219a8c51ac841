// Package heartbeat lets the heartbeat of an activity wait for Temporal's answer as long as the
// activity is this worker's. The client alone waits for half of the interval at which it sends
// heartbeats, and then gives the activity up. On a computer that has too much to do, that is too soon.
package heartbeat

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/grpc"
)

const (
	// margin is how long before Temporal may give an activity to another worker this one gives it up:
	// the time that its work takes to end.
	margin = 500 * time.Millisecond
	// firstShare is the part of the heartbeat timeout in which the first heartbeat must be answered.
	// Temporal counts from when it gave the activity away. The worker hears of that later.
	firstShare = 2.0 / 3
	// late is from when on an answer is followed by another heartbeat at once: the next one of its own
	// would come too late to be answered in time.
	late = time.Second
	// grace is how long a heartbeat is waited for once the work of its activity has ended.
	grace = time.Second
	// forgotten is how long after its end a lease is dropped of which nobody has told the end.
	forgotten = time.Minute
)

// DialOption is for the client of a worker. It keeps a lease for each activity that Temporal gives to the
// worker. Temporal gives it to nobody else for the activity's heartbeat timeout, from when it received
// a heartbeat. So the lease lasts that long, less half a second, from when the last heartbeat that was
// answered was sent. A heartbeat waits for its answer until then. What has no lease is as without the
// option.
//
// The option replaces another [grpc.WithUnaryInterceptor].
func DialOption() grpc.DialOption {
	// It has to come before the client's own: one of these repeats a request until its deadline.
	return grpc.WithUnaryInterceptor((&leases{held: map[string]lease{}}).intercept)
}

type workKey struct{}

// During returns the context for the heartbeats of an activity whose work ends with the second one. A
// heartbeat that has no answer a second after that is dropped, and the activity's result can leave.
func During(ctx, work context.Context) context.Context {
	return context.WithValue(ctx, workKey{}, work)
}

// leases are the activities that this process may work on, by task token.
type leases struct {
	mu   sync.Mutex
	held map[string]lease
}

// lease is an activity that is this worker's until then, if Temporal hears of it no more.
type lease struct {
	until   time.Time
	timeout time.Duration // the activity's heartbeat timeout
}

// intercept is a [grpc.UnaryClientInterceptor].
func (l *leases) intercept(ctx context.Context, method string, request, reply any, connection *grpc.ClientConn,
	invoke grpc.UnaryInvoker, options ...grpc.CallOption,
) error {
	send := func(ctx context.Context) error {
		return invoke(ctx, method, request, reply, connection, options...)
	}
	switch r := request.(type) {
	case *workflowservice.RecordActivityTaskHeartbeatRequest:
		return l.beat(ctx, string(r.GetTaskToken()), reply, send)
	case *workflowservice.RespondActivityTaskCompletedRequest:
		defer l.end(r.GetTaskToken())
	case *workflowservice.RespondActivityTaskFailedRequest:
		defer l.end(r.GetTaskToken())
	case *workflowservice.RespondActivityTaskCanceledRequest:
		defer l.end(r.GetTaskToken())
	}
	if err := send(ctx); err != nil {
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
	if len(task.GetTaskToken()) == 0 || timeout <= margin {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(l.held, func(_ string, old lease) bool { return now.Sub(old.until) > forgotten })
	first := time.Duration(firstShare * float64(timeout))
	l.held[string(task.GetTaskToken())] = lease{until: now.Add(first), timeout: timeout}
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

// renew notes that a heartbeat was answered.
func (l *leases) renew(token string, held lease, sent time.Time) lease {
	held.until = sent.Add(held.timeout - margin)
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.held[token]; known {
		l.held[token] = held
	}
	return held
}

// beat sends a heartbeat, and others until one is answered soon. It ends with the lease or with the
// activity's work, but not with the deadline that the client has given it.
func (l *leases) beat(ctx context.Context, token string, reply any, send func(context.Context) error) error {
	held, known := l.of(token)
	if !known || errors.Is(ctx.Err(), context.Canceled) {
		return send(ctx)
	}
	waiting, drop := context.WithCancel(context.WithoutCancel(ctx))
	defer drop()
	work, told := ctx.Value(workKey{}).(context.Context)
	if told {
		defer context.AfterFunc(work, func() {
			select {
			case <-waiting.Done(): // it has its answer
			case <-time.After(grace):
				drop()
			}
		})()
	} else {
		defer context.AfterFunc(ctx, func() {
			if errors.Is(ctx.Err(), context.Canceled) {
				drop()
			}
		})()
	}
	for {
		sent := time.Now()
		err := sendUntil(waiting, held.until, send)
		switch {
		case err != nil && told && waiting.Err() != nil:
			return nil // nobody needs the answer any more
		case err != nil:
			return err
		}
		held = l.renew(token, held, sent)
		if time.Since(sent) <= late || tells(reply) || waiting.Err() != nil {
			return nil
		}
	}
}

func sendUntil(ctx context.Context, until time.Time, send func(context.Context) error) error {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	return send(ctx)
}

// tells is true for an answer that the client must hear.
func tells(reply any) bool {
	r, ok := reply.(*workflowservice.RecordActivityTaskHeartbeatResponse)
	return ok && (r.GetCancelRequested() || r.GetActivityPaused() || r.GetActivityReset())
}
