package main

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/snapferry/snapferry/internal/osstest"
	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/lab/byhand"
)

// request is one that a cluster has sent to S3 or OSS.
type request struct {
	byhand.Timed
	writes bool
}

// journal keeps the requests of one cluster.
type journal struct {
	mu       sync.Mutex
	requests []request
}

// of is the observer of a server that keeps the requests with an access key.
func (j *journal) of(accessKey string) func(osstest.Event) {
	return func(e osstest.Event) {
		if e.AccessKey == accessKey {
			j.add(e, time.Now())
		}
	}
}

func (j *journal) add(e osstest.Event, ended time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.requests = append(j.requests, request{byhand.Timed{Began: ended.Add(-e.Took), Ended: ended}, e.Writes})
}

func (j *journal) clear() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.requests = nil
}

func (j *journal) all() []request {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.requests)
}

// asked is when a way has asked the clusters for the snapshot and for the restore. What they read
// before that is a way's own: a look whether the snapshot is there.
type asked struct{ snapshot, restore time.Time }

// calls keeps what was accepted by the clusters' front ends.
type calls struct {
	mu    sync.Mutex
	began map[string]time.Time // by method and path, of the first one
}

// watch keeps the calls to both clusters until stop is called.
func (c *calls) watch(l *lab.Lab) (stop func()) {
	add := func(e lab.Exchange) { c.add(e, time.Now()) }
	source, target := l.Source.Front.Observe(add), l.Target.Front.Observe(add)
	return func() { source(); target() }
}

func (c *calls) add(e lab.Exchange, ended time.Time) {
	if e.Status < 200 || e.Status > 299 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.began == nil {
		c.began = map[string]time.Time{}
	}
	call, began := e.Method+" "+e.Path, ended.Add(-e.Took)
	if before, known := c.began[call]; !known || began.Before(before) {
		c.began[call] = began
	}
}

// asked finds the calls that began the snapshot and its restore.
func (c *calls) asked(repository, snapshot string) (asked, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	path := "/_snapshot/" + repository + "/" + snapshot
	first := func(call string) (time.Time, error) {
		began, known := c.began[call]
		if !known {
			return began, fmt.Errorf("no front end has seen %s succeed", call)
		}
		return began, nil
	}
	var a asked
	var err error
	if a.snapshot, err = first(http.MethodPut + " " + path); err != nil {
		return asked{}, err
	}
	a.restore, err = first(http.MethodPost + " " + path + "/_restore")
	return a, err
}

// ownByRequests is when Elasticsearch was at work by what it asked of S3 and OSS. It begins with the
// first request. A snapshot ends with the last write: a cluster that is asked whether its snapshot
// has ended reads the repository, too. What is still written when the restore is asked for counts
// until then. Nothing begins later or ends earlier than by the clusters' own account.
func ownByRequests(when asked, source, target []request, told own) (own, error) {
	found := told
	wrote := false
	began := func(r request, from, until time.Time) bool { return !r.Began.Before(from) && r.Began.Before(until) }
	for _, r := range source {
		if !began(r, when.snapshot, when.restore) {
			continue
		}
		found.snapshot.Began = earlier(found.snapshot.Began, r.Began)
		if r.writes {
			wrote = true
			found.snapshot.Ended = later(found.snapshot.Ended, earlier(r.Ended, when.restore))
		}
	}
	if !wrote {
		return own{}, fmt.Errorf("the source wrote nothing to S3 between %s and %s, when the snapshot was taken",
			clock(when.snapshot), clock(when.restore))
	}
	read := false
	for _, r := range target {
		if !began(r, when.restore, told.restore.Ended) {
			continue
		}
		read = true
		found.restore.Began = earlier(found.restore.Began, r.Began)
	}
	if !read {
		return own{}, fmt.Errorf("the target read nothing from OSS between %s and %s, when the snapshot was restored",
			clock(when.restore), clock(told.restore.Ended))
	}
	return found, nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// clock is a time of day to the millisecond, as the logs of the clusters have it.
func clock(t time.Time) string { return t.Format("15:04:05.000") }
