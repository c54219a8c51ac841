package elastic

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/elastic/go-elasticsearch/v7/esapi"
)

// Mark tells whether an index is what it was when an earlier mark was taken: then both are equal.
// No write, no other allocation of a primary and no change of its definition leaves a mark as it
// was.
type Mark struct {
	UUID string
	// Definition is a digest of mappings, settings and aliases, without what snapferry itself sets
	// and what changes by itself.
	Definition string
	// Shards has one mark for each primary, by number; empty if it is not known.
	//
	//   - From 6.0 on it is `<maximal sequence number>/<life>`. It is not known while a write is under
	//     way.
	//   - Before, it is `<id of the last commit>/<life>`. It is not known while operations are
	//     uncommitted. Such a shard is Written.
	//
	// The life stands for the allocation of the primary, and from 5.0 on for its term and for the run
	// of its node. What a primary has lost with its node may have been in a snapshot already: then
	// another life of it has what the mark says, and the target has more. A primary that is not
	// started, or of which there are several, has no mark.
	Shards []string
	// Written says that a shard has no mark because it has uncommitted operations.
	Written bool
	// Lives are those of the primaries from 6.0 on. They are known while writes are under way too. As
	// long as a life is the same, a sequence number up to the global checkpoint is that of one
	// operation.
	Lives []Life
}

// Life is that of a primary; the zero value is not known.
type Life struct {
	// ID is what stands behind the slash of the shard's mark.
	ID    string
	SeqNo SeqNo
}

// largestDefinitions bounds, in bytes, an answer with definitions. Where it is larger, fewer indices
// are asked for. A single index is read whatever it takes.
const largestDefinitions = 8 << 20

// Marks takes the marks of indices. One that doesn't exist, or is deleted while they are taken, has
// none. Nothing is known of the shards of one that is closed. It reads, in this order, definitions,
// allocations and operations: whatever changes in between makes the next mark another one.
func (c *Client) Marks(ctx context.Context, indices []string) (map[string]Mark, error) {
	if err := c.named("read marks", indices); err != nil {
		return nil, err
	}
	version, err := c.Version(ctx)
	if err != nil {
		return nil, err
	}
	return marksBy(ctx, indices, func(ctx context.Context, batch []string) (map[string]*Mark, error) {
		return c.marksOf(ctx, version, batch)
	})
}

// marksBy takes marks of as many indices at a time as fit into one request.
func marksBy(ctx context.Context, indices []string,
	of func(context.Context, []string) (map[string]*Mark, error),
) (map[string]Mark, error) {
	all := make(map[string]Mark, len(indices))
	var mu sync.Mutex
	err := eachBatch(ctx, indices, func(ctx context.Context, batch []string) error {
		marks, err := of(ctx, batch)
		mu.Lock()
		defer mu.Unlock()
		for name, mark := range marks {
			all[name] = *mark
		}
		return err
	})
	return all, err
}

// DefinitionDigests are those parts of the indices' marks that stand for their definitions. An index
// that doesn't exist has none.
func (c *Client) DefinitionDigests(ctx context.Context, indices []string) (map[string]string, error) {
	if err := c.named("read definitions", indices); err != nil {
		return nil, err
	}
	marks, err := marksBy(ctx, indices, func(ctx context.Context, batch []string) (map[string]*Mark, error) {
		found := map[string]*Mark{}
		return found, c.markDefinitions(ctx, batch, largestDefinitions, found)
	})
	digests := make(map[string]string, len(marks))
	for name, mark := range marks {
		digests[name] = mark.Definition
	}
	return digests, err
}

// marksOf takes the marks of as many indices as fit into one request.
func (c *Client) marksOf(ctx context.Context, version Version, names []string) (map[string]*Mark, error) {
	marks := map[string]*Mark{}
	if err := c.markDefinitions(ctx, names, largestDefinitions, marks); err != nil {
		return nil, err
	}
	var there []string
	for _, name := range names {
		if marks[name] != nil {
			there = append(there, name)
		}
	}
	if len(there) == 0 {
		return marks, nil
	}
	allocations, open, err := c.allocations(ctx, version, there)
	if err != nil || len(open) == 0 {
		return marks, err
	}
	err = c.markShards(ctx, open, version.Major < 6, allocations, marks)
	if KindOf(err) == Missing || IsClosed(err) {
		return marks, nil // one was deleted or closed just now: which one is not worth another request
	}
	return marks, err
}

