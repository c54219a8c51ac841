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
	"runtime"
	"time"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/internal/osstest"
	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/lab/byhand"
	"github.com/snapferry/snapferry/lab/cluster"
	"github.com/snapferry/snapferry/lab/rig"
	"github.com/snapferry/snapferry/migration"
)

// run is what one final round took, in seconds.
type run struct {
	window    float64
	steps     map[string]float64
	own       own
	predicted float64 // -1 without a prediction
	delta     int64   // bytes copied, if known
	groups    int     // that the final round was cut into, if known
	timeline  []Span
}

// way is one way to copy the indices.
type way interface {
	start(context.Context) error // register, and copy the baseline
	round(context.Context) error // copy what was written since
	ready(context.Context) error // what is done before the window
	final(context.Context) (run, error)
}

type namedWay struct {
	name string
	way
}

// bench runs the cases.
type bench struct {
	o       options
	dir     string // everything temporary; removed at the end
	out     io.Writer
	began   time.Time
	rclone  string // path; "" to run without the scripts
	s3      *osstest.Server
	lab     *lab.Lab
	rig     *rig.Rig
	ossAsS3 string // OSS's face for S3 clients
	closers []func() error
	report  *Report
	serial  int // makes names
}

// snapshotThreads is how many shards the source's node snapshots at once: what a node of ten cores
// does. Of this computer's cores Elasticsearch would make one, and with 20 ms to S3 the requests
// for fifteen shards in a row would be all that a window shows.
const snapshotThreads = "5"

// newBench starts everything.
func newBench(ctx context.Context, dir string, out io.Writer, o options) (_ *bench, err error) {
	if err := os.RemoveAll(dir); err != nil { // of a run that was killed
		return nil, fmt.Errorf("what an earlier run left can't be removed: %w", err)
	}
	b := &bench{
		o: o, dir: dir, out: out, began: time.Now(), rclone: o.rclone,
		report: &Report{Quick: o.quick, Seed: o.seed, CPUs: runtime.NumCPU(), Cases: []Case{}},
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.end())
		}
	}()
	if err := os.MkdirAll(filepath.Join(dir, "s3"), 0o755); err != nil {
		return nil, err
	}
	b.s3, err = osstest.Start(osstest.Options{
		Dir: filepath.Join(dir, "s3"), Keys: []osstest.Key{{ID: lab.AWSAccessKey, Secret: lab.AWSSecretKey}},
		S3: &osstest.S3Options{Region: lab.Region},
	})
	if err != nil {
		return nil, err
	}
	b.closers = append(b.closers, b.s3.Close)
	if err := b.s3.CreateBucket(lab.Bucket, osstest.BucketOptions{}); err != nil {
		return nil, err
	}
	b.say("starting Elasticsearch %s and %s, S3, OSS, Temporal and a worker", lab.SourceVersion, lab.TargetVersion)
	b.lab, err = lab.Start(ctx, lab.Options{
		Dir: filepath.Join(dir, "lab"), Parts: []lab.Part{
			lab.PartOSS, lab.PartTemporal, lab.PartTarget,
			lab.PartSource,
		}, S3Endpoint: b.s3.S3URL(),
		SourceSettings: map[string]string{"thread_pool.snapshot.max": snapshotThreads}, Measured: true,
	})
	if err != nil {
		return nil, err
	}
	b.closers = append(b.closers, b.lab.Close)
	if err := b.lab.OSS.Server.CreateBucket(b.lab.OSS.Bucket, osstest.BucketOptions{}); err != nil {
		return nil, err
	}
	if b.ossAsS3, err = b.serve(b.lab.OSS.Server.S3Handler()); err != nil {
		return nil, err
	}
	if b.rig, err = rig.New(ctx, b.lab); err != nil {
		return nil, err
	}
	b.closers = append(b.closers, func() error { b.rig.Close(); return nil })
	_, err = b.rig.Worker("worker")
	return b, err
}

// serve serves a handler on a free port of its own.
func (b *bench) serve(h http.Handler) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(l) // ends with ErrServerClosed
	}()
	b.closers = append(b.closers, func() error {
		err := server.Close()
		<-served
		return err
	})
	return "http://" + l.Addr().String(), nil
}

// end ends everything and removes what is temporary.
func (b *bench) end() error {
	var all error
	for len(b.closers) > 0 {
		last := len(b.closers) - 1
		all = errors.Join(all, b.closers[last]())
		b.closers = b.closers[:last]
	}
	if b.o.keep {
		return all
	}
	return errors.Join(all, os.RemoveAll(b.dir))
}

