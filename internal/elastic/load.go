package elastic

import (
	"context"

	"github.com/elastic/go-elasticsearch/v7/esapi"
)

// Load is what an index's primaries hold, and what was done to them.
type Load struct {
	// Docs and Deleted count Lucene documents, nested ones included: those that are there, and the
	// deleted ones that are still in segments. Bytes is the size of all, and Segments counts the
	// segments.
	Docs, Deleted, Bytes, Segments int64
	// Operations since each primary was started where it is now. A shard that moves begins again at 0.
	// MergedBytes is the size of the segments that merges have read since then: they have written at
	// most as much.
	IndexTotal, DeleteTotal, MergedBytes int64
}

// Loads gives the load of each index. All of them must be open.
func (c *Client) Loads(ctx context.Context, open []string) (map[string]Load, error) {
	loads := map[string]Load{}
	for _, batch := range batches(open) {
		var answer struct {
			Indices map[string]struct {
				Primaries struct {
					shardStats
					Store struct {
						SizeInBytes int64 `json:"size_in_bytes"`
					} `json:"store"`
					Merges struct {
						TotalSizeInBytes int64 `json:"total_size_in_bytes"`
					} `json:"merges"`
					Segments struct {
						Count int64 `json:"count"`
					} `json:"segments"`
				} `json:"primaries"`
			} `json:"indices"`
		}
		err := c.do(ctx, call{operation: "read index loads", subject: list(batch)}, esapi.IndicesStatsRequest{
			Index: segments(batch), Metric: []string{"docs", "indexing", "merge", "segments", "store"},
		}, &answer)
		if err != nil {
			return nil, err
		}
		for name, index := range answer.Indices {
			p := index.Primaries
			loads[name] = Load{
				Docs: p.Docs.Count, Deleted: p.Docs.Deleted, Bytes: p.Store.SizeInBytes, Segments: p.Segments.Count,
				IndexTotal: p.Indexing.IndexTotal, DeleteTotal: p.Indexing.DeleteTotal,
				MergedBytes: p.Merges.TotalSizeInBytes,
			}
		}
	}
	return loads, nil
}
