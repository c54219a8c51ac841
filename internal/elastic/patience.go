package elastic

import (
	"context"
	"errors"
	"time"
)

// A change of the cluster's state waits twice: in the queue of the elected master, and then until
// all nodes have applied it. Elasticsearch gives each of the two 30 seconds. With hundreds of
// indices one change alone may take that long. A change that its master_timeout takes from the
// queue is never made, so each repeat would wait as long for nothing.

// patience is how long a cluster may take for a change. It leaves the answer time to arrive before
// the call's own deadline: a call that ends without an answer tells less.
type patience struct {
	master time.Duration // until the master begins with the change: master_timeout
	nodes  time.Duration // then until all nodes have it: timeout
}

// changeFactor is by how much a call that changes the cluster's state may take longer than others.
const changeFactor = 2

// shortestPatience is sent even if the deadline is nearer.
const shortestPatience = time.Second

// limit is how long a call may take.
func (c *Client) limit(what call) time.Duration {
	switch {
	case what.slow:
		return slowFactor * c.timeout
	case what.changes:
		return changeFactor * c.timeout
	}
	return c.timeout
}

// patience divides the time of a call. Whoever calls may have less time.
func (c *Client) patience(ctx context.Context, what call) patience {
	left := c.limit(what)
	if deadline, ok := ctx.Deadline(); ok {
		left = min(left, time.Until(deadline))
	}
	return patience{
		master: max(shortestPatience, left*2/3).Truncate(time.Millisecond),
		nodes:  max(shortestPatience, left/4).Truncate(time.Millisecond),
	}
}

// errUnacknowledged is behind the error of a change that was made, and that a node didn't confirm
// in time.
var errUnacknowledged = errors.New("not every node acknowledged the change in time")

// Unacknowledged reports whether a change was made, but a node didn't confirm it in time. It is
// enough to look at what was changed: a repeat changes nothing and is confirmed at once.
func Unacknowledged(err error) bool { return errors.Is(err, errUnacknowledged) }

func (c *Client) unacknowledged(what call) error {
	return c.describe(what, &Error{Kind: Unavailable, Reason: errUnacknowledged.Error(), err: errUnacknowledged})
}
