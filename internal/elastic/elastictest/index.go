package elastictest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"net/http"
	"path"
	"strconv"
	"strings"
)

// Doc is a document.
type Doc struct {
	Type, ID, Routing string
	Version           int64
	seq               int64 // its sequence number, counted from 1 on; 0 is none, -1 is -2
}

// String leaves the sequence number out, which is no part of what a cluster holds.
func (d Doc) String() string { return fmt.Sprintf("{%s %s %s %d}", d.Type, d.ID, d.Routing, d.Version) }

type index struct {
	name, uuid string
	open       bool
	interim    bool // a request that sets a block waits: see BlockAPI
	orphan     bool // a block without a setting
	settings   map[string]string
	types      []string
	aliases    map[string]definition
	shards     []*shard
	// definition and mapping are raw JSON; empty means the usual one.
	definition, mapping string
}

type shard struct {
	docs                     map[string]Doc
	indexTotal, deleteTotal  int64
	operations               int64  // that got a sequence number
	state                    string // STARTED, INITIALIZING, UNASSIGNED
	looks                    int    // until a restore of it is done
	why                      string // of a shard that failed
	attempts                 int    // that failed
	refusedBy                map[string]string
	repository, snapshot     string // that it was restored from
	allocations              int    // how often it was allocated again
	uncommitted              bool
	bytesReused, bytesCopied int64
}

// docBytes is what a document takes on disk, for sizes.
const docBytes = 100

// Create makes an index, open and empty. Settings are by flat name.
func (c *Cluster) Create(name string, shards int, settings map[string]string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	x := &index{
		name: name, uuid: c.id("index"), open: true, types: []string{"doc"}, aliases: map[string]definition{},
		settings: map[string]string{
			"index.number_of_shards": strconv.Itoa(shards), "index.number_of_replicas": "1",
			"index.version.created": "5050299",
			"index.provided_name":   name, "index.creation_date": "1",
		},
	}
	x.settings["index.uuid"] = x.uuid
	maps.Copy(x.settings, settings)
	for range shards {
		x.shards = append(x.shards, &shard{docs: map[string]Doc{}, state: "STARTED"})
	}
	c.indices[name] = x
}

// Route writes a document with a routing into a shard of an index.
func (c *Cluster) Route(name string, shard int, id, routing string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	x := c.indices[name]
	s := x.shards[shard]
	s.docs[id] = Doc{Type: x.types[0], ID: id, Routing: routing, Version: s.docs[id].Version + 1, seq: c.operation(s)}
	s.indexTotal++
}

// SetTypes gives an index other mapping types.
func (c *Cluster) SetTypes(name string, types ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.indices[name].types = types
}

// SetMapping gives an index a mapping as the cluster shows it, as JSON.
func (c *Cluster) SetMapping(name, mapping string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.indices[name].mapping = mapping
}

// Index writes documents, one for each id, as an application would; an error means that a block
// refused it.
func (c *Cluster) Index(name string, ids ...string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	x := c.indices[name]
	if x.blocksWrites() {
		return errBlocked(name)
	}
	for _, id := range ids {
		s := x.shardOf(id)
		s.docs[id] = Doc{Type: x.types[0], ID: id, Version: s.docs[id].Version + 1, seq: c.operation(s)}
		s.indexTotal++
	}
	return nil
}

// Smuggle changes a document's version without any counter noticing; 0 deletes it. A document that
// was there keeps its sequence number, as one in a segment that was lost or damaged.
func (c *Cluster) Smuggle(name, id string, version int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.indices[name].shardOf(id)
	if version == 0 {
		delete(s.docs, id)
		return
	}
	s.docs[id] = Doc{Type: "doc", ID: id, Version: version, seq: s.docs[id].seq}
}

// Unassign gives a document the sequence number -2, as 6.x does to what it replays of a 5.x translog.
func (c *Cluster) Unassign(name, id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.indices[name].shardOf(id)
	doc := s.docs[id]
	doc.seq = -1
	s.docs[id] = doc
}

// Reallocate has the primaries of an index allocated again, as a restart of their node does.
func (c *Cluster) Reallocate(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.indices[name].shards {
		s.allocations++
	}
}

// Uncommitted says whether the primaries of an index have operations that are not committed, as
// they have after a write. Otherwise each write is committed at once.
func (c *Cluster) Uncommitted(name string, operations bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.indices[name].shards {
		s.uncommitted = operations
	}
}

// Setting is an index's setting, "" if not set.
func (c *Cluster) Setting(name, setting string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.indices[name].settings[setting]
}

