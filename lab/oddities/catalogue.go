package oddities

import (
	"fmt"
	"strings"
)

type object = map[string]any

// Prefix begins the name of each index of the catalogue.
const Prefix = "odd-"

// Settings of Amazon's plugins, and of another plugin, which the source's nodes must know and the
// target's don't.
const (
	PolicyOfISM  = "index.opendistro.index_state_management.policy_id"
	OwnOfAPlugin = "index.snapferry.unknown"
)

var (
	v50 = Version{5, 0}
	v52 = Version{5, 2}
	v56 = Version{5, 6}
	v60 = Version{6, 0}
	v61 = Version{6, 1}
	v64 = Version{6, 4}
	v65 = Version{6, 5}
	v72 = Version{7, 2}
	v75 = Version{7, 5}
	v77 = Version{7, 7}
)

// text is a searchable text in any version.
func text(v Version) object {
	if v.Major < 5 {
		return object{"type": "string"}
	}
	return object{"type": "text"}
}

func keyword(v Version) object {
	if v.Major < 5 {
		return object{"type": "string", "index": "not_analyzed"}
	}
	return object{"type": "keyword"}
}

func properties(of object) object { return object{"properties": of} }

func search(query object) Query { return Query{Body: object{"query": query}} }

func term(field string, value any) Query { return search(object{"term": object{field: value}}) }

// docs makes documents with a number each.
func docs(from, to int, more func(n int) Doc) []Doc {
	var all []Doc
	for n := from; n < to; n++ {
		d := Doc{}
		if more != nil {
			d = more(n)
		}
		if d.ID == "" {
			d.ID = fmt.Sprintf("d-%03d", n)
		}
		if d.Source == nil {
			d.Source = object{}
		}
		d.Source["n"] = n
		all = append(all, d)
	}
	return all
}

// plain is an index like most, with something odd about it.
func plain(v Version, name string, odd func(*Index)) Index {
	x := Index{
		Name: Prefix + name, Settings: object{"number_of_shards": 2},
		Mapping: properties(object{"n": object{"type": "integer"}, "word": text(v), "tag": keyword(v)}),
		Docs: docs(0, 20, func(n int) Doc {
			return Doc{Source: object{"word": fmt.Sprintf("word%d common", n%3), "tag": fmt.Sprintf("tag-%d", n%4)}}
		}),
		Late:    docs(20, 23, func(int) Doc { return Doc{Source: object{"word": "late", "tag": "tag-1"}} }),
		Queries: []Query{term("tag", "tag-1"), search(object{"match": object{"word": "common"}})},
	}
	if odd != nil {
		odd(&x)
	}
	return x
}

// one is the oddity of one plain index.
func one(name string, odd func(v Version, x *Index)) func(Version) []Index {
	return func(v Version) []Index {
		return []Index{plain(v, name, func(x *Index) { odd(v, x) })}
	}
}

