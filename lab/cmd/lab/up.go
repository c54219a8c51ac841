package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/lab/rig"
	"github.com/snapferry/snapferry/migration"
)

// up runs a lab until ctx ends.
func up(ctx context.Context, out io.Writer, dir string, keep, empty bool) (err error) {
	fmt.Fprintf(out, "starting the lab in %s\n", dir)
	l, err := lab.Start(ctx, lab.Options{Dir: dir, UI: true, Fresh: !keep, Out: out})
	if err != nil {
		return err
	}
	defer func() {
		fmt.Fprintln(out, "\nending the lab ...")
		err = errors.Join(err, l.Close())
		fmt.Fprintf(out, "ended; data and logs stay in %s\n", dir)
	}()
	if !empty && !keep {
		fmt.Fprintln(out, "loading movies and catalog ...")
		if err := lab.LoadMovies(ctx, l.Source.Direct()); err != nil {
			return err
		}
		if err := lab.LoadCatalog(ctx, l.Source.Direct(), lab.CatalogOptions{}); err != nil {
			return err
		}
	}
	environment, err := writeEnvironment(dir, l)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "building and starting a worker ...")
	r, err := rig.New(ctx, l)
	if err != nil {
		return err
	}
	defer r.Close()
	if _, err := r.Worker("worker"); err != nil {
		return err
	}
	plan, err := writePlans(l)
	if err != nil {
		return err
	}
	describe(out, l, environment)
	suggest(out, r, environment, plan)
	return watch(ctx, out, l, r, environment)
}

// watch keeps the lab up until ctx ends. Whoever kills a part to see what happens gets it back; a
// worker that is killed stays away until another is started, as in life.
func watch(ctx context.Context, out io.Writer, l *lab.Lab, r *rig.Rig, environment string) error {
	seen := map[int]bool{}
	for {
		watching, stop := context.WithCancel(ctx)
		var ended *lab.Process
		select {
		case <-ctx.Done():
			stop()
			return nil
		case ended = <-firstToEnd(watching, l, seen):
		}
		stop()
		seen[ended.PID] = true
		if ended.Name == "worker" {
			fmt.Fprintf(out, "\nthe worker ended (%v); to start another: . %s; %s\n", ended.Err(), environment,
				r.WorkerPath)
			continue
		}
		fmt.Fprintf(out, "\n%s ended (%v); starting it again on the same address ...\n", ended.Name, ended.Err())
		if err := l.Restart(ctx, lab.Part(ended.Name)); err != nil {
			return fmt.Errorf("%s did not come up again, see its log %s: %w", ended.Name, ended.LogPath, err)
		}
		fmt.Fprintf(out, "%s is up again\n", ended.Name)
	}
}

// firstToEnd delivers the first of the lab's processes that ends and wasn't seen to end before. It
// watches until ctx ends.
func firstToEnd(ctx context.Context, l *lab.Lab, seen map[int]bool) <-chan *lab.Process {
	ended := make(chan *lab.Process, 1)
	for _, p := range l.Processes() {
		if seen[p.PID] {
			continue
		}
		go func() {
			select {
			case <-p.Done():
				select {
				case ended <- p:
				default:
				}
			case <-ctx.Done():
			}
		}()
	}
	return ended
}

// writeEnvironment makes a file for `. FILE` in a shell.
func writeEnvironment(dir string, l *lab.Lab) (string, error) {
	var b strings.Builder
	for _, variable := range l.Environment() {
		name, value, _ := strings.Cut(variable, "=")
		fmt.Fprintf(&b, "export %s='%s'\n", name, value)
	}
	path := filepath.Join(dir, "env.sh")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		return "", fmt.Errorf("no file with the lab's environment: %w", err)
	}
	return path, nil
}

func describe(out io.Writer, l *lab.Lab, environment string) {
	t := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	row := func(cells ...string) { fmt.Fprintln(t, strings.Join(cells, "\t")) }
	row("\nPART", "ADDRESS", "HOW TO GET IN")
	row("source, Amazon's front end", l.Source.Endpoint, "signed for the service es, region "+l.Source.Region)
	row("source, the node itself", l.Source.DirectURL, "open")
	row("target, Alibaba's front end", l.Target.Endpoint,
		"user "+l.Target.User+", password $SNAPFERRY_SECRET_TARGET_PASSWORD")
	row("target, the node itself", l.Target.DirectURL, "open")
	row("S3", l.S3.Endpoint, "bucket "+l.S3.Bucket+", region "+l.S3.Region+", the source's keys")
	row("OSS", l.OSS.Endpoint, "bucket "+l.OSS.Bucket+" (a migration creates it), region "+l.OSS.Region)
	row("Temporal", l.Temporal.Address, "namespace "+l.Temporal.Namespace)
	row("Temporal's Web UI", l.Temporal.UIAddress, "a browser")
	t.Flush()

	row("\nPROCESS", "PID", "LOG")
	for _, p := range l.Processes() {
		row(p.Name, fmt.Sprint(p.PID), p.LogPath)
	}
	t.Flush()

	node := strings.TrimPrefix(l.Source.Endpoint, "http://")
	fmt.Fprintf(out, `
To look at the clusters, in another terminal:
  . %[1]s
  curl %[2]s/_cat/indices?v
  curl -s --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" --aws-sigv4 aws:amz:%[3]s:es http://%[4]s/movies/_search
  curl -u "%[5]s:$SNAPFERRY_SECRET_TARGET_PASSWORD" %[6]s
`, environment, l.Source.DirectURL, l.Source.Region, node, l.Target.User, l.Target.Endpoint)
}

// suggest prints the three ways of starting a migration and of moving it on.
func suggest(out io.Writer, r *rig.Rig, environment string, plan plans) {
	id := migration.WorkflowID(plan.name)
	fmt.Fprintf(out, `
A worker runs. To migrate movies and catalog, with the starter:
  . %[1]s
  %[2]s start -f %[3]s
  %[2]s watch %[4]s

or with Temporal's command line:
  . %[1]s
  %[5]s workflow start --type %[6]s --task-queue %[7]s --workflow-id %[8]s --input-file %[9]s
  %[5]s workflow signal --workflow-id %[8]s --name freeze
  %[5]s workflow signal --workflow-id %[8]s --name cutover

or in the Web UI, %[10]s, Start Workflow:
  Workflow ID %[8]s, Task Queue %[7]s, Workflow Type %[6]s, Input: the content of %[9]s

Ctrl-C ends the lab.
`, environment, r.StarterPath, plan.yaml, plan.name,
		r.Lab.Temporal.CLI, migration.WorkflowType, migration.TaskQueue, id, plan.json, r.Lab.Temporal.UIAddress)
}

// plans is one plan in both formats.
type plans struct{ name, yaml, json string }

func writePlans(l *lab.Lab) (plans, error) {
	plan := l.Plan("films", lab.MoviesIndex, lab.CatalogIndex)
	plan.Rounds.Interval = migration.Duration(time.Minute)
	path, err := l.WritePlan(plan)
	if err != nil {
		return plans{}, err
	}
	text, err := json.MarshalIndent(plan, "", "  ")
	if err != nil {
		return plans{}, err
	}
	jsonPath := strings.TrimSuffix(path, ".yaml") + ".json"
	return plans{plan.Name, path, jsonPath}, os.WriteFile(jsonPath, append(text, '\n'), 0o644)
}
