// Package demo runs a complete migration on a lab, as a person would see it: two indices, one of
// them written to all the time, through baseline, incremental rounds, freeze and cutover. Then it
// asks the writer what was lost.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/lab/cluster"
	"github.com/snapferry/snapferry/lab/rig"
	"github.com/snapferry/snapferry/lab/writer"
	"github.com/snapferry/snapferry/migration"
)

// leastWrites is how many acknowledged writes make the demo worth believing.
const leastWrites = 1000

// Options are where the demo runs and what it leaves.
type Options struct {
	// Dir is the run directory; report.json and history.json are written there.
	Dir string
	Out io.Writer
	// Documents in the index catalog.
	Documents int
	// Keep leaves everything up after the end until ctx is cancelled.
	Keep bool
}

type demo struct {
	o     Options
	began time.Time
	out   sync.Mutex // hooks speak too
	lab   *lab.Lab
	rig   *rig.Rig
	write *writer.Writer
	hooks *switchboard
	id    string

	// What was told of the migration already.
	phase migration.Phase
	step  string
	told  int
}

// Run runs the demo. Its error says what went wrong; every part is ended when it returns.
func Run(ctx context.Context, o Options) (err error) {
	d := &demo{o: o, began: time.Now()}
	d.say("starting the lab: Elasticsearch 5.5.2 and 5.5.3, S3, OSS, Temporal")
	d.lab, err = lab.Start(ctx, lab.Options{Dir: o.Dir, UI: true, Fresh: true, Out: o.Out})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.lab.Close()) }()
	if d.rig, err = rig.New(ctx, d.lab); err != nil {
		return err
	}
	defer d.rig.Close()
	err = d.run(ctx)
	if o.Keep && ctx.Err() == nil {
		if err != nil {
			d.say("FAILED: %v", err)
		}
		d.say("everything stays up: the Temporal UI is at %s; Ctrl-C ends it", d.lab.Temporal.UIAddress)
		<-ctx.Done()
	}
	return err
}

func (d *demo) say(format string, args ...any) {
	d.out.Lock()
	defer d.out.Unlock()
	fmt.Fprintf(d.o.Out, "%6.1fs  %s\n", time.Since(d.began).Seconds(), fmt.Sprintf(format, args...))
}

func (d *demo) run(ctx context.Context) error {
	if err := d.load(ctx); err != nil {
		return err
	}
	if err := d.start(ctx); err != nil {
		return err
	}
	defer d.end() // on the way out of an error
	if err := d.rounds(ctx); err != nil {
		return err
	}
	if err := d.freeze(ctx); err != nil {
		return err
	}
	return d.cutover(ctx)
}

// end ends what the demo has started itself. A second end is harmless.
func (d *demo) end() {
	if d.write != nil {
		_ = d.write.Stop()
	}
	if d.hooks != nil {
		d.hooks.close()
	}
}

func (d *demo) load(ctx context.Context) error {
	d.say("loading movies (%d films) and catalog (%d documents) into the source", len(lab.FirstFilms), d.o.Documents)
	if err := lab.LoadMovies(ctx, d.lab.Source.Client()); err != nil {
		return err
	}
	return lab.LoadCatalog(ctx, d.lab.Source.Direct(), lab.CatalogOptions{Documents: d.o.Documents})
}

func (d *demo) start(ctx context.Context) error {
	journal, err := os.Create(filepath.Join(d.o.Dir, "writes.jsonl"))
	if err != nil {
		return err
	}
	const seed = 42
	d.write, err = writer.Start(writer.Options{
		Source: d.lab.Source.Client(), Index: lab.CatalogIndex,
		Type: lab.CatalogType, Seed: seed, Rate: 80, Journal: journal,
	})
	if err != nil {
		return err
	}
	d.say("a writer now indexes, updates and deletes documents in catalog, and remembers every acknowledged write "+
		"(seed %d)", seed)
	if d.hooks, err = d.newSwitchboard(); err != nil {
		return err
	}
	if err := d.hooks.worker(ctx, d.rig); err != nil {
		return err
	}
	d.say("a worker of the writer's owners (examples/hooks) serves the hook that stops it, on task queue %s", hookQueue)
	if _, err := d.lab.Run("worker", []string{d.rig.WorkerPath}, "TEMPORAL_ADDRESS="+d.rig.Temporal.Address,
		signingRef+"="+d.hooks.secret); err != nil {
		return err
	}
	plan := d.lab.Plan("demo", lab.MoviesIndex, lab.CatalogIndex)
	plan.Hooks = d.hooks.hooks()
	if d.id, err = d.rig.Start(ctx, plan); err != nil {
		return err
	}
	d.say("started %s with `starter start -f %s`; Temporal UI: %s", d.id, filepath.Join(d.o.Dir, "demo.yaml"),
		d.lab.Temporal.UIAddress)
	return nil
}

// await follows the migration until a condition holds and says each step and round as it happens.
func (d *demo) await(ctx context.Context, condition func(migration.Status) bool) error {
	_, err := d.rig.Await(ctx, d.id, func(s migration.Status) bool {
		if s.Phase != d.phase {
			d.phase = s.Phase
			d.say("phase %s", s.Phase)
		}
		if s.Step != "" && s.Step != d.step {
			d.say("  %s", s.Step)
		}
		d.step = s.Step
		for ; d.told < s.RoundsEnded; d.told++ {
			r := s.Rounds[len(s.Rounds)-s.RoundsEnded+d.told]
			d.say("round %d (%s) copied %s: %d blobs and %s copied, %d blobs there already; %d documents on the target",
				r.Number, r.Kind, r.Snapshot, r.BlobsCopied, human.Size(r.BytesCopied), r.BlobsSkipped,
				r.Docs)
		}
		return condition(s)
	})
	return err
}

