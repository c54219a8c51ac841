// Package serving says how a worker serves the two task queues: how much it does at once, how it
// polls, how often it tells of its progress and how long it takes to stop. The worker command and
// the benchmark both take it from here, so that what is measured is what runs.
package serving

import (
	"time"

	"go.temporal.io/sdk/worker"

	"github.com/snapferry/snapferry/migration"
)

// The defaults of the worker command.
const (
	Activities  = 50
	Copies      = 4
	StopTimeout = 30 * time.Second
)

// taskPollers is how many requests for activities wait at the Temporal server per queue. It splits
// a queue into four partitions, and a task in one that nobody asks waits until it is passed on, 1.6
// s beside free slots on server 1.29: writers may be standing still that long. The client asks the
// partitions in turn.
const taskPollers = 8

// waiting is how many activities of migrations and guards may wait for each other. Each takes next
// to nothing, a window has three, and one without a place would keep a block.
const waiting = 2000

// heartbeatThrottle is how long after an answer the next heartbeat goes to Temporal. An activity learns
// of an abort by its heartbeats only, and what one says is what people look at. The sooner the next
// one goes, the more of migration.HeartbeatTimeout is left for its answer: see package heartbeat.
//
// waitingThrottle is that of what may wait for weeks. Each heartbeat costs a write in Temporal's
// database, and money where Temporal is a service.
const (
	heartbeatThrottle = time.Second
	waitingThrottle   = 2 * time.Second
)

// Limits are what a person may choose.
type Limits struct {
	Activities  int // other than copies, that run at once
	Copies      int // that run at once
	StopTimeout time.Duration
}

// Defaults are the limits of a worker command without flags.
func Defaults() Limits {
	return Limits{Activities: Activities, Copies: Copies, StopTimeout: StopTimeout}
}

// Options are those of a worker on one of the queues. The queue of copies has no workflows.
func Options(queue string, l Limits) worker.Options {
	o := worker.Options{
		MaxConcurrentActivityExecutionSize: l.Activities,
		MaxConcurrentActivityTaskPollers:   taskPollers,
		WorkerStopTimeout:                  l.StopTimeout,
		MaxHeartbeatThrottleInterval:       heartbeatThrottle,
		DefaultHeartbeatThrottleInterval:   heartbeatThrottle,
	}
	switch queue {
	case migration.CopyTaskQueue:
		o.MaxConcurrentActivityExecutionSize = l.Copies
		o.DisableWorkflowWorker = true
	case migration.GuardTaskQueue:
		o.MaxConcurrentActivityExecutionSize = waiting
		o.MaxHeartbeatThrottleInterval, o.DefaultHeartbeatThrottleInterval = waitingThrottle, waitingThrottle
		o.DisableWorkflowWorker = true
	}
	return o
}
