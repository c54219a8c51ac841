package activities

import (
	"context"
	"sync"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/snapferry/snapferry/internal/transfer"
	"github.com/snapferry/snapferry/migration"
)

// SetMemory bounds what all copies of this worker hold of blobs, in bytes; 0 is the default of 128
// MiB. Before the worker starts.
func (c *Copier) SetMemory(bytes int64) error {
	buffers, err := transfer.NewBuffers(bytes)
	if err == nil {
		c.moving.Buffers = buffers
	}
	return err
}

// SetBandwidth bounds what all copies of this worker together read from S3, in bytes per second; 0
// is no limit. It holds at once, also for what is under way.
func (c *Copier) SetBandwidth(bytesPerSecond int64) { c.moving.Limits[0].Set(bytesPerSecond) }

// Stats count what the copies of this worker have met.
func (c *Copier) Stats() *transfer.Stats { return c.moving.Stats }

// bandwidthInterval is how often an activity asks for its share of the migration's limit, which
// changes with the number of pages under way.
const bandwidthInterval = 5 * time.Second

// askForBandwidth asks the workflow, since nothing else can tell an activity anything while it
// runs.
func askForBandwidth(ctx context.Context) (int64, error) {
	execution := activity.GetInfo(ctx).WorkflowExecution
	ctx, cancel := context.WithTimeout(ctx, bandwidthInterval)
	defer cancel()
	var share int64
	value, err := activity.GetClient(ctx).QueryWorkflow(ctx, execution.ID, execution.RunID, migration.QueryBandwidth)
	if err == nil {
		err = value.Get(&share)
	}
	return share, err
}

// followBandwidth keeps a limit at this activity's share of the migration's. If the workflow can't
// be asked, it stays at what was known last: at first the share of as many pages as there may be.
// The function ends it.
func (c *Copier) followBandwidth(ctx context.Context, plan migration.Copy) (*transfer.Limit, func()) {
	var first int64 // 0 is no limit
	if most := plan.Bandwidth.Bytes(); most > 0 {
		first = max(most/int64(max(plan.Pages, 1)), 1)
	}
	limit := transfer.NewLimit(first)
	if c.ask == nil {
		return limit, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	ask := func() {
		if share, err := c.ask(ctx); err == nil && share != limit.BytesPerSecond() {
			limit.Set(share)
		}
	}
	if plan.Bandwidth > 0 {
		ask()
	}
	var following sync.WaitGroup
	following.Go(func() {
		ticker := time.NewTicker(bandwidthInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				ask()
			}
		}
	})
	return limit, func() {
		cancel()
		following.Wait()
	}
}
