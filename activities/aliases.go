package activities

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/migration"
)

// ClearTarget keeps what the source no longer has from spoiling the next restore, and whatever
// searches the target.
//
//   - An index that was deleted on the source loses its aliases on the target: otherwise they would
//     lead to its copy as well, and a second write index of an alias makes Elasticsearch refuse the
//     restore. Our copy itself stays, unless the plan says otherwise, or its name is an alias of
//     one of the indices now.
//   - Our copy of an index that was created again is deleted if it has another number of shards:
//     Elasticsearch refuses a restore over it. Over any other copy the restore simply goes.
//   - A new index whose name is an alias of another index of ours: the alias is taken away.
//
// It changes nothing that this migration didn't restore.
func (a *Activities) ClearTarget(ctx context.Context, in migration.ClearRequest) (migration.ClearResult, error) {
	return perform(ctx, a, "clearing what the source no longer has from the target",
		func(ctx context.Context, p *pulse) (migration.ClearResult, error) {
			c := clearing{Activities: a, pulse: p}
			var err error
			if c.in, err = a.lists.clearing(ctx, in); err != nil {
				return migration.ClearResult{}, err
			}
			if c.from, err = a.cluster(ctx, onSource, in.Run); err != nil {
				return migration.ClearResult{}, err
			}
			if c.to, err = a.cluster(ctx, onTarget, in.Run); err != nil {
				return migration.ClearResult{}, err
			}
			if err := c.clear(ctx); err != nil {
				return migration.ClearResult{}, err
			}
			return c.finished(ctx)
		})
}

// clearing is a request with all its lists.
func (l lists) clearing(ctx context.Context, in migration.ClearRequest) (migration.ClearRequest, error) {
	var err error
	if in.Indices, err = fetch(ctx, l, in.Run, in.Indices, in.IndicesOf); err != nil {
		return in, err
	}
	if in.Expected, err = fetch(ctx, l, in.Run, in.Expected, in.ExpectedOf); err != nil {
		return in, err
	}
	in.Begun, err = l.begun(ctx, in.Run, in.Begun, in.BegunOf, in.Expected)
	return in, err
}

// clearing is one run of ClearTarget. All names are the source's.
type clearing struct {
	*Activities
	in       migration.ClearRequest // with all its lists
	pulse    *pulse
	from, to *elastic.Client
	result   migration.ClearResult

	present map[string]bool // on the source, among the indices of the round
	// left are indices that an earlier round restored and that the source really lacks. renamed are
	// those of them whose name is an alias of an index of the round now.
	left    []string
	renamed map[string]bool
	// ours are our copies on the target: those of left, and those with another number of shards
	// than their index.
	ours map[string]elastic.Index
	gone map[string]bool // names of which the target has no copy of ours
}

func (c *clearing) clear(ctx context.Context) error {
	if err := c.whatLeft(ctx); err != nil {
		return err
	}
	if err := c.copies(ctx); err != nil {
		return err
	}
	if err := c.deleteCopies(ctx); err != nil {
		return err
	}
	if err := c.takeAliases(ctx); err != nil {
		return err
	}
	return c.freeNames(ctx)
}

// finished is the result, with the counters of what is still there.
func (c *clearing) finished(ctx context.Context) (migration.ClearResult, error) {
	counters := maps.Clone(c.in.Expected)
	maps.DeleteFunc(counters, func(name string, _ migration.Counter) bool { return c.gone[name] })
	c.result.Deleted = len(c.in.Expected) - len(counters)
	if c.result.Deleted == 0 {
		return c.result, nil
	}
	var err error
	c.result.Counters, c.result.CountersOf, err = storeIfLong(ctx, c.lists, c.in.Run, counters)
	return c.result, err
}

// whatLeft finds the indices that earlier rounds restored and the source really lacks. One that is
// closed, or that no pattern matches any more, is still there, and so are its aliases.
func (c *clearing) whatLeft(ctx context.Context) error {
	c.present, c.renamed, c.gone = map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, index := range c.in.Indices {
		c.present[index.Name] = true
	}
	var away []string
	for _, name := range slices.Concat(slices.Sorted(maps.Keys(c.in.Expected)), c.in.Begun) {
		if !c.present[name] {
			away = append(away, name)
		}
	}
	if len(away) == 0 || c.in.Plan.Rehearsal {
		return nil // a rehearsal restores no aliases, and removes what it has made when it ends
	}
	found, behind, err := c.from.PresentBehind(ctx, away)
	if err != nil {
		return err
	}
	absent := slices.DeleteFunc(slices.Clone(away), func(name string) bool { _, there := found[name]; return there })
	cold, err := c.coldAmong(ctx, absent)
	if err != nil {
		return err
	}
	for _, name := range away {
		if _, there := found[name]; there || slices.Contains(cold, name) {
			c.result.Back++
			continue
		}
		c.left = append(c.left, name)
		c.renamed[name] = slices.ContainsFunc(behind[name], func(index string) bool { return c.present[index] })
	}
	return nil
}

