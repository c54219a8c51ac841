package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/snapferry/snapferry/internal/golden"
	"github.com/snapferry/snapferry/migration"
)

// clearingTemporal is a server that runs recover and cleanup.
type clearingTemporal struct {
	*fakeTemporal
	// found are the results, one after another.
	found    []migration.RemainsReport
	failure  error
	id       string
	started  []string // the types
	requests []migration.RemainsRequest
}

func (f *clearingTemporal) ExecuteWorkflow(_ context.Context, options client.StartWorkflowOptions, workflow any,
	args ...any,
) (client.WorkflowRun, error) {
	require.Equal(f.t, migration.TaskQueue, options.TaskQueue)
	if f.startErr != nil {
		return nil, f.startErr
	}
	wire, err := json.Marshal(args[0])
	require.NoError(f.t, err)
	var input migration.RemainsInput
	require.NoError(f.t, json.Unmarshal(wire, &input))
	kinds := migration.RecoverKinds
	if workflow == migration.CleanupWorkflowType {
		kinds = migration.CleanupKinds
	}
	request, err := input.Request(kinds)
	require.NoError(f.t, err)
	f.id = options.ID
	f.started, f.requests = append(f.started, workflow.(string)), append(f.requests, request)
	run := clearingRun{failure: f.failure}
	if len(f.found) > 0 {
		run.found, f.found = f.found[0], f.found[1:]
	}
	return run, nil
}

type clearingRun struct {
	client.WorkflowRun
	found   migration.RemainsReport
	failure error
}

func (r clearingRun) Get(_ context.Context, into any) error {
	*into.(*migration.RemainsReport) = r.found
	return r.failure
}

func newClearingConsole(t *testing.T, found ...migration.RemainsReport) (*console, *clearingTemporal) {
	fake := &clearingTemporal{fakeTemporal: newFake(t), found: found}
	c := newConsole(t, fake.fakeTemporal)
	c.deps.dial = func(context.Context, client.Options) (temporalClient, error) { return fake, nil }
	return c, fake
}

// interrupted is what a terminated migration left.
func interrupted() migration.RemainsReport {
	return migration.RemainsReport{Plan: "movies", Remains: migration.Remains{
		Found: []migration.RemainsGroup{
			{
				Kind: migration.RemainsBlocks, Origin: migration.OriginOurs, Where: "source search-movies",
				Token: "0f3c9a71",
				Why:   "a run of this plan set the block, and its history shows that nothing removed it",
				Count: 812, Names: []string{"a", "b", "c", "d", "e", "f", "g"},
			},
			{
				Kind: migration.RemainsBlocks, Origin: migration.OriginPerhaps, Where: "source search-movies",
				Why: "index.blocks.write is set, and no history tells who set it", Count: 1, Names: []string{"reviews"},
			},
			{
				Kind: migration.RemainsBlocks, Origin: migration.OriginKept, Where: "source search-movies",
				Why: "they had this block before a run of this plan set its own", Count: 1, Names: []string{"archive"},
			},
			{
				Kind: migration.RemainsRepositories, Origin: migration.OriginOurs, Where: "target es-sg",
				Token: "0f3c9a71",
				Why:   "its name and its folder are those of a run of this plan", Count: 1,
				Names: []string{"snapferry-movies-0f3c9a71"},
			},
		},
		Warnings: []string{"the target's cluster settings can't be read: 403"},
	}}
}

// cleaned is a cleanup after which nothing but the product remains.
func cleaned() migration.RemainsReport {
	r := migration.RemainsReport{Plan: "movies", Removed: []migration.Removed{
		{Kind: migration.RemainsSnapshots, Count: 12},
		{Kind: migration.RemainsRepositories, Count: 2},
		{
			Kind: migration.RemainsObjects, Count: 4711, Bytes: 9 << 30, LeftCount: 3,
			Left: []string{"S3 movies-bucket/snapferry/movies/0f3c9a71/: the worker may not delete there"},
		},
	}}
	r.After = &migration.Remains{Found: []migration.RemainsGroup{{
		Kind: migration.RemainsIndices, Origin: migration.OriginKept, Where: "target es-sg", Token: "0f3c9a71",
		Why: "they are, or may be, what a migration has handed over", Count: 2, Names: []string{"catalog", "movies"},
	}}}
	return r
}

func TestRecoverOnlyShowsUnlessAsked(t *testing.T) {
	c, fake := newClearingConsole(t, interrupted(), interrupted())
	out, errs := c.run(exitRemains, "recover", "-f", minimal)
	golden.Equal(t, "testdata/recover.txt", out)
	require.Empty(t, errs)
	require.Equal(t, "recover/movies", fake.id)
	require.Equal(t, []migration.RemainsRequest{{Plan: moviesPlan(t)}}, fake.requests)

	out, _ = c.run(exitRemains, "recover", "-f", minimal, "-o", "json")
	var report migration.RemainsReport
	require.NoError(t, json.Unmarshal([]byte(out), &report))
	require.Equal(t, interrupted(), report)
}

