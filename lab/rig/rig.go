// Package rig runs complete migrations on a lab, for the demo and the end-to-end tests. Worker and
// starter are the real programs, built from this checkout, in processes of their own: a test can
// kill a worker, and a starter's exit code is what its users see. A [Rig] also speaks to the lab's
// Temporal, to await a status and to read a report.
package rig

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/lab/payloads"
	"github.com/snapferry/snapferry/migration"
)

// Rig is a lab with the programs that a migration needs beside it.
type Rig struct {
	Lab *lab.Lab
	// Temporal is the lab's, behind Payloads: none of what the programs here send may be too large.
	Temporal lab.Temporal
	Payloads *payloads.Proxy
	// Client speaks to Temporal.
	Client client.Client
	// WorkerPath and StarterPath are the programs, built from this checkout.
	WorkerPath, StarterPath string
}

// New builds the worker and the starter into .lab/bin, where people find them, and connects to the
// lab's Temporal.
func New(ctx context.Context, l *lab.Lab) (*Rig, error) {
	root, err := lab.Root()
	if err != nil {
		return nil, err
	}
	bin := filepath.Join(root, ".lab", "bin")
	if err := Build(ctx, bin); err != nil {
		return nil, err
	}
	return Connect(ctx, l, bin)
}

// Build builds the worker and the starter into a folder. Tests have one of their own: two checkouts
// must not run each other's programs.
func Build(ctx context.Context, bin string) error {
	root, err := lab.Root()
	if err != nil {
		return err
	}
	build := exec.CommandContext(ctx, "go", "build", "-o", bin+string(filepath.Separator), "./worker", "./starter")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("worker and starter can't be built: %w\n%s", err, out)
	}
	return nil
}

// HookWorker builds the worker of examples/hooks beside the other programs, and returns its path.
func (r *Rig) HookWorker(ctx context.Context) (string, error) {
	root, err := lab.Root()
	if err != nil {
		return "", err
	}
	path := filepath.Join(filepath.Dir(r.WorkerPath), "hooks")
	build := exec.CommandContext(ctx, "go", "build", "-o", path, "./examples/hooks")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("the worker of examples/hooks can't be built: %w\n%s", err, out)
	}
	return path, nil
}

// Connect connects to the lab's Temporal, for programs that Build has built into bin.
func Connect(ctx context.Context, l *lab.Lab, bin string) (*Rig, error) {
	proxy, err := l.LimitPayloads()
	if err != nil {
		return nil, err
	}
	r := &Rig{
		Lab: l, Temporal: l.Temporal, Payloads: proxy, WorkerPath: filepath.Join(bin, "worker"),
		StarterPath: filepath.Join(bin, "starter"),
	}
	r.Temporal.Address = proxy.Address()
	if r.Client, err = r.Temporal.Dial(ctx); err != nil {
		return nil, fmt.Errorf("the lab's Temporal at %s does not answer: %w", l.Temporal.Address, err)
	}
	return r, nil
}

// Close drops the connection; the lab stays.
func (r *Rig) Close() { r.Client.Close() }

// Worker starts a worker process that ends with the lab.
func (r *Rig) Worker(name string, arguments ...string) (*lab.Process, error) {
	return r.Lab.Run(name, append([]string{r.WorkerPath}, arguments...), "TEMPORAL_ADDRESS="+r.Temporal.Address)
}

// Output is what a command printed, and how it ended.
type Output struct {
	Stdout, Stderr string
	Code           int
}

// Starter runs the starter and waits for it. The error is only for a starter that could not be run.
func (r *Rig) Starter(ctx context.Context, arguments ...string) (Output, error) {
	return r.Command(ctx, r.StarterPath, arguments...)
}

// TemporalCLI runs the temporal command line against the lab.
func (r *Rig) TemporalCLI(ctx context.Context, arguments ...string) (Output, error) {
	return r.Command(ctx, r.Temporal.CLI, arguments...)
}

// Command runs a program with the lab's Temporal address and nothing else of the lab: no secret
// reaches it.
func (r *Rig) Command(ctx context.Context, path string, arguments ...string) (Output, error) {
	command := exec.CommandContext(ctx, path, arguments...)
	command.Env = append(os.Environ(), "TEMPORAL_ADDRESS="+r.Temporal.Address)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err := command.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return Output{}, err
	}
	return Output{Stdout: stdout.String(), Stderr: stderr.String(), Code: command.ProcessState.ExitCode()}, nil
}

