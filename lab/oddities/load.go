package oddities

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/snapferry/snapferry/lab/cluster"
)

// Load makes indices on a cluster of a version. What they need of the target comes with Prepare.
func Load(ctx context.Context, c *cluster.Client, v Version, indices []Index) error {
	for _, x := range indices {
		if err := x.load(ctx, c, v); err != nil {
			return fmt.Errorf("the index %s is not as it should be: %w", x.Name, err)
		}
	}
	return nil
}

// Prepare makes on a cluster what indices need there: their pipelines.
func Prepare(ctx context.Context, c *cluster.Client, v Version, indices []Index) error {
	processors := []object{}
	if v.Has(ingestCommon) {
		processors = append(processors, object{"set": object{"field": "piped", "value": true}})
	}
	for _, x := range indices {
		for _, pipeline := range x.Pipelines {
			err := c.Do(ctx, http.MethodPut, "/_ingest/pipeline/"+pipeline, object{"processors": processors}, nil)
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (x Index) load(ctx context.Context, c *cluster.Client, v Version) error {
	if x.MadeBy {
		return nil
	}
	if err := Prepare(ctx, c, v, []Index{x}); err != nil {
		return err
	}
	if err := c.Do(ctx, http.MethodPut, x.path(), x.definition(v), nil); err != nil {
		return err
	}
	if err := x.write(ctx, c, v, x.Docs); err != nil {
		return err
	}
	for _, request := range x.Then {
		if err := c.Do(ctx, request.Method, request.Path, request.Body, nil); err != nil {
			return err
		}
	}
	return nil
}

// path escapes the name. 5.x takes a plus sign for a space.
func (x Index) path() string { return "/" + strings.ReplaceAll(url.PathEscape(x.Name), "+", "%2B") }

func (x Index) definition(v Version) object {
	settings := object{"number_of_replicas": 0}
	maps.Copy(settings, x.Settings)
	definition := object{"settings": object{"index": settings}}
	switch {
	case len(x.Types) > 0:
		definition["mappings"] = x.Types
	case x.Mapping == nil:
	case v.Major >= 7:
		definition["mappings"] = x.Mapping
	default:
		definition["mappings"] = object{docType(v): x.Mapping}
	}
	if len(x.Aliases) > 0 {
		definition["aliases"] = x.Aliases
	}
	return definition
}

// docType is the only type of an index that doesn't need several; empty where there are none.
func docType(v Version) string {
	switch {
	case v.Major < 6:
		return "doc"
	case v.Major < 7:
		return "_doc"
	}
	return ""
}

// WriteLate writes what comes after the first round.
func (x Index) WriteLate(ctx context.Context, c *cluster.Client, v Version) error {
	return x.write(ctx, c, v, x.Late)
}

// write writes documents, in the order given, and makes them visible.
func (x Index) write(ctx context.Context, c *cluster.Client, v Version, docs []Doc) error {
	if len(docs) == 0 {
		return nil
	}
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	for _, d := range docs {
		action := object{"_index": x.Name, "_id": d.ID}
		kind := d.Type
		if kind == "" {
			kind = docType(v)
		}
		if kind != "" {
			action["_type"] = kind
		}
		if d.Routing != "" {
			action["routing"] = d.Routing
		}
		if d.Parent != "" {
			action["parent"] = d.Parent
		}
		if d.Version != 0 {
			action["version"], action["version_type"] = d.Version, "external"
		}
		if err := encoder.Encode(object{"index": action}); err != nil {
			return err
		}
		if err := encoder.Encode(d.Source); err != nil {
			return err
		}
	}
	var answer struct {
		Errors bool
		Items  []map[string]struct {
			ID    string `json:"_id"`
			Error json.RawMessage
		}
	}
	if err := c.Do(ctx, http.MethodPost, "/_bulk?refresh=true", body.Bytes(), &answer); err != nil {
		return err
	}
	for _, item := range answer.Items {
		for _, result := range item {
			if answer.Errors && len(result.Error) > 0 {
				return fmt.Errorf("document %s: %s", result.ID, result.Error)
			}
		}
	}
	return nil
}

// WriteOn writes a document of its own to the index, as an application does after the cutover.
func (x Index) WriteOn(ctx context.Context, c Side) error {
	docs := append(append([]Doc(nil), x.Docs...), x.Late...)
	if len(docs) == 0 {
		docs = []Doc{{Source: object{"n": 1}}}
	}
	d := docs[len(docs)-1]
	d.ID, d.Version = "after-the-cutover", 0
	if d.Type == "" { // whatever type the index brought along
		var answer map[string]struct{ Mappings object }
		if err := c.Do(ctx, http.MethodGet, x.path()+"/_mapping", nil, &answer); err != nil {
			return err
		}
		for name := range answer[x.Name].Mappings {
			if c.Major < 7 {
				d.Type = name
			}
		}
	}
	return x.write(ctx, c.Client, c.Version, []Doc{d})
}

// Delete deletes the index, if it is there.
func (x Index) Delete(ctx context.Context, c Side) error {
	if slices.Contains(x.Lost, readOnly) { // which forbids that, too
		err := c.Do(ctx, http.MethodPut, x.path()+"/_settings?ignore_unavailable=true&allow_no_indices=true", object{
			readOnly: nil,
		}, nil)
		if err != nil {
			return err
		}
	}
	return c.Do(ctx, http.MethodDelete, x.path()+"?ignore_unavailable=true", nil, nil)
}

const readOnly = "index.blocks.read_only"
