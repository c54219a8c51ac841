//go:build lab

// Package e2e runs complete migrations on real Elasticsearch nodes, S3, OSS's protocol and
// Temporal, and does to them what happens at night: workers are killed, answers are lost, snapshots
// and blobs disappear.
package e2e

import (
	"context"
	"encoding/base64"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/lab/cluster"
	"github.com/snapferry/snapferry/lab/rig"
	"github.com/snapferry/snapferry/lab/writer"
	"github.com/snapferry/snapferry/migration"
)

// labs are those that the tests run on.
var labs *pool

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) (code int) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	dir, err := os.MkdirTemp("", "snapferry-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	bin := filepath.Join(dir, "bin")
	if err := rig.Build(ctx, bin); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	flag.Parse()
	// Most tests wait for a lab, and one that waits must not keep another from running.
	if err := flag.Set("test.parallel", "1000"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	labs = newPool(dir, bin, mostLabs, 1)
	threes = newPool(filepath.Join(dir, "threes"), bin, 1, 3)
	code = m.Run()
	for _, p := range []*pool{labs, threes} {
		if err := p.close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	if code == 0 {
		_ = os.RemoveAll(dir)
	} else {
		fmt.Fprintln(os.Stderr, "data and logs of the labs:", dir)
	}
	return code
}

// histories is where -histories wants each migration's history, for the replay tests of package
// workflows.
var histories = flag.String("histories", "", "folder to export the history of each migration to, for replays")

// scenario is one migration of one index with a writer on it.
type scenario struct {
	t      *testing.T
	ctx    context.Context
	rig    *rig.Rig
	lab    *lab.Lab
	name   string
	index  string
	plan   migration.Plan
	id     string
	writer *writer.Writer

	mu      sync.Mutex
	workers []*lab.Process
}

// newScenario loads an index of the given name and size into a lab's source and makes a plan. The
// migration is named after the index.
func newScenario(t *testing.T, r *rig.Rig, name string, documents int) *scenario {
	return newScenarioOf(t, r, lab.CatalogOptions{Index: name, Documents: documents, Shards: 3})
}

func newScenarioOf(t *testing.T, r *rig.Rig, catalog lab.CatalogOptions) *scenario {
	name := catalog.Index
	ctx, cancel := context.WithTimeout(t.Context(), lab.Patience)
	t.Cleanup(cancel)
	s := &scenario{t: t, ctx: ctx, rig: r, lab: r.Lab, name: name, index: name, id: migration.WorkflowID(name)}
	require.NoError(t, lab.LoadCatalog(ctx, s.lab.Source.Direct(), catalog))
	s.plan = s.lab.Plan(name, name)
	s.plan.Rounds.Interval = migration.Duration(time.Second)
	t.Cleanup(func() {
		s.export()
		s.lab.OSS.Server.ClearFaults()
		s.lab.Source.Front.Faults.Clear()
		s.lab.Target.Front.Faults.Clear()
		// A migration that a failed test leaves behind would hold the snapshot slots of the next
		// one's clusters.
		_ = s.rig.Client.TerminateWorkflow(context.Background(), s.id, "", "the test has ended")
		_ = s.rig.Client.TerminateWorkflow(context.Background(), migration.GuardID(s.name), "", "the test has ended")
		for _, worker := range s.workers {
			_ = worker.Stop()
		}
	})
	return s
}

// branches are the scenarios whose histories are worth keeping for replays: one for each way that a
// migration can take.
var branches = []string{
	"whole", "bystarter", "bytemporal", "killcopy", "abortwindow", "cancelwaiting",
	"deadmansswitch", "missing", "targetwritten", "wrongplan", "atrest", "proofs", "changing", "groups7",
	"nodesnapshot", "hooks", "hookveto", "hookhangafterblock",
}

// export writes the history for the replay tests.
func (s *scenario) export() {
	if slices.Contains(branches, s.name) {
		s.exportAs(s.id, s.name)
	}
}

// exportAs is export for any workflow of the test.
func (s *scenario) exportAs(id, name string) {
	if *histories == "" || s.t.Failed() {
		return
	}
	require.NoError(s.t, s.rig.Recording(context.Background(), id, filepath.Join(*histories, name+".json")))
}

// noRoundBesides has no round run but those that are asked for. On a slow computer one more would
// come before the freeze, too: that is left out.
func (s *scenario) noRoundBesides() {
	s.plan.Rounds.Interval = migration.Duration(time.Hour)
	s.plan.Freeze.HotRound = migration.HotRoundNever
}

// doubling repeats a scenario, with twice the time, until it tells that the time was long enough: how
// long the way to a moment takes here nobody knows.
func doubling(t *testing.T, name string, limit time.Duration,
	scenario func(t *testing.T, name string, limit time.Duration) (inTime bool),
) {
	t.Helper()
	inTime := false
	for as := name; !inTime && !t.Failed(); as = fmt.Sprintf("%s-%s", name, limit) {
		t.Run(limit.String(), func(t *testing.T) { inTime = scenario(t, as, limit) })
		limit *= 2
	}
}

// windowIsOver tells whether the window that was asked for has ended without a cutover.
func windowIsOver(status migration.Status) bool {
	return status.Phase == migration.PhaseRounds && !status.FreezeRequested
}

// write puts a writer on the index for as long as the test runs. It returns when a write has been
// acknowledged.
func (s *scenario) write() {
	const seed = 7
	s.t.Logf("the writer's seed is %d", seed)
	w, err := writer.Start(writer.Options{
		Source: s.lab.Source.Client(), Index: s.index, Type: lab.CatalogType,
		Seed: seed, Rate: 100,
	})
	require.NoError(s.t, err)
	s.writer = w
	s.t.Cleanup(func() { _ = w.Stop() })
	s.awaitWrites(1)
}

// awaitWrites waits until so many writes are acknowledged.
func (s *scenario) awaitWrites(n int64) {
	s.t.Helper()
	require.Eventually(s.t, func() bool { return s.writer.Stats().Acknowledged >= n }, lab.Patience,
		10*time.Millisecond)
}

func (s *scenario) worker() *lab.Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	worker, err := s.rig.Worker(fmt.Sprintf("worker-%s-%d", s.name, len(s.workers)+1))
	require.NoError(s.t, err)
	s.workers = append(s.workers, worker)
	return worker
}

// replaceWorker kills the worker with SIGKILL and starts another, as an orchestrator would.
func (s *scenario) replaceWorker() {
	s.mu.Lock()
	newest := s.workers[len(s.workers)-1]
	s.mu.Unlock()
	require.NoError(s.t, newest.Kill())
	s.worker()
}

func (s *scenario) start() {
	_, err := s.rig.Start(s.ctx, s.plan)
	require.NoError(s.t, err)
}

func (s *scenario) signal(request migration.Request) {
	require.NoError(s.t, s.rig.Signal(s.ctx, s.id, request))
}

func (s *scenario) await(condition func(migration.Status) bool) migration.Status {
	status, err := s.rig.Await(s.ctx, s.id, condition)
	require.NoError(s.t, err)
	return status
}

func (s *scenario) awaitPhase(phase migration.Phase) migration.Status {
	return s.await(func(status migration.Status) bool { return status.Phase == phase })
}

// awaitHeld waits until a request is being held.
func (s *scenario) awaitHeld(held *lab.Fault) {
	s.t.Helper()
	select {
	case <-held.Arrived():
	case <-s.ctx.Done():
		s.t.Fatal("the request that is to be held never came")
	}
}

// heldOnceBlocked holds the first request to the source that matches and comes after the write block.
// Before the block, what proves in the background sends the same ones.
func (s *scenario) heldOnceBlocked(match lab.Match) *lab.Fault {
	s.t.Helper()
	faults := sourceFaults(s)
	block := faults.HoldNext(lab.Requests(http.MethodPut, "/"+s.name+"/_settings"))
	s.signal(migration.RequestFreeze)
	s.awaitHeld(block)
	held := faults.HoldNext(match)
	block.Release()
	return held
}

func (s *scenario) awaitAttention() migration.Attention {
	return *s.await(func(status migration.Status) bool { return status.Attention != nil }).Attention
}

// finish sends freeze and cutover and proves that nothing is lost.
func (s *scenario) finish() migration.Report {
	s.signal(migration.RequestFreeze)
	s.awaitPhase(migration.PhaseAwaitCutover)
	s.signal(migration.RequestCutover)
	return s.completed()
}

// targetRefuses requires that the target takes no writes: it is blocked, or closed for the restore
// of a window that was ended before it.
func (s *scenario) targetRefuses() {
	s.t.Helper()
	err := s.put(s.lab.Target.Direct())
	require.Error(s.t, err, "the target takes writes")
	require.Regexp(s.t, "cluster_block_exception|index_closed_exception", err.Error())
}

// completed waits for the end and proves that nothing is lost.
func (s *scenario) completed() migration.Report {
	report, err := s.rig.Report(s.ctx, s.id)
	require.NoError(s.t, err)
	require.Equal(s.t, migration.ResultCompleted, report.Result)
	require.Len(s.t, report.Indices, len(s.plan.Indices))
	for _, index := range report.Indices {
		require.True(s.t, index.Equal, "%+v", index)
		if index.Evidence == nil || index.Evidence.Beyond == 0 { // of these, not all documents are read
			require.NotEmpty(s.t, index.Checksum)
		}
	}
	require.NotNil(s.t, report.FrozenWindow)
	if s.writer != nil {
		require.NoError(s.t, s.writer.Stop())
		found, err := s.writer.Verify(s.ctx, s.lab.Target.Client())
		require.NoError(s.t, err)
		require.Zero(s.t, found.Lost, "%v", found.Details)
		require.Positive(s.t, found.Acknowledged)
		s.t.Logf("%d acknowledged writes to %d documents, none lost", found.Acknowledged, found.Documents)
	}
	require.NoError(s.t, s.put(s.lab.Target.Client()), "the target takes writes")
	require.ErrorContains(s.t, s.put(s.lab.Source.Client()), "cluster_block_exception", "the source stays blocked")
	if s.plan.Cutover.KeepRepositories {
		return report
	}
	for side, c := range map[string]interface {
		Do(context.Context, string, string, any, any) error
	}{"source": s.lab.Source.Direct(), "target": s.lab.Target.Direct()} {
		var repositories map[string]any
		require.NoError(s.t, c.Do(s.ctx, http.MethodGet, "/_snapshot", nil, &repositories))
		for name := range repositories {
			require.False(s.t, strings.HasPrefix(name, "snapferry-"+s.name+"-"),
				"repository %s is still registered on the %s", name, side)
		}
	}
	return report
}

// put tries to write one document.
func (s *scenario) put(c *cluster.Client) error {
	path, err := c.DocumentPath(s.ctx, s.index, lab.CatalogType, "one-more")
	if err != nil {
		return err
	}
	return c.Do(s.ctx, http.MethodPut, path, map[string]any{"name": "one more"}, nil)
}

// payloadData is a payload as an exported history has it.
var payloadData = regexp.MustCompile(`"data": *"([A-Za-z0-9+/=]+)"`)

// decoded is a text with what its payloads say in clear behind it: in a history they are in base64,
// where nobody would find a secret.
func decoded(text string) string {
	var all strings.Builder
	all.WriteString(text)
	for _, found := range payloadData.FindAllStringSubmatch(text, -1) {
		if data, err := base64.StdEncoding.DecodeString(found[1]); err == nil {
			all.WriteByte('\n')
			all.Write(data)
		}
	}
	return all.String()
}

// noSecretIn fails if a text holds one of the lab's secrets, also in the payloads of a history.
func (s *scenario) noSecretIn(what, text string) {
	s.t.Helper()
	text = decoded(text)
	for _, secret := range []string{
		lab.AWSSecretKey, lab.TargetPassword, s.lab.OSS.CopierKey.Secret,
		s.lab.OSS.ClusterKey.Secret,
	} {
		require.NotContains(s.t, text, secret, "a secret stands in %s", what)
	}
}
