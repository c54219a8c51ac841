// Command starter is the command line of snapferry: it starts migrations, shows
// how they stand, and sends the requests that move them on. It only speaks to
// Temporal and holds nothing itself: whatever it does can also be done with the
// Temporal UI or the temporal command line.
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
