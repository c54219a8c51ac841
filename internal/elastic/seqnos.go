package elastic

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"

	"github.com/elastic/go-elasticsearch/v7/esapi"
	"golang.org/x/sync/errgroup"
)

// From 6.0 on each operation on a shard gets the shard's next sequence number, and a document keeps
// that of its last operation. A snapshot and a restore keep the numbers, since they lie in the
// segments. So a number P cuts the documents of a shard in two:
//
//   - those not beyond P were there when the shard had reached P, and were not changed since;
//   - those beyond P came or were changed after it.
//
// Documents of segments that 5.x wrote have no number, and count as beyond each P. So do those with
// -2, which 6.x gives to what it replays of a 5.x translog (UNASSIGNED_SEQ_NO in its InternalEngine).
// An update moves a document beyond P, a delete takes it away. P must have been at most the shard's
// global checkpoint: what is above may be given to other operations after the primary failed.

const seqNoField = "_seq_no"

// notBeyond finds the documents whose sequence number is at most p.
func notBeyond(p int64) map[string]any {
	if p < 0 {
		return map[string]any{"match_none": map[string]any{}}
	}
	return between(-1, p)
}

// beyond finds all others. Where each document has a number, it looks at those only: the negation looks
// at all documents of the shard. With 4 million of them, on 6.8.23 and a busy computer, it took 107 to
// 597 milliseconds until Elasticsearch had it in its cache, and the range 9 to 30.
func beyond(p int64, numbered bool) map[string]any {
	if numbered {
		return map[string]any{"range": map[string]any{seqNoField: map[string]any{"gte": p + 1}}}
	}
	return map[string]any{"bool": map[string]any{"must_not": []any{notBeyond(p)}}}
}

// firstNumbered is the id of 6.0.0-alpha1. Its nodes gave each document a sequence number.
const firstNumbered = 6_00_00_01

// Numbered tells by an index's settings whether each of its documents has a sequence number: it was
// created by 6.0 or later. The setting survives snapshots, restores and upgrades.
func Numbered(settings map[string]string) bool {
	created, err := strconv.Atoi(settings["index.version.created"])
	return err == nil && created >= firstNumbered
}

// between finds the documents beyond one number, and not beyond another.
func between(from, to int64) map[string]any {
	return map[string]any{"range": map[string]any{seqNoField: map[string]any{"gte": from + 1, "lte": to}}}
}

// hasSeqNos refuses a version before 6.0: there such a query would find nothing, or everything.
func (c *Client) hasSeqNos(ctx context.Context, what call) error {
	version, err := c.Version(ctx)
	if err != nil {
		return err
	}
	if version.Major < 6 {
		return c.fail(what, NotSupported, fmt.Sprintf("Elasticsearch %s has no sequence numbers: they came with 6.0",
			version))
	}
	return nil
}

// CountNotBeyond is the number of documents of a shard whose sequence number is at most p, without
// nested ones. Refresh first. Where [Numbered] is true it takes those beyond p away from all: fewer
// documents have to be looked at. [NotSupported] before 6.0; [Unavailable] if the shard didn't answer.
func (c *Client) CountNotBeyond(ctx context.Context, index string, shard int, p int64, numbered bool) (int64, error) {
	what := call{operation: "count documents", subject: fmt.Sprintf("[%s][%d]", index, shard), slow: true}
	if err := c.named(what.operation, []string{index}); err != nil {
		return 0, err
	}
	if err := c.hasSeqNos(ctx, what); err != nil {
		return 0, err
	}
	if !numbered {
		return c.countShards(ctx, what, index, nil, []int{shard}, notBeyond(p))
	}
	var all, after int64
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		all, err = c.countShards(ctx, what, index, nil, []int{shard}, nil)
		return err
	})
	group.Go(func() (err error) {
		after, err = c.countShards(ctx, what, index, nil, []int{shard}, beyond(p, true))
		return err
	})
	err := group.Wait()
	return all - after, err
}

// countShards counts the documents of shards that a query finds; nil finds all.
func (c *Client) countShards(ctx context.Context, what call, index string, types []string, shards []int,
	query any,
) (int64, error) {
	request := esapi.CountRequest{
		Index: []string{segment(index)}, DocumentType: segments(types), Preference: onShards(shards),
	}
	if query != nil {
		request.Body = body(map[string]any{"query": query})
	}
	var answer struct {
		Count  int64        `json:"count"`
		Shards shardsHeader `json:"_shards"`
	}
	if err := c.do(ctx, what, request, &answer); err != nil {
		return 0, err
	}
	return answer.Count, c.answeredBy(what, answer.Shards, len(shards))
}

// answeredBy refuses an answer that doesn't come from exactly the shards that were asked.
func (c *Client) answeredBy(what call, header shardsHeader, shards int) error {
	switch {
	case header.Successful < header.Total:
		return c.fail(what, Unavailable, header.failure())
	case header.Total != shards:
		return c.fail(what, NotSupported, fmt.Sprintf("%d shards answered, and it should be %d: something in front of "+
			"the cluster may drop the parameter preference", header.Total, shards))
	}
	return nil
}

