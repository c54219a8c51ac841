package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"time"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/internal/osstest"
	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/lab/benchmain"
	"github.com/snapferry/snapferry/lab/byhand"
	"github.com/snapferry/snapferry/lab/cluster"
	"github.com/snapferry/snapferry/migration"
)

// run is what one final round took, in seconds.
type run struct {
	window    float64
	steps     map[string]float64
	own       own     // by Elasticsearch's own account
	requests  own     // by what it asked of S3 and OSS
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
	*benchmain.Field
	o      options
	rclone string // path; "" to run without the scripts
	report *Report
	serial int // makes names
	// fromSource and fromTarget are the clusters' requests to S3 and OSS in the window.
	fromSource, fromTarget journal
}

// snapshotThreads is how many shards the source's node snapshots at once: what a node of ten cores
// does. Of this computer's cores Elasticsearch would make one, and with 20 ms to S3 the requests
// for fifteen shards in a row would be all that a window shows.
const snapshotThreads = "5"

// newBench starts everything.
func newBench(ctx context.Context, dir string, out io.Writer, o options) (*bench, error) {
	field, err := benchmain.NewField(ctx, benchmain.FieldOptions{
		Dir: dir, Out: out, From: lab.SourceVersion, To: lab.TargetVersion,
		SourceSettings: map[string]string{"thread_pool.snapshot.max": snapshotThreads},
	})
	if err != nil {
		return nil, err
	}
	b := &bench{
		Field: field, o: o, rclone: o.rclone,
		report: &Report{Quick: o.quick, Seed: o.seed, CPUs: runtime.NumCPU(), Cases: []Case{}},
	}
	b.S3.Observe(b.fromSource.of(b.SourceKey.ID))
	b.Lab.OSS.Server.Observe(b.fromTarget.of(b.Lab.OSS.ClusterKey.ID))
	return b, nil
}

// end ends everything and removes what is temporary.
func (b *bench) end() error { return b.Close(b.o.keep) }

// all runs the cases: first those with the small delta.
func (b *bench) all(ctx context.Context) error {
	b.Say("seed %d, %d runs", b.o.seed, b.o.runs)
	if err := b.warmUp(ctx); err != nil {
		return fmt.Errorf("warm up: %w", err)
	}
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
		if err := b.turn(ctx, n, delta, fmt.Sprintf("%2d ms", latencyMS), b.ways, runs); err != nil {
			return err
		}
	}
	b.report.Cases = append(b.report.Cases, newCase(delta, latencyMS, runs))
	return nil
}

// warmUp has each way copy a delta that isn't measured. A window comes hours after its servers
// have started. Without it the first way of the first run was the first migration that these servers
// and this worker ever saw; it was always ours, and up to a second slower than our other runs.
func (b *bench) warmUp(ctx context.Context) error {
	if b.o.warmUp == "" {
		return nil
	}
	b.limit(osstest.Limits{})
	b.Say("once without measuring, so that no way is the first that the servers see ...")
	return b.turn(ctx, 0, b.o.warmUp, "not measured", b.ways, map[string][]run{})
}

// ways are ours and both scripts.
func (b *bench) ways(name string, data *stock) []namedWay {
	// Nobody can tell how long Elasticsearch itself was at work on groups that overlap. On a slow
	// computer the prediction would cut some.
	alone := migration.Pipeline{Groups: 1}
	ways := []namedWay{{wayOurs, &ours{b: b, name: name, stock: data, pipeline: alone}}}
	if b.rclone != "" {
		ways = append(ways, namedWay{wayScript, b.script("throttled", data, false)},
			namedWay{wayUnthrottled, b.script("unthrottled", data, true)})
	}
	return ways
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
	b.S3.SetLimits("", limits)
	b.Lab.OSS.Server.SetLimits("", limits)
}

// runLimit ends a run that hangs.
const runLimit = lab.Patience

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
	data, err := newStock(ctx, b.Lab.Source.Direct(), b.o.seed, name, size)
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
	for i, bytes := range size.rounds {
		if err := grow(bytes); err != nil {
			return err
		}
		for _, w := range ways {
			if err := w.round(ctx); err != nil {
				return fmt.Errorf("%s, round %d: %w", w.name, i+1, err)
			}
		}
	}
	if err := grow(size.deltaOf(turn)); err != nil {
		return err
	}
	b.Say("%s, %s: run %d of %d prepared in %.0f s, %.0f of them to write documents", delta, limits, turn+1,
		b.o.runs, time.Since(began).Seconds(), writing.Seconds())
	for i := range ways {
		w := ways[(i+turn)%len(ways)]
		if err := w.ready(ctx); err != nil {
			return fmt.Errorf("%s, before the window: %w", w.name, err)
		}
		byhand.Settle()
		b.fromSource.clear()
		b.fromTarget.clear()
		one, err := w.final(ctx)
		if err != nil {
			return fmt.Errorf("%s, final round: %w", w.name, err)
		}
		runs[w.name] = append(runs[w.name], one)
		b.Say("%s, %s: %-18s window %6.2f s  %s  Elasticsearch's own %.2f + %.2f s, by requests %.2f + %.2f s%s",
			delta, limits, w.name, one.window, stepsText(one.steps),
			one.own.snapshot.Seconds(), one.own.restore.Seconds(),
			one.requests.snapshot.Seconds(), one.requests.restore.Seconds(), aside(one))
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
	for _, c := range []*cluster.Client{b.Lab.Source.Direct(), b.Lab.Target.Direct()} {
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
	for server, bucket := range map[*osstest.Server]string{b.S3: b.Lab.S3.Bucket, b.Lab.OSS.Server: b.Lab.OSS.Bucket} {
		for _, o := range server.Objects(bucket) {
			if err := server.Delete(bucket, o.Key); err != nil {
				return err
			}
		}
	}
	return nil
}
