package elastic

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/elastic/go-elasticsearch/v7/esapi"
)

// scrolls bounds the scroll contexts that a client has open at the same time, whoever asks for
// them. A node allows 500 in all from 7.0 on (search.max_open_scroll_context), and the cluster's
// other readers need theirs.
type scrolls struct {
	mu         sync.Mutex
	most, open int
	freed      chan struct{} // closed, and replaced, when a place may be free

	keep atomic.Int64 // for how long the cluster keeps a context at most, in nanoseconds; 0 if unknown
}

const (
	mostScrolls = 16
	// scrollKeep is longer than a slow page takes; an expired scroll is Unavailable.
	scrollKeep = 5 * time.Minute
	// scrollTries bound how often a scan asks for a context that the cluster refuses. With the
	// pauses between them it is about a minute.
	scrollTries               = 16
	shortestPause             = 200 * time.Millisecond
	longestPause              = 5 * time.Second
	clearDeadline             = 10 * time.Second
	firstAnswerAfterCancelled = 2 * time.Second
)

func newScrolls() *scrolls { return &scrolls{most: mostScrolls, freed: make(chan struct{})} }

// take waits for a place.
func (s *scrolls) take(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		s.mu.Lock()
		if s.open < s.most {
			s.open++
			s.mu.Unlock()
			return nil
		}
		freed := s.freed
		s.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// free gives a place back. After a scroll that the cluster had room for there may be one more at
// the same time; after a refusal, half as many.
func (s *scrolls) free(refused bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open--
	if refused {
		s.most = max(1, s.most/2)
	} else {
		s.most = min(mostScrolls, s.most+1)
	}
	close(s.freed)
	s.freed = make(chan struct{})
}

// allShards is the number of a scan that reads all shards of an index.
const allShards = -1

// scan reads one shard of an index, or all of them.
type scan struct {
	client      *Client
	what        call
	index       string
	types       []string
	version     Version
	shard       int
	answering   int  // how many shards have to answer
	where       any  // the query; nil finds all documents
	counts      bool // counts first how many documents the query finds
	numbered    bool // each document has a sequence number
	small       bool
	size        int
	ignoreTypes bool
	progress    func(int)
	sleep       func(context.Context, time.Duration) error
	pace        *Pace
	each        func(ctx context.Context, shard int, page []Document) error

	id   string
	keep time.Duration // asked for
	took time.Duration // of all requests
}

type page struct {
	ScrollID string       `json:"_scroll_id"`
	TimedOut bool         `json:"timed_out"`
	Shards   shardsHeader `json:"_shards"`
	Hits     struct {
		Total hitTotal `json:"total"`
		Hits  []hit    `json:"hits"`
	} `json:"hits"`
}

type hit struct {
	Type    string `json:"_type"`
	ID      string `json:"_id"`
	Routing string `json:"_routing"`
	Parent  string `json:"_parent"`
	Version *int64 `json:"_version"`
}

// hitTotal is a number up to 6.x and {"value":n,"relation":"eq"} from 7.0 on.
type hitTotal int64

func (t *hitTotal) UnmarshalJSON(raw []byte) error {
	if len(raw) > 0 && raw[0] == '{' {
		var object struct {
			Value    int64  `json:"value"`
			Relation string `json:"relation"`
		}
		if err := json.Unmarshal(raw, &object); err != nil {
			return err
		}
		if object.Relation != "eq" {
			return fmt.Errorf("hits.total is only a bound (%s)", object.Relation)
		}
		*t = hitTotal(object.Value)
		return nil
	}
	return json.Unmarshal(raw, (*int64)(t))
}

var pageFields = []string{
	"_scroll_id", "timed_out", "_shards", "hits.total", "hits.hits._type", "hits.hits._id",
	"hits.hits._routing",
	"hits.hits._parent", "hits.hits._version",
}

// run reads the scan's documents. While the cluster has no scroll context to spare it waits, and
// the client opens fewer at the same time.
func (s *scan) run(ctx context.Context) (Checksum, error) {
	if !s.counts {
		return s.all(ctx)
	}
	n, err := s.client.countShards(ctx, s.what, s.index, s.types, []int{s.shard}, s.where)
	if err != nil || n == 0 {
		return Checksum{}, err
	}
	s.small = n <= int64(s.size)
	sum, err := s.all(ctx)
	if err == nil && sum.Docs != n {
		err = s.client.fail(s.what, Unavailable, fmt.Sprintf("%s gave %d documents instead of %d: check whether "+
			"somebody writes to the index", s.name(), sum.Docs, n))
	}
	return sum, err
}

// all reads what the scan's query finds.
func (s *scan) all(ctx context.Context) (Checksum, error) {
	if s.small {
		sum, complete, err := s.onePage(ctx)
		switch {
		case err != nil || complete:
			return sum, err
		case s.answering > 1: // a scroll would need a context on each of them
			return sum, s.client.fail(s.what, Unavailable, "there are more documents than its shards had: check "+
				"whether somebody writes to the index")
		}
	}
	wait := shortestPause
	for try := 1; ; try++ {
		if err := s.client.scrolls.take(ctx); err != nil {
			return Checksum{}, s.ended(err)
		}
		sum, err := s.scroll(ctx)
		refused := noContextLeft(err)
		s.client.scrolls.free(refused)
		switch {
		case refused && try == scrollTries:
			return Checksum{}, s.noContext(err, try)
		case refused:
			if err := s.sleep(ctx, wait); err != nil {
				return Checksum{}, s.ended(err)
			}
			wait = min(2*wait, longestPause)
		case s.keepsShorter(err):
			// The next try asks for no more than the cluster allows.
		default:
			return sum, err
		}
	}
}

func (s *scan) ended(err error) error {
	return fmt.Errorf("%s on %s: %w", s.what.operation, s.client.host, err)
}

// noContext says what a person can do about it.
func (s *scan) noContext(cause error, tries int) error {
	reason := cause.Error()
	if e, ok := errors.AsType[*Error](cause); ok {
		reason = strings.Join(append([]string{e.Reason}, e.Causes...), ", caused by ")
	}
	return s.client.fail(s.what, Rejected, fmt.Sprintf("the cluster had no scroll context left in %d attempts, "+
		"although only one at a time was asked for: find out who keeps scrolls open (open_contexts in "+
		"GET _nodes/stats/indices/search), end them, or raise the cluster setting search.max_open_scroll_context. "+
		"It answered: %s", tries, reason))
}

// onePage reads few documents by a plain search, which opens no context. It is complete unless
// there are more documents than a page holds.
func (s *scan) onePage(ctx context.Context) (Checksum, bool, error) {
	p, err := s.ask(ctx, esapi.SearchRequest{
		Index: []string{segment(s.index)}, DocumentType: segments(s.types), Preference: s.preference(),
		Body: body(s.query()), FilterPath: pageFields,
	})
	if err != nil || int64(p.Hits.Total) > int64(len(p.Hits.Hits)) {
		return Checksum{}, false, err
	}
	sum, err := s.read(ctx, p)
	if err == nil {
		err = s.complete(sum, int64(p.Hits.Total))
	}
	return sum, true, err
}

// scroll reads page after page.
func (s *scan) scroll(ctx context.Context) (Checksum, error) {
	s.id, s.keep = "", s.client.scrollKeep()
	defer s.clear(ctx)
	p, err := s.begin(ctx)
	if err != nil {
		return Checksum{}, err
	}
	var sum Checksum
	promised := int64(p.Hits.Total)
	for {
		part, err := s.read(ctx, p)
		if err != nil {
			return Checksum{}, err
		}
		sum.Add(part)
		// The context stands still, so the last promised document is the last one.
		if part.Docs == 0 || sum.Docs >= promised {
			return sum, s.complete(sum, promised)
		}
		if p, err = s.next(ctx); err != nil {
			return Checksum{}, err
		}
	}
}

func (s *scan) complete(sum Checksum, promised int64) error {
	if sum.Docs == promised {
		return nil
	}
	return s.client.fail(s.what, Unavailable, fmt.Sprintf("%s gave %d documents instead of %d", s.name(), sum.Docs,
		promised))
}

func (s *scan) name() string {
	if s.shard == allShards {
		return "the index"
	}
	return fmt.Sprintf("shard %d", s.shard)
}

// read adds up the documents of a page, and waits as the pace demands.
func (s *scan) read(ctx context.Context, p *page) (Checksum, error) {
	var sum Checksum
	documents := make([]Document, 0, len(p.Hits.Hits))
	for _, h := range p.Hits.Hits {
		d, err := s.client.document(s.what, h, s.ignoreTypes)
		if err != nil {
			return Checksum{}, err
		}
		hash := d.hash()
		sum.Add(Checksum{Docs: 1, Sum: hash, Xor: hash})
		documents = append(documents, d)
	}
	if s.each != nil && len(documents) > 0 {
		if err := s.each(ctx, s.shard, documents); err != nil {
			return Checksum{}, err
		}
	}
	s.progress(len(documents))
	if err := s.pace.wait(ctx, len(documents), s.sleep); err != nil {
		return Checksum{}, s.ended(err)
	}
	return sum, nil
}

func (s *scan) query() map[string]any {
	query := map[string]any{"sort": []string{"_doc"}, "size": s.size, "_source": false, "version": true}
	if s.version.Major >= 7 {
		query["track_total_hits"] = true // 5.x refuses it, 7.x counts only to 10,000 without it
	}
	if s.where != nil {
		query["query"] = s.where
	}
	return query
}

// preference restricts a search to one shard. Any copy of it will do after a refresh.
func (s *scan) preference() string {
	if s.shard == allShards {
		return ""
	}
	return onShards([]int{s.shard})
}

// onShards is the preference that restricts a search to shards.
func onShards(shards []int) string {
	numbers := make([]string, len(shards))
	for i, shard := range shards {
		numbers[i] = strconv.Itoa(shard)
	}
	return "_shards:" + strings.Join(numbers, ",")
}

// begin opens the scroll. An answer that nobody reads would leave its context open, so a
// cancellation waits for it a moment.
func (s *scan) begin(ctx context.Context) (*page, error) {
	lingering, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(firstAnswerAfterCancelled, cancel) })
	defer stop()
	p, err := s.ask(lingering, esapi.SearchRequest{
		Index: []string{segment(s.index)}, DocumentType: segments(s.types), Preference: s.preference(),
		Scroll: s.keep, Body: body(s.query()), FilterPath: pageFields,
	})
	if ctx.Err() != nil {
		return nil, s.ended(ctx.Err())
	}
	if err == nil && s.id == "" {
		return nil, s.client.fail(s.what, NotSupported, "the search gave no scroll id")
	}
	return p, err
}

