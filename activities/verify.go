package activities

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/migration"
)

// VerifyTarget proves that the target holds what the frozen source holds: the same number of
// documents in each shard and in each index and, unless the plan says otherwise, the same checksum
// over type, id, routing and version of every document. Differences of settings, mappings and
// aliases are reported and decide nothing.
//
// In a rehearsal the source isn't frozen, so no difference decides anything. VerifyTarget then
// compares with what the source holds at the start.
func (a *Activities) VerifyTarget(ctx context.Context, in migration.VerifyRequest) (migration.VerifyResult, error) {
	return perform(ctx, a, "comparing the target with the source",
		func(ctx context.Context, p *pulse) (migration.VerifyResult, error) {
			in, err := a.lists.verified(ctx, in)
			if err != nil {
				return migration.VerifyResult{}, err
			}
			v := verifying{Activities: a, in: in, pulse: p, sleep: a.sleep}
			if v.from, err = a.cluster(ctx, onSource, in.Run); err != nil {
				return migration.VerifyResult{}, err
			}
			if v.to, err = a.cluster(ctx, onTarget, in.Run); err != nil {
				return migration.VerifyResult{}, err
			}
			if v.defining, err = newDefining(ctx, in.Run, v.from, v.to); err != nil {
				return migration.VerifyResult{}, err
			}
			verdicts, metadata, err := v.run(ctx)
			if err != nil {
				return migration.VerifyResult{}, err
			}
			if in.Plan.Rehearsal {
				return rehearsedResult(verdicts, metadata, in.Most), nil
			}
			message := unequal(verdicts)
			result := boundedResult(verdicts, in.Most)
			if message != "" {
				result = failedResult(verdicts, in.Most)
			}
			result.Evidence = evidenceOf(verdicts)
			if result.Unlisted != nil {
				if result.Unlisted.AllOf, err = store(ctx, a.lists, in.Run, verdicts); err != nil {
					return migration.VerifyResult{}, err
				}
			}
			if message != "" {
				return migration.VerifyResult{}, failWith(migration.ErrorVerification, result,
					"compare %s with %s: %s", v.to.Host(), v.from.Host(), message)
			}
			return result, nil
		})
}

// verified is a request to verify with all its lists.
func (l lists) verified(ctx context.Context, in migration.VerifyRequest) (migration.VerifyRequest, error) {
	group, ctx := errgroup.WithContext(ctx)
	fetching(ctx, group, l, in.Run, &in.Indices, in.IndicesOf)
	fetching(ctx, group, l, in.Run, &in.Frozen, in.FrozenOf)
	fetching(ctx, group, l, in.Run, &in.Counters, in.CountersOf)
	fetching(ctx, group, l, in.Run, &in.Seen, in.SeenOf)
	fetching(ctx, group, l, in.Run, &in.Marks, in.MarksOf)
	fetching(ctx, group, l, in.Run, &in.Taken, in.TakenOf)
	// Without these, everything is asked and read.
	fetchingIfThere(ctx, group, l, in.Run, &in.OnTarget, in.OnTargetOf)
	fetchingIfThere(ctx, group, l, in.Run, &in.Proofs, in.ProofsOf)
	err := group.Wait()
	return in, err
}

// fetching fetches a list beside others, into where it belongs.
func fetching[T any](ctx context.Context, group *errgroup.Group, l lists, run migration.Run, list *T,
	stored migration.Stored[T],
) {
	group.Go(func() (err error) {
		*list, err = fetch(ctx, l, run, *list, stored)
		return err
	})
}

// fetchingIfThere fetches a list that nobody needs: one that is lost is empty.
func fetchingIfThere[T any](ctx context.Context, group *errgroup.Group, l lists, run migration.Run, list *T,
	stored migration.Stored[T],
) {
	group.Go(func() error {
		found, err := fetch(ctx, l, run, *list, stored)
		if lost(err) {
			var none T
			found, err = none, nil
		}
		*list = found
		return err
	})
}

// verifying is one comparison.
type verifying struct {
	*Activities
	in       migration.VerifyRequest
	pulse    *pulse
	sleep    func(context.Context, time.Duration) error
	from, to *elastic.Client
	defining defining

	names    []string
	restored migration.ShardDocs
	// written says by index, in words, what is not as the last restore left it.
	written map[string]string
	// counted are the documents that searches find, by index; of those that could be counted
	// together with others.
	counted map[*elastic.Client]map[string]int64
	read    atomic.Int64 // documents, on both clusters
	// taken are the indices of the last restore.
	taken map[string]bool
	// target are the marks of the target's indices, by their names on the source.
	target map[string]elastic.Mark
}

