package elastictest

import (
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// request is the body of a search or count.
type request struct {
	Size  int   `json:"size"`
	Query query `json:"query"`
	Aggs  struct {
		Sum     map[string]any `json:"sum"`
		Numbers *struct {
			Histogram struct {
				Interval int64 `json:"interval"`
			} `json:"histogram"`
		} `json:"numbers"`
		Indices map[string]any `json:"indices"`
	} `json:"aggs"`
}

// query is one of those that snapferry sends: none, ids, a range of sequence numbers, or what is not
// in such a range. An empty one finds all documents.
type query struct {
	MatchNone *struct{} `json:"match_none"`
	IDs       *struct {
		Values []string `json:"values"`
	} `json:"ids"`
	Range map[string]struct {
		Gte *int64 `json:"gte"`
		Lte *int64 `json:"lte"`
	} `json:"range"`
	Bool struct {
		MustNot []query `json:"must_not"`
	} `json:"bool"`
}

func searchBody(r *http.Request) request {
	var body request
	decode(r, &body)
	return body
}

func (q query) finds(doc Doc) bool {
	if q.MatchNone != nil {
		return false
	}
	if q.IDs != nil && !slices.Contains(q.IDs.Values, doc.ID) {
		return false
	}
	for _, limits := range q.Range { // of _seq_no
		number := doc.seq - 1
		if doc.seq == 0 || limits.Gte != nil && number < *limits.Gte || limits.Lte != nil && number > *limits.Lte {
			return false
		}
	}
	return !slices.ContainsFunc(q.Bool.MustNot, func(q query) bool { return q.finds(doc) })
}

// chosenShards are those that a request's preference names, or all.
func chosenShards(r *http.Request, x *index) []*shard {
	only, restricted := strings.CutPrefix(r.URL.Query().Get("preference"), "_shards:")
	if !restricted {
		return x.shards
	}
	var chosen []*shard
	for _, number := range strings.Split(only, ",") {
		if n, err := strconv.Atoi(number); err == nil && n < len(x.shards) {
			chosen = append(chosen, x.shards[n])
		}
	}
	return chosen
}

func answeredBy(shards []*shard) map[string]any {
	return map[string]any{"total": len(shards), "successful": len(shards), "failed": 0}
}

func countDocs(r *http.Request, x *index) any {
	query, chosen := searchBody(r).Query, chosenShards(r, x)
	count := 0
	for _, s := range chosen {
		for _, doc := range s.docs {
			if query.finds(doc) {
				count++
			}
		}
	}
	return map[string]any{"count": count, "_shards": answeredBy(chosen)}
}

// seqNoSum is the sum of the sequence numbers of what a search finds.
func seqNoSum(r *http.Request, x *index, body request) any {
	chosen := chosenShards(r, x)
	var count, sum int64
	for _, s := range chosen {
		for _, doc := range s.docs {
			if doc.seq != 0 && body.Query.finds(doc) {
				count++
				sum += doc.seq - 1
			}
		}
	}
	return map[string]any{
		"timed_out": false, "_shards": answeredBy(chosen), "hits": map[string]any{"total": count},
		"aggregations": map[string]any{"sum": map[string]any{"value": sum}},
	}
}

// seqNoBuckets is the histogram of the sequence numbers of what a search finds.
func seqNoBuckets(r *http.Request, x *index, body request) any {
	type bucket struct {
		Key   int64          `json:"key"`
		Count int64          `json:"doc_count"`
		Sum   map[string]any `json:"sum"`
	}
	chosen, interval := chosenShards(r, x), body.Aggs.Numbers.Histogram.Interval
	counts, sums := map[int64]int64{}, map[int64]int64{}
	for _, s := range chosen {
		for _, doc := range s.docs {
			if doc.seq != 0 && body.Query.finds(doc) {
				key := int64(math.Floor(float64(doc.seq-1)/float64(interval))) * interval
				counts[key]++
				sums[key] += doc.seq - 1
			}
		}
	}
	buckets := []bucket{}
	for key, count := range counts {
		buckets = append(buckets, bucket{key, count, map[string]any{"value": sums[key]}})
	}
	slices.SortFunc(buckets, func(a, b bucket) int { return int(a.Key - b.Key) })
	return map[string]any{
		"timed_out": false, "_shards": answeredBy(chosen),
		"aggregations": map[string]any{"numbers": map[string]any{"buckets": buckets}},
	}
}

// hasSeqNos tells whether operations get sequence numbers: from 6.0 on.
func (c *Cluster) hasSeqNos() bool { return c.Version >= "6" }

// operation gives an operation on a shard its sequence number.
func (c *Cluster) operation(s *shard) int64 {
	if !c.hasSeqNos() {
		return 0
	}
	s.operations++
	return s.operations
}

// Remove deletes documents, as an application would; an error means that a block refused it.
func (c *Cluster) Remove(name string, ids ...string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	x := c.indices[name]
	if x.blocksWrites() {
		return errBlocked(name)
	}
	for _, id := range ids {
		s := x.shardOf(id)
		delete(s.docs, id)
		c.operation(s)
		s.deleteTotal++
	}
	return nil
}
