package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// The forms of output.
const (
	outputText = "text"
	outputJSON = "json"
)

// app is one run of the starter.
type app struct {
	deps
	address, namespace, profile string
	output                      string
}

// execute runs the command line and returns the exit code.
func execute(ctx context.Context, d deps, args []string) int {
	// What clusters and other people said is shown, never obeyed by the terminal.
	d.out, d.err = human.NewVisibleWriter(d.out), human.NewVisibleWriter(d.err)
	root := newRootCommand(d)
	root.SetArgs(args)
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	code := codeOf(err)
	if exit, ok := errors.AsType[*exitError](err); ok {
		if exit.err != nil {
			fmt.Fprintf(d.err, "Error: %v\n", exit.err)
		}
		if exit.next != "" {
			fmt.Fprintf(d.err, "Next: %s\n", exit.next)
		}
		return code
	}
	fmt.Fprintf(d.err, "Error: %v\nNext: %s --help\n", err, command.CommandPath())
	return code
}

func newRootCommand(d deps) *cobra.Command {
	a := &app{deps: d}
	root := &cobra.Command{
		Use:   "starter",
		Short: "Start and steer migrations of Elasticsearch indices from Amazon to Alibaba Cloud",
		Long: `starter starts and steers migrations of Elasticsearch indices from Amazon
Elasticsearch Service to Alibaba Cloud Elasticsearch. Each migration is a Temporal
workflow; its id is migration/<name of the plan>.

The usual way:
  starter plan example > movies.yaml     write the plan
  starter iam -f movies.yaml             print the permissions that it needs
  starter check -f movies.yaml           tell whether the plan is ready
  starter start -f movies.yaml           start the migration; its rounds begin
  starter watch movies                   watch it
  starter list                           see all migrations at once
  starter freeze movies                  block writes, copy the rest, verify
  starter cutover movies                 hand over to the target
  starter report movies                  print the report

The starter finds Temporal as the temporal command line does: TEMPORAL_ADDRESS,
TEMPORAL_NAMESPACE, TEMPORAL_API_KEY, TEMPORAL_TLS_*, or a profile
(TEMPORAL_PROFILE) in its configuration file.

` + exitCodesHelp,
		SilenceErrors: true, SilenceUsage: true,
	}
	root.SetIn(d.in)
	root.SetOut(d.out)
	root.SetErr(d.err)
	flags := root.PersistentFlags()
	flags.StringVar(&a.address, "address", "", "Temporal's host:port (default: TEMPORAL_ADDRESS, the profile, or "+
		"localhost:7233)")
	flags.StringVar(&a.namespace, "namespace", "", "Temporal namespace (default: TEMPORAL_NAMESPACE, the profile, or "+
		"default)")
	flags.StringVar(&a.profile, "profile", "", "profile in the temporal command line's configuration file (default: "+
		"TEMPORAL_PROFILE, or default)")
	flags.StringVarP(&a.output, "output", "o", outputText, "text or json")

	root.AddCommand(a.startCommand(), a.checkCommand(), a.planCommand(), a.listCommand(), a.statusCommand(),
		a.watchCommand())
	for _, request := range migration.Requests() {
		root.AddCommand(a.requestCommand(request))
	}
	root.AddCommand(a.bandwidthCommand(), a.reportCommand(), a.transcriptCommand(), a.auditCommand(),
		a.recoverCommand(), a.cleanupCommand(), a.notifyCommand(), a.iamCommand(), a.versionCommand())
	a.completes(root)
	guard(root, a)
	return root
}

// guard makes every command below this one check --output, and gives every error that a command
// returns an exit code.
func guard(command *cobra.Command, a *app) {
	for _, sub := range command.Commands() {
		guard(sub, a)
	}
	run := command.RunE
	if run == nil {
		return
	}
	command.RunE = func(c *cobra.Command, args []string) error {
		if !slices.Contains([]string{outputText, outputJSON}, a.output) {
			return fmt.Errorf("--output %s is not known: use text or json", a.output)
		}
		err := run(c, args)
		if err == nil {
			return nil
		}
		if _, ok := errors.AsType[*exitError](err); ok {
			return err
		}
		if c.Context().Err() != nil {
			return &exitError{code: exitInterrupted, err: errors.New("interrupted: a request that was sent already " +
				"may still be carried out; a running migration goes on")}
		}
		return &exitError{code: exitFailed, err: err}
	}
}

// json reports whether the output is for programs.
func (a *app) json() bool { return a.output == outputJSON }

// printJSON is the only thing that a command prints with --output json.
func (a *app) printJSON(value any) error {
	encoder := json.NewEncoder(a.out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}

// printf prints what may be copied or run, as it is.
func (a *app) printf(format string, args ...any) { fmt.Fprintf(a.out, format, args...) }

// tell prints what a person reads: no line is wider than the terminal.
func (a *app) tell(format string, args ...any) { a.printf("%s", a.fold(fmt.Sprintf(format, args...))) }

// fold breaks lines for a terminal. A command stays in one line: it may be copied.
func (a *app) fold(text string) string {
	if a.columns == nil {
		return text
	}
	return human.Fold(text, a.columns(), func(line string) bool {
		return strings.HasPrefix(line, "Next: ") || strings.HasPrefix(line, "  or: ")
	})
}

// next ends human output with the command that makes sense now.
func (a *app) next(commands ...string) {
	if len(commands) > 0 {
		a.printf("\nNext: %s\n", strings.Join(commands, "\n  or: "))
	}
}
