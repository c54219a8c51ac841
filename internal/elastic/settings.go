package elastic

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/elastic/go-elasticsearch/v7/esapi"
)

// flatSettings decodes {"index.a":"1","index.b":["x","y"]}. It keeps texts, joins lists by commas
// and omits null.
type flatSettings map[string]string

func (f *flatSettings) UnmarshalJSON(raw []byte) error {
	var values map[string]json.RawMessage
	if err := json.Unmarshal(raw, &values); err != nil {
		return err
	}
	*f = make(flatSettings, len(values))
	for name, value := range values {
		var text string
		var texts []string
		switch {
		case string(value) == "null":
			continue
		case json.Unmarshal(value, &text) == nil:
			(*f)[name] = text
		case json.Unmarshal(value, &texts) == nil:
			(*f)[name] = strings.Join(texts, ",")
		default:
			(*f)[name] = string(value)
		}
	}
	return nil
}

// settings reads the flat settings of all indices that match. Exclusions ("-a*") work within one
// request only.
func (c *Client) settings(ctx context.Context, what call, patterns []string,
	expand string,
) (map[string]map[string]string, error) {
	groups := batches(patterns)
	for _, pattern := range patterns {
		if strings.HasPrefix(pattern, "-") {
			groups = [][]string{patterns}
		}
	}
	all := map[string]map[string]string{}
	for _, group := range groups {
		var answer map[string]struct {
			Settings flatSettings `json:"settings"`
		}
		err := c.do(ctx, what, esapi.IndicesGetSettingsRequest{
			Index: segments(group), FlatSettings: ptr(true), ExpandWildcards: expand,
		}, &answer)
		if err != nil {
			return nil, err
		}
		for name, index := range answer {
			all[name] = index.Settings
		}
	}
	return all, nil
}

// IndexSettings gives each index's explicit settings by flat name, e.g. "index.number_of_replicas":
// "1". The settings for an alias are under the name of its index.
func (c *Client) IndexSettings(ctx context.Context, indices []string) (map[string]map[string]string, error) {
	if err := c.named("read settings", indices); err != nil {
		return nil, err
	}
	return c.settings(ctx, call{operation: "read settings", subject: list(indices)}, indices, "")
}

// PutIndexSettings changes dynamic settings by flat name, e.g. "index.number_of_replicas": 1. From
// 5.0 on nil removes a setting. To repeat it is harmless.
func (c *Client) PutIndexSettings(ctx context.Context, indices []string, settings map[string]any) error {
	return c.putSettings(ctx, "change settings", indices, settings)
}

func (c *Client) putSettings(ctx context.Context, operation string, indices []string, settings map[string]any) error {
	if err := c.named(operation, indices); err != nil {
		return err
	}
	for _, batch := range batches(indices) {
		what := call{operation: operation, subject: list(batch), changes: true}
		wait := c.patience(ctx, what)
		err := c.acknowledge(ctx, what, esapi.IndicesPutSettingsRequest{
			Index: segments(batch), Body: body(settings), MasterTimeout: wait.master, Timeout: wait.nodes,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// ClusterSettings are a cluster's explicit settings by flat name.
type ClusterSettings struct {
	Persistent map[string]string
	Transient  map[string]string
}

// ClusterSettings reads the cluster's settings. [NotSupported] or [Unauthorized] where Amazon
// doesn't offer it.
func (c *Client) ClusterSettings(ctx context.Context) (ClusterSettings, error) {
	var answer struct {
		Persistent flatSettings `json:"persistent"`
		Transient  flatSettings `json:"transient"`
	}
	err := c.do(ctx, call{operation: "read cluster settings"}, esapi.ClusterGetSettingsRequest{FlatSettings: ptr(true)},
		&answer)
	return ClusterSettings{answer.Persistent, answer.Transient}, err
}

// PutClusterSettings changes the cluster's settings by flat name, as Amazon demands. From 5.0 on
// nil removes a setting. To repeat it is harmless.
func (c *Client) PutClusterSettings(ctx context.Context, persistent, transient map[string]any) error {
	settings := map[string]any{}
	if len(persistent) > 0 {
		settings["persistent"] = persistent
	}
	if len(transient) > 0 {
		settings["transient"] = transient
	}
	what := call{operation: "change cluster settings", changes: true}
	wait := c.patience(ctx, what)
	return c.acknowledge(ctx, what,
		esapi.ClusterPutSettingsRequest{Body: body(settings), MasterTimeout: wait.master, Timeout: wait.nodes})
}
