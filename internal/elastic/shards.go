package elastic

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/elastic/go-elasticsearch/v7/esapi"
)

// ShardRecovery tells where the data of one shard copy comes from, and how much of it is there.
type ShardRecovery struct {
	Index   string
	Shard   int
	Primary bool
	// upper case: SNAPSHOT, PEER, EXISTING_STORE, EMPTY_STORE, LOCAL_SHARDS, before 5.0 also STORE,
	// REPLICA
	Type  string
	Stage string // upper case: INIT, INDEX, VERIFY_INDEX, TRANSLOG, FINALIZE, DONE; there is none for "failed"

	Repository, Snapshot string // of type SNAPSHOT
	Node                 string // that holds the copy

	BytesTotal, BytesReused, BytesRecovered int64 // of all files, of those already there, copied so far
	FilesTotal, FilesReused, FilesRecovered int64
	StartMillis, StopMillis                 int64 // since 1970; StopMillis is 0 until DONE
}

// Done reports whether the shard copy is complete.
func (r ShardRecovery) Done() bool { return r.Stage == "DONE" }

// Recovery gives the recoveries of all current shard copies of the indices, sorted by index and
// shard, primaries first.
//
// It proves no success alone; compare it with [Client.Shards]:
//
//   - the answer may be empty directly after a restore began
//   - a shard that failed isn't in it
//   - the type changes after a relocation or after the restart of a node
func (c *Client) Recovery(ctx context.Context, indices []string) ([]ShardRecovery, error) {
	if err := c.named("read recovery", indices); err != nil {
		return nil, err
	}
	type amounts struct {
		TotalInBytes     int64 `json:"total_in_bytes"`
		ReusedInBytes    int64 `json:"reused_in_bytes"`
		RecoveredInBytes int64 `json:"recovered_in_bytes"`
		Total            int64 `json:"total"`
		Reused           int64 `json:"reused"`
		Recovered        int64 `json:"recovered"`
	}
	var recoveries []ShardRecovery
	for _, batch := range batches(indices) {
		var answer map[string]struct {
			Shards []struct {
				ID          int    `json:"id"`
				Type        string `json:"type"`
				Stage       string `json:"stage"`
				Primary     bool   `json:"primary"`
				StartMillis int64  `json:"start_time_in_millis"`
				StopMillis  int64  `json:"stop_time_in_millis"`
				Source      struct {
					Repository string `json:"repository"`
					Snapshot   string `json:"snapshot"`
				} `json:"source"`
				Target struct {
					Name string `json:"name"`
				} `json:"target"`
				Index struct {
					Size  amounts `json:"size"`
					Files amounts `json:"files"`
				} `json:"index"`
			} `json:"shards"`
		}
		what := call{operation: "read recovery", subject: list(batch)}
		if err := c.do(ctx, what, esapi.IndicesRecoveryRequest{Index: segments(batch)}, &answer); err != nil {
			return nil, err
		}
		for _, index := range slices.Sorted(maps.Keys(answer)) {
			for _, s := range answer[index].Shards {
				recoveries = append(recoveries, ShardRecovery{
					Index: index, Shard: s.ID, Primary: s.Primary,
					Type: strings.ToUpper(s.Type), Stage: strings.ToUpper(s.Stage),
					Repository: s.Source.Repository, Snapshot: s.Source.Snapshot, Node: s.Target.Name,
					BytesTotal: s.Index.Size.TotalInBytes, BytesReused: s.Index.Size.ReusedInBytes,
					BytesRecovered: s.Index.Size.RecoveredInBytes,
					FilesTotal:     s.Index.Files.Total, FilesReused: s.Index.Files.Reused,
					FilesRecovered: s.Index.Files.Recovered,
					StartMillis:    s.StartMillis, StopMillis: s.StopMillis,
				})
			}
		}
	}
	slices.SortStableFunc(recoveries, func(a, b ShardRecovery) int {
		return compareShards(a.Index, b.Index, a.Shard, b.Shard, a.Primary, b.Primary)
	})
	return recoveries, nil
}

