package elastictest

import (
	"encoding/json"
	"net/http"
)

// bulk is many probes in one request.
func (c *Cluster) bulk(r *http.Request) any {
	if c.NoExplicitIndices {
		return refuse(http.StatusBadRequest, "illegal_argument_exception", "explicit index in bulk is not allowed")
	}
	if c.block != "" {
		return refuse(http.StatusForbidden, "cluster_block_exception", "blocked by: [FORBIDDEN/10/%s];", c.block)
	}
	items := []any{}
	lines := json.NewDecoder(r.Body)
	for {
		var action struct {
			Update struct {
				Index string `json:"_index"`
				Type  string `json:"_type"`
				ID    string `json:"_id"`
			} `json:"update"`
		}
		var source any
		if lines.Decode(&action) != nil || lines.Decode(&source) != nil {
			break
		}
		name := action.Update.Index
		answer := c.refused[name]
		waits := r.URL.Query().Get("wait_for_active_shards") == ""
		switch {
		case answer != nil:
			delete(c.refused, name)
		case c.lacksCopies(name, waits):
			reason := "[a][0] Not enough active copies to meet shard count of [2] (have 1, needed 2). Timeout: [5s]"
			if c.Copies[name] == 0 {
				reason = "[a][0] primary shard is not active Timeout: [5s]"
			}
			answer = refuse(http.StatusServiceUnavailable, "unavailable_shards_exception", "%s", reason)
		default:
			answer = c.probe(name, []string{action.Update.Type, action.Update.ID})
		}
		items = append(items, map[string]any{"update": map[string]any{
			"_index": name, "_id": action.Update.ID, "status": answer.status,
			"error": map[string]any{"type": answer.exception, "reason": answer.reason},
		}})
	}
	return map[string]any{"took": 1, "errors": true, "items": items}
}

// lacksCopies tells whether a write to an index ends since too few copies are active. A block refuses
// it before. Without a primary, it ends even if it does not wait for the others.
func (c *Cluster) lacksCopies(name string, waits bool) bool {
	copies, few := c.Copies[name]
	x := c.indices[name]
	return few && x != nil && !x.blocksWrites() && (waits || copies == 0)
}

// RefuseWrite answers the next write to an index with an Elasticsearch error.
func (c *Cluster) RefuseWrite(name string, status int, exception, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused[name] = &failure{status, exception, reason}
}

// probe is an update of a document that doesn't exist, the only write that snapferry sends.
func (c *Cluster) probe(name string, rest []string) *failure {
	x := c.indices[name]
	switch {
	case x == nil:
		return errNoIndex(name)
	case !x.open:
		return refuse(http.StatusBadRequest, "index_closed_exception", "closed [%s]", name)
	case x.blocksWrites():
		return errBlocked(name)
	case c.block != "":
		return refuse(http.StatusForbidden, "cluster_block_exception", "blocked by: [FORBIDDEN/10/%s];", c.block)
	}
	return refuse(http.StatusNotFound, "document_missing_exception", "[%s][%s]: document missing", rest[0], rest[1])
}
