package elastic

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"

	"github.com/elastic/go-elasticsearch/v7/esapi"
	"golang.org/x/sync/errgroup"
)

// ShardCounters are the counters of one started primary. Totals start again at 0 when the shard is
// allocated again or moves, so only counters of the same Index, Shard and Node can be compared.
type ShardCounters struct {
	Index string
	Shard int
	Node  string // id

	IndexTotal, DeleteTotal     int64 // operations since the shard started
	IndexCurrent, DeleteCurrent int64 // operations under way
	Docs, DocsDeleted           int64 // Lucene documents, nested ones included
	TranslogOperations          int64
	SeqNo                       *SeqNo // nil before 6.0
}

// SeqNo holds a shard's sequence numbers. All three are equal when no write is under way.
type SeqNo struct {
	Max    int64 `json:"max_seq_no"`
	Local  int64 `json:"local_checkpoint"`
	Global int64 `json:"global_checkpoint"`
}

// Settled reports that no write is under way on the shard now. Only a second, equal sample shows
// that none came.
func (s ShardCounters) Settled() bool {
	return s.IndexCurrent == 0 && s.DeleteCurrent == 0 &&
		(s.SeqNo == nil || s.SeqNo.Max == s.SeqNo.Local && s.SeqNo.Local == s.SeqNo.Global)
}

// SameAs reports that no write came between two samples of one shard: they have equal totals on the
// same node.
func (s ShardCounters) SameAs(other ShardCounters) bool {
	return s.Index == other.Index && s.Shard == other.Shard && s.Node == other.Node &&
		s.IndexTotal == other.IndexTotal && s.DeleteTotal == other.DeleteTotal &&
		(s.SeqNo == nil) == (other.SeqNo == nil) && (s.SeqNo == nil || s.SeqNo.Max == other.SeqNo.Max)
}

// WriteCounters reads the counters of every primary of every index named, sorted by index and
// shard. [Unavailable] if a primary didn't answer; the error names it. A proof needs the counters
// of all shards.
func (c *Client) WriteCounters(ctx context.Context, indices []string) ([]ShardCounters, error) {
	return c.primaryStats(ctx, "read write counters", indices, []string{"docs", "indexing", "translog"})
}

// ShardDocs is the number of documents of one primary.
type ShardDocs struct {
	Index string
	Shard int
	Docs  int64 // Lucene documents, nested ones included, as of the last refresh
	// Deleted counts the deleted documents still in segments. It is equal on both clusters only
	// until one of them merges.
	Deleted int64
}

// DocCounts reads the document count of every primary, sorted by index and shard. Refresh first.
// Errors as for WriteCounters.
func (c *Client) DocCounts(ctx context.Context, indices []string) ([]ShardDocs, error) {
	counters, err := c.primaryStats(ctx, "read document counts", indices, []string{"docs"})
	if err != nil {
		return nil, err
	}
	docs := make([]ShardDocs, len(counters))
	for i, s := range counters {
		docs[i] = ShardDocs{s.Index, s.Shard, s.Docs, s.DocsDeleted}
	}
	return docs, nil
}

type shardStats struct {
	Routing struct {
		State   string `json:"state"`
		Primary bool   `json:"primary"`
		Node    string `json:"node"`
	} `json:"routing"`
	Docs struct {
		Count   int64 `json:"count"`
		Deleted int64 `json:"deleted"`
	} `json:"docs"`
	Indexing struct {
		IndexTotal    int64 `json:"index_total"`
		IndexCurrent  int64 `json:"index_current"`
		DeleteTotal   int64 `json:"delete_total"`
		DeleteCurrent int64 `json:"delete_current"`
	} `json:"indexing"`
	Translog struct {
		Operations int64 `json:"operations"`
	} `json:"translog"`
	SeqNo *SeqNo `json:"seq_no"`
}

