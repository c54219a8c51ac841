package activities

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"

	"go.temporal.io/sdk/activity"
	"golang.org/x/sync/errgroup"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/migration"
)

// targetNames are the names of indices on the target: requests give those on the source. In a
// rehearsal the two differ.
func targetNames(run migration.Run, names []string) []string {
	renamed := make([]string, len(names))
	for i, name := range names {
		renamed[i] = run.TargetIndex(name)
	}
	return renamed
}

func targetIndices(run migration.Run, indices []migration.Index) []migration.Index {
	renamed := slices.Clone(indices)
	for i := range renamed {
		renamed[i].Name = run.TargetIndex(renamed[i].Name)
	}
	return renamed
}

func targetCounters(run migration.Run, counters migration.WriteCounters) migration.WriteCounters {
	return renamed(counters, run.TargetIndex)
}

// renamed is a map by index with other names; nil stays nil.
func renamed[M ~map[string]V, V any](byIndex M, rename func(string) string) M {
	if byIndex == nil {
		return nil
	}
	result := make(M, len(byIndex))
	for name, value := range byIndex {
		result[rename(name)] = value
	}
	return result
}

// onlyOfRehearsal makes sure that nothing of a migration is deleted.
func onlyOfRehearsal(run migration.Run, what string) error {
	if !run.Plan.Rehearsal || run.Token == "" {
		return fail(migration.ErrorRefused, "delete %s: only a rehearsal deletes, and this is a migration", what)
	}
	return nil
}

// DeleteRehearsedIndices deletes the indices that a rehearsal restored to the target, which also
// ends a restore that still runs. An index that the rehearsal didn't restore stays, whatever its
// name is, and is named in the result.
func (a *Activities) DeleteRehearsedIndices(ctx context.Context,
	in migration.RehearsedIndicesRequest,
) (migration.DeletedIndices, error) {
	return perform(ctx, a, "deleting the rehearsal's indices",
		func(ctx context.Context, p *pulse) (migration.DeletedIndices, error) {
			var result migration.DeletedIndices
			if err := onlyOfRehearsal(in.Run, "indices on the target"); err != nil {
				return result, err
			}
			client, err := a.cluster(ctx, onTarget, in.Run)
			if err != nil {
				return result, err
			}
			in, err := a.lists.rehearsed(ctx, in)
			if err != nil {
				return result, err
			}
			ours := migration.CloseRequest{
				Expected: targetCounters(in.Run, in.Expected),
				Begun:    targetNames(in.Run, in.Begun),
			}
			names := rehearsedNames(in)
			found, _, err := existing(ctx, client, names)
			if err != nil {
				return result, err
			}
			var open, toDelete []string
			for _, name := range slices.Sorted(maps.Keys(found)) {
				if found[name].Open {
					open = append(open, name)
				}
			}
			origins, err := originsOf(ctx, client, in.RepositoryName(), open)
			if err != nil {
				return result, err
			}
			for _, name := range slices.Sorted(maps.Keys(found)) {
				if known(ours, found[name], origins[name]) || origins[name].ours() {
					toDelete = append(toDelete, name)
				} else {
					result.Left = append(result.Left, name)
				}
			}
			if len(toDelete) == 0 {
				return result, nil
			}
			if err := a.whenFree(ctx, p, func() error { return client.DeleteIndices(ctx, toDelete) }); err != nil {
				return result, err
			}
			if found, _, err = existing(ctx, client, toDelete); err != nil {
				return result, err
			}
			if left := slices.Sorted(maps.Keys(found)); len(left) > 0 {
				return result, passing(retryInternal, "delete the rehearsal's indices on "+client.Host()+": "+
					named("these are still there: ", left), 0)
			}
			result.Deleted = len(toDelete)
			return result, nil
		})
}

// rehearsedNames are the target's names of all indices that a rehearsal may have restored,
// including those that were deleted on the source since.
func rehearsedNames(in migration.RehearsedIndicesRequest) []string {
	names := slices.Concat(migration.IndexNames(in.Indices), slices.Collect(maps.Keys(in.Expected)), in.Begun)
	slices.Sort(names)
	return targetNames(in.Run, slices.Compact(names))
}

// DeleteSnapshots has the source delete every snapshot of a rehearsal's repository, one after
// another, so that the cluster deletes their objects in S3. That also stops one that still runs. At
// the end it counts what is left in S3: the worker's key may not delete there.
func (a *Activities) DeleteSnapshots(ctx context.Context, run migration.Run) (migration.DeletedSnapshots, error) {
	return perform(ctx, a, "deleting the rehearsal's snapshots",
		func(ctx context.Context, p *pulse) (migration.DeletedSnapshots, error) {
			var result migration.DeletedSnapshots
			if err := onlyOfRehearsal(run, "snapshots"); err != nil {
				return result, err
			}
			client, err := a.cluster(ctx, onSource, run)
			if err != nil {
				return result, err
			}
			if result.Deleted, err = a.deleteSnapshots(ctx, client, run.RepositoryName(), p); err != nil {
				return result, err
			}
			left, err := a.below(ctx, run, onSource)
			if err != nil {
				if canceled(err) {
					return result, err
				}
				result.Unseen = messageOf(err)
			}
			result.LeftObjects, result.LeftBytes = left.objects, left.bytes
			return result, nil
		})
}

