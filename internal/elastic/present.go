package elastic

import (
	"context"
	"slices"

	"github.com/elastic/go-elasticsearch/v7/esapi"
)

// Present finds which of the names are indices, open or closed, and which are aliases. Other names
// are absent, which is no error. It reads no sizes, and takes few requests even if many names are
// absent.
func (c *Client) Present(ctx context.Context, names []string) (indices map[string]Index, aliases []string, err error) {
	if err := c.named("look for indices", names); err != nil {
		return nil, nil, err
	}
	indices = map[string]Index{}
	var answered []string // an alias is answered under the names of its indices
	for _, batch := range batches(names) {
		var answer map[string]struct {
			Settings flatSettings `json:"settings"`
		}
		err := c.do(ctx, call{operation: "look for indices", subject: list(batch)}, esapi.IndicesGetSettingsRequest{
			Index: segments(batch), FlatSettings: ptr(true), ExpandWildcards: "open,closed",
			IgnoreUnavailable: ptr(true),
		}, &answer)
		if err != nil {
			return nil, nil, err
		}
		for name, index := range answer {
			answered = append(answered, name)
			if slices.Contains(names, name) {
				indices[name] = newIndex(name, index.Settings, false)
			}
		}
	}
	slices.Sort(answered)
	answered = slices.Compact(answered)
	if len(answered) == 0 {
		return indices, nil, nil
	}
	if aliases, err = c.aliasesAmong(ctx, names, indices, answered); err != nil {
		return nil, nil, err
	}
	states, err := c.indexStates(ctx, answered)
	if err != nil {
		return nil, nil, err
	}
	for name, index := range indices {
		switch states[name] {
		case "open":
			index.Open = true
			indices[name] = index
		case "": // deleted between the two requests
			delete(indices, name)
		}
	}
	return indices, aliases, nil
}

// aliasesAmong finds which of the names that are not indices are aliases of the indices in the
// answer.
func (c *Client) aliasesAmong(ctx context.Context, names []string, indices map[string]Index,
	answered []string,
) ([]string, error) {
	unknown := slices.DeleteFunc(slices.Clone(names), func(name string) bool { _, ok := indices[name]; return ok })
	if len(unknown) == 0 {
		return nil, nil
	}
	given := map[string]bool{}
	for _, batch := range batches(answered) {
		var answer map[string]struct {
			Aliases map[string]any `json:"aliases"`
		}
		err := c.do(ctx, call{operation: "read aliases", subject: list(batch)},
			esapi.IndicesGetAliasRequest{Index: segments(batch), IgnoreUnavailable: ptr(true)}, &answer)
		if err != nil {
			return nil, err
		}
		for _, index := range answer {
			for alias := range index.Aliases {
				given[alias] = true
			}
		}
	}
	return slices.DeleteFunc(unknown, func(name string) bool { return !given[name] }), nil
}
