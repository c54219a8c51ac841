// Package skew corrects the clock by which requests are signed. A service refuses a signature whose
// time is off by minutes, and says its own time in the same answer. A worker whose clock is wrong
// then signs by the service's, as Amazon's own SDK does.
package skew

import (
	"net/http"
	"sync/atomic"
	"time"
)

// Clock is the time of a service as its answers tell it. The zero value is this computer's.
type Clock struct {
	ahead atomic.Int64 // of this computer's clock, in nanoseconds
}

const (
	// least is what a service may seem to be ahead by the way of its answer.
	least = 30 * time.Second
	// most is what is corrected. A clock that is off by more is for a person, and a false answer
	// can't have a signature made that is good in the far future.
	most = 24 * time.Hour
)

// Now is the service's time when this computer's clock says so.
func (c *Clock) Now(local time.Time) time.Time { return local.Add(c.Ahead()) }

// Ahead is by how much the service's clock is ahead of this computer's; 0 as long as it has refused
// nothing.
func (c *Clock) Ahead() time.Duration { return time.Duration(c.ahead.Load()) }

// Learn reads the time in the header of an answer that refuses a signature for its time: the
// signature of a request that took the service to be ahead by used. It tells whether another
// signature would have another time, and may be accepted.
func (c *Clock) Learn(answer http.Header, local time.Time, used time.Duration) bool {
	there, err := http.ParseTime(answer.Get("Date"))
	if err != nil {
		return false
	}
	ahead := there.Sub(local.Round(0)) // the clock may have been set: only its time counts
	if ahead.Abs() < least {
		ahead = 0
	}
	if ahead.Abs() > most || (ahead-used).Abs() < least {
		return false
	}
	c.ahead.Store(int64(ahead))
	return true
}
