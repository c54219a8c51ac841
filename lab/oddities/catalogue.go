package oddities

import "strings"

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
