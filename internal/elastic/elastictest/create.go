package elastictest

import (
	"encoding/json"
	"net/http"
	"slices"
)

// Define gives an index settings as nested JSON below "index", and a mapping. Empty leaves the
// usual one.
func (c *Cluster) Define(name, settings, mapping string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.indices[name].definition, c.indices[name].mapping = settings, mapping
}

func definitionOf(x *index) any {
	if x.definition == "" {
		return map[string]any{}
	}
	return map[string]any{"settings": map[string]any{"index": json.RawMessage(x.definition)}}
}

// newIndex is the body of PUT /{index}.
type newIndex struct {
	Settings struct {
		Index struct {
			Store    struct{ Type string }
			Analysis map[string]map[string]struct{ Type string }
		}
	}
	Mappings json.RawMessage
	Aliases  map[string]struct{ Filter map[string]any }
}

// tierPreference is a setting that 8.x gives each new index.
const tierPreference = "index.routing.allocation.include._tier_preference"

// createIndex refuses what no node knows, in the words of 5.5 and in its order: settings, mappings,
// aliases.
func (c *Cluster) createIndex(r *http.Request, name string) any {
	if c.indices[name] != nil {
		return refuse(http.StatusBadRequest, "index_already_exists_exception", "index [%s] already exists", name)
	}
	var body newIndex
	decode(r, &body)
	unknown := func(kind string) bool { return slices.Contains(c.Unknown, kind) }
	if store := body.Settings.Index.Store.Type; unknown(store) {
		return refuse(http.StatusBadRequest, "illegal_argument_exception", "Unknown store type [%s]", store)
	}
	for kind, parts := range body.Settings.Index.Analysis {
		for part, defined := range parts {
			if unknown(defined.Type) {
				return refuse(http.StatusBadRequest, "illegal_argument_exception", "Unknown %s type [%s] for [%s]",
					kind,
					defined.Type, part)
			}
		}
	}
	mappings, refused := c.fieldsOf(r, body.Mappings)
	if refused != nil {
		return refused
	}
	for docType, mapping := range mappings {
		for field, defined := range mapping.Properties {
			if unknown(defined.Type) {
				return c.unknownField(docType, field, defined.Type)
			}
		}
	}
	for alias, defined := range body.Aliases {
		for query := range defined.Filter {
			if unknown(query) {
				return refuse(http.StatusBadRequest, "illegal_argument_exception",
					"failed to parse filter for alias [%s]; no [query] registered for [%s]", alias, query)
			}
		}
	}
	x := &index{
		name: name, uuid: c.id("index"), open: true, aliases: map[string]definition{},
		settings: map[string]string{"index.number_of_shards": "1"},
		shards:   []*shard{{docs: map[string]Doc{}, state: "STARTED"}},
	}
	x.settings["index.uuid"] = x.uuid
	if c.major() >= 8 {
		x.settings[tierPreference] = "data_content"
	}
	for alias := range body.Aliases {
		x.aliases[alias] = definition{}
	}
	c.indices[name] = x
	return acknowledged
}
