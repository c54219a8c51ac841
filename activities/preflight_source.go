package activities

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/snapferry/snapferry/internal/elastic"
)

// What preflight checks of the source's indices, their aliases and their blocks.

func (f *preflight) warn(format string, args ...any) {
	f.warnings = append(f.warnings, fmt.Sprintf(format, args...))
}

// warnOf warns of indices, if there are any.
func (f *preflight) warnOf(names []string, format string) {
	if len(names) > 0 {
		f.warn(format, named("", names))
	}
}

// eachOf says of each of the first names what is wrong with it, and counts the others: a cluster may
// have thousands of the same kind.
func eachOf(names []string, say func(name string)) (others string) {
	for i, name := range names {
		if i == mostNamed {
			return fmt.Sprintf("the same holds for %d more indices: %s", len(names)-mostNamed,
				named("", names[mostNamed:]))
		}
		say(name)
	}
	return ""
}

func (f *preflight) problemOfEach(names []string, text func(name string) string) {
	if others := eachOf(names, func(name string) { f.problem("%s", text(name)) }); others != "" {
		f.problem("%s (%s)", others, text(names[0]))
	}
}

func (f *preflight) warnOfEach(names []string, text func(name string) string) {
	if others := eachOf(names, func(name string) { f.warn("%s", text(name)) }); others != "" {
		f.warn("%s (%s)", others, text(names[0]))
	}
}

func (f *preflight) sourceIndices(ctx context.Context) error {
	if f.from == nil {
		return nil
	}
	found, err := f.resolveSource(ctx)
	if err != nil {
		return err
	}
	for _, problem := range found.problems {
		f.problem("%s on the source", problem)
	}
	if len(found.closed) > 0 && len(found.indices)+len(found.warm)+len(found.cold) == 0 {
		f.problem("%s", named("all indices that the plan's patterns match are closed on the source, and a snapshot "+
			"of a closed index fails: open ", found.closed))
	} else if len(found.closed) > 0 {
		f.warn("%s", found.closedWarning())
	}
	if err := f.left(ctx, found.internal); err != nil {
		return err
	}
	if len(found.indices) == 0 {
		return nil
	}
	if err := f.from.Measure(ctx, found.indices); err != nil {
		return err
	}
	f.indices = found.indices
	f.names()
	if err := f.blocks(ctx); err != nil {
		return err
	}
	names := indexNames(f.indices)
	health, err := f.from.Health(ctx, names)
	if err != nil {
		return err
	}
	red := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return health.Indices[name] != "red" })
	f.problemOfEach(red, func(name string) string {
		return fmt.Sprintf("index %s is red on the source: a primary is missing, so no snapshot of it can be "+
			"complete", name)
	})
	return f.types(ctx, names)
}

// left warns of hidden indices that patterns leave out since their names begin with a dot. Those
// that are not hidden everybody knows.
func (f *preflight) left(ctx context.Context, internal []string) error {
	if len(internal) == 0 || !f.source.Version.AtLeast(7, 7) {
		return nil
	}
	present, _, err := look(ctx, f.from, internal)
	if err != nil {
		return err
	}
	hidden := slices.DeleteFunc(slices.Sorted(maps.Keys(present)),
		func(name string) bool { return present[name].Settings["index.hidden"] != "true" })
	f.warnOf(hidden, "patterns match no names that begin with a dot, so these hidden indices stay behind: %s. Name "+
		"those in the plan that the target needs")
	return nil
}

// names checks what the target demands of each index's name and origin.
func (f *preflight) names() {
	created := map[string]string{}
	var internal, colons []string
	for _, index := range f.indices {
		if strings.HasPrefix(index.Name, ".") {
			internal = append(internal, index.Name)
		}
		if f.to == nil {
			continue
		}
		if strings.Contains(index.Name, ":") && f.target.Version.Major >= 7 {
			colons = append(colons, index.Name)
		}
		problem := createdProblem(index.Name, index.CreatedVersion, f.source.Version, f.target.Version)
		if problem != "" {
			created[index.Name] = problem
		}
	}
	f.warnOfEach(internal, func(name string) string {
		return fmt.Sprintf("index %s belongs to Elasticsearch or to a plugin, which may create its own on the target "+
			"or refuse the source's: leave it out unless you know that the target's version can use it", name)
	})
	f.problemOfEach(colons, func(name string) string {
		return fmt.Sprintf("index %s can't be restored by %s: from 7.0 on no name may hold a colon. Reindex it under "+
			"another name, or leave it out", name, f.target.Version)
	})
	f.problemOfEach(slices.Sorted(maps.Keys(created)), func(name string) string { return created[name] })
}

// blocks says what the indices' own blocks mean for a migration.
func (f *preflight) blocks(ctx context.Context) error {
	left, err := f.leftBlocks(ctx)
	if err != nil {
		return err
	}
	own := map[string][]string{} // by setting
	for _, index := range f.indices {
		for setting, value := range blocksOf(index.Settings) {
			if value == "true" && (setting != writeBlock || left[index.Name] == "") {
				own[setting] = append(own[setting], index.Name)
			}
		}
	}
	f.problemOfEach(own["index.blocks.read"], func(name string) string {
		return fmt.Sprintf("index %s has index.blocks.read on the source, so it can't be searched and verified: set "+
			"it to false (PUT /%s/_settings), or leave the index out", name, name)
	})
	if f.source.Version.Major < 5 {
		f.problemOfEach(own["index.blocks.read_only"], func(name string) string {
			return fmt.Sprintf("index %s has index.blocks.read_only on the source, and %s refuses to refresh such an "+
				"index, so its documents can't be counted: set it to false and index.blocks.write to true "+
				"(PUT /%s/_settings), or leave the index out", name, f.source.Version, name)
		})
	}
	for _, setting := range writeBlocks {
		advice := ""
		if setting == writeBlock {
			advice = ". If an earlier migration left it there, remove it before you freeze"
		}
		f.warnOf(own[setting], "these indices have "+setting+" on the source and take no writes: %s. snapferry leaves "+
			"that block as it is and needs none of its own while it stands. The target's index gets no such block: it "+
			"takes writes after the cutover"+advice)
	}
	return nil
}

