package activities

import (
	"context"
	"slices"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/worker"

	"github.com/snapferry/snapferry/internal/ferry"
	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/pause"
	"github.com/snapferry/snapferry/internal/secrets"
	"github.com/snapferry/snapferry/internal/transfer"
	"github.com/snapferry/snapferry/migration"
)

// Copier are the steps that read S3 and OSS and no cluster: the copy, which is package ferry, and
// the audit. They are apart from [Activities], because copy workers may stand elsewhere.
type Copier struct {
	heart
	source func(context.Context, migration.Run) (objectstore.Source, error)
	sink   func(context.Context, migration.Run) (objectstore.Sink, error)
	lists  lists
	// moving holds what all copies of the process share, and how they retry.
	moving transfer.Options
	// pages bounds what is copied without pages; the zero value is ferry's default.
	pages ferry.Paging
	pause func(context.Context, time.Duration) error
	// ask tells how many bytes per second an activity may read, by its migration.
	ask func(context.Context) (int64, error)
}

// NewCopier makes the copy activities for a worker. The fence says what plans may read and where
// they may connect to.
func NewCopier(fence secrets.Fence) *Copier {
	stores := newStores(keys{fence})
	return &Copier{
		heart:  heart{heartbeat: activity.RecordHeartbeat, beat: time.Second},
		source: stores.source, sink: stores.sink, lists: newLists(keys{fence}),
		moving: transfer.Options{
			Buffers: transfer.DefaultBuffers(), Limits: []*transfer.Limit{{}},
			Stats: &transfer.Stats{},
		},
		pause: pause.For, ask: newSharedAsk().get,
	}
}

// Register makes each method known under its name.
func (c *Copier) Register(registry worker.ActivityRegistry) {
	registry.RegisterActivityWithOptions(c.CopySnapshot, activity.RegisterOptions{Name: migration.ActivityCopySnapshot})
	registry.RegisterActivityWithOptions(c.CopyShards, activity.RegisterOptions{Name: migration.ActivityCopyShards})
	registry.RegisterActivityWithOptions(c.CopyAhead, activity.RegisterOptions{Name: migration.ActivityCopyAhead})
	registry.RegisterActivityWithOptions(c.PublishAhead, activity.RegisterOptions{Name: migration.ActivityPublishAhead})
	registry.RegisterActivityWithOptions(c.CopyPage, activity.RegisterOptions{Name: migration.ActivityCopyPage})
	registry.RegisterActivityWithOptions(c.PublishSnapshot,
		activity.RegisterOptions{Name: migration.ActivityPublishSnapshot})
	registry.RegisterActivityWithOptions(c.AuditRepositories, activity.RegisterOptions{Name: migration.ActivityAudit})
}

// CopySnapshot copies a snapshot to OSS and publishes it, if its delta fits a page; else it returns
// the pages. See [ferry.Ferry.Copy].
//
// It fails with ErrorSnapshotUnusable if the snapshot isn't complete in S3, and with
// ErrorRepository if somebody else wrote to either repository. Nothing is deleted.
func (c *Copier) CopySnapshot(ctx context.Context, request migration.CopyRequest) (migration.CopyResult, error) {
	request.Again = request.Again || repeated(ctx)
	return withFerry(ctx, c, request.Run, readingSnapshot,
		func(ctx context.Context, f *ferry.Ferry) (migration.CopyResult, error) {
			var err error
			if request.Carried, err = c.carried(ctx, request.Run, request.Carried, request.CarriedOf); err != nil {
				return migration.CopyResult{}, err
			}
			result, err := f.Copy(ctx, request)
			logSwept(ctx, result.Swept)
			if err == nil && result.Pages != nil {
				err = c.storePages(ctx, request.Run, result.Pages)
			}
			return result.CopyResult, err
		})
}

