package activities

import (
	"context"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

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
		found, problems, err := resolve(ctx, client, in.Plan.Indices)
		if err != nil {
			return none, err
		}
		for _, index := range found {
			if !index.Open {
				problems = append(problems, "index "+index.Name+" is closed: open it")
			}
		}
		if len(problems) > 0 {
			return none, fail(migration.ErrorMissing, "resolve the plan's indices on %s: %s", client.Host(),
				strings.Join(problems, "; "))
		}
		return a.lists.indexList(ctx, in.Run, described(found), in)
	})
}

// resolve finds the indices that a plan's names and patterns stand for. A name or pattern that
// matches nothing becomes a problem, in words.
func resolve(ctx context.Context, client *elastic.Client, patterns []string) ([]elastic.Index, []string, error) {
	found := map[string]elastic.Index{}
	var problems []string
	for _, pattern := range patterns {
		matches, err := client.Indices(ctx, pattern)
		if err != nil && elastic.KindOf(err) != elastic.Missing {
			return nil, nil, err
		}
		isPattern := strings.Contains(pattern, "*")
		matched := false
		for _, index := range matches {
			switch {
			case isPattern && strings.HasPrefix(index.Name, "."):
				continue // internal indices only by their full name
			case !isPattern && index.Name != pattern:
				problems = append(problems, pattern+" is an alias of "+index.Name+
					" and not an index: name the index or a pattern (aliases are restored with their index)")
			}
			matched = true
			found[index.Name] = index
		}
		switch {
		case !matched && isPattern:
			problems = append(problems, "no index matches "+pattern)
		case !matched:
			problems = append(problems, "there is no index "+pattern)
		}
	}
	indices := make([]elastic.Index, 0, len(found))
	for _, index := range found {
		indices = append(indices, index)
	}
	slices.SortFunc(indices, func(a, b elastic.Index) int { return strings.Compare(a.Name, b.Name) })
	return indices, problems, nil
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

// sideBySide bounds how many indices one activity asks about at the same time.
const sideBySide = 8

// eachIndex does something for every index, several at the same time. It goes on after a failure
// and returns all failures.
func eachIndex(names []string, do func(name string) error) []error {
	var (
		group    errgroup.Group
		mu       sync.Mutex
		failures []error
	)
	group.SetLimit(sideBySide)
	for _, name := range names {
		group.Go(func() error {
			if err := do(name); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failures = append(failures, err)
			}
			return nil
		})
	}
	_ = group.Wait() // none of them returns an error
	return failures
}
