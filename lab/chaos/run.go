package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"go.temporal.io/api/enums/v1"

	"github.com/snapferry/snapferry/internal/osstest"
	"github.com/snapferry/snapferry/internal/pause"
	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/lab/benchmain"
	"github.com/snapferry/snapferry/lab/rig"
	"github.com/snapferry/snapferry/lab/writer"
	"github.com/snapferry/snapferry/migration"
)

const (
	// roundsBefore is how many rounds there are at least before the freeze.
	roundsBefore = 3
	// mostPerRun ends a run that hangs. Nothing that works takes that long.
	mostPerRun = 15 * time.Minute
	documents  = 1_000
)

// verdict is how a run ended.
type verdict string

const (
	completed  verdict = "completed"
	parked     verdict = "parked" // and then completed, when a person had sent retry
	terminated verdict = "terminated"
	stuck      verdict = "stuck"
)

// outcome is what is reported of a run.
type outcome struct {
	Seed       uint64   `json:"seed"`
	Faults     []string `json:"faults"`
	Verdict    verdict  `json:"verdict"`
	LostWrites int      `json:"lostWrites"`
	Violations []string `json:"violations"`

	// NotReached are faults whose moment never came: another one ended the migration before.
	NotReached []string `json:"notReached,omitempty"`
	// Attention are the types of errors for which a person was asked.
	Attention    []string `json:"attention,omitempty"`
	Acknowledged int64    `json:"acknowledged"`
	Seconds      float64  `json:"seconds"`
}

// migrating is one run: a migration, its writer and what happens to them.
type migrating struct {
	field    *benchmain.Field
	name, id string
	writer   *writer.Writer
	// expected tells whether a fault of the run may need a person, or ends the migration.
	person, ends bool
	// clock is that of the first worker, if a fault of the run sets it.
	clock *rig.Clock

	mu      sync.Mutex
	workers []*lab.Process // one for everything, one for copies
	started int
	seen    map[event]int
	frozen  bool
	copying bool // a snapshot was asked for, and none of its blobs was copied yet
	waiting map[moment][]fault
	under   int // faults that are under way
	result  outcome

	inflicting sync.WaitGroup
	cancelled  context.Context // of the run
	unwatch    []func()
}

func (m *migrating) main() string { return m.name + "-main" }
func (m *migrating) side() string { return m.name + "-side" }

// run takes a migration through what its seed draws, and says what came of it.
func run(ctx context.Context, f *benchmain.Field, seed uint64) (outcome, error) {
	began := time.Now()
	name := fmt.Sprintf("c%d", seed)
	m := &migrating{
		field: f, name: name, id: migration.WorkflowID(name), seen: map[event]int{}, waiting: map[moment][]fault{},
		result: outcome{Seed: seed, Violations: []string{}},
	}
	for _, b := range draw(seed) {
		drawn := faultNamed(b.Fault)
		if drawn.clock && m.clock == nil {
			clock, err := rig.NewClock(f.Dir, name)
			if err != nil {
				return m.result, err
			}
			m.clock = &clock
		}
		m.waiting[b.At] = append(m.waiting[b.At], drawn)
		m.result.Faults = append(m.result.Faults, b.String())
		m.person = m.person || drawn.person != ""
		m.ends = m.ends || drawn.ends
	}
	ctx, cancel := context.WithTimeout(ctx, mostPerRun)
	defer cancel()
	m.cancelled = ctx
	err := m.prepare(ctx)
	if err == nil {
		err = m.drive(ctx)
	}
	m.stopWatching() // or a late event begins another fault
	m.inflicting.Wait()
	if err == nil {
		err = m.check(ctx)
	}
	if err != nil && ctx.Err() != nil && errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		m.result.Verdict = stuck
		m.violates("it did not end within %s: %v", mostPerRun, err)
		err = nil
	}
	for at, left := range m.waiting {
		for _, one := range left {
			m.result.NotReached = append(m.result.NotReached, blow{one.name, at}.String())
		}
	}
	m.result.Seconds = benchmain.Round3(time.Since(began).Seconds())
	clean, stop := context.WithTimeout(context.WithoutCancel(ctx), lab.Patience)
	defer stop()
	return m.result, errors.Join(err, m.cleanUp(clean))
}

func (m *migrating) violates(format string, arguments ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.result.Violations = append(m.result.Violations, fmt.Sprintf(format, arguments...))
}

