package activities

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/migration"
)

// writeIndices makes sure that no alias has two write indices after a restore, one of them somebody
// else's: Elasticsearch refuses that.
func (f *preflight) writeIndices(ctx context.Context) error {
	if f.to == nil || f.run.Plan.Restore.ExcludeAliases {
		return nil
	}
	ours := map[string]bool{} // aliases with a write index among the plan's indices
	for _, aliases := range f.onSource {
		for alias, defined := range aliases {
			ours[alias] = ours[alias] || isWriteIndex(defined)
		}
	}
	maps.DeleteFunc(ours, func(_ string, writes bool) bool { return !writes })
	if len(ours) == 0 {
		return nil
	}
	there, err := f.to.AllAliases(ctx)
	if err != nil {
		return err
	}
	for _, index := range slices.Sorted(maps.Keys(there)) {
		if _, planned := f.onSource[index]; planned {
			continue // a problem of its own
		}
		for _, alias := range slices.Sorted(maps.Keys(there[index])) {
			if ours[alias] && isWriteIndex(there[index][alias]) {
				f.problemOfMigration("alias %s has the write index %s on the target, and another one on the source, "+
					"so a restore with that alias fails: remove the alias there, or set restore.excludeAliases",
					alias, index)
			}
		}
	}
	return nil
}

func isWriteIndex(alias json.RawMessage) bool {
	var defined struct {
		IsWriteIndex bool `json:"is_write_index"`
	}
	return json.Unmarshal(alias, &defined) == nil && defined.IsWriteIndex
}

// dependencies makes sure that the target has the pipelines that the source's indices name.
func (f *preflight) dependencies(ctx context.Context) error {
	if f.from == nil || f.to == nil || len(f.indices) == 0 {
		return nil
	}
	missing, err := missingPipelines(ctx, f.to, f.run.Plan, f.indices)
	if permanent(err) && !canceled(err) {
		f.warn("the ingest pipelines of the target can't be read, so make sure that those exist that the indices "+
			"name: %s", messageOf(err))
		return nil
	}
	for _, problem := range missing {
		f.problemOfMigration("%s", problem)
	}
	return err
}

// CheckDependencies makes sure that the target still has what the settings of the source's indices
// name and what no restore brings along. Without their pipeline, an index would be handed over and
// refuse every write. Before that, it makes sure that none of the indices has been moved to where no
// snapshot takes it.
func (a *Activities) CheckDependencies(ctx context.Context, run migration.Run) error {
	_, err := perform(ctx, a, "looking for what the indices' settings name",
		func(ctx context.Context, _ *pulse) (none, error) {
			from, err := a.cluster(ctx, onSource, run)
			if err != nil {
				return none{}, err
			}
			to, err := a.cluster(ctx, onTarget, run)
			if err != nil {
				return none{}, err
			}
			cold, _, err := coldIndices(ctx, from, run.Plan)
			if err != nil {
				return none{}, err
			}
			found, err := resolvePlan(ctx, from, run.Plan, cold)
			if err != nil {
				return none{}, err
			}
			if err := found.mustBeHot(from, run.Plan); err != nil {
				return none{}, err
			}
			missing, err := missingPipelines(ctx, to, run.Plan, found.indices)
			if permanent(err) && !canceled(err) {
				return none{}, nil // preflight has warned that they can't be read
			}
			if err == nil && len(missing) > 0 {
				err = fail(migration.ErrorMissing, "%s", bounded(missing, "; "))
			}
			return none{}, err
		})
	return err
}

// pipelineSettings name an ingest pipeline through which an index sends whatever is written to it.
var pipelineSettings = []string{"index.default_pipeline", "index.final_pipeline"}

// noPipeline is a pipeline setting's value for none.
const noPipeline = "_none"

// missingPipelines says, in words, which pipelines the indices name and the target lacks. It says
// so for the first ones.
func missingPipelines(ctx context.Context, to *elastic.Client, plan migration.Plan,
	indices []elastic.Index,
) ([]string, error) {
	type use struct{ pipeline, setting string }
	users := map[use][]string{}
	for _, setting := range pipelineSettings {
		if slices.ContainsFunc(plan.Restore.IgnoreSettings,
			func(pattern string) bool { return elastic.Matches(pattern, setting) }) {
			continue
		}
		for _, index := range indices {
			if pipeline := index.Settings[setting]; pipeline != "" && pipeline != noPipeline {
				users[use{pipeline, setting}] = append(users[use{pipeline, setting}], index.Name)
			}
		}
	}
	if len(users) == 0 {
		return nil, nil
	}
	there, err := to.Pipelines(ctx)
	if err != nil {
		return nil, err
	}
	wanted := slices.SortedFunc(maps.Keys(users), func(a, b use) int {
		return strings.Compare(a.pipeline+" "+a.setting, b.pipeline+" "+b.setting)
	})
	var missing []string
	for _, use := range wanted {
		switch {
		case there[use.pipeline]:
		case len(missing) == mostNamed:
			return append(missing, "and more pipelines are missing on "+to.Host()), nil
		default:
			missing = append(missing, fmt.Sprintf("ingest pipeline %s does not exist on %s, and %s of %s names it, so "+
				"every write to it would be refused there: create the pipeline on the target "+
				"(PUT _ingest/pipeline/%s), or leave the setting out with restore.ignoreSettings", use.pipeline,
				to.Host(),
				use.setting, named("index ", users[use]), use.pipeline))
		}
	}
	return missing, nil
}