func (a *Activities) deleteSnapshots(ctx context.Context, client *elastic.Client, repository string,
	p *pulse,
) (deleted int, err error) {
	pace := a.slotPace()
	for {
		snapshots, err := client.Snapshots(ctx, repository)
		if elastic.KindOf(err) == elastic.Missing {
			return deleted, nil // an earlier attempt has unregistered it, or nothing ever registered it
		}
		if err != nil || len(snapshots) == 0 {
			return deleted, err
		}
		oldest := snapshots[0].Name
		p.set(migration.Progress{Doing: fmt.Sprintf("deleting snapshot %s (%d left)", oldest, len(snapshots))})
		err = client.DeleteSnapshot(ctx, repository, oldest)
		switch elastic.KindOf(err) {
		case elastic.Missing:
			pace = a.slotPace()
			continue
		case elastic.OutcomeUnknown, elastic.SlotTaken:
			p.update(func(progress *migration.Progress) { progress.Waiting = err.Error() })
		case elastic.None:
			deleted++
			pace = a.slotPace()
			continue
		default:
			return deleted, err
		}
		if err := a.wait(ctx, &pace); err != nil {
			return deleted, err
		}
	}
}

// DeleteCopies deletes every object below a rehearsal's base path in OSS, and aborts the uploads
// that an interrupted copy left there. It deletes nothing else: the path ends with the run's token.
func (a *Activities) DeleteCopies(ctx context.Context, run migration.Run) (migration.DeletedCopies, error) {
	return perform(ctx, a, "deleting the rehearsal's objects in OSS",
		func(ctx context.Context, p *pulse) (migration.DeletedCopies, error) {
			if err := onlyOfRehearsal(run, "objects in OSS"); err != nil {
				return migration.DeletedCopies{}, err
			}
			sink, err := a.sink(ctx, run)
			if err != nil {
				return migration.DeletedCopies{}, err
			}
			uploads, err := endUploads(ctx, sink, "")
			if err != nil {
				return migration.DeletedCopies{}, err
			}
			deleted, err := deleteObjects(ctx, sink, "", run.Plan.Copy.Concurrency, p,
				"deleting the rehearsal's objects in OSS")
			return migration.DeletedCopies{Objects: deleted.objects, Bytes: deleted.bytes, Uploads: uploads}, err
		})
}

// deleteObjects deletes every object below a prefix, and says what it has deleted.
func deleteObjects(ctx context.Context, store bucket, prefix string, concurrency int, p *pulse,
	doing string,
) (usage, error) {
	var (
		objects, bytes atomic.Int64
		err            error
	)
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(max(concurrency, 1))
	for object, listErr := range store.List(groupCtx, prefix) {
		if err = listErr; err != nil {
			break
		}
		group.Go(func() error {
			if err := store.Delete(groupCtx, object.Key); err != nil {
				return err
			}
			p.set(migration.Progress{
				Doing:     doing,
				BlobsDone: objects.Add(1),
				BytesDone: bytes.Add(object.Size),
			})
			return nil
		})
	}
	if failed := group.Wait(); failed != nil {
		err = failed // it also ended the listing
	}
	return usage{objects.Load(), bytes.Load()}, err
}

// endUploads aborts the uploads in progress below a prefix. A copy whose key may not list uploads
// aborts its own when it fails, so then there is nothing to do here.
func endUploads(ctx context.Context, sink objectstore.Sink, prefix string) (int, error) {
	uploads, err := sink.ListUploads(ctx, prefix)
	if objectstore.KindOf(err) == objectstore.Forbidden {
		activity.GetLogger(ctx).Warn("listing the uploads that an interrupted copy left in OSS failed", "error", err)
		return 0, nil
	}
	for _, upload := range uploads {
		if err := sink.Abort(ctx, upload); err != nil {
			return 0, err
		}
	}
	return len(uploads), err
}

// MeasureFootprint measures how much room a rehearsal's indices and snapshots take.
func (a *Activities) MeasureFootprint(ctx context.Context,
	in migration.RehearsedIndicesRequest,
) (migration.Footprint, error) {
	return perform(ctx, a, "measuring the room that the rehearsal takes",
		func(ctx context.Context, _ *pulse) (migration.Footprint, error) {
			var footprint migration.Footprint
			in, err := a.lists.rehearsed(ctx, in)
			if err != nil {
				return footprint, err
			}
			client, err := a.cluster(ctx, onTarget, in.Run)
			if err != nil {
				return footprint, err
			}
			replicas := map[string]int{}
			for _, index := range in.Indices {
				replicas[in.TargetIndex(index.Name)] = index.Replicas
			}
			indices, err := client.Indices(ctx, slices.Sorted(maps.Keys(replicas))...)
			if err != nil {
				return footprint, err
			}
			for _, index := range indices {
				footprint.TargetBytes += index.PrimaryBytes * int64(1+in.Plan.Restore.Replicas)
				footprint.TargetBytesAfterCutover += index.PrimaryBytes * int64(1+replicas[index.Name])
			}
			inS3, err := a.below(ctx, in.Run, onSource)
			if err != nil {
				return footprint, err
			}
			inOSS, err := a.below(ctx, in.Run, onTarget)
			footprint.S3Bytes, footprint.S3Objects = inS3.bytes, inS3.objects
			footprint.OSSBytes, footprint.OSSObjects = inOSS.bytes, inOSS.objects
			return footprint, err
		})
}

// usage is what stands below a base path.
type usage struct{ objects, bytes int64 }

// below counts the objects and bytes below the run's base path, in S3 or in OSS.
func (a *Activities) below(ctx context.Context, run migration.Run, at side) (sum usage, err error) {
	var reader objectstore.Reader
	if at == onSource {
		reader, err = a.source(ctx, run)
	} else {
		reader, err = a.sink(ctx, run)
	}
	if err != nil {
		return usage{}, err
	}
	return usageBelow(ctx, reader, "")
}

func usageBelow(ctx context.Context, reader objectstore.Reader, prefix string) (sum usage, err error) {
	for object, err := range reader.List(ctx, prefix) {
		if err != nil {
			return usage{}, err
		}
		sum.objects++
		sum.bytes += object.Size
	}
	return sum, nil
}
