package activities

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/migration"
)

// TryDefinitions has the target check what the source's indices are made of, before anything is
// copied: analysis (a plugin or a file may be missing there), similarities, store types, mappings
// and alias filters. Otherwise a restore would find that out after the copy, and what is wrong with
// an alias only who searches through it.
//
// For that it creates an index under a throw-away name and deletes it at once: only so a cluster
// can be asked on all versions (docs/adr/0021). Each definition is tried once, however many indices
// have it.
func (a *Activities) TryDefinitions(ctx context.Context, run migration.Run) (migration.TryResult, error) {
	return perform(ctx, a, "trying the definitions of the source's indices on the target",
		func(ctx context.Context, p *pulse) (migration.TryResult, error) {
			t := trying{run: run, pulse: p}
			var err error
			if t.from, err = a.cluster(ctx, onSource, run); err != nil {
				return migration.TryResult{}, err
			}
			if t.to, err = a.cluster(ctx, onTarget, run); err != nil {
				return migration.TryResult{}, err
			}
			if err := t.everything(ctx); err != nil {
				return migration.TryResult{}, err
			}
			if len(t.problems) > 0 {
				return migration.TryResult{}, fail(migration.ErrorPreflight, "%s can't use what some indices are made "+
					"of:\n- %s", t.to.Host(), bounded(t.problems, "\n- "))
			}
			return t.result, nil
		})
}

// mostTried bounds the definitions that are tried, mostProblems those that are told.
const (
	mostTried    = 100
	mostProblems = 10
)

// trying is one run of TryDefinitions.
type trying struct {
	run      migration.Run
	pulse    *pulse
	from, to *elastic.Client

	fromVersion, toVersion elastic.Version
	result                 migration.TryResult
	problems               []string
}

// definition is what one or more indices are made of.
type definition struct {
	indices  []string
	settings json.RawMessage
	mappings []json.RawMessage // one; or one a type, where the target doesn't take several at once
	typed    bool
	filters  []aliasFilter
	// sameMajor says that both clusters have the same major version.
	sameMajor bool
}

// aliasFilter is the filter of an alias of the first index.
type aliasFilter struct {
	alias  string
	filter json.RawMessage
}

func (t *trying) everything(ctx context.Context) error {
	var err error
	if t.fromVersion, err = t.from.Version(ctx); err != nil {
		return err
	}
	if t.toVersion, err = t.to.Version(ctx); err != nil {
		return err
	}
	all, err := t.definitions(ctx)
	if err != nil || len(all) == 0 {
		return err
	}
	// If not even this can be created, it is for another reason than what the indices are made of.
	if err := t.create(ctx, elastic.NewIndex{}); err != nil {
		if !permanent(err) || canceled(err) {
			return err
		}
		t.result.Warnings = append(t.result.Warnings, "the target doesn't let snapferry create the throw-away index "+
			t.name()+", so analysis, mappings and alias filters were not tried before the copy: "+messageOf(err))
		return nil
	}
	if more := len(all) - mostTried; more > 0 {
		all = all[:mostTried]
		t.result.Warnings = append(t.result.Warnings, fmt.Sprintf("%d more definitions of indices were not tried on "+
			"the target: a rehearsal tries them all", more))
	}
	for i, d := range all {
		t.pulse.update(func(p *migration.Progress) {
			p.Doing = fmt.Sprintf("trying definition %d of %d on the target", i+1, len(all))
		})
		if err := t.try(ctx, d); err != nil {
			return err
		}
		t.result.Tried++
	}
	return nil
}

// definitions are the different ones, in the order of their first index.
func (t *trying) definitions(ctx context.Context) ([]definition, error) {
	found, err := resolvePlan(ctx, t.from, t.run.Plan, nil)
	if err != nil || len(found.indices) == 0 {
		return nil, err
	}
	names := indexNames(found.indices)
	settings, err := t.from.Definitions(ctx, names)
	if err != nil {
		return nil, err
	}
	mappings, err := t.from.Mappings(ctx, names)
	if err != nil {
		return nil, err
	}
	aliases := map[string]aliasDefinitions{}
	if !t.run.Plan.Restore.ExcludeAliases {
		if aliases, err = t.from.Aliases(ctx, names); err != nil {
			return nil, err
		}
	}
	var all []definition
	known := map[[sha256.Size]byte]int{}
	for _, name := range names {
		d := definition{
			indices: []string{name}, settings: t.restored(settings[name]), filters: filtersOf(aliases[name]),
			sameMajor: t.fromVersion.Major == t.toVersion.Major,
		}
		d.mappings, d.typed = t.mappings(mappings[name])
		key := d.digest()
		if at, there := known[key]; there {
			all[at].indices = append(all[at].indices, name)
			continue
		}
		known[key] = len(all)
		all = append(all, d)
	}
	return all, nil
}

