package activities

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/migration"
)

// What the metadata of indices may take of the worker's memory: few indices are read at a time, and
// fewer where their answers are large. A single index is read whatever it takes.
const (
	metadataIndices = 50
	metadataBytes   = 4 << 20
)

// metadata compares settings, mappings and aliases. It calls found for each index with what is needed
// to read it and with the differences in words. What was compared before the freeze, and is as it was
// then on both clusters, is not compared again, unless its documents have to be read.
func (v *verifying) metadata(ctx context.Context, names []string, found func(shape, []string) error) error {
	var overAll map[string][]string
	if v.in.Plan.RestoresAliases() {
		var err error
		if overAll, err = v.aliasesOverAll(ctx, names); err != nil {
			return err
		}
	}
	each := found
	found = func(s shape, differences []string) error {
		// First, since lists are cut off: an alias that leads elsewhere is seen by everyone who
		// searches.
		return each(s, slices.Concat(overAll[s.name], differences))
	}
	var compared []string
	for _, name := range names {
		before, known := v.definedBefore(name)
		if !known {
			compared = append(compared, name)
			continue
		}
		if err := found(shape{name: name}, before); err != nil {
			return err
		}
	}
	return v.defining.compare(ctx, compared, found)
}

// definedBefore are the differences that a comparison before the freeze has found, if it still holds
// and nothing of the index has to be read.
func (v *verifying) definedBefore(name string) (differences []string, known bool) {
	proof := v.in.Proofs[name]
	source, target := v.in.Marks[name], v.target[name]
	if proof.UUID != source.UUID || proof.TargetUUID != target.UUID ||
		!proof.Defined.Holds(source.Definition, target.Definition) {
		return nil, false
	}
	return proof.Defined.Differences, v.standing(name)
}

// defining compares what indices are, beside their documents.
type defining struct {
	run         migration.Run
	from, to    *elastic.Client
	ignoreTypes bool // only one of the clusters shows types
	oldStrings  bool // the source is 2.x
}

func newDefining(ctx context.Context, run migration.Run, from, to *elastic.Client) (defining, error) {
	d := defining{run: run, from: from, to: to}
	version, err := from.Version(ctx)
	if err != nil {
		return d, err
	}
	d.oldStrings = version.Major < 5
	d.ignoreTypes, err = typesDiffer(ctx, from, to)
	return d, err
}

// compare calls found for each index, in their order, with what is needed to read it and with the
// differences in words.
func (d defining) compare(ctx context.Context, names []string, found func(shape, []string) error) error {
	for chunk := range slices.Chunk(names, metadataIndices) {
		if err := d.chunk(ctx, chunk, metadataBytes, found); err != nil {
			return err
		}
	}
	return nil
}

func (d defining) chunk(ctx context.Context, names []string, most int64, found func(shape, []string) error) error {
	var source, target map[string]elastic.Metadata
	err := both(ctx, d.from, d.to, &source, &target,
		func(ctx context.Context, client *elastic.Client) (map[string]elastic.Metadata, error) {
			at := names
			if client == d.to {
				at = targetNames(d.run, names)
			}
			read, err := client.Metadata(ctx, at, d.run.Plan.RestoresAliases(), most)
			return renamed(read, d.run.SourceIndex), err
		})
	switch {
	case errors.Is(err, elastic.ErrTooLarge) && len(names) > 1:
		half := len(names) / 2
		if err := d.chunk(ctx, names[:half], most, found); err != nil {
			return err
		}
		return d.chunk(ctx, names[half:], most, found)
	case errors.Is(err, elastic.ErrTooLarge):
		return d.chunk(ctx, names, 0, found)
	case err != nil:
		return err
	}
	for _, name := range names {
		from, to := source[name], target[name]
		differences := d.differences(from, to)
		if err := found(shape{name, layout(from.Settings), layout(to.Settings)}, differences); err != nil {
			return err
		}
	}
	return nil
}

// layout is what a checksum needs of an index's settings.
func layout(settings map[string]string) map[string]string {
	kept := map[string]string{}
	for _, name := range []string{"index.number_of_shards", "index.max_result_window", "index.version.created"} {
		if value, set := settings[name]; set {
			kept[name] = value
		}
	}
	return kept
}

// The ranks of differences: lists are cut, and what may keep an index from working comes first.
const (
	rankArchived = iota
	rankMissing
	rankAlias
	rankMapping
	rankOther
	rankSurplus
)

type difference struct {
	rank int
	text string
}

// differences says in words what differs beside the documents, what matters most first.
func (d defining) differences(source, target elastic.Metadata) []string {
	found := d.settings(source.Settings, target.Settings)
	if !equalJSON(d.mapping(source.Mapping), d.mapping(target.Mapping)) {
		found = append(found, difference{rankMapping, "the mappings differ"})
	}
	if d.run.Plan.RestoresAliases() {
		found = append(found, aliasesDiffer(source.Aliases, target.Aliases)...)
	}
	slices.SortStableFunc(found, func(a, b difference) int { return cmp.Compare(a.rank, b.rank) })
	texts := make([]string, len(found))
	for i, one := range found {
		texts[i] = one.text
	}
	return texts
}

