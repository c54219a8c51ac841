package oddities

import "fmt"

// Indices that were made of others, and what else has happened to them or their documents.

func rollover(v Version) []Index {
	alias := func(writes bool) object { return object{"odd-write": object{"is_write_index": writes}} }
	return []Index{
		plain(v, "rolled-000001", func(x *Index) { x.Aliases, x.Late = alias(false), nil }),
		plain(v, "rolled-000002", func(x *Index) { x.Aliases = alias(true) }),
	}
}

// resized makes another index of one, which must have a block for that. From 7.0 on the new one gets
// the block as well.
func resized(from, how, to string, shards int) []Request {
	return []Request{
		setting(from, object{"index.blocks.write": true}),
		{
			"POST", fmt.Sprintf("/%s%s/%s/%s%s?wait_for_active_shards=1", Prefix, from, how, Prefix, to),
			object{"settings": object{"index.number_of_shards": shards, "index.number_of_replicas": 0}},
		},
		setting(to, object{"index.blocks.write": nil}),
	}
}

func shrunk(v Version) []Index {
	return []Index{
		plain(v, "large", func(x *Index) {
			x.Settings["number_of_shards"], x.Late = 4, nil
			x.Then = resized("large", "_shrink", "shrunk", 1)
			x.Lost = []string{"index.blocks.write"}
		}),
		{
			Name: Prefix + "shrunk", MadeBy: true, Queries: plain(v, "", nil).Queries,
			Late: docs(20, 22, func(int) Doc { return Doc{Source: object{"tag": "tag-1"}} }),
		},
	}
}

func split(v Version) []Index {
	return []Index{
		plain(v, "whole", func(x *Index) {
			x.Late = nil
			x.Settings["number_of_routing_shards"] = 8
			x.Then = resized("whole", "_split", "split", 4)
			x.Lost = []string{"index.blocks.write"}
		}),
		{
			Name: Prefix + "split", MadeBy: true, Queries: plain(v, "", nil).Queries,
			Late: docs(20, 22, func(int) Doc { return Doc{Source: object{"tag": "tag-1"}} }),
		},
	}
}

// passesThrough has a query find what the index's pipeline has done to documents.
func passesThrough(v Version, x *Index) {
	if v.Has(ingestCommon) {
		x.Queries = append(x.Queries, term("piped", true))
	}
}
