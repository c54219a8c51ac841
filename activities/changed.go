package activities

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/migration"
)

// FindChanged finds the indices that take part in a round: those that are not what they were when
// the target got them, and those that the target no longer has as they were restored. A doubt means
// that an index takes part. It changes nothing.
func (a *Activities) FindChanged(ctx context.Context, in migration.ChangedRequest) (migration.Changed, error) {
	return perform(ctx, a, "finding the indices that changed",
		func(ctx context.Context, _ *pulse) (migration.Changed, error) {
			c, err := a.comparing(ctx, in)
			if err != nil {
				return migration.Changed{}, err
			}
			client, err := a.cluster(ctx, onSource, in.Run)
			if err != nil {
				return migration.Changed{}, err
			}
			group, groupCtx := errgroup.WithContext(ctx)
			group.Go(func() error { return c.mark(groupCtx, client) })
			group.Go(func() error { return c.lookAtTarget(groupCtx) })
			if err := group.Wait(); err != nil {
				return migration.Changed{}, err
			}
			found, _, err := c.result(ctx)
			return found, err
		})
}

// changeFinder finds out what changed since the last restores.
type changeFinder struct {
	*Activities
	in migration.ChangedRequest // with all its lists
	// doubted are the indices whose marks mean nothing.
	doubted map[string]bool

	marks map[string]elastic.Mark
	// onTarget is what the target has, if the request asks; also of indices that will take part.
	onTarget migration.TargetIndices
	// other are indices that the target doesn't have as they were restored.
	other map[string]bool
}

func (a *Activities) comparing(ctx context.Context, in migration.ChangedRequest) (*changeFinder, error) {
	c := &changeFinder{Activities: a, in: in}
	var err error
	if c.in.Indices, err = fetch(ctx, a.lists, in.Run, in.Indices, in.IndicesOf); err != nil {
		return nil, err
	}
	if c.in.Restored, err = fetch(ctx, a.lists, in.Run, in.Restored, in.RestoredOf); err != nil {
		return nil, err
	}
	if c.in.Expected, err = fetch(ctx, a.lists, in.Run, in.Expected, in.ExpectedOf); err != nil {
		return nil, err
	}
	c.doubted, err = a.lists.doubted(ctx, in.Run, in.Doubted, in.DoubtedOf)
	return c, err
}

// mark takes the marks of the source's indices.
func (c *changeFinder) mark(ctx context.Context, client *elastic.Client) (err error) {
	if len(c.in.Indices) > 0 {
		c.marks, err = client.Marks(ctx, migration.IndexNames(c.in.Indices))
	}
	return err
}

// lookAtTarget finds the indices that the target no longer has as they were restored: somebody may
// have deleted, closed, written to or redefined one. Those that take part anyway are looked at when
// the target is closed.
func (c *changeFinder) lookAtTarget(ctx context.Context) error {
	var names []string
	for _, index := range c.in.Indices {
		if _, known := c.in.Restored[index.Name]; known && !c.doubted[index.Name] {
			names = append(names, index.Name)
		}
	}
	c.other = map[string]bool{}
	if len(names) == 0 || c.in.All {
		return nil
	}
	client, err := c.cluster(ctx, onTarget, c.in.Run)
	if err != nil {
		return err
	}
	expected := targetCounters(c.in.Run, c.in.Expected)
	if expected == nil {
		expected = migration.WriteCounters{} // an index without counters is not known
	}
	compare := comparison{
		docs: true, block: true, definition: true, skip: func(index elastic.Index) bool {
			for _, setting := range archivedIn(index.Settings) {
				if slices.Contains(c.in.IgnoreSettings, setting) {
					c.other[c.in.SourceIndex(index.Name)] = true // the next restore leaves it out
				}
			}
			return false
		},
	}
	if c.in.OnTarget {
		compare.count = func(ctx context.Context, indices []elastic.Index) (migration.WriteCounters, error) {
			return c.markTarget(ctx, client, indices)
		}
	}
	changed, err := changedSince(ctx, client, targetNames(c.in.Run, names), expected, compare)
	for name := range changed {
		c.other[c.in.SourceIndex(name)] = true
	}
	return err
}