func (s *scan) next(ctx context.Context) (*page, error) {
	keep := strconv.FormatInt(s.keep.Milliseconds(), 10) + "ms"
	query := map[string]any{"scroll": keep, "scroll_id": s.id}
	return s.ask(ctx, esapi.ScrollRequest{Body: body(query), FilterPath: pageFields})
}

func (s *scan) ask(ctx context.Context, request esapi.Request) (*page, error) {
	var p page
	began := time.Now()
	err := s.client.do(ctx, s.what, request, &p)
	s.took += time.Since(began)
	if err != nil {
		return nil, err
	}
	if p.ScrollID != "" {
		s.id = p.ScrollID
	}
	switch {
	case p.TimedOut:
		return nil, s.client.fail(s.what, Unavailable, "the search timed out")
	case p.Shards.Successful < p.Shards.Total:
		return nil, s.client.fail(s.what, Unavailable, p.Shards.failure())
	case p.Shards.Total != s.answering:
		return nil, s.client.fail(s.what, NotSupported, fmt.Sprintf("%d shards answered a search of %s, and it should "+
			"be %d: something in front of the cluster may drop the parameter preference", p.Shards.Total, s.name(),
			s.answering))
	}
	return &p, nil
}

// clear frees the scroll, also after a cancellation or a failure. Amazon wants the id in the body,
// with a length.
func (s *scan) clear(ctx context.Context) {
	if s.id == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), clearDeadline)
	defer cancel()
	// If this fails, the scroll expires.
	_ = s.client.do(ctx, s.what, esapi.ClearScrollRequest{Body: body(map[string]any{"scroll_id": []string{s.id}})}, nil)
	s.id = ""
}

