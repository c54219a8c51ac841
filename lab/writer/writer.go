// Package writer plays the application that goes on using the source while it is migrated. It
// indexes, overwrites, updates and deletes documents, one by one and in bulk, some with a routing
// of their own, and remembers each write that the cluster acknowledged. After the migration
// [Writer.Verify] reads the target and says which of those writes are lost.
//
// What counts is the writer's own record, never the source's state:
//
//   - acknowledged: the cluster said that the write took place, and with which version; it must be
//     found in the target unless a later acknowledged write to the same document replaced it;
//   - refused: the cluster said that it did not take place (a write block, a full queue); the
//     target must not have it;
//   - unanswered: a timeout, a broken connection, 502, 503 or 504; it may have taken place or may
//     still do so, so it counts neither way, and its document is never written again. The target
//     must hold the last acknowledged state or the unanswered one.
//
// Each goroutine owns its documents, so the writes to one document have an order. What a goroutine
// writes depends on the seed and on the answers only.
package writer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/snapferry/snapferry/lab/cluster"
)

// Options say where and how to write. Source and Index are required.
type Options struct {
	Source  *cluster.Client
	Index   string
	Type    string        // default product
	Seed    uint64        // the same seed and the same answers give the same writes; print it
	Rate    float64       // writes a second at most; default 100
	Workers int           // goroutines; default 4
	Timeout time.Duration // for one request; default 10 s
	Journal io.Writer     // gets each outcome as a line of JSON; default none
	Prefix  string        // of the document ids; default "w"
}

// Writer writes until it is stopped. Its methods may be called from any goroutine.
type Writer struct {
	o       Options
	limiter *rate.Limiter
	cancel  context.CancelFunc
	workers sync.WaitGroup
	gate    gate
	to      atomic.Pointer[cluster.Client]
	refused chan struct{} // closed at the first refusal

	mu     sync.Mutex
	record map[string]*document
	stats  Stats
	err    error // of the journal
}

// Stats count outcomes so far.
type Stats struct {
	Acknowledged      int64
	Refused           int64 // by a write block: HTTP 403, cluster_block_exception
	Rejected          int64 // by anything else that says that nothing was written: 4xx, a full queue
	Unanswered        int64
	FirstAcknowledged time.Time
	LastAcknowledged  time.Time
	FirstRefused      time.Time // zero if none was
	LastRefused       time.Time
	LastRejection     string // what the last rejection said
}

// document is what the writer knows of one document.
type document struct {
	id, routing string
	exists      bool
	version     int64
	counter     int64    // of the last acknowledged content
	unanswered  *attempt // a write whose outcome is unknown: nothing is written after it
}

// attempt is one write on its way.
type attempt struct {
	doc     *document
	kind    kind
	counter int64 // of the content that it writes; 0 for a deletion
}

type kind string

const (
	index  kind = "index" // creates, overwrites or brings back
	update kind = "update"
	remove kind = "delete"
)

// Start begins to write. Stop ends it.
func Start(o Options) (*Writer, error) {
	if o.Source == nil || o.Index == "" {
		return nil, errors.New("a writer needs a source and an index")
	}
	if o.Type == "" {
		o.Type = "product"
	}
	if o.Rate == 0 {
		o.Rate = 100
	}
	if o.Workers == 0 {
		o.Workers = 4
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	if o.Prefix == "" {
		o.Prefix = "w"
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &Writer{
		o: o, cancel: cancel, record: map[string]*document{}, refused: make(chan struct{}),
		limiter: rate.NewLimiter(rate.Limit(o.Rate), maxBulk), // a bulk takes its writes' worth at once
	}
	w.to.Store(o.Source)
	for n := range o.Workers {
		k := &worker{w: w, n: n, rand: rand.New(rand.NewPCG(o.Seed, uint64(n)))}
		w.workers.Go(func() { k.run(ctx) })
	}
	return w, nil
}

// Stop ends the writing. It returns when the requests under way have their answers, so that none of
// them is unanswered for our haste.
func (w *Writer) Stop() error {
	w.cancel()
	w.workers.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Pause returns when no request is under way; no other starts before Resume.
func (w *Writer) Pause() { w.gate.close() }

// Resume goes on after Pause.
func (w *Writer) Resume() { w.gate.open() }

// MoveTo has the writer write to another cluster from its next request on. Pause it first, so that
// no request is under way to the one before.
func (w *Writer) MoveTo(c *cluster.Client) { w.to.Store(c) }

// Refused is closed when a write block has refused a write for the first time.
func (w *Writer) Refused() <-chan struct{} { return w.refused }

// Stats are the counts so far.
func (w *Writer) Stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stats
}

// settle records what came of a write.
func (w *Writer) settle(a *attempt, o outcome) {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	switch o.result {
	case acknowledged:
		if w.stats.Acknowledged == 0 {
			w.stats.FirstAcknowledged = now
		}
		w.stats.Acknowledged++
		w.stats.LastAcknowledged = now
		w.record[a.doc.id] = a.doc
		a.doc.exists, a.doc.version, a.doc.counter = a.kind != remove, o.version, a.counter
	case refused:
		if w.stats.Refused == 0 {
			w.stats.FirstRefused = now
			close(w.refused)
		}
		w.stats.Refused++
		w.stats.LastRefused = now
	case rejected:
		w.stats.Rejected++
		w.stats.LastRejection = o.reason
	case unanswered:
		w.stats.Unanswered++
		a.doc.unanswered = a
	}
	if w.o.Journal != nil {
		_, err := fmt.Fprintf(w.o.Journal,
			`{"time":%q,"id":%q,"routing":%q,"write":%q,"counter":%d,"outcome":%q,"version":%d}`+"\n",
			now.UTC().Format(time.RFC3339Nano), a.doc.id, a.doc.routing, a.kind, a.counter, o.result, o.version)
		if err != nil && w.err == nil {
			w.err = fmt.Errorf("the writer's journal lacks outcomes: %w", err)
		}
	}
}

// gate lets requests through while it is open. The zero value is open.
type gate struct {
	mu      sync.Mutex
	inside  int
	shut    chan struct{} // closed at open; nil while open
	emptied chan struct{} // closed when the last one leaves; nil if nobody waits for it
}

// enter waits until the gate is open. It reports false if ctx ended first.
func (g *gate) enter(ctx context.Context) bool {
	for {
		if ctx.Err() != nil {
			return false
		}
		g.mu.Lock()
		shut := g.shut
		if shut == nil {
			g.inside++
			g.mu.Unlock()
			return true
		}
		g.mu.Unlock()
		select {
		case <-shut:
		case <-ctx.Done():
			return false
		}
	}
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	if g.inside == 0 && g.emptied != nil {
		close(g.emptied)
		g.emptied = nil
	}
}

func (g *gate) close() {
	g.mu.Lock()
	if g.shut == nil {
		g.shut = make(chan struct{})
	}
	if g.inside == 0 {
		g.mu.Unlock()
		return
	}
	if g.emptied == nil {
		g.emptied = make(chan struct{})
	}
	emptied := g.emptied
	g.mu.Unlock()
	<-emptied
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut != nil {
		close(g.shut)
		g.shut = nil
	}
}
