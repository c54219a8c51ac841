package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.temporal.io/sdk/client"

	"github.com/snapferry/snapferry/internal/pause"
	"github.com/snapferry/snapferry/lab/byhand"
	"github.com/snapferry/snapferry/migration"
)

// ours copies rounds with a migration: a real plan, worker and workflow. It has all throttles as a
// plan has them that says nothing of them, and compares as the script does, without checksums.
type ours struct {
	b          *bench
	name       string
	stock      *stock
	pipeline   migration.Pipeline
	plan       migration.Plan
	workflowID string
	repository string
	rounds     int // that have ended, the baseline among them
}

// start starts the migration and waits for the end of its baseline.
func (o *ours) start(ctx context.Context) error {
	o.plan = o.b.Lab.Plan(o.name, o.stock.indices...)
	o.plan.Rounds.Interval = migration.Duration(24 * time.Hour) // each round is asked for
	o.plan.Verify.Checksum = migration.ChecksumNone
	// it would copy the delta before the window, and the script has none
	o.plan.Freeze.HotRound = migration.HotRoundNever
	o.plan.Freeze.Pipeline = o.pipeline
	input, err := migration.NewInput(o.plan)
	if err != nil {
		return err
	}
	o.workflowID = migration.WorkflowID(o.name)
	started, err := o.b.Rig.Client.ExecuteWorkflow(ctx,
		client.StartWorkflowOptions{ID: o.workflowID, TaskQueue: migration.TaskQueue}, migration.WorkflowType, input)
	if err != nil {
		return fmt.Errorf("the migration did not start: %w", err)
	}
	o.repository = migration.Run{Plan: o.plan, Token: migration.TokenOf(started.GetRunID())}.RepositoryName()
	return o.awaitRound(ctx)
}

func (o *ours) round(ctx context.Context) error {
	if err := o.b.Rig.Signal(ctx, o.workflowID, migration.RequestRound); err != nil {
		return err
	}
	return o.awaitRound(ctx)
}

// awaitRound waits for the end of the next round.
func (o *ours) awaitRound(ctx context.Context) error {
	o.rounds++
	return o.await(ctx, func(s migration.Status) bool { return s.RoundsEnded == o.rounds && s.Step == "" })
}

// ready has nothing to do: what has to be done before the block the migration does itself, after
// the signal.
func (o *ours) ready(context.Context) error { return nil }

// final freezes, waits for the verified target, and hands over.
func (o *ours) final(ctx context.Context) (run, error) {
	predicted := int64(-1)
	look := func(s migration.Status) {
		if s.Prediction != nil && (s.FrozenSinceMillis == 0 || s.Prediction.AtMillis <= s.FrozenSinceMillis) {
			predicted = s.Prediction.Millis
		}
	}
	before, err := o.b.Rig.Status(ctx, o.workflowID)
	if err != nil {
		return run{}, err
	}
	look(before)
	var accepted calls
	defer accepted.watch(o.b.Lab)()
	if err := o.b.Rig.Signal(ctx, o.workflowID, migration.RequestFreeze); err != nil {
		return run{}, err
	}
	if err := o.await(ctx,
		func(s migration.Status) bool { look(s); return s.Phase == migration.PhaseAwaitCutover }); err != nil {
		return run{}, err
	}
	one := run{steps: map[string]float64{}, predicted: -1}
	if predicted >= 0 {
		one.predicted = float64(predicted) / 1000
	}
	verified, err := o.b.Rig.Status(ctx, o.workflowID)
	if err != nil {
		return run{}, err
	}
	last := verified.Rounds[len(verified.Rounds)-1]
	if last.Groups <= 1 { // each group has a snapshot of its own, beside the others' restores
		one.own, err = ownTime(ctx, o.b.Lab, o.repository, last.Snapshot, o.stock.names(), o.stock.shards)
		if err != nil {
			return run{}, err
		}
		when, err := accepted.asked(o.repository, last.Snapshot)
		if err != nil {
			return run{}, err
		}
		if one.requests, err = ownByRequests(when, o.b.fromSource.all(), o.b.fromTarget.all(), one.own); err != nil {
			return run{}, err
		}
	}
	if err := o.b.Rig.Signal(ctx, o.workflowID, migration.RequestCutover); err != nil {
		return run{}, err
	}
	report, err := o.b.Rig.Report(ctx, o.workflowID)
	if err != nil {
		return run{}, err
	}
	w := report.FrozenWindow
	if w == nil {
		return run{}, errors.New("the migration's report tells of no frozen window")
	}
	one.window = float64(w.Millis) / 1000
	for name, millis := range map[string]int64{
		byhand.StepBlock: w.BlockMillis, byhand.StepSnapshot: w.SnapshotMillis, byhand.StepCopy: w.CopyMillis,
		byhand.StepRestore: w.RestoreMillis,
		byhand.StepVerify:  w.VerifyMillis,
	} {
		one.steps[name] = float64(millis) / 1000
	}
	one.delta, one.groups = last.BytesCopied, max(w.Groups, 1)
	one.timeline, err = timelineOf(ctx, o.b.Rig.Client, o.workflowID,
		byhand.Timed{
			Began: time.UnixMilli(w.StartedMillis), Ended: time.UnixMilli(w.StartedMillis + w.Millis),
		}, one.own)
	return one, err
}

// pollInterval is as long as that of the scripts. Each query costs Temporal and the worker something,
// beside the window that is measured. Its end is taken from the report.
const pollInterval = time.Second

// await waits until the migration's status is as asked. A migration that needs attention or has
// ended is an error.
func (o *ours) await(ctx context.Context, condition func(migration.Status) bool) error {
	for {
		s, err := o.b.Rig.Status(ctx, o.workflowID)
		switch {
		case err != nil && ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return fmt.Errorf("the migration tells no status: %w", err)
		case condition(s):
			return nil
		case s.Attention != nil:
			return fmt.Errorf("the migration needs attention in phase %s: %s: %s", s.Phase, s.Attention.Type,
				s.Attention.Message)
		case s.Phase.Ended():
			return fmt.Errorf("the migration has ended: %s", s.Phase)
		}
		if err := pause.For(ctx, pollInterval); err != nil {
			return fmt.Errorf("the migration still stands in phase %s (%s): %w", s.Phase, s.Step, err)
		}
	}
}
