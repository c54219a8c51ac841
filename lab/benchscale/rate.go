package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/internal/pause"
	"github.com/snapferry/snapferry/lab/benchmain"
	"github.com/snapferry/snapferry/lab/cluster"
)

// RateCase is what users of a cluster feel while documents are compared at a rate.
type RateCase struct {
	What string `json:"what"`
	// Rate is verify.rate; 0 for nothing that is compared, and unlimited below 0.
	Rate int `json:"rate"`
	// ReadPerSecond is how many documents were read.
	ReadPerSecond float64 `json:"readPerSecond"`
	Search        latency `json:"search"`
	Write         latency `json:"write"`
}

// latency is in milliseconds, from when a request was due to its answer.
type latency struct {
	Requests int     `json:"requests"`
	Median   float64 `json:"median"`
	P95      float64 `json:"p95"`
	P99      float64 `json:"p99"`
}

const (
	// searchesPerSecond and writesPerSecond are what the cluster is busy with. Each write is a bulk
	// request.
	searchesPerSecond = 50
	writesPerSecond   = 10
	docsPerWrite      = 100
	// mostUnanswered is how many searches, and how many writes, may have no answer. Each is one task
	// for each of 5 shards, and the queue of a node for writes has 200 places: it refuses more.
	mostUnanswered = 32
	// noRate and unlimited are rates.
	noRate    = 0
	unlimited = -1
)

// comparingRates measures what a busy cluster feels of comparisons before the freeze, by their rate:
// each for at least so long.
func comparingRates(ctx context.Context, root string, rates []int, each time.Duration, documents int64, out io.Writer,
) (cases []RateCase, err error) {
	f, err := newField(ctx, root, "", documentsFrom, documentsTo, out)
	if err != nil {
		return nil, err
	}
	defer func() { err = closing(f, err) }()
	busy := busy{source: f.Lab.Source.Direct(), documents: documents}
	if err := (&ledger{count: documents}).makeAll(ctx, busy.source); err != nil {
		return nil, err
	}
	if busy.client, err = elastic.New(elastic.Config{Endpoint: busy.source.URL}); err != nil {
		return nil, err
	}
	defer busy.client.Close()
	// A node that has just been filled merges, and its code is not compiled yet.
	if _, err := busy.measure(ctx, noRate, each); err != nil {
		return nil, err
	}
	for _, rate := range rates {
		one, err := busy.measure(ctx, rate, each)
		if err != nil {
			return cases, fmt.Errorf("at the rate %d: %w", rate, err)
		}
		f.Say("%s: %.0f documents a second were read", rateName(rate), one.ReadPerSecond)
		cases = append(cases, one)
	}
	return cases, nil
}

// rateName names a rate in the table.
func rateName(rate int) string {
	switch rate {
	case noRate:
		return "nothing"
	case unlimited:
		return "no limit"
	}
	return fmt.Sprint(rate)
}

// busy is a cluster that people search and write.
type busy struct {
	source    *cluster.Client
	client    *elastic.Client // compares
	documents int64

	mu      sync.Mutex
	written int
}

// measure searches and writes for at least so long, while documents are compared at a rate.
func (b *busy) measure(ctx context.Context, rate int, least time.Duration) (RateCase, error) {
	one := RateCase{What: whatRate, Rate: rate}
	var searches, writes []time.Duration
	var read int64
	all := []repeated{{"search", func(ctx context.Context, done func()) (err error) {
		searches, err = regularly(ctx, searchesPerSecond, b.search, done)
		return err
	}}, {"write", func(ctx context.Context, done func()) (err error) {
		writes, err = regularly(ctx, writesPerSecond, b.write, done)
		return err
	}}}
	if rate != noRate {
		all = append(all, repeated{"comparison", func(ctx context.Context, done func()) (err error) {
			read, err = b.compare(ctx, rate, done)
			return err
		}})
	}
	took, err := together(ctx, least, all)
	if err != nil {
		return one, err
	}
	one.ReadPerSecond = benchmain.Round3(float64(read) / took.Seconds())
	one.Search, one.Write = latencyOf(searches), latencyOf(writes)
	return one, nil
}