// ownOfEachCluster are settings that differ between any two clusters, or that snapferry sets on the
// target until the cutover.
var ownOfEachCluster = []string{
	"index.uuid", "index.provided_name", "index.creation_date", "index.version.*", "index.blocks.*", "index.routing.*",
	"index.number_of_replicas", "index.auto_expand_replicas", "index.history.*", "index.history_uuid", "index.resize.*",
	"index.shrink.*",
	"index.verified_before_close",
}

// archived is what Elasticsearch puts before the name of a restored setting that it doesn't know.
const archived = "archived."

// settings compares the settings that a restore should take over.
func (d defining) settings(source, target map[string]string) []difference {
	ignored := slices.Concat(ownOfEachCluster, notRestored(d.run.Plan, nil)) // the report names these
	source, target = withWholeLists(source), withWholeLists(target)
	var different []difference
	add := func(rank int, format string, args ...any) {
		different = append(different, difference{rank, fmt.Sprintf(format, args...)})
	}
	all := map[string]bool{}
	for name := range source {
		all[name] = true
	}
	for name := range target {
		all[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if slices.ContainsFunc(ignored, func(pattern string) bool { return matches(pattern, name) }) {
			continue
		}
		from, onFrom := source[name]
		to, onTo := target[name]
		_, isArchived := target[archived+name]
		switch {
		case name == refreshInterval && (to == triedInterval || to == otherInterval):
			// A trial of the handover is under way beside the comparison, and changes it back.
		case strings.HasPrefix(name, archived) && !onFrom:
			add(rankArchived, "setting %s is %q on the target, which does not know it and archived it: "+
				"restore.ignoreSettings leaves it out", strings.TrimPrefix(name, archived), to)
		case onFrom && !onTo && isArchived:
			// Said already.
		case onFrom && !onTo:
			add(rankMissing, "setting %s is %q on the source and not set on the target", name, from)
		case onTo && !onFrom:
			add(rankSurplus, "setting %s is %q on the target and not set on the source", name, to)
		case from != to:
			add(rankOther, "setting %s is %q on the source and %q on the target", name, from, to)
		}
	}
	return different
}

// withWholeLists brings lists into one form. Up to 5.x Elasticsearch shows each item of a list as a
// setting of its own (a.0, a.1), later versions show the list (seen with 5.5.2 and 6.8.23).
func withWholeLists(settings map[string]string) map[string]string {
	lists := map[string]int{}
	for name := range settings {
		if list, ok := listItem(name); ok {
			lists[list]++
		}
	}
	whole := make(map[string]string, len(settings))
	for name, value := range settings {
		list, ok := listItem(name)
		if !ok || !complete(settings, list, lists[list]) {
			whole[name] = value
		}
	}
	for list, items := range lists {
		if !complete(settings, list, items) {
			continue
		}
		values := make([]string, items)
		for i := range values {
			values[i] = settings[list+"."+strconv.Itoa(i)]
		}
		whole[list] = strings.Join(values, ",") // as package elastic joins the others
	}
	return whole
}

// listItem is the name of the list that a setting is an item of; false if it is none.
func listItem(name string) (list string, ok bool) {
	dot := strings.LastIndexByte(name, '.')
	if dot < 0 {
		return "", false
	}
	number, err := strconv.Atoi(name[dot+1:])
	return name[:dot], err == nil && number >= 0 && strconv.Itoa(number) == name[dot+1:]
}

// complete tells whether a list of so many items has them from 0 on, and is nothing else as well.
func complete(settings map[string]string, list string, items int) bool {
	if _, set := settings[list]; set {
		return false
	}
	for i := range items {
		if _, there := settings[list+"."+strconv.Itoa(i)]; !there {
			return false
		}
	}
	return true
}

// matches reports whether a name matches a pattern in which * stands for any characters.
func matches(pattern, name string) bool { return elastic.Matches(pattern, name) }

// aliasDefinitions are an index's aliases by name, each with its filter, routing and so on.
type aliasDefinitions = map[string]json.RawMessage

func aliasesDiffer(source, target aliasDefinitions) []difference {
	var different []difference
	for _, name := range slices.Sorted(maps.Keys(source)) {
		definition, there := target[name]
		switch {
		case !there:
			different = append(different, difference{rankAlias, "alias " + name + " is missing on the target"})
		case !equalJSON(source[name], definition):
			different = append(different, difference{rankAlias, "alias " + name + " is defined differently"})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(target)) {
		if _, there := source[name]; !there {
			different = append(different, difference{rankSurplus, "alias " + name + " is on the target only"})
		}
	}
	return different
}
