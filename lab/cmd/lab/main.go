// Command lab brings up the real parts of a migration on this computer, with no cloud account. "lab
// up" waits for people who try things by hand, "lab demo" runs a complete migration before their
// eyes, and "lab tools" builds what both need.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/snapferry/snapferry/lab"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command().ExecuteContext(ctx)
	stop()
	if errors.Is(err, context.Canceled) {
		os.Exit(130) // as a shell reports a Ctrl-C
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use:   "lab",
		Short: "Run the real parts of a migration on this computer",
		Long: "lab runs Elasticsearch 5.5.2 and 5.5.3, an S3 server, an OSS server and Temporal on this " +
			"computer: each on a\nfree port of 127.0.0.1, with its data and its log below .lab in the repository.",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(demoCommand(), upCommand(), toolsCommand())
	return root
}

func toolsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "tools",
		Short: "Build what the lab runs, if it is missing or out of date",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := lab.EnsureTools(cmd.Context(), cmd.OutOrStdout()); err != nil {
				return err
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "the lab's tools are ready; next: go run ./lab/cmd/lab up")
			return err
		},
	}
}

func upCommand() *cobra.Command {
	var dir string
	var keep, empty bool
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Bring everything up, print where it is and what to try, and wait for Ctrl-C",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				root, err := lab.Root()
				if err != nil {
					return err
				}
				dir = filepath.Join(root, ".lab", "up")
			}
			return up(cmd.Context(), cmd.OutOrStdout(), dir, keep, empty)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "run directory (default .lab/up in the repository)")
	cmd.Flags().BoolVar(&keep, "keep-data", false, "go on with the data of the last run instead of an empty lab")
	cmd.Flags().BoolVar(&empty, "empty", false, "don't load the indices movies and catalog")
	return cmd
}
