// Command bench compares the copy with rclone on the same servers, and prints what both took beside
// what is demanded. docs/benchmarks.md tells how and why.
//
// It starts everything that it needs: one process with both servers (internal/osstest, which counts
// and spoils requests), Temporal's dev server, and for each run a new worker or rclone. The worker
// and the servers are this same program.
package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/lab/benchmain"
)

// asChild marks the processes that the program starts of itself.
const asChild = "SNAPFERRY_BENCH_CHILD=1"

func main() { benchmain.Run(command()) }

// options are the flags of a run.
type options struct {
	quick   bool
	seed    uint64
	sets    []string
	runs    int
	profile string
	json    string
	rclone  string
}

func command() *cobra.Command {
	var o options
	root := &cobra.Command{
		Use:   "bench",
		Short: "Compare the copy with rclone on the same servers",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return compareAll(cmd.Context(), cmd.OutOrStdout(), o) },
	}
	flags := root.Flags()
	flags.BoolVar(&o.quick, "quick", false, "two cases on a tenth of the data")
	flags.Uint64Var(&o.seed, "seed", 1, "of the repositories and the faults")
	flags.StringSliceVar(&o.sets, "sets", allSets, "sets to run: A, C, TLS (C with TLS at the source), E, E10, "+
		"fanout, busy (A and C beside ten times the load)")
	flags.IntVar(&o.runs, "runs", 0, "runs of each tool in each case (default: as each case wants)")
	flags.StringVar(&o.profile, "profile", "", "write CPU and heap profiles of the workers into this folder")
	flags.StringVar(&o.json, "json", "", "where the report goes (default .lab/bench.json in the repository)")
	flags.StringVar(&o.rclone, "rclone", "", "rclone's path (default .lab/bin/rclone; none: run without)")

	var s serverOptions
	server := &cobra.Command{
		Use: "server", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return serve(cmd.Context(), s) },
	}
	server.Flags().StringVar(&s.sourceDir, "source", "", "folder")
	server.Flags().StringVar(&s.sinkDir, "sink", "", "folder")
	server.Flags().BoolVar(&s.tls, "tls", false, "TLS at the source")
	server.Flags().Uint64Var(&s.seed, "seed", 1, "of the faults")
	server.Flags().StringVar(&s.ready, "ready", "", "file")

	var w workerOptions
	worker := &cobra.Command{
		Use: "worker", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return work(cmd.Context(), w) },
	}
	worker.Flags().StringVar(&w.address, "address", "", "of Temporal")
	worker.Flags().StringVar(&w.namespace, "namespace", "default", "of Temporal")
	worker.Flags().BoolVar(&w.copiesOnly, "copies-only", false, "serve the copy queue alone")
	worker.Flags().StringVar(&w.ready, "ready", "", "file")
	worker.Flags().StringVar(&w.profile, "profile", "", "folder")
	burner := &cobra.Command{
		Use: "burn", Hidden: true, Args: cobra.NoArgs,
		Run: func(*cobra.Command, []string) {
			for sum := [sha256.Size]byte{}; ; { // until it is killed
				sum = sha256.Sum256(sum[:])
			}
		},
	}
	root.AddCommand(server, worker, burner)
	return root
}

// allSets are the names for --sets.
var allSets = []string{"A", "C", "TLS", "E", "fanout", "E10", "busy"}

