package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"

	"github.com/snapferry/snapferry/internal/golden"
	"github.com/snapferry/snapferry/migration"
)

func TestReport(t *testing.T) {
	fake := newFake(t, moment{state: enums.WORKFLOW_EXECUTION_STATUS_COMPLETED})
	fake.report = completedReport()
	fake.pollers = nil // a report needs no worker
	c := newConsole(t, fake)
	out, _ := c.run(exitOK, "report", "movies")
	golden.Equal(t, "testdata/report.txt", out)

	out, _ = c.run(exitOK, "report", "movies", "-o", "json")
	var report migration.Report
	require.NoError(t, json.Unmarshal([]byte(out), &report))
	require.Equal(t, completedReport(), report)

	page, markdown := filepath.Join(t.TempDir(), "r.html"), filepath.Join(t.TempDir(), "r.md")
	out, _ = c.run(exitOK, "report", "movies", "--html", page, "--markdown", markdown)
	require.Contains(t, out, "Wrote "+page)
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	require.Contains(t, string(text), "<title>Migration movies</title>")
	text, err = os.ReadFile(markdown)
	require.NoError(t, err)
	require.Contains(t, string(text), "# Migration movies")

	_, errs := c.run(exitFailed, "report", "movies", "--html", filepath.Join(t.TempDir(), "no", "such", "folder.html"))
	require.Contains(t, errs, "can't write the report")
}

func TestReportOfOneThatDidNotComplete(t *testing.T) {
	fake := newFake(t, moment{state: enums.WORKFLOW_EXECUTION_STATUS_CANCELED})
	fake.result = temporal.NewCanceledError(abortedReport())
	out, _ := newConsole(t, fake).run(exitAborted, "report", "movies")
	require.Contains(t, out, "Aborted: the target was not handed over.")
	require.Contains(t, out, "not tonight")

	fake = newFake(t, moment{state: enums.WORKFLOW_EXECUTION_STATUS_TERMINATED})
	fake.result = &temporal.TerminatedError{}
	out, errs := newConsole(t, fake).run(exitAborted, "report", "movies")
	require.Empty(t, out)
	require.Contains(t, errs, "left no report: terminated: it cleaned nothing up. "+
		"If writes were blocked, its guard makes")

	fake = newFake(t, moment{status: inRounds(t)})
	out, errs = newConsole(t, fake).run(exitFailed, "report", "movies")
	require.Empty(t, out)
	require.Contains(t, errs, "is still running; its report comes at the end\nNext: starter watch movies")
}
