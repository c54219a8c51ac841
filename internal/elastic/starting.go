package elastic

import (
	"context"

	"github.com/elastic/go-elasticsearch/v7/esapi"
)

const indexNotFound = "index_not_found_exception"

// The ids of global blocks that Elasticsearch sets while it doesn't know its own state: from its
// start until it has read it (GatewayService), and without an elected master (NoMasterBlockService).
const (
	stateNotRecovered = "1"
	noMaster          = "2"
)

// lookAgain makes [Unavailable] of an index that isn't there only because the cluster has just been
// started: until it has read its state it has no indices, and says so by the same 404. Whoever
// believed it would take an index for deleted.
func (c *Client) lookAgain(ctx context.Context, failure *Error) {
	if failure.index == "" {
		return
	}
	var answer struct {
		Blocks struct {
			Global map[string]any `json:"global"`
		} `json:"blocks"`
		Metadata struct {
			Indices map[string]any `json:"indices"`
		} `json:"metadata"`
	}
	err := c.do(ctx, call{operation: "look whether the cluster has read its state", looks: true},
		esapi.ClusterStateRequest{
			Metric: []string{"blocks", "metadata"}, Index: segments([]string{failure.index}),
			IgnoreUnavailable: ptr(true),
			FilterPath:        []string{"blocks.global.*.description", "metadata.indices.*.state"},
		}, &answer)
	_, starting := answer.Blocks.Global[stateNotRecovered]
	_, alone := answer.Blocks.Global[noMaster]
	_, there := answer.Metadata.Indices[failure.index] // by now
	if starting || alone || there || KindOf(err) == Unavailable {
		failure.Kind = Unavailable
		failure.Reason += ", while the cluster was reading its state"
	}
}
