package elastic

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"

	"github.com/elastic/go-elasticsearch/v7/esapi"
)

// ProbeWrite reports whether writes to an index are blocked, and writes nothing itself. It updates
// a document that doesn't exist, without an upsert. Elasticsearch checks the write block first (403
// cluster_block_exception). Only without a block does it look for the document (404
// document_missing_exception). Nothing is indexed, no mapping changes and no counter moves.
//
// docType is one of the index's mapping types; empty means the first that the index has. 7.x and
// 8.x need none. [Missing] if there is no such index: that is checked first, since an update would
// create the index. A closed index is [Invalid] or counts as blocked, depending on the version.
func (c *Client) ProbeWrite(ctx context.Context, index, docType string) (blocked bool, err error) {
	what := call{operation: "probe writing", subject: index}
	version, err := c.Version(ctx)
	if err != nil {
		return false, err
	}
	mappings, err := c.Mappings(ctx, []string{index})
	if err != nil {
		return false, err
	}
	id := "snapferry-probe-" + rand.Text()
	nothing := body(map[string]any{"doc": map[string]any{}})
	// esapi knows only the path with a type, which 8.x refuses.
	var update esapi.Request = jsonRequest{
		http.MethodPost, "/" + segment(index) + "/_update/" + id + "?routing=" + id, nothing,
	}
	if version.Major < 7 {
		update = esapi.UpdateRequest{
			Index: segment(index), DocumentType: segment(typeOr(docType, mappings[index])), DocumentID: id,
			Routing: id, // else an index that demands routing refuses with 400
			Body:    nothing,
		}
	}
	err = c.do(ctx, what, update, nil)
	switch KindOf(err) {
	case Blocked:
		return true, nil
	case Missing:
		if e, ok := errors.AsType[*Error](err); ok && e.Type == "document_missing_exception" {
			return false, nil
		}
	case None:
		return false, c.fail(what, Internal, "the update of a document that can't exist succeeded")
	}
	return false, err
}

// typeOr is a type for which an index takes writes: the one that is given, or one that it has.
func typeOr(docType string, mapping Mapping) string {
	switch {
	case docType != "":
		return docType
	case len(mapping.Types) > 0:
		return mapping.Types[0]
	}
	return "doc" // nothing is mapped yet, so any name works
}