// Catalogue is all of them.
func Catalogue() []Oddity {
	return []Oddity{
		{Name: "nested documents", Make: nested},
		{Name: "custom routing", Make: routed},
		{Name: "parent and child (`_parent`)", From: v50, Until: v60, Make: family},
		{Name: "several mapping types", Until: v60, Make: types},
		{Name: "queries of a percolator of 2.x", Until: v50, Make: percolator},
		{Name: "completion suggester", From: v50, Make: suggester},
		{Name: "points on a map (`geo_point`)", Make: points},
		{Name: "`_source` off", Make: one("source-off", func(v Version, x *Index) {
			x.Mapping["_source"] = object{"enabled": false}
		})},
		{Name: "`_source` without some fields", Make: one("source-part", func(v Version, x *Index) {
			x.Mapping["_source"] = object{"excludes": []string{"word"}}
		})},
		{Name: "index sorting", From: v60, Make: one("sorted", func(_ Version, x *Index) {
			x.Settings["sort.field"], x.Settings["sort.order"] = []string{"tag", "n"}, []string{"asc", "desc"}
		})},
		{Name: "`best_compression`", Make: one("compressed", func(_ Version, x *Index) {
			x.Settings["codec"] = "best_compression"
		})},
		{Name: "1,000 fields", Make: manyFields},
		{Name: "no documents", Make: one("empty", func(_ Version, x *Index) {
			x.Docs, x.Late, x.Queries = nil, nil, nil
		})},
		{Name: "no documents and no mapping", Make: one("bare", func(_ Version, x *Index) {
			x.Docs, x.Late, x.Queries, x.Mapping = nil, nil, nil, nil
		})},
		{Name: "60 shards", Make: one("shards", func(_ Version, x *Index) { x.Settings["number_of_shards"] = 60 })},
		{Name: "aliases with filter and routing, upper-case aliases", Make: one("aliases",
			func(_ Version, x *Index) {
				x.Aliases = object{
					"ODD-Alias": object{}, "odd_filter": object{"filter": object{"term": object{"tag": "tag-1"}}},
					"odd_routed": object{"index_routing": "a", "search_routing": "a,b"},
					"odd~ü":      object{"filter": object{"range": object{"n": object{"gte": 3}}}, "routing": "x"},
				}
			})},
		{Name: "write index of an alias", From: v64, Make: rollover},
		{Name: "analysis of its own", Make: analysis},
		{Name: "write block", Make: one("blocked", func(_ Version, x *Index) {
			x.Late = nil
			x.Then = []Request{setting("blocked", object{"index.blocks.write": true})}
			x.Lost = []string{"index.blocks.write"}
		}), Note: "the target's index takes writes"},
		{Name: "read-only", From: v50, Make: one("readonly", func(_ Version, x *Index) {
			x.Late = nil
			x.Then = []Request{setting("readonly", object{readOnly: true})}
			x.Lost = []string{readOnly}
		}), Note: "the target's index takes writes"},
		{Name: "closed", Make: one("closed", func(_ Version, x *Index) {
			x.Late, x.Queries, x.Stays = nil, nil, true
			x.Then = []Request{{"POST", "/" + Prefix + "closed/_close", nil}}
		}), Note: "stays on the source, and a warning names it"},
		{Name: "hidden", From: v77, Make: one("hidden", func(_ Version, x *Index) { x.Settings["hidden"] = true })},
		{Name: "shrunk", From: v50, Make: shrunk},
		{Name: "split", From: v61, Make: split},
		{Name: "default pipeline", From: v65, Make: one("piped", func(v Version, x *Index) {
			passesThrough(v, x)
			x.Pipelines, x.Settings["default_pipeline"] = []string{"odd-pipeline"}, "odd-pipeline"
		})},
		{Name: "final pipeline", From: v75, Make: one("final", func(v Version, x *Index) {
			passesThrough(v, x)
			x.Pipelines, x.Settings["final_pipeline"] = []string{"odd-final"}, "odd-final"
		})},
		{Name: "allocation rules", Make: one("allocated", func(_ Version, x *Index) {
			x.Settings["routing.allocation.exclude.rack"] = "r9"
			x.Settings["routing.allocation.total_shards_per_node"] = 5
			x.Lost = []string{"index.routing.allocation.*"}
		}), Note: "rules are not carried"},
		{Name: "settings of a vendor's plugins", From: v50, Make: one("vendor", func(_ Version, x *Index) {
			x.Settings[strings.TrimPrefix(PolicyOfISM, "index.")] = "hot-warm"
			x.Settings[strings.TrimPrefix(OwnOfAPlugin, "index.")] = "x"
			x.Lost = []string{PolicyOfISM, OwnOfAPlugin}
		}), Note: "such settings are not carried, and the report names them"},
		{Name: "small limits (`max_result_window`, `max_slices_per_scroll`)", From: v60, Make: one("limits",
			func(_ Version, x *Index) {
				x.Settings["max_result_window"], x.Settings["max_slices_per_scroll"] = 100, 1
			})},
		{Name: "active copies that a write waits for", From: v50, Make: one("waits", func(_ Version, x *Index) {
			x.Settings["number_of_replicas"], x.Settings["write.wait_for_active_shards"] = 0, "1"
		})},
		{Name: "names with `%`, `+`, `&`, `'` and letters beyond ASCII", Make: names},
		{Name: "a name of 255 bytes", Make: func(v Version) []Index {
			return []Index{plain(v, strings.Repeat("x", 255-len(Prefix)), nil)}
		}},
		{Name: "replicas and refresh interval of its own", Make: one("tuned", func(v Version, x *Index) {
			x.Settings["refresh_interval"] = "17s"
			x.Then = []Request{setting("tuned", object{"index.number_of_replicas": 2})}
			if v.Before(v50) { // then a write waits for a copy that one node can't have
				x.Late = nil
			}
		})},
		{Name: "no refresh", Make: one("still", func(_ Version, x *Index) { x.Settings["refresh_interval"] = "-1" })},
		{Name: "replicas that follow the nodes (`auto_expand_replicas`)", Make: one("expanding",
			func(_ Version, x *Index) { x.Settings["auto_expand_replicas"] = "0-all" })},
		{Name: "dynamic templates, `copy_to`, multi-fields, `_meta`", Make: mapped},
		{Name: "fields of many types", From: v52, Make: fieldTypes},
		{Name: "similarity of its own", Make: similarity},
		{Name: "ids with spaces, slashes, signs, of 512 bytes", From: v50, Make: ids},
		{Name: "large and empty documents", Make: sizes},
		{Name: "documents with external versions", Make: one("versions", func(_ Version, x *Index) {
			for i := range x.Docs[:5] {
				x.Docs[i].Version = int64(i)*1e15 + 7
			}
		})},
		{Name: "join field", From: v56, Needs: parentJoin, Refusal: "has the type join", Make: joined},
		{
			Name: "percolator field", From: v50, Needs: percolation, Refusal: "has the type percolator",
			Make: percolatorField,
		},
		{
			Name: "`scaled_float`, `token_count`", From: v50, Needs: mapperExtras,
			Refusal: "which the target does not know", Make: extraFields,
		},
		{
			Name: "`rank_feature`, `search_as_you_type`", From: v72, Needs: mapperExtras,
			Refusal: "which the target does not know", Make: laterFields,
		},
		{
			Name: "shapes on a map (`geo_shape`)", Needs: geo, Refusal: "has the type geo_shape", Make: shapes,
		},
		{
			Name: "synonyms, n-grams, stems and HTML in analysers of its own", Needs: analysisCommon,
			Refusal: "setting index.analysis.", Make: manyAnalysers,
		},
		{
			Name: "analysers of a language, named by a field", Needs: analysisCommon,
			Refusal: "names the analyzer english", Make: languages,
		},
	}
}

