package activities

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/migration"
)

// ResolveIndices finds the indices that the plan's names and patterns stand for on the source now,
// sorted by name.
func (a *Activities) ResolveIndices(ctx context.Context, in migration.ResolveRequest) (migration.IndexList, error) {
	return perform(ctx, a, "resolving the indices", func(ctx context.Context, _ *pulse) (migration.IndexList, error) {
		var none migration.IndexList
		client, err := a.cluster(ctx, onSource, in.Run)
		if err != nil {
			return none, err
		}
		cold, warning, err := coldIndices(ctx, client, in.Plan)
		if err != nil {
			return none, err
		}
		found, err := resolvePlan(ctx, client, in.Plan, cold)
		if err != nil {
			return none, err
		}
		var warnings []string
		if warning != "" && in.LeaveOut {
			warnings = append(warnings, warning)
		}
		if len(found.closed) > 0 && in.LeaveOut && len(found.indices) > 0 {
			warnings = append(warnings, found.closedWarning())
		} else if len(found.closed) > 0 {
			found.problems = append(found.problems,
				named("these indices are closed, open or delete them: ", found.closed))
		}
		if len(found.problems) > 0 {
			return none, fail(migration.ErrorMissing, "resolve the plan's indices on %s: %s", client.Host(),
				bounded(found.problems, "; "))
		}
		notHot := found.notHot(in.Plan)
		if notHot != nil && (len(found.indices) == 0 || !in.LeaveOut) {
			return none, found.notHotError(client)
		}
		if in.Frozen {
			if err := found.mustBeHot(client, in.Plan); err != nil {
				return none, err
			}
		}
		var list migration.IndexList
		if in.Unmeasured {
			list = a.lists.listed(described(found.indices))
		} else {
			if err := client.Measure(ctx, found.indices); err != nil {
				return none, err
			}
			if list, err = a.lists.indexList(ctx, in.Run, described(found.indices), in); err != nil {
				return none, err
			}
		}
		list.Warnings, list.NotHot = warnings, notHot
		return list, nil
	})
}

// resolution is what a plan's names and patterns stand for.
type resolution struct {
	indices []elastic.Index // open, by name; not measured
	// closed are indices behind a pattern that are closed. A snapshot of them fails, so they are
	// left out as long as they are closed.
	closed []string
	// internal are names that patterns leave out since they begin with a dot.
	internal []string
	// warm are in UltraWarm storage, and cold are no part of the cluster: those among inCold. Without
	// apart, a warm index is like any other.
	warm, cold []string
	apart      bool
	inCold     []string
	problems   []string // in words
}

func (r *resolution) closedWarning() string {
	return named("the source has closed indices, which are left out as long as they are closed: ", r.closed)
}

// resolve finds the indices that names and patterns stand for, in whatever storage of the cluster.
func resolve(ctx context.Context, client *elastic.Client, selection migration.IndexSelection) (*resolution, error) {
	r := &resolution{}
	return r, r.resolve(ctx, client, selection)
}

func (r *resolution) resolve(ctx context.Context, client *elastic.Client, plan migration.IndexSelection) error {
	open, err := client.Matching(ctx, plan.Patterns)
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	for _, name := range plan.Names {
		wanted[name] = true
	}
	var unspeakable []string
	matched := map[string]bool{} // by pattern
	for _, name := range slices.Sorted(maps.Keys(open)) {
		if strings.HasPrefix(name, ".") { // internal indices only by their full name
			r.internal = append(r.internal, name)
			continue
		}
		for _, pattern := range plan.Patterns {
			matched[pattern] = matched[pattern] || elastic.Matches(pattern, name)
		}
		excluded := slices.ContainsFunc(plan.Excluded, func(x string) bool { return elastic.Matches(x, name) })
		switch {
		case wanted[name] || excluded:
		case strings.HasPrefix(name, "-") || strings.HasPrefix(name, "+"):
			unspeakable = append(unspeakable, name)
		case !open[name]:
			r.closed = append(r.closed, name)
		default:
			wanted[name] = true
		}
	}
	for _, name := range r.inCold {
		if _, there := open[name]; there || strings.HasPrefix(name, ".") || slices.Contains(plan.Names, name) {
			continue // another index of the name, or one that read looks for
		}
		fits := false
		for _, pattern := range plan.Patterns {
			matches := elastic.Matches(pattern, name)
			fits, matched[pattern] = fits || matches, matched[pattern] || matches
		}
		if fits && !slices.ContainsFunc(plan.Excluded, func(x string) bool { return elastic.Matches(x, name) }) {
			r.cold = append(r.cold, name)
		}
	}
	for _, pattern := range plan.Patterns {
		if !matched[pattern] {
			r.problems = append(r.problems, "no index matches "+pattern)
		}
	}
	if len(unspeakable) > 0 {
		r.problems = append(r.problems, fmt.Sprintf("Elasticsearch takes a name that begins with - or + in a request "+
			"for an exclusion or an addition, so no request can name %s: reindex it under another name, or leave it "+
			"out of the plan (indices: %q)", named("", unspeakable), migration.Exclusion+unspeakable[0]))
	}
	if err := r.read(ctx, client, plan.Names, slices.Sorted(maps.Keys(wanted))); err != nil {
		return err
	}
	if len(r.indices)+len(r.closed)+len(r.warm)+len(r.cold)+len(r.problems) == 0 {
		r.problems = append(r.problems, "the plan excludes every index that its patterns match")
	}
	return nil
}

