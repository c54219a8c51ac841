// Command starter is the command line of snapferry. It starts migrations, shows their state, and
// sends the requests that move them on. It only speaks to Temporal and stores nothing: everything
// that it does can also be done in the Temporal UI or with the temporal command line.
//
// A command looks at a migration (look.go: what Temporal knows, and the status that the workflow
// answers with), prints a page (status.go, watch.go) and ends with the command that makes sense
// next. Exit codes are in exit.go, all that tests replace is in deps.go.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := execute(ctx, system(), os.Args[1:])
	stop()
	os.Exit(code)
}
