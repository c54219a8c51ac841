package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/snapferry/snapferry/internal/golden"
	"github.com/snapferry/snapferry/migration"
)

// checkTemporal is a server that runs checks beside the one migration.
type checkTemporal struct {
	*fakeTemporal
	found   migration.CheckReport
	failure error
	options migration.CheckOptions
}

func (f *checkTemporal) ExecuteWorkflow(_ context.Context, options client.StartWorkflowOptions, workflow any,
	args ...any,
) (client.WorkflowRun, error) {
	require.Equal(f.t, migration.CheckWorkflowType, workflow)
	require.Equal(f.t, "check/movies", options.ID)
	if f.startErr != nil {
		return nil, f.startErr
	}
	f.options = args[1].(migration.CheckOptions)
	return checkRun{fake: f}, nil
}

type checkRun struct {
	client.WorkflowRun
	fake *checkTemporal
}

func (r checkRun) Get(_ context.Context, into any) error {
	*into.(*migration.CheckReport) = r.fake.found
	return r.fake.failure
}

func newCheckConsole(t *testing.T, found migration.CheckReport, moments ...moment) (*console, *checkTemporal) {
	fake := &checkTemporal{fakeTemporal: newFake(t, moments...), found: found}
	c := newConsole(t, fake.fakeTemporal)
	c.deps.dial = func(context.Context, client.Options) (temporalClient, error) { return fake, nil }
	return c, fake
}

func checkedPlan() migration.CheckReport {
	r := migration.CheckReport{
		Plan: "movies",
		Checked: migration.Checked{
			SourceVersion: "6.8.23", TargetVersion: "7.10.2", Indices: 3, Shards: 7, Segments: 90, Docs: 1_250_000,
			Bytes: 9 << 30, Probe: &migration.Index{Name: "movies-small", Shards: 1}, ProbeSegments: 6,
			Limits: []migration.PaceLimit{
				{
					Step: migration.StepSnapshot, Setting: "max_snapshot_bytes_per_sec", Value: "40mb", Default: true,
					BytesPerSecond: 40 << 20, Nodes: 3,
				},
				{
					Step: migration.StepRestore, Setting: "indices.recovery.max_bytes_per_sec", Value: "40mb",
					Default: true, BytesPerSecond: 40 << 20, Nodes: 2,
				},
			},
			Areas: []migration.CheckArea{
				{Name: "Clusters and versions"},
				{Name: "Analysis, mappings, filters", Note: "2 definitions tried in a throw-away index"},
				{
					Name:     "Other snapshots",
					Warnings: []string{"the target has no known repository of automatic snapshots"},
				},
			},
		},
		Probed: &migration.Probed{
			Index: "movies-small", Bytes: 64 << 20, Blobs: 66,
			SnapshotMillis: 1200, CopyMillis: 2500, RestoreMillis: 900,
			Round: &migration.ProbedRound{Bytes: 4096, SnapshotMillis: 400, CopyMillis: 300, RestoreMillis: 700},
		},
		Written: &migration.Written{
			Millis: 60_000, Indexed: 720, Deleted: 18, Indices: 2, Shards: 4, Bytes: 3 << 30, NewBytes: 600_000,
			MergedBytes: 1_500_000,
		},
	}
	r.Foresee(migration.DefaultRoundInterval)
	r.Conclude()
	return r
}

func TestCheckOfAPlan(t *testing.T) {
	c, fake := newCheckConsole(t, checkedPlan())
	page := filepath.Join(t.TempDir(), "check.html")
	out, errs := c.run(exitOK, "check", "-f", minimal, "--probe", "--html", page)
	golden.Equal(t, "testdata/check-ready.txt", out)
	require.Empty(t, errs)
	require.Equal(t, migration.CheckOptions{Probe: true}, fake.options)
	html, err := os.ReadFile(page)
	require.NoError(t, err)
	golden.Equal(t, "testdata/check-ready.html", string(html))

	bad := checkedPlan()
	bad.Probed, bad.Forecast, bad.NoProbe = nil, nil, "the problems come first"
	bad.Written, bad.Round, bad.NotWatched = nil, nil, "it was not asked for"
	bad.Areas[1].Problems = []string{
		"setting index.analysis.filter.fold.type of index movies can't be used there: install the plugin <b>",
	}
	bad.Conclude()
	c, fake = newCheckConsole(t, bad)
	out, _ = c.run(exitNotReady, "check", "-f", minimal)
	golden.Equal(t, "testdata/check-not-ready.txt", out)
	require.Equal(t, migration.CheckOptions{}, fake.options)
	out, _ = c.run(exitNotReady, "check", "-f", minimal, "-o", "json")
	var again migration.CheckReport
	require.NoError(t, json.Unmarshal([]byte(out), &again))
	require.Equal(t, bad, again)
}

