package elastictest

import "net/http"

// scroll is a search that goes on.
type scroll struct {
	rest         []Doc
	shards, size int
}

func (c *Cluster) search(r *http.Request, found []*index) any {
	body := searchBody(r)
	switch {
	case body.Aggs.Numbers != nil:
		return seqNoBuckets(r, found[0], body)
	case body.Aggs.Sum != nil:
		return seqNoSum(r, found[0], body)
	case body.Aggs.Indices != nil:
		return countedByIndex(found)
	}
	chosen := chosenShards(r, found[0])
	s := &scroll{shards: len(chosen), size: body.Size}
	for _, shard := range chosen {
		for _, id := range sortedKeys(shard.docs) {
			if doc := shard.docs[id]; body.Query.finds(doc) {
				s.rest = append(s.rest, doc)
			}
		}
	}
	total := len(s.rest)
	if r.URL.Query().Get("scroll") == "" {
		return c.page("", s, total)
	}
	if open := len(c.scrolls) + s.shards; c.MaxScrolls > 0 && open > c.MaxScrolls {
		return refuse(http.StatusInternalServerError, "exception",
			"Trying to create too many scroll contexts. Must be "+
				"less than or equal to: [%d]. This limit can be set by changing the [search.max_open_scroll_context] "+
				"setting.",
			c.MaxScrolls)
	}
	id := c.id("scroll")
	c.scrolls[id] = s
	return c.page(id, s, total)
}

// countedByIndex is the answer to a search that only counts the documents of each index.
func countedByIndex(found []*index) any {
	var buckets []any
	shards := 0
	for _, x := range found {
		shards += len(x.shards)
		if docs := x.docs(); docs > 0 {
			buckets = append(buckets, map[string]any{"key": x.name, "doc_count": docs})
		}
	}
	return map[string]any{
		"_shards":      map[string]any{"total": shards, "successful": shards, "failed": 0},
		"aggregations": map[string]any{"indices": map[string]any{"sum_other_doc_count": 0, "buckets": buckets}},
	}
}

func (c *Cluster) answerScroll(r *http.Request) any {
	if r.Method == http.MethodDelete {
		var body struct {
			IDs []string `json:"scroll_id"`
		}
		decode(r, &body)
		for _, id := range body.IDs {
			delete(c.scrolls, id)
		}
		return map[string]any{"succeeded": true}
	}
	var body struct {
		ID string `json:"scroll_id"`
	}
	decode(r, &body)
	s := c.scrolls[body.ID]
	if s == nil {
		return refuse(http.StatusNotFound, "search_context_missing_exception", "No search context found for id [1]")
	}
	return c.page(body.ID, s, len(s.rest))
}

func (c *Cluster) page(id string, s *scroll, total int) any {
	hits := []any{}
	for len(s.rest) > 0 && len(hits) < s.size {
		doc := s.rest[0]
		s.rest = s.rest[1:]
		found := map[string]any{"_id": doc.ID, "_version": doc.Version}
		c.shownType(found, doc.Type)
		if doc.Routing != "" {
			found["_routing"] = doc.Routing
		}
		hits = append(hits, found)
	}
	var found any = total
	if c.Version >= "7" {
		found = map[string]any{"value": total, "relation": "eq"}
	}
	answer := map[string]any{
		"timed_out": false, "_shards": map[string]any{"total": s.shards, "successful": s.shards, "failed": 0},
		"hits": map[string]any{"total": found, "hits": hits},
	}
	if id != "" {
		answer["_scroll_id"] = id
	}
	return answer
}

// OpenScrolls counts the scrolls that were not cleared.
func (c *Cluster) OpenScrolls() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.scrolls)
}