// Start starts a migration with the starter, as its users do, and returns its workflow id.
func (r *Rig) Start(ctx context.Context, plan migration.Plan) (string, error) {
	path, err := r.Lab.WritePlan(plan)
	if err != nil {
		return "", err
	}
	out, err := r.Starter(ctx, "start", "-f", path)
	if err != nil {
		return "", err
	}
	if out.Code != 0 {
		return "", fmt.Errorf("starter start ended with exit code %d: %s%s", out.Code, out.Stdout, out.Stderr)
	}
	return migration.WorkflowID(plan.Name), nil
}

// Signal sends a bare request.
func (r *Rig) Signal(ctx context.Context, workflowID string, request migration.Request) error {
	return r.Client.SignalWorkflow(ctx, workflowID, "", string(request), nil)
}

// Status asks a migration for its status.
func (r *Rig) Status(ctx context.Context, workflowID string) (migration.Status, error) {
	value, err := r.Client.QueryWorkflow(ctx, workflowID, "", migration.QueryStatus)
	if err != nil {
		return migration.Status{}, err
	}
	var status migration.Status
	return status, value.Get(&status)
}

// looks is how often Await asks for a status. Each answer is work for server and worker, who have a
// migration to run.
const looks = 200 * time.Millisecond

// Await waits until a migration's status is as asked. It gives up when ctx ends, when the migration
// has ended otherwise, when it needs attention and the condition does not ask for that, or when
// anybody sends a payload that is too large; the error says where it stood.
func (r *Rig) Await(ctx context.Context, workflowID string,
	condition func(migration.Status) bool,
) (migration.Status, error) {
	ctx, stop := r.Payloads.Limited(ctx)
	defer stop()
	ticker := time.NewTicker(looks)
	defer ticker.Stop()
	var last migration.Status
	for {
		status, err := r.Status(ctx, workflowID)
		switch {
		case err == nil && condition(status):
			return status, nil
		case err == nil && status.Attention != nil:
			return status, fmt.Errorf("%s needs attention in phase %s: %s: %s", workflowID, status.Phase,
				status.Attention.Type, status.Attention.Message)
		case err == nil && status.Phase.Ended():
			return status, fmt.Errorf("%s has ended: %s", workflowID, status.Phase)
		case err == nil:
			last = status
		}
		select {
		case <-ctx.Done():
			return last, fmt.Errorf("%s still stands in phase %s (%s): %w", workflowID, last.Phase, last.Step,
				errors.Join(context.Cause(ctx), err))
		case <-ticker.C:
		}
	}
}

// Report waits for a migration's end, or until anybody sends a payload that is too large. An
// aborted or cancelled migration gives its report as well as the error.
func (r *Rig) Report(ctx context.Context, workflowID string) (migration.Report, error) {
	ctx, stop := r.Payloads.Limited(ctx)
	defer stop()
	var report migration.Report
	err := r.Client.GetWorkflow(ctx, workflowID, "").Get(ctx, &report)
	if cause := context.Cause(ctx); cause != nil {
		return report, errors.Join(cause, err)
	}
	var failure *temporal.ApplicationError
	var cancelled *temporal.CanceledError
	switch {
	case errors.As(err, &failure) && failure.HasDetails():
		return report, errors.Join(err, failure.Details(&report))
	case errors.As(err, &cancelled) && cancelled.HasDetails():
		return report, errors.Join(err, cancelled.Details(&report))
	}
	return report, err
}

// History exports a migration's history as the temporal command line does, for replays.
func (r *Rig) History(ctx context.Context, workflowID, path string) error {
	out, err := r.TemporalCLI(ctx, "workflow", "show", "--workflow-id", workflowID, "--output", "json")
	if err != nil {
		return err
	}
	if out.Code != 0 {
		return fmt.Errorf("the history of %s can't be exported: %s", workflowID, out.Stderr)
	}
	return os.WriteFile(path, []byte(out.Stdout), 0o644)
}

// Recording writes a workflow's history for the replay tests: compact, and without the name of this
// computer.
func (r *Rig) Recording(ctx context.Context, workflowID, path string) error {
	if err := r.History(ctx, workflowID, path); err != nil {
		return err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, identity.ReplaceAll(text, []byte(`"identity":"worker"`))); err != nil {
		return fmt.Errorf("the history of %s is no JSON: %w", workflowID, err)
	}
	return os.WriteFile(path, append(compact.Bytes(), '\n'), 0o644)
}

var identity = regexp.MustCompile(`"identity": *"[^"]*"`)