func setting(name string, body object) Request {
	return Request{"PUT", "/" + Prefix + name + "/_settings", body}
}

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

func percolator(v Version) []Index {
	x := plain(v, "percolator", nil)
	x.Types, x.Mapping = map[string]map[string]any{
		"doc": x.Mapping, ".percolator": properties(object{"query": object{"type": "object", "enabled": false}}),
	}, nil
	for i := range x.Docs {
		x.Docs[i].Type = "doc"
	}
	query := func(n int) Doc {
		return Doc{Type: ".percolator", ID: fmt.Sprintf("q-%d", n), Source: object{"query": object{
			"term": object{"tag": fmt.Sprintf("tag-%d", n)},
		}}}
	}
	x.Docs, x.Late = append(x.Docs, docs(0, 5, query)...), docs(5, 7, query)
	return []Index{x}
}

func suggester(v Version) []Index {
	return []Index{plain(v, "suggester", func(x *Index) {
		x.Mapping["properties"].(object)["title"] = object{"type": "completion"}
		titles := []string{"Alien", "Aliens", "Alphaville", "Brazil"}
		for _, d := range append(x.Docs, x.Late...) {
			n := d.Source["n"].(int)
			d.Source["title"] = object{"input": []string{titles[n%4]}, "weight": n + 1}
		}
		x.Queries = append(x.Queries, Query{Body: object{"suggest": object{"s": object{
			"prefix": "al", "completion": object{"field": "title", "size": 10},
		}}}})
	})}
}

