package elastictest

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

func (c *Cluster) stats(found []*index) any {
	indices, failed := map[string]any{}, 0
	for _, x := range found {
		shards := map[string]any{}
		var indexed, deleted int64
		for number, s := range x.shards {
			if s.state != "STARTED" {
				continue
			}
			indexed, deleted = indexed+s.indexTotal, deleted+s.deleteTotal
			operations := 0
			if s.uncommitted {
				operations = 1
			}
			one := map[string]any{
				"routing": map[string]any{"state": "STARTED", "primary": true, "node": "n1"},
				"docs":    map[string]any{"count": len(s.docs), "deleted": 0},
				"indexing": map[string]any{
					"index_total": s.indexTotal, "delete_total": s.deleteTotal,
					"index_current": 0, "delete_current": 0,
				},
				"translog": map[string]any{"operations": operations},
				"commit": map[string]any{
					"id": fmt.Sprintf("%s-%d-%d-%d", x.uuid, number, s.indexTotal+s.deleteTotal, s.allocations),
				},
			}
			if c.hasSeqNos() {
				last := s.operations - 1
				one["seq_no"] = map[string]any{
					"max_seq_no": last, "local_checkpoint": last, "global_checkpoint": last,
				}
			}
			shards[strconv.Itoa(number)] = []any{one}
		}
		indices[x.name] = map[string]any{
			"primaries": map[string]any{
				"docs":     map[string]any{"count": x.docs()},
				"store":    map[string]any{"size_in_bytes": x.docs() * docBytes},
				"indexing": map[string]any{"index_total": indexed, "delete_total": deleted},
				"merges":   map[string]any{"total_size_in_bytes": 2 * indexed * docBytes},
				"segments": map[string]any{"count": len(shards)},
			},
			"shards": shards,
		}
	}
	return map[string]any{"_shards": map[string]any{"total": 1, "successful": 1, "failed": failed}, "indices": indices}
}

func (c *Cluster) answerCluster(r *http.Request, rest []string) any {
	if rest[0] == "settings" {
		return c.clusterSettings(r)
	}
	if rest[0] == "allocation" {
		return c.explain(r)
	}
	if rest[0] == "state" && rest[1] == "blocks" {
		return c.activeBlocks()
	}
	names := "_all"
	if len(rest) > 1 {
		names = rest[len(rest)-1]
	}
	if rest[0] == "health" {
		health := c.health(names)
		active, _ := strconv.Atoi(r.URL.Query().Get("wait_for_active_shards"))
		if r.URL.Query().Get("wait_for_status") != "" && !c.primariesOf(names) ||
			active > 0 && c.activeSoon(names) < active {
			health["timed_out"] = true // but for that moment no time passes
			return bare{http.StatusRequestTimeout, health}
		}
		return health
	}
	if strings.Contains(rest[1], ",") {
		return c.allocations(names)
	}
	found := map[string]any{}
	for _, x := range c.present(names) { // the cluster state is lenient
		name := x.name
		if x.settings["index.hidden"] == "true" && !slices.Contains(strings.Split(names, ","), name) &&
			!strings.Contains(r.URL.Query().Get("expand_wildcards"), "hidden") {
			continue
		}
		if rest[1] == "metadata" {
			found[name] = map[string]any{"state": map[bool]string{true: "open", false: "close"}[x.open]}
		} else if x.open {
			found[name] = map[string]any{"shards": routing(x)}
		}
	}
	return map[string]any{rest[1]: map[string]any{"indices": found}}
}

// primariesOf tells whether all of the indices are there with their primaries.
func (c *Cluster) primariesOf(names string) bool {
	for _, name := range strings.Split(names, ",") {
		x := c.indices[name]
		if x == nil || !x.open || slices.ContainsFunc(x.shards, func(s *shard) bool { return s.state != "STARTED" }) {
			return false
		}
	}
	return true
}

// activeSoon counts the shards of indices that are active after a moment.
func (c *Cluster) activeSoon(names string) (active int) {
	for _, name := range strings.Split(names, ",") {
		x := c.indices[name]
		if x == nil || !x.open {
			continue
		}
		for _, s := range x.shards {
			s.advance()
			if s.state == "STARTED" {
				active++
			}
		}
	}
	return active
}

