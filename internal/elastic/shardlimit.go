package elastic

import (
	"context"
	"encoding/json"
	"strconv"

	"github.com/elastic/go-elasticsearch/v7/esapi"
)

// ShardRoom is how many shards a cluster holds, and how many it allows.
type ShardRoom struct {
	// PerNode is cluster.max_shards_per_node, Nodes counts the data nodes. PerNode is 0 where the
	// version has no such limit.
	PerNode, Nodes int
	// Open counts the copies of all shards of open indices, assigned or not.
	Open int
	// Enforced is false in 6.x, which only warns.
	Enforced bool
}

// Limit is how many shards the cluster allows.
func (r ShardRoom) Limit() int { return r.PerNode * r.Nodes }

// Fits reports whether so many more shards are within the limit.
func (r ShardRoom) Fits(more int) bool { return r.PerNode == 0 || r.Open+more <= r.Limit() }

// Needed is the cluster.max_shards_per_node with which so many more shards fit.
func (r ShardRoom) Needed(more int) int {
	nodes := max(1, r.Nodes)
	return (r.Open + more + nodes - 1) / nodes
}

// maxShardsPerNode limits the shards of a cluster, from 7.0 on. 6.x logs a warning instead, unless
// its nodes are started with es.enforce_max_shards_per_node.
const (
	maxShardsPerNode        = "cluster.max_shards_per_node"
	defaultMaxShardsPerNode = 1000
)

// ShardRoom reads how many shards the cluster holds and allows. A service that hides the cluster's
// settings counts as one with the default.
func (c *Client) ShardRoom(ctx context.Context) (ShardRoom, error) {
	version, err := c.Version(ctx)
	if err != nil || version.Major < 6 {
		return ShardRoom{}, err
	}
	settings, err := c.ClusterSettings(ctx)
	if err != nil && !hidden(err) {
		return ShardRoom{}, err
	}
	room := ShardRoom{PerNode: defaultMaxShardsPerNode, Enforced: version.Major >= 7}
	for _, kind := range []map[string]string{settings.Persistent, settings.Transient} { // transient ones win
		if limit, err := strconv.Atoi(kind[maxShardsPerNode]); err == nil {
			room.PerNode = limit
		}
	}
	health, err := c.Health(ctx, nil)
	if err != nil {
		return ShardRoom{}, err
	}
	room.Nodes = health.DataNodes
	room.Open = health.ActiveShards + health.InitializingShards + health.UnassignedShards
	closed, err := c.closedShards(ctx, version)
	room.Open -= closed
	return room, err
}

// closedShards counts the shards of closed indices that health shows: from 7.2 on they are
// allocated, and the limit doesn't count them.
func (c *Client) closedShards(ctx context.Context, version Version) (int, error) {
	if !version.AtLeast(7, 2) {
		return 0, nil
	}
	settings, err := c.settings(ctx, call{operation: "read settings of closed indices"}, []string{"_all"}, "closed")
	if err != nil {
		return 0, err
	}
	var names []string
	for name := range settings {
		if settings[name]["index.verified_before_close"] == "true" {
			names = append(names, name)
		}
	}
	count := 0
	for _, name := range names {
		index := newIndex(name, settings[name], false)
		count += index.Shards * (1 + index.Replicas)
	}
	return count, nil
}

// LifecyclePolicies names the index lifecycle policies that the cluster knows. A cluster without
// such policies (before 6.6, or without X-Pack) knows none.
func (c *Client) LifecyclePolicies(ctx context.Context) (map[string]bool, error) {
	var answer map[string]json.RawMessage
	err := c.do(ctx, call{operation: "list lifecycle policies"},
		esapi.ILMGetLifecycleRequest{FilterPath: []string{"*.version"}}, &answer)
	known := make(map[string]bool, len(answer))
	switch KindOf(err) {
	case None:
		for name := range answer {
			known[name] = true
		}
	case Missing, NotSupported, Invalid:
		return known, nil
	}
	return known, err
}
