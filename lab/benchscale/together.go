package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/snapferry/snapferry/internal/pause"
)

// repeated is what is done again and again during a measurement.
type repeated struct {
	// what it does, such as "search".
	what string
	// run goes on until its context ends. It calls done whenever it has done something.
	run func(ctx context.Context, done func()) error
}

// together runs all of them at the same time: for at least so long, and until each has done
// something, which on a busy computer takes longer. It returns how long they ran.
func together(ctx context.Context, least time.Duration, all []repeated) (took time.Duration, err error) {
	during, end := context.WithCancel(ctx)
	defer end()
	group, working := errgroup.WithContext(during)
	began := time.Now()
	firsts := make([]chan struct{}, len(all))
	for i, a := range all {
		firsts[i] = make(chan struct{})
		done := sync.OnceFunc(func() { close(firsts[i]) })
		group.Go(func() error { return a.run(working, done) })
	}
	group.Go(func() error {
		_ = pause.For(working, least)
		for _, first := range firsts {
			select {
			case <-first:
			case <-working.Done():
			}
		}
		if took = time.Since(began); working.Err() == nil {
			end()
			return nil
		}
		without := ""
		for i, first := range firsts {
			select {
			case <-first:
			default:
				without += ", without a " + all[i].what
			}
		}
		return fmt.Errorf("the measurement of %s ended after %s%s: %w", least, took.Round(time.Millisecond), without,
			context.Cause(working))
	})
	err = group.Wait()
	return took, err
}
