package elastictest

import (
	"net/http"
	"slices"
	"strings"
)

// definition is what an alias has beside its name: filter, routing, is_write_index.
type definition = map[string]any

// AddAlias gives an index an alias.
func (c *Cluster) AddAlias(name, alias string) { c.DefineAlias(name, alias, definition{}) }

// DefineAlias gives an index an alias with a filter, a routing, is_write_index.
func (c *Cluster) DefineAlias(name, alias string, defined map[string]any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.indices[name].aliases[alias] = defined
}

// RemoveAlias takes an alias from an index.
func (c *Cluster) RemoveAlias(name, alias string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.indices[name].aliases, alias)
}

// Aliases are the names of an index's aliases.
func (c *Cluster) Aliases(name string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return sortedKeys(c.indices[name].aliases)
}

func aliasesOf(x *index) any {
	aliases := map[string]any{}
	for name, defined := range x.aliases {
		aliases[name] = defined
	}
	return map[string]any{"aliases": aliases}
}

// allAliases is GET /_alias. Without expand_wildcards it leaves closed indices out, as 5.5.3 does.
func (c *Cluster) allAliases(r *http.Request) any {
	var found []*index
	for _, name := range sortedKeys(c.indices) {
		if x := c.indices[name]; x.open || r.URL.Query().Get("expand_wildcards") == "all" {
			found = append(found, x)
		}
	}
	return byIndex(found, aliasesOf)
}

// updateAliases is POST /_aliases: all actions or none, on closed indices too.
func (c *Cluster) updateAliases(r *http.Request) any {
	var body struct {
		Actions []map[string]struct {
			Index string `json:"index"`
			Alias string `json:"alias"`
		} `json:"actions"`
	}
	decode(r, &body)
	for _, action := range body.Actions {
		for kind, of := range action {
			x := c.indices[of.Index]
			if x == nil {
				return errNoIndex(of.Index)
			}
			if _, has := x.aliases[of.Alias]; kind == "remove" && !has {
				return refuse(http.StatusNotFound, "aliases_not_found_exception", "aliases [%s] missing", of.Alias)
			}
		}
	}
	for _, action := range body.Actions {
		for kind, of := range action {
			if kind == "remove" {
				delete(c.indices[of.Index].aliases, of.Alias)
			} else {
				c.indices[of.Index].aliases[of.Alias] = definition{}
			}
		}
	}
	return acknowledged
}

// clashes says why indices with these aliases can't be restored beside those that are there.
func (c *Cluster) clashes(repo, snap string, restored map[string]*index, withAliases bool) *failure {
	after := map[string]map[string]definition{}
	for name, x := range c.indices {
		after[name] = x.aliases
	}
	for _, name := range sortedKeys(restored) {
		saved := restored[name]
		if x := c.indices[name]; x != nil && len(x.shards) != len(saved.shards) {
			return refuse(http.StatusInternalServerError, "snapshot_restore_exception",
				"[%s:%s] cannot restore index [%s] with [%d] shard from snapshot with [%d] shards", repo, snap, name,
				len(x.shards), len(saved.shards))
		}
		for _, x := range c.indices {
			if _, is := x.aliases[name]; is {
				return refuse(http.StatusBadRequest, "invalid_index_name_exception",
					"Invalid index name [%s], already exists as alias", name)
			}
		}
		if withAliases {
			after[name] = saved.aliases
		}
	}
	writers := map[string][]string{}
	for _, name := range sortedKeys(after) {
		for _, alias := range sortedKeys(after[name]) {
			if _, is := after[alias]; is {
				return refuse(http.StatusInternalServerError, "illegal_state_exception",
					"index and alias names need to be unique, but alias [%s] and index [%s] have the same name", alias,
					alias)
			}
			if after[name][alias]["is_write_index"] == true {
				writers[alias] = append(writers[alias], name)
			}
		}
	}
	for _, alias := range sortedKeys(writers) {
		if len(writers[alias]) > 1 {
			return refuse(http.StatusInternalServerError, "illegal_state_exception",
				"alias [%s] has more than one write index [%s]", alias, strings.Join(writers[alias], ","))
		}
	}
	return nil
}

// PutPipeline makes an ingest pipeline.
func (c *Cluster) PutPipeline(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pipelines = append(c.pipelines, id)
	slices.Sort(c.pipelines)
}

// answerPipelines is GET /_ingest/pipeline: 404 with an empty object where there is none.
func (c *Cluster) answerPipelines() any {
	all := map[string]any{}
	for _, id := range c.pipelines {
		all[id] = map[string]any{"processors": []any{}}
	}
	if len(all) == 0 {
		return bare{http.StatusNotFound, all}
	}
	return all
}

// bare is an answer whose status isn't 200 although it is no error.
type bare struct {
	status int
	body   any
}
