package elastic

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/elastic/go-elasticsearch/v7/esapi"
)

// AllAliases gives the aliases of every index of the cluster, open or closed, as Aliases does for
// some. It takes one request, whatever characters the names have.
func (c *Client) AllAliases(ctx context.Context) (map[string]map[string]json.RawMessage, error) {
	var answer map[string]struct {
		Aliases map[string]json.RawMessage `json:"aliases"`
	}
	err := c.do(ctx, call{operation: "read all aliases", slow: true},
		esapi.IndicesGetAliasRequest{ExpandWildcards: "all"}, &answer)
	if err != nil {
		return nil, err
	}
	all := make(map[string]map[string]json.RawMessage, len(answer))
	for name, index := range answer {
		all[name] = index.Aliases
	}
	return all, nil
}

// IndexAlias is one alias of one index.
type IndexAlias struct{ Index, Alias string }

// aliasActions bounds a request of RemoveAliases, so that the master has it done within its time.
const aliasActions = 500

// RemoveAliases takes aliases from open or closed indices. A request is carried out completely or
// not at all. [Missing] if an index is not there or lacks the alias: read them again then.
func (c *Client) RemoveAliases(ctx context.Context, aliases []IndexAlias) error {
	type target struct {
		Index string `json:"index"`
		Alias string `json:"alias"`
	}
	type action struct {
		Remove target `json:"remove"`
	}
	var names []string
	for _, alias := range aliases {
		names = append(names, alias.Index)
	}
	if err := c.named("remove aliases", names); err != nil {
		return err
	}
	for len(aliases) > 0 {
		batch := aliases[:min(len(aliases), aliasActions)]
		aliases = aliases[len(batch):]
		actions := make([]action, len(batch))
		texts := make([]string, len(batch))
		for i, alias := range batch {
			actions[i] = action{target(alias)}
			texts[i] = alias.Alias + " of " + alias.Index
		}
		what := call{operation: "remove aliases", subject: list(texts), slow: true}
		wait := c.patience(ctx, what)
		err := c.acknowledge(ctx, what, esapi.IndicesUpdateAliasesRequest{
			Body: body(map[string]any{"actions": actions}), MasterTimeout: wait.master, Timeout: wait.nodes,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Pipelines gives the ids of the ingest pipelines. There are none before 5.0.
func (c *Client) Pipelines(ctx context.Context) (map[string]bool, error) {
	var answer map[string]json.RawMessage
	err := c.do(ctx, call{operation: "read ingest pipelines"}, esapi.IngestGetPipelineRequest{}, &answer)
	if failure, ok := errors.AsType[*Error](err); ok && failure.Status == http.StatusNotFound &&
		failure.Type == "" && failure.Reason == "" {
		return map[string]bool{}, nil // with the body {}: from 5.x on, where there is none
	}
	if err != nil {
		return nil, err
	}
	ids := make(map[string]bool, len(answer))
	for id := range answer {
		ids[id] = true
	}
	return ids, nil
}
