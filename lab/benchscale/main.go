// Command benchscale shows how snapferry grows with the cluster. It runs whole migrations:
//
//   - payloads: of very many indices, with clusters in memory: how large payloads and histories
//     become. Temporal's server terminates a workflow whose payload is above 2 MiB, or whose history
//     is above 50 MB.
//   - indices: of many small indices on real nodes, of which the same few change.
//   - documents: of one index of few and of many documents on real nodes, with the same delta.
//   - rate: no migration, but what a busy node feels of the comparisons before the freeze.
//
// docs/benchmarks.md tells how and why.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/lab/benchmain"
	"github.com/snapferry/snapferry/lab/byhand"
)

func main() { benchmain.Run(command()) }

// What is measured.
const (
	whatPayloads  = "payloads"
	whatIndices   = "indices"
	whatDocuments = "documents"
	whatRate      = "rate"
)

func whats() []string { return []string{whatPayloads, whatIndices, whatDocuments, whatRate} }

// options are the flags of a run.
type options struct {
	what      []string
	indices   []int
	shards    int
	many      []int
	documents []int
	unproven  bool
	rates     []int
	rclone    string
	json      string
}

func command() *cobra.Command {
	var o options
	root := &cobra.Command{
		Use:   "benchscale",
		Short: "Measure how migrations grow with the number of indices and documents",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return measureAll(cmd.Context(), cmd.OutOrStdout(), o) },
	}
	flags := root.Flags()
	flags.StringSliceVar(&o.what, "what", whats(), "what is measured")
	flags.IntSliceVar(&o.indices, "indices", []int{1_000, 10_000}, "payloads: how many indices, a migration for each")
	flags.IntVar(&o.shards, "shards", 10, "payloads: shards of each index")
	flags.IntSliceVar(&o.many, "many", []int{200, 2_000}, "indices: how many, a migration for each")
	flags.IntSliceVar(&o.documents, "documents", []int{200_000, 20_000_000},
		"documents: how many, a migration for each")
	flags.BoolVar(&o.unproven, "unproven", false, "documents: freeze at once, also a migration for each")
	flags.IntSliceVar(&o.rates, "rates", []int{noRate, 1_000, 5_000, 20_000, unlimited, noRate},
		"rate: documents a second that are compared; 0 for nothing, -1 for no limit")
	flags.StringVar(&o.rclone, "rclone", "", "rclone's path (default .lab/bin/rclone; none: run without the script)")
	flags.StringVar(&o.json, "json", "", "where the report goes (default .lab/bench-scale.json in the repository)")
	return root
}

// check refuses what can't be run, before minutes are spent.
func (o *options) check(root string) error {
	for _, what := range o.what {
		if !slices.Contains(whats(), what) {
			return fmt.Errorf("--what: %q is not known: choose from %s", what, strings.Join(whats(), ", "))
		}
	}
	if o.json == "" {
		o.json = filepath.Join(root, ".lab", "bench-scale.json")
	}
	if slices.Contains(o.what, whatIndices) || slices.Contains(o.what, whatDocuments) {
		var err error
		o.rclone, err = benchmain.Rclone(root, o.rclone, "bench-scale")
		return err
	}
	return nil
}

// report is what is written as JSON.
type report struct {
	Cases []any `json:"cases"`
}

func measureAll(ctx context.Context, out io.Writer, o options) error {
	root, err := lab.Root()
	if err != nil {
		return err
	}
	if err := o.check(root); err != nil {
		return err
	}
	var all report
	var failed []error
	for _, what := range o.what {
		measure := map[string]func(context.Context, string, options, io.Writer, *report) error{
			whatPayloads: measurePayloads, whatIndices: measureIndices, whatDocuments: measureDocuments,
			whatRate: measureRates,
		}[what]
		failed = append(failed, measure(ctx, root, o, out, &all))
	}
	// What was measured counts, also if another case has failed.
	failed = append(failed, benchmain.Write(o.json, all))
	fmt.Fprintln(out, "written to "+o.json)
	return errors.Join(failed...)
}

func measurePayloads(ctx context.Context, root string, o options, out io.Writer, all *report) error {
	var cases []Case
	for _, indices := range o.indices {
		fmt.Fprintf(out, "a migration of %s indices of %d shards: baseline, %d rounds, freeze, cutover\n",
			human.Count(int64(indices)), o.shards, rounds)
		one, err := measure(ctx, filepath.Join(root, ".lab", "benchscale"), indices, o.shards, out)
		if err != nil {
			return err
		}
		cases, all.Cases = append(cases, one), append(all.Cases, one)
	}
	var over []error
	table(out, func(row func(...string)) {
		row("indices", "shards", "largest payload", "of", "events", "history", "result")
		for _, one := range cases {
			row(human.Count(int64(one.Indices)), human.Count(int64(one.Indices*one.ShardsPerIndex)),
				human.Size(int64(one.LargestPayloadBytes)), one.LargestPayloadOf,
				human.Count(one.LargestHistoryEvents), human.Size(one.LargestHistoryBytes), one.Result)
			over = append(over, one.check())
		}
	})
	return errors.Join(over...)
}

func measureIndices(ctx context.Context, root string, o options, out io.Writer, all *report) error {
	var cases []IndicesCase
	for _, count := range o.many {
		one, err := manyIndices(ctx, root, o.rclone, count, out)
		if err != nil {
			return fmt.Errorf("%d indices: %w", count, err)
		}
		cases, all.Cases = append(cases, one), append(all.Cases, one)
	}
	table(out, func(row func(...string)) {
		row(append([]string{"indices", "changed", "copied", "round s", "window s"},
			append(byhand.Steps(), "script's window s")...)...)
		for _, one := range cases {
			row(append([]string{
				human.Count(int64(one.Count)), human.Count(int64(one.Changed)), human.Count(int64(one.Taken)),
				figure(one.RoundSeconds), figure(one.WindowSeconds),
			}, append(figures(one.Steps), figure(one.ScriptWindowSeconds))...)...)
		}
	})
	return nil
}

func measureDocuments(ctx context.Context, root string, o options, out io.Writer, all *report) error {
	var cases []DocumentsCase
	proofs := []bool{true}
	if o.unproven {
		proofs = append(proofs, false)
	}
	for _, proven := range proofs {
		for _, count := range o.documents {
			one, err := manyDocuments(ctx, root, o.rclone, int64(count), proven, out)
			if err != nil {
				return fmt.Errorf("%d documents: %w", count, err)
			}
			cases, all.Cases = append(cases, one), append(all.Cases, one)
		}
	}
	table(out, func(row func(...string)) {
		row(append([]string{"documents", "changed", "copied", "proven before", "window s"},
			append(byhand.Steps(), "script's window s")...)...)
		for _, one := range cases {
			row(append([]string{
				human.Count(one.Count), human.Count(one.DeltaDocuments), human.Size(one.CopiedBytes),
				fmt.Sprint(one.Proven), figure(one.WindowSeconds),
			}, append(figures(one.Steps), figure(one.ScriptWindowSeconds))...)...)
		}
	})
	return nil
}

func table(out io.Writer, rows func(row func(...string))) {
	var text bytes.Buffer
	human.Table(&text, rows)
	fmt.Fprint(out, strings.TrimRight(text.String(), "\n")+"\n")
}

func figure(seconds float64) string {
	if seconds == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", seconds)
}

// figures are the steps of a window, in their order.
func figures(steps map[string]float64) []string {
	var all []string
	for _, name := range byhand.Steps() {
		all = append(all, figure(steps[name]))
	}
	return all
}
