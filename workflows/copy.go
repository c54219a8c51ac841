package workflows

import (
	"fmt"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// Copy carries one snapshot to OSS and publishes it: what Migration does in each
// round, for whoever has a snapshot and no migration. A failure that no retry by
// itself can mend is its error.
func Copy(ctx workflow.Context, request migration.CopyRequest) (migration.CopyResult, error) {
	c := ferry{
		options:  func(o workflow.ActivityOptions) workflow.ActivityOptions { return o },
		nextPage: func(ctx workflow.Context) error { return ctx.Err() },
	}
	if err := workflow.SetQueryHandler(ctx, migration.QueryBandwidth, func() (int64, error) { return c.share(request.Plan.Copy.Bandwidth.Bytes()), nil }); err != nil {
		return migration.CopyResult{}, err
	}
	return c.carry(ctx, request)
}

// movesTolerated is how often a copy begins again by itself because the
// repository in S3 changed meanwhile.
const movesTolerated = 5

// ferry carries snapshots, and knows how far it is.
type ferry struct {
	// options adapts the activities' options to the moment.
	options func(workflow.ActivityOptions) workflow.ActivityOptions
	// nextPage waits until the next page may begin; an error ends the copy.
	nextPage func(workflow.Context) error
	// inFlight counts the activities that carry blobs.
	inFlight int
	progress *migration.CopyProgress
}

// carry copies a snapshot and publishes it. A small delta takes one activity; a
// large one is carried in pages, many at once, on whatever workers there are.
func (f *ferry) carry(ctx workflow.Context, request migration.CopyRequest) (migration.CopyResult, error) {
	defer func() { f.progress = nil }()
	for range movesTolerated {
		f.progress = nil
		f.inFlight++
		result, err := call[migration.CopyResult](ctx, f.options(copyActivity("copy "+request.Snapshot.Name)), migration.ActivityCopySnapshot, request)
		f.inFlight--
		if err != nil || result.Pages == nil {
			return result, err
		}
		delta, err := f.carryPages(ctx, request, *result.Pages)
		if err != nil {
			return result, err
		}
		request.Again = true
		if delta.Moved {
			continue
		}
		published, err := call[migration.CopyResult](ctx, f.options(copyActivity("publish "+request.Snapshot.Name)), migration.ActivityPublishSnapshot,
			migration.PublishRequest{
				CopyRequest: request, Delta: result.Pages.Delta,
				Blobs: f.progress.BlobsTotal + result.Pages.CarriedBlobs, Digest: delta.Digest + result.Pages.CarriedDigest,
			})
		if err != nil {
			return result, err
		}
		if published.Moved {
			continue
		}
		published.BlobsCopied, published.BytesCopied = delta.BlobsCopied, delta.BytesCopied
		published.BlobsSkipped = result.BlobsSkipped + delta.BlobsSkipped
		published.BytesSkipped = result.BytesSkipped + delta.BytesSkipped
		return published, nil
	}
	return migration.CopyResult{}, temporal.NewApplicationErrorWithOptions(
		fmt.Sprintf("copy the snapshot %s: the repository in S3 changed during each of %d tries", request.Snapshot.Name, movesTolerated),
		string(migration.ErrorRepository), temporal.ApplicationErrorOptions{NonRetryable: true})
}

// carryPages runs a bounded number of pages at once and sums up what they did. It
// ends with the first that fails or finds the repository changed, after the
// others have ended too.
func (f *ferry) carryPages(ctx workflow.Context, request migration.CopyRequest, delta migration.CopyPages) (sum migration.PageResult, err error) {
	f.progress = &migration.CopyProgress{PagesTotal: len(delta.Pages)}
	for _, page := range delta.Pages {
		f.progress.BlobsTotal += page.Blobs
		f.progress.BytesTotal += page.Bytes
	}
	ctx, stop := workflow.WithCancel(ctx)
	defer stop()
	slots := workflow.NewSemaphore(ctx, int64(max(request.Plan.Copy.Pages, 1)))
	pages := workflow.NewWaitGroup(ctx)
	for i, page := range delta.Pages {
		if slots.Acquire(ctx, 1) != nil || f.nextPage(ctx) != nil {
			break
		}
		name := fmt.Sprintf("page %d of %d of %s", i+1, len(delta.Pages), request.Snapshot.Name)
		pages.Add(1)
		f.inFlight++
		workflow.GoNamed(ctx, name, func(ctx workflow.Context) {
			defer pages.Done()
			defer slots.Release(1)
			done, failed := call[migration.PageResult](ctx, f.options(copyActivity(name)), migration.ActivityCopyPage,
				migration.PageRequest{Run: request.Run, Snapshot: request.Snapshot, Delta: delta.Delta, Page: page, Again: request.Again})
			f.inFlight--
			if failed != nil || done.Moved {
				if err == nil && !sum.Moved { // the first one's; those that it ends are only cancelled
					err, sum.Moved = failed, done.Moved
				}
				stop()
				return
			}
			f.progress.PagesDone++
			f.progress.BlobsDone += page.Blobs
			f.progress.BytesDone += page.Bytes
			sum.BlobsCopied += done.BlobsCopied
			sum.BytesCopied += done.BytesCopied
			sum.BlobsSkipped += done.BlobsSkipped
			sum.BytesSkipped += done.BytesSkipped
			sum.Digest += done.Digest
		})
	}
	pages.Wait(ctx)
	if err == nil && !sum.Moved {
		err = ctx.Err()
	}
	return sum, err
}

// share is each activity's part of a limit on all of them, 0 if there is none.
func (f *ferry) share(limit int64) int64 {
	if limit <= 0 {
		return 0
	}
	return max(limit/int64(max(f.inFlight, 1)), 1)
}
