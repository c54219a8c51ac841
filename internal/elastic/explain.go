package elastic

import (
	"context"
	"fmt"

	"github.com/elastic/go-elasticsearch/v7/esapi"
)

// RestoreDecider is the decider that keeps a primary from every node once its restore has failed
// for good (from 6.2 on).
const RestoreDecider = "restore_in_progress"

// WhyUnassigned asks why no node takes a primary. It returns, by decider, the first explanation of
// each that says no. [Missing] or [Invalid] if there is no such shard, or a node holds it.
func (c *Client) WhyUnassigned(ctx context.Context, index string, shard int) (map[string]string, error) {
	what := call{operation: "explain allocation", subject: fmt.Sprintf("[%s][%d]", index, shard)}
	request := struct {
		Index   string `json:"index"`
		Shard   int    `json:"shard"`
		Primary bool   `json:"primary"`
	}{index, shard, true}
	var answer struct {
		Nodes []struct {
			Deciders []struct {
				Decider     string `json:"decider"`
				Decision    string `json:"decision"`
				Explanation string `json:"explanation"`
			} `json:"deciders"`
		} `json:"node_allocation_decisions"`
	}
	if err := c.do(ctx, what, esapi.ClusterAllocationExplainRequest{Body: body(request)}, &answer); err != nil {
		return nil, err
	}
	why := map[string]string{}
	for _, node := range answer.Nodes {
		for _, d := range node.Deciders {
			if why[d.Decider] == "" && d.Decision == "NO" {
				why[d.Decider] = oneLine(c.redactor.Text(d.Explanation))
			}
		}
	}
	return why, nil
}
