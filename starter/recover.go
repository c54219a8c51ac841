package main

import (
	"bufio"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/temporal"

	"github.com/snapferry/snapferry/internal/report"
	"github.com/snapferry/snapferry/migration"
)

// clearing is recover or cleanup: what it is called, and its workflow.
type clearing struct {
	command, workflowType, title string
	id                           func(planName string) string
}

var (
	recovery = clearing{"recover", migration.RecoverWorkflowType, "Recover", migration.RecoverWorkflowID}
	cleanup  = clearing{"cleanup", migration.CleanupWorkflowType, "Clean up", migration.CleanupWorkflowID}
)

// remainsOptions are the flags that both commands have.
type remainsOptions struct {
	file, token string
	indices     []string
	yes         bool
}

func (o *remainsOptions) add(command *cobra.Command) {
	flags := command.Flags()
	flags.StringVarP(&o.file, "file", "f", "", "plan whose runs left something behind; - for stdin")
	flags.StringVar(&o.token, "token", "", "only this run: the last part of its folder in both buckets")
	flags.StringArrayVar(&o.indices, "index", nil, "only this index, or pattern; also if it is not proven that a run "+
		"left it behind (may be repeated)")
}

func (a *app) recoverCommand() *cobra.Command {
	var options remainsOptions
	byKind := map[migration.RemainsKind]*bool{}
	command := &cobra.Command{
		Use:   "recover -f PLAN",
		Short: "Find what an interrupted migration left in force, and remove it on request",
		Long: `Finds what an interrupted run of the plan left in force: write blocks on the source,
running snapshots, raised throttles, indices on the target, registered repositories
and unfinished uploads. It says of each whether a run of this plan left it behind, and
what tells so. Without a further flag it changes nothing. A worker does this, in the
workflow recover/<name of the plan>.

--yes removes everything that is proven to be left behind. --blocks, --snapshots and
so on remove one kind. --blocks and --throttles also remove what is perhaps left
behind: nobody remembers who set it. --index names indices: blocks and indices are
removed from these only, also if nothing proves that a run left them behind. The block
of an index that was handed over is removed only if you name the index in full: two
writable clusters would lose data.

It refuses while a migration, a rehearsal or the guard of the plan is running. The exit
code is 9 if something is left behind.`,
		Example: `  starter recover -f movies.yaml                     # only shows
  starter recover -f movies.yaml --yes
  starter recover -f movies.yaml --blocks --index movies`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var remove []migration.RemainsKind
			for _, kind := range migration.RecoverKinds {
				if *byKind[kind] {
					remove = append(remove, kind)
				}
			}
			if options.yes {
				remove = append(remove, migration.RemainsAll)
			}
			return a.clear(c.Context(), recovery, options, remove, false)
		},
	}
	options.add(command)
	flags := command.Flags()
	flags.BoolVarP(&options.yes, "yes", "y", false, "remove everything that is proven to be left behind")
	for _, kind := range migration.RecoverKinds {
		byKind[kind] = new(bool)
		flags.BoolVar(byKind[kind], flagOf(kind), false, "remove "+kindHelp[kind])
	}
	return command
}

// flagOf is the flag for a kind.
func flagOf(kind migration.RemainsKind) string {
	if kind == migration.RemainsRunning {
		return "snapshots"
	}
	return string(kind)
}

var kindHelp = map[migration.RemainsKind]string{
	migration.RemainsBlocks:       "write blocks from the source's indices",
	migration.RemainsRunning:      "snapshots that still run on the source",
	migration.RemainsThrottles:    "raised throttles: what stood there before is restored",
	migration.RemainsIndices:      "indices on the target that a run restored and did not hand over",
	migration.RemainsRepositories: "registered repositories",
	migration.RemainsUploads:      "unfinished uploads in OSS",
}

func (a *app) cleanupCommand() *cobra.Command {
	var options remainsOptions
	var dryRun bool
	command := &cobra.Command{
		Use:   "cleanup -f PLAN",
		Short: "Remove the repositories, snapshots, objects and indices of runs that have ended",
		Long: `Removes what the plan's runs left behind when they ended: the registered repositories,
their snapshots, the objects in S3 and OSS and, of runs that ended before the cutover,
the indices on the target. It never removes an index that was handed over, and nothing
beside the folders of the runs. A worker does this, in the workflow
cleanup/<name of the plan>.

First it shows what it found, and asks. --dry-run ends there. --yes doesn't ask.
What nothing proves to be the plan's is removed only if you name it: an index with
--index, the objects of a run with --token.

It refuses while a migration, a rehearsal or the guard of the plan is running. It never
removes a write block from the source: see starter recover. The exit code is 9 if
something is left behind.`,
		Example: `  starter cleanup -f movies.yaml --dry-run
  starter cleanup -f movies.yaml --yes`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if dryRun && options.yes {
				return fail(exitUsage, "--dry-run and --yes contradict each other: use one of them")
			}
			var remove []migration.RemainsKind
			if options.yes {
				remove = []migration.RemainsKind{migration.RemainsAll}
			}
			return a.clear(c.Context(), cleanup, options, remove, !dryRun && !options.yes)
		},
	}
	options.add(command)
	command.Flags().BoolVar(&dryRun, "dry-run", false, "only show what would be removed")
	command.Flags().BoolVarP(&options.yes, "yes", "y", false, "don't ask")
	return command
}

