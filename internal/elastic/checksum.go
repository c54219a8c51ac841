package elastic

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/elastic/go-elasticsearch/v7/esapi"
	"golang.org/x/sync/errgroup"
)

// Checksum is a checksum over the documents of an index, independent of their order. The hash of a
// document is the first 64 bits of the SHA-256 over type, id, routing, parent and version. A
// restore keeps all of these, so equal checksums mean that no document is missing, extra or stale.
// The documents' sources are not read.
type Checksum struct {
	Docs     int64
	Sum, Xor uint64
}

// ChecksumOptions tune a checksum; the zero value works.
type ChecksumOptions struct {
	// Slices is how many slices are read at the same time. 0 means one for each primary, 8 at most.
	// More slices than primaries cost the cluster much. Elasticsearch 2.x has no slices, so there
	// it is always one.
	Slices int
	// PageSize is the number of documents in one request: 2,000 if 0, 10,000 at most.
	PageSize int
	// IgnoreTypes leaves the mapping type out, for clusters of which only one has types.
	IgnoreTypes bool
	// Progress, if set, is called after each page with the number of documents read so far. There
	// is one call at a time.
	Progress func(docs int64)
}

const (
	defaultPage = 2000
	mostSlices  = 8
	// defaultResultWindow is index.max_result_window where it isn't set; a scroll's page can't be
	// larger.
	defaultResultWindow = 10000
	scrollKeep          = 5 * time.Minute // longer than a slow page takes; an expired scroll is Unavailable
	clearDeadline       = 10 * time.Second
)

