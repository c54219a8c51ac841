// Command worker runs the workflow and the activities of snapferry. It holds
// nothing that matters: any number of workers may run, and any of them may die
// at any time.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"go.temporal.io/sdk/contrib/envconfig"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(execute(ctx, os.Args[1:]))
}

// execute runs the command line and returns the exit code: 0 after a graceful
// stop, 1 on failure, 2 for a configuration that is wrong.
func execute(ctx context.Context, args []string) int {
	command := newCommand(envconfig.EnvLookupOS, serve)
	command.SetArgs(args)
	err := command.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintf(os.Stderr, "Error: %v\n", err)
	return codeOf(err)
}
