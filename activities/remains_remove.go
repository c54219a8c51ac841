package activities

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"go.temporal.io/sdk/activity"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/migration"
)

// RemoveRemains removes one kind of what the plan's runs left behind. It looks again itself, so
// that no list goes through a history, and so that it may run twice. What a cluster or a store
// refuses keeps nothing else from being removed, and is in the result.
func (a *Activities) RemoveRemains(ctx context.Context, in migration.RemoveRemainsRequest) (migration.Removed, error) {
	return perform(ctx, a, "removing what earlier runs left behind",
		func(ctx context.Context, p *pulse) (migration.Removed, error) {
			result := migration.Removed{Kind: in.Kind}
			l, err := a.search(ctx, in.RemainsRequest, []migration.RemainsKind{in.Kind}, p)
			if err != nil {
				return result, err
			}
			l.found = slices.DeleteFunc(l.found, func(r remnant) bool { return !l.chosen(r) })
			removal := removal{search: l, result: &result}
			do := map[migration.RemainsKind]func(context.Context) error{
				migration.RemainsBlocks:       removal.blocks,
				migration.RemainsRunning:      removal.running,
				migration.RemainsThrottles:    removal.throttles,
				migration.RemainsIndices:      removal.indices,
				migration.RemainsSnapshots:    removal.snapshots,
				migration.RemainsRepositories: removal.repositories,
				migration.RemainsUploads:      removal.uploads,
				migration.RemainsObjects:      removal.objects,
			}[in.Kind]
			if do == nil {
				return result, fail(migration.ErrorRefused, "remove %s: this worker doesn't know that kind", in.Kind)
			}
			p.set(migration.Progress{Doing: "removing " + string(in.Kind)})
			return result, do(ctx)
		})
}

// removal removes what was found and chosen.
type removal struct {
	*search
	result *migration.Removed
}

// left notes what failed for good. Any other failure ends the attempt: a retry may fix it.
func (r *removal) left(count int64, what string, err error) error {
	if err == nil || !permanent(err) {
		return err
	}
	r.result.Leave(count, what+": "+messageOf(err))
	return nil
}

// batches are so many indices at a time: before each, it makes sure again that no run has begun.
const removalBatch = 100

// batch gives what was found in batches.
func (r *removal) batches(ctx context.Context, do func(batch map[string]remnant) error) error {
	for batch := range slices.Chunk(r.found, removalBatch) {
		if err := r.notRunning(ctx, r.request.Plan); err != nil {
			return err
		}
		byName := map[string]remnant{}
		for _, found := range batch {
			byName[found.name] = found
		}
		if err := do(byName); err != nil {
			return err
		}
		r.pulse.set(migration.Progress{Doing: fmt.Sprintf("removing %s (%d of %d)", r.result.Kind, r.result.Count,
			len(r.found))})
	}
	return nil
}

// blocks removes write blocks from the source. Each index then has the blocks that it had of
// itself.
func (r *removal) blocks(ctx context.Context) error {
	client, err := r.cluster(ctx, onSource, migration.Run{Plan: r.request.Plan})
	if err != nil {
		return err
	}
	return r.batches(ctx, func(batch map[string]remnant) error {
		var indices []migration.SourceIndex
		for _, name := range slices.Sorted(maps.Keys(batch)) {
			indices = append(indices, migration.SourceIndex{
				Name: name, UUID: batch[name].uuid,
				Blocks: batch[name].blocks,
			})
		}
		refused, err := r.unblock(ctx, client, indices, activity.GetInfo(ctx).Attempt, r.pulse)
		for _, refusal := range refused {
			r.result.Leave(1, refusal.Message+" "+refusal.Remedy)
		}
		r.result.Count += int64(len(batch) - len(refused))
		return err
	})
}

// running stops snapshots of ours.
func (r *removal) running(ctx context.Context) error {
	for _, found := range r.found {
		client, err := r.cluster(ctx, onSource, found.run)
		if err == nil {
			err = r.stopSnapshot(ctx, client, found.run.RepositoryName(), found.name, r.pulse)
		}
		if err != nil {
			if err := r.left(1, "snapshot "+found.name, err); err != nil {
				return err
			}
			continue
		}
		r.result.Count++
	}
	return nil
}

// throttles restores limits.
func (r *removal) throttles(ctx context.Context) error {
	var limits []*throttle
	for _, found := range r.found {
		client, err := r.cluster(ctx, found.at, found.run)
		if err != nil {
			return err
		}
		switch {
		case found.run.Token == "":
			limits = append(limits, recoveryLimit(client, found.want))
		case found.at == onSource:
			limits = append(limits, repositoryLimit(client, found.run, snapshotThrottle, found.want,
				r.keys.sourceRegistration))
		default:
			limits = append(limits, repositoryLimit(client, found.run, restoreThrottle, found.want,
				r.keys.targetRegistration(ctx)))
		}
	}
	failed := r.apply(ctx, r.pulse, limits)
	for _, t := range failed {
		if err := r.left(1, t.what, t.err); err != nil {
			return err
		}
	}
	r.result.Count = int64(len(limits) - len(failed))
	return nil
}

