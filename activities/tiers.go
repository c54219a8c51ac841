package activities

import (
	"context"
	"fmt"
	"slices"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/migration"
)

// Indices that Amazon keeps in UltraWarm or cold storage. A snapshot takes no warm index beside a
// hot one, and a cold index belongs to no cluster. A policy may move an index at any time.

// coldIndices lists the indices in cold storage, unless the plan says that the source isn't
// Amazon's. If they can't be listed, the warning says so: most domains have none, so that stops
// nothing.
func coldIndices(ctx context.Context, client *elastic.Client, plan migration.Plan) (names []string, warning string,
	err error,
) {
	if plan.Source.Warm == migration.WarmIncluded {
		return nil, "", nil
	}
	names, err = client.ColdIndices(ctx)
	if err == nil || canceled(err) || elastic.KindOf(err) == elastic.Unavailable {
		return names, "", err
	}
	return nil, "the source's cold storage can't be listed, so make sure that no index of the plan is in it: " +
		shorten(messageOf(err)), nil
}

// resolvePlan finds the indices that a plan stands for, and sets those apart that are warm, or among
// the cold ones that are given.
func resolvePlan(ctx context.Context, client *elastic.Client, plan migration.Plan, cold []string,
) (*resolution, error) {
	r := &resolution{apart: plan.Source.Warm != migration.WarmIncluded, inCold: cold}
	return r, r.resolve(ctx, client, plan.Selection())
}

func (r *resolution) notHot(plan migration.Plan) *migration.NotHot {
	return migration.NewNotHot(r.warm, r.cold, plan)
}

// warmProblem says what is wrong with a warm index, and what helps.
func warmProblem(name string) string {
	return fmt.Sprintf("index %s is in UltraWarm storage (index.routing.allocation.require.box_type: warm), and a "+
		"snapshot takes no warm index together with another one: move it to hot storage (%s)", name,
		elastic.MakeWarmHot(name))
}

// coldProblem is the same of a cold index.
func coldProblem(name string) string {
	return fmt.Sprintf("index %s is in cold storage, where no snapshot takes it: move it to UltraWarm storage (%s) "+
		"and from there to hot storage (%s)", name, elastic.MakeColdWarm(name), elastic.MakeWarmHot(name))
}

// notHotProblems are those of the first indices of each kind. more is added to each.
func (r *resolution) notHotProblems(more func(name string) string) []string {
	var problems []string
	for _, kind := range []struct {
		names []string
		text  func(string) string
	}{{r.warm, warmProblem}, {r.cold, coldProblem}} {
		others := eachOf(kind.names, func(name string) { problems = append(problems, kind.text(name)+more(name)) })
		if others != "" {
			problems = append(problems, others)
		}
	}
	return problems
}

// notHotError is that of indices which must be hot: all of them, or the only ones that there are.
func (r *resolution) notHotError(client *elastic.Client) error {
	return fail(migration.ErrorNotHot, "look at the storage of the plan's indices on %s: %s", client.Host(),
		bounded(r.notHotProblems(func(string) string { return "" }), "; "))
}

// mustBeHot refuses indices that are not hot where they would be handed over.
func (r *resolution) mustBeHot(client *elastic.Client, plan migration.Plan) error {
	if len(r.warm)+len(r.cold) == 0 || plan.Source.Warm == migration.WarmLeftOut {
		return nil
	}
	return r.notHotError(client)
}

// resolveSource finds the plan's indices on the source for preflight, and tells of those that are
// not hot.
func (f *preflight) resolveSource(ctx context.Context) (*resolution, error) {
	cold, warning, err := coldIndices(ctx, f.from, f.run.Plan)
	if err != nil {
		return nil, err
	}
	if warning != "" {
		f.warn("%s", warning)
	}
	found, err := resolvePlan(ctx, f.from, f.run.Plan, cold)
	if err != nil {
		return nil, err
	}
	switch f.notHot = found.notHot(f.run.Plan); {
	case f.notHot == nil:
	case !f.notHot.LeftOut:
		for _, problem := range found.notHotProblems(func(name string) string {
			return fmt.Sprintf(", leave it out of the plan (indices: %q), or set source.warm: leaveOut",
				migration.Exclusion+name)
		}) {
			f.problem("%s", problem)
		}
	case len(found.indices)+len(found.closed) == 0:
		f.problem("%s", named("every index that the plan stands for is in UltraWarm or cold storage, and source.warm "+
			"leaves these out: ", slices.Concat(found.warm, found.cold)))
	}
	return found, nil
}
