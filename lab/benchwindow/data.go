package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/lab/benchmain"
	"github.com/snapferry/snapferry/lab/cluster"
)

const mib = 1 << 20

// The deltas.
const (
	deltaSmall = "small"
	deltaLarge = "large"
	// deltaLines is that of the case with slow lines.
	deltaLines = "lines"
)

// size says what is written in a case: first the baseline, then what each round copies, then the
// delta of the final round. All of it is spread over so many indices.
type size struct {
	baseline        int64
	rounds          []int64
	delta           int64
	indices, shards int
}

var sizes = map[string]size{
	deltaSmall: {baseline: 100 * mib, rounds: []int64{17 * mib}, delta: 50 * mib, indices: 3, shards: 5},
	deltaLarge: {baseline: 200 * mib, rounds: []int64{200 * mib}, delta: 600 * mib, indices: 3, shards: 5},
	// A round of next to nothing shows what a step takes whatever its size, and so how many groups pay.
	deltaLines: {baseline: 100 * mib, rounds: []int64{200 * mib, 2 * mib}, delta: 600 * mib, indices: 8, shards: 2},
}

// deltaOf is what is written before a window, in one of several runs, a fifth more or less: the
// scripts look once a second, and where all snapshots of a case take equally long, each look would
// come right after their end, or a second too late.
func (s size) deltaOf(turn int) int64 {
	percent := []int64{100, 80, 120, 90, 110}
	return s.delta * percent[turn%len(percent)] / 100
}

const docType = "product"

// item is a product with a picture of itself, as shops keep them: most of its bytes are ones that
// nobody searches, so that a delta of some size is made without minutes of indexing.
type item struct {
	lab.Product
	Preview []byte `json:"preview"`
}

// A preview's size. Elasticsearch keeps it as base64 in the document's source, where its own
// compression finds nothing to gain.
const (
	leastPreview = 12_000
	mostPreview  = 36_000
	itemBytes    = (leastPreview+mostPreview)/2*4/3 + 500 // of an average item in a segment
)

func newItem(seed uint64, n int) item {
	var key [32]byte
	copy(key[:], fmt.Sprintf("%d/%d", seed, n))
	r := rand.NewChaCha8(key)
	preview := make([]byte, leastPreview+int(r.Uint64()%(mostPreview-leastPreview)))
	_, _ = r.Read(preview) // never fails
	return item{Product: lab.NewProduct(seed, n), Preview: preview}
}

// stock is a set of indices on the source that grows.
type stock struct {
	source  *cluster.Client
	seed    uint64
	indices []string
	shards  int // of all indices
	items   int
}

// newStock creates the indices, empty.
func newStock(ctx context.Context, source *cluster.Client, seed uint64, name string, size size) (*stock, error) {
	s := &stock{source: source, seed: seed, shards: size.indices * size.shards}
	for n := range size.indices {
		index := fmt.Sprintf("%s-%d", name, n+1)
		err := source.Do(ctx, http.MethodPut, "/"+index, map[string]any{
			"settings": map[string]any{
				"number_of_shards": size.shards, "number_of_replicas": 0,
				// As for any bulk load; and few segments, however long it takes.
				"refresh_interval": "-1", "translog.durability": "async",
			},
			"mappings": map[string]any{docType: map[string]any{
				"_all":       map[string]any{"enabled": false},
				"properties": map[string]any{"preview": map[string]any{"type": "binary"}},
			}},
		}, nil)
		if err != nil {
			return nil, fmt.Errorf("the index %s was not created: %w", index, err)
		}
		s.indices = append(s.indices, index)
	}
	return s, nil
}

func (s *stock) names() string { return strings.Join(s.indices, ",") }

// grow adds items of so many bytes, as they come to lie in segments, and returns when the source
// has nothing left to do with them.
func (s *stock) grow(ctx context.Context, bytes int64) error {
	first, last := s.items, s.items+int(bytes/itemBytes)
	batch, count := 100, len(s.indices) // 100 items are about 3 MB
	group, working := errgroup.WithContext(ctx)
	group.SetLimit(2) // the lab's computer may be small
	for n, index := range s.indices {
		for from := first; from < last; from += batch * count {
			group.Go(func() error {
				var documents []cluster.Document
				for i := from; i < min(from+batch*count, last); i++ {
					if i%count == n {
						documents = append(documents, cluster.Document{
							ID:     fmt.Sprintf("p-%07d", i),
							Source: newItem(s.seed, i),
						})
					}
				}
				if len(documents) == 0 {
					return nil
				}
				return s.source.Bulk(working, index, docType, documents)
			})
		}
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("items %d to %d were not written: %w", first, last, err)
	}
	s.items = last
	return benchmain.Rest(ctx, s.source, s.names())
}

// unblock lets the source take writes again.
func (s *stock) unblock(ctx context.Context) error {
	return s.source.Do(ctx, http.MethodPut, "/"+s.names()+"/_settings", map[string]any{"index.blocks.write": nil}, nil)
}