// allocations is what the cluster state tells of primaries.
func (c *Cluster) allocations(names string) any {
	terms, tables := map[string]any{}, map[string]any{}
	for _, x := range c.present(names) {
		primaries, table := map[string]any{}, map[string]any{}
		for number, s := range x.shards {
			key := strconv.Itoa(number)
			primaries[key] = 1 + s.allocations
			table[key] = []any{map[string]any{
				"state": s.state, "primary": true, "node": "n1",
				"allocation_id": map[string]any{"id": fmt.Sprintf("%s-%d", x.uuid, number)},
			}}
		}
		terms[x.name] = map[string]any{
			"state": map[bool]string{true: "open", false: "close"}[x.open], "primary_terms": primaries,
		}
		tables[x.name] = map[string]any{"shards": table}
	}
	return map[string]any{
		"nodes":         map[string]any{"n1": map[string]any{"ephemeral_id": "run-1"}},
		"metadata":      map[string]any{"indices": terms},
		"routing_table": map[string]any{"indices": tables},
	}
}

func (c *Cluster) health(names string) map[string]any {
	if names == "_all" {
		return map[string]any{"status": "green", "number_of_data_nodes": 1, "active_shards": c.shardsOpen()}
	}
	indices, worst := map[string]any{}, "green"
	for _, name := range strings.Split(names, ",") {
		x := c.indices[name]
		if x == nil || !x.open {
			continue
		}
		status := "green"
		for _, s := range x.shards {
			if s.state != "STARTED" {
				status, worst = "red", "red"
			}
		}
		indices[name] = map[string]any{"status": status}
	}
	return map[string]any{"status": worst, "number_of_data_nodes": 1, "indices": indices}
}

func routing(x *index) map[string]any {
	shards := map[string]any{}
	for number, s := range x.shards {
		row := map[string]any{"state": s.state, "primary": true, "shard": number}
		if s.state != "UNASSIGNED" {
			row["node"] = "n1"
		}
		if s.state != "STARTED" {
			row["recovery_source"] = map[string]any{
				"type": "SNAPSHOT", "repository": s.repository,
				"snapshot": s.snapshot,
			}
			row["unassigned_info"] = map[string]any{"reason": "NEW_INDEX_RESTORED"}
		}
		if s.refusedBy != nil {
			row["unassigned_info"] = map[string]any{
				"reason": "NEW_INDEX_RESTORED", "allocation_status": "deciders_no",
			}
		}
		if s.why != "" {
			row["unassigned_info"] = map[string]any{
				"reason": "ALLOCATION_FAILED", "failed_attempts": s.attempts,
				"details": s.why, "allocation_status": "deciders_no",
			}
		}
		shards[strconv.Itoa(number)] = []any{row}
	}
	return shards
}

// activeBlocks are the blocks in force, as the cluster's state shows them.
func (c *Cluster) activeBlocks() any {
	global, indices := map[string]any{}, map[string]any{}
	if c.block != "" {
		global["10"] = map[string]any{"description": c.block, "levels": []string{"write"}}
	}
	for name, x := range c.indices {
		blocks := map[string]any{}
		if x.interim {
			blocks["8"] = map[string]any{
				"uuid": "interim", "description": "index write (api)",
				"levels": []string{"write"},
			}
		}
		if x.orphan {
			blocks["8"] = map[string]any{"description": "index write (api)", "levels": []string{"write"}}
		}
		for setting, block := range map[string]string{
			"index.blocks.write": "8", "index.blocks.read_only": "5",
			"index.blocks.read_only_allow_delete": "12",
		} {
			if x.settings[setting] == "true" {
				blocks[block] = map[string]any{"description": setting, "levels": []string{"write"}}
			}
		}
		if len(blocks) > 0 {
			indices[name] = blocks
		}
	}
	return map[string]any{"blocks": map[string]any{"global": global, "indices": indices}}
}
