// Command benchwindow compares the frozen window with that of a shell script which a careful
// engineer would write (migrate.sh), on the same clusters and the same documents, and prints what
// both took beside what is demanded. docs/benchmarks.md tells how and why.
//
// It starts everything that it needs: Elasticsearch 5.5.2 and 5.5.3, S3 and OSS (internal/osstest,
// which delays requests as asked), Temporal's dev server and a worker.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/lab/benchmain"
)

func main() { benchmain.Run(command()) }

// options are the flags of a run.
type options struct {
	quick     bool
	seed      uint64
	runs      int
	warmUp    string // the delta that is copied once before, without being measured; "" for none
	deltas    []string
	latencies []int
	line      int
	json      string
	rclone    string
	keep      bool
}

func command() *cobra.Command {
	var o options
	root := &cobra.Command{
		Use:   "benchwindow",
		Short: "Compare the frozen window with that of a careful user's shell script",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return compare(cmd.Context(), cmd.OutOrStdout(), o) },
	}
	flags := root.Flags()
	flags.BoolVar(&o.quick, "quick", false, "the small delta, once, without added latency, unless the other flags "+
		"say otherwise")
	flags.Uint64Var(&o.seed, "seed", 1, "of the documents")
	flags.IntVar(&o.runs, "runs", 3, "runs of each way in each case")
	flags.StringSliceVar(&o.deltas, "deltas", []string{deltaSmall, deltaLarge, deltaLines},
		"what is written before the window: small, large, and lines for the case with slow lines")
	flags.IntSliceVar(&o.latencies, "latencies", []int{0, 20}, "milliseconds before each answer of S3 and OSS")
	flags.IntVar(&o.line, "line", 60, "MB/s in each direction of S3 and OSS, in the case with slow lines")
	flags.StringVar(&o.json, "json", "", "where the report goes (default .lab/bench-window.json in the repository)")
	flags.StringVar(&o.rclone, "rclone", "", "rclone's path (default .lab/bin/rclone; none: run without the scripts)")
	flags.BoolVar(&o.keep, "keep", false, "leave logs and data in .lab/benchwindow")
	root.PreRun = func(cmd *cobra.Command, _ []string) {
		if !o.quick {
			o.warmUp = deltaSmall
			return
		}
		if !flags.Changed("runs") {
			o.runs = 1
		}
		if !flags.Changed("deltas") {
			o.deltas = []string{deltaSmall}
		}
		if !flags.Changed("latencies") {
			o.latencies = []int{0}
		}
	}
	return root
}

// check refuses what can't be run, before minutes are spent.
func (o *options) check(root string) error {
	for _, delta := range o.deltas {
		if _, known := sizes[delta]; !known {
			return fmt.Errorf("--deltas: there is no delta %q: choose from %s, %s and %s", delta, deltaSmall,
				deltaLarge, deltaLines)
		}
	}
	if i := slices.IndexFunc(o.latencies, func(ms int) bool { return ms < 0 || ms > 1000 }); i >= 0 {
		return fmt.Errorf("--latencies: %d ms is not from 0 to 1000", o.latencies[i])
	}
	if o.line < 1 || o.line > 10_000 {
		return fmt.Errorf("--line: %d MB/s is not from 1 to 10,000", o.line)
	}
	if o.runs < 1 || len(o.deltas) == 0 || len(o.latencies) == 0 {
		return errors.New("nothing to run: --runs, --deltas and --latencies must all ask for something")
	}
	if o.json == "" {
		o.json = filepath.Join(root, ".lab", "bench-window.json")
	}
	var err error
	o.rclone, err = benchmain.Rclone(root, o.rclone, "bench-window")
	return err
}

// compare runs all cases, prints the table and writes the report.
func compare(ctx context.Context, out io.Writer, o options) (err error) {
	root, err := lab.Root()
	if err != nil {
		return err
	}
	if err := o.check(root); err != nil {
		return err
	}
	began := time.Now()
	b, err := newBench(ctx, filepath.Join(root, ".lab", "benchwindow"), out, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.end()) }()
	if err := b.all(ctx); err != nil {
		return err
	}
	b.report.judge()
	b.report.Seconds = benchmain.Round3(time.Since(began).Seconds())
	fmt.Fprintln(out)
	return errors.Join(b.report.print(out), benchmain.Write(o.json, b.report))
}
