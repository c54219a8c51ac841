package main

import (
	"context"
	"encoding/json"
	"html"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
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
	out, errs := c.run(exitOK, "report", "movies", "--html", page, "--markdown", markdown)
	require.Contains(t, out, "Wrote "+page)
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	require.Contains(t, string(text), "<title>Migration movies</title>")
	const missing = "a worker has to read it, and none polled task queue snapferry."
	require.Contains(t, string(text), "The transcript is not here: "+missing)
	require.Equal(t, "Warning: the page has no transcript: "+missing+" Write it again later, or print the transcript "+
		"with starter transcript movies\n", errs)
	text, err = os.ReadFile(markdown)
	require.NoError(t, err)
	require.Contains(t, string(text), "# Migration movies")

	_, errs = c.run(exitFailed, "report", "movies", "--html", filepath.Join(t.TempDir(), "no", "such", "folder.html"))
	require.Contains(t, errs, "can't write the report")
}

// The page shows the transcript if a worker reads it in time. Nothing else of the page waits for it.
func TestThePageHasTheTranscript(t *testing.T) {
	lines := transcriptLines(t,
		migration.Exchange{
			At: now, Millis: 35, Side: "source", Step: migration.ActivityTakeSnapshot, Method: "PUT",
			Path: "/_snapshot/snapferry-movies-1/movies-r0001-a1", Body: `{"indices":"<script>"}`, Status: 200,
		},
		migration.Exchange{
			At: now.Add(-time.Second), Millis: 35, Side: "target", Step: migration.ActivityRegisterRepositories,
			Method: "PUT", Path: "/_snapshot/snapferry-movies-1", Status: 200,
		})
	write := func(setup func(*transcriptTemporal), flags ...string) (page, errs string, fake *transcriptTemporal) {
		c, fake := newTranscriptConsole(t, migration.TranscriptPage{Lines: lines})
		fake.moments = []moment{{state: enums.WORKFLOW_EXECUTION_STATUS_COMPLETED}}
		fake.report = completedReport()
		setup(fake)
		path := filepath.Join(t.TempDir(), "r.html")
		_, errs = c.run(exitOK, append([]string{"report", "movies", "--html", path}, flags...)...)
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Contains(t, string(text), "</html>")
		require.NotContains(t, string(text), "<script>")
		return string(text), errs, fake
	}

	page, errs, fake := write(func(*transcriptTemporal) {})
	require.Empty(t, errs)
	require.Equal(t, []migration.TranscriptRequest{{
		Run: migration.Run{Plan: moviesPlan(t), Token: migration.TokenOf("run-1")},
	}}, fake.requests)
	require.Equal(t, []time.Duration{time.Minute + callTimeout}, fake.limits, "it ends soon after nobody waits for it")
	require.Contains(t, page, "<code>starter transcript movies</code> prints all.")
	before, after, found := strings.Cut(page, "PUT /_snapshot/snapferry-movies-1\n")
	require.True(t, found, "both are there, in the order of time")
	require.NotContains(t, before, "&#34;&lt;script&gt;&#34;")
	require.Contains(t, after, "&#34;&lt;script&gt;&#34;")

	for _, test := range []struct {
		says, wait string
		setup      func(*transcriptTemporal)
	}{
		{"no worker had read it after 1ms.", "1ms", func(f *transcriptTemporal) { f.busy = true }},
		{"the transcript of movies can&#39;t be read: unexpected EOF.", "1m", func(f *transcriptTemporal) {
			f.pages[0].Lines = f.pages[0].Lines[:20]
		}},
		{"somebody&#39;s reading of the transcript of movies is running already", "1m", func(f *transcriptTemporal) {
			f.startErr = serviceerror.NewWorkflowExecutionAlreadyStarted("", "", "")
		}},
		{"Temporal at localhost:7233 answered: ", "1m", func(f *transcriptTemporal) { f.plan = nil }},
	} {
		page, errs, _ = write(test.setup, "--transcript-wait", test.wait)
		require.Contains(t, page, "The transcript is not here: "+test.says)
		require.Contains(t, errs, "Warning: the page has no transcript: "+html.UnescapeString(test.says))
	}

	page, errs, fake = write(func(*transcriptTemporal) {}, "--transcript-wait", "0")
	require.Empty(t, errs)
	require.Empty(t, fake.requests, "nobody asks for it")
	require.NotContains(t, strings.ToLower(page), "transcript")

	page, errs, fake = write(func(f *transcriptTemporal) { f.report.Rehearsal = &migration.Rehearsal{} })
	require.Empty(t, errs)
	require.Empty(t, fake.requests)
	require.Contains(t, page, "The transcript is not here: a rehearsal has none, since it leaves nothing behind.")
}

// Who interrupts the command while it waits gets no page.
func TestAReportThatIsInterrupted(t *testing.T) {
	c, fake := newTranscriptConsole(t)
	fake.moments = []moment{{state: enums.WORKFLOW_EXECUTION_STATUS_COMPLETED}}
	fake.report, fake.busy = completedReport(), true
	ctx, cancel := context.WithCancel(t.Context())
	fake.asked = cancel
	path := filepath.Join(t.TempDir(), "r.html")
	require.Equal(t, exitInterrupted, execute(ctx, c.deps, []string{"report", "movies", "--html", path}))
	require.NoFileExists(t, path)
	require.Contains(t, c.err.String(), "interrupted; the reading goes on as workflow transcript/movies")
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