// clear runs the workflow, prints what it found, and if it may ask, runs it again to remove it.
func (a *app) clear(ctx context.Context, what clearing, options remainsOptions, remove []migration.RemainsKind,
	ask bool,
) error {
	plan, err := a.readPlan(options.file)
	if err != nil {
		return err
	}
	request := migration.RemainsRequest{Plan: plan, Remove: remove, Indices: options.indices, Token: options.token}
	if ask && !a.inTerminal {
		return fail(exitUsage, "cleanup asks before it removes anything, and there is no terminal: add --yes, or "+
			"--dry-run")
	}
	c, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	found, err := a.runClearing(ctx, c, what, request)
	if err != nil {
		return err
	}
	if ask && len(found.Left()) > 0 {
		fmt.Fprint(a.err, remainsText(found, what))
		if err := a.confirmRemoval(plan.Name); err != nil {
			return err
		}
		request.Remove = []migration.RemainsKind{migration.RemainsAll}
		if found, err = a.runClearing(ctx, c, what, request); err != nil {
			return err
		}
	}
	if a.json() {
		if err := a.printJSON(found); err != nil {
			return err
		}
	} else {
		a.tell("%s", remainsText(found, what))
		a.next(afterClearing(found, what, options.file)...)
	}
	if len(found.Left()) > 0 {
		return silently(exitRemains)
	}
	return nil
}

func (a *app) confirmRemoval(name string) error {
	fmt.Fprintf(a.err, "\nEverything that is left behind will be deleted.\nType %q to go on: ", name)
	line, err := bufio.NewReader(a.in).ReadString('\n')
	if err != nil && line == "" || strings.TrimSpace(line) != name {
		return fail(exitFailed, "not confirmed; nothing was removed")
	}
	return nil
}

func (a *app) runClearing(ctx context.Context, c *connection, what clearing,
	request migration.RemainsRequest,
) (migration.RemainsReport, error) {
	var found migration.RemainsReport
	input, err := migration.NewRemainsInput(request)
	if err != nil {
		return found, fail(exitFailed, "can't write the request as JSON: %w", err)
	}
	if _, err := input.Request(allKinds(what)); err != nil {
		return found, fail(exitUsage, "%w", err)
	}
	return runSide[migration.RemainsReport](ctx, a, c, side{
		id: what.id(request.Plan.Name), workflowType: what.workflowType,
		summary: what.command + " of " + request.Plan.Name,
		title:   "a " + what.command + " of " + request.Plan.Name, name: what.command,
		lost: "run it again to see what is left",
		explain: func(failure *temporal.ApplicationError) error {
			if failure.Type() != string(migration.ErrorRunning) {
				return nil
			}
			exit := fail(exitRefused, "%s", failure.Message())
			exit.next = ofPlan(request.Plan).command("status")
			return exit
		},
	}, input)
}

func allKinds(what clearing) []migration.RemainsKind {
	if what.command == cleanup.command {
		return migration.CleanupKinds
	}
	return migration.RecoverKinds
}

// remainsText is the report for people.
func remainsText(r migration.RemainsReport, what clearing) string {
	var page strings.Builder
	fmt.Fprintf(&page, "%s %s (workflow %s)\n", what.title, r.Plan, what.id(r.Plan))
	now := r.Remains
	if r.After != nil {
		now = *r.After
		fmt.Fprintf(&page, "\nRemoved\n%s", bullets(report.RemovedLines(r.Removed)))
		page.WriteString("\nFound now\n")
	} else {
		page.WriteString("\nFound\n")
	}
	var lines []string
	for _, group := range now.Found {
		lines = append(lines, report.RemainsLine(group))
	}
	if len(lines) == 0 {
		lines = []string{"nothing"}
	}
	page.WriteString(bullets(lines))
	if len(now.Warnings) > 0 {
		fmt.Fprintf(&page, "\nWarnings\n%s", bullets(now.Warnings))
	}
	return page.String()
}

// afterClearing are the commands that make sense after what was found.
func afterClearing(r migration.RemainsReport, what clearing, file string) (next []string) {
	has := func(origin migration.RemainsOrigin, kinds ...migration.RemainsKind) bool {
		return slices.ContainsFunc(r.Left(), func(g migration.RemainsGroup) bool {
			return g.Origin == origin && (len(kinds) == 0 || slices.Contains(kinds, g.Kind))
		})
	}
	recovers, cleans := "starter recover -f "+file, "starter cleanup -f "+file
	if what.command == cleanup.command {
		if has(migration.OriginOurs, migration.RemainsBlocks) || has(migration.OriginPerhaps, migration.RemainsBlocks) {
			next = append(next, recovers+": write blocks on the source")
		}
		if r.After == nil && has(migration.OriginOurs, migration.CleanupKinds...) {
			next = append(next, cleans+" --yes")
		}
	} else {
		if r.After == nil && has(migration.OriginOurs) {
			next = append(next, recovers+" --yes: removes what is proven to be left behind")
		}
		if has(migration.OriginPerhaps, migration.RemainsBlocks) {
			next = append(next, recovers+" --blocks: removes the write blocks that nobody remembers, too")
		}
		if has(migration.OriginPerhaps, migration.RemainsThrottles) {
			next = append(next, recovers+" --throttles")
		}
		if len(r.Left()) == 0 {
			next = append(next, cleans+" --dry-run: repositories, snapshots and objects of runs that have ended")
		}
	}
	if has(migration.OriginPerhaps, migration.RemainsIndices) {
		next = append(next, cleans+" --yes --index NAME: deletes an index although nothing proves that it was left "+
			"behind")
	}
	if has(migration.OriginPerhaps, migration.RemainsObjects, migration.RemainsUploads) {
		next = append(next, cleans+" --yes --token TOKEN: deletes a run's objects although nothing proves whose they "+
			"are")
	}
	return next
}