// prices are a table on disk, with one line replaced.
func prices(t *testing.T, old, with string) string {
	t.Helper()
	text := "currency: EUR\ndays: 14\n" +
		"s3: {storage: 0.3, writes: 5, reads: 0.5, traffic: 10}\n" +
		"oss: {storage: 0.6, writes: 2, reads: 0.25, traffic: 0}\n"
	path := filepath.Join(t.TempDir(), "prices.yaml")
	require.NoError(t, os.WriteFile(path, []byte(strings.Replace(text, old, with, 1)), 0o600))
	return path
}

// With prices the result says what it costs, on a terminal of 80 columns, too.
func TestCheckWithPrices(t *testing.T) {
	const columns = 80
	c, fake := newCheckConsole(t, checkedPlan())
	c.deps.columns = func() int { return columns }
	page := filepath.Join(t.TempDir(), "check.html")
	out, errs := c.run(exitOK, "check", "-f", minimal, "--probe", "--watch", "90s", "--prices", prices(t, "", ""),
		"--html", page)
	golden.Equal(t, "testdata/check-prices-narrow.txt", out)
	require.Empty(t, errs)
	require.Equal(t, migration.CheckOptions{Probe: true, Watch: migration.Duration(90 * time.Second)}, fake.options)
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "Next: ") && !strings.HasPrefix(line, "  or: ") {
			require.LessOrEqual(t, utf8.RuneCountInString(strings.TrimSuffix(line, "\n")), columns, line)
		}
	}
	html, err := os.ReadFile(page)
	require.NoError(t, err)
	golden.Equal(t, "testdata/check-prices.html", string(html))

	// Without a probe the baseline's costs are known.
	alone := checkedPlan()
	alone.Probed, alone.Forecast, alone.Written, alone.Round = nil, nil, nil, nil
	c, _ = newCheckConsole(t, alone)
	out, _ = c.run(exitOK, "check", "-f", minimal, "--prices", prices(t, "", ""), "-o", "json")
	var found migration.CheckReport
	require.NoError(t, json.Unmarshal([]byte(out), &found))
	require.Equal(t, "EUR", found.Costs.Currency)
	require.Equal(t, "what is written on the source is not known", found.Costs.NoRounds)
	require.Greater(t, found.Costs.Baseline, 90.0, "9 GiB at 10 a GB")
	require.Less(t, found.Costs.Baseline, 110.0)
}

// Nothing is started with a wrong price table.
func TestCheckWithPricesThatAreNotValid(t *testing.T) {
	never := func(t *testing.T) *console {
		c := newConsole(t, newFake(t))
		c.deps.dial = func(context.Context, client.Options) (temporalClient, error) {
			t.Error("a server was asked")
			return nil, errors.New("never")
		}
		return c
	}
	_, errs := never(t).run(exitUsage, "check", "-f", minimal, "--prices", prices(t, "reads: 0.5", "reads: cheap"))
	require.Contains(t, errs, `s3.reads ("cheap") must be a number; for example reads: 1.25`)
	require.Contains(t, errs, "starter plan prices")
	_, errs = never(t).run(exitUsage, "check", "-f", minimal, "--prices", prices(t, "days: 14", "day: 0"))
	require.Contains(t, errs, "is not valid (2 problems):\n  - days is missing; for example days: 14\n"+
		"  - day is not a field of a price table; did you mean days?")
	_, errs = never(t).run(exitUsage, "check", "-f", minimal, "--prices", "no-such-file.yaml")
	require.Contains(t, errs, "can't read the price table: open no-such-file.yaml")
	_, errs = never(t).run(exitUsage, "check", "-f", "-", "--prices", "-")
	require.Contains(t, errs, "stdin can't hold both the plan and the prices")
	for _, watch := range []string{"0s", "10ms", "25h", "-1s"} {
		_, errs = never(t).run(exitUsage, "check", "-f", minimal, "--watch", watch)
		require.Contains(t, errs, "must be from 1s to 24h: for example --watch 10m", watch)
	}
	out, _ := never(t).run(exitOK, "plan", "prices")
	require.Equal(t, emptyPrices, out)
}

func TestChecksThatHaveNoResult(t *testing.T) {
	c, fake := newCheckConsole(t, checkedPlan())
	fake.startErr = serviceerror.NewWorkflowExecutionAlreadyStarted("", "", "")
	_, errs := c.run(exitFailed, "check", "-f", minimal)
	require.Contains(t, errs, "a check of movies is running already (workflow check/movies)")

	c, fake = newCheckConsole(t, checkedPlan())
	fake.failure = temporal.NewApplicationError("no worker could do it", "Unavailable")
	_, errs = c.run(exitFailed, "check", "-f", minimal)
	require.Contains(t, errs, "the check failed: no worker could do it (Unavailable)")

	// A probe and the plan's migration would both change the target's throttles.
	c, _ = newCheckConsole(t, checkedPlan(),
		moment{status: inRounds(t), state: enums.WORKFLOW_EXECUTION_STATUS_RUNNING})
	_, errs = c.run(exitFailed, "check", "-f", minimal, "--probe")
	require.Contains(t, errs, "the migration of this plan is running")
	c.run(exitOK, "check", "-f", minimal)
}
