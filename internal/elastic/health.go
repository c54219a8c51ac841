package elastic

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/elastic/go-elasticsearch/v7/esapi"
)

// Health is the state of the cluster or of some indices.
type Health struct {
	// green, yellow (a replica is missing), red (a primary is missing). From 5.0 on an index is yellow
	// while its primaries are restored, as long as none has failed.
	Status             string
	ActiveShards       int
	RelocatingShards   int
	InitializingShards int
	UnassignedShards   int
	DataNodes          int
	Indices            map[string]string // status of each index named; an index that doesn't exist isn't in it
}

// Health gives the health of the indices named, or of the complete cluster for none. It doesn't
// wait.
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

// AwaitPrimaries waits until every primary of the indices is active, for as long as it is told to.
// It reports whether they are. From 5.0 on one that is being restored counts as active: for those there
// is [Client.AwaitActive]. An index that doesn't exist is waited for.
func (c *Client) AwaitPrimaries(ctx context.Context, indices []string, wait time.Duration) (bool, error) {
	return c.awaitHealth(ctx, "wait for primaries", indices, wait,
		func([]string) esapi.ClusterHealthRequest { return esapi.ClusterHealthRequest{WaitForStatus: "yellow"} })
}

// AwaitActive waits until the indices have so many active copies of their shards, for as long as it is
// told to. It reports whether they have. The numbers of one request are added up: a replica counts as
// much as a primary of another index. An index that doesn't exist is waited for.
func (c *Client) AwaitActive(ctx context.Context, copies map[string]int, wait time.Duration) (bool, error) {
	return c.awaitHealth(ctx, "wait for shards", slices.Sorted(maps.Keys(copies)), wait,
		func(batch []string) esapi.ClusterHealthRequest {
			sum := 0
			for _, name := range batch {
				sum += copies[name]
			}
			return esapi.ClusterHealthRequest{WaitForActiveShards: strconv.Itoa(sum)}
		})
}

// awaitHealth has the cluster answer as soon as something is so, which is sooner than a poll, and costs
// one request for each batch of names.
func (c *Client) awaitHealth(ctx context.Context, operation string, indices []string, wait time.Duration,
	until func(batch []string) esapi.ClusterHealthRequest,
) (bool, error) {
	if err := c.named(operation, indices); err != nil {
		return false, err
	}
	end := time.Now().Add(wait)
	err := eachBatch(ctx, indices, func(ctx context.Context, batch []string) error {
		var answer struct {
			TimedOut bool `json:"timed_out"`
		}
		what, request := call{operation: operation, subject: list(batch)}, until(batch)
		request.Index = segments(batch)
		request.Timeout = min(max(time.Until(end), time.Millisecond), c.limit(what)/2).Truncate(time.Millisecond)
		err := c.do(ctx, what, request, &answer)
		if e, ok := errors.AsType[*Error](err); ok && e.Status == http.StatusRequestTimeout || answer.TimedOut {
			return errNotYet // with the usual answer as its body
		}
		return err
	})
	if errors.Is(err, errNotYet) {
		return false, nil
	}
	return err == nil, err
}

var errNotYet = errors.New("not yet so")

func worse(a, b string) string {
	rank := map[string]int{"green": 0, "yellow": 1, "red": 2}
	if rank[b] > rank[a] {
		return b
	}
	return a
}