// restored leaves out the settings that restores leave out, too.
func (t *trying) restored(settings json.RawMessage) json.RawMessage {
	var groups map[string]json.RawMessage
	if json.Unmarshal(settings, &groups) != nil {
		return nil
	}
	for group := range groups {
		for _, pattern := range t.run.Plan.Restore.IgnoreSettings {
			if elastic.Matches(pattern, "index."+group+".type") || elastic.Matches(pattern, "index."+group) {
				delete(groups, group)
			}
		}
	}
	out, _ := json.Marshal(groups) // raw messages that were just read
	return out
}

// mappings gives a mapping as the target takes it, and whether it has types where the target has
// none by default.
func (t *trying) mappings(m elastic.Mapping) (parts []json.RawMessage, typed bool) {
	if t.fromVersion.Major >= 7 {
		if len(m.Types) == 0 {
			return nil, false
		}
		return []json.RawMessage{m.Raw}, false
	}
	var types map[string]json.RawMessage
	if json.Unmarshal(m.Raw, &types) != nil {
		return nil, false
	}
	if t.toVersion.Major >= 6 {
		// Such an index may have several types, and a new one may not; nor this one, later.
		delete(types, "_default_")
	} else if len(types) > 0 {
		return []json.RawMessage{m.Raw}, false
	}
	for _, name := range slices.Sorted(maps.Keys(types)) {
		part, _ := json.Marshal(map[string]json.RawMessage{name: types[name]})
		parts = append(parts, part)
	}
	return parts, t.toVersion.Major >= 7
}

// filtersOf gives the different filters of an index's aliases, each with one alias that has it.
func filtersOf(aliases aliasDefinitions) []aliasFilter {
	var filters []aliasFilter
	for _, name := range slices.Sorted(maps.Keys(aliases)) {
		var defined struct {
			Filter json.RawMessage `json:"filter"`
		}
		if json.Unmarshal(aliases[name], &defined) != nil || len(defined.Filter) == 0 {
			continue
		}
		same := func(other aliasFilter) bool { return equalJSON(other.filter, defined.Filter) }
		if !slices.ContainsFunc(filters, same) && len(filters) < mostTried {
			filters = append(filters, aliasFilter{name, defined.Filter})
		}
	}
	return filters
}

// digest is the same for definitions that are the same, whatever the order of their fields.
func (d definition) digest() [sha256.Size]byte {
	values := []any{d.typed}
	add := func(raw json.RawMessage) {
		var value any
		_ = json.Unmarshal(raw, &value) // absent: nil
		values = append(values, value)
	}
	add(d.settings)
	for _, part := range d.mappings {
		add(part)
	}
	for _, filter := range d.filters {
		values = append(values, filter.alias)
		add(filter.filter)
	}
	text, _ := json.Marshal(values) // of decoded JSON: keys come sorted
	return sha256.Sum256(text)
}

// try tries one definition. If the target refuses it, the parts are tried apart, so that each that
// is refused is named.
func (t *trying) try(ctx context.Context, d definition) error {
	mappings := d.mappings
	if len(mappings) == 0 {
		mappings = []json.RawMessage{nil}
	}
	for _, mapping := range mappings {
		for {
			err := t.create(ctx, d.index(mapping))
			if err == nil {
				break
			}
			if !permanent(err) || canceled(err) || len(t.problems) == mostProblems {
				return err
			}
			refused := d.refusedFilter(err)
			switch {
			case refused >= 0:
				// With the complete mapping, whatever is refused is wrong.
				if mapping != nil && len(mappings) == 1 || unknownQuery.MatchString(err.Error()) {
					t.problem("alias %s of %s has a filter that can't be parsed there, so searches through the alias "+
						"would fail: change the filter on the source, or set restore.excludeAliases (%s)",
						d.filters[refused].alias, d.named(), messageOf(err))
				}
				d.filters = slices.Delete(slices.Clone(d.filters), refused, refused+1)
				continue
			case mapping != nil:
				// Without the mapping it shows whether that is the cause.
				mapped := err
				if err := t.create(ctx, definition{settings: d.settings}.index(nil)); err == nil {
					t.refusedMapping(d, mapping, mapped)
					mapping = nil
					continue
				} else if !permanent(err) || canceled(err) {
					return err
				}
			}
			t.refusedSettings(d, err)
			return nil
		}
	}
	return nil
}