// Has tells whether there is an index of that name.
func (c *Cluster) Has(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.indices[name] != nil
}

// IsOpen tells whether the index is there and open.
func (c *Cluster) IsOpen(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.indices[name] != nil && c.indices[name].open
}

// SetOpen opens or closes an index.
func (c *Cluster) SetOpen(name string, open bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.indices[name].open = open
}

// LosePrimary takes away the primary of an index's first shard.
func (c *Cluster) LosePrimary(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.indices[name].shards[0].state = "UNASSIGNED"
}

// FindPrimary brings back what LosePrimary took.
func (c *Cluster) FindPrimary(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.indices[name].shards[0].state = "STARTED"
}

// RestartNode has every shard recover from its own disk.
func (c *Cluster) RestartNode() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range c.indices {
		for _, s := range x.shards {
			s.repository, s.snapshot, s.indexTotal, s.deleteTotal = "", "", 0, 0
		}
	}
}

func (x *index) shardOf(id string) *shard {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	return x.shards[int(h.Sum32())%len(x.shards)]
}

func (x *index) blocksWrites() bool {
	return x.interim || x.orphan || x.settings["index.blocks.write"] == "true" || x.readOnly() != ""
}

// readOnly is the block that refuses every change of the index's settings but its own.
func (x *index) readOnly() string {
	for _, block := range []string{"index.blocks.read_only", "index.blocks.read_only_allow_delete"} {
		if x.settings[block] == "true" {
			return block
		}
	}
	return ""
}

// BlockAPI begins what PUT /name/_block/write of 7.9 and later does, and returns what ends it. It
// sets the setting and a block, which stays whatever becomes of the setting as long as the request
// waits for writes. At its end it puts another block, which goes away with the setting, even if the
// setting is gone by then.
func (c *Cluster) BlockAPI(name string) (end func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	x := c.indices[name]
	x.interim, x.settings["index.blocks.write"] = true, "true"
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		x.interim, x.orphan = false, true
	}
}

// SetSetting changes a setting by hand; empty removes it.
func (c *Cluster) SetSetting(name, setting, value string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if value == "" {
		delete(c.indices[name].settings, setting)
		return
	}
	c.indices[name].settings[setting] = value
}

// Delete deletes indices by hand.
func (c *Cluster) Delete(names ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range names {
		delete(c.indices, name)
	}
}

// BlockCluster has the cluster refuse every write, as Amazon does when disks or memory run short;
// empty ends that.
func (c *Cluster) BlockCluster(description string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.block = description
}

func (x *index) docs() (count int64) {
	for _, s := range x.shards {
		count += int64(len(s.docs))
	}
	return count
}

func errBlocked(name string) *failure {
	return refuse(http.StatusForbidden, "cluster_block_exception", "blocked by: [FORBIDDEN/8/index write (api)]; [%s]",
		name)
}

func errNoIndex(name string) *failure {
	return refuse(http.StatusNotFound, "index_not_found_exception", "no such index [%s]", name)
}

// resolve expands names, aliases and patterns as Elasticsearch does: an absent concrete name
// refuses the complete request.
func (c *Cluster) resolve(expression string) ([]*index, *failure) {
	var found []*index
	seen := map[string]bool{}
	add := func(x *index) {
		if !seen[x.name] {
			seen[x.name] = true
			found = append(found, x)
		}
	}
	for _, name := range strings.Split(expression, ",") {
		if x := c.indices[name]; x != nil { // no alias has the name of an index
			add(x)
			continue
		}
		before := len(found)
		for _, candidate := range sortedKeys(c.indices) {
			x := c.indices[candidate]
			matched := name == "_all"
			for _, known := range append(sortedKeys(x.aliases), candidate) { // a pattern matches aliases too
				fits, _ := path.Match(name, known)
				matched = matched || fits
			}
			if matched {
				add(x)
			}
		}
		if len(found) == before && !seen[name] && !strings.Contains(name, "*") && name != "_all" {
			return nil, errNoIndex(name)
		}
	}
	return found, nil
}