// regularly sends a request so many times a second, also while earlier ones have no answer. It ends
// with the context, and returns for how long each one had to be waited for since it was due.
func regularly(ctx context.Context, perSecond int, send func(context.Context) error, done func(),
) ([]time.Duration, error) {
	every := time.Second / time.Duration(perSecond)
	var mu sync.Mutex
	var took []time.Duration
	sending, working := errgroup.WithContext(ctx)
	sending.SetLimit(mostUnanswered)
	for due := time.Now().Add(every); pause.For(working, time.Until(due)) == nil; due = due.Add(every) {
		sending.Go(func() error {
			err := send(working)
			if working.Err() != nil {
				return nil // the time is over
			}
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, time.Since(due))
			done()
			return nil
		})
	}
	err := sending.Wait()
	return took, err
}

// search asks for what a page shows: some documents in an order, and numbers beside them.
func (b *busy) search(ctx context.Context) error {
	from := time.Now().UnixNano() % b.documents
	return b.source.Do(ctx, http.MethodPost, "/"+documentsIndex+"/_search", map[string]any{
		"size": 20, "sort": []any{map[string]string{"n": "desc"}},
		"query": map[string]any{"range": map[string]any{"n": map[string]int64{"gte": from, "lt": from + 50_000}}},
		"aggs":  map[string]any{"mean": map[string]any{"avg": map[string]string{"field": "n"}}},
	}, nil)
}

// write adds documents to another index, so that those that are compared stay as they are.
func (b *busy) write(ctx context.Context) error {
	b.mu.Lock()
	from := b.written
	b.written += docsPerWrite
	b.mu.Unlock()
	documents := make([]cluster.Document, docsPerWrite)
	for i := range documents {
		documents[i] = cluster.Document{ID: fmt.Sprintf("w-%d", from+i), Source: map[string]any{"n": from + i}}
	}
	return b.source.Bulk(ctx, "feed", "_doc", documents)
}

// compare reads all shards, again and again, as comparisons before the freeze do. It ends with the
// context, and returns how many documents it has read.
func (b *busy) compare(ctx context.Context, rate int, done func()) (int64, error) {
	var read int64
	options := elastic.ChecksumOptions{Pace: elastic.NewPace(float64(rate)), AtOnce: 2}
	var scans []elastic.ShardScan
	for shard := range documentsShards {
		scans = append(scans, elastic.ShardScan{Shard: shard})
	}
	for ctx.Err() == nil {
		before := read
		options.Progress = func(docs int64) {
			if read = before + docs; read > 0 {
				done()
			}
		}
		if _, err := b.client.ShardChecksums(ctx, documentsIndex, scans, options); err != nil && ctx.Err() == nil {
			return read, err
		}
	}
	return read, nil
}

func latencyOf(took []time.Duration) latency {
	if len(took) == 0 {
		return latency{}
	}
	slices.Sort(took)
	at := func(share float64) float64 {
		return benchmain.Round3(float64(took[int(share*float64(len(took)-1))].Microseconds()) / 1000)
	}
	return latency{Requests: len(took), Median: at(0.5), P95: at(0.95), P99: at(0.99)}
}

func measureRates(ctx context.Context, root string, o options, out io.Writer, all *report) error {
	each, documents := time.Minute, int64(1_000_000)
	cases, err := comparingRates(ctx, root, o.rates, each, documents, out)
	for _, one := range cases {
		all.Cases = append(all.Cases, one)
	}
	table(out, func(row func(...string)) {
		row("compared at", "read/s", "search ms: median", "95 %", "99 %", "write ms: median", "95 %", "99 %")
		for _, one := range cases {
			row(rateName(one.Rate), fmt.Sprintf("%.0f", one.ReadPerSecond), milliseconds(one.Search.Median),
				milliseconds(one.Search.P95), milliseconds(one.Search.P99), milliseconds(one.Write.Median),
				milliseconds(one.Write.P95), milliseconds(one.Write.P99))
		}
	})
	return err
}

func milliseconds(ms float64) string { return fmt.Sprintf("%.1f", ms) }