// index is a throw-away index of this definition.
func (d definition) index(mapping json.RawMessage) elastic.NewIndex {
	index := elastic.NewIndex{Mappings: mapping, Typed: d.typed && mapping != nil}
	if d.settings != nil {
		index.Settings = map[string]json.RawMessage{"index": d.settings}
	}
	for i, filter := range d.filters {
		if index.Aliases == nil {
			index.Aliases = map[string]json.RawMessage{}
		}
		index.Aliases[tryAlias(i)], _ = json.Marshal(map[string]json.RawMessage{"filter": filter.filter})
	}
	return index
}

// tryAlias stands for the real alias: nobody may find the throw-away index under that.
func tryAlias(i int) string { return fmt.Sprintf("snapferry-try-alias-%d", i) }

func (d definition) refusedFilter(err error) int {
	for i := range d.filters {
		if strings.Contains(err.Error(), "alias ["+tryAlias(i)+"]") {
			return i
		}
	}
	return -1
}

func (d definition) named() string {
	if len(d.indices) == 1 {
		return "index " + d.indices[0]
	}
	return named("indices ", d.indices)
}

var (
	unknownQuery = regexp.MustCompile(`unknown query \[|no \[query\] registered for \[`)
	unknownField = regexp.MustCompile(`No handler for type \[([^\]]*)\] declared on field \[([^\]]*)\]`)
	// From 7.x on it doesn't say which field.
	unknownAnalyzer = regexp.MustCompile(
		`(?i)(analyzer|normalizer) \[([^\]]*)\] (?:not found for field \[([^\]]*)\]|has not been configured in)`)
	// These say what a node lacks: whoever created the index, and when, it can't be opened there.
	unknownType = regexp.MustCompile(
		`(?i)Unknown (token ?filter|filter|tokenizer|char_?filter|analyzer|normalizer|similarity) type ` +
			`\[[^\]]*\] for \[([^\]]*)\]`)
	unknownPart = regexp.MustCompile(
		`(?i)(analyzer|normalizer) \[([^\]]*)\] failed to find (tokenizer|char_filter|filter) under name`)
	unreadable   = regexp.MustCompile(`(?i)exception while reading (\w+?)(?:_path)?: (\S+?),?(?:\s|$)`)
	unknownStore = regexp.MustCompile(`(?i)unknown store type \[`)
)

// setting names the setting that a refusal is about; false if what the target says may be true of
// new indices only.
func (d definition) setting(refusal string) (string, bool) {
	if found := unknownType.FindStringSubmatch(refusal); found != nil {
		kind := strings.ToLower(strings.ReplaceAll(found[1], " ", ""))
		switch kind {
		case "similarity":
			// Between major versions some have another name, and old indices keep the old one.
			return "index.similarity." + found[2] + ".type", d.sameMajor
		case "tokenfilter":
			kind = "filter"
		case "charfilter":
			kind = "char_filter"
		}
		return "index.analysis." + kind + "." + found[2] + ".type", true
	}
	if found := unknownPart.FindStringSubmatch(refusal); found != nil {
		return "index.analysis." + d.kindOf(found[2]) + "." + found[2] + "." + found[3], true
	}
	switch {
	case unreadable.MatchString(refusal):
		return d.fileSetting(unreadable.FindStringSubmatch(refusal)[2]), true
	case unknownStore.MatchString(refusal):
		return "index.store.type", true
	}
	return "", false
}

// kindOf tells whether an analyzer of the settings is a normalizer: refusals call both analyzers.
func (d definition) kindOf(name string) string {
	const normalizer = "normalizer"
	if _, is := d.analysis()[normalizer][name]; is {
		return normalizer
	}
	return "analyzer"
}

// analysis is what the settings define, by kind and name.
func (d definition) analysis() map[string]map[string]map[string]any {
	var settings struct {
		Analysis map[string]map[string]map[string]any `json:"analysis"`
	}
	_ = json.Unmarshal(d.settings, &settings) // whatever isn't there is absent
	return settings.Analysis
}

// fileSetting finds the setting that names a file.
func (d definition) fileSetting(file string) string {
	analysis := d.analysis()
	for _, kind := range slices.Sorted(maps.Keys(analysis)) {
		for _, name := range slices.Sorted(maps.Keys(analysis[kind])) {
			for _, key := range slices.Sorted(maps.Keys(analysis[kind][name])) {
				value, _ := analysis[kind][name][key].(string)
				if strings.HasSuffix(key, "_path") && value != "" && strings.HasSuffix(file, path.Base(value)) {
					return "index.analysis." + kind + "." + name + "." + key
				}
			}
		}
	}
	return "index.analysis"
}