// markDefinitions adds the digests of definitions, and an unknown mark for each shard.
func (c *Client) markDefinitions(ctx context.Context, names []string, most int64, marks map[string]*Mark) error {
	var answer map[string]map[string]json.RawMessage
	what := call{operation: "read definitions", subject: list(names), most: most}
	err := c.do(ctx, what, esapi.IndicesGetRequest{
		Index: segments(names), FlatSettings: ptr(true), IgnoreUnavailable: ptr(true), ExpandWildcards: "open,closed",
	}, &answer)
	switch {
	case errors.Is(err, ErrTooLarge) && len(names) > 1:
		half := len(names) / 2
		if err := c.markDefinitions(ctx, names[:half], most, marks); err != nil {
			return err
		}
		return c.markDefinitions(ctx, names[half:], most, marks)
	case errors.Is(err, ErrTooLarge) && most > 0:
		return c.markDefinitions(ctx, names, 0, marks)
	case err != nil:
		return err
	}
	for _, name := range names {
		found, there := answer[name]
		if !there {
			continue
		}
		definition, settings, err := definitionOf(found)
		if err != nil {
			return c.fail(what, Internal, "the definition of "+name+" can't be read: "+err.Error())
		}
		shards, _ := strconv.Atoi(settings["index.number_of_shards"])
		marks[name] = &Mark{UUID: settings["index.uuid"], Definition: definition, Shards: make([]string, shards)}
		marks[name].Lives = make([]Life, shards)
	}
	return nil
}

// definitionOf is a digest of everything that a request for an index tells: mappings, settings,
// aliases, and in old versions warmers. It also returns the settings.
func definitionOf(index map[string]json.RawMessage) (string, map[string]string, error) {
	var settings flatSettings
	if raw := index["settings"]; len(raw) > 0 {
		if err := json.Unmarshal(raw, &settings); err != nil {
			return "", nil, err
		}
	}
	left := make(map[string]any, len(index))
	for part, raw := range index {
		var value any
		decoder := json.NewDecoder(bytes.NewReader(raw))
		decoder.UseNumber()
		if err := decoder.Decode(&value); err != nil {
			return "", nil, err
		}
		if flat, ok := value.(map[string]any); ok && part == "settings" {
			delete(flat, "index.blocks.write") // snapferry sets it
			delete(flat, "index.history.uuid") // another one after each restore, from 6.x on
			if expand := settings["index.auto_expand_replicas"]; expand != "" && expand != "false" {
				delete(flat, "index.number_of_replicas") // Elasticsearch sets it as nodes come and go
			}
		}
		left[part] = value
	}
	canonical, err := json.Marshal(left) // sorted keys
	if err != nil {
		return "", nil, err
	}
	return digest(canonical), settings, nil
}

// digest is a short text that stands for a longer one.
func digest(text []byte) string {
	sum := sha256.Sum256(text)
	return base64.RawURLEncoding.EncodeToString(sum[:18])
}

type shardKey struct {
	index string
	shard int
}

// allocation is what tells one life of a primary from another.
type allocation struct {
	node, id, run string // of the node, of the allocation, of the node's process
	term          int64
}

func (a allocation) life() string {
	return digest(fmt.Appendf(nil, "%d %s %s", a.term, a.id, a.run))[:12]
}