// types warns about several mapping types in one index.
func (f *preflight) types(ctx context.Context, open []string) error {
	if f.source.Version.Major > 5 || f.to == nil || f.target.Version.Major < 6 {
		return nil
	}
	mappings, err := f.from.Mappings(ctx, open)
	if err != nil {
		return err
	}
	several := slices.DeleteFunc(slices.Clone(open), func(name string) bool { return len(mappings[name].Types) < 2 })
	f.warnOfEach(several, func(name string) string {
		types := mappings[name].Types
		return fmt.Sprintf("index %s has %d mapping types (%s): %s restores it, but new indices can't have several "+
			"types, and some features refuse such an index", name, len(types), named("", types), f.target.Version)
	})
	return nil
}

// makerSettings are the settings by which a cluster makes, rolls over or deletes indices automatically.
var makerSettings = []string{
	"index.opendistro.index_state_management.policy_id", "index.opendistro.index_state_management.rollover_alias",
	"index.plugins.index_state_management.policy_id", "index.plugins.index_state_management.rollover_alias",
	"index.lifecycle.name", "index.lifecycle.rollover_alias",
}

// numbered matches names that something makes one after another: by day, by month, by rollover.
var numbered = regexp.MustCompile(`[-_.](\d{6}|\d{4}[-.]?\d{2}([-.]?\d{2})?)$`)

// makers warns of what makes indices on the source by itself. An index that appears there after the
// last look takes writes that belong to nobody.
func (f *preflight) makers(ctx context.Context) error {
	if f.from == nil || len(f.indices) == 0 {
		return nil
	}
	const advice = ". Switch it off for the night of the cutover: an index that appears on the source after the " +
		"last look is not carried"
	for _, setting := range makerSettings {
		var names []string
		for _, index := range f.indices {
			if value := index.Settings[setting]; value != "" {
				names = append(names, index.Name+" ("+value+")")
			}
		}
		f.warnOf(names, "the source may make, roll over or delete indices automatically, by "+setting+": %s"+advice)
	}
	aliases, err := f.from.Aliases(ctx, indexNames(f.indices))
	if err != nil {
		return err
	}
	f.onSource = aliases
	var rolled, dated []string
	for _, index := range f.indices {
		if !numbered.MatchString(index.Name) {
			continue
		}
		if len(aliases[index.Name]) > 0 {
			rolled = append(rolled, named(index.Name+" behind ", slices.Sorted(maps.Keys(aliases[index.Name]))))
		} else {
			dated = append(dated, index.Name)
		}
	}
	f.warnOf(rolled, "these indices look as if an alias is rolled over to the next one: %s"+advice)
	if len(dated) == 0 {
		return nil
	}
	settings, err := f.from.ClusterSettings(ctx)
	value := cmp.Or(settings.Transient["action.auto_create_index"], settings.Persistent["action.auto_create_index"])
	if kind := elastic.KindOf(err); kind != elastic.None && kind != elastic.NotSupported &&
		kind != elastic.Unauthorized {
		return err
	}
	if value != "false" {
		f.warnOf(dated, "the source makes an index when something writes to a name that is none "+
			"(action.auto_create_index), and these look like one a day or a month: %s"+advice)
	}
	return nil
}

// aliases compares the source's aliases, which are restored with their indices, with the names on
// the target. An index that has the name of such an alias makes every restore fail. An alias of
// that name points to the indices of both clusters afterwards.
func (f *preflight) aliases(ctx context.Context) error {
	if f.from == nil || f.to == nil || len(f.indices) == 0 || f.run.Plan.Restore.ExcludeAliases {
		return nil
	}
	behind := map[string][]string{} // by alias: the source's indices
	for _, index := range slices.Sorted(maps.Keys(f.onSource)) {
		for alias := range f.onSource[index] {
			if strings.HasPrefix(alias, "-") || strings.HasPrefix(alias, "+") {
				continue // no request can name it
			}
			behind[alias] = append(behind[alias], index)
		}
	}
	if len(behind) == 0 {
		return nil
	}
	indices, there, err := f.to.PresentBehind(ctx, slices.Sorted(maps.Keys(behind)))
	if err != nil {
		return err
	}
	for _, alias := range slices.Sorted(maps.Keys(indices)) {
		f.problemOfMigration("%s is an alias of %s on the source and an index on the target, so a restore with that "+
			"alias fails: delete the index %s there, or set restore.excludeAliases", alias, named("", behind[alias]),
			alias)
	}
	for _, alias := range slices.Sorted(maps.Keys(there)) {
		elsewhere := slices.DeleteFunc(slices.Clone(there[alias]),
			func(name string) bool { return slices.Contains(behind[alias], name) })
		if len(elsewhere) > 0 {
			f.warn("alias %s points to %s on the target. After the restore it also points to %s, and searches find "+
				"the documents of all: remove it there, or set restore.excludeAliases", alias, named("", elsewhere),
				named("", behind[alias]))
		}
	}
	return nil
}
