// Command hooks is a worker of your own for the hooks of a plan: each of its activities runs a shell
// command. Take it as it is, or as the beginning of yours.
//
//	hooks --queue ours \
//	  --activity StopWriters='systemctl stop indexer' \
//	  --activity StartWriters='systemctl start indexer'
//
// A command gets the hook's input as JSON on its standard input. How it ends is its answer:
//
//   - 0: the step goes on. The last line that it printed is the message.
//   - 3: it refuses the step. The last line that it printed is the reason.
//   - anything else: it is tried again, as often as the plan says.
//
// The worker finds Temporal by the variables that snapferry's worker takes: TEMPORAL_ADDRESS,
// TEMPORAL_NAMESPACE and so on.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"os/exec"
	"strings"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"

	"github.com/snapferry/snapferry/migration"
)

// refuses is the exit code with which a command refuses the step.
const refuses = 3

// beat is how often a command's activity asks whether it was cancelled.
const beat = time.Second

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	queue := flag.String("queue", "ours", "task queue, as the plan names it")
	commands := map[string]string{}
	flag.Func("activity", "TYPE=COMMAND: an activity, as the plan names it, and the shell command that it runs",
		func(text string) error {
			name, command, ok := strings.Cut(text, "=")
			if !ok || name == "" || command == "" {
				return errors.New("write TYPE=COMMAND, for example StopWriters='systemctl stop indexer'")
			}
			commands[name] = command
			return nil
		})
	flag.Parse()
	if len(commands) == 0 {
		return errors.New("name at least one --activity TYPE=COMMAND")
	}
	options, err := envconfig.LoadDefaultClientOptions()
	if err != nil {
		return err
	}
	temporalClient, err := client.Dial(options)
	if err != nil {
		return err
	}
	defer temporalClient.Close()

	w := worker.New(temporalClient, *queue, worker.Options{
		// Without this, a cancelled activity would learn it after half a minute.
		DefaultHeartbeatThrottleInterval: beat,
	})
	for name, command := range commands {
		w.RegisterActivityWithOptions(shell(command), activity.RegisterOptions{Name: name})
	}
	return w.Run(worker.InterruptCh())
}

// hook is an activity that a plan can name.
type hook func(context.Context, migration.HookInput) (migration.HookAnswer, error)

// shell makes a hook of a shell command. The command is killed when snapferry cancels the hook: it
// must not act once the window is over.
func shell(line string) hook {
	return func(ctx context.Context, in migration.HookInput) (migration.HookAnswer, error) {
		input, err := json.Marshal(in)
		if err != nil {
			return migration.HookAnswer{}, err
		}
		command := exec.CommandContext(ctx, "sh", "-c", line)
		var out bytes.Buffer
		command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(input), &out, &out
		command.WaitDelay = beat
		killAll(command)
		if err := command.Start(); err != nil {
			return migration.HookAnswer{}, err
		}
		stop := beating(ctx)
		err = command.Wait()
		stop()
		return answer(lastLine(out.String()), err, ctx.Err())
	}
}

// answer makes of how a command ended what snapferry is told.
func answer(said string, err, cancelled error) (migration.HookAnswer, error) {
	var exit *exec.ExitError
	switch {
	case cancelled != nil:
		return migration.HookAnswer{}, cancelled
	case err == nil:
		return migration.HookAnswer{Message: said}, nil
	case errors.As(err, &exit) && exit.ExitCode() == refuses:
		proceed := false
		return migration.HookAnswer{Proceed: &proceed, Reason: said}, nil
	}
	return migration.HookAnswer{}, temporal.NewApplicationError(fmt.Sprintf("the command ended with %v: %s", err, said),
		"CommandFailed")
}

// beating sends heartbeats until it is stopped: by them an activity learns that it was cancelled.
func beating(ctx context.Context) (stop func()) {
	done := make(chan struct{})
	go func() {
		ticker := time.NewTicker(beat)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				activity.RecordHeartbeat(ctx)
			}
		}
	}()
	return func() { close(done) }
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}
