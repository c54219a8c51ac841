package activities

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/migration"
)

// TryHandover finds out which indices the target would refuse to hand over, and leaves our block on
// all of them. Elasticsearch validates the settings of an index only when one of them really
// changes, and the number of replicas doesn't count. So the trial changes the refresh interval, in
// the same way as the handover removes the block, and changes it back.
func (a *Activities) TryHandover(ctx context.Context,
	in migration.TryHandoverRequest,
) (migration.TryHandoverResult, error) {
	return perform(ctx, a, "trying the handover",
		func(ctx context.Context, _ *pulse) (migration.TryHandoverResult, error) {
			client, err := a.cluster(ctx, onTarget, in.Run)
			if err != nil {
				return migration.TryHandoverResult{}, err
			}
			if in.Indices, err = a.lists.names(ctx, in.Run, in.Indices, in.IndicesOf); err != nil {
				return migration.TryHandoverResult{}, err
			}
			settle, err := newSettler(ctx, client)
			if err != nil {
				return migration.TryHandoverResult{}, err
			}
			t := trial{settler: settle, in: in, source: func(ctx context.Context) (*elastic.Client, error) {
				return a.cluster(ctx, onSource, in.Run)
			}}
			return t.all(ctx)
		})
}

type trial struct {
	*settler
	in     migration.TryHandoverRequest
	source func(context.Context) (*elastic.Client, error)
}

// The refresh intervals that the trial sets, which nobody else does. An index that has the first
// gets the second: only a change counts.
const (
	triedInterval = "61001ms"
	otherInterval = "61002ms"
)

func (t *trial) all(ctx context.Context) (migration.TryHandoverResult, error) {
	var result migration.TryHandoverResult
	indices, absent, err := t.look(ctx)
	if err != nil {
		return result, err
	}
	for _, name := range absent {
		result.Refused = append(result.Refused, migration.Refusal{
			Index:   t.in.SourceIndex(name),
			Message: fmt.Sprintf("try the handover of index %s on %s: there is no such index", name, t.client.Host()),
			Remedy:  "The next round restores it again.",
		})
	}
	result.Archived = archivedOf(indices, t.in.SourceIndex)
	if t.in.Doubtful {
		indices = slices.DeleteFunc(indices, func(i elastic.Index) bool { return len(archivedIn(i.Settings)) == 0 })
	}
	t.change(ctx, indices)
	left, _, err := t.look(ctx)
	if err != nil {
		return result, err
	}
	if err := t.failed(); err != nil {
		return result, err
	}
	for _, index := range left {
		name := t.in.SourceIndex(index.Name)
		archived := archivedIn(index.Settings)
		switch err := t.refused[index.Name]; {
		case err != nil:
			refusal := refusalOf(name, err, "")
			refusal.Setting = strings.TrimPrefix(refusal.Setting, archivedPrefix)
			refusal.Remedy = t.remedyOfTrial(refusal.Setting)
			result.Refused = append(result.Refused, refusal)
		case t.archived.Load() && len(archived) > 0:
			result.Refused = append(result.Refused, migration.Refusal{
				Index: name, Setting: archived[0],
				Message: fmt.Sprintf("try the handover of index %s on %s: it keeps the setting %s, which the target "+
					"doesn't know", index.Name, t.client.Host(), archivedPrefix+archived[0]),
				Remedy: t.remedyOfTrial(archived[0]),
			})
		}
	}
	slices.SortFunc(result.Refused, byRefusedName)
	result.RefusedCount = len(result.Refused)
	result.Refused = result.Refused[:min(len(result.Refused), mostTexts)]
	return result, nil
}

// look reads the indices of the request, and names those that are not there.
func (t *trial) look(ctx context.Context) (indices []elastic.Index, absent []string, err error) {
	names := targetNames(t.in.Run, t.in.Indices)
	found, _, err := existing(ctx, t.client, names)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		if index, there := found[name]; there {
			indices = append(indices, index)
		} else {
			absent = append(absent, name)
		}
	}
	return indices, absent, nil
}

// change does what the handover will do, with another setting than the block, and undoes it.
func (t *trial) change(ctx context.Context, indices []elastic.Index) {
	intervals, err := t.intervals(ctx, indices)
	if err != nil {
		t.failures = append(t.failures, err)
		return
	}
	type change struct{ now, before string }
	groups := map[change][]elastic.Index{}
	for _, index := range indices {
		c := change{index.RefreshInterval, intervals[index.Name]}
		groups[c] = append(groups[c], index)
	}
	for c, group := range groups {
		tried := triedInterval
		if c.now == tried {
			tried = otherInterval
		}
		names := indexNames(group)
		t.put(ctx, names, t.withArchived(map[string]any{refreshInterval: tried}, group))
		var before any
		if c.before != "" {
			before = c.before
		}
		t.put(ctx, t.accepted(names), map[string]any{refreshInterval: before})
	}
}

// intervals are the refresh intervals that indices have without the trial. Where an attempt was
// interrupted between its two changes, the source tells.
func (t *trial) intervals(ctx context.Context, indices []elastic.Index) (map[string]string, error) {
	intervals := map[string]string{}
	var interrupted []string
	for _, index := range indices {
		intervals[index.Name] = index.RefreshInterval
		if index.RefreshInterval == triedInterval || index.RefreshInterval == otherInterval {
			interrupted = append(interrupted, t.in.SourceIndex(index.Name))
		}
	}
	if len(interrupted) == 0 {
		return intervals, nil
	}
	source, err := t.source(ctx)
	if err != nil {
		return nil, err
	}
	found, _, err := existing(ctx, source, interrupted)
	for _, name := range interrupted {
		intervals[t.in.TargetIndex(name)] = found[name].RefreshInterval
	}
	return intervals, err
}

// remedyOfTrial is possible as long as the source takes writes, or can be made writable again.
func (t *trial) remedyOfTrial(setting string) string {
	switch {
	case setting == "" && t.in.Plan.Rehearsal:
		return "Remove what the message names from the index on the source."
	case setting == "":
		return "Remove what the message names from the index on the source, then send retry."
	case t.in.Plan.Rehearsal:
		return fmt.Sprintf("Add restore.ignoreSettings: [%q] to the plan, or remove the setting from the index on the "+
			"source.", setting)
	}
	return fmt.Sprintf("Remove the setting from the index on the source, then send retry. Or abort, add "+
		"restore.ignoreSettings: [%q] to the plan, and start again.", setting)
}
