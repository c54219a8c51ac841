package elastictest

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// withoutTypes refuses requests with a mapping type, as 8.x does; nil if there is none in the path
// and in the parameters.
func (c *Cluster) withoutTypes(r *http.Request, parts []string) *failure {
	if c.major() < 8 {
		return nil
	}
	if r.URL.Query().Has("include_type_name") {
		return refuse(http.StatusBadRequest, "illegal_argument_exception",
			"request [%s] contains unrecognized parameter: [include_type_name]", r.URL.Path)
	}
	index := !strings.HasPrefix(parts[0], "_")
	if index && len(parts) > 1 && (!strings.HasPrefix(parts[1], "_") || parts[len(parts)-1] == "_update") {
		return errNoHandler(r)
	}
	return nil
}

func errNoHandler(r *http.Request) *failure {
	return refuse(http.StatusBadRequest, "illegal_argument_exception", "no handler found for uri [%s] and method [%s]",
		r.URL.Path, r.Method)
}

// update is POST /{index}/{type}/{id}/_update, or POST /{index}/_update/{id} from 7.0 on.
func (c *Cluster) update(r *http.Request, name string, rest []string) any {
	switch {
	case len(rest) == 3 && rest[2] == "_update":
		return c.probe(name, rest[1])
	case len(rest) == 2 && rest[0] == "_update" && c.major() >= 7:
		return c.probe(name, rest[1])
	}
	return errNoHandler(r)
}

// fields are those of a new index's mapping, by type.
type fields map[string]struct {
	Properties map[string]struct{ Type string }
}

// fieldsOf reads a new index's mapping. From 7.0 on it has no types unless the request says so.
func (c *Cluster) fieldsOf(r *http.Request, mapping json.RawMessage) (fields, *failure) {
	all := fields{}
	if len(mapping) == 0 {
		return all, nil
	}
	if c.major() < 7 || r.URL.Query().Get("include_type_name") == "true" {
		_ = json.Unmarshal(mapping, &all)
		return all, nil
	}
	var parts map[string]json.RawMessage
	_ = json.Unmarshal(mapping, &parts)
	for _, part := range sortedKeys(parts) {
		if !slices.Contains([]string{"properties", "dynamic", "_routing", "_source", "_meta"}, part) {
			return nil, refuse(http.StatusBadRequest, "mapper_parsing_exception",
				"Root mapping definition has unsupported parameters:  [%s : %s]", part, parts[part])
		}
	}
	doc := all["_doc"]
	_ = json.Unmarshal(mapping, &doc)
	all["_doc"] = doc
	return all, nil
}

// unknownField refuses a field of a type that no node knows.
func (c *Cluster) unknownField(docType, field, kind string) *failure {
	mapping := "mapping [" + docType + "]"
	if c.major() >= 8 {
		mapping = "mapping"
	}
	return refuse(http.StatusBadRequest, "mapper_parsing_exception",
		"Failed to parse %s: No handler for type [%s] declared on field [%s]", mapping, kind, field)
}

// tooOld says why 8.x can't restore an index; nil if this cluster can. It calls the version of the
// index that of the snapshot.
func (c *Cluster) tooOld(repo, snap string, saved *index) *failure {
	created, _ := strconv.Atoi(saved.settings["index.version.created"])
	if c.major() != 8 || created >= 7000000 {
		return nil
	}
	return refuse(http.StatusInternalServerError, "snapshot_restore_exception",
		"[%s:%s] the snapshot was created with Elasticsearch version [%d.%d.%d] which is below the current versions "+
			"minimum index compatibility version [7.0.0]", repo, snap, created/1000000, created/10000%100,
		created/100%100)
}

// shownType adds the type of a document as the cluster shows it: 7.x shows each as _doc, 8.x none.
func (c *Cluster) shownType(hit map[string]any, docType string) {
	switch major := c.major(); {
	case major < 7:
		hit["_type"] = docType
	case major == 7:
		hit["_type"] = "_doc"
	}
}