// present is resolve with ignore_unavailable: absent names stand for nothing.
func (c *Cluster) present(expression string) []*index {
	var names []string
	for _, name := range strings.Split(expression, ",") {
		if _, absent := c.resolve(name); absent == nil {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	found, _ := c.resolve(strings.Join(names, ","))
	return found
}

func readBody(r *http.Request) string {
	content, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(content))
	return string(content)
}

func decode(r *http.Request, out any) { _ = json.NewDecoder(r.Body).Decode(out) }

// answerIndex is for everything below /{index}/.
func (c *Cluster) answerIndex(r *http.Request, expression string, rest []string) any {
	if rest[0] == "_update" || rest[len(rest)-1] == "_update" {
		return c.update(r, expression, rest)
	}
	found, absent := c.resolve(expression)
	if rest[0] == "_settings" && r.Method == http.MethodGet {
		for _, x := range found {
			if x.settings["index.blocks.metadata"] == "true" {
				return refuse(http.StatusForbidden, "cluster_block_exception",
					"blocked by: [FORBIDDEN/9/index metadata (api)];")
			}
		}
	}
	if absent != nil && r.URL.Query().Get("ignore_unavailable") == "true" {
		found, absent = c.present(expression), nil
	}
	if absent != nil {
		return absent
	}
	switch operation := r.Method + " " + rest[0]; operation {
	case "GET _settings":
		if r.URL.Query().Get("flat_settings") != "true" {
			return byIndex(found, definitionOf)
		}
		// An answer is sent without the lock, while somebody may change the index.
		return byIndex(found, func(x *index) any { return map[string]any{"settings": maps.Clone(x.settings)} })
	case "PUT _settings":
		return c.putSettings(r, found)
	case "GET _mapping":
		return byIndex(found, func(x *index) any { return map[string]any{"mappings": c.mappings(x)} })
	case "GET _alias":
		return byIndex(found, aliasesOf)
	case "POST _close":
		return c.closeIndices(found)
	case "POST _open":
		for _, x := range found {
			x.open = true
		}
		return acknowledged
	}
	for _, x := range found {
		if !x.open {
			return refuse(http.StatusBadRequest, "index_closed_exception", "closed [%s]", x.name)
		}
	}
	switch rest[0] {
	case "_stats":
		return c.stats(found)
	case "_recovery":
		return c.recovery(found)
	case "_refresh":
		return map[string]any{"_shards": map[string]any{"total": 1, "successful": 1, "failed": 0}}
	case "_count":
		return countDocs(r, found[0])
	case "_search":
		return c.search(r, found)
	}
	return errNoHandler(r)
}

// mappings are shown by type up to 6.x.
func (c *Cluster) mappings(x *index) any {
	if x.mapping != "" {
		return json.RawMessage(x.mapping)
	}
	fields := map[string]any{"properties": map[string]any{"title": map[string]any{"type": "text"}}}
	types := map[string]any{}
	for _, name := range x.types {
		types[name] = fields
	}
	if c.major() >= 7 && len(types) > 0 {
		return fields
	}
	return types
}

// described is all that a cluster tells of an index's definition.
func (c *Cluster) described(x *index) any {
	return map[string]any{
		"settings": maps.Clone(x.settings), "mappings": c.mappings(x), "aliases": maps.Clone(x.aliases),
	}
}

func byIndex(found []*index, describe func(*index) any) map[string]any {
	all := map[string]any{}
	for _, x := range found {
		all[x.name] = describe(x)
	}
	return all
}

func (c *Cluster) putSettings(r *http.Request, found []*index) any {
	var settings map[string]any
	decode(r, &settings)
	for _, x := range found {
		if _, named := settings[x.readOnly()]; x.readOnly() != "" && !named {
			return refuse(http.StatusForbidden, "cluster_block_exception",
				"blocked by: [FORBIDDEN/%s];", map[string]string{
					"index.blocks.read_only":              "5/index read-only (api)",
					"index.blocks.read_only_allow_delete": "12/index read-only / allow delete (api)",
				}[x.readOnly()]) // 5.5.2 doesn't say which index
		}
	}
	for _, x := range found { // all or none
		if refused := c.refuses(x, settings); refused != nil {
			return refused
		}
	}
	if refused := c.limited(found, settings); refused != nil {
		return refused
	}
	for _, x := range found {
		x.change(settings)
	}
	return acknowledged
}

func (c *Cluster) closeIndices(found []*index) any {
	for _, x := range found {
		for _, s := range x.shards {
			if s.state != "STARTED" && s.snapshot != "" && c.restoring != "" {
				s.advance()
				c.endRestore()
				return refuse(http.StatusBadRequest, "illegal_argument_exception",
					"Cannot close indices that are being restored: [[%s]]", x.name)
			}
		}
	}
	for _, x := range found {
		x.open = false
	}
	return acknowledged
}

func (c *Cluster) deleteIndices(expression string) any {
	for _, name := range strings.Split(expression, ",") {
		delete(c.indices, name)
	}
	c.endRestore()
	return acknowledged
}