// Checksum reads every document's id and version by sliced scrolls. Refresh the index first; nobody
// may write to it while it is read. [Unavailable] if a shard fails or a scroll expires: begin
// again. A lost page is always noticed: each slice must give as many documents as its first page
// promised, and all slices together as many as a count.
func (c *Client) Checksum(ctx context.Context, index string, options ChecksumOptions) (Checksum, error) {
	what := call{operation: "checksum", subject: index}
	if err := c.named(what.operation, []string{index}); err != nil {
		return Checksum{}, err
	}
	version, err := c.Version(ctx)
	if err != nil {
		return Checksum{}, err
	}
	count, err := c.Count(ctx, index)
	if err != nil || count == 0 { // 5.x can't slice an index that has no mapping yet
		return Checksum{}, err
	}
	slices, largest, err := c.layout(ctx, index, options.Slices, version)
	if err != nil {
		return Checksum{}, err
	}
	if options.PageSize <= 0 {
		options.PageSize = defaultPage
	}
	options.PageSize = min(options.PageSize, largest)
	var (
		total    Checksum
		mu       sync.Mutex
		progress = func(int) {}
		read     atomic.Int64
	)
	if options.Progress != nil {
		progress = func(n int) {
			mu.Lock()
			defer mu.Unlock()
			options.Progress(read.Add(int64(n)))
		}
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(min(slices, mostSlices))
	for slice := range slices {
		group.Go(func() error {
			s := scroll{
				client: c, what: what, index: index, options: options, slice: slice, slices: slices,
				version: version, progress: progress,
			}
			part, err := s.run(groupCtx)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			total.Docs += part.Docs
			total.Sum += part.Sum
			total.Xor ^= part.Xor
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return Checksum{}, err
	}
	if total.Docs != count {
		return Checksum{}, c.fail(what, Unavailable, fmt.Sprintf("it gave %d documents instead of %d: check whether "+
			"somebody writes to the index", total.Docs, count))
	}
	return total, nil
}

// layout gives the number of slices in which to read an index, and the largest page that the index
// allows.
func (c *Client) layout(ctx context.Context, index string, wanted int,
	version Version,
) (slices, largest int, err error) {
	settings, err := c.IndexSettings(ctx, []string{index})
	if err != nil {
		return 0, 0, err
	}
	slices, largest = 1, defaultResultWindow
	for _, values := range settings {
		shards, _ := strconv.Atoi(values["index.number_of_shards"])
		slices = max(slices, shards)
		if window, err := strconv.Atoi(values["index.max_result_window"]); err == nil && window > 0 {
			largest = min(largest, window)
		}
	}
	switch {
	case version.Major < 5:
		return 1, largest, nil
	case wanted > 0:
		return wanted, largest, nil
	}
	return min(slices, mostSlices), largest, nil
}

// scroll reads one slice.
type scroll struct {
	client        *Client
	what          call
	index         string
	options       ChecksumOptions
	slice, slices int
	version       Version
	progress      func(int)

	id string
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

func (s *scroll) run(ctx context.Context) (Checksum, error) {
	defer s.clear(ctx)
	first, err := s.begin(ctx)
	if err != nil {
		return Checksum{}, err
	}
	promised := int64(first.Hits.Total)
	var sum Checksum
	for hits := first.Hits.Hits; len(hits) > 0; {
		for _, h := range hits {
			if err := s.add(&sum, h); err != nil {
				return Checksum{}, err
			}
		}
		s.progress(len(hits))
		next, err := s.next(ctx)
		if err != nil {
			return Checksum{}, err
		}
		hits = next.Hits.Hits
	}
	if sum.Docs != promised {
		return Checksum{}, s.client.fail(s.what, Unavailable,
			fmt.Sprintf("slice %d of %d gave %d documents instead of %d", s.slice, s.slices, sum.Docs, promised))
	}
	return sum, nil
}

func (s *scroll) begin(ctx context.Context) (*page, error) {
	query := map[string]any{"sort": []string{"_doc"}, "size": s.options.PageSize, "_source": false, "version": true}
	if s.slices > 1 {
		query["slice"] = map[string]int{"id": s.slice, "max": s.slices}
	}
	if s.version.Major >= 7 {
		query["track_total_hits"] = true // 5.x refuses it, 7.x counts only to 10,000 without it
	}
	return s.ask(ctx, esapi.SearchRequest{
		Index: []string{segment(s.index)}, Scroll: scrollKeep, Body: body(query),
		FilterPath: pageFields,
	})
}

func (s *scroll) next(ctx context.Context) (*page, error) {
	query := map[string]any{"scroll": strconv.Itoa(int(scrollKeep.Seconds())) + "s", "scroll_id": s.id}
	return s.ask(ctx, esapi.ScrollRequest{Body: body(query), FilterPath: pageFields})
}

func (s *scroll) ask(ctx context.Context, request esapi.Request) (*page, error) {
	var p page
	if err := s.client.do(ctx, s.what, request, &p); err != nil {
		return nil, err
	}
	if p.ScrollID != "" {
		s.id = p.ScrollID
	}
	switch {
	case s.id == "":
		return nil, s.client.fail(s.what, NotSupported, "the search gave no scroll id")
	case p.TimedOut:
		return nil, s.client.fail(s.what, Unavailable, "the search timed out")
	case p.Shards.Successful < p.Shards.Total:
		return nil, s.client.fail(s.what, Unavailable, p.Shards.failure())
	}
	return &p, nil
}

// clear frees the scroll, also after a cancellation. If the cancellation cut off the first answer,
// the scroll expires. Amazon wants the id in the body, with a length.
func (s *scroll) clear(ctx context.Context) {
	if s.id == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), clearDeadline)
	defer cancel()
	// If this fails, the scroll expires.
	_ = s.client.do(ctx, s.what, esapi.ClearScrollRequest{Body: body(map[string]any{"scroll_id": []string{s.id}})}, nil)
}

func (s *scroll) add(sum *Checksum, h hit) error {
	if h.ID == "" || h.Version == nil {
		return s.client.fail(s.what, Internal, "a document came without id or version")
	}
	if s.options.IgnoreTypes {
		h.Type = ""
	}
	hash := h.hash()
	sum.Docs++
	sum.Sum += hash
	sum.Xor ^= hash
	return nil
}

// hash writes each field with its length, so that different documents never give the same bytes.
func (h hit) hash() uint64 {
	digest := sha256.New()
	for _, field := range []string{h.Type, h.ID, h.Routing, h.Parent} {
		_ = binary.Write(digest, binary.BigEndian, uint32(len(field)))
		_, _ = io.WriteString(digest, field)
	}
	_ = binary.Write(digest, binary.BigEndian, *h.Version)
	return binary.BigEndian.Uint64(digest.Sum(nil))
}