// CopyShards copies shards of a snapshot that still runs. See [ferry.Ferry.Stream]. What fails for
// good it leaves to the copy of the complete snapshot.
func (c *Copier) CopyShards(ctx context.Context,
	request migration.CopyShardsRequest,
) (migration.CopyShardsResult, error) {
	return withFerry(ctx, c, request.Run, "reading the shards that are done",
		func(ctx context.Context, f *ferry.Ferry) (migration.CopyShardsResult, error) {
			result, err := f.Stream(ctx, request, repeated(ctx))
			if permanent(err) {
				return migration.CopyShardsResult{Why: err.Error()}, nil
			}
			if err == nil {
				result.Carried, result.CarriedOf, err = storeIfLong(ctx, c.lists, request.Run, result.Carried)
			}
			return result, err
		})
}

// carried adds the stored lists of shards to those that are given.
func (c *Copier) carried(ctx context.Context, run migration.Run, all []migration.CarriedShard,
	lists []migration.Stored[[]migration.CarriedShard],
) ([]migration.CarriedShard, error) {
	for _, stored := range lists {
		carried, err := fetch(ctx, c.lists, run, nil, stored)
		if err != nil {
			return nil, err
		}
		all = append(all, carried...)
	}
	return all, nil
}

const (
	// aheadPace is how often the root in S3 is looked at: writers wait for the end of a snapshot whose
	// shards are all done.
	aheadPace = 25 * time.Millisecond
	// mostAheadLooks is after how many looks that is given up: a minute at least. A snapshot that takes
	// longer to end costs more than what is gained.
	mostAheadLooks = 2400
)

// CopyAhead copies what a snapshot needs, but for the root, while the cluster still ends it, and the
// root as well if the request says so. See [ferry.Ferry.Ahead]. What fails for good it leaves to
// CopySnapshot.
func (c *Copier) CopyAhead(ctx context.Context, request migration.CopyRequest) (migration.Ahead, error) {
	return withFerry(ctx, c, request.Run, "waiting for the end of the snapshot",
		func(ctx context.Context, f *ferry.Ferry) (migration.Ahead, error) {
			var err error
			if request.Carried, err = c.carried(ctx, request.Run, request.Carried, request.CarriedOf); err != nil {
				return migration.Ahead{}, err
			}
			looks, listed := 0, time.Now()
			ready, err := f.Ahead(ctx, request, func(ctx context.Context) error {
				if looks++; looks > mostAheadLooks {
					return ferry.ErrNotYet
				}
				err := c.pause(ctx, aheadPace)
				listed = time.Now()
				return err
			})
			if permanent(err) {
				return migration.Ahead{Why: err.Error()}, nil
			}
			if err != nil {
				return migration.Ahead{}, err
			}
			if ready.Early != nil {
				ready.Early.Millis = time.Since(listed).Milliseconds()
				return ready, nil
			}
			lists := c.lists.shorter(2)
			if ready.Root, ready.RootOf, err = storeIfLong(ctx, lists, request.Run, ready.Root); err != nil {
				return migration.Ahead{}, err
			}
			ready.Shards, ready.ShardsOf, err = storeIfLong(ctx, lists, request.Run, ready.Shards)
			return ready, err
		})
}

// PublishAhead publishes what CopyAhead has copied. See [ferry.Ferry.PublishAhead].
func (c *Copier) PublishAhead(ctx context.Context,
	request migration.PublishAheadRequest,
) (migration.CopyResult, error) {
	return withFerry(ctx, c, request.Run, "publishing",
		func(ctx context.Context, f *ferry.Ferry) (migration.CopyResult, error) {
			var err error
			ready := &request.Ready
			if ready.Root, err = fetch(ctx, c.lists, request.Run, ready.Root, ready.RootOf); err != nil {
				return migration.CopyResult{}, err
			}
			if ready.Shards, err = fetch(ctx, c.lists, request.Run, ready.Shards, ready.ShardsOf); err != nil {
				return migration.CopyResult{}, err
			}
			return f.PublishAhead(ctx, request)
		})
}

