package elastic

import (
	"context"
	"encoding/json"

	"github.com/elastic/go-elasticsearch/v7/esapi"
)

// definitionPaths are the settings that an index can't be opened without: what a node lacks for
// them keeps its shards from starting.
var definitionPaths = []string{
	"*.settings.index.analysis", "*.settings.index.similarity", "*.settings.index.store.type",
	"*.settings.index.codec", "*.settings.index.max_ngram_diff", "*.settings.index.max_shingle_diff",
	"*.settings.index.mapping.total_fields.limit", "*.settings.index.mapping.depth.limit",
	"*.settings.index.mapping.nested_fields.limit",
}

// Definitions gives those settings of each index that say what it is made of: analysis, similarity,
// store type, codec, and limits that they need. They are nested JSON below "index", in which lists
// stay lists, and empty for an index without any.
func (c *Client) Definitions(ctx context.Context, indices []string) (map[string]json.RawMessage, error) {
	if err := c.named("read definitions", indices); err != nil {
		return nil, err
	}
	definitions := map[string]json.RawMessage{}
	for _, batch := range batches(indices) {
		var answer map[string]struct {
			Settings struct {
				Index json.RawMessage `json:"index"`
			} `json:"settings"`
		}
		err := c.do(ctx, call{operation: "read definitions", subject: list(batch)}, esapi.IndicesGetSettingsRequest{
			Index: segments(batch), FilterPath: definitionPaths, ExpandWildcards: "open,closed",
		}, &answer)
		if err != nil {
			return nil, err
		}
		for name, index := range answer {
			definitions[name] = index.Settings.Index
		}
	}
	return definitions, nil
}

// NewIndex is what an index is created with. Each part is JSON, or nil.
type NewIndex struct {
	Settings map[string]json.RawMessage `json:"settings,omitempty"`
	Mappings json.RawMessage            `json:"mappings,omitempty"`
	Aliases  map[string]json.RawMessage `json:"aliases,omitempty"`
	// Typed says that the mappings have a level of types, for a cluster that takes none by default.
	Typed bool `json:"-"`
}

// CreateIndex creates an index, and waits for none of its shards. [Invalid] if the cluster can't
// use what it is made of. [AlreadyExists] if there is one of the name.
func (c *Client) CreateIndex(ctx context.Context, name string, index NewIndex) error {
	if err := c.named("create index", []string{name}); err != nil {
		return err
	}
	what := call{operation: "create index", subject: name, slow: true}
	wait := c.patience(ctx, what)
	request := esapi.IndicesCreateRequest{
		Index: segment(name), Body: body(index), WaitForActiveShards: "0",
		MasterTimeout: wait.master, Timeout: wait.nodes,
	}
	if index.Typed {
		request.IncludeTypeName = ptr(true)
	}
	return c.acknowledge(ctx, what, request)
}
