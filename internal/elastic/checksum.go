package elastic

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/snapferry/snapferry/internal/pause"
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
	// AtOnce is how many shards of the index are read at the same time: 8 if 0.
	AtOnce int
	// PageSize is the number of documents in one request: 2,000 if 0. No page is larger than
	// index.max_result_window.
	PageSize int
	// IgnoreTypes leaves the mapping type out, for clusters of which only one has types.
	IgnoreTypes bool
	// Settings are the index's, as [Client.IndexSettings] gives them. They are read if nil.
	Settings map[string]string
	// ShardDocs are the documents of each shard as [Client.DocCounts] counts them, if known. A
	// shard that fits into one page needs no scroll, and an index that does needs one request.
	ShardDocs []int64
	// Progress, if set, is called after each page with the number of documents read so far. There
	// is one call at a time.
	Progress func(docs int64)
	// Sleep pauses before a scan is tried again, and for Pace. The default is a real pause.
	Sleep func(context.Context, time.Duration) error
	// Pace bounds the documents a second, of all reads that share it.
	Pace *Pace
	// Page, if set, is called with the documents of each page. Calls for different shards come at the
	// same time. Its error ends the checksum.
	Page func(ctx context.Context, shard int, page []Document) error
}

const (
	defaultPage   = 2000
	defaultAtOnce = 8
	// defaultResultWindow is index.max_result_window where it isn't set; a page can't be larger.
	defaultResultWindow = 10000
)

// Checksum reads every document's id and version, shard by shard. Refresh the index first; nobody
// may write to it while it is read. [Unavailable] if a shard fails or a scroll expires: begin
// again. [Rejected] if the cluster has no scroll context to spare for a minute. A lost page is
// always noticed: each scan must give as many documents as its first page promised, and all scans
// together as many as a count.
//
// It reads one shard by one scroll, so it has few contexts open, and neither
// index.max_slices_per_scroll nor the number of shards is a limit.
func (c *Client) Checksum(ctx context.Context, index string, options ChecksumOptions) (Checksum, error) {
	what := call{operation: "checksum", subject: index}
	if err := c.named(what.operation, []string{index}); err != nil {
		return Checksum{}, err
	}
	types, err := c.searchedTypes(ctx, index)
	if err != nil {
		return Checksum{}, err
	}
	count, err := c.count(ctx, index, types)
	if err != nil || count == 0 {
		return Checksum{}, err
	}
	scans, err := c.scans(ctx, what, index, types, options)
	if err != nil {
		return Checksum{}, err
	}
	var total Checksum
	err = c.scanAll(ctx, scans, options, func(_ *scan, part Checksum) { total.Add(part) })
	if err != nil {
		return Checksum{}, err
	}
	if total.Docs != count {
		return Checksum{}, c.fail(what, Unavailable, fmt.Sprintf("it gave %d documents instead of %d: check whether "+
			"somebody writes to the index", total.Docs, count))
	}
	return total, nil
}

// Add adds the documents of another part of an index.
func (s *Checksum) Add(part Checksum) {
	s.Docs += part.Docs
	s.Sum += part.Sum
	s.Xor ^= part.Xor
}

// scanAll runs scans, several at the same time, and hands over what each finds, one after the
// other.
func (c *Client) scanAll(ctx context.Context, scans []*scan, options ChecksumOptions,
	found func(*scan, Checksum),
) error {
	var (
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
	atOnce := options.AtOnce
	if atOnce <= 0 {
		atOnce = defaultAtOnce
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for _, s := range scans {
		s.progress = progress
		group.Go(func() error {
			part, err := s.run(groupCtx)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			found(s, part)
			return nil
		})
	}
	return group.Wait()
}

// scans are those that together read an index: one for each shard and, on 2.x, for each group of
// types. An index that fits into one page needs one for all shards.
func (c *Client) scans(ctx context.Context, what call, index string, types [][]string,
	options ChecksumOptions,
) ([]*scan, error) {
	base, shards, err := c.scanOf(ctx, what, index, options)
	if err != nil {
		return nil, err
	}
	known := len(options.ShardDocs) == shards
	var docs int64
	for _, n := range options.ShardDocs {
		docs += n
	}
	// Each shard gives as many documents as a page has, so a page of all of them is for few.
	whole := shards == 1 || known && docs <= int64(base.size) && options.Page == nil
	numbers := []int{allShards}
	if !whole {
		numbers = numbers[:0]
		for shard := range shards {
			numbers = append(numbers, shard)
		}
	}
	var scans []*scan
	for _, named := range types {
		for _, shard := range numbers {
			s := base
			s.types, s.shard, s.answering = named, shard, 1
			if shard == allShards {
				s.answering = shards
			}
			s.small = known && (whole && docs <= int64(s.size) ||
				shard != allShards && options.ShardDocs[shard] <= int64(s.size))
			scans = append(scans, &s)
		}
	}
	return scans, nil
}

// scanOf is what all scans of an index have in common, and the number of its shards.
func (c *Client) scanOf(ctx context.Context, what call, index string, options ChecksumOptions) (scan, int, error) {
	version, err := c.Version(ctx)
	if err != nil {
		return scan{}, 0, err
	}
	values := options.Settings
	if values == nil {
		settings, err := c.IndexSettings(ctx, []string{index})
		if err != nil {
			return scan{}, 0, err
		}
		values = settings[index]
	}
	shards, _ := strconv.Atoi(values["index.number_of_shards"])
	if shards < 1 {
		return scan{}, 0, c.fail(what, Internal, "its settings name no index.number_of_shards")
	}
	size := options.PageSize
	if size <= 0 {
		size = defaultPage
	}
	sleep := options.Sleep
	if sleep == nil {
		sleep = pause.For
	}
	return scan{
		client: c, what: what, index: index, version: version,
		size: options.Pace.page(min(size, resultWindow(values))), ignoreTypes: options.IgnoreTypes, sleep: sleep,
		pace: options.Pace, each: options.Page, numbered: Numbered(values),
	}, shards, nil
}

// resultWindow is the largest page that an index allows.
func resultWindow(settings map[string]string) int {
	if window, err := strconv.Atoi(settings["index.max_result_window"]); err == nil && window > 0 {
		return window
	}
	return defaultResultWindow
}

// percolatorType holds the queries of percolators up to 2.x.
const percolatorType = ".percolator"

// searchedTypes are the groups of types that searches have to name so that all of them together
// find every document. Elasticsearch 2.x leaves percolator queries out of a search that names no
// type; later versions, which have them as documents like any other, leave nothing out.
func (c *Client) searchedTypes(ctx context.Context, index string) ([][]string, error) {
	version, err := c.Version(ctx)
	if err != nil {
		return nil, err
	}
	if version.Major >= 5 {
		return [][]string{nil}, nil
	}
	mappings, err := c.Mappings(ctx, []string{index})
	if err != nil {
		return nil, err
	}
	if slices.Contains(mappings[index].Types, percolatorType) {
		return [][]string{nil, {percolatorType}}, nil
	}
	return [][]string{nil}, nil
}

// hash writes each field with its length, so that different documents never give the same bytes.
func (d Document) hash() uint64 {
	digest := sha256.New()
	for _, field := range []string{d.Type, d.ID, d.Routing, d.Parent} {
		_ = binary.Write(digest, binary.BigEndian, uint32(len(field)))
		_, _ = io.WriteString(digest, field)
	}
	_ = binary.Write(digest, binary.BigEndian, d.Version)
	return binary.BigEndian.Uint64(digest.Sum(nil))
}
