// Package heartbeat lets the heartbeat of an activity wait for Temporal's answer as long as the
// activity is this worker's. The client alone waits for half of the interval at which it sends
// heartbeats, at least a second, and then gives the activity up. On a computer that has too much to do,
// that is too soon.
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
	// margin is how much earlier this worker gives an activity up than Temporal may give it to another
	// one: the time that its work takes to end.
	margin = 500 * time.Millisecond
	// firstShare is the part of the heartbeat timeout in which the first heartbeat must be answered.
	// Temporal counts from when it gave the activity away. The worker hears of that later, by less than
	// the rest.
	firstShare = 2.0 / 3
	// late is how long an answer may take. One that took longer is followed by the same heartbeat at
	// once: the client would send the next one so late that nobody would notice the end of the lease.
	late = time.Second
	// grace is how long a heartbeat is waited for once the work of its activity has ended.
	grace = time.Second
	// forgotten is how long an ended lease is kept if nobody reported the end of its activity.
	forgotten = time.Minute
)

// DialOption is for the client of a worker. It keeps a lease for each activity that Temporal gives to the
// worker. Temporal gives it to nobody else for the activity's heartbeat timeout, from when it received
// a heartbeat. So the lease lasts that long, less half a second, from when the last heartbeat that was
// answered was sent. Before the first answer it lasts two thirds of the timeout. A heartbeat with a
// context of [During] waits for its answer until then. Others, and those without a lease, are sent as
// without the option.
//
// The option replaces another [grpc.WithUnaryInterceptor].
func DialOption() grpc.DialOption {
	// It has to come before the client's own: one of these repeats a request until its deadline.
	return grpc.WithUnaryInterceptor((&leases{held: map[string]lease{}}).intercept)
}

type workKey struct{}

// During returns the context for the heartbeats of an activity whose work ends when work does. A
// heartbeat that has no answer then waits one more second, and the activity's result can leave.
func During(ctx, work context.Context) context.Context {
	return context.WithValue(ctx, workKey{}, work)
}

// Work is the context of the work that a heartbeat tells of; false if [During] did not make ctx.
func Work(ctx context.Context) (work context.Context, told bool) {
	work, told = ctx.Value(workKey{}).(context.Context)
	return work, told
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

// beat sends a heartbeat until it is answered soon. It ends with the lease or soon after the activity's
// work, but not with the deadline that the client has given it.
func (l *leases) beat(ctx context.Context, token string, reply any, send func(context.Context) error) error {
	held, known := l.of(token)
	// The client's own heartbeat when an attempt has failed comes without its work. It must not keep the
	// failure.
	work, told := Work(ctx)
	if !known || !told || errors.Is(ctx.Err(), context.Canceled) {
		return send(ctx)
	}
	waiting, drop := context.WithCancel(context.WithoutCancel(ctx))
	defer drop()
	defer context.AfterFunc(work, func() {
		select {
		case <-waiting.Done(): // it has its answer
		case <-time.After(grace):
			drop()
		}
	})()
	for {
		sent := time.Now()
		err := sendUntil(waiting, held.until, send)
		switch {
		case err != nil && waiting.Err() != nil:
			return nil // nobody needs the answer any more
		case err != nil:
			return err
		}
		held = l.renew(token, held, sent)
		if time.Since(sent) <= late || tells(reply) || work.Err() != nil {
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
