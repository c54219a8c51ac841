package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/snapferry/snapferry/lab"
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
	describe(out, l, environment)
	select {
	case <-ctx.Done():
		return nil
	case ended := <-firstToEnd(ctx, l):
		return fmt.Errorf("%s ended by itself; its log %s says why", ended.Name, ended.LogPath)
	}
}

// firstToEnd delivers the first of the lab's processes that ends. It watches until ctx ends.
func firstToEnd(ctx context.Context, l *lab.Lab) <-chan *lab.Process {
	ended := make(chan *lab.Process, 1)
	for _, p := range l.Processes() {
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
	row("target, Alibaba's front end", l.Target.Endpoint, "user "+l.Target.User+", password $LAB_TARGET_PASSWORD")
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

	direct := strings.TrimPrefix(l.Source.Endpoint, "http://")
	fmt.Fprintf(out, `
To try, in another terminal:
  . %[1]s
  curl %[2]s/_cat/indices?v
  curl -s --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" --aws-sigv4 aws:amz:%[3]s:es http://%[4]s/movies/_search
  curl -u "%[5]s:$LAB_TARGET_PASSWORD" %[6]s
  %[8]s workflow list --address %[7]s

Ctrl-C ends the lab.
`, environment, l.Source.DirectURL, l.Source.Region, direct, l.Target.User, l.Target.Endpoint, l.Temporal.Address, l.Temporal.CLI)
}
