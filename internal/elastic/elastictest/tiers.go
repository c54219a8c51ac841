package elastictest

import (
	"net/http"
	"slices"
)

// ToWarm moves an index to UltraWarm storage as Amazon does: it takes no writes from then on.
func (c *Cluster) ToWarm(names ...string) {
	for _, name := range names {
		c.SetSetting(name, boxType, "warm")
		c.SetSetting(name, "index.blocks.read_only_allow_delete", "true")
	}
}

// ToHot moves an index back.
func (c *Cluster) ToHot(names ...string) {
	for _, name := range names {
		c.SetSetting(name, boxType, "")
		c.SetSetting(name, "index.blocks.read_only_allow_delete", "")
	}
}

// ToCold moves an index to cold storage: the cluster has it no more.
func (c *Cluster) ToCold(names ...string) {
	c.Delete(names...)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cold = append(c.cold, names...)
	slices.Sort(c.cold)
}

const boxType = "index.routing.allocation.require.box_type"

// mixesTiers tells whether Amazon refuses a snapshot of these indices: it takes one warm index alone.
func mixesTiers(found []*index) bool {
	return len(found) > 1 && slices.ContainsFunc(found, func(x *index) bool { return x.settings[boxType] == "warm" })
}

// answerCold lists the indices in cold storage, one an answer. A cluster without such storage takes
// _cold for an index, as 7.10.2 does.
func (c *Cluster) answerCold(r *http.Request) any {
	if len(c.cold) == 0 {
		return refuse(http.StatusBadRequest, "invalid_index_name_exception",
			"Invalid index name [_cold], must not start with '_'.")
	}
	var body struct {
		After string `json:"pagination_id"`
	}
	decode(r, &body)
	at := slices.Index(c.cold, body.After) + 1
	answer := map[string]any{"pagination_id": "", "total_results": len(c.cold), "indices": []any{}}
	if at < len(c.cold) {
		answer["pagination_id"] = c.cold[at]
		answer["indices"] = []any{map[string]any{"index": c.cold[at], "size": docBytes}}
	}
	return answer
}