// indicesAtOnce bounds the indices that are read on each cluster. Several shards of an index are
// read at the same time already.
const indicesAtOnce = 2

// shape is what has to be known of an index to read it on both clusters.
type shape struct {
	name           string
	source, target map[string]string
}

// run returns a verdict on each index, and what differs in settings, mappings and aliases of each.
func (v *verifying) run(ctx context.Context) (results []migration.IndexResult, differences map[string][]string,
	err error,
) {
	if err := v.count(ctx); err != nil {
		return nil, nil, err
	}
	v.taken = make(map[string]bool, len(v.in.Taken))
	for _, index := range v.in.Taken {
		v.taken[index.Name] = true
	}
	// What the metadata says comes first, a few indices ahead of the documents.
	differences = make(map[string][]string, len(v.names))
	results = make([]migration.IndexResult, len(v.names))
	at := make(map[string]int, len(v.names))
	for i, name := range v.names {
		at[name] = i
	}
	shapes := make(chan shape)
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(shapes)
		return v.metadata(groupCtx, v.names, func(s shape, found []string) error {
			differences[s.name] = found
			select {
			case shapes <- s:
				return nil
			case <-groupCtx.Done():
				return groupCtx.Err()
			}
		})
	})
	for range indicesAtOnce {
		group.Go(func() error {
			for s := range shapes {
				var err error
				if results[at[s.name]], err = v.again(groupCtx, s); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, nil, err
	}
	for i := range results {
		results[i].Differences = few(append(results[i].Differences, differences[results[i].Name]...))
	}
	return results, differences, v.markMoved(ctx, results)
}

// markMoved says which of the unequal indices took writes since the snapshot of a rehearsal.
func (v *verifying) markMoved(ctx context.Context, results []migration.IndexResult) error {
	var unequal []string
	for _, result := range results {
		if _, known := v.in.Seen[result.Name]; known && !result.Equal {
			unequal = append(unequal, result.Name)
		}
	}
	if len(unequal) == 0 {
		return nil
	}
	found, err := v.from.Indices(ctx, unequal...) // which is how Seen was counted
	if elastic.KindOf(err) == elastic.Missing {
		return nil // one is gone: whoever looks at all of them next sees that
	}
	if err != nil {
		return err
	}
	now := migration.CountedWrites(described(found))
	for i := range results {
		if !results[i].Equal {
			results[i].Moved = migration.MovedSince(results[i].Name, now, v.in.Seen)
		}
	}
	return nil
}

// count finds out what has to be asked about each index. What stands since before the freeze, as it
// was proven, needs no request: the time follows what has changed, not what there is. Of the others it
// takes the target's marks, and counts what its shards have and what searches find.
func (v *verifying) count(ctx context.Context) error {
	v.names = migration.IndexNames(v.in.Indices)
	v.target, v.restored = map[string]elastic.Mark{}, migration.ShardDocs{}
	v.written = map[string]string{}
	for name, on := range v.in.OnTarget {
		v.target[name] = elastic.Mark{
			UUID: on.UUID, Definition: on.Definition, Shards: on.Shards,
			Lives: make([]elastic.Life, len(on.Shards)), // not known
		}
		v.restored[name] = on.Docs
	}
	asked := v.moving(v.names)
	group, groupCtx := errgroup.WithContext(ctx)
	var marks map[string]elastic.Mark
	group.Go(func() (err error) { marks, err = v.markTarget(groupCtx, asked); return err })
	group.Go(func() error { return v.countTarget(groupCtx, asked) })
	if v.in.Plan.Rehearsal {
		group.Go(func() (err error) {
			// As AwaitStandstill does: a snapshot holds documents that a search may not find yet.
			if err := v.from.Refresh(groupCtx, v.names); err != nil {
				return err
			}
			v.in.Frozen, err = shardDocs(groupCtx, v.from, v.names)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, name := range asked {
		v.target[name] = marks[name]
	}
	searched := v.moving(asked)
	var source, target map[string]int64
	err := both(ctx, v.from, v.to, &source, &target,
		func(ctx context.Context, client *elastic.Client) (map[string]int64, error) {
			return countTogether(ctx, client, v.at(client, searched...)), nil
		})
	v.counted = map[*elastic.Client]map[string]int64{v.from: source, v.to: target}
	return err
}

func shardDocs(ctx context.Context, client *elastic.Client, indices []string) (migration.ShardDocs, error) {
	counts, err := client.DocCounts(ctx, indices)
	if err != nil {
		return nil, err
	}
	docs := migration.ShardDocs{}
	for _, count := range counts { // sorted by index and shard, and none is missing
		docs[count.Index] = append(docs[count.Index], count.Docs)
	}
	return docs, nil
}

// moving are those of the indices of which not everything is known to be as it was proven.
func (v *verifying) moving(names []string) (moving []string) {
	for _, name := range names {
		if !v.standing(name) {
			moving = append(moving, name)
		}
	}
	return moving
}

// countTarget reads how many documents each shard of the target has, and whether somebody wrote
// there.
func (v *verifying) countTarget(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return nil
	}
	onTarget := targetNames(v.in.Run, names)
	if err := v.to.Refresh(ctx, onTarget); err != nil {
		return err
	}
	shards, err := v.to.WriteCounters(ctx, onTarget)
	if err != nil {
		return err
	}
	maps.Copy(v.restored, renamed(docsByShard(shards), v.in.SourceIndex))
	written, err := changedSince(ctx, v.to, onTarget, targetCounters(v.in.Run, v.in.Counters), comparison{
		block: true, count: func(_ context.Context, indices []elastic.Index) (migration.WriteCounters, error) {
			return summed(indices, shards), nil
		},
	})
	v.written = renamed(written, v.in.SourceIndex)
	return err
}

// countTogether counts what searches find, many indices in a request. It leaves out those that a
// cluster doesn't count: who asks for one of them alone learns why.
func countTogether(ctx context.Context, client *elastic.Client, names []string) map[string]int64 {
	var mu sync.Mutex
	all := map[string]int64{}
	_, _ = atOnce(names, func(batch []string) error {
		counts, err := client.Counts(ctx, batch)
		mu.Lock()
		defer mu.Unlock()
		maps.Copy(all, counts)
		return err
	})
	return all
}

// indexTries is how often an index is read that the cluster couldn't give: a scroll that expired or
// a node that restarted must not cost the work on all others.
const (
	indexTries = 3
	indexPause = 2 * time.Second
)

// again compares an index, and begins again with it a few times if it wasn't available.
func (v *verifying) again(ctx context.Context, s shape) (migration.IndexResult, error) {
	for try := 1; ; try++ {
		result, err := v.index(ctx, s)
		if elastic.KindOf(err) != elastic.Unavailable || try == indexTries {
			return result, err
		}
		if err := v.sleep(ctx, indexPause); err != nil {
			return result, err
		}
	}
}

// index compares the documents of one index.
func (v *verifying) index(ctx context.Context, s shape) (migration.IndexResult, error) {
	result := migration.IndexResult{Name: s.name, Equal: true}
	differs := func(format string, args ...any) {
		result.Equal = false
		result.Differences = append(result.Differences, fmt.Sprintf(format, args...))
	}
	// A document that was overwritten leaves every count as it was.
	if change := v.written[s.name]; change != "" {
		differs("somebody may have written to the target since the last restore: %s", change)
	}
	frozen, restored := v.in.Frozen[s.name], v.restored[s.name]
	switch {
	case len(frozen) == 0:
		differs("the source's documents were not counted in the freeze")
	case len(frozen) != len(restored):
		differs("it has %d shards on the source and %d on the target", len(frozen), len(restored))
	default:
		for shard := range frozen {
			if frozen[shard] != restored[shard] {
				differs("shard %d has %d documents on the source and %d on the target", shard, frozen[shard],
					restored[shard])
			}
		}
	}
	err := v.documents(ctx, s, &result, differs)
	v.files(s.name, &result, differs)
	if elastic.KindOf(err) == elastic.Blocked {
		return result, fail(migration.ErrorRefused, "compare index %s: it can't be read: %v. Remove the block "+
			"index.blocks.read from it", s.name, err)
	}
	return result, err
}

// at are the names that indices have on one of the clusters.
func (v *verifying) at(client *elastic.Client, names ...string) []string {
	if client == v.to {
		return targetNames(v.in.Run, names)
	}
	return names
}

func (v *verifying) docs() int64 {
	var total int64
	for _, shards := range v.in.Frozen {
		total += sum(shards)
	}
	return total
}

func sum(shards []int64) (total int64) {
	for _, docs := range shards {
		total += docs
	}
	return total
}

func hex(sum elastic.Checksum) string { return fmt.Sprintf("%016x%016x", sum.Sum, sum.Xor) }

// both asks the two clusters the same question at the same time.
func both[T any](ctx context.Context, from, to *elastic.Client, source, target *T,
	ask func(context.Context, *elastic.Client) (T, error),
) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) { *source, err = ask(ctx, from); return err })
	group.Go(func() (err error) { *target, err = ask(ctx, to); return err })
	return group.Wait()
}
