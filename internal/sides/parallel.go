package sides

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"
)

// InParallel runs work on all items, at most limit at once. It ends at the first error.
func InParallel[T any](ctx context.Context, limit int, items []T, work func(context.Context, T) error) error {
	group, working := errgroup.WithContext(ctx)
	group.SetLimit(limit)
	for _, item := range items {
		if working.Err() != nil {
			break
		}
		group.Go(func() error { return work(working, item) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// Together runs a few requests at the same time and ends at the first error.
func Together(ctx context.Context, work ...func(context.Context) error) error {
	group, working := errgroup.WithContext(ctx)
	for _, w := range work {
		group.Go(func() error { return w(working) })
	}
	return group.Wait()
}

// Submit begins work beside a walk through listings. It waits while as much is under way as may be.
type Submit func(work func(context.Context) error)

// WalkAndWork runs a walk, and beside it the work that the walk submits, at most limit at once. It
// returns when both are done. The first error ends both.
func WalkAndWork(ctx context.Context, limit int, walk func(ctx context.Context, submit Submit) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	work, working := errgroup.WithContext(ctx)
	work.SetLimit(limit)
	err := walk(working, func(do func(context.Context) error) { work.Go(func() error { return do(working) }) })
	if err != nil {
		cancel()
	}
	// If submitted work has failed, err is the cancellation that followed from it.
	if err := firstReal(err, work.Wait()); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// firstReal prefers an error that says something to the cancellation that followed from it.
func firstReal(a, b error) error {
	if a == nil || errors.Is(a, context.Canceled) && b != nil {
		return b
	}
	return a
}
