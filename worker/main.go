// Command worker runs the workflows and the activities of snapferry. It keeps no state: any number
// of workers may run, and each may end at any time.
//
// It serves two task queues (register.go): one for the workflows and the short activities, one for
// the copies, which may run elsewhere. config.go reads flags and environment, serve.go connects,
// serves and stops, metrics.go shows the worker's metrics and health.
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
	// A second signal ends the process immediately.
	context.AfterFunc(ctx, stop)
	os.Exit(execute(ctx, os.Args[1:]))
}

// execute runs the command line and returns the exit code: 0 after a graceful stop, 1 on failure, 2
// for a wrong configuration.
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
