package workflows

import (
	"fmt"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// Copy copies one snapshot to OSS and publishes it: what Migration does in each round, for whoever
// has a snapshot and no migration. It fails if no retry of Temporal's helps.
func Copy(ctx workflow.Context, request migration.CopyRequest) (migration.CopyResult, error) {
	c := copying{
		options:  func(o workflow.ActivityOptions) workflow.ActivityOptions { return o },
		nextPage: func(ctx workflow.Context) error { return ctx.Err() },
	}
	share := func() (int64, error) { return c.share(request.Plan.Copy.Bandwidth.Bytes()), nil }
	if err := workflow.SetQueryHandler(ctx, migration.QueryBandwidth, share); err != nil {
		return migration.CopyResult{}, err
	}
	return c.copySnapshot(ctx, request)
}

// movesTolerated is how often a copy begins again without a person because the repository in S3
// changed while it was copied.
const movesTolerated = 5

// copying copies snapshots, and knows how far it is.
type copying struct {
	// options adapts the activities' options to the moment.
	options func(workflow.ActivityOptions) workflow.ActivityOptions
	// nextPage waits until the next page may begin; an error ends the copy.
	nextPage func(workflow.Context) error
	// inFlight counts the activities that copy blobs.
	inFlight int
	progress *migration.CopyProgress
}

// copySnapshot copies a snapshot and publishes it. A small delta takes one activity. A large one is
// copied in pages, many at once, on whatever workers there are.
func (c *copying) copySnapshot(ctx workflow.Context, request migration.CopyRequest) (migration.CopyResult, error) {
	defer func() { c.progress = nil }()
	for range movesTolerated {
		c.progress = nil
		c.inFlight++
		options := c.options(copyActivity("copy " + request.Snapshot.Name))
		result, err := call[migration.CopyResult](ctx, options, migration.ActivityCopySnapshot, request)
		c.inFlight--
		if err != nil || result.Pages == nil {
			return result, err
		}
		delta, err := c.copyPages(ctx, request, *result.Pages)
		if err != nil {
			return result, err
		}
		request.Again = true
		if delta.Moved {
			continue
		}
		published, err := c.publish(ctx, request, *result.Pages, delta.Digest)
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
		fmt.Sprintf("copy the snapshot %s: the repository in S3 changed during each of %d tries", request.Snapshot.Name,
			movesTolerated),
		string(migration.ErrorRepository), temporal.ApplicationErrorOptions{NonRetryable: true})
}

// publish publishes a snapshot whose pages are copied; digest sums up theirs.
func (c *copying) publish(ctx workflow.Context, request migration.CopyRequest, pages migration.CopyPages,
	digest migration.Digest,
) (migration.CopyResult, error) {
	options := c.options(copyActivity("publish " + request.Snapshot.Name))
	return call[migration.CopyResult](ctx, options, migration.ActivityPublishSnapshot, migration.PublishRequest{
		CopyRequest: request, Delta: pages.Delta,
		Blobs: c.progress.BlobsTotal + pages.CarriedBlobs, Digest: digest + pages.CarriedDigest,
		Root: pages.Root, RootOf: pages.RootOf,
	})
}

// copyPages runs a bounded number of pages at once and sums up what they did. It ends with the
// first that fails or finds the repository changed, after the others have ended too.
func (c *copying) copyPages(ctx workflow.Context, request migration.CopyRequest,
	delta migration.CopyPages,
) (sum migration.PageResult, err error) {
	c.progress = &migration.CopyProgress{PagesTotal: len(delta.Pages)}
	for _, page := range delta.Pages {
		c.progress.BlobsTotal += page.Blobs
		c.progress.BytesTotal += page.Bytes
	}
	ctx, stop := workflow.WithCancel(ctx)
	defer stop()
	slots := workflow.NewSemaphore(ctx, int64(max(request.Plan.Copy.Pages, 1)))
	pages := workflow.NewWaitGroup(ctx)
	for i, page := range delta.Pages {
		if slots.Acquire(ctx, 1) != nil || c.nextPage(ctx) != nil {
			break
		}
		name := fmt.Sprintf("page %d of %d of %s", i+1, len(delta.Pages), request.Snapshot.Name)
		pages.Add(1)
		c.inFlight++
		workflow.GoNamed(ctx, name, func(ctx workflow.Context) {
			defer pages.Done()
			defer slots.Release(1)
			done, failed := call[migration.PageResult](ctx, c.options(copyActivity(name)), migration.ActivityCopyPage,
				migration.PageRequest{
					Run: request.Run, Snapshot: request.Snapshot, Delta: delta.Delta, Page: page,
					Again: request.Again,
				})
			c.inFlight--
			if failed != nil || done.Moved {
				if err == nil && !sum.Moved { // the first one's; those that it ends are only cancelled
					err, sum.Moved = failed, done.Moved
				}
				stop()
				return
			}
			c.progress.PagesDone++
			c.progress.BlobsDone += page.Blobs
			c.progress.BytesDone += page.Bytes
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
func (c *copying) share(limit int64) int64 {
	if limit <= 0 {
		return 0
	}
	return max(limit/int64(max(c.inFlight, 1)), 1)
}
