package activities

import (
	"context"
	"maps"
	"slices"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/migration"
)

// lookForIndices finds the target's indices that a run restored and did not hand over.
func (l *search) lookForIndices(ctx context.Context) error {
	plan := l.request.Plan
	client, err := l.cluster(ctx, onTarget, migration.Run{Plan: plan})
	if err != nil {
		return err
	}
	selection := plan.Selection()
	selection.Patterns = slices.Concat(selection.Patterns, l.rehearsedPatterns())
	present, err := l.matching(ctx, client, selection)
	if err != nil {
		return err
	}
	var saved []string
	for _, r := range l.registered {
		for _, snapshot := range r.snapshots {
			for _, name := range snapshot.Indices {
				if name = r.run.TargetIndex(name); present[name].Name == "" {
					saved = append(saved, name)
				}
			}
		}
	}
	slices.Sort(saved)
	more, err := l.present(ctx, client, slices.Compact(saved))
	if err != nil {
		return err
	}
	maps.Copy(present, more)
	names := slices.Sorted(maps.Keys(present))
	open := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !present[name].Open })
	origins, err := originsAmong(ctx, client, func(repository string) bool {
		_, own := ownRun(plan, repository)
		return own
	}, open)
	if err != nil {
		return err
	}
	if err := l.readLists(ctx); err != nil {
		return err
	}
	var restored []remnant
	begun := map[string]bool{} // runs of which an index takes writes
	for _, name := range names {
		index := present[name]
		run, own := l.restoredBy(index, origins[name])
		if own && index.Open && !hasOurBlock(index) {
			begun[run.Token] = true
		}
		if !own && !l.looksRestored(index) {
			continue
		}
		restored = append(restored, remnant{
			kind: migration.RemainsIndices, where: "target " + client.Host(), name: name, token: run.Token,
			at: onTarget, uuid: index.UUID, run: run,
		})
	}
	if err := l.measure(ctx, client, restored, present); err != nil {
		return err
	}
	for _, found := range restored {
		l.judgeIndex(&found, hasOurBlock(present[found.name]), begun[found.token])
		l.found = append(l.found, found)
	}
	return l.lookForTried(ctx, client)
}

// measure adds the sizes of open indices.
func (l *search) measure(ctx context.Context, client *elastic.Client, found []remnant,
	present map[string]elastic.Index,
) error {
	var open []elastic.Index
	var at []int
	for i := range found {
		if index := present[found[i].name]; index.Open {
			open, at = append(open, index), append(at, i)
		}
	}
	if err := client.Measure(ctx, open); err != nil {
		return err
	}
	for i := range open {
		found[at[i]].bytes = open[i].PrimaryBytes
	}
	return nil
}

// readLists reads the stored lists of what runs have restored.
func (l *search) readLists(ctx context.Context) error {
	for _, run := range l.past.runs {
		counters, err := fetch(ctx, l.lists, migration.Run{Plan: l.request.Plan, Token: run.token}, nil, run.listed)
		if err != nil {
			if err := l.warn("what run "+run.token+" restored can't be read", err); err != nil {
				return err
			}
		}
		run.add(counters)
	}
	return nil
}

// rehearsedPatterns match the throw-away indices of the plan's rehearsals.
func (l *search) rehearsedPatterns() (patterns []string) {
	for _, token := range l.tokens() {
		plan := l.request.Plan
		plan.Rehearsal = true
		patterns = append(patterns, migration.Run{Plan: plan, Token: token}.TargetIndex("*"))
	}
	return patterns
}

// tokens are those of all runs that are known by a registration or a history.
func (l *search) tokens() []string {
	tokens := slices.Collect(maps.Keys(l.past.runs))
	for _, r := range l.registered {
		tokens = append(tokens, r.run.Token)
	}
	slices.Sort(tokens)
	return slices.Compact(tokens)
}

// restoredBy tells which run restored an index: its primaries say so, or a history names its uuid.
func (l *search) restoredBy(index elastic.Index, o origin) (migration.Run, bool) {
	if o.ours() && !slices.ContainsFunc(o.repositories, func(r string) bool { return r != o.repositories[0] }) {
		return ownRun(l.request.Plan, o.repositories[0])
	}
	for _, run := range l.past.runs {
		if run.restored[index.UUID] {
			plan := l.request.Plan
			plan.Rehearsal = run.rehearsal
			return migration.Run{Plan: plan, Token: run.token}, true
		}
	}
	return migration.Run{}, false
}

// looksRestored tells whether an index may have been restored by a run, although nothing proves it.
func (l *search) looksRestored(index elastic.Index) bool {
	return hasOurBlock(index) && index.Settings["index.auto_expand_replicas"] == "false"
}

// judgeIndex tells whose an index on the target is, and whether it is the product of a migration.
func (l *search) judgeIndex(found *remnant, blocked, begun bool) {
	run := l.past.runs[found.token]
	// Without our block somebody may have written to it: then it is not snapferry's to delete.
	found.origin, found.stays = migration.OriginPerhaps, !blocked
	switch {
	case found.token == "":
		found.why = "they have the settings of a restore by snapferry, and nothing tells which run restored them"
	case found.run.Plan.Rehearsal:
		found.origin, found.why, found.stays = migration.OriginOurs, "a rehearsal of this plan restored them", false
	case run != nil && run.product() || !blocked && run == nil:
		found.origin, found.stays = migration.OriginKept, true
		found.why = "they are, or may be, what a migration has handed over"
	case begun:
		found.why = "a run of this plan restored them, but some of its indices take writes: it may have handed over"
	case run == nil:
		found.why = "a run of this plan restored them, and no history tells whether it has handed over"
	default:
		found.origin = migration.OriginOurs
		found.why = "a run of this plan restored them, and ended before the cutover"
	}
}