// prepare loads the source, watches everything, and starts writer, workers and migration.
func (m *migrating) prepare(ctx context.Context) error {
	for _, index := range []string{m.main(), m.side()} {
		if err := m.load(ctx, index); err != nil {
			return err
		}
	}
	var err error
	m.writer, err = writer.Start(writer.Options{
		Source: m.field.Lab.Source.Client(), Index: m.main(), Type: lab.CatalogType, Seed: m.result.Seed, Rate: 50,
	})
	if err != nil {
		return err
	}
	for number := range 2 {
		worker, err := m.worker(number)
		if err != nil {
			return err
		}
		m.workers = append(m.workers, worker)
	}
	m.watch()
	plan := m.field.Lab.Plan(m.name, m.name+"-*")
	plan.Rounds.Interval = migration.Duration(time.Second)
	plan.Freeze.HotRound = migration.HotRoundNever
	_, err = m.field.Rig.Start(ctx, plan)
	return err
}

func (m *migrating) load(ctx context.Context, index string) error {
	return lab.LoadCatalog(ctx, m.field.Lab.Source.Direct(),
		lab.CatalogOptions{Index: index, Documents: documents, Shards: 2, Seed: m.result.Seed})
}

// worker starts the first worker, which does everything, or the second, which only copies.
func (m *migrating) worker(number int) (*lab.Process, error) {
	m.started++
	name := fmt.Sprintf("worker-%s-%d", m.name, m.started)
	switch {
	case number > 0:
		return m.field.Rig.Worker(name, "--queues", migration.CopyTaskQueue)
	case m.clock != nil:
		return m.field.Rig.ClockedWorker(*m.clock, name)
	}
	return m.field.Rig.Worker(name)
}

// replaceWorker kills a worker and starts another, as an orchestrator does.
func (m *migrating) replaceWorker(number int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.workers[number].Kill(); err != nil {
		return err
	}
	var err error
	m.workers[number], err = m.worker(number)
	return err
}

// withoutWorkers kills all workers, and starts others after a while.
func (m *migrating) withoutWorkers(ctx context.Context, while time.Duration) error {
	m.mu.Lock()
	var all error
	for _, worker := range m.workers {
		all = errors.Join(all, worker.Kill())
	}
	m.mu.Unlock()
	err := pause.For(ctx, while)
	for number := range m.workers {
		all = errors.Join(all, m.replaceWorker(number))
	}
	return errors.Join(all, err)
}

var askedSnapshot = regexp.MustCompile(`^/_snapshot/[^/]+/[^/]+-r\d{4}(-g\d+)?-a\d+$`)

// watch sees the migration's events in the requests to both clusters and to OSS.
func (m *migrating) watch() {
	ours := func(path string) bool { return strings.Contains(path, m.name+"-") }
	source := m.field.Lab.Source.Front.Faults.Observe(func(e lab.Exchange) {
		switch {
		case e.Status/100 != 2 || !ours(e.Path):
		case e.Method == http.MethodPut && askedSnapshot.MatchString(e.Path):
			m.saw(snapshotAsked)
		case e.Method == http.MethodPut && strings.HasSuffix(e.Path, "/_settings") &&
			strings.Contains(string(e.Body), `"index.blocks.write":true`):
			m.saw(sourceBlocked)
		}
	})
	target := m.field.Lab.Target.Front.Faults.Observe(func(e lab.Exchange) {
		if e.Status/100 == 2 && ours(e.Path) && e.Method == http.MethodPost && strings.HasSuffix(e.Path, "/_restore") {
			m.saw(restoreAsked)
		}
	})
	m.field.Lab.OSS.Server.Observe(func(e osstest.Event) {
		switch {
		case e.Status/100 != 2 || e.Op != "PutObject" || !strings.Contains(e.Key, m.name+"/"):
		case strings.Contains(e.Key, "/__"):
			m.saw(blobCopied)
		case strings.Contains(e.Key, "/index-") && !strings.Contains(e.Key, "/indices/"):
			m.saw(rootPublished)
		}
	})
	m.unwatch = []func(){source, target, func() { m.field.Lab.OSS.Server.Observe(nil) }}
}

func (m *migrating) stopWatching() {
	for _, stop := range m.unwatch {
		stop()
	}
}

