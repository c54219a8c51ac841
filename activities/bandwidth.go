package activities

import (
	"context"
	"errors"
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

// sharedAsk has the copies of a worker ask their migration once in an interval, instead of each by
// itself: while a workflow has a task, a Temporal server holds one query by default and refuses
// more, those of people too.
type sharedAsk struct {
	ask func(context.Context) (int64, error)
	// of tells which migration an activity belongs to.
	of  func(context.Context) string
	now func() time.Time

	mu    sync.Mutex
	known map[string]*askedShare
}

type askedShare struct {
	asking bool
	at     time.Time
	share  int64
	err    error
}

// errBeingAsked leaves an activity at the share that it has.
var errBeingAsked = errors.New("another copy is asking")

// mostAsked bounds what is kept of migrations that have ended.
const mostAsked = 100

func newSharedAsk() *sharedAsk {
	return &sharedAsk{ask: askForBandwidth, now: time.Now, of: func(ctx context.Context) string {
		execution := activity.GetInfo(ctx).WorkflowExecution
		return execution.ID + "/" + execution.RunID
	}}
}

// get is what the migration has answered within the last interval.
func (s *sharedAsk) get(ctx context.Context) (int64, error) {
	key := s.of(ctx)
	s.mu.Lock()
	if s.known == nil || len(s.known) > mostAsked {
		s.known = map[string]*askedShare{}
	}
	entry := s.known[key]
	if entry == nil {
		entry = &askedShare{}
		s.known[key] = entry
	}
	fresh := !entry.at.IsZero() && s.now().Sub(entry.at) < bandwidthInterval*4/5 // each asks a little late
	switch {
	case fresh:
		defer s.mu.Unlock()
		return entry.share, entry.err
	case entry.asking:
		defer s.mu.Unlock()
		return 0, errBeingAsked
	}
	entry.asking = true
	s.mu.Unlock()
	share, err := s.ask(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	entry.asking = false
	if ctx.Err() == nil { // else the copy has ended, which tells nothing of the migration
		entry.at, entry.share, entry.err = s.now(), share, err
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
