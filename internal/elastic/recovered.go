package elastic

import (
	"context"
	"slices"
	"strings"

	"github.com/elastic/go-elasticsearch/v7/esapi"
)

// RecoveredShard tells which files a primary took from a snapshot when it was restored. It is what
// the node remembers of the restore: later merges don't change it. It is gone once the shard moved
// or its node was restarted, and then Snapshot is empty.
type RecoveredShard struct {
	Index                string
	Shard                int
	Repository, Snapshot string
	// Count and Bytes are of all files, also of those that were there already and were reused.
	Count, Bytes int64
	// Files are their names and lengths. Only 7.x tells them: 5.x and 6.x take the parameter
	// detailed, but then look for another one, which they refuse.
	Files []RecoveredFile
}

// RecoveredFile is a file of a shard on disk.
type RecoveredFile struct {
	Name   string `json:"name"`
	Length int64  `json:"length_in_bytes"`
}

var recoveredFields = []string{
	"*.shards.id", "*.shards.type", "*.shards.stage", "*.shards.primary", "*.shards.source.repository",
	"*.shards.source.snapshot", "*.shards.index.size.total_in_bytes", "*.shards.index.files.total",
	"*.shards.index.files.details.name", "*.shards.index.files.details.length_in_bytes",
}

// RecoveredFiles tells of each primary of the indices which files it recovered, sorted by index and
// shard. The answer holds each file's name: ask for few shards at a time. [Missing] if an index
// isn't there.
func (c *Client) RecoveredFiles(ctx context.Context, indices []string) ([]RecoveredShard, error) {
	if err := c.named("read recovered files", indices); err != nil {
		return nil, err
	}
	var shards []RecoveredShard
	for _, batch := range batches(indices) {
		var answer map[string]struct {
			Shards []struct {
				ID      int    `json:"id"`
				Type    string `json:"type"`
				Stage   string `json:"stage"`
				Primary bool   `json:"primary"`
				Source  struct {
					Repository string `json:"repository"`
					Snapshot   string `json:"snapshot"`
				} `json:"source"`
				Index struct {
					Size struct {
						Total int64 `json:"total_in_bytes"`
					} `json:"size"`
					Files struct {
						Total   int64           `json:"total"`
						Details []RecoveredFile `json:"details"`
					} `json:"files"`
				} `json:"index"`
			} `json:"shards"`
		}
		what := call{operation: "read recovered files", subject: list(batch)}
		request := esapi.IndicesRecoveryRequest{
			Index: segments(batch), Detailed: ptr(true), FilterPath: recoveredFields,
		}
		if err := c.do(ctx, what, request, &answer); err != nil {
			return nil, err
		}
		for index, found := range answer {
			for _, s := range found.Shards {
				if !s.Primary {
					continue
				}
				shard := RecoveredShard{Index: index, Shard: s.ID}
				if strings.EqualFold(s.Type, "SNAPSHOT") && strings.EqualFold(s.Stage, "DONE") {
					shard.Repository, shard.Snapshot = s.Source.Repository, s.Source.Snapshot
					shard.Count, shard.Bytes = s.Index.Files.Total, s.Index.Size.Total
					shard.Files = s.Index.Files.Details
				}
				shards = append(shards, shard)
			}
		}
	}
	slices.SortFunc(shards, func(a, b RecoveredShard) int {
		return compareShards(a.Index, b.Index, a.Shard, b.Shard, true, true)
	})
	return shards, nil
}
