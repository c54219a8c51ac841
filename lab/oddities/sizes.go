package oddities

import "strings"

// Names and ids with odd letters, and documents of odd sizes.

func names(v Version) []Index {
	var all []Index
	for _, name := range []string{"100%", "50%25", "a+b", "a&b=c", "it's(1)", "ün-日本", "a;b@c!$~", "dot.and_under"} {
		all = append(all, plain(v, name, func(x *Index) { x.Settings["number_of_shards"] = 1 }))
	}
	return all
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
