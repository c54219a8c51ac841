package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vbauerster/mpb/v8"
	"go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/sdk/temporal"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/internal/report"
	"github.com/snapferry/snapferry/migration"
)

// attack writes to the clipboard, clears the screen, makes up a line, and turns the text around.
const attack = "\x1b]52;c;cm0gLXJm\x07\x1b[2J\u009b1m\u202e\r\n00:00:00  phase completed"

func attacked(t *testing.T) *migration.Status {
	s := *inNeed(t)
	s.Attention.Message += attack
	s.Attention.Remedy += attack
	s.Warnings = append(s.Warnings, "an alias"+attack)
	s.WaitsFor, s.Step = "somebody"+attack, "step"+attack
	s.Indices = append(s.Indices, migration.IndexStatus{Name: "index" + attack})
	s.Notes = append(s.Notes, migration.Decision{
		Request: migration.RequestFreeze, By: "mallory" + attack, Reason: "because" + attack, Commentary: "no" + attack,
	})
	return &s
}

func harmless(t *testing.T, text string) {
	t.Helper()
	require.NotEmpty(t, text)
	require.Equal(t, human.Visible(text), text)
	require.Contains(t, text, `\u001b]52`, "it is shown")
	for line := range strings.Lines(text) {
		require.False(t, strings.HasPrefix(line, "00:00:00"), "somebody else made up a line: %q", text)
	}
}

func TestWhatOthersSaidCanNotSteerTheTerminal(t *testing.T) {
	failing := copying(t, "7", mib, 3)
	failing.LastFailure.Message += attack
	now := moment{status: attacked(t), activities: []*workflowpb.PendingActivityInfo{failing}}

	out, _ := newConsole(t, newFake(t, now)).run(exitAttention, "status", "movies")
	harmless(t, out)
	out, _ = newConsole(t, newFake(t, now)).run(exitAttention, "watch", "movies", "--exit-on-attention")
	harmless(t, out)
	for _, args := range [][]string{{"status", "movies"}, {"watch", "movies", "--exit-on-attention"}} {
		out, _ = newConsole(t, newFake(t, now)).run(exitAttention, append(args, "-o", "json")...)
		harmless(t, out)
		var got migration.Status
		require.NoError(t, json.Unmarshal([]byte(out), &got))
		require.Equal(t, attacked(t).Warnings, got.Warnings, "JSON holds the same text, escaped")
	}
	harmless(t, report.StatusPage(*attacked(t), ""))

	var screen bytes.Buffer
	c := newConsole(t, nil)
	c.deps.out = human.NewVisibleWriter(&screen)
	refresh := make(chan any)
	b := newBars(&app{deps: c.deps}, mpb.WithManualRefresh(refresh))
	b.show(look(t, now))
	refresh <- nil
	b.close()
	require.NotContains(t, screen.String(), "\x1b]52")
	require.NotContains(t, screen.String(), "\u202e")
	require.NotContains(t, screen.String(), "\n00:00:00")
}

func TestAReportOrAnErrorCanNotSteerTheTerminal(t *testing.T) {
	r := abortedReport()
	r.Error += attack
	r.Warnings = append(r.Warnings, "warning"+attack)
	r.Remains = append(r.Remains, "remains"+attack)
	r.Decisions = append(r.Decisions, migration.Decision{By: "mallory" + attack, Reason: attack})
	fake := newFake(t, moment{state: enums.WORKFLOW_EXECUTION_STATUS_FAILED})
	fake.result = temporal.NewApplicationErrorWithOptions("aborted", string(migration.ErrorAborted),
		temporal.ApplicationErrorOptions{Details: []any{r}})
	folder := t.TempDir()
	page, markdown := filepath.Join(folder, "a.html"), filepath.Join(folder, "a.md")
	out, _ := newConsole(t, fake).run(exitAborted, "report", "movies", "--html", page, "--markdown", markdown)
	harmless(t, out)
	for _, file := range []string{page, markdown} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		if file == markdown {
			harmless(t, string(text))
		}
		require.Equal(t, human.Visible(string(text)), string(text))
	}
	fake.result = temporal.NewApplicationError("the server says "+attack, "Failed")
	_, errs := newConsole(t, fake).run(exitAborted, "report", "movies")
	require.Equal(t, human.Visible(errs), errs)
}
