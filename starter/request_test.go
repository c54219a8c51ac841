package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/snapferry/snapferry/migration"
)

// unasked is what a request needs where there is no terminal.
func unasked(request migration.Request) []string {
	if request == migration.RequestCutover {
		return []string{"--yes"}
	}
	return nil
}

func TestRequestsAreUpdates(t *testing.T) {
	for _, request := range migration.Requests() {
		fake := newFake(t, moment{status: inRounds(t)})
		fake.answer = migration.Answer{Message: "it is done", Phase: migration.PhaseRounds}
		c := newConsole(t, fake)
		out, errs := c.run(exitOK, append([]string{string(request), "movies", "--reason", "tonight"},
			unasked(request)...)...)
		require.Empty(t, errs)
		require.Len(t, fake.updates, 1)
		sent := fake.updates[0]
		require.Equal(t, "migration/movies", sent.WorkflowID)
		require.Equal(t, string(request), sent.UpdateName)
		require.Equal(t, []any{migration.RequestInput{By: "ann", Reason: "tonight"}}, sent.Args)
		require.Equal(t, client.WorkflowUpdateStageCompleted, sent.WaitForStage)
		require.Contains(t, out, string(request)+" movies: it is done.\nPhase: rounds\n")
		require.Contains(t, out, "\nNext: starter ")

		out, _ = c.run(exitOK, append([]string{string(request), "movies", "--by", "ben", "-o", "json"},
			unasked(request)...)...)
		var said answer
		require.NoError(t, json.Unmarshal([]byte(out), &said))
		require.Equal(t, "it is done", said.Message)
		require.Equal(t, string(request), said.Request)
		require.Equal(t, "ben", fake.updates[1].Args[0].(migration.RequestInput).By)
	}
}

func TestRequestsAsSignals(t *testing.T) {
	fake := newFake(t, moment{status: inRounds(t)})
	out, _ := newConsole(t, fake).run(exitOK, "freeze", "movies", "--signal", "--reason", "tonight")
	require.Equal(t, []string{"freeze"}, fake.signals)
	require.Equal(t, []any{migration.RequestInput{By: "ann", Reason: "tonight"}}, fake.signalled)
	require.Empty(t, fake.updates)
	require.Contains(t, out, "Sent the signal freeze to movies. The status shows whether it was accepted.")
	require.Contains(t, out, "Next: starter status movies")
}

func TestARefusedRequest(t *testing.T) {
	fake := newFake(t, moment{status: inRounds(t)})
	fake.updateErr = temporal.NewApplicationError("cutover is not possible now: cutover needs a verified target: "+
		"freeze first", "")
	out, err := newConsole(t, fake).run(exitRefused, "cutover", "movies", "--yes")
	require.Empty(t, out)
	require.Equal(t, "Error: cutover is not possible now: cutover needs a verified target: freeze first\nNext: "+
		"starter status movies\n", err)
}

func TestARequestToAMigrationThatHasEnded(t *testing.T) {
	fake := newFake(t, moment{state: enums.WORKFLOW_EXECUTION_STATUS_COMPLETED})
	fake.updateErr = serviceerror.NewNotFound("workflow execution already completed")
	fake.signalErr = fake.updateErr
	c := newConsole(t, fake)
	_, err := c.run(exitRefused, "freeze", "movies")
	require.Contains(t, err, "freeze is not possible now: the migration has ended (completed)")
	_, err = c.run(exitRefused, "freeze", "movies", "--signal")
	require.Contains(t, err, "the migration has ended (completed)")
}

func TestARequestToAMigrationThatIsNotThere(t *testing.T) {
	_, err := newConsole(t, newFake(t)).run(exitNotFound, "freeze", "movies")
	require.Contains(t, err, "there is no migration movies")
	_, err = newConsole(t, newFake(t)).run(exitNotFound, "freeze", "movies", "--signal")
	require.Contains(t, err, "there is no migration movies")
}

func TestARequestThatNobodyAnswers(t *testing.T) {
	fake := newFake(t, moment{taskAttempt: 1})
	fake.pollers = nil
	fake.updateErr = client.NewWorkflowUpdateServiceTimeoutOrCanceledError(serviceerror.NewDeadlineExceeded("deadline"))
	_, err := newConsole(t, fake).run(exitFailed, "freeze", "movies")
	require.Contains(t, err, "freeze was sent, but no answer came in time: no worker polls task queue snapferry")
	require.Contains(t, err, "Next: starter status movies")
}

func TestWhatCanNotBeTakenBackIsConfirmed(t *testing.T) {
	for _, request := range []string{"cutover", "abort"} {
		fake := newFake(t, moment{status: verified(t)})
		c := newConsole(t, fake)
		c.deps.inTerminal = true
		for _, typed := range []string{"", "yes\n", "movie\n", "\n"} {
			c.deps.in = strings.NewReader(typed)
			_, err := c.run(exitFailed, request, "movies")
			require.Contains(t, err, "not confirmed; nothing was sent")
			require.Empty(t, fake.updates)
		}
		c.deps.in = strings.NewReader("movies\n")
		_, err := c.run(exitOK, request, "movies")
		require.Contains(t, err, `Type "movies" to go on: `)
		require.Len(t, fake.updates, 1)

		c.deps.in = strings.NewReader("")
		c.run(exitOK, request, "movies", "--yes")
		require.Len(t, fake.updates, 2)

		c.deps.inTerminal = false
		if request == "abort" { // gives the source free
			c.run(exitOK, request, "movies")
			require.Len(t, fake.updates, 3)
			continue
		}
		c.deps.in = strings.NewReader("n\n")
		_, err = c.run(exitUsage, request, "movies")
		require.Contains(t, err, "there is no terminal to ask for it: add --yes")
		require.Len(t, fake.updates, 2)
	}
	fake := newFake(t, moment{status: inRounds(t)})
	c := newConsole(t, fake)
	c.deps.inTerminal = true
	c.run(exitOK, "freeze", "movies")
	require.Len(t, fake.updates, 1)
}
