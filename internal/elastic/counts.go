package elastic

import (
	"context"
	"slices"

	"github.com/elastic/go-elasticsearch/v7/esapi"
)

// Counts gives for each index what [Client.Count] gives, in one request for as many indices as fit
// into a request line. One index that can't be read refuses the complete request.
func (c *Client) Counts(ctx context.Context, indices []string) (map[string]int64, error) {
	if err := c.named("count documents", indices); err != nil {
		return nil, err
	}
	counts := make(map[string]int64, len(indices))
	alone, err := c.withPercolators(ctx, indices)
	if err != nil {
		return nil, err
	}
	var together []string
	for _, name := range indices {
		if !slices.Contains(alone, name) {
			together = append(together, name)
			continue
		}
		if counts[name], err = c.Count(ctx, name); err != nil {
			return nil, err
		}
	}
	for _, batch := range batches(together) {
		if err := c.countTogether(ctx, batch, counts); err != nil {
			return nil, err
		}
	}
	return counts, nil
}

// withPercolators are the indices of which a search for several indices would not find everything.
func (c *Client) withPercolators(ctx context.Context, indices []string) ([]string, error) {
	version, err := c.Version(ctx)
	if err != nil || version.Major >= 5 {
		return nil, err
	}
	mappings, err := c.Mappings(ctx, indices)
	var found []string
	for _, name := range indices {
		if slices.Contains(mappings[name].Types, percolatorType) {
			found = append(found, name)
		}
	}
	return found, err
}

func (c *Client) countTogether(ctx context.Context, batch []string, counts map[string]int64) error {
	var answer struct {
		TimedOut     bool         `json:"timed_out"`
		Shards       shardsHeader `json:"_shards"`
		Aggregations struct {
			Indices struct {
				Others  int64 `json:"sum_other_doc_count"`
				Buckets []struct {
					Key   string `json:"key"`
					Count int64  `json:"doc_count"`
				} `json:"buckets"`
			} `json:"indices"`
		} `json:"aggregations"`
	}
	what := call{operation: "count documents", subject: list(batch), slow: true}
	request := map[string]any{
		"size": 0,
		"aggs": map[string]any{"indices": map[string]any{
			"terms": map[string]any{"field": "_index", "size": len(batch)},
		}},
	}
	err := c.do(ctx, what, esapi.SearchRequest{Index: segments(batch), Body: body(request)}, &answer)
	switch {
	case err != nil:
		return err
	case answer.Shards.Successful < answer.Shards.Total:
		return c.fail(what, answer.Shards.kind(), answer.Shards.failure())
	case answer.TimedOut || answer.Aggregations.Indices.Others > 0:
		return c.fail(what, Unavailable, "the answer is not complete")
	}
	for _, name := range batch {
		counts[name] = 0
	}
	for _, bucket := range answer.Aggregations.Indices.Buckets {
		counts[bucket.Key] = bucket.Count
	}
	return nil
}
