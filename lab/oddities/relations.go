package oddities

import "fmt"

// Documents that belong to others, or lie in a shard for a reason of their own.

func nested(v Version) []Index {
	return []Index{plain(v, "nested", func(x *Index) {
		x.Mapping["properties"].(object)["parts"] = object{
			"type": "nested", "properties": object{"color": keyword(v), "size": object{"type": "integer"}},
		}
		part := func(color string, size int) object { return object{"color": color, "size": size} }
		for _, d := range append(x.Docs, x.Late...) {
			n := d.Source["n"].(int)
			d.Source["parts"] = []object{part("red", n), part("blue", n*2), part("green", 7)}[:n%4%3+1]
		}
		x.Queries = append(x.Queries, search(object{"nested": object{"path": "parts", "query": object{
			"bool": object{"must": []object{{"term": object{"parts.color": "blue"}}, {"range": object{
				"parts.size": object{"gte": 4},
			}}}},
		}}}))
	})}
}

func routed(v Version) []Index {
	return []Index{plain(v, "routed", func(x *Index) {
		x.Settings["number_of_shards"] = 5
		x.Mapping["_routing"] = object{"required": true}
		for i := range x.Docs {
			x.Docs[i].Routing = fmt.Sprintf("tenant %d/ü", i%3)
		}
		for i := range x.Late {
			x.Late[i].Routing = "tenant 9"
		}
		// The same id in two shards, which only a routing allows.
		x.Docs = append(x.Docs, Doc{ID: "twice", Routing: "a", Source: object{"n": 100}},
			Doc{ID: "twice", Routing: "b", Source: object{"n": 101}},
			Doc{ID: "twice", Routing: "c", Source: object{"n": 102}})
	})}
}

func family(v Version) []Index {
	x := plain(v, "family", nil)
	x.Mapping, x.Queries = nil, nil
	x.Types = map[string]map[string]any{
		"mother": properties(object{"n": object{"type": "integer"}, "tag": keyword(v)}),
		"child": {
			"_parent":    object{"type": "mother"},
			"properties": object{"n": object{"type": "integer"}, "toy": keyword(v)},
		},
	}
	x.Docs = docs(0, 6, func(n int) Doc {
		return Doc{Type: "mother", ID: fmt.Sprintf("m-%d", n), Source: object{"tag": "mother"}}
	})
	child := func(n int) Doc {
		return Doc{
			Type: "child", ID: fmt.Sprintf("c-%d", n), Parent: fmt.Sprintf("m-%d", n%6),
			Source: object{"toy": fmt.Sprintf("toy-%d", n%5)},
		}
	}
	x.Docs = append(x.Docs, docs(0, 30, child)...)
	x.Late = docs(30, 33, child)
	x.Queries = []Query{term("toy", "toy-2"), search(object{"parent_id": object{"type": "child", "id": "m-3"}})}
	return []Index{x}
}

func types(v Version) []Index {
	x := plain(v, "types", nil)
	x.Mapping = nil
	fields := properties(object{"n": object{"type": "integer"}, "tag": keyword(v), "word": text(v)})
	x.Types = map[string]map[string]any{"film": fields, "series": fields, "never-used": properties(object{
		"n": object{"type": "integer"},
	})}
	for i := range x.Docs {
		x.Docs[i].Type = []string{"film", "series"}[i%2]
	}
	for i := range x.Late {
		x.Late[i].Type = "series"
	}
	// The same id in two types are two documents.
	x.Docs = append(x.Docs, Doc{Type: "film", ID: "both", Source: object{"n": 50}},
		Doc{Type: "series", ID: "both", Source: object{"n": 51}})
	return []Index{x}
}

func joined(v Version) []Index {
	return []Index{plain(v, "joined", func(x *Index) {
		if v.Before(v60) {
			x.Settings["mapping.single_type"] = true // else there may be several, and no join field
		}
		x.Mapping["properties"].(object)["relation"] = object{
			"type": "join", "relations": object{"question": []string{"answer", "comment"}, "answer": "vote"},
		}
		question := func(n int) Doc {
			return Doc{ID: fmt.Sprintf("q-%d", n), Source: object{
				"relation": "question", "tag": fmt.Sprintf("tag-%d", n),
			}}
		}
		answer := func(n int) Doc {
			parent := fmt.Sprintf("q-%d", n%4)
			return Doc{ID: fmt.Sprintf("a-%d", n), Routing: parent, Source: object{
				"relation": object{"name": "answer", "parent": parent}, "word": "common",
			}}
		}
		x.Docs, x.Late = append(docs(0, 4, question), docs(0, 12, answer)...), docs(12, 15, answer)
		x.Queries = append(x.Queries,
			search(object{"has_parent": object{
				"parent_type": "question", "query": object{"term": object{"tag": "tag-2"}},
			}}),
			search(object{"has_child": object{
				"type": "answer", "query": object{"range": object{"n": object{"gte": 11}}},
			}}),
			search(object{"parent_id": object{"type": "answer", "id": "q-3"}}))
	})}
}
