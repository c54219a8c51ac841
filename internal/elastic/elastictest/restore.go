package elastictest

import (
	"fmt"
	"maps"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strings"
)

func (c *Cluster) restore(r *http.Request, repoName string, repo *repository, name string) any {
	var body struct {
		Indices        string         `json:"indices"`
		IncludeAliases bool           `json:"include_aliases"`
		IndexSettings  map[string]any `json:"index_settings"`
		Ignore         []string       `json:"ignore_index_settings"`
		Pattern        string         `json:"rename_pattern"`
		Replacement    string         `json:"rename_replacement"`
	}
	decode(r, &body)
	renamed := func(saved string) string { // Java's replaceAll: $1 is what Go writes ${1}
		if body.Pattern == "" {
			return saved
		}
		return regexp.MustCompile(body.Pattern).ReplaceAllString(saved,
			strings.ReplaceAll(body.Replacement, "$1", "${1}"))
	}
	snap := c.store.find(repo.folder(), name)
	if snap == nil {
		return refuse(http.StatusInternalServerError, "snapshot_restore_exception", "[%s:%s] snapshot does not exist",
			repoName, name)
	}
	if c.restoring != "" {
		return refuse(http.StatusServiceUnavailable, "concurrent_snapshot_execution_exception",
			"[%s:%s] Restore process is already running in this cluster", repoName, name)
	}
	wanted := strings.Split(body.Indices, ",")
	for _, want := range wanted {
		if snap.indices[want] == nil {
			return errNoIndex(want)
		}
		if refused := c.tooOld(repoName, name, snap.indices[want]); refused != nil {
			return refused
		}
		if x := c.indices[renamed(want)]; x != nil && x.open {
			return refuse(http.StatusInternalServerError, "snapshot_restore_exception",
				"[%s:%s] cannot restore index [%s] because it's open", repoName, name, want)
		}
	}
	restored := map[string]*index{}
	for _, want := range wanted {
		restored[renamed(want)] = snap.indices[want]
	}
	if clash := c.clashes(repoName, name, restored, body.IncludeAliases); clash != nil {
		return clash
	}
	for _, want := range wanted {
		if refused := snap.indices[want].invalid(body.IndexSettings, body.Ignore); refused != nil {
			return refused
		}
	}
	for _, want := range wanted {
		c.restoreIndex(renamed(want), snap.indices[want], repoName, name, body.IncludeAliases, body.IndexSettings,
			body.Ignore)
	}
	c.restoring = name
	c.endRestore()
	return accepted
}

func (c *Cluster) restoreIndex(as string, saved *index, repo, snap string, aliases bool, settings map[string]any,
	ignore []string,
) {
	x, exists := c.indices[as]
	if !exists {
		x = &index{name: as, uuid: c.id("index"), aliases: map[string]definition{}}
		c.indices[as] = x
	}
	before := x.shards
	x.open, x.types, x.shards = true, saved.types, nil
	x.settings = map[string]string{}
	for name, value := range saved.settings {
		if !slices.ContainsFunc(ignore, func(pattern string) bool { ok, _ := path.Match(pattern, name); return ok }) {
			x.settings[c.known(name)] = value
		}
	}
	for name, value := range settings {
		x.settings[name] = fmt.Sprint(value)
	}
	x.settings["index.uuid"] = x.uuid
	if aliases {
		x.aliases = maps.Clone(saved.aliases)
	}
	for number, s := range saved.shards {
		restored := &shard{
			docs: maps.Clone(s.docs), state: "INITIALIZING", looks: c.Looks, repository: repo,
			snapshot: snap, operations: s.operations,
		}
		if number < len(before) {
			restored.allocations = before[number].allocations + 1
		}
		for id := range s.docs {
			if number < len(before) && before[number].docs[id] == s.docs[id] {
				restored.bytesReused += docBytes
			} else {
				restored.bytesCopied += docBytes
			}
		}
		if c.Looks == 0 {
			restored.state = "STARTED"
		}
		x.shards = append(x.shards, restored)
	}
}

