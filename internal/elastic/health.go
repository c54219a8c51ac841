package elastic

import (
	"context"
	"net/http"

	"github.com/elastic/go-elasticsearch/v7/esapi"
)

// Health is the state of the cluster or of some indices.
type Health struct {
	Status             string // green, yellow (a replica is missing), red (a primary is missing, normal during a restore)
	ActiveShards       int
	RelocatingShards   int
	InitializingShards int
	UnassignedShards   int
	DataNodes          int
	Indices            map[string]string // status of each index named; an index that doesn't exist isn't in it
}

// Health gives the health of the indices named, or of the whole cluster for none. It doesn't wait.
func (c *Client) Health(ctx context.Context, indices []string) (Health, error) {
	if len(indices) > 0 {
		if err := c.named("read health", indices); err != nil {
			return Health{}, err
		}
	}
	groups := batches(indices)
	if len(groups) == 0 {
		groups = [][]string{nil}
	}
	total := Health{Status: "green", Indices: map[string]string{}}
	for _, batch := range groups {
		var answer struct {
			Status       string `json:"status"`
			Active       int    `json:"active_shards"`
			Relocating   int    `json:"relocating_shards"`
			Initializing int    `json:"initializing_shards"`
			Unassigned   int    `json:"unassigned_shards"`
			DataNodes    int    `json:"number_of_data_nodes"`
			Indices      map[string]struct {
				Status string `json:"status"`
			} `json:"indices"`
		}
		request := esapi.ClusterHealthRequest{Index: segments(batch)}
		if len(batch) > 0 {
			request.Level = "indices"
		}
		if err := c.do(ctx, call{operation: "read health", subject: list(batch)}, request, &answer); err != nil {
			return Health{}, err
		}
		total.Status = worse(total.Status, answer.Status)
		total.ActiveShards += answer.Active
		total.RelocatingShards += answer.Relocating
		total.InitializingShards += answer.Initializing
		total.UnassignedShards += answer.Unassigned
		total.DataNodes = answer.DataNodes
		for name, index := range answer.Indices {
			total.Indices[name] = index.Status
		}
	}
	return total, nil
}

func worse(a, b string) string {
	rank := map[string]int{"green": 0, "yellow": 1, "red": 2}
	if rank[b] > rank[a] {
		return b
	}
	return a
}

// Disk is the room on the data nodes, in bytes.
type Disk struct {
	Known bool // false if the service hides it
	Nodes int  // data nodes that told
	// Least are the figures of the node with the least room, Sum those of all nodes together. Available is what
	// Elasticsearch can use, Free includes what the system keeps for itself; where only Available is told, Free equals it.
	LeastAvailable, LeastFree         int64
	SumAvailable, SumFree, SumInTotal int64
}

// DiskFree gives the room on the data nodes. Amazon redacts node statistics; _cat/allocation is asked then, and if that
// tells nothing either, Known is false without an error.
func (c *Client) DiskFree(ctx context.Context) (Disk, error) {
	disk, err := c.diskOfNodes(ctx)
	if err != nil && !hidden(err) || disk.Known {
		return disk, err
	}
	disk, err = c.diskOfAllocation(ctx)
	if hidden(err) {
		return Disk{}, nil
	}
	return disk, err
}

func hidden(err error) bool {
	switch KindOf(err) {
	case NotSupported, Unauthorized, Missing, Invalid:
		return true
	}
	return false
}

func (d *Disk) add(available, free, total int64) {
	if !d.Known || available < d.LeastAvailable {
		d.LeastAvailable = available
	}
	if !d.Known || free < d.LeastFree {
		d.LeastFree = free
	}
	d.Known = true
	d.Nodes++
	d.SumAvailable += available
	d.SumFree += free
	d.SumInTotal += total
}

func (c *Client) diskOfNodes(ctx context.Context) (Disk, error) {
	var answer struct {
		Nodes map[string]struct {
			Roles []string `json:"roles"` // absent before 5.0
			FS    struct {
				Total struct {
					Total     int64  `json:"total_in_bytes"`
					Free      int64  `json:"free_in_bytes"`
					Available *int64 `json:"available_in_bytes"`
				} `json:"total"`
			} `json:"fs"`
		} `json:"nodes"`
	}
	if err := c.do(ctx, call{operation: "read disk room"}, esapi.NodesStatsRequest{Metric: []string{"fs"}}, &answer); err != nil {
		return Disk{}, err
	}
	var disk Disk
	for _, node := range answer.Nodes {
		if fs := node.FS.Total; fs.Available != nil && holdsData(node.Roles) {
			disk.add(*fs.Available, fs.Free, fs.Total)
		}
	}
	return disk, nil
}

// holdsData knows "data" and the tiers of 7.10 and later, such as "data_hot".
func holdsData(roles []string) bool {
	for _, role := range roles {
		if len(role) >= 4 && role[:4] == "data" {
			return true
		}
	}
	return roles == nil
}

func (c *Client) diskOfAllocation(ctx context.Context) (Disk, error) {
	var rows []struct {
		Available string `json:"disk.avail"` // null for the row of unassigned shards
		Total     string `json:"disk.total"`
	}
	request := esapi.CatAllocationRequest{Format: "json", Bytes: "b", H: []string{"disk.avail", "disk.total"},
		Header: http.Header{"Accept": {"application/json"}}}
	if err := c.do(ctx, call{operation: "read disk room"}, request, &rows); err != nil {
		return Disk{}, err
	}
	var disk Disk
	for _, row := range rows {
		if available, ok := parseBytes(row.Available); ok {
			total, _ := parseBytes(row.Total)
			disk.add(available, available, total)
		}
	}
	return disk, nil
}