// tooManyScrolls matches the refusal of 7.x to open one more context.
var tooManyScrolls = regexp.MustCompile(`(?i)create too many scroll contexts`)

func noContextLeft(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && tooManyScrolls.MatchString(e.Reason+" "+strings.Join(e.Causes, " "))
}

// keepTooLong matches the refusal of a keep-alive above search.max_keep_alive, of 6.1 and later.
var keepTooLong = regexp.MustCompile(`(?i)keep alive for .*too large\. It must be less than \((\d+)(ms|s|m|h|d)\)`)

// scrollKeep is for how long contexts are kept between two pages.
func (c *Client) scrollKeep() time.Duration {
	if keep := time.Duration(c.scrolls.keep.Load()); keep > 0 {
		return keep
	}
	return scrollKeep
}

// keepsShorter tells whether the cluster refused to keep a context for as long as was asked, and
// remembers what it allows.
func (s *scan) keepsShorter(err error) bool {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return false
	}
	found := keepTooLong.FindStringSubmatch(e.Reason + " " + strings.Join(e.Causes, " "))
	if found == nil {
		return false
	}
	units := map[string]time.Duration{
		"ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour,
	}
	n, err := strconv.ParseInt(found[1], 10, 32)
	allowed := time.Duration(n) * units[found[2]]
	if err != nil || allowed <= 0 || allowed >= s.keep {
		return false
	}
	s.client.scrolls.keep.Store(int64(allowed))
	return true
}
