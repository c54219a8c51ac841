package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

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
			SourceVersion: "6.8.23", TargetVersion: "7.10.2", Indices: 3, Shards: 7, Docs: 1_250_000, Bytes: 9 << 30,
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
			Index: "movies-small", Bytes: 64 << 20, SnapshotMillis: 1200, CopyMillis: 2500, RestoreMillis: 900,
		},
	}
	r.Forecast = r.Probed.Forecast(r.Bytes)
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