func (c *Client) primaryStats(ctx context.Context, operation string, indices,
	metrics []string,
) ([]ShardCounters, error) {
	if err := c.named(operation, indices); err != nil {
		return nil, err
	}
	var all []ShardCounters
	settings := make(map[string]map[string]string, len(indices))
	var mu sync.Mutex
	err := eachBatch(ctx, indices, func(ctx context.Context, batch []string) error {
		what := call{operation: operation, subject: list(batch)}
		var shards []ShardCounters
		var has map[string]map[string]string
		both, ctx := errgroup.WithContext(ctx)
		both.Go(func() (err error) { shards, err = c.batchStats(ctx, what, batch, metrics); return err })
		both.Go(func() (err error) { has, err = c.settings(ctx, what, batch, ""); return err })
		if err := both.Wait(); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		all = append(all, shards...)
		maps.Copy(settings, has)
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b ShardCounters) int {
		return compareShards(a.Index, b.Index, a.Shard, b.Shard, true,
			true)
	})
	if absent := absentPrimaries(settings, all); absent != "" {
		return nil, c.fail(call{operation: operation, subject: list(indices)}, Unavailable, "no answer from "+absent)
	}
	return all, nil
}

// batchStats reads the statistics of the primaries of as many indices as fit into one request.
func (c *Client) batchStats(ctx context.Context, what call, batch, metrics []string) ([]ShardCounters, error) {
	var answer struct {
		Shards  shardsHeader `json:"_shards"`
		Indices map[string]struct {
			Shards map[string][]shardStats `json:"shards"`
		} `json:"indices"`
	}
	if err := c.do(ctx, what, esapi.IndicesStatsRequest{Index: segments(batch), Metric: metrics, Level: "shards"},
		&answer); err != nil {
		return nil, err
	}
	if answer.Shards.Failed > 0 {
		return nil, c.fail(what, Unavailable, answer.Shards.failure())
	}
	var all []ShardCounters
	for index, found := range answer.Indices {
		for number, copies := range found.Shards {
			shard, err := strconv.Atoi(number)
			if err != nil {
				return nil, c.fail(what, Internal, "shard "+number+" isn't a number")
			}
			for _, s := range copies {
				// A copy that relocates shows twice: the new place is INITIALIZING and doesn't
				// count yet.
				if s.Routing.Primary && s.Routing.State != "INITIALIZING" {
					all = append(all, newCounters(index, shard, s))
				}
			}
		}
	}
	return all, nil
}

func newCounters(index string, shard int, s shardStats) ShardCounters {
	return ShardCounters{
		Index: index, Shard: shard, Node: s.Routing.Node,
		IndexTotal: s.Indexing.IndexTotal, DeleteTotal: s.Indexing.DeleteTotal,
		IndexCurrent: s.Indexing.IndexCurrent, DeleteCurrent: s.Indexing.DeleteCurrent,
		Docs: s.Docs.Count, DocsDeleted: s.Docs.Deleted, TranslogOperations: s.Translog.Operations, SeqNo: s.SeqNo,
	}
}

// absentPrimaries names the primaries that an index has by its settings, but that gave no counters.
func absentPrimaries(settings map[string]map[string]string, found []ShardCounters) string {
	type key struct {
		index string
		shard int
	}
	seen := map[key]bool{}
	for _, s := range found {
		seen[key{s.Index, s.Shard}] = true
	}
	var absent []string
	for index, values := range settings {
		shards, _ := strconv.Atoi(values["index.number_of_shards"])
		for shard := range shards {
			if !seen[key{index, shard}] {
				absent = append(absent, fmt.Sprintf("[%s][%d]", index, shard))
			}
		}
	}
	slices.Sort(absent)
	return list(absent)
}

// Count gives the number of documents that searches find, without nested ones. Refresh first.
// [Unavailable] if a shard didn't answer.
func (c *Client) Count(ctx context.Context, index string) (int64, error) {
	if err := c.named("count documents", []string{index}); err != nil {
		return 0, err
	}
	types, err := c.searchedTypes(ctx, index)
	if err != nil {
		return 0, err
	}
	return c.count(ctx, index, types)
}

// count adds up what counts of these groups of types find.
func (c *Client) count(ctx context.Context, index string, types [][]string) (int64, error) {
	var total int64
	for _, named := range types {
		var answer struct {
			Count  int64        `json:"count"`
			Shards shardsHeader `json:"_shards"`
		}
		what := call{operation: "count documents", subject: index, slow: true}
		request := esapi.CountRequest{Index: []string{segment(index)}, DocumentType: segments(named)}
		if err := c.do(ctx, what, request, &answer); err != nil {
			return 0, err
		}
		if answer.Shards.Successful < answer.Shards.Total {
			return 0, c.fail(what, Unavailable, answer.Shards.failure())
		}
		total += answer.Count
	}
	return total, nil
}
