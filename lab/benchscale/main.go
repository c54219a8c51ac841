// Command benchscale runs whole migrations of very many indices, and prints how large payloads and
// histories become: Temporal's server terminates a workflow whose payload is above 2 MiB, or whose
// history is above 50 MB. docs/benchmarks.md tells how and why.
//
// The Temporal server, OSS and all workflows and activities are real. The clusters are those of the
// tests (internal/elastic/elastictest), and nothing is copied between the buckets.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/lab/benchmain"
)

func main() { benchmain.Run(command()) }

// options are the flags of a run.
type options struct {
	indices []int
	shards  int
	json    string
}

func command() *cobra.Command {
	var o options
	root := &cobra.Command{
		Use:   "benchscale",
		Short: "Measure payloads and histories of migrations of very many indices",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return measureAll(cmd.Context(), cmd.OutOrStdout(), o) },
	}
	flags := root.Flags()
	flags.IntSliceVar(&o.indices, "indices", []int{1_000, 10_000}, "how many indices, a migration for each")
	flags.IntVar(&o.shards, "shards", 10, "shards of each index")
	flags.StringVar(&o.json, "json", "", "where the report goes (default .lab/bench-scale.json in the repository)")
	return root
}

// report is what is written as JSON.
type report struct {
	Cases []Case `json:"cases"`
}

func measureAll(ctx context.Context, out io.Writer, o options) error {
	root, err := lab.Root()
	if err != nil {
		return err
	}
	if o.json == "" {
		o.json = filepath.Join(root, ".lab", "bench-scale.json")
	}
	var all report
	for _, indices := range o.indices {
		fmt.Fprintf(out, "a migration of %s indices of %d shards: baseline, %d rounds, freeze, cutover\n",
			human.Count(int64(indices)), o.shards, rounds)
		dir := filepath.Join(root, ".lab", "benchscale")
		one, err := measure(ctx, dir, indices, o.shards, out)
		if err != nil {
			return err
		}
		all.Cases = append(all.Cases, one)
	}
	var over []error
	var table bytes.Buffer
	human.Table(&table, func(row func(...string)) {
		row("indices", "shards", "largest payload", "of", "events", "history", "result")
		for _, one := range all.Cases {
			row(human.Count(int64(one.Indices)), human.Count(int64(one.Indices*one.ShardsPerIndex)),
				human.Size(int64(one.LargestPayloadBytes)), one.LargestPayloadOf,
				human.Count(one.LargestHistoryEvents), human.Size(one.LargestHistoryBytes), one.Result)
			over = append(over, one.check())
		}
	})
	fmt.Fprint(out, table.String())
	if err := benchmain.Write(o.json, all); err != nil {
		return err
	}
	fmt.Fprintln(out, "written to "+o.json)
	return errors.Join(over...)
}
