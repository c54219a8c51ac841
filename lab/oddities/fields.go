package oddities

import "fmt"

// Fields of odd types, and mappings that are large or do something.

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
