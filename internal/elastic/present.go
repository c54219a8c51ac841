package elastic

import (
	"context"
	"maps"
	"slices"

	"github.com/elastic/go-elasticsearch/v7/esapi"
)

// Present finds which of the names are indices, open or closed, and which are aliases. Other names
// are absent, which is no error. It reads no sizes, and takes few requests even if many names are
// absent.
func (c *Client) Present(ctx context.Context, names []string) (indices map[string]Index, aliases []string, err error) {
	indices, behind, err := c.PresentBehind(ctx, names)
	return indices, slices.Sorted(maps.Keys(behind)), err
}

// PresentBehind is Present, and tells which indices stand behind each alias.
func (c *Client) PresentBehind(ctx context.Context,
	names []string,
) (indices map[string]Index, aliases map[string][]string, err error) {
	if err := c.named("look for indices", names); err != nil {
		return nil, nil, err
	}
	wanted := map[string]bool{}
	for _, name := range names {
		wanted[name] = true
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
			if wanted[name] {
				indices[name] = newIndex(name, index.Settings, false)
			}
		}
	}
	slices.Sort(answered)
	answered = slices.Compact(answered)
	if len(answered) == 0 {
		return indices, nil, nil
	}
	if aliases, err = c.aliasesAmong(ctx, wanted, indices, answered); err != nil {
		return nil, nil, err
	}
	states, err := c.indexStates(ctx, slices.Sorted(maps.Keys(indices)))
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
// answer, and of which.
func (c *Client) aliasesAmong(ctx context.Context, wanted map[string]bool, indices map[string]Index,
	answered []string,
) (map[string][]string, error) {
	behind := map[string][]string{}
	if len(indices) == len(wanted) {
		return behind, nil
	}
	for _, batch := range batches(answered) {
		var answer map[string]struct {
			Aliases map[string]any `json:"aliases"`
		}
		err := c.do(ctx, call{operation: "read aliases", subject: list(batch)},
			esapi.IndicesGetAliasRequest{Index: segments(batch), IgnoreUnavailable: ptr(true)}, &answer)
		if err != nil {
			return nil, err
		}
		for name, index := range answer {
			for alias := range index.Aliases {
				if _, isIndex := indices[alias]; wanted[alias] && !isIndex {
					behind[alias] = append(behind[alias], name)
				}
			}
		}
	}
	for _, names := range behind {
		slices.Sort(names)
	}
	return behind, nil
}
