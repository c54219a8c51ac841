package elastic

import (
	"context"
	"encoding/json"
)

// Metadata is what an index is beside its documents.
type Metadata struct {
	Settings map[string]string // explicit ones, flat names
	Mapping  Mapping
	Aliases  map[string]json.RawMessage // empty unless they were asked for
}

// Metadata reads settings, mappings and, if wanted, aliases of indices. A mapping or a list of
// synonyms may have megabytes, so most bounds each answer, in bytes: [ErrTooLarge] above it, and
// the caller asks for fewer indices. 0 stands for no such bound.
func (c *Client) Metadata(ctx context.Context, indices []string, aliases bool,
	most int64,
) (map[string]Metadata, error) {
	if err := c.named("read settings", indices); err != nil {
		return nil, err
	}
	settings, err := c.settings(ctx, call{operation: "read settings", subject: list(indices), most: most}, indices, "")
	if err != nil {
		return nil, err
	}
	mappings, err := c.mappings(ctx, indices, most)
	if err != nil {
		return nil, err
	}
	var named map[string]map[string]json.RawMessage
	if aliases {
		if named, err = c.aliases(ctx, indices, most); err != nil {
			return nil, err
		}
	}
	all := make(map[string]Metadata, len(indices))
	for _, name := range indices {
		all[name] = Metadata{Settings: settings[name], Mapping: mappings[name], Aliases: named[name]}
	}
	return all, nil
}
