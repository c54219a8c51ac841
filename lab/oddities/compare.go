package oddities

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/snapferry/snapferry/lab/cluster"
)

// Side is a cluster and its version.
type Side struct {
	*cluster.Client
	Version
}

// Compare tells how an index differs on the target from what it is on the source: documents with type,
// id, routing, parent, version and source, mappings, settings, aliases, and what queries find. Empty
// means that it is as it should be.
func Compare(ctx context.Context, source, target Side, x Index) ([]string, error) {
	c := comparison{source: source, target: target, Index: x}
	for _, part := range []func(context.Context) error{c.documents, c.mappings, c.settings, c.aliases, c.queries} {
		if err := part(ctx); err != nil {
			return nil, fmt.Errorf("compare the index %s: %w", x.Name, err)
		}
	}
	return c.differences, nil
}

type comparison struct {
	source, target Side
	Index
	differences []string
}

func (c *comparison) differ(format string, args ...any) {
	c.differences = append(c.differences, c.Name+": "+fmt.Sprintf(format, args...))
}

// equal compares two sets by key.
func (c *comparison) equal(what string, source, target map[string]any) {
	keys := slices.Collect(maps.Keys(source))
	for key := range target {
		if _, there := source[key]; !there {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		from, inSource := source[key]
		to, inTarget := target[key]
		switch {
		case !inTarget:
			c.differ("the target has no %s %s, which is %s on the source", what, key, brief(from))
		case !inSource:
			c.differ("only the target has %s %s: %s", what, key, brief(to))
		case !reflect.DeepEqual(from, to):
			c.differ("%s %s is %s on the source and %s on the target", what, key, brief(from), brief(to))
		}
	}
}

func brief(value any) string {
	text, _ := json.Marshal(value) // it came as JSON
	if len(text) > 400 {
		return string(text[:400]) + " ..."
	}
	return string(text)
}

func (c *comparison) documents(ctx context.Context) error {
	path := c.path()
	if c.source.Major < 5 { // 2.x finds the queries of a percolator only where their type is named
		kinds := slices.Sorted(maps.Keys(c.Types))
		if len(kinds) == 0 {
			kinds = []string{docType(c.source.Version)}
		}
		path += "/" + strings.Join(kinds, ",")
	}
	source, err := scroll(ctx, c.source, path)
	if err != nil {
		return err
	}
	target, err := scroll(ctx, c.target, path)
	if err != nil {
		return err
	}
	if len(source) == 0 && len(c.Docs) > 0 {
		c.differ("the source has no documents")
	}
	c.equal("document", source, target)
	return nil
}

// scroll reads all documents, by type, routing and id.
func scroll(ctx context.Context, c Side, path string) (map[string]any, error) {
	all := map[string]any{}
	var page struct {
		ID   string `json:"_scroll_id"`
		Hits struct {
			Hits []object `json:"hits"`
		} `json:"hits"`
	}
	request, body := path+"/_search?scroll=1m", object{
		"size": 100, "version": true, "query": object{"match_all": object{}}, "sort": []string{"_doc"},
	}
	for {
		page.Hits.Hits = nil
		if err := c.Do(ctx, http.MethodPost, request, body, &page); err != nil {
			return nil, err
		}
		if len(page.Hits.Hits) == 0 {
			return all, c.Do(ctx, http.MethodDelete, "/_search/scroll", object{"scroll_id": []string{page.ID}}, nil)
		}
		for _, hit := range page.Hits.Hits {
			for _, omitted := range []string{"_index", "_score", "sort"} {
				delete(hit, omitted)
			}
			if c.Major >= 8 {
				hit["_type"] = "_doc"
			}
			key := fmt.Sprintf("%v/%v/%v", hit["_type"], hit["_routing"], hit["_id"])
			if _, twice := all[key]; twice {
				return nil, fmt.Errorf("the document %s is there twice", key)
			}
			all[key] = hit
		}
		request, body = "/_search/scroll", object{"scroll": "1m", "scroll_id": page.ID}
	}
}

func (c *comparison) mappings(ctx context.Context) error {
	source, err := mappingOf(ctx, c.source, c.Index)
	if err != nil {
		return err
	}
	target, err := mappingOf(ctx, c.target, c.Index)
	if err != nil {
		return err
	}
	if c.source.Major < 7 && c.target.Major >= 7 && len(source) == 1 { // the level of types is gone
		for _, mapping := range source {
			source, _ = mapping.(object)
		}
	}
	c.equal("mapping", source, target)
	return nil
}

// mappingOf is what stands below mappings, without what one version shows and another doesn't: that
// indices from 5.x have _all, and that strings from 2.x have no fielddata.
func mappingOf(ctx context.Context, c Side, x Index) (object, error) {
	var answer map[string]struct{ Mappings object }
	if err := c.Do(ctx, http.MethodGet, x.path()+"/_mapping", nil, &answer); err != nil {
		return nil, err
	}
	found := answer[x.Name].Mappings
	for _, mapping := range found {
		if m, ok := mapping.(object); ok && reflect.DeepEqual(m["_all"], object{"enabled": true}) {
			delete(m, "_all")
		}
	}
	withoutFielddata(found)
	return found, nil
}

func withoutFielddata(mapping object) {
	if mapping["type"] == "string" && mapping["fielddata"] == false {
		delete(mapping, "fielddata")
	}
	for _, below := range mapping {
		if m, ok := below.(object); ok {
			withoutFielddata(m)
		}
	}
}

// own are settings that each copy of an index has for itself, or that are on the source only: our write
// block, and where the index came from.
var own = []string{
	"index.uuid", "index.blocks.write", "index.version.upgraded", "index.history.uuid", "index.resize.*",
	"index.shrink.*", "index.routing.allocation.initial_recovery.*",
}

func (c *comparison) settings(ctx context.Context) error {
	source, err := settingsOf(ctx, c.source, c.Index)
	if err != nil {
		return err
	}
	target, err := settingsOf(ctx, c.target, c.Index)
	if err != nil {
		return err
	}
	for _, pattern := range c.Lost {
		found := slices.ContainsFunc(slices.Collect(maps.Keys(source)),
			func(name string) bool { return matches(pattern, name) })
		if !found {
			c.differ("the source has no setting %s", pattern)
		}
		maps.DeleteFunc(source, func(name string, _ any) bool { return matches(pattern, name) })
	}
	for name := range target {
		if strings.HasPrefix(name, "index.blocks.") || strings.HasPrefix(name, "archived.") {
			c.differ("the target has the setting %s", name)
		}
	}
	for _, pattern := range own {
		for _, all := range []object{source, target} {
			maps.DeleteFunc(all, func(name string, _ any) bool { return matches(pattern, name) })
		}
	}
	c.equal("setting", source, target)
	return nil
}

func matches(pattern, name string) bool {
	start, open := strings.CutSuffix(pattern, "*")
	return name == pattern || open && strings.HasPrefix(name, start)
}

func settingsOf(ctx context.Context, c Side, x Index) (object, error) {
	var answer map[string]struct{ Settings object }
	err := c.Do(ctx, http.MethodGet, x.path()+"/_settings?flat_settings=true", nil, &answer)
	settings := answer[x.Name].Settings
	for _, name := range slices.Sorted(maps.Keys(settings)) { // up to 5.x, a list is a setting for each entry
		list, entry := strings.CutSuffix(name, ".0")
		if !entry {
			continue
		}
		var values []any
		for i := 0; ; i++ {
			value, there := settings[fmt.Sprintf("%s.%d", list, i)]
			if !there {
				break
			}
			values = append(values, value)
			delete(settings, fmt.Sprintf("%s.%d", list, i))
		}
		settings[list] = values
	}
	return settings, err
}

func (c *comparison) aliases(ctx context.Context) error {
	of := func(side Side) (object, error) {
		var answer map[string]struct{ Aliases object }
		err := side.Do(ctx, http.MethodGet, c.path()+"/_alias", nil, &answer)
		return answer[c.Name].Aliases, err
	}
	source, err := of(c.source)
	if err != nil {
		return err
	}
	target, err := of(c.target)
	if err != nil {
		return err
	}
	if len(source) != len(c.Aliases) {
		c.differ("the source has %d aliases of %d", len(source), len(c.Aliases))
	}
	c.equal("alias", source, target)
	return nil
}

func (c *comparison) queries(ctx context.Context) error {
	for i, query := range c.Queries {
		source, err := found(ctx, c.source, c.path(), query.Body)
		if err != nil {
			return err
		}
		target, err := found(ctx, c.target, c.path(), query.Body)
		if err != nil {
			return err
		}
		if len(source) == 0 {
			c.differ("query %d finds nothing on the source", i+1)
		}
		c.equal(fmt.Sprintf("finding of query %d,", i+1), source, target)
	}
	return nil
}

// found are the documents and suggestions that a search answers.
func found(ctx context.Context, c Side, path string, query object) (map[string]any, error) {
	var answer struct {
		Hits struct {
			Hits []struct {
				ID      string `json:"_id"`
				Routing string `json:"_routing"`
			}
		}
		Suggest map[string][]struct{ Options []object }
	}
	search := maps.Clone(query)
	search["size"] = 100
	if err := c.Do(ctx, http.MethodPost, path+"/_search", search, &answer); err != nil {
		return nil, err
	}
	findings := map[string]any{}
	for _, hit := range answer.Hits.Hits {
		findings[hit.ID+"/"+hit.Routing] = true
	}
	for name, suggestions := range answer.Suggest {
		for _, s := range suggestions {
			for i, option := range s.Options {
				findings[fmt.Sprintf("%s %d", name, i)] = option["text"]
			}
		}
	}
	return findings, nil
}
