package elastictest

import (
	"fmt"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
)

// archived begins the name of a setting that the cluster keeps and doesn't know.
const archived = "archived."

func matchesAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { ok, _ := path.Match(pattern, name); return ok })
}

// known is the name that a restored setting has here.
func (c *Cluster) known(name string) string {
	if matchesAny(c.UnknownSettings, name) {
		return archived + name
	}
	return name
}

func (c *Cluster) major() int {
	major, _ := strconv.Atoi(strings.Split(c.Version, ".")[0])
	return major
}

func unknown(name string) *failure {
	return refuse(http.StatusBadRequest, "illegal_argument_exception", "unknown setting [%s] please check that any "+
		"required plugins are installed, or check the breaking changes documentation for removed settings", name)
}

// changes tells whether settings change anything of the index beside its replicas, which alone
// makes Elasticsearch validate all of its settings.
func (x *index) changes(settings map[string]any) bool {
	for name, value := range settings {
		now, set := x.settings[name]
		switch {
		case name == archived+"*", name == "index.number_of_replicas":
		case value == nil && set, value != nil && now != fmt.Sprint(value):
			return true
		}
	}
	return false
}

// refuses says why a change of settings is refused for an index, as 5.x to 7.x do; nil if it isn't.
func (c *Cluster) refuses(x *index, settings map[string]any) *failure {
	_, removes := settings[archived+"*"]
	if removes && c.major() < 6 {
		return unknown("index." + archived + "*")
	}
	for name := range settings {
		if matchesAny(c.UnknownSettings, name) {
			return unknown(name)
		}
	}
	if c.major() >= 6 && !removes && x.changes(settings) {
		for _, name := range sortedKeys(x.settings) {
			if strings.HasPrefix(name, archived) {
				return unknown(name)
			}
		}
	}
	return x.invalid(settings, nil)
}

// invalid says why the index can't have these settings beside its own; nil if it can.
func (x *index) invalid(settings map[string]any, without []string) *failure {
	value := func(name string) string {
		if v, named := settings[name]; named {
			if v == nil {
				return ""
			}
			return fmt.Sprint(v)
		}
		if matchesAny(without, name) {
			return ""
		}
		return x.settings[name]
	}
	const wait = "index.write.wait_for_active_shards"
	copies, _ := strconv.Atoi(value("index.number_of_replicas"))
	if wanted, err := strconv.Atoi(value(wait)); err == nil && wanted > copies+1 {
		return refuse(http.StatusBadRequest, "illegal_argument_exception",
			"invalid %s[%d]: cannot be greater than number of shard copies [%d]", wait, wanted, copies+1)
	}
	return nil
}

// change sets and removes settings. 7.x removes archived ones only together with another change.
func (x *index) change(settings map[string]any) {
	if _, removes := settings[archived+"*"]; removes && x.changes(settings) {
		for name := range x.settings {
			if strings.HasPrefix(name, archived) {
				delete(x.settings, name)
			}
		}
	}
	for name, value := range settings {
		if name == "index.blocks.write" {
			x.orphan = false
		}
		switch {
		case name == archived+"*":
		case value == nil:
			delete(x.settings, name)
		default:
			x.settings[name] = fmt.Sprint(value)
		}
	}
}

func (x *index) copies() int {
	replicas, _ := strconv.Atoi(x.settings["index.number_of_replicas"])
	return len(x.shards) * (1 + replicas)
}

// shardsOpen counts the copies of all shards of open indices.
func (c *Cluster) shardsOpen() (count int) {
	for _, x := range c.indices {
		if x.open {
			count += x.copies()
		}
	}
	return count
}

// limited says that more replicas would be too many shards; nil if they wouldn't.
func (c *Cluster) limited(found []*index, settings map[string]any) *failure {
	wanted, named := settings["index.number_of_replicas"]
	replicas, _ := strconv.Atoi(fmt.Sprint(wanted))
	limit, _ := strconv.Atoi(c.settings["persistent"]["cluster.max_shards_per_node"])
	if !named || c.major() < 7 || limit == 0 {
		return nil
	}
	adds := 0
	for _, x := range found {
		adds += len(x.shards)*(1+replicas) - x.copies()
	}
	if open := c.shardsOpen(); adds > 0 && open+adds > limit {
		return refuse(http.StatusBadRequest, "validation_exception",
			"Validation Failed: 1: this action would add [%d] "+
				"shards, but this cluster currently has [%d]/[%d] maximum normal shards open;", adds, open, limit)
	}
	return nil
}

// LimitShards sets cluster.max_shards_per_node.
func (c *Cluster) LimitShards(perNode int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settings["persistent"]["cluster.max_shards_per_node"] = strconv.Itoa(perNode)
}

// Change sets a setting of an index as its owner would.
func (c *Cluster) Change(name, setting, value string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.indices[name].settings[setting] = value
}