func points(v Version) []Index {
	return []Index{plain(v, "points", func(x *Index) {
		x.Mapping["properties"].(object)["at"] = object{"type": "geo_point"}
		for _, d := range append(x.Docs, x.Late...) {
			n := d.Source["n"].(int)
			d.Source["at"] = object{"lat": float64(n) - 10.25, "lon": float64(n)*7 - 80.5}
		}
		x.Queries = append(x.Queries, search(object{"geo_distance": object{
			"distance": "900km", "at": object{"lat": 0.0, "lon": 0.0},
		}}))
	})}
}

func manyFields(v Version) []Index {
	return []Index{plain(v, "fields", func(x *Index) {
		if !v.Before(v50) {
			x.Settings["mapping.total_fields.limit"] = 2000
		}
		fields := x.Mapping["properties"].(object)
		for i := range 1000 {
			fields[fmt.Sprintf("field_%04d", i)] = keyword(v)
		}
		for i := range x.Docs {
			x.Docs[i].Source[fmt.Sprintf("field_%04d", i*50)] = "filled"
		}
		x.Queries = append(x.Queries, term("field_0250", "filled"))
	})}
}

func rollover(v Version) []Index {
	alias := func(writes bool) object { return object{"odd-write": object{"is_write_index": writes}} }
	return []Index{
		plain(v, "rolled-000001", func(x *Index) { x.Aliases, x.Late = alias(false), nil }),
		plain(v, "rolled-000002", func(x *Index) { x.Aliases = alias(true) }),
	}
}

