package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/snapferry/snapferry/migration"
)

// target is the migration that a command is about.
type target struct {
	// name of the plan; empty if only another workflow id is known.
	name, id string
}

// ofPlan is the migration or rehearsal that a plan starts.
func ofPlan(plan migration.Plan) target {
	if plan.Rehearsal {
		return byID(plan.WorkflowID())
	}
	return target{name: plan.Name, id: plan.WorkflowID()}
}

// kind is the word for it in messages.
func (t target) kind() string {
	if strings.HasPrefix(t.id, migration.RehearsalWorkflowID("")) {
		return "rehearsal"
	}
	return "migration"
}

// label is its name in messages.
func (t target) label() string {
	if t.name != "" {
		return t.name
	}
	return t.id
}

var plainArgument = regexp.MustCompile(`^[A-Za-z0-9_./:@-]+$`)

// command is a command about this migration, ready to be pasted.
func (t target) command(name string) string {
	switch {
	case t.id == migration.WorkflowID(t.name):
		return "starter " + name + " " + t.name
	case plainArgument.MatchString(t.id) && t.kind() == "rehearsal":
		return "starter " + name + " " + t.id
	case plainArgument.MatchString(t.id):
		return "starter " + name + " -w " + t.id
	}
	return "starter " + name + " -w '" + strings.ReplaceAll(t.id, "'", `'\''`) + "'"
}

// targetFlags are the three ways to name a migration.
type targetFlags struct{ workflowID, file string }

func (f *targetFlags) add(command *cobra.Command) {
	command.Use += " [NAME]"
	command.Args = cobra.MaximumNArgs(1)
	command.Flags().StringVarP(&f.workflowID, "workflow-id", "w", "", "workflow id, instead of the plan's name")
	command.Flags().StringVarP(&f.file, "file", "f", "", "plan of the migration, instead of its name; - for stdin")
}

func (a *app) target(f targetFlags, args []string) (target, error) {
	given := len(args)
	for _, flag := range []string{f.workflowID, f.file} {
		if flag != "" {
			given++
		}
	}
	if given != 1 {
		return target{}, fail(exitUsage,
			"which migration? Give the plan's name, -w WORKFLOW-ID or -f PLAN, and only one of them")
	}
	switch {
	case f.file != "":
		plan, err := a.readPlan(f.file)
		if err != nil {
			return target{}, err
		}
		return ofPlan(plan), nil
	case f.workflowID != "":
		return byID(f.workflowID), nil
	case args[0] == "":
		return target{}, fail(exitUsage, "the plan's name is empty")
	}
	if strings.HasPrefix(args[0], migration.WorkflowID("")) ||
		strings.HasPrefix(args[0], migration.RehearsalWorkflowID("")) {
		return byID(args[0]), nil
	}
	return target{name: args[0], id: migration.WorkflowID(args[0])}, nil
}

func byID(id string) target {
	name, _ := strings.CutPrefix(id, migration.WorkflowID(""))
	if migration.WorkflowID(name) != id {
		name = ""
	}
	return target{name: name, id: id}
}

// readPlan reads a plan from a file, or stdin, and validates it.
func (a *app) readPlan(path string) (migration.Plan, error) {
	if path == "" {
		return migration.Plan{}, fail(exitUsage, "no plan is given: use -f PLAN, or -f - for stdin; `starter plan "+
			"example` prints a plan")
	}
	data, err := a.readFile(path, "plan")
	if err != nil {
		return migration.Plan{}, err
	}
	plan, err := migration.Decode(data)
	if err == nil {
		return plan, nil
	}
	exit := fail(exitUsage, "%w", invalidPlan(path, err))
	exit.next = "fix the plan, then starter plan validate -f " + path
	return migration.Plan{}, exit
}

// readNewPlan is readPlan for a plan that doesn't run yet: it must hold no secret.
func (a *app) readNewPlan(path string) (migration.Plan, error) {
	plan, err := a.readPlan(path)
	if err != nil {
		return plan, err
	}
	if problems := plan.Exposed(); len(problems) > 0 {
		exit := fail(exitUsage, "%w", invalidPlan(path, &migration.InvalidPlanError{Problems: problems}))
		exit.next = "fix the plan, then starter plan validate -f " + path
		return migration.Plan{}, exit
	}
	return plan, nil
}

// readFile reads a file, or stdin. What is the name of what it holds.
func (a *app) readFile(path, what string) ([]byte, error) {
	if path == "-" {
		data, err := io.ReadAll(a.in)
		if err != nil {
			return nil, fail(exitFailed, "can't read the %s from stdin: %w", what, err)
		}
		return data, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fail(exitUsage, "can't read the %s: %w", what, err)
	}
	return data, nil
}

// invalidFile is what is wrong with a file, a line for each problem.
type invalidFile struct {
	what, path string
	problems   []migration.Problem
	err        error
}

func (e *invalidFile) Error() string {
	path := e.path
	if path == "-" {
		path = "from stdin"
	}
	if len(e.problems) == 1 {
		return fmt.Sprintf("%s %s is not valid: %s", e.what, path, e.problems[0])
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%s %s is not valid (%d problems):", e.what, path, len(e.problems))
	for _, problem := range e.problems {
		fmt.Fprintf(&text, "\n  - %s", problem)
	}
	return text.String()
}

func (e *invalidFile) Unwrap() error { return e.err }

func invalidPlan(path string, err error) error {
	if invalid, ok := errors.AsType[*migration.InvalidPlanError](err); ok {
		return &invalidFile{what: "the plan", path: path, problems: invalid.Problems, err: err}
	}
	return err
}
