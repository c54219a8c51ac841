package oddities

import "fmt"

// What indices of the catalogue are built from.

type object = map[string]any

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

func setting(name string, body object) Request {
	return Request{"PUT", "/" + Prefix + name + "/_settings", body}
}