func TestRecoverRemovesWhatIsAskedFor(t *testing.T) {
	for flags, want := range map[string]migration.RemainsRequest{
		"--yes":               {Remove: []migration.RemainsKind{migration.RemainsAll}},
		"--snapshots":         {Remove: []migration.RemainsKind{migration.RemainsRunning}},
		"--throttles --yes":   {Remove: []migration.RemainsKind{migration.RemainsThrottles, migration.RemainsAll}},
		"--uploads --indices": {Remove: []migration.RemainsKind{migration.RemainsIndices, migration.RemainsUploads}},
		"--blocks --index a --index b-* --token 0f3c9a71": {
			Remove: []migration.RemainsKind{migration.RemainsBlocks}, Indices: []string{"a", "b-*"}, Token: "0f3c9a71",
		},
	} {
		gone := migration.RemainsReport{
			Plan: "movies", Removed: []migration.Removed{{Kind: migration.RemainsBlocks, Count: 2}},
			After: &migration.Remains{},
		}
		c, fake := newClearingConsole(t, gone)
		out, _ := c.run(exitOK, append([]string{"recover", "-f", minimal}, strings.Fields(flags)...)...)
		require.Contains(t, out, "2 write blocks removed")
		require.Contains(t, out, "Found now\n  - nothing")
		require.Contains(t, out, "Next: starter cleanup -f "+minimal)
		want.Plan = moviesPlan(t)
		require.Equal(t, []migration.RemainsRequest{want}, fake.requests, flags)
	}
}

// A person sees what would be deleted, and confirms it.
func TestCleanupAsksFirst(t *testing.T) {
	all := []migration.RemainsKind{migration.RemainsAll}
	c, fake := newClearingConsole(t, interrupted(), cleaned())
	c.deps.inTerminal, c.deps.in = true, strings.NewReader("movies\n")
	out, errs := c.run(exitOK, "cleanup", "-f", minimal)
	golden.Equal(t, "testdata/cleanup.txt", out)
	require.Contains(t, errs, "perhaps left behind: 1 write block")
	require.Contains(t, errs, `Type "movies" to go on`)
	require.Equal(t, []string{migration.CleanupWorkflowType, migration.CleanupWorkflowType}, fake.started)
	require.Equal(t, "cleanup/movies", fake.id)
	require.Empty(t, fake.requests[0].Remove)
	require.Equal(t, all, fake.requests[1].Remove)

	c, fake = newClearingConsole(t, interrupted())
	c.deps.inTerminal, c.deps.in = true, strings.NewReader("no\n")
	_, errs = c.run(exitFailed, "cleanup", "-f", minimal)
	require.Contains(t, errs, "not confirmed; nothing was removed")
	require.Len(t, fake.requests, 1)

	c, fake = newClearingConsole(t, migration.RemainsReport{Plan: "movies"})
	c.deps.inTerminal = true
	c.run(exitOK, "cleanup", "-f", minimal)
	require.Len(t, fake.requests, 1, "there is nothing to ask about")
}

func TestCleanupWithoutAsking(t *testing.T) {
	c, fake := newClearingConsole(t, interrupted())
	out, _ := c.run(exitRemains, "cleanup", "-f", minimal, "--dry-run")
	require.Contains(t, out, "Next: starter recover -f "+minimal+": write blocks on the source")
	require.Contains(t, out, "or: starter cleanup -f "+minimal+" --yes")
	require.Empty(t, fake.requests[0].Remove)

	c, fake = newClearingConsole(t, cleaned())
	c.run(exitOK, "cleanup", "-f", minimal, "--yes", "--token", "0f3c9a71")
	require.Equal(t, []migration.RemainsKind{migration.RemainsAll}, fake.requests[0].Remove)
	require.Equal(t, "0f3c9a71", fake.requests[0].Token)

	for _, flags := range [][]string{
		nil,
		{"--dry-run", "--yes"},
		{"--yes", "--token", "../x"},
		{"--yes", "--index", "a,b"},
	} {
		c, fake = newClearingConsole(t)
		c.run(exitUsage, append([]string{"cleanup", "-f", minimal}, flags...)...)
		require.Empty(t, fake.requests)
	}
}

func TestARecoverWithoutResult(t *testing.T) {
	c, fake := newClearingConsole(t)
	fake.failure = temporal.NewApplicationError("workflow migration/movies is running", string(migration.ErrorRunning))
	out, errs := c.run(exitRefused, "recover", "-f", minimal)
	require.Empty(t, out)
	require.Contains(t, errs, "workflow migration/movies is running\nNext: starter status movies")

	fake.failure = temporal.NewApplicationError("no such index", string(migration.ErrorMissing))
	_, errs = c.run(exitFailed, "cleanup", "-f", minimal, "--yes")
	require.Contains(t, errs, "cleanup failed: no such index (Missing)")

	fake.failure = temporal.NewCanceledError()
	_, errs = c.run(exitFailed, "recover", "-f", minimal)
	require.Contains(t, errs, "run it again to see what is left")

	fake.startErr = serviceerror.NewWorkflowExecutionAlreadyStarted("", "", "")
	_, errs = c.run(exitFailed, "recover", "-f", minimal)
	require.Contains(t, errs, "running already (workflow recover/movies)")

	fake.startErr, fake.failure = nil, nil
	fake.pollers[migration.TaskQueue] = false
	_, errs = c.run(exitOK, "recover", "-f", minimal)
	require.Contains(t, errs, "no worker polls task queue snapferry")
	c.run(exitUsage, "recover")
}
