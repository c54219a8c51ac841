package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"time"

	"github.com/snapferry/snapferry/lab/benchmain"
	"github.com/snapferry/snapferry/lab/byhand"
	"github.com/snapferry/snapferry/lab/cluster"
	"github.com/snapferry/snapferry/migration"
)

// field is where migrations run, beside the script.
type field struct {
	*benchmain.Field
	rclone string // path; "" to run without the script
}

// newField starts nodes of these versions and everything else.
func newField(ctx context.Context, root, rclone, from, to string, out io.Writer) (*field, error) {
	f, err := benchmain.NewField(ctx, benchmain.FieldOptions{
		Dir: filepath.Join(root, ".lab", "benchscale"), Out: out, From: from, To: to,
		// Thousands of shards need some heap, on the target twice: the script restores under other names.
		HeapMB: 2048,
		// Five minutes after the last write of an index Elasticsearch 5 writes a mark into its commit, and
		// that looks like a write. The script's baseline takes longer than that; most indices of a log
		// cluster have been silent since long ago.
		SourceSettings: map[string]string{"indices.memory.shard_inactive_time": "1d"},
	})
	return &field{f, rclone}, err
}

// subject is what a case copies: it makes indices, and changes some of them.
type subject struct {
	indices string // one pattern or name
	docType string
	// typeless is for a source of 6.8 and a target of 7.x.
	typeless bool
	// rate is verify.rate; 0 for the default.
	rate int
	// makeAll makes all indices, change writes the delta of a round.
	makeAll, change func(ctx context.Context, source *cluster.Client) error
}

// carried is what the last round and the frozen window took, in seconds.
type carried struct {
	round, window, scriptWindow float64
	steps                       map[string]float64
	last                        migration.Round
}

// carry takes a migration of the subject from its start to the cutover, with two rounds that each
// copy a delta, and the script beside it. ready says when the freeze may begin.
func (f *field) carry(ctx context.Context, name string, s subject, ready func(migration.Status) bool) (carried, error) {
	var one carried
	source := f.Lab.Source.Direct()
	if err := s.makeAll(ctx, source); err != nil {
		return one, err
	}
	f.Say("%s: the indices are made", name)
	plan := f.Lab.Plan(name, s.indices)
	plan.Rounds.Interval = migration.Duration(24 * time.Hour) // each round is asked for
	plan.Freeze.HotRound = migration.HotRoundNever            // it would copy the delta before the window
	plan.Verify.Rate = s.rate
	id, err := f.Rig.Start(ctx, plan)
	if err != nil {
		return one, err
	}
	if _, err := f.Rig.Await(ctx, id, ended(1)); err != nil {
		return one, err
	}
	f.Say("%s: the baseline is copied", name)
	script, err := f.scriptBaseline(ctx, s)
	if err != nil {
		return one, err
	}
	if err := s.change(ctx, source); err != nil {
		return one, err
	}
	if err := f.Rig.Signal(ctx, id, migration.RequestRound); err != nil {
		return one, err
	}
	status, err := f.Rig.Await(ctx, id, ended(2))
	if err != nil {
		return one, err
	}
	last := status.Rounds[len(status.Rounds)-1]
	one.round = seconds(last.SnapshotMillis + last.CopyMillis + last.RestoreMillis)
	f.Say("%s: a round took %.2f s", name, one.round)
	if script != nil {
		if _, err := script.Round(ctx); err != nil {
			return one, err
		}
	}
	if _, err := f.Rig.Await(ctx, id, ready); err != nil {
		return one, err
	}
	if err := s.change(ctx, source); err != nil {
		return one, err
	}
	byhand.Settle()
	if err := f.finish(ctx, id, &one); err != nil {
		return one, err
	}
	f.Say("%s: the frozen window took %.2f s", name, one.window)
	if script == nil {
		return one, nil
	}
	// The script blocks the source itself.
	unblock := map[string]any{"index.blocks.write": nil}
	if err := source.Do(ctx, http.MethodPut, "/"+s.indices+"/_settings", unblock, nil); err != nil {
		return one, err
	}
	byhand.Settle()
	steps, _, err := script.Final(ctx)
	if err != nil {
		return one, err
	}
	one.scriptWindow = byhand.Window(steps)
	f.Say("%s: the script's window took %.2f s", name, one.scriptWindow)
	return one, nil
}

// scriptBaseline copies everything with the script; nil without one.
func (f *field) scriptBaseline(ctx context.Context, s subject) (*byhand.Script, error) {
	if f.rclone == "" {
		return nil, nil //nolint:nilnil // to run without the script is no error
	}
	script := &byhand.Script{
		Lab: f.Lab, Dir: f.Dir, Rclone: f.rclone, OSSAsS3: f.OSSAsS3, Name: "byhand", Indices: s.indices,
		DocType: s.docType, Typeless: s.typeless,
	}
	if err := script.Register(ctx, byhand.Unthrottled); err != nil {
		return nil, err
	}
	_, err := script.Round(ctx)
	f.Say("the script has copied its baseline")
	return script, err
}

// finish freezes and hands over.
func (f *field) finish(ctx context.Context, id string, one *carried) error {
	if err := f.Rig.Signal(ctx, id, migration.RequestFreeze); err != nil {
		return err
	}
	verified := func(s migration.Status) bool { return s.Phase == migration.PhaseAwaitCutover }
	status, err := f.Rig.Await(ctx, id, verified)
	if err != nil {
		return err
	}
	one.last = status.Rounds[len(status.Rounds)-1]
	if err := f.Rig.Signal(ctx, id, migration.RequestCutover); err != nil {
		return err
	}
	report, err := f.Rig.Report(ctx, id)
	if err != nil {
		return err
	}
	w := report.FrozenWindow
	if w == nil {
		return errors.New("the migration's report tells of no frozen window")
	}
	one.window = seconds(w.Millis)
	one.steps = map[string]float64{
		byhand.StepBlock: seconds(w.BlockMillis), byhand.StepSnapshot: seconds(w.SnapshotMillis),
		byhand.StepCopy: seconds(w.CopyMillis), byhand.StepRestore: seconds(w.RestoreMillis),
		byhand.StepVerify: seconds(w.VerifyMillis),
	}
	return nil
}

func seconds(millis int64) float64 { return float64(millis) / 1000 }

// ended waits for so many rounds, and for nothing to be under way.
func ended(rounds int) func(migration.Status) bool {
	return func(s migration.Status) bool { return s.RoundsEnded >= rounds && s.Step == "" }
}
