package elastictest

import (
	"net/http"
	"strconv"
)

// scroll is a search that goes on.
type scroll struct{ rest []Doc }

func (c *Cluster) search(r *http.Request, x *index) any {
	var body struct {
		Size  int `json:"size"`
		Slice struct {
			ID  int `json:"id"`
			Max int `json:"max"`
		} `json:"slice"`
	}
	decode(r, &body)
	s := &scroll{}
	for number, shard := range x.shards {
		if body.Slice.Max > 1 && number%body.Slice.Max != body.Slice.ID {
			continue
		}
		for _, id := range sortedKeys(shard.docs) {
			s.rest = append(s.rest, shard.docs[id])
		}
	}
	id := "scroll" + strconv.Itoa(len(c.scrolls)) + "-" + c.id("scroll")
	c.scrolls[id] = s
	return page(id, s, body.Size, len(s.rest))
}

func (c *Cluster) answerScroll(r *http.Request) any {
	if r.Method == http.MethodDelete {
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
	return page(body.ID, s, 1000, len(s.rest))
}

func page(id string, s *scroll, size, total int) any {
	hits := []any{}
	for len(s.rest) > 0 && len(hits) < size {
		doc := s.rest[0]
		s.rest = s.rest[1:]
		hits = append(hits, map[string]any{"_type": doc.Type, "_id": doc.ID, "_version": doc.Version})
	}
	return map[string]any{
		"_scroll_id": id, "timed_out": false, "_shards": map[string]any{"total": 1, "successful": 1, "failed": 0},
		"hits": map[string]any{"total": total, "hits": hits},
	}
}
