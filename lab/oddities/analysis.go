package oddities

// How texts are taken apart, and how hits are ranked.

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
