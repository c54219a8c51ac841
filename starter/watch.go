package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/internal/report"
	"github.com/snapferry/snapferry/migration"
)

// defaultInterval is short enough for the frozen window, which may take seconds.
const defaultInterval = time.Second

type watchOptions struct {
	interval time.Duration
	// until ends the watch in this phase. If it is empty, the end of the migration does.
	until migration.Phase
	// attentionEnds ends the watch when the migration needs attention, for scripts.
	attentionEnds bool
}

func (a *app) watchCommand() *cobra.Command {
	var flags targetFlags
	var options watchOptions
	var until string
	command := &cobra.Command{
		Use:   "watch",
		Short: "Watch a migration until it ends",
		Long: `Shows what happens while it happens: with progress bars on a terminal, else as plain
lines. With -o json it prints a line of JSON whenever something changes. It ends with
the migration: exit code 0 if that completed, 6 if it was aborted or failed.
Ctrl-C ends the watch only. The migration goes on.`,
		Example: `  starter watch movies
  starter watch movies --until awaitCutover --exit-on-attention    # for scripts`,
		RunE: func(c *cobra.Command, args []string) error {
			t, err := a.target(flags, args)
			if err != nil {
				return err
			}
			if options.until, err = phase(until); err != nil {
				return err
			}
			if options.interval <= 0 {
				return fail(exitUsage, "--interval must be more than 0, for example 1s")
			}
			connection, err := a.connect(c.Context())
			if err != nil {
				return err
			}
			defer connection.Close()
			return a.watch(c.Context(), connection, t, options)
		},
	}
	flags.add(command)
	command.Flags().DurationVar(&options.interval, "interval", defaultInterval, "time between two looks")
	command.Flags().StringVar(&until, "until", "",
		"end when the migration reaches this phase, for example awaitCutover")
	command.Flags().BoolVar(&options.attentionEnds, "exit-on-attention", false,
		"end with exit code 5 when the migration needs attention")
	return command
}

func phase(name string) (migration.Phase, error) {
	if name == "" {
		return "", nil
	}
	var known string
	for _, p := range migration.OpenPhases() {
		if string(p) == name {
			return p, nil
		}
		known += " " + string(p)
	}
	return "", fail(exitUsage, "--until %s is not a phase; the phases are%s", name, known)
}

// screen shows a migration while it is being watched.
type screen interface {
	// show takes the newest look.
	show(view)
	// say adds a line.
	say(string)
	close()
}

// watch shows a migration until the watch ends, and says how it ended.
func (a *app) watch(ctx context.Context, c *connection, t target, options watchOptions) error {
	s := a.screen()
	v, err := a.follow(ctx, c, t, options, s)
	s.close()
	switch {
	case ctx.Err() != nil:
		exit := fail(exitInterrupted, "interrupted; the migration goes on")
		exit.next = t.command("watch")
		return exit
	case err != nil:
		return c.explain(err, t)
	}
	if !a.json() {
		a.farewell(v, t)
	}
	return silently(v.code())
}

func (a *app) screen() screen {
	switch {
	case a.json():
		return &jsonScreen{app: a}
	case a.outTerminal:
		return newBars(a)
	}
	return &plainScreen{app: a, narrator: narrator{app: a, progress: true}}
}

// mostFailedLooks is how many looks in a row may fail before the watch ends with an error.
const mostFailedLooks = 30

func (a *app) follow(ctx context.Context, c *connection, t target, options watchOptions, s screen) (view, error) {
	failed := 0
	var rate meter
	for {
		v, err := a.look(ctx, c, t, false)
		switch {
		case err != nil && transient(err) && failed < mostFailedLooks && ctx.Err() == nil:
			if failed++; failed == 1 && !a.json() {
				s.say("Temporal does not answer; trying again")
			}
		case err != nil:
			return view{}, err
		default:
			failed = 0
			rate.measure(a.now(), v.copied)
			s.show(v)
			if ended(v, options) {
				return v, nil
			}
		}
		if err := a.sleep(ctx, options.interval); err != nil {
			return view{}, err
		}
	}
}

func ended(v view, options watchOptions) bool {
	switch {
	case !v.Execution.running():
		return true
	case v.Status == nil:
		return false
	case options.attentionEnds && v.Attention != nil:
		return true
	}
	return options.until != "" && v.Phase == options.until
}

// farewell says how the watch ended.
func (a *app) farewell(v view, t target) {
	if !v.Execution.running() {
		a.tell("\n%s has ended: %s.\n", t.title(), v.end())
		if v.report != nil {
			for _, index := range v.report.Indices {
				a.tell("  %s: %s documents at the source, %s on the target, equal: %s\n", index.Name,
					human.Count(index.SourceDocs), human.Count(index.TargetDocs), verdict(index))
			}
			if text := report.Omitted(v.report.IndicesOmitted); text != "" {
				a.tell("  %s\n", text)
			}
			if text := table(func(row func(...string)) { rehearsed(v.report.Rehearsal, row) }); text != "" {
				a.tell("%s", text)
			}
			if found(v.report.Rehearsal) {
				a.tell("\nWould have needed attention\n%s", wouldNeed(v.report.Rehearsal))
			}
			if w := v.report.FrozenWindow; w != nil {
				a.tell("  Frozen window: %s.\n", describeWindow(*w))
				if w.BlockedMillis > 0 {
					a.tell("  Writes were blocked for %s, until the target accepted writes.\n",
						human.Span(w.BlockedMillis))
				}
				if down := report.Down(w); down != "" {
					a.printf("  Downtime: %s.\n", down)
				}
			}
		}
		if v.Failure != "" {
			a.tell("  Because: %s\n", human.Line(v.Failure))
		}
	} else if v.Attention != nil {
		a.tell("\n%s needs attention.\n%s", t.title(), a.attention(v.Attention))
	}
	a.next(v.next(t)...)
}

// verdict says whether an index is equal.
func verdict(index migration.IndexResult) string {
	if index.Moved && !index.Equal {
		return "unknown, since the source took writes during the copy"
	}
	return equal(&index.Equal)
}

// plainScreen prints a line whenever something changes.
type plainScreen struct {
	*app
	narrator narrator
}

func (p *plainScreen) show(v view) {
	for _, line := range p.narrator.lines(v) {
		p.say(line)
	}
}

func (p *plainScreen) say(line string) {
	p.tell("%s  %s\n", p.now().In(p.zone).Format("15:04:05"), indented(line))
}

func (p *plainScreen) close() {}

// indented keeps what a cluster or a person said from making up lines of its own.
func indented(text string) string {
	const margin = "\n    "
	return strings.ReplaceAll(strings.ReplaceAll(text, margin, "\n"), "\n", margin)
}

// jsonScreen prints a line of JSON whenever something changes.
type jsonScreen struct {
	*app
	last string
}

func (j *jsonScreen) show(v view) {
	line, err := json.Marshal(v)
	if err != nil {
		line, _ = json.Marshal(map[string]string{"failure": "can't write the status as JSON: " + err.Error()})
	}
	// Workers of two versions may answer in turn: that is no change of the migration.
	if v.Status != nil {
		status := *v.Status
		status.Version, v.Status = "", &status
	}
	what, _ := json.Marshal(v)
	if string(what) != j.last {
		j.last = string(what)
		fmt.Fprintln(j.out, string(line))
	}
}

func (j *jsonScreen) say(string) {}
func (j *jsonScreen) close()     {}
