package lab

import (
	"net/http"
	"strings"
	"sync"
	"time"
)

// Faults are what a test can do to the requests that pass a front end: fail them, lose their
// answers, hold them, watch them. They apply after authentication and the front end's own rules.
// The zero value does nothing.
type Faults struct {
	mu        sync.Mutex
	rules     []*Fault
	observers map[int]func(Exchange)
	next      int
}

// Match chooses requests; nil chooses all. It may look at everything but the body.
type Match func(*http.Request) bool

// Requests matches a method ("" for any) and a part of the path.
func Requests(method, pathPart string) Match {
	return func(r *http.Request) bool {
		return (method == "" || r.Method == method) && strings.Contains(r.URL.Path, pathPart)
	}
}

// Exchange is one request and what the client was told. Refused and failed requests are among them.
type Exchange struct {
	Method, Path, RawQuery string
	Body                   []byte // of the request; don't change it
	Status                 int    // 0: the connection was broken instead of an answer
	Took                   time.Duration
}

// Fault is a rule for the next requests that match.
type Fault struct {
	match   Match
	left    int
	forward bool // the server gets the request, the client never learns its answer
	status  int  // 0 breaks the connection
	body    string
	held    chan struct{} // closed when a held request may go on
	arrived chan struct{} // closed when a request is being held

	mu   sync.Mutex
	hits int
}

// Hits is how many requests the rule has applied to.
func (f *Fault) Hits() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hits
}

// Arrived is closed when a request is being held.
func (f *Fault) Arrived() <-chan struct{} { return f.arrived }

// Release lets a held request go on to the server. Releasing twice is fine.
func (f *Fault) Release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-f.held:
	default:
		close(f.held)
	}
}

// FailNext answers the next n matching requests with a status and a body, or breaks their
// connections if the status is 0. The server never sees them.
func (f *Faults) FailNext(n int, match Match, status int, body string) *Fault {
	return f.add(&Fault{match: match, left: n, status: status, body: body})
}

// LoseNext forwards the next n matching requests and throws the answers away: the client gets the
// status, for instance 504, or a broken connection if it is 0. What the request did is then unknown
// to it.
func (f *Faults) LoseNext(n int, match Match, status int) *Fault {
	return f.add(&Fault{match: match, left: n, status: status, forward: true})
}

// HoldNext holds the next matching request before the server sees it, until Release or Clear. Then
// the server gets it, even if its client has gone: a request of a worker that was killed may arrive
// late.
func (f *Faults) HoldNext(match Match) *Fault {
	return f.add(&Fault{match: match, left: 1, forward: true, held: make(chan struct{}), arrived: make(chan struct{})})
}

func (f *Faults) add(rule *Fault) *Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = append(f.rules, rule)
	return rule
}

// Observe calls fn after each exchange, from the exchange's goroutine, until stop is called.
func (f *Faults) Observe(fn func(Exchange)) (stop func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.observers == nil {
		f.observers = map[int]func(Exchange){}
	}
	id := f.next
	f.next++
	f.observers[id] = fn
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.observers, id)
	}
}

// Clear drops all rules and releases what is held. Observers stay.
func (f *Faults) Clear() {
	f.mu.Lock()
	rules := f.rules
	f.rules = nil
	f.mu.Unlock()
	for _, rule := range rules {
		if rule.held != nil {
			rule.Release()
		}
	}
}

// take is the first rule that applies to the request, used up by one, or nil.
func (f *Faults) take(r *http.Request) *Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, rule := range f.rules {
		if rule.left > 0 && (rule.match == nil || rule.match(r)) {
			rule.left--
			rule.mu.Lock()
			rule.hits++
			rule.mu.Unlock()
			return rule
		}
	}
	return nil
}

func (f *Faults) observe(e Exchange) {
	f.mu.Lock()
	var observers []func(Exchange)
	for _, fn := range f.observers {
		observers = append(observers, fn)
	}
	f.mu.Unlock()
	for _, fn := range observers {
		fn(e)
	}
}

// serve answers a request under the rule.
func (f *Fault) serve(w http.ResponseWriter, r *http.Request, server http.Handler) {
	if f.held != nil {
		close(f.arrived)
		select {
		case <-f.held:
			server.ServeHTTP(w, r)
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
		return
	}
	if f.forward {
		server.ServeHTTP(&discard{header: http.Header{}}, r)
	}
	if f.status == 0 {
		panic(http.ErrAbortHandler) // net/http then closes the connection without an answer
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(f.status)
	_, _ = w.Write([]byte(f.body))
}

// discard is a ResponseWriter for an answer that nobody gets.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(int)             {}
