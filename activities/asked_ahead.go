package activities

import (
	"context"
	"sync"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/migration"
)

// askingAhead asks for the final snapshot as soon as it is known what takes part in it, while the
// source is still being sampled. nil asks for nothing.
//
// The snapshot holds what the source holds when it begins. It counts if all samples from the one
// before the marks were read to the last one are equal: then nothing was written after the marks, and
// it is the snapshot that would have been asked for after the last sample. If a write was seen, the
// snapshot is void, also if it may hold that write: the marks don't.
type askingAhead struct {
	client               *elastic.Client
	repository, snapshot string

	cancel context.CancelFunc // nil as long as nothing has begun
	asking sync.WaitGroup
	// outcome is empty as long as nothing was sent.
	outcome migration.AskedAhead
	// found is what takes part in the snapshot, if that was found out.
	found *migration.Changed
}

// begin asks for the snapshot of what has changed, unless that is under way. find waits until it is
// known.
func (a *askingAhead) begin(ctx context.Context, find func(context.Context) (migration.Changed, []string, error)) {
	if a == nil || a.cancel != nil || a.outcome != "" {
		return
	}
	ctx, a.cancel = context.WithCancel(ctx)
	a.asking.Go(func() {
		found, names, err := find(ctx)
		if err != nil {
			return
		}
		if a.found = &found; len(names) > 0 {
			a.outcome = askedBy(a.client.CreateSnapshot(ctx, a.repository, a.snapshot, names))
		}
	})
}

// askedBy is what the answer to a request for a snapshot says of it. One that is there already is
// not known for this request's.
func askedBy(err error) migration.AskedAhead {
	switch elastic.KindOf(err) {
	case elastic.None:
		return migration.AskedFor
	case elastic.SlotTaken, elastic.Missing, elastic.Invalid, elastic.Blocked, elastic.Unauthorized,
		elastic.NotSupported:
		return migration.NotAsked // the source has refused it, and TakeSnapshot finds out why
	case elastic.Rejected: // a manager that lost its place may have begun with it
		if elastic.LacksPrimaries(err) {
			return migration.NotAsked
		}
	}
	return migration.AskedInVain
}

// wait waits for the source's answer. What was found to take part holds as long as nothing is
// written.
func (a *askingAhead) wait() *migration.Changed {
	if a == nil {
		return nil
	}
	a.asking.Wait()
	return a.found
}

// became waits for the source's answer as well, and says what became of the snapshot; nothing if no
// request was sent.
func (a *askingAhead) became() migration.AskedAhead {
	if a == nil {
		return ""
	}
	a.asking.Wait()
	return a.outcome
}

// void ends the asking because the source still takes writes, or nobody knows that it takes none.
func (a *askingAhead) void() {
	if a == nil || a.cancel == nil {
		return
	}
	a.cancel()
	a.asking.Wait()
	a.cancel, a.found = nil, nil
	if a.outcome == migration.AskedFor {
		a.outcome = migration.AskedInVain
	}
}
