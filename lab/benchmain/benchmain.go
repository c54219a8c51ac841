// Package benchmain is what the benchmarks' commands share.
package benchmain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/spf13/cobra"
)

// Run executes a benchmark's command and ends the process with its exit code. Ctrl-C and SIGTERM
// cancel the command's context, so that it removes what it has started.
func Run(root *cobra.Command) {
	root.SilenceUsage, root.SilenceErrors = true, true
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := root.ExecuteContext(ctx)
	interrupted := err != nil && ctx.Err() != nil
	stop()
	if interrupted || errors.Is(err, context.Canceled) {
		os.Exit(130) // as a shell reports a Ctrl-C
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, root.Name()+":", err)
		os.Exit(1)
	}
}

// Rclone is the path of the rclone to compare with. As the flag's value, empty stands for the one
// that was built in the repository, and none for no rclone, which is an empty path.
func Rclone(root, flag, target string) (string, error) {
	switch flag {
	case "":
		path := filepath.Join(root, ".lab", "bin", "rclone")
		if _, err := os.Stat(path); err != nil {
			return "", errors.New("rclone isn't built: run make " + target + ", or make bench-tools before this")
		}
		return path, nil
	case "none":
		return "", nil
	}
	return flag, nil
}

// Write writes a report as JSON. Nobody ever reads half of one.
func Write(path string, report any) error {
	text, err := json.MarshalIndent(report, "", " ")
	if err != nil {
		return fmt.Errorf("the report can't be written as JSON: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("no folder for the report: %w", err)
	}
	if err := os.WriteFile(path+".new", append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("the report can't be written: %w", err)
	}
	return os.Rename(path+".new", path)
}

// Median is the median of a measure over several runs, 0 without any.
func Median[T any](runs []T, of func(T) float64) float64 {
	if len(runs) == 0 {
		return 0
	}
	values := make([]float64, len(runs))
	for i, run := range runs {
		values[i] = of(run)
	}
	slices.Sort(values)
	n := len(values)
	if n%2 == 0 {
		return (values[n/2-1] + values[n/2]) / 2
	}
	return values[n/2]
}

// Round3 rounds to thousandths.
func Round3(x float64) float64 { return math.Round(x*1000) / 1000 }