// allocations are those of the primaries that are started and stay where they are. It also tells
// which of the indices are open: statistics of others are refused.
func (c *Client) allocations(ctx context.Context, version Version, names []string) (found map[shardKey]allocation,
	open []string, err error,
) {
	var answer struct {
		Nodes map[string]struct {
			EphemeralID string `json:"ephemeral_id"`
		} `json:"nodes"`
		Metadata struct {
			Indices map[string]struct {
				State        string           `json:"state"`
				PrimaryTerms map[string]int64 `json:"primary_terms"`
			} `json:"indices"`
		} `json:"metadata"`
		RoutingTable struct {
			Indices map[string]struct {
				Shards map[string][]struct {
					State        string `json:"state"`
					Primary      bool   `json:"primary"`
					Node         string `json:"node"`
					AllocationID struct {
						ID string `json:"id"`
					} `json:"allocation_id"`
				} `json:"shards"`
			} `json:"indices"`
		} `json:"routing_table"`
	}
	what := call{operation: "read allocations", subject: list(names)}
	err = c.do(ctx, what, esapi.ClusterStateRequest{
		Metric: []string{"metadata", "routing_table", "nodes"}, Index: segments(names), IgnoreUnavailable: ptr(true),
		FilterPath: []string{
			"nodes.*.ephemeral_id", "metadata.indices.*.state", "metadata.indices.*.primary_terms",
			"routing_table.indices.*.shards.*.state", "routing_table.indices.*.shards.*.primary",
			"routing_table.indices.*.shards.*.node", "routing_table.indices.*.shards.*.allocation_id.id",
		},
	}, &answer)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		if answer.Metadata.Indices[name].State == "open" {
			open = append(open, name)
		}
	}
	found = map[shardKey]allocation{}
	for index, table := range answer.RoutingTable.Indices {
		terms := answer.Metadata.Indices[index].PrimaryTerms
		for number, copies := range table.Shards {
			shard, err := strconv.Atoi(number)
			if err != nil {
				return nil, nil, c.fail(what, Internal, "shard "+number+" isn't a number")
			}
			primaries := 0
			for _, s := range copies {
				if !s.Primary {
					continue
				}
				primaries++
				term, known := terms[number]
				if s.State == "STARTED" && (known || version.Major < 5) && s.AllocationID.ID != "" {
					found[shardKey{index, shard}] = allocation{
						node: s.Node, id: s.AllocationID.ID, run: answer.Nodes[s.Node].EphemeralID, term: term,
					}
				}
			}
			if primaries != 1 {
				delete(found, shardKey{index, shard})
			}
		}
	}
	return found, open, nil
}

// markShards adds the marks of the shards: those of commits, or those of sequence numbers.
func (c *Client) markShards(ctx context.Context, names []string, commits bool, allocations map[shardKey]allocation,
	marks map[string]*Mark,
) error {
	var answer struct {
		Indices map[string]struct {
			Shards map[string][]markedShard `json:"shards"`
		} `json:"indices"`
	}
	what := call{operation: "read marks", subject: list(names)}
	err := c.do(ctx, what, esapi.IndicesStatsRequest{
		Index: segments(names), Metric: []string{"translog"}, Level: "shards", FilterPath: []string{
			"indices.*.shards.*.routing", "indices.*.shards.*.commit.id", "indices.*.shards.*.seq_no",
			"indices.*.shards.*.translog.operations",
		},
	}, &answer)
	if err != nil {
		return err
	}
	for _, name := range names {
		mark := marks[name]
		for shard := range mark.Shards {
			primary, one := onePrimary(answer.Indices[name].Shards[strconv.Itoa(shard)])
			at, known := allocations[shardKey{name, shard}]
			switch {
			case !one || !known || at.node != primary.Routing.Node:
			case commits:
				mark.Shards[shard] = primary.commitMark(at)
				mark.Written = mark.Written || primary.Translog.Operations > 0
			default:
				mark.Shards[shard] = primary.seqNoMark(at)
				if primary.SeqNo != nil {
					mark.Lives[shard] = Life{ID: at.life(), SeqNo: *primary.SeqNo}
				}
			}
		}
	}
	return nil
}

// markedShard is one copy of a shard, as its statistics show it.
type markedShard struct {
	Routing struct {
		State   string `json:"state"`
		Primary bool   `json:"primary"`
		Node    string `json:"node"`
	} `json:"routing"`
	Commit *struct {
		ID string `json:"id"`
	} `json:"commit"`
	Translog *struct {
		Operations int64 `json:"operations"`
	} `json:"translog"`
	SeqNo *SeqNo `json:"seq_no"`
}

// onePrimary is the primary among the copies of a shard; false unless there is one, and it is
// started and stays where it is.
func onePrimary(copies []markedShard) (primary markedShard, one bool) {
	primaries := 0
	for _, s := range copies {
		if s.Routing.Primary {
			primary = s
			primaries++
		}
	}
	return primary, primaries == 1 && primary.Routing.State == "STARTED" && primary.Translog != nil
}

// commitMark is the mark of a shard before 6.0. Each commit has an id of its own.
func (s markedShard) commitMark(at allocation) string {
	if s.Commit == nil || s.Commit.ID == "" || s.Translog.Operations != 0 {
		return ""
	}
	return s.Commit.ID + "/" + at.life()
}

// seqNoMark is the mark of a shard from 6.0 on.
func (s markedShard) seqNoMark(at allocation) string {
	if s.SeqNo == nil || s.SeqNo.Max != s.SeqNo.Local {
		return ""
	}
	return fmt.Sprintf("%d/%s", s.SeqNo.Max, at.life())
}
