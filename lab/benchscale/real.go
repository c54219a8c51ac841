package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/snapferry/snapferry/internal/osstest"
	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/lab/byhand"
	"github.com/snapferry/snapferry/lab/cluster"
	"github.com/snapferry/snapferry/lab/rig"
	"github.com/snapferry/snapferry/migration"
)

// field is everything that a migration on real nodes needs.
type field struct {
	dir, rclone string
	out         io.Writer
	began       time.Time
	lab         *lab.Lab
	rig         *rig.Rig
	ossAsS3     string
	closers     []func() error
}

// newField starts nodes of these versions, S3, OSS, Temporal and a worker.
func newField(ctx context.Context, dir, rclone, from, to string, heapMB int, out io.Writer) (f *field, err error) {
	f = &field{dir: dir, rclone: rclone, out: out, began: time.Now()}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close())
		}
	}()
	if err := os.RemoveAll(dir); err != nil { // of a run that was killed
		return f, err
	}
	if err := os.MkdirAll(filepath.Join(dir, "s3"), 0o755); err != nil {
		return f, err
	}
	s3, err := osstest.Start(osstest.Options{
		Dir: filepath.Join(dir, "s3"), Keys: []osstest.Key{{ID: lab.AWSAccessKey, Secret: lab.AWSSecretKey}},
		S3: &osstest.S3Options{Region: lab.Region},
	})
	if err != nil {
		return f, err
	}
	f.closers = append(f.closers, s3.Close)
	if err := s3.CreateBucket(lab.Bucket, osstest.BucketOptions{}); err != nil {
		return f, err
	}
	f.say("starting Elasticsearch %s and %s, S3, OSS, Temporal and a worker", from, to)
	f.lab, err = lab.Start(ctx, lab.Options{
		Dir: filepath.Join(dir, "lab"), Parts: []lab.Part{
			lab.PartOSS, lab.PartTemporal, lab.PartTarget,
			lab.PartSource,
		},
		S3Endpoint: s3.S3URL(), SourceVersion: from, TargetVersion: to, Measured: true, HeapMB: heapMB,
	})
	if err != nil {
		return f, err
	}
	f.closers = append(f.closers, f.lab.Close)
	if err := f.lab.OSS.Server.CreateBucket(f.lab.OSS.Bucket, osstest.BucketOptions{}); err != nil {
		return f, err
	}
	if err := f.serveOSSAsS3(); err != nil {
		return f, err
	}
	if f.rig, err = rig.New(ctx, f.lab); err != nil {
		return f, err
	}
	f.closers = append(f.closers, func() error { f.rig.Close(); return nil })
	_, err = f.rig.Worker("worker")
	return f, err
}

// serveOSSAsS3 gives OSS a face for S3 clients, which the script's rclone needs.
func (f *field) serveOSSAsS3() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: f.lab.OSS.Server.S3Handler(), ReadHeaderTimeout: time.Minute}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(l) // ends with ErrServerClosed
	}()
	f.closers = append(f.closers, func() error {
		err := server.Close()
		<-served
		return err
	})
	f.ossAsS3 = "http://" + l.Addr().String()
	return nil
}

func (f *field) close() error {
	var all error
	for i := len(f.closers) - 1; i >= 0; i-- {
		all = errors.Join(all, f.closers[i]())
	}
	return errors.Join(all, os.RemoveAll(f.dir))
}

func (f *field) say(format string, arguments ...any) {
	fmt.Fprintf(f.out, "%6.0fs  %s\n", time.Since(f.began).Seconds(), fmt.Sprintf(format, arguments...))
}

// subject is what a case copies: it makes indices, and changes some of them.
type subject struct {
	indices string // one pattern or name
	docType string
	// typeless is for a source of 6.8 and a target of 7.x.
	typeless bool
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
	source := f.lab.Source.Direct()
	if err := s.makeAll(ctx, source); err != nil {
		return one, err
	}
	f.say("%s: the indices are made", name)
	plan := f.lab.Plan(name, s.indices)
	plan.Rounds.Interval = migration.Duration(24 * time.Hour) // each round is asked for
	plan.Freeze.HotRound = migration.HotRoundNever            // it would copy the delta before the window
	id, err := f.rig.Start(ctx, plan)
	if err != nil {
		return one, err
	}
	if _, err := f.rig.Await(ctx, id, ended(1)); err != nil {
		return one, err
	}
	f.say("%s: the baseline is copied", name)
	script, err := f.scriptBaseline(ctx, s)
	if err != nil {
		return one, err
	}
	if err := s.change(ctx, source); err != nil {
		return one, err
	}
	if err := f.rig.Signal(ctx, id, migration.RequestRound); err != nil {
		return one, err
	}
	status, err := f.rig.Await(ctx, id, ended(2))
	if err != nil {
		return one, err
	}
	last := status.Rounds[len(status.Rounds)-1]
	one.round = seconds(last.SnapshotMillis + last.CopyMillis + last.RestoreMillis)
	f.say("%s: a round took %.2f s", name, one.round)
	if script != nil {
		if _, err := script.Round(ctx); err != nil {
			return one, err
		}
	}
	if _, err := f.rig.Await(ctx, id, ready); err != nil {
		return one, err
	}
	if err := s.change(ctx, source); err != nil {
		return one, err
	}
	byhand.Settle()
	if err := f.finish(ctx, id, &one); err != nil {
		return one, err
	}
	f.say("%s: the frozen window took %.2f s", name, one.window)
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
	f.say("%s: the script's window took %.2f s", name, one.scriptWindow)
	return one, nil
}

// scriptBaseline copies everything with the script; nil without one.
func (f *field) scriptBaseline(ctx context.Context, s subject) (*byhand.Script, error) {
	if f.rclone == "" {
		return nil, nil //nolint:nilnil // to run without the script is no error
	}
	script := &byhand.Script{
		Lab: f.lab, Dir: f.dir, Rclone: f.rclone, OSSAsS3: f.ossAsS3, Name: "byhand", Indices: s.indices,
		DocType: s.docType, Typeless: s.typeless,
	}
	if err := script.Register(ctx, byhand.Unthrottled); err != nil {
		return nil, err
	}
	_, err := script.Round(ctx)
	f.say("the script has copied its baseline")
	return script, err
}

// finish freezes and hands over.
func (f *field) finish(ctx context.Context, id string, one *carried) error {
	if err := f.rig.Signal(ctx, id, migration.RequestFreeze); err != nil {
		return err
	}
	verified := func(s migration.Status) bool { return s.Phase == migration.PhaseAwaitCutover }
	status, err := f.rig.Await(ctx, id, verified)
	if err != nil {
		return err
	}
	one.last = status.Rounds[len(status.Rounds)-1]
	if err := f.rig.Signal(ctx, id, migration.RequestCutover); err != nil {
		return err
	}
	report, err := f.rig.Report(ctx, id)
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