// compareAll runs everything that was asked for, prints the table and writes the report.
func compareAll(ctx context.Context, out io.Writer, o options) (err error) {
	for _, set := range o.sets {
		if !slices.Contains(allSets, set) {
			return fmt.Errorf("--sets: there is no set %s: choose from %v", set, allSets)
		}
	}
	root, err := lab.Root()
	if err != nil {
		return err
	}
	if o.json == "" {
		o.json = filepath.Join(root, ".lab", "bench.json")
	}
	o.rclone, err = benchmain.Rclone(root, o.rclone, "bench")
	if err != nil {
		return err
	}
	b, end, err := newBench(ctx, filepath.Join(root, ".lab", "bench"), out, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	failure := b.all(ctx, o)
	b.report.judge()
	fmt.Fprintln(out)
	if failure != nil { // what was measured until then is worth a look, but no report
		return errors.Join(failure, b.report.print(out))
	}
	return errors.Join(b.report.print(out), benchmain.Write(o.json, b.report))
}

// newBench starts Temporal. end ends it and removes everything temporary.
func newBench(ctx context.Context, dir string, out io.Writer, o options) (b *bench, end func() error, err error) {
	if o.profile != "" {
		if o.profile, err = filepath.Abs(o.profile); err != nil {
			return nil, nil, err
		}
	}
	// The lab's lock keeps a second run out; what one that was killed has left goes only then.
	l, err := lab.Start(ctx, lab.Options{
		Dir: filepath.Join(dir, "lab"), Parts: []lab.Part{lab.PartTemporal},
		Fresh: true, Out: out,
	})
	if err != nil {
		return nil, nil, err
	}
	data := dataFolder(dir)
	for _, left := range []string{filepath.Join(dir, "data"), data} {
		if err := os.RemoveAll(left); err != nil {
			return nil, nil, errors.Join(fmt.Errorf("what an earlier run left can't be removed: %w", err), l.Close())
		}
	}
	c, err := l.Temporal.Dial(ctx)
	if err != nil {
		return nil, nil, errors.Join(err, l.Close())
	}
	b = &bench{
		dir: data, out: out, rclone: o.rclone, profile: o.profile, temporal: l.Temporal, client: c, now: time.Now,
		report: &Report{Quick: o.quick, Seed: o.seed, CPUs: runtime.NumCPU(), Load: load(), Cases: []Case{}},
	}
	return b, func() error {
		c.Close()
		return errors.Join(l.Close(), os.RemoveAll(data), os.RemoveAll(dir))
	}, nil
}

// dataFolder is where the servers keep their objects: in memory, where there is enough of it. A
// file system on a disk takes several times as long for a new file when many were deleted shortly
// before (ext4: recently_deleted), which would measure who comes first.
func dataFolder(dir string) string {
	// the largest set, three times, and what is in the folders of its runs
	const inMemory, enough = "/dev/shm", 12 << 30
	if freeBytes(inMemory) < enough || freeMemory() < enough {
		return filepath.Join(dir, "data")
	}
	// The same for each run in this checkout, so that it removes what one that was killed has left.
	sum := sha256.Sum256([]byte(dir))
	return filepath.Join(inMemory, fmt.Sprintf("snapferry-bench-%x", sum[:6]))
}

// on runs work on a set's data and servers.
func (b *bench) on(ctx context.Context, name string, s shape, tls bool, published []string,
	work func(*stage) error,
) (err error) {
	began := b.now()
	data := newDataset(b.report.Seed, s)
	data.first()
	st, err := newStage(ctx, filepath.Join(b.dir, name), data, tls, b.report.Seed, published...)
	if err != nil {
		return fmt.Errorf("the set %s can't be made: %w", name, err)
	}
	defer func() { err = errors.Join(err, st.close()) }()
	w := data.work(false)
	b.say("set %s: %d objects, %s, made and served after %.0f s", name, w.Objects, size(w.Bytes),
		b.now().Sub(began).Seconds())
	return work(st)
}

// all runs the sets.
func (b *bench) all(ctx context.Context, o options) error {
	if o.quick {
		return b.quick(ctx)
	}
	for _, set := range o.sets {
		if err := b.set(ctx, set, o.runs); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) quick(ctx context.Context) error {
	if err := b.on(ctx, "A", setA(true), false, nil, func(st *stage) error {
		return b.try(ctx, st, trial{set: "A", scenario: cold, runs: 3, files: -1}, folders{})
	}); err != nil {
		return err
	}
	at := folders{toolOurs: "published-" + toolOurs, toolRclone: "published-" + toolRclone}
	return b.on(ctx, "E", setE(true), false, []string{at[toolOurs], at[toolRclone]}, func(st *stage) error {
		return b.try(ctx, st, trial{set: "E", scenario: delta, latencyMS: latency, runs: 3, files: 1}, at)
	})
}

const (
	latency   = 20 // milliseconds
	faultRate = 0.05
	// A fan-out's workers, and what one access key may move on each side.
	fanoutWorkers = 4
	fanoutLimit   = 20_000_000 // bytes a second
)

// set runs the trials of one set; runs, if not 0, is how often.
func (b *bench) set(ctx context.Context, set string, runs int) error {
	each := func(st *stage, at folders, trials ...trial) error {
		for _, t := range trials {
			if runs > 0 {
				t.runs = runs
			}
			if err := b.try(ctx, st, t, at); err != nil {
				return err
			}
		}
		return nil
	}
	switch set {
	case "A":
		return b.on(ctx, set, setA(false), false, nil, func(st *stage) error {
			return each(st, folders{}, trial{set: "A", scenario: cold, runs: 5, files: -1})
		})
	case "C":
		return b.on(ctx, set, setC(false), false, nil, func(st *stage) error {
			return each(st, folders{}, trial{set: "C", scenario: cold, runs: 5, files: -1},
				trial{set: "C", scenario: kill, runs: 1, files: -1, halt: true})
		})
	case "TLS":
		return b.on(ctx, set, setC(false), true, nil, func(st *stage) error {
			return each(st, folders{}, trial{set: "C", scenario: cold, runs: 5, files: -1})
		})
	case "E":
		return b.on(ctx, set, setE(false), false, nil, func(st *stage) error {
			return each(st, folders{},
				trial{set: "E", scenario: kill, runs: 3, files: -1, halt: true},
				trial{set: "E", scenario: faults, runs: 3, files: -1, faultRate: faultRate},
				trial{set: "E", scenario: cold, latencyMS: latency, runs: 1, files: -1},
				trial{set: "E", scenario: cold, runs: 3, files: -1, keep: true},
				trial{set: "E", scenario: noop, runs: 3, files: 0},
				trial{set: "E", scenario: noop, latencyMS: latency, runs: 3, files: 0},
				trial{set: "E", scenario: delta, runs: 5, files: 1},
				trial{set: "E", scenario: delta, latencyMS: latency, runs: 5, files: 1},
			)
		})
	case "fanout":
		return b.on(ctx, set, setF(false), false, nil, func(st *stage) error {
			return b.fanout(ctx, st, fanoutWorkers,
				fanoutLimit)
		})
	case "busy":
		beside := func(set string, s shape, tls bool) error {
			return b.on(ctx, set, s, tls, nil, func(st *stage) error {
				return each(st, folders{}, trial{set: set, scenario: busy, runs: 1, files: -1})
			})
		}
		if err := beside("A", setA(false), false); err != nil {
			return err
		}
		return beside("C", setC(false), true)
	default: // E10
		at := folders{toolOurs: "published-" + toolOurs, toolRclone: "published-" + toolRclone}
		return b.on(ctx, set, setE10(false), false, []string{at[toolOurs], at[toolRclone]}, func(st *stage) error {
			return each(st, at, trial{set: "E", scenario: delta10x, runs: 3, files: 1},
				trial{set: "E", scenario: delta10x, latencyMS: latency, runs: 3, files: 1})
		})
	}
}
