// Command chaos runs a campaign of faults: complete migrations on real clusters, with a writer on
// the source, while workers, servers and stores are killed, fail or lie at moments that a seed
// draws. It holds each run to what must be so whatever happens. docs/lab.md tells more.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/internal/osstest"
	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/lab/benchmain"
)

func main() { benchmain.Run(command()) }

var noLimits osstest.Limits

// options are the flags of a campaign.
type options struct {
	runs int
	seed uint64
	only []uint // these seeds, instead of runs
	json string
}

func command() *cobra.Command {
	var o options
	root := &cobra.Command{
		Use:   "chaos",
		Short: "Run migrations while everything around them fails",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			root, err := lab.Root()
			if err != nil {
				return err
			}
			if o.json == "" {
				o.json = filepath.Join(root, ".lab", "chaos.json")
			}
			_, err = campaign(cmd.Context(), filepath.Join(root, ".lab", "chaos"), o, cmd.OutOrStdout())
			return err
		},
	}
	flags := root.Flags()
	flags.IntVar(&o.runs, "runs", 10, "how many migrations")
	flags.Uint64Var(&o.seed, "seed", 1, "of the first one; each further run has the next seed")
	flags.UintSliceVar(&o.only, "seeds", nil, "run these seeds only")
	flags.StringVar(&o.json, "json", "", "where the report goes (default .lab/chaos.json in the repository)")
	return root
}

func (o options) seeds() []uint64 {
	var all []uint64
	for _, seed := range o.only {
		all = append(all, uint64(seed))
	}
	for n := 0; n < o.runs && len(o.only) == 0; n++ {
		all = append(all, o.seed+uint64(n))
	}
	return all
}

// report is what is written as JSON.
type report struct {
	Runs []outcome `json:"runs"`
}

// campaign runs migrations one after the other. Its error says that a run has broken a rule, or
// could not be run.
func campaign(ctx context.Context, dir string, o options, out io.Writer) (all report, err error) {
	if o.runs < 1 && len(o.only) == 0 {
		return all, fmt.Errorf("--runs: %d is not above 0", o.runs)
	}
	f, err := benchmain.NewField(ctx, benchmain.FieldOptions{
		Dir: dir, Out: out, From: lab.SourceVersion, To: lab.TargetVersion, Quick: true, NoWorker: true,
		TargetSettings: watchedDisk,
	})
	if err != nil {
		return all, err
	}
	broken, seeds := 0, o.seeds()
	if slices.ContainsFunc(seeds, setsClock) {
		f.Say("building a worker whose clock can be set (some minutes, the first time)")
		if err := f.Rig.BuildClocked(ctx); err != nil {
			return all, errors.Join(err, f.Close(false))
		}
	}
	for n, seed := range seeds {
		f.Say("run %d of %d, seed %d: %s", n+1, len(seeds), seed, blowsText(draw(seed)))
		one, runErr := run(ctx, f, seed)
		if runErr != nil {
			err = fmt.Errorf("seed %d: %w", seed, runErr)
			break
		}
		all.Runs = append(all.Runs, one)
		f.Say("  %s after %.0f s, %s acknowledged writes, %d lost%s", one.Verdict, one.Seconds,
			human.Count(one.Acknowledged), one.LostWrites, notes(one))
		if len(one.Violations) > 0 {
			broken++
		}
		if o.json == "" {
			continue
		}
		if err = benchmain.Write(o.json, all); err != nil {
			break
		}
	}
	// What a broken rule has left is worth a look.
	if closeErr := f.Close(err != nil || broken > 0); err == nil {
		err = closeErr
	}
	if err == nil && broken > 0 {
		err = fmt.Errorf("%d of %d runs have broken a rule: --seeds N has the same faults at the same moments",
			broken, len(seeds))
	}
	return all, err
}

// setsClock tells whether a fault of a seed's run sets a worker's clock.
func setsClock(seed uint64) bool {
	return slices.ContainsFunc(draw(seed), func(b blow) bool { return faultNamed(b.Fault).clock })
}

// notes are what is remarkable about a run.
func notes(one outcome) string {
	var text strings.Builder
	for _, attention := range one.Attention {
		text.WriteString("\n          asked for a person: " + attention)
	}
	for _, missed := range one.NotReached {
		text.WriteString("\n          did not come: " + missed)
	}
	for _, violation := range one.Violations {
		text.WriteString("\n          BROKEN: " + violation)
	}
	return text.String()
}