// ofWindow says what an event is called while writes are blocked.
var ofWindow = map[event]event{
	snapshotAsked: finalSnapshot, blobCopied: finalCopy, rootPublished: finalPublish, restoreAsked: finalRestore,
}

// saw counts an event, and begins the faults that were drawn for it.
func (m *migrating) saw(e event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch e {
	case snapshotAsked:
		m.copying = true
	case blobCopied:
		if !m.copying {
			return
		}
		m.copying = false
	case sourceBlocked:
		m.frozen = true
	}
	if final, other := ofWindow[e]; other && m.frozen {
		e = final
	}
	m.seen[e]++
	at := moment{e, m.seen[e]}
	for _, begins := range m.waiting[at] {
		m.under++
		m.inflicting.Go(func() {
			err := begins.inflict(m.cancelled, m)
			m.mu.Lock()
			defer m.mu.Unlock()
			m.under--
			if err != nil && m.cancelled.Err() == nil {
				m.result.NotReached = append(m.result.NotReached, fmt.Sprintf("%s at %s: %v", begins.name, at, err))
			}
		})
	}
	delete(m.waiting, at)
}

// drive plays the operator until the migration has ended.
func (m *migrating) drive(ctx context.Context) error {
	r := m.field.Rig
	watchTarget, stop := context.WithCancel(ctx)
	defer stop()
	m.inflicting.Go(func() { m.targetStaysBlocked(watchTarget) })
	var asked time.Time
	verified := false
	for {
		if err := pause.For(ctx, 200*time.Millisecond); err != nil {
			return fmt.Errorf("it stands in %s: %w", m.where(), err)
		}
		described, err := r.Client.DescribeWorkflowExecution(ctx, m.id, "")
		if err != nil {
			continue // Temporal is away
		}
		switch described.GetWorkflowExecutionInfo().GetStatus() {
		case enums.WORKFLOW_EXECUTION_STATUS_RUNNING, enums.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW:
		case enums.WORKFLOW_EXECUTION_STATUS_TERMINATED:
			m.result.Verdict = terminated
			return nil
		default:
			return m.ended(ctx)
		}
		status, err := r.Status(ctx, m.id)
		if err != nil || time.Since(asked) < 5*time.Second {
			continue
		}
		var request migration.Request
		switch {
		case status.Attention != nil && !status.Attention.Retrying:
			if !m.asks(*status.Attention) {
				continue // what is wrong has not passed yet
			}
			request = migration.RequestRetry
		case status.Phase == migration.PhaseRounds && status.RoundsEnded >= roundsBefore && !status.Paused:
			m.mu.Lock()
			m.frozen = false
			m.mu.Unlock()
			request = migration.RequestFreeze
		case status.Phase == migration.PhaseAwaitCutover:
			if !verified {
				verified = true
				m.saw(targetVerified)
			}
			request = migration.RequestCutover
		default:
			continue
		}
		asked = time.Now()
		if request == migration.RequestCutover {
			stop() // from now on the target may take writes
		}
		if r.Signal(ctx, m.id, request) == nil && request == migration.RequestCutover {
			m.saw(cutoverSent)
		}
	}
}

// asks notes that a person is asked for. It tells whether to send retry: not while a fault is under
// way.
func (m *migrating) asks(attention migration.Attention) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.under > 0 {
		return false
	}
	m.result.Attention = append(m.result.Attention, attention.Type+": "+attention.Message)
	return true
}

// where tells where a migration stands that doesn't end.
func (m *migrating) where() string {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	status, err := m.field.Rig.Status(ctx, m.id)
	if err != nil {
		return "an unknown phase"
	}
	text := fmt.Sprintf("phase %s (%s)", status.Phase, status.Step)
	if status.Attention != nil {
		text += ", " + status.Attention.Type + ": " + status.Attention.Message
	}
	return text
}

// ended reads the report.
func (m *migrating) ended(ctx context.Context) error {
	report, err := m.field.Rig.Report(ctx, m.id)
	switch report.Result {
	case migration.ResultCompleted:
		m.result.Verdict = completed
		if len(m.result.Attention) > 0 {
			m.result.Verdict = parked
		}
		return err
	default:
		m.result.Verdict = verdict(report.Result)
	}
	m.violates("it ended as %s: %v", report.Result, err)
	return nil
}