func (t *trying) refusedSettings(d definition, err error) {
	setting, certain := d.setting(err.Error())
	if !certain {
		// Elasticsearch refuses new indices what it goes on reading in old ones. So this tells
		// nothing certain.
		t.warn("the target refuses a new index with the settings of "+d.named()+". A restore may work "+
			"anyway: rehearse it", err)
		return
	}
	t.problem(
		"setting %s of %s can't be used there: install the plugin or the file that it needs on every node of the "+
			"target; if the index doesn't need the setting, leave it out with restore.ignoreSettings (%s)", setting,
		d.named(), messageOf(err))
}

func (t *trying) refusedMapping(d definition, mapping json.RawMessage, err error) {
	if found := unknownField.FindStringSubmatch(err.Error()); found != nil {
		t.problem("field %s of %s has the type %s, which the target does not know: install the plugin that has it on "+
			"every node there (%s)", found[2], d.named(), found[1], messageOf(err))
		return
	}
	if found := unknownAnalyzer.FindStringSubmatch(err.Error()); found != nil {
		kind, name, field := strings.ToLower(found[1]), found[2], found[3]
		if field == "" {
			var fields any
			_ = json.Unmarshal(mapping, &fields) // it came as JSON
			field = fieldNaming(fields, name, "")
		}
		t.problem("field %s of %s names the %s %s, which the target does not know: install the plugin that has it on "+
			"every node there (%s)", field, d.named(), kind, name, messageOf(err))
		return
	}
	if d.sameMajor {
		t.warn("the target refuses a new index with the mapping of "+d.named()+". A restore may work anyway: "+
			"rehearse it", err)
	}
}

// fieldNaming is the path of the first field of a mapping, in the order of their names, that names an
// analyzer; empty if there is none.
func fieldNaming(mapping any, analyzer, at string) string {
	level, _ := mapping.(map[string]any)
	for _, key := range slices.Sorted(maps.Keys(level)) {
		if strings.HasSuffix(key, "analyzer") && level[key] == analyzer {
			return at
		}
		below, _ := level[key].(map[string]any)
		if key != "properties" && key != "fields" { // a mapping type, or a parameter of the field
			below = map[string]any{"": level[key]}
		}
		for _, name := range slices.Sorted(maps.Keys(below)) {
			if found := fieldNaming(below[name], analyzer, strings.Trim(at+"."+name, ".")); found != "" {
				return found
			}
		}
	}
	return ""
}

func (t *trying) problem(format string, args ...any) {
	t.problems = append(t.problems, shorten(fmt.Sprintf(format, args...)))
}

func (t *trying) warn(text string, err error) {
	if len(t.result.Warnings) < mostProblems {
		t.result.Warnings = append(t.result.Warnings, shorten(text+" ("+messageOf(err)+")"))
	}
}

// name is that of the throw-away index. No other run has it, so whatever bears it is ours.
// remains_tried.go finds one that a dead worker has left.
func (t *trying) name() string { return t.run.TriedIndex() }

// untilDeleted is the time that the throw-away index may take to be deleted when the activity was
// cancelled.
const untilDeleted = 30 * time.Second

// create creates the throw-away index and deletes it. Its error is that of the creation.
func (t *trying) create(ctx context.Context, index elastic.NewIndex) error {
	settings := maps.Clone(index.Settings)
	if settings == nil {
		settings = map[string]json.RawMessage{}
	}
	settings["number_of_shards"], settings["number_of_replicas"] = json.RawMessage("1"), json.RawMessage("0")
	index.Settings = settings
	err := t.to.CreateIndex(ctx, t.name(), index)
	if elastic.KindOf(err) == elastic.AlreadyExists { // an earlier attempt died
		if err := t.discard(ctx); err != nil {
			return err
		}
		err = t.to.CreateIndex(ctx, t.name(), index)
	}
	if permanent(err) && !canceled(err) {
		return err // it was not created
	}
	deleted := t.discard(ctx)
	if ctx.Err() != nil { // the activity was cancelled
		cleaning, cancel := context.WithTimeout(context.WithoutCancel(ctx), untilDeleted)
		defer cancel()
		deleted = t.discard(cleaning)
	}
	if deleted != nil && (err == nil || elastic.Unacknowledged(err)) {
		return passing(retryUnavailable, "the throw-away index could not be deleted: "+messageOf(deleted), 0)
	}
	if elastic.Unacknowledged(err) { // it was created
		return nil
	}
	return err
}

// discard deletes the throw-away index.
func (t *trying) discard(ctx context.Context) error {
	err := t.to.DeleteIndices(ctx, []string{t.name()})
	if elastic.Unacknowledged(err) { // it is deleted
		return nil
	}
	return err
}