// markTarget reads the counters of the target's indices, and keeps what stands of them.
func (c *changeFinder) markTarget(ctx context.Context, client *elastic.Client,
	indices []elastic.Index,
) (migration.WriteCounters, error) {
	var marks map[string]elastic.Mark
	var shards []elastic.ShardCounters
	names := indexNames(indices)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) { marks, err = client.Marks(ctx, names); return err })
	group.Go(func() (err error) { shards, err = client.WriteCounters(ctx, names); return err })
	if err := group.Wait(); err != nil {
		return nil, err
	}
	counted, docs := summed(indices, shards), docsByShard(shards)
	c.onTarget = make(migration.TargetIndices, len(names))
	for _, name := range names {
		mark, counter := marks[name], counted[name]
		counter.Definition = mark.Definition
		counted[name] = counter
		c.onTarget[c.in.SourceIndex(name)] = migration.TargetIndex{IndexMark: markOf(mark), Docs: docs[name]}
	}
	return counted, nil
}

func markOf(mark elastic.Mark) migration.IndexMark {
	return migration.IndexMark{UUID: mark.UUID, Definition: mark.Definition, Shards: mark.Shards}
}

// result sorts the indices out, and stores what is too long for a payload. It names those that take
// part.
func (c *changeFinder) result(ctx context.Context) (migration.Changed, []string, error) {
	var result migration.Changed
	marks := make(migration.IndexMarks, len(c.in.Indices))
	because := map[migration.Reason]*migration.TakenBecause{}
	taking, stands := []migration.Index{}, migration.TargetIndices{}
	for _, index := range c.in.Indices {
		mark := c.marks[index.Name]
		now := markOf(mark)
		reason := c.reason(index.Name, now, mark.Written)
		if reason == "" {
			marks[index.Name] = c.in.Restored[index.Name]
			if on, known := c.onTarget[index.Name]; known {
				stands[index.Name] = on
			}
			result.Skipped++
			continue
		}
		marks[index.Name] = now
		taking = append(taking, index)
		if because[reason] == nil {
			because[reason] = &migration.TakenBecause{Reason: reason}
		}
		because[reason].Indices++
		if first := &because[reason].First; len(*first) < migration.NamedReasons {
			*first = append(*first, index.Name)
		}
	}
	for _, reason := range migration.Reasons() {
		if taken := because[reason]; taken != nil {
			result.Because = append(result.Because, *taken)
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		result.Taking = c.lists.listed(taking)
		if !result.Taking.Stored() {
			return nil
		}
		if result.Skipped == 0 && !c.in.IndicesOf.IsZero() {
			result.Taking.About.IndicesOf = c.in.IndicesOf
			return nil
		}
		var err error
		result.Taking.About.IndicesOf, err = store(ctx, c.lists, c.in.Run, taking)
		return err
	})
	group.Go(func() (err error) {
		// They stand in the workflow's state for good, beside other lists.
		result.Marks, result.MarksOf, err = storeIfLong(ctx, c.lists.shorter(2), c.in.Run, marks)
		return err
	})
	group.Go(func() (err error) {
		result.OnTarget, result.OnTargetOf, err = storeIfLong(ctx, c.lists.shorter(2), c.in.Run, stands)
		return err
	})
	err := group.Wait()
	return result, migration.IndexNames(taking), err
}

// reason is why an index takes part; empty if it doesn't.
func (c *changeFinder) reason(name string, now migration.IndexMark, written bool) migration.Reason {
	before, known := c.in.Restored[name]
	_, restored := c.in.Expected[name]
	switch {
	case c.in.All:
		return migration.ReasonFull
	case c.doubted[name]:
		return migration.ReasonUnknown
	case !known && restored:
		return migration.ReasonUnknown
	case !known:
		return migration.ReasonNew
	case c.other[name] && now.Unchanged(before):
		return migration.ReasonTarget
	case written && before.UUID == now.UUID:
		return migration.ReasonWritten
	}
	return now.WhyChanged(before)
}