func (b *bench) say(format string, arguments ...any) {
	fmt.Fprintf(b.out, "%6.0fs  %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, arguments...))
}

// all runs the cases: first those with the small delta.
func (b *bench) all(ctx context.Context) error {
	b.say("seed %d, %d runs", b.o.seed, b.o.runs)
	for _, delta := range b.o.deltas {
		if delta == deltaLines {
			if err := b.lines(ctx); err != nil {
				return fmt.Errorf("slow lines: %w", err)
			}
			continue
		}
		for _, latency := range b.o.latencies {
			if err := b.one(ctx, delta, latency); err != nil {
				return fmt.Errorf("delta %s at %d ms: %w", delta, latency, err)
			}
		}
	}
	return nil
}

// one runs one case, each time with new indices.
func (b *bench) one(ctx context.Context, delta string, latencyMS int) error {
	limits := osstest.Limits{Latency: time.Duration(latencyMS) * time.Millisecond}
	b.limit(limits)
	runs := map[string][]run{}
	for n := range b.o.runs {
		ways := func(name string, data *stock) []namedWay {
			ways := []namedWay{{wayOurs, &ours{b: b, name: name, stock: data}}}
			if b.rclone != "" {
				ways = append(ways, namedWay{wayScript, b.script("throttled", data, false)},
					namedWay{wayUnthrottled, b.script("unthrottled", data, true)})
			}
			return ways
		}
		if err := b.turn(ctx, n, delta, fmt.Sprintf("%2d ms", latencyMS), ways, runs); err != nil {
			return err
		}
	}
	b.report.Cases = append(b.report.Cases, newCase(delta, latencyMS, runs))
	return nil
}

// lines runs the case with slow lines, in groups and without, each time with new indices: two
// migrations of the same ones would restore over each other.
func (b *bench) lines(ctx context.Context) error {
	perSecond := int64(b.o.line) * 1_000_000
	b.limit(osstest.Limits{Received: perSecond, Sent: perSecond})
	defer b.limit(osstest.Limits{})
	runs := map[string][]run{}
	for n := range b.o.runs {
		both := []struct {
			way      string
			pipeline migration.Pipeline
		}{{wayGroups, migration.Pipeline{}}, {wayOneByOne, migration.Pipeline{Groups: 1}}}
		for i := range both {
			next := both[(i+n)%len(both)]
			way := func(name string, data *stock) []namedWay {
				return []namedWay{{next.way, &ours{b: b, name: name, stock: data, pipeline: next.pipeline}}}
			}
			if err := b.turn(ctx, n, deltaLines, fmt.Sprintf("%d MB/s", b.o.line), way, runs); err != nil {
				return err
			}
		}
	}
	b.report.Lines = newLines(b.o.line, sizes[deltaLines].indices, runs)
	return nil
}

// limit holds for S3 and OSS, for everyone.
func (b *bench) limit(limits osstest.Limits) {
	b.s3.SetLimits("", limits)
	b.lab.OSS.Server.SetLimits("", limits)
}

// runLimit ends a run that hangs.
const runLimit = 10 * time.Minute

// turn makes indices, lets each way copy baseline and round, writes the delta, and lets each way
// copy the final round, another one first each time. All copy the same documents from the same
// indices; the scripts restore under names of their own.
func (b *bench) turn(ctx context.Context, turn int, delta, limits string,
	waysOf func(name string, data *stock) []namedWay, runs map[string][]run,
) error {
	ctx, cancel := context.WithTimeoutCause(ctx, runLimit, fmt.Errorf("a run took more than %s", runLimit))
	defer cancel()
	b.serial++
	name := fmt.Sprintf("shop%d", b.serial)
	size, began := sizes[delta], time.Now()
	data, err := newStock(ctx, b.lab.Source.Direct(), b.o.seed, name, size)
	if err != nil {
		return err
	}
	ways := waysOf(name, data)
	var writing time.Duration
	grow := func(bytes int64) error {
		from := time.Now()
		defer func() { writing += time.Since(from) }()
		return data.grow(ctx, bytes)
	}
	if err := grow(size.baseline); err != nil {
		return err
	}
	for _, w := range ways {
		if err := w.start(ctx); err != nil {
			return fmt.Errorf("%s, baseline: %w", w.name, err)
		}
	}
	if err := grow(size.round); err != nil {
		return err
	}
	for _, w := range ways {
		if err := w.round(ctx); err != nil {
			return fmt.Errorf("%s, round: %w", w.name, err)
		}
	}
	if err := grow(size.delta); err != nil {
		return err
	}
	b.say("%s, %s: run %d of %d prepared in %.0f s, %.0f of them to write documents", delta, limits, turn+1,
		b.o.runs, time.Since(began).Seconds(), writing.Seconds())
	for i := range ways {
		w := ways[(i+turn)%len(ways)]
		if err := w.ready(ctx); err != nil {
			return fmt.Errorf("%s, before the window: %w", w.name, err)
		}
		byhand.Settle()
		one, err := w.final(ctx)
		if err != nil {
			return fmt.Errorf("%s, final round: %w", w.name, err)
		}
		runs[w.name] = append(runs[w.name], one)
		b.say("%s, %s: %-18s window %6.2f s  %s  Elasticsearch's own %.2f + %.2f s%s", delta, limits, w.name,
			one.window, stepsText(one.steps),
			one.own.snapshot.Seconds(), one.own.restore.Seconds(), aside(one))
		if err := data.unblock(ctx); err != nil {
			return err
		}
	}
	return b.clear(ctx)
}

// aside says what only we tell.
func aside(one run) string {
	text := ""
	if one.delta > 0 {
		text += ", delta " + human.Size(one.delta)
	}
	if one.predicted >= 0 && len(one.timeline) > 0 {
		text += fmt.Sprintf(", predicted %.2f s", one.predicted)
	}
	if one.groups > 1 {
		text += fmt.Sprintf(", %d groups", one.groups)
	}
	return text
}

// clear removes all indices, registrations and objects.
func (b *bench) clear(ctx context.Context) error {
	for _, c := range []*cluster.Client{b.lab.Source.Direct(), b.lab.Target.Direct()} {
		if err := c.Do(ctx, http.MethodDelete, "/_all", nil, nil); err != nil {
			return err
		}
		err := c.Do(ctx, http.MethodDelete, "/_snapshot/*", nil, nil)
		var status *cluster.StatusError
		if errors.As(err, &status) && status.Status == http.StatusNotFound { // ours are gone already
			err = nil
		}
		if err != nil {
			return err
		}
	}
	for server, bucket := range map[*osstest.Server]string{b.s3: b.lab.S3.Bucket, b.lab.OSS.Server: b.lab.OSS.Bucket} {
		for _, o := range server.Objects(bucket) {
			if err := server.Delete(bucket, o.Key); err != nil {
				return err
			}
		}
	}
	return nil
}