// indices deletes indices on the target. Right before that, each must still be the one that was
// found, behind our block.
func (r *removal) indices(ctx context.Context) error {
	client, err := r.cluster(ctx, onTarget, migration.Run{Plan: r.request.Plan})
	if err != nil {
		return err
	}
	return r.batches(ctx, func(batch map[string]remnant) error {
		present, _, err := existing(ctx, client, slices.Sorted(maps.Keys(batch)))
		if err != nil {
			return err
		}
		measured := slices.Collect(maps.Values(present))
		if err := client.Measure(ctx, measured); err != nil {
			return err
		}
		for _, index := range measured {
			name := index.Name
			ours := batch[name].run.Plan.Rehearsal || hasOurBlock(index)
			if batch[name].tried {
				ours = isThrowAway(index)
			}
			if index.UUID != batch[name].uuid || !ours {
				r.result.Leave(1, "index "+name+" is another one now, or somebody has opened it for writes: it stays")
				delete(present, name)
			}
		}
		names := slices.Sorted(maps.Keys(present))
		if len(names) == 0 {
			return nil
		}
		if err := r.whenFree(ctx, r.pulse, func() error { return client.DeleteIndices(ctx, names) }); err != nil {
			return r.left(int64(len(names)), named("indices ", names), err)
		}
		for _, name := range names {
			r.result.Bytes += batch[name].bytes
		}
		r.result.Count += int64(len(names))
		return nil
	})
}

// snapshots has the source delete the snapshots of our repositories, so that the cluster deletes
// their objects in S3.
func (r *removal) snapshots(ctx context.Context) error {
	for _, run := range r.runsFound() {
		client, err := r.cluster(ctx, onSource, run)
		if err != nil {
			return err
		}
		deleted, err := r.deleteSnapshots(ctx, client, run.RepositoryName(), r.pulse)
		r.result.Count += int64(deleted)
		if err := r.left(1, "the snapshots of "+run.RepositoryName(), err); err != nil {
			return err
		}
	}
	return nil
}

// runsFound are the runs of what was found, once each.
func (r *removal) runsFound() (runs []migration.Run) {
	for _, found := range r.found {
		if !slices.ContainsFunc(runs, func(run migration.Run) bool {
			return run.RepositoryName() == found.run.RepositoryName()
		}) {
			runs = append(runs, found.run)
		}
	}
	return runs
}

// repositories unregisters repositories, those of the target first: they hold a key.
func (r *removal) repositories(ctx context.Context) error {
	slices.SortStableFunc(r.found, func(a, b remnant) int {
		if a.at == b.at {
			return 0
		} else if a.at == onTarget {
			return -1
		}
		return 1
	})
	for _, found := range r.found {
		client, err := r.cluster(ctx, found.at, found.run)
		if err == nil {
			err = r.whenFree(ctx, r.pulse, func() error { return client.DeleteRepository(ctx, found.name) })
		}
		if err != nil {
			if err := r.left(1, "repository "+found.name, err); err != nil {
				return err
			}
			continue
		}
		r.result.Count++
	}
	return nil
}

// tokensFound are the tokens of what was found, once each.
func (r *removal) tokensFound() (tokens []string) {
	for _, found := range r.found {
		tokens = append(tokens, found.token)
	}
	slices.Sort(tokens)
	return slices.Compact(tokens)
}

// uploads ends the unfinished uploads in OSS.
func (r *removal) uploads(ctx context.Context) error {
	sink, err := r.inOSS(ctx, r.request.Plan)
	if err != nil {
		return err
	}
	for _, token := range r.tokensFound() {
		ended, err := endUploads(ctx, sink, token+"/")
		r.result.Count += int64(ended)
		if err := r.left(1, "the uploads below "+token+"/", err); err != nil {
			return err
		}
	}
	return nil
}

// objects deletes the objects in a run's folders, and nothing beside them. A cluster that still has
// the repository registered could write there again.
func (r *removal) objects(ctx context.Context) error {
	for _, found := range r.found {
		if slices.ContainsFunc(r.registered, func(g registration) bool { return g.run.Token == found.token }) {
			r.result.Leave(found.count, found.where+": a repository is still registered for it")
			continue
		}
		if err := r.notRunning(ctx, r.request.Plan); err != nil {
			return err
		}
		store, _, err := r.bucketOf(ctx, found.at)
		if err != nil {
			return err
		}
		var deleted usage
		for _, folder := range foldersOf(found.token) {
			var more usage
			more, err = deleteObjects(ctx, store, folder, r.request.Plan.Copy.Concurrency, r.pulse,
				"deleting the objects in "+found.where)
			deleted.objects += more.objects
			deleted.bytes += more.bytes
			if err != nil {
				break
			}
		}
		r.result.Count += deleted.objects
		r.result.Bytes += deleted.bytes
		why := found.where
		if objectstore.KindOf(err) == objectstore.Forbidden && found.at == onSource {
			why += ": the worker may not delete there. Give it s3:DeleteObject (`starter iam`), or delete the folder"
		}
		if err := r.left(found.count-deleted.objects, why, err); err != nil {
			return err
		}
	}
	return nil
}
