package activities

import (
	"context"
	"fmt"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/migration"
)

// WatchWrites counts what is written to the plan's indices within a time. It changes nothing.
func (a *Activities) WatchWrites(ctx context.Context, in migration.WatchWritesRequest) (migration.Written, error) {
	return perform(ctx, a, fmt.Sprintf("watching for %s what is written on the source", in.For),
		func(ctx context.Context, _ *pulse) (migration.Written, error) {
			var none migration.Written
			client, err := a.cluster(ctx, onSource, in.Run)
			if err != nil {
				return none, err
			}
			_, before, err := loadsOfPlan(ctx, client, in.Plan)
			if err != nil {
				return none, err
			}
			began := a.now()
			if err := a.sleep(ctx, in.For.Std()); err != nil {
				return none, err
			}
			indices, after, err := loadsOfPlan(ctx, client, in.Plan)
			if err != nil {
				return none, err
			}
			found := written(indices, before, after)
			found.Millis = max(a.now().Sub(began).Milliseconds(), 1)
			return found, nil
		})
}

// loadsOfPlan gives the load of each index that a round would take now.
func loadsOfPlan(ctx context.Context, client *elastic.Client, plan migration.Plan,
) ([]elastic.Index, map[string]elastic.Load, error) {
	cold, _, err := coldIndices(ctx, client, plan)
	if err != nil {
		return nil, nil, err
	}
	found, err := resolvePlan(ctx, client, plan, cold)
	if err != nil {
		return nil, nil, err
	}
	loads, err := client.Loads(ctx, indexNames(found.indices))
	return found.indices, loads, err
}

// written is what came between two looks at the indices. Of a shard that was started again in between
// only what came since then is known. Of an index that is new, everything came.
func written(indices []elastic.Index, before, after map[string]elastic.Load) migration.Written {
	var w migration.Written
	var all elastic.Load
	for _, load := range after {
		all.Docs, all.Deleted, all.Bytes = all.Docs+load.Docs, all.Deleted+load.Deleted, all.Bytes+load.Bytes
	}
	since := func(now, then int64) int64 {
		if now < then {
			return now
		}
		return now - then
	}
	for _, index := range indices {
		now, then := after[index.Name], before[index.Name]
		indexed, deleted := since(now.IndexTotal, then.IndexTotal), since(now.DeleteTotal, then.DeleteTotal)
		if indexed+deleted == 0 {
			continue
		}
		w.Indexed, w.Deleted = w.Indexed+indexed, w.Deleted+deleted
		w.Indices, w.Shards, w.Bytes = w.Indices+1, w.Shards+index.Shards, w.Bytes+now.Bytes
		perDoc := bytesPerDoc(now)
		if perDoc == 0 { // nothing of it was refreshed yet
			perDoc = bytesPerDoc(all)
		}
		w.NewBytes += int64(perDoc * float64(indexed))
		if now.IndexTotal > 0 {
			w.MergedBytes += int64(float64(now.MergedBytes) / float64(now.IndexTotal) * float64(indexed))
		}
	}
	return w
}

// bytesPerDoc is 0 if there is no document.
func bytesPerDoc(l elastic.Load) float64 {
	if docs := l.Docs + l.Deleted; docs > 0 {
		return float64(l.Bytes) / float64(docs)
	}
	return 0
}