// FailShard has the restore of an index's first shard fail for a reason, as soon as it runs, after
// so many attempts.
func (c *Cluster) FailShard(name, why string, attempts int) {
	c.On("POST /_snapshot/*/*/_restore", 1, func(w http.ResponseWriter, r *http.Request) bool {
		answer := c.answer(r)
		c.mu.Lock()
		defer c.mu.Unlock()
		if x := c.indices[name]; x != nil {
			x.shards[0].state, x.shards[0].why, x.shards[0].attempts = "UNASSIGNED", why, attempts
			c.restoring = x.shards[0].snapshot // as 5.x does: until the index is deleted
		}
		write(w, answer)
		return true
	})
}

// RefuseShard has no node take an index's first shard once its restore runs. Of each decider that
// says no it gives the explanation.
func (c *Cluster) RefuseShard(name string, deciders map[string]string) {
	c.On("POST /_snapshot/*/*/_restore", 1, func(w http.ResponseWriter, r *http.Request) bool {
		answer := c.answer(r)
		c.mu.Lock()
		defer c.mu.Unlock()
		if x := c.indices[name]; x != nil {
			x.shards[0].state, x.shards[0].refusedBy = "UNASSIGNED", deciders
			c.restoring = ""
		}
		write(w, answer)
		return true
	})
}

// explain says why no node takes a shard.
func (c *Cluster) explain(r *http.Request) any {
	var body struct {
		Index string `json:"index"`
		Shard int    `json:"shard"`
	}
	decode(r, &body)
	x := c.indices[body.Index]
	if x == nil {
		return errNoIndex(body.Index)
	}
	var deciders []any
	for _, name := range sortedKeys(x.shards[body.Shard].refusedBy) {
		deciders = append(deciders, map[string]any{
			"decider": name, "decision": "NO", "explanation": x.shards[body.Shard].refusedBy[name],
		})
	}
	return map[string]any{"node_allocation_decisions": []any{map[string]any{"deciders": deciders}}}
}

// endRestore frees the slot once every shard is started.
func (c *Cluster) endRestore() {
	for _, x := range c.indices {
		for _, s := range x.shards {
			if s.snapshot != "" && s.state != "STARTED" {
				return
			}
		}
	}
	c.restoring = ""
}

// advance is what time would do to the restore of a shard.
func (s *shard) advance() {
	if s.looks--; s.looks <= 0 && s.state == "INITIALIZING" {
		s.state = "STARTED"
	}
}

func (c *Cluster) recovery(found []*index) any {
	all := map[string]any{}
	for _, x := range found {
		var rows []any
		for number, s := range x.shards {
			if s.state == "UNASSIGNED" {
				continue // a failed shard is in no recovery
			}
			row := map[string]any{"id": number, "primary": true, "stage": "DONE", "type": "EXISTING_STORE"}
			if s.snapshot != "" {
				row["type"] = "SNAPSHOT"
				row["source"] = map[string]any{"repository": s.repository, "snapshot": s.snapshot}
				row["index"] = map[string]any{"size": map[string]any{
					"total_in_bytes": s.bytesReused + s.bytesCopied, "reused_in_bytes": s.bytesReused,
					"recovered_in_bytes": s.bytesCopied,
				}}
				if c.Recovered != nil {
					row["index"] = c.recovered(x.name, number)
				}
				if s.state == "INITIALIZING" {
					row["stage"] = "INDEX"
					s.advance() // so that the next look sees it done
				}
			}
			rows = append(rows, row)
		}
		if len(rows) > 0 {
			all[x.name] = map[string]any{"shards": rows}
		}
	}
	c.endRestore()
	return all
}

// recovered shows the files of a shard. Their names are shown from 7.0 on only.
func (c *Cluster) recovered(name string, shard int) any {
	files := c.Recovered(name, shard)
	var size int64
	var details []any
	for _, file := range sortedKeys(files) {
		size += files[file]
		details = append(details, map[string]any{"name": file, "length_in_bytes": files[file]})
	}
	shown := map[string]any{"total": len(files)}
	if c.Version >= "7" {
		shown["details"] = details
	}
	return map[string]any{
		"size":  map[string]any{"total_in_bytes": size, "reused_in_bytes": 0, "recovered_in_bytes": size},
		"files": shown,
	}
}