func compareShards(indexA, indexB string, a, b int, primaryA, primaryB bool) int {
	switch {
	case indexA != indexB:
		return strings.Compare(indexA, indexB)
	case a != b:
		return a - b
	case primaryA == primaryB:
		return 0
	case primaryA:
		return -1
	}
	return 1
}

// ShardCopy is one copy of one shard in the routing table.
type ShardCopy struct {
	Index        string
	Shard        int
	Primary      bool
	State        string // UNASSIGNED, INITIALIZING, STARTED, RELOCATING
	Node         string // id of the node; empty while unassigned
	AllocationID string // changes with each new allocation of the copy
	Source       *RecoverySource
	Unassigned   *Unassigned // also kept while INITIALIZING
}

// RecoverySource says where an unassigned or initializing primary gets its data from. It exists
// from 5.0 on, until the primary has started.
type RecoverySource struct {
	Type       string `json:"type"` // SNAPSHOT, EXISTING_STORE, EMPTY_STORE, LOCAL_SHARDS, PEER
	Repository string `json:"repository"`
	Snapshot   string `json:"snapshot"`
}

// Unassigned says why a shard copy is on no node.
type Unassigned struct {
	Reason           string `json:"reason"` // e.g. EXISTING_INDEX_RESTORED, NEW_INDEX_RESTORED, ALLOCATION_FAILED
	Details          string `json:"details"`
	At               string `json:"at"` // RFC 3339
	FailedAttempts   int    `json:"failed_attempts"`
	AllocationStatus string `json:"allocation_status"` // e.g. deciders_no, no_attempt
}

// Started reports whether the shard copy serves requests.
func (s ShardCopy) Started() bool { return s.State == "STARTED" || s.State == "RELOCATING" }

// String names the copy, e.g. "[movies][3] primary".
func (s ShardCopy) String() string {
	if s.Primary {
		return fmt.Sprintf("[%s][%d] primary", s.Index, s.Shard)
	}
	return fmt.Sprintf("[%s][%d] replica", s.Index, s.Shard)
}

// Shards gives the routing of every copy of every shard, sorted by index and shard, primaries
// first. It reads the cluster state, since _cat/shards doesn't show the source of a restore. Before
// 7.2 closed indices have no copies. An index that doesn't exist is missing in the answer without
// an error: compare the answer with the indices that you expect.
func (c *Client) Shards(ctx context.Context, indices []string) ([]ShardCopy, error) {
	if err := c.named("read shards", indices); err != nil {
		return nil, err
	}
	var copies []ShardCopy
	for _, batch := range batches(indices) {
		var answer struct {
			RoutingTable struct {
				Indices map[string]struct {
					Shards map[string][]struct {
						State        string          `json:"state"`
						Primary      bool            `json:"primary"`
						Node         string          `json:"node"`
						Shard        int             `json:"shard"`
						Source       *RecoverySource `json:"recovery_source"`
						AllocationID struct {
							ID string `json:"id"`
						} `json:"allocation_id"`
						Unassigned *Unassigned `json:"unassigned_info"`
					} `json:"shards"`
				} `json:"indices"`
			} `json:"routing_table"`
		}
		what := call{operation: "read shards", subject: list(batch)}
		err := c.do(ctx, what, esapi.ClusterStateRequest{
			Metric: []string{"routing_table"}, Index: segments(batch),
			FilterPath: []string{"routing_table"},
		}, &answer)
		if err != nil {
			return nil, err
		}
		for index, table := range answer.RoutingTable.Indices {
			for _, shard := range table.Shards {
				for _, s := range shard {
					if s.Unassigned != nil {
						s.Unassigned.Details = oneLine(c.redactor.Text(s.Unassigned.Details))
					}
					copies = append(copies, ShardCopy{
						Index: index, Shard: s.Shard, Primary: s.Primary, State: s.State,
						Node:         s.Node,
						AllocationID: s.AllocationID.ID, Source: s.Source, Unassigned: s.Unassigned,
					})
				}
			}
		}
	}
	slices.SortStableFunc(copies, func(a, b ShardCopy) int {
		return compareShards(a.Index, b.Index, a.Shard, b.Shard, a.Primary, b.Primary)
	})
	return copies, nil
}
