package main

import (
	"context"

	"github.com/snapferry/snapferry/lab/byhand"
)

// script copies rounds with migrate.sh.
type script struct {
	*byhand.Script
	b      *bench
	raised bool // the throttles, before the window
	shards int
}

func (b *bench) script(name string, stock *stock, raised bool) *script {
	return &script{&byhand.Script{
		Lab: b.Lab, Dir: b.Dir, Rclone: b.rclone, OSSAsS3: b.OSSAsS3, Name: name,
		Indices: stock.names(), DocType: docType,
	}, b, raised, stock.shards}
}

// start registers the repositories and copies the baseline, without throttles: what comes before
// the window isn't compared.
func (s *script) start(ctx context.Context) error {
	if err := s.Register(ctx, byhand.Unthrottled); err != nil {
		return err
	}
	return s.round(ctx)
}

func (s *script) round(ctx context.Context) error {
	_, err := s.Round(ctx)
	return err
}

// ready sets the limits that hold in the window.
func (s *script) ready(ctx context.Context) error {
	rate := ""
	if s.raised {
		rate = byhand.Unthrottled
	}
	return s.Register(ctx, rate)
}

func (s *script) final(ctx context.Context) (run, error) {
	steps, snapshot, err := s.Final(ctx)
	if err != nil {
		return run{}, err
	}
	one := run{window: byhand.Window(steps), steps: map[string]float64{}}
	for name, took := range steps {
		one.steps[name] = took.Seconds()
	}
	if one.own, err = ownTime(ctx, s.Lab, s.Name, snapshot, s.Restored(), s.shards); err != nil {
		return run{}, err
	}
	// The script reads nothing of a repository before it asks for the snapshot or the restore.
	when := asked{snapshot: steps[byhand.StepSnapshot].Began, restore: steps[byhand.StepRestore].Began}
	one.requests, err = ownByRequests(when, s.b.fromSource.all(), s.b.fromTarget.all(), one.own)
	return one, err
}
