package elastic

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/elastic/go-elasticsearch/v7/esapi"
)

// Disk is the room on the data nodes, in bytes.
type Disk struct {
	Known bool // false if the service hides the room
	Nodes int  // data nodes that gave figures
	// Least are the figures of the node with the least room, Sum those of all nodes together.
	// Available is what Elasticsearch can use. Free includes what the system reserves; it equals
	// Available if only that is known.
	LeastAvailable, LeastFree int64
	SumAvailable, SumFree     int64
	// Rooms are the figures of each data node, in no order.
	Rooms []DiskRoom
}

// DiskRoom is the room on one data node, in bytes.
type DiskRoom struct{ Available, Total int64 }

// DiskFree gives the room on the data nodes. Amazon redacts node statistics, so then
// _cat/allocation is asked. If that gives nothing either, Known is false and there is no error.
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
	d.Rooms = append(d.Rooms, DiskRoom{Available: available, Total: total})
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
	if err := c.do(ctx, call{operation: "read disk room"}, esapi.NodesStatsRequest{Metric: []string{"fs"}},
		&answer); err != nil {
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

// holdsData reports whether a node holds data: by the role "data", or from 7.10 on by a tier such
// as "data_hot".
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
	request := esapi.CatAllocationRequest{
		Format: "json", Bytes: "b", H: []string{"disk.avail", "disk.total"},
		Header: http.Header{"Accept": {"application/json"}},
	}
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

func parseBytes(text string) (int64, bool) {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	return n, err == nil
}
