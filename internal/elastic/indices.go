package elastic

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/elastic/go-elasticsearch/v7/esapi"
)

// Index is one open or closed index.
type Index struct {
	Name            string
	UUID            string
	Open            bool
	CreatedVersion  int // index.version.created, see [VersionString]
	Shards          int // primaries
	Replicas        int // copies of each primary
	RefreshInterval string
	Blocks          map[string]string // the index.blocks.* settings, flat names
	Settings        map[string]string // all settings, flat names
	// PrimaryDocs counts Lucene documents, nested ones included. PrimaryBytes is the size of all
	// assigned primaries in bytes. Both are 0 for a closed index.
	PrimaryDocs, PrimaryBytes int64
	// PrimaryWrites counts the index and delete operations on the primaries since each was last
	// opened; 0 for a closed index.
	PrimaryWrites int64
}

// Indices gives the open and closed indices that match, sorted by name. A pattern is a name, an
// alias, a wildcard expression, or several of these separated by commas. No pattern means all
// indices. A wildcard without a match gives nothing. [Missing] if there is no index of a name; the
// error names it.
func (c *Client) Indices(ctx context.Context, patterns ...string) ([]Index, error) {
	patterns = splitPatterns(patterns)
	settings, err := c.settings(ctx, call{operation: "read indices", subject: list(patterns)}, patterns, "open,closed")
	if err != nil || len(settings) == 0 {
		return nil, err
	}
	names := slices.Sorted(maps.Keys(settings))
	states, err := c.indexStates(ctx, names)
	if err != nil {
		return nil, err
	}
	indices := make([]Index, 0, len(names))
	for _, name := range names {
		indices = append(indices, newIndex(name, settings[name], states[name] == "open"))
	}
	return indices, c.Measure(ctx, indices)
}

// Measure fills in the sizes of those of the indices that are open.
func (c *Client) Measure(ctx context.Context, indices []Index) error {
	var open []string
	for _, index := range indices {
		if index.Open {
			open = append(open, index.Name)
		}
	}
	sizes, err := c.primarySizes(ctx, open)
	if err != nil {
		return err
	}
	for i := range indices {
		size := sizes[indices[i].Name]
		indices[i].PrimaryDocs, indices[i].PrimaryBytes, indices[i].PrimaryWrites = size.docs, size.bytes, size.writes
	}
	return nil
}

// Matching finds the indices whose own names match one of the patterns, open or closed, and hidden
// ones too. The result tells which are open. An alias that matches doesn't count: it would bring in
// an index of another name. It takes one request for as many patterns as fit, and reads no
// settings: one index with index.blocks.metadata would have them all refused.
func (c *Client) Matching(ctx context.Context, patterns []string) (map[string]bool, error) {
	open := map[string]bool{}
	if len(patterns) == 0 {
		return open, nil
	}
	version, err := c.Version(ctx)
	if err != nil {
		return nil, err
	}
	expand := "open,closed"
	if version.AtLeast(7, 7) {
		expand += ",hidden"
	}
	states, err := c.states(ctx, patterns, expand)
	if err != nil {
		return nil, err
	}
	for name, state := range states {
		if slices.ContainsFunc(patterns, func(pattern string) bool { return Matches(pattern, name) }) {
			open[name] = state == "open"
		}
	}
	return open, nil
}

// Matches reports whether a name matches a pattern in which * stands for any characters.
func Matches(pattern, name string) bool {
	first, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == name
	}
	if !strings.HasPrefix(name, first) {
		return false
	}
	for name = name[len(first):]; ; name = name[1:] {
		if Matches(rest, name) {
			return true
		}
		if name == "" {
			return false
		}
	}
}

func newIndex(name string, settings map[string]string, open bool) Index {
	number := func(setting string) int { n, _ := strconv.Atoi(settings[setting]); return n }
	index := Index{
		Name: name, UUID: settings["index.uuid"], Open: open,
		CreatedVersion: number("index.version.created"),
		Shards:         number("index.number_of_shards"), Replicas: number("index.number_of_replicas"),
		RefreshInterval: settings["index.refresh_interval"], Blocks: map[string]string{}, Settings: settings,
	}
	for setting, value := range settings {
		if strings.HasPrefix(setting, "index.blocks.") {
			index.Blocks[setting] = value
		}
	}
	return index
}

