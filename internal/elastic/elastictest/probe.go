package elastictest

import (
	"encoding/json"
	"net/http"
	"strconv"
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
	line := 0
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
		if line += 2; action.Update.Type != "" && c.major() >= 8 {
			return refuse(http.StatusBadRequest, "illegal_argument_exception",
				"Action/metadata line [%d] contains an unknown parameter [_type]", line-1)
		}
		name := action.Update.Index
		answer := c.refused[name]
		if answer != nil {
			delete(c.refused, name)
		} else if answer = c.waitsForCopies(name, r); answer == nil {
			answer = c.probe(name, action.Update.ID)
		}
		items = append(items, map[string]any{"update": map[string]any{
			"_index": name, "_id": action.Update.ID, "status": answer.status,
			"error": map[string]any{"type": answer.exception, "reason": answer.reason},
		}})
	}
	return map[string]any{"took": 1, "errors": true, "items": items}
}

// waitsForCopies refuses a bulk request whose index wants more copies than the cluster's one node can
// have, unless the request is content with one. Else Elasticsearch looks at this before it looks for
// the document.
func (c *Cluster) waitsForCopies(name string, r *http.Request) *failure {
	x := c.indices[name]
	if x == nil || !x.open || x.blocksWrites() {
		return nil
	}
	if c.NoPrimary[name] {
		return refuse(http.StatusServiceUnavailable, "unavailable_shards_exception",
			"[%s][0] primary shard is not active Timeout: [5s]", name)
	}
	wanted, _ := strconv.Atoi(x.settings["index.write.wait_for_active_shards"])
	content := r.URL.Query().Get("wait_for_active_shards") == "1"
	if c.Version < "5" { // a quorum, if there are more copies than two
		copies, _ := strconv.Atoi(x.settings["index.number_of_replicas"])
		wanted, content = 1, r.URL.Query().Get("consistency") == "one"
		if copies >= 2 {
			wanted = (copies+1)/2 + 1
		}
	}
	if wanted <= 1 || content {
		return nil
	}
	return refuse(http.StatusServiceUnavailable, "unavailable_shards_exception",
		"[%s][0] Not enough active copies to meet shard count of [%d] (have 1, needed %d)", name, wanted, wanted)
}

// RefuseWrite answers the next write to an index with an Elasticsearch error.
func (c *Cluster) RefuseWrite(name string, status int, exception, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused[name] = &failure{status, exception, reason}
}

// probe is an update of a document that doesn't exist, the only write that snapferry sends.
func (c *Cluster) probe(name, id string) *failure {
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
	return refuse(http.StatusNotFound, "document_missing_exception", "[%s]: document missing", id)
}