// coldAmong finds those of the names that were moved to cold storage, which is not to be taken for
// deleted.
func (c *clearing) coldAmong(ctx context.Context, names []string) ([]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	cold, _, err := coldIndices(ctx, c.from, c.in.Plan)
	return slices.DeleteFunc(cold, func(name string) bool { return !slices.Contains(names, name) }), err
}

// copies finds our copies on the target that are in the way.
func (c *clearing) copies(ctx context.Context) error {
	shards := map[string]int{}
	names := slices.Clone(c.left)
	known := c.asClosing()
	for _, index := range c.in.Indices {
		if _, expected := c.in.Expected[index.Name]; expected || slices.Contains(c.in.Begun, index.Name) {
			shards[index.Name] = index.Shards
			names = append(names, index.Name)
		}
	}
	found, _, err := existing(ctx, c.to, targetNames(c.in.Run, names))
	if err != nil {
		return err
	}
	inTheWay := slices.DeleteFunc(names, func(name string) bool {
		index, there := found[c.in.TargetIndex(name)]
		return c.present[name] && (!there || shards[name] == 0 || index.Shards == shards[name])
	})
	var open []string
	for _, name := range inTheWay {
		if index, there := found[c.in.TargetIndex(name)]; there && index.Open {
			open = append(open, index.Name)
		}
	}
	origins, err := originsOf(ctx, c.to, c.in.RepositoryName(), open)
	if err != nil {
		return err
	}
	c.ours = map[string]elastic.Index{}
	for _, name := range inTheWay {
		index, there := found[c.in.TargetIndex(name)]
		if there && (known.knows(index) || origins[index.Name].ours()) {
			c.ours[name] = index
		} else {
			c.gone[name] = true
		}
	}
	return nil
}

// asClosing is what CloseTarget would be asked.
func (c *clearing) asClosing() closing {
	return closing{migration.CloseRequest{
		Run: c.in.Run, Expected: targetCounters(c.in.Run, c.in.Expected),
		Begun: targetNames(c.in.Run, c.in.Begun), InDoubt: c.in.InDoubt, AcceptWrites: c.in.AcceptWrites,
	}}
}

// closing is a CloseRequest with the target's names.
type closing struct{ migration.CloseRequest }

// knows reports whether an index is ours: by its UUID, or because a restore of it was begun when
// there was none of its name, and it has the block that our restores set.
func (c closing) knows(index elastic.Index) bool {
	expected := c.Expected[index.Name].UUID
	return expected != "" && expected == index.UUID ||
		expected == "" && slices.Contains(c.Begun, index.Name) && hasOurBlock(index)
}