// read reads the indices' settings.
func (r *resolution) read(ctx context.Context, client *elastic.Client, given, names []string) error {
	aliases := map[string][]string{}
	var mu sync.Mutex
	present := map[string]elastic.Index{}
	unreadable, trouble := atOnce(names, func(batch []string) error {
		indices, behind, err := client.PresentBehind(ctx, batch)
		mu.Lock()
		defer mu.Unlock()
		maps.Copy(present, indices)
		maps.Copy(aliases, behind)
		return err
	})
	if err := retryableFirst(trouble); err != nil {
		return err
	}
	version, err := client.Version(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		index, there := present[name]
		isGiven := slices.Contains(given, name)
		switch {
		case unreadable[name] != nil:
			r.problems = append(r.problems, unreadableProblem(name, unreadable[name]))
		case there && !index.Open && isGiven:
			r.problems = append(r.problems, "index "+name+" is closed: open it, or leave it out")
		case there && !index.Open:
			r.closed = append(r.closed, name)
		case there && r.apart && index.Warm(version):
			r.warm = append(r.warm, name)
		case there:
			r.indices = append(r.indices, index)
		case len(aliases[name]) > 0:
			r.problems = append(r.problems, name+" is an alias of "+named("", aliases[name])+
				" and not an index: name the index or a pattern (aliases are restored with their index)")
		case isGiven && slices.Contains(r.inCold, name):
			r.cold = append(r.cold, name)
		case isGiven:
			r.problems = append(r.problems, "there is no index "+name)
		}
	}
	slices.Sort(r.closed)
	slices.Sort(r.cold)
	return nil
}

// unreadableProblem says why an index can't be read, and names it: Elasticsearch refuses the
// complete request, and old versions don't say for which index.
func unreadableProblem(name string, err error) string {
	if setting := elastic.SettingOf(err); setting != "" {
		return fmt.Sprintf("index %s has %s, so its settings and mappings can't be read: set it to false "+
			"(PUT /%s/_settings), or leave the index out", name, setting, name)
	}
	return "index " + name + " can't be read: " + messageOf(err)
}

func described(found []elastic.Index) []migration.Index {
	indices := make([]migration.Index, len(found))
	for i, index := range found {
		indices[i] = migration.Index{
			Name: index.Name, UUID: index.UUID, Shards: index.Shards, Docs: index.PrimaryDocs,
			Bytes: index.PrimaryBytes, Writes: index.PrimaryWrites,
			Replicas: index.Replicas, RefreshInterval: index.RefreshInterval,
		}
	}
	return indices
}

// existing finds those of the names that are indices, and returns names that are aliases of other
// indices apart. It doesn't read sizes.
func existing(ctx context.Context, client *elastic.Client,
	names []string,
) (found map[string]elastic.Index, aliases []string, err error) {
	if len(names) == 0 {
		return map[string]elastic.Index{}, nil, nil
	}
	return client.Present(ctx, names)
}

func indexNames(indices []elastic.Index) []string {
	names := make([]string, len(indices))
	for i, index := range indices {
		names[i] = index.Name
	}
	return names
}

// sideBySide bounds how many batches of indices one activity asks about at the same time.
const sideBySide = 8