// rounds waits for the baseline, adds two films and waits for two incremental rounds after that.
func (d *demo) rounds(ctx context.Context) error {
	if err := d.await(ctx, func(s migration.Status) bool { return s.RoundsEnded >= 1 }); err != nil {
		return err
	}
	d.say("the baseline is restored; adding two films to the source")
	if err := lab.AddFilms(ctx, d.lab.Source.Client()); err != nil {
		return err
	}
	return d.await(ctx, func(s migration.Status) bool {
		return s.RoundsEnded >= 3 && d.write.Stats().Acknowledged >= leastWrites
	})
}

func (d *demo) freeze(ctx context.Context) error {
	before := d.write.Stats()
	d.say("%d writes acknowledged so far; sending the signal freeze", before.Acknowledged)
	if err := d.rig.Signal(ctx, d.id, migration.RequestFreeze); err != nil {
		return err
	}
	waits := func(s migration.Status) bool { return s.Phase == migration.PhaseAwaitCutover }
	if err := d.await(ctx, waits); err != nil {
		return err
	}
	stats := d.write.Stats()
	switch stopped, _ := d.hooks.state(); {
	case stopped < 0:
		return errors.New("writes are blocked, and no hook has stopped the writer")
	case stats.Acknowledged > stopped || stats.Refused > 0:
		return fmt.Errorf("the writer went on after the hook had stopped it: %d writes more, %d refused",
			stats.Acknowledged-stopped, stats.Refused)
	}
	d.say("none of the writer's writes was refused: it had stopped before the block")
	if err := d.refuses(ctx, "source", d.lab.Source.Client()); err != nil {
		return err
	}
	return d.refuses(ctx, "target", d.lab.Target.Client())
}

// refuses checks that a cluster refuses a write because of a block.
func (d *demo) refuses(ctx context.Context, name string, c *cluster.Client) error {
	err := c.Do(ctx, http.MethodPut, filmPath, lab.Film{Title: "Never", Year: 1, Director: "Nobody"}, nil)
	var status *cluster.StatusError
	if !errors.As(err, &status) || status.Status != http.StatusForbidden {
		return fmt.Errorf("a write to the %s was to be refused with 403: %w", name, err)
	}
	d.say("a write to the %s was refused", name)
	return nil
}

// filmPath is a document that neither cluster has until the end.
const filmPath = "/" + lab.MoviesIndex + "/" + lab.MoviesType + "/6"

func (d *demo) cutover(ctx context.Context) error {
	d.say("the target is verified; sending the signal cutover")
	if err := d.rig.Signal(ctx, d.id, migration.RequestCutover); err != nil {
		return err
	}
	migrated, err := d.rig.Report(ctx, d.id)
	if err != nil {
		return err
	}
	d.say("%s is %s", d.id, migrated.Result)
	if err := d.moved(ctx); err != nil {
		return err
	}
	written, err := d.write.Verify(ctx, d.lab.Target.Client())
	if err != nil {
		return err
	}
	report := newReport(migrated, written)
	reportPath, historyPath := filepath.Join(d.o.Dir, "report.json"), filepath.Join(d.o.Dir, "history.json")
	if err := report.write(reportPath); err != nil {
		return err
	}
	if err := d.rig.History(ctx, d.id, historyPath); err != nil {
		return err
	}
	for _, loss := range written.Details {
		d.say("LOST %s", loss)
	}
	if err := d.after(ctx); err != nil {
		return err
	}
	fmt.Fprintln(d.o.Out)
	report.print(d.o.Out)
	fmt.Fprintf(d.o.Out, "\nreport: %s\nhistory: %s\n", reportPath, historyPath)
	return report.check()
}

// moved waits until the writer, which a hook has started, has written to the target, and stops it.
func (d *demo) moved(ctx context.Context) error {
	stopped, moved := d.hooks.state()
	if !moved {
		return errors.New("no hook has started the writer on the target")
	}
	ticker := time.NewTicker(looks)
	defer ticker.Stop()
	for d.write.Stats().Acknowledged < stopped+leastMoved {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
	if err := d.write.Stop(); err != nil {
		return err
	}
	d.say("the writer made %d writes to the target since the hook started it there",
		d.write.Stats().Acknowledged-stopped)
	return nil
}

// looks is how often the demo looks at its own writer.
const looks = 100 * time.Millisecond

// after checks from outside what a handover means: the target takes a write, the source refuses
// one, and all films are there.
func (d *demo) after(ctx context.Context) error {
	films, err := d.lab.Target.Client().Count(ctx, lab.MoviesIndex)
	if err != nil {
		return err
	}
	if want := int64(len(lab.FirstFilms) + len(lab.LaterFilms)); films != want {
		return fmt.Errorf("the target holds %d films, %d were expected", films, want)
	}
	if err := d.lab.Target.Client().Do(ctx, http.MethodPut, filmPath,
		lab.Film{Title: "The Handmaiden", Year: 2016, Director: "Park Chan-wook"}, nil); err != nil {
		return fmt.Errorf("the target refused a write after the cutover: %w", err)
	}
	d.say("a write to the target succeeded")
	return d.refuses(ctx, "source", d.lab.Source.Client())
}