func splitPatterns(patterns []string) []string {
	var split []string
	for _, pattern := range patterns {
		for _, one := range strings.Split(pattern, ",") {
			if one = strings.TrimSpace(one); one != "" {
				split = append(split, one)
			}
		}
	}
	if len(split) == 0 {
		return []string{"_all"}
	}
	return split
}

// indexStates gives "open" or "close" for each index. On all versions only the cluster state and
// _cat tell that.
func (c *Client) indexStates(ctx context.Context, names []string) (map[string]string, error) {
	return c.states(ctx, names, "open,closed")
}

func (c *Client) states(ctx context.Context, names []string, expand string) (map[string]string, error) {
	states := map[string]string{}
	var mu sync.Mutex
	err := eachBatch(ctx, names, func(ctx context.Context, batch []string) error {
		var answer struct {
			Metadata struct {
				Indices map[string]struct {
					State string `json:"state"`
				} `json:"indices"`
			} `json:"metadata"`
		}
		err := c.do(ctx, call{operation: "read index states", subject: list(batch)}, esapi.ClusterStateRequest{
			Metric: []string{"metadata"}, Index: segments(batch), ExpandWildcards: expand,
			FilterPath: []string{"metadata.indices.*.state"},
		}, &answer)
		mu.Lock()
		defer mu.Unlock()
		for name, index := range answer.Metadata.Indices {
			states[name] = index.State
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return states, nil
}

type indexSize struct{ docs, bytes, writes int64 }

// primarySizes is for open indices only: 5.x refuses the statistics of a closed one.
func (c *Client) primarySizes(ctx context.Context, open []string) (map[string]indexSize, error) {
	sizes := map[string]indexSize{}
	for _, batch := range batches(open) {
		var answer struct {
			Indices map[string]struct {
				Primaries struct {
					Docs struct {
						Count int64 `json:"count"`
					} `json:"docs"`
					Store struct {
						SizeInBytes int64 `json:"size_in_bytes"`
					} `json:"store"`
					Indexing struct {
						IndexTotal  int64 `json:"index_total"`
						DeleteTotal int64 `json:"delete_total"`
					} `json:"indexing"`
				} `json:"primaries"`
			} `json:"indices"`
		}
		err := c.do(ctx, call{operation: "read index sizes", subject: list(batch)},
			esapi.IndicesStatsRequest{Index: segments(batch), Metric: []string{"docs", "indexing", "store"}}, &answer)
		if err != nil {
			return nil, err
		}
		for name, index := range answer.Indices {
			p := index.Primaries
			sizes[name] = indexSize{p.Docs.Count, p.Store.SizeInBytes, p.Indexing.IndexTotal + p.Indexing.DeleteTotal}
		}
	}
	return sizes, nil
}

// Mapping is the mapping of one index.
type Mapping struct {
	// Types are the mapping types, sorted. Up to 6.x there may be several, but only in indices
	// created before 6.0. For 7.x, which shows none, they are ["_doc"]. Empty if nothing is mapped.
	Types []string
	// Raw is the value of "mappings": {type: {properties..}} up to 6.x, {properties..} from 7.0 on.
	Raw json.RawMessage
}

// Mappings gives the mapping of each index.
func (c *Client) Mappings(ctx context.Context, indices []string) (map[string]Mapping, error) {
	return c.mappings(ctx, indices, 0)
}

// mappings is Mappings with a limit on each answer, in bytes; 0 stands for none.
func (c *Client) mappings(ctx context.Context, indices []string, most int64) (map[string]Mapping, error) {
	if err := c.named("read mappings", indices); err != nil {
		return nil, err
	}
	version, err := c.Version(ctx)
	if err != nil {
		return nil, err
	}
	mappings := map[string]Mapping{}
	for _, batch := range batches(indices) {
		var answer map[string]struct {
			Mappings json.RawMessage `json:"mappings"`
		}
		what := call{operation: "read mappings", subject: list(batch), most: most}
		if err := c.do(ctx, what, esapi.IndicesGetMappingRequest{Index: segments(batch)}, &answer); err != nil {
			return nil, err
		}
		for name, index := range answer {
			var keys map[string]json.RawMessage
			if len(index.Mappings) > 0 {
				if err := json.Unmarshal(index.Mappings, &keys); err != nil {
					return nil, c.fail(what, Internal, "the mapping of "+name+" can't be read: "+err.Error())
				}
			}
			mapping := Mapping{Types: slices.Sorted(maps.Keys(keys)), Raw: index.Mappings}
			if version.Major >= 7 && len(keys) > 0 {
				mapping.Types = []string{"_doc"}
			}
			mappings[name] = mapping
		}
	}
	for _, name := range indices { // 5.x omits an index that has no mapping yet
		if _, ok := mappings[name]; !ok {
			mappings[name] = Mapping{Raw: json.RawMessage("{}")}
		}
	}
	return mappings, nil
}

// Aliases gives each index's aliases with their definition (filter, routing, is_write_index). An
// index without aliases has an empty map.
func (c *Client) Aliases(ctx context.Context, indices []string) (map[string]map[string]json.RawMessage, error) {
	return c.aliases(ctx, indices, 0)
}

// aliases is Aliases with a limit on each answer, in bytes; 0 stands for none.
func (c *Client) aliases(ctx context.Context, indices []string, most int64,
) (map[string]map[string]json.RawMessage, error) {
	if err := c.named("read aliases", indices); err != nil {
		return nil, err
	}
	aliases := map[string]map[string]json.RawMessage{}
	for _, name := range indices {
		aliases[name] = map[string]json.RawMessage{}
	}
	for _, batch := range batches(indices) {
		var answer map[string]struct {
			Aliases map[string]json.RawMessage `json:"aliases"`
		}
		err := c.do(ctx, call{operation: "read aliases", subject: list(batch), most: most},
			esapi.IndicesGetAliasRequest{Index: segments(batch)}, &answer)
		if err != nil {
			return nil, err
		}
		for name, index := range answer {
			if len(index.Aliases) > 0 {
				aliases[name] = index.Aliases
			}
		}
	}
	return aliases, nil
}

// CloseIndices closes indices, as a restore over them demands. To repeat it is harmless.
// [SlotTaken] while a snapshot or restore uses one of them. [NotSupported] by Amazon before 7.4.
func (c *Client) CloseIndices(ctx context.Context, names []string) error {
	if err := c.named("close indices", names); err != nil {
		return err
	}
	for _, batch := range batches(names) {
		var answer struct {
			Acknowledged *bool               `json:"acknowledged"`
			Indices      map[string]struct { // 7.x
				Closed    *bool   `json:"closed"`
				Exception esError `json:"exception"`
			} `json:"indices"`
		}
		what := call{operation: "close indices", subject: list(batch), slow: true}
		wait := c.patience(ctx, what)
		if err := c.do(ctx, what, esapi.IndicesCloseRequest{
			Index: segments(batch), MasterTimeout: wait.master, Timeout: wait.nodes,
		}, &answer); err != nil {
			return err
		}
		for name, index := range answer.Indices {
			if index.Closed != nil && !*index.Closed {
				return c.fail(what, Unavailable, "index "+name+" was not closed: "+index.Exception.text())
			}
		}
		if answer.Acknowledged != nil && !*answer.Acknowledged {
			return c.unacknowledged(what)
		}
	}
	return nil
}

// OpenIndices opens indices. To repeat it is harmless.
func (c *Client) OpenIndices(ctx context.Context, names []string) error {
	if err := c.named("open indices", names); err != nil {
		return err
	}
	for _, batch := range batches(names) {
		what := call{operation: "open indices", subject: list(batch), slow: true}
		wait := c.patience(ctx, what)
		err := c.acknowledge(ctx, what, esapi.IndicesOpenRequest{
			Index: segments(batch), MasterTimeout: wait.master, Timeout: wait.nodes,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// DeleteIndices deletes indices with all their data. An index that doesn't exist counts as deleted.
// [SlotTaken] while a snapshot uses one of them.
func (c *Client) DeleteIndices(ctx context.Context, names []string) error {
	if err := c.named("delete indices", names); err != nil {
		return err
	}
	for _, batch := range batches(names) {
		what := call{operation: "delete indices", subject: list(batch), slow: true}
		wait := c.patience(ctx, what)
		err := c.acknowledge(ctx, what, esapi.IndicesDeleteRequest{
			Index: segments(batch), IgnoreUnavailable: ptr(true), MasterTimeout: wait.master, Timeout: wait.nodes,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// named refuses an empty list, and names that stand for several indices.
func (c *Client) named(operation string, indices []string) error {
	if err := concrete(indices); err != nil {
		return c.fail(call{operation: operation}, Invalid, err.Error())
	}
	return nil
}