// CopyPage copies a page of a snapshot's delta. See [ferry.Ferry.Page]. Its errors are those of
// CopySnapshot.
func (c *Copier) CopyPage(ctx context.Context, request migration.PageRequest) (migration.PageResult, error) {
	request.Again = request.Again || repeated(ctx)
	return withFerry(ctx, c, request.Run, readingSnapshot,
		func(ctx context.Context, f *ferry.Ferry) (migration.PageResult, error) {
			var err error
			page := &request.Page
			if page.Shards, err = fetch(ctx, c.lists, request.Run, page.Shards, page.ShardsOf); err != nil {
				return migration.PageResult{}, err
			}
			return f.Page(ctx, request)
		})
}

// PublishSnapshot publishes a snapshot whose pages were all copied. See [ferry.Ferry.Publish]. Its
// errors are those of CopySnapshot.
func (c *Copier) PublishSnapshot(ctx context.Context, request migration.PublishRequest) (migration.CopyResult, error) {
	request.Again = request.Again || repeated(ctx)
	return withFerry(ctx, c, request.Run, readingSnapshot,
		func(ctx context.Context, f *ferry.Ferry) (migration.CopyResult, error) {
			var err error
			if request.Root, err = fetch(ctx, c.lists, request.Run, request.Root, request.RootOf); err != nil {
				return migration.CopyResult{}, err
			}
			result, err := f.Publish(ctx, request)
			logSwept(ctx, result.Swept)
			return result.CopyResult, err
		})
}

// longestRoot bounds, in bytes, a root that is kept for the publish of pages. Without it they are
// published when S3 has not moved on.
const longestRoot = longestStored / 2

// storePages stores the root, and the shards of each page, where they are too long for a payload.
func (c *Copier) storePages(ctx context.Context, run migration.Run, pages *migration.CopyPages) error {
	if len(pages.Root) > longestRoot {
		pages.Root = nil
	}
	var err error
	if pages.Root, pages.RootOf, err = storeIfLong(ctx, c.lists, run, pages.Root); err != nil {
		return err
	}
	if !c.lists.long(pages.Pages) {
		return nil
	}
	for i := range pages.Pages {
		page := &pages.Pages[i]
		stored, err := store(ctx, c.lists, run, page.Shards)
		if err != nil {
			return err
		}
		page.Shards, page.ShardsOf = nil, stored
	}
	return nil
}

const readingSnapshot = "reading the snapshot"

// repeated tells whether an earlier attempt of the activity may have left something.
func repeated(ctx context.Context) bool { return activity.GetInfo(ctx).Attempt > 1 }

// withFerry runs an activity with a ferry between the buckets of a run.
func withFerry[T any](ctx context.Context, c *Copier, run migration.Run, doing string,
	work func(context.Context, *ferry.Ferry) (T, error),
) (T, error) {
	return perform(ctx, c, doing, func(ctx context.Context, p *pulse) (none T, err error) {
		source, err := c.source(ctx, run)
		if err != nil {
			return none, err
		}
		sink, err := c.sink(ctx, run)
		if err != nil {
			return none, err
		}
		share, unfollow := c.followBandwidth(ctx, run.Plan.Copy)
		defer unfollow()
		moving := c.moving
		moving.Limits = append(slices.Clone(moving.Limits), share)
		moving.Concurrency = run.Plan.Copy.Concurrency
		return work(ctx, ferry.New(ferry.Options{
			Source: source, Sink: sink, Transfer: moving, Paging: c.pages,
			Progress: p.update,
		}))
	})
}

func logSwept(ctx context.Context, swept ferry.Swept) {
	if swept.Uploads > 0 || swept.Err != nil {
		activity.GetLogger(ctx).Info("uploads of earlier attempts were ended", "uploads", swept.Uploads, "error",
			swept.Err)
	}
}