// deleteCopies deletes our copies that can't stay, unless somebody wrote to them.
func (c *clearing) deleteCopies(ctx context.Context) error {
	var names, remade, renamed, deleted []string
	for _, name := range slices.Sorted(maps.Keys(c.ours)) {
		switch {
		case c.present[name]:
			remade = append(remade, name)
		case c.in.Plan.Restore.DeletedIndices == migration.DeletedRemoved:
			deleted = append(deleted, name)
		case c.in.Plan.RestoresAliases() && c.renamed[name]:
			renamed = append(renamed, name)
		default:
			continue
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return nil
	}
	if err := c.untouched(ctx, names); err != nil {
		return err
	}
	err := c.whenFree(ctx, c.pulse, func() error { return c.to.DeleteIndices(ctx, targetNames(c.in.Run, names)) })
	if err != nil {
		return err
	}
	for _, name := range names {
		delete(c.ours, name)
		c.gone[name] = true
	}
	c.warn("these indices were created again on the source with another number of shards. Their old copies on the "+
		"target were deleted, and the next restore restores them completely: ", remade)
	c.warn("these names are aliases on the source now, and were indices. The copies of the old indices were deleted "+
		"on the target, or the aliases could not be restored: ", renamed)
	c.warn("these indices are no longer on the source, and were deleted on the target "+
		"(restore.deletedIndices: delete): ", deleted)
	return nil
}

// untouched makes sure that nobody wrote to copies of ours that are to be deleted.
func (c *clearing) untouched(ctx context.Context, names []string) error {
	var open []elastic.Index
	for _, name := range names {
		if index := c.ours[name]; index.Open {
			open = append(open, index)
		}
	}
	origins, err := originsOf(ctx, c.to, c.in.RepositoryName(), indexNames(open))
	if err != nil {
		return err
	}
	return untouched(ctx, c.to, c.asClosing().CloseRequest, open, origins)
}

// takeAliases takes all aliases from the copies that stay.
func (c *clearing) takeAliases(ctx context.Context) error {
	if !c.in.Plan.RestoresAliases() {
		return nil // what aliases the target has is not ours to decide
	}
	kept := slices.Sorted(maps.Keys(c.ours))
	if len(kept) == 0 {
		return nil
	}
	return c.removeAliases(ctx, "these aliases were removed on the target, since their indices are no longer on the "+
		"source: ", func() ([]elastic.IndexAlias, error) {
		byIndex, err := c.to.Aliases(ctx, kept)
		return pairs(byIndex), err
	})
}

// freeNames takes those aliases from indices of ours that have the name of a new index.
func (c *clearing) freeNames(ctx context.Context) error {
	if !c.in.Plan.RestoresAliases() {
		return nil
	}
	var fresh []string
	for _, index := range c.in.Indices {
		if _, restored := c.in.Expected[index.Name]; !restored {
			fresh = append(fresh, index.Name)
		}
	}
	_, taken, err := existing(ctx, c.to, fresh)
	if err != nil || len(taken) == 0 {
		return err
	}
	return c.removeAliases(ctx, "these aliases were removed on the target, since their names are indices on the "+
		"source now: ", func() ([]elastic.IndexAlias, error) {
		all, err := c.to.AllAliases(ctx)
		if err != nil {
			return nil, err
		}
		maps.DeleteFunc(all, func(_ string, aliases aliasDefinitions) bool {
			maps.DeleteFunc(aliases, func(alias string, _ json.RawMessage) bool {
				return !slices.Contains(taken,
					alias)
			})
			return len(aliases) == 0
		})
		found, _, err := existing(ctx, c.to, slices.Sorted(maps.Keys(all)))
		if err != nil {
			return nil, err
		}
		maps.DeleteFunc(found, func(_ string, index elastic.Index) bool { return !index.Open || !hasOurBlock(index) })
		origins, err := originsOf(ctx, c.to, c.in.RepositoryName(), slices.Sorted(maps.Keys(found)))
		known := c.asClosing()
		// An index that isn't certainly ours keeps its alias: closing the target refuses then, and
		// says so.
		maps.DeleteFunc(all, func(name string, _ aliasDefinitions) bool {
			return !origins[name].ours() && !known.knows(found[name])
		})
		return pairs(all), err
	})
}

// looksAtAliases bounds how often aliases are read again that somebody else removes meanwhile.
const looksAtAliases = 5

// removeAliases removes the aliases that find finds, and says so.
func (c *clearing) removeAliases(ctx context.Context, done string, find func() ([]elastic.IndexAlias, error)) error {
	for look := 1; ; look++ {
		found, err := find()
		if err != nil || len(found) == 0 {
			return err
		}
		err = c.to.RemoveAliases(ctx, found)
		if elastic.KindOf(err) == elastic.Missing && look < looksAtAliases {
			continue
		}
		if err != nil && !elastic.Unacknowledged(err) { // then they are removed
			return err
		}
		texts := make([]string, len(found))
		for i, alias := range found {
			texts[i] = fmt.Sprintf("%s of %s", alias.Alias, alias.Index)
		}
		c.warn(done, texts)
		return nil
	}
}

func (c *clearing) warn(introduction string, names []string) {
	if text := named(introduction, names); text != "" {
		c.result.Warnings = append(c.result.Warnings, text)
	}
}

// pairs lists aliases by index and name.
func pairs(byIndex map[string]aliasDefinitions) []elastic.IndexAlias {
	var all []elastic.IndexAlias
	for _, index := range slices.Sorted(maps.Keys(byIndex)) {
		for _, alias := range slices.Sorted(maps.Keys(byIndex[index])) {
			all = append(all, elastic.IndexAlias{Index: index, Alias: alias})
		}
	}
	return all
}