func analysis(v Version) []Index {
	return []Index{plain(v, "analysis", func(x *Index) {
		x.Settings["analysis"] = object{
			"filter": object{"short": object{"type": "stop", "stopwords": []string{"a", "the"}}},
			"analyzer": object{"own": object{
				"type": "custom", "tokenizer": "standard", "filter": []string{"lowercase", "short"},
			}},
		}
		x.Mapping["properties"].(object)["title"] = text(v)
		x.Mapping["properties"].(object)["title"].(object)["analyzer"] = "own"
		for _, d := range append(x.Docs, x.Late...) {
			d.Source["title"] = "A Thing Incomprehensibilities"
		}
		x.Queries = append(x.Queries, search(object{"match": object{"title": "THING"}}))
	})}
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

func names(v Version) []Index {
	var all []Index
	for _, name := range []string{"100%", "50%25", "a+b", "a&b=c", "it's(1)", "ün-日本", "a;b@c!$~", "dot.and_under"} {
		all = append(all, plain(v, name, func(x *Index) { x.Settings["number_of_shards"] = 1 }))
	}
	return all
}

func mapped(v Version) []Index {
	return []Index{plain(v, "mapped", func(x *Index) {
		x.Mapping["_meta"] = object{"owner": "shop", "since": 2017}
		x.Mapping["date_detection"] = false
		x.Mapping["dynamic_templates"] = []object{
			{"names": object{"match": "*_name", "mapping": keyword(v)}},
			{"longs": object{"match_mapping_type": "long", "mapping": object{"type": "double"}}},
		}
		all, title := text(v), text(v)
		title["copy_to"], title["fields"] = []string{"everything"}, object{"raw": keyword(v)}
		fields := x.Mapping["properties"].(object)
		fields["everything"], fields["title"] = all, title
		fields["frozen"] = object{"type": "object", "dynamic": false, "properties": object{"a": keyword(v)}}
		for _, d := range append(x.Docs, x.Late...) {
			d.Source["title"] = "The Passenger"
			d.Source["first_name"], d.Source["score"] = "Ann", 7
			d.Source["frozen"] = object{"a": "x", "unmapped": object{"deep": true}}
		}
		x.Queries = append(x.Queries, search(object{"match": object{"everything": "passenger"}}),
			term("title.raw", "The Passenger"), term("first_name", "Ann"), term("frozen.a", "x"))
	})}
}

func fieldTypes(v Version) []Index {
	return []Index{plain(v, "typed", func(x *Index) {
		values := map[string]any{
			"byte": 7, "short": -300, "long": int64(1) << 52, "float": 0.5, "double": 1e100, "half_float": 2.5,
			"boolean": true, "ip": "2001:db8::1", "binary": "c25hcA==", "date": "2017-01-02T03:04:05.678Z",
			"integer_range": object{"gte": 1, "lt": 9}, "date_range": object{"gte": "2017-01-01", "lte": "2017-12-31"},
		}
		fields := x.Mapping["properties"].(object)
		for kind := range values {
			fields["a_"+kind] = object{"type": kind}
		}
		for _, d := range append(x.Docs, x.Late...) {
			for kind, value := range values {
				d.Source["a_"+kind] = value
			}
			d.Source["a_short"] = []any{nil, d.Source["n"], 5}
		}
		x.Queries = append(x.Queries, term("a_ip", "2001:db8::/32"), term("a_boolean", true),
			search(object{"range": object{"a_integer_range": object{"gte": 4, "lte": 4}}}),
			search(object{"range": object{"a_date": object{"gte": "2017-01-02", "lt": "2017-01-03"}}}))
	})}
}

func similarity(v Version) []Index {
	return []Index{plain(v, "similar", func(x *Index) {
		x.Settings["similarity"] = object{"own": object{"type": "BM25", "k1": "2.0", "b": "0.1"}}
		title := text(v)
		title["similarity"] = "own"
		x.Mapping["properties"].(object)["title"] = title
		for _, d := range append(x.Docs, x.Late...) {
			d.Source["title"] = "one two"
		}
		x.Queries = append(x.Queries, search(object{"match": object{"title": "two"}}))
	})}
}

func ids(v Version) []Index {
	return []Index{plain(v, "ids", func(x *Index) {
		for _, id := range []string{
			"a b", "a/b", "../up", "50%25", "a+b&c=d?e#f", "\"quoted\"", "ü日本", "<script>", "_leading", "-1", " ",
			strings.Repeat("i", 512), "a\\b", "tab\there",
		} {
			x.Docs = append(x.Docs, Doc{ID: id, Source: object{"n": 7, "tag": "tag-1"}})
		}
		x.Late = append(x.Late, Doc{ID: "late/Ünd später", Source: object{"n": 8}})
	})}
}

func sizes(v Version) []Index {
	return []Index{plain(v, "sizes", func(x *Index) {
		x.Mapping["properties"].(object)["stored"] = object{"type": "object", "enabled": false}
		x.Docs = append(x.Docs, Doc{ID: "empty", Source: object{}},
			Doc{ID: "large", Source: object{"stored": object{"text": strings.Repeat("snapferry ", 200_000)}}},
			Doc{ID: "odd", Source: object{"stored": object{
				"": []any{}, "a.b": nil, "é": []any{1, "1", 1.0, []any{nil}},
			}}})
	})}
}

// passesThrough has a query find what the index's pipeline has done to documents.
func passesThrough(v Version, x *Index) {
	if v.Has(ingestCommon) {
		x.Queries = append(x.Queries, term("piped", true))
	}
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

func percolatorField(v Version) []Index {
	return []Index{plain(v, "percolated", func(x *Index) {
		x.Mapping["properties"].(object)["query"] = object{"type": "percolator"}
		query := func(n int) Doc {
			return Doc{ID: fmt.Sprintf("q-%d", n), Source: object{"tag": fmt.Sprintf("tag-%d", n%2), "query": object{
				"bool": object{"must": []object{
					{"term": object{"tag": fmt.Sprintf("tag-%d", n%3)}}, {"match": object{"word": "alien"}},
				}},
			}}}
		}
		x.Docs, x.Late = docs(0, 9, query), docs(9, 12, query)
		percolate := object{"field": "query", "document": object{"tag": "tag-2", "word": "an alien"}}
		if v.Before(v60) {
			percolate["document_type"] = docType(v)
		}
		x.Queries = []Query{search(object{"percolate": percolate}), term("tag", "tag-1")}
	})}
}

func extraFields(v Version) []Index {
	return []Index{plain(v, "extra", func(x *Index) {
		fields := x.Mapping["properties"].(object)
		fields["price"] = object{"type": "scaled_float", "scaling_factor": 100}
		fields["length"] = object{"type": "token_count", "analyzer": "standard"}
		for _, d := range append(x.Docs, x.Late...) {
			d.Source["price"], d.Source["length"] = 9.99+float64(d.Source["n"].(int)), "one two three"
		}
		x.Queries = append(x.Queries, search(object{"range": object{"price": object{"gte": 20.5}}}), term("length", 3))
	})}
}

func laterFields(v Version) []Index {
	return []Index{plain(v, "ranked", func(x *Index) {
		fields := x.Mapping["properties"].(object)
		fields["rank"], fields["ranks"] = object{"type": "rank_feature"}, object{"type": "rank_features"}
		fields["title"] = object{"type": "search_as_you_type"}
		for _, d := range append(x.Docs, x.Late...) {
			d.Source["rank"], d.Source["ranks"] = d.Source["n"].(int)+1, object{"fun": 2, "sport": 7.5}
			d.Source["title"] = "the quick fox"
		}
		x.Queries = append(x.Queries, search(object{"rank_feature": object{"field": "rank"}}),
			search(object{"match_phrase_prefix": object{"title": "quick f"}}))
	})}
}

func shapes(v Version) []Index {
	return []Index{plain(v, "shapes", func(x *Index) {
		x.Mapping["properties"].(object)["area"] = object{"type": "geo_shape"}
		for _, d := range append(x.Docs, x.Late...) {
			n := float64(d.Source["n"].(int))
			d.Source["area"] = object{"type": "polygon", "coordinates": [][][]float64{
				{{n, n}, {n + 1, n}, {n + 1, n + 1}, {n, n + 1}, {n, n}},
			}}
		}
		x.Queries = append(x.Queries, search(object{"geo_shape": object{"area": object{
			"relation": "intersects",
			"shape":    object{"type": "envelope", "coordinates": [][]float64{{4.2, 6.8}, {6.8, 4.2}}},
		}}}))
	})}
}

func manyAnalysers(v Version) []Index {
	return []Index{plain(v, "analysers", func(x *Index) {
		x.Settings["analysis"] = object{
			"tokenizer": object{"parts": object{
				"type": "edge_ngram", "min_gram": 2, "max_gram": 4, "token_chars": []string{"letter"},
			}},
			"filter": object{
				"same":  object{"type": "synonym", "synonyms": []string{"film, movie", "ship => vessel"}},
				"stems": object{"type": "snowball", "language": "English"},
			},
			"char_filter": object{"signs": object{"type": "mapping", "mappings": []string{"& => and"}}},
			"analyzer": object{
				"synonyms": object{
					"type": "custom", "tokenizer": "standard", "filter": []string{"lowercase", "same", "stems"},
				},
				"typing": object{"type": "custom", "tokenizer": "parts", "filter": []string{"lowercase"}},
				"pages": object{
					"type": "custom", "tokenizer": "standard", "char_filter": []string{"html_strip", "signs"},
					"filter": []string{"lowercase", "asciifolding"},
				},
			},
		}
		fields := x.Mapping["properties"].(object)
		for _, name := range []string{"synonyms", "typing", "pages"} {
			fields[name] = text(v)
			fields[name].(object)["analyzer"] = name
		}
		fields["typing"].(object)["search_analyzer"] = "standard"
		for _, d := range append(x.Docs, x.Late...) {
			d.Source["synonyms"], d.Source["typing"] = "Movies about ships", "Nostromo"
			d.Source["pages"] = "<b>Café</b> & bar"
		}
		for field, word := range map[string]string{"synonyms": "film", "typing": "nos", "pages": "and cafe"} {
			x.Queries = append(x.Queries, search(object{"match": object{
				field: object{"query": word, "operator": "and"},
			}}))
		}
	})}
}

func languages(v Version) []Index {
	return []Index{plain(v, "languages", func(x *Index) {
		title := text(v)
		title["analyzer"] = "english"
		x.Mapping["properties"].(object)["title"] = title
		for _, d := range append(x.Docs, x.Late...) {
			d.Source["title"] = "The Running Men"
		}
		x.Queries = append(x.Queries, search(object{"match": object{"title": "runs"}}))
	})}
}