// SeqNoDigest tells which sequence numbers the documents of a shard have. Two shards with the same
// documents have equal digests.
type SeqNoDigest struct {
	Docs int64  `json:"docs"`
	Sum  string `json:"sum"` // a digest over number and sum
}

const (
	// digestBuckets is how many buckets one answer has at most. search.max_buckets is 10,000 up to
	// 7.x's middle and more later; it counts those of one request.
	digestBuckets = 1000
	// largestExact is the largest whole number up to which a double holds each one, and sums are
	// doubles.
	largestExact = 1 << 53
)

// SeqNoDigest is a digest of the sequence numbers, of at most p, that documents of a shard have. No
// two documents of a shard have the same, so it finds what two counts can't: one document lost and
// another one that should be gone. It reads no documents: see docs/verification.md for its cost.
//
// It is how many numbers there are, and their sum. So it misses only changes of several documents that
// leave both as they were. Beyond some 94 million the sum would not be exact: then there are several
// buckets of consecutive numbers. Errors as for CountNotBeyond.
func (c *Client) SeqNoDigest(ctx context.Context, index string, shard int, p int64) (SeqNoDigest, error) {
	what := call{operation: "digest sequence numbers", subject: fmt.Sprintf("[%s][%d]", index, shard), slow: true}
	if err := c.named(what.operation, []string{index}); err != nil {
		return SeqNoDigest{}, err
	}
	if err := c.hasSeqNos(ctx, what); err != nil {
		return SeqNoDigest{}, err
	}
	width := digestWidth(p)
	digest := sha256.New()
	_ = binary.Write(digest, binary.BigEndian, []int64{p, width})
	var total SeqNoDigest
	for from := int64(0); from <= p; from += width * digestBuckets {
		to := min(p, from+width*digestBuckets-1)
		buckets, err := c.seqNoBuckets(ctx, what, index, shard, from, to, width)
		if err != nil {
			return SeqNoDigest{}, err
		}
		for _, b := range buckets {
			total.Docs += b.Docs
			_ = binary.Write(digest, binary.BigEndian, []int64{int64(b.From), b.Docs, int64(b.Sum.Value)})
		}
	}
	total.Sum = hex.EncodeToString(digest.Sum(nil)[:16])
	return total, nil
}

// digestWidth makes buckets as large as they can be with an exact sum.
func digestWidth(p int64) int64 {
	if p <= 0 {
		return 1
	}
	// A bucket holds at most width documents, of at most p each.
	return min(max(largestExact/p-1, 1), p+1)
}

// seqNoBucket are the documents with sequence numbers from From on.
type seqNoBucket struct {
	From float64      `json:"key"`
	Docs int64        `json:"doc_count"`
	Sum  sumOfNumbers `json:"sum"`
}

type sumOfNumbers struct {
	Value float64 `json:"value"`
}

func (c *Client) seqNoBuckets(ctx context.Context, what call, index string, shard int,
	from, to, width int64,
) ([]seqNoBucket, error) {
	version, err := c.Version(ctx)
	if err != nil {
		return nil, err
	}
	sum := map[string]any{"sum": map[string]any{"sum": map[string]any{"field": seqNoField}}}
	query := map[string]any{
		"size": 0, "aggs": sum,
		"query": map[string]any{"range": map[string]any{
			seqNoField: map[string]any{"gte": from, "lte": to},
		}},
	}
	single := to-from < width
	if !single {
		query["aggs"] = map[string]any{"numbers": map[string]any{
			"histogram": map[string]any{"field": seqNoField, "interval": width, "offset": 0, "min_doc_count": 1},
			"aggs":      sum,
		}}
	}
	if version.Major >= 7 {
		query["track_total_hits"] = true
	}
	var answer struct {
		TimedOut bool         `json:"timed_out"`
		Shards   shardsHeader `json:"_shards"`
		Hits     struct {
			Total hitTotal `json:"total"`
		} `json:"hits"`
		Aggregations struct {
			Sum     *sumOfNumbers `json:"sum"`
			Numbers *struct {
				Buckets []seqNoBucket `json:"buckets"`
			} `json:"numbers"`
		} `json:"aggregations"`
	}
	request := esapi.SearchRequest{
		Index: []string{segment(index)}, Preference: onShards([]int{shard}), Body: body(query),
		FilterPath: []string{"timed_out", "_shards", "hits.total", "aggregations"},
		// What is proven is what the segments hold now; and nobody asks the same again.
		RequestCache: ptr(false),
	}
	if err := c.do(ctx, what, request, &answer); err != nil {
		return nil, err
	}
	if answer.TimedOut {
		return nil, c.fail(what, Unavailable, "the search timed out")
	}
	if err := c.answeredBy(what, answer.Shards, 1); err != nil {
		return nil, err
	}
	switch found := answer.Aggregations; {
	case single && found.Sum != nil:
		return []seqNoBucket{{From: float64(from), Docs: int64(answer.Hits.Total), Sum: *found.Sum}}, nil
	case !single && found.Numbers != nil:
		return found.Numbers.Buckets, nil
	}
	return nil, c.fail(what, Internal, "the answer has no sum of sequence numbers")
}
