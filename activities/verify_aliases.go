package activities

import (
	"context"
	"maps"
	"slices"

	"github.com/snapferry/snapferry/internal/elastic"
)

// aliasesOverAll compares what each alias of the plan's indices leads to, over both clusters as a
// whole: an index by index comparison never sees that an alias also leads to an index that only one
// of them has. It returns the differences by index, in words, each under the first index of its
// alias.
func (v *verifying) aliasesOverAll(ctx context.Context, names []string) (map[string][]string, error) {
	var fromAll, toAll map[string]aliasDefinitions
	if err := both(ctx, v.from, v.to, &fromAll, &toAll,
		func(ctx context.Context, client *elastic.Client) (map[string]aliasDefinitions, error) {
			all, err := client.AllAliases(ctx)
			if client == v.from && permanent(err) {
				// Who may not see the aliases of all indices there compares those of the plan's:
				// writers wait, and this decides nothing.
				return client.Aliases(ctx, names)
			}
			return all, err
		}); err != nil {
		return nil, err
	}
	source := map[string]aliasDefinitions{}
	for _, name := range names {
		source[name] = fromAll[name]
	}
	differences := map[string][]string{}
	behind, onSource, onTarget := byAlias(source), byAlias(fromAll), byAlias(toAll)
	for _, alias := range slices.Sorted(maps.Keys(behind)) {
		first := behind[alias][0]
		differs := func(introduction string, others []string) {
			if text := named(introduction, others); text != "" {
				differences[first] = append(differences[first], "alias "+alias+text)
			}
		}
		// Those of the indices themselves are compared index by index.
		differs(" also leads to indices on the target to which it does not lead on the source: ",
			without(onTarget[alias], onSource[alias], names))
		differs(" also leads to indices on the source that are not part of the migration: ",
			without(onSource[alias], onTarget[alias], names))
	}
	return differences, nil
}

// byAlias gives the indices that each alias leads to, sorted.
func byAlias(byIndex map[string]aliasDefinitions) map[string][]string {
	indices := map[string][]string{}
	for _, index := range slices.Sorted(maps.Keys(byIndex)) {
		for alias := range byIndex[index] {
			indices[alias] = append(indices[alias], index)
		}
	}
	return indices
}

// without gives those of the names that are in none of the others.
func without(names []string, others ...[]string) []string {
	there := map[string]bool{}
	for _, other := range others {
		for _, name := range other {
			there[name] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return there[name] })
}
