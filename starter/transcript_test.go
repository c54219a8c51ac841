package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"github.com/snapferry/snapferry/internal/golden"
	"github.com/snapferry/snapferry/migration"
)

// transcriptTemporal is a server whose workers have these pages of a transcript.
type transcriptTemporal struct {
	*fakeTemporal
	pages    []migration.TranscriptPage
	requests []migration.TranscriptRequest
	// limits are those of the readings.
	limits []time.Duration
	// busy is a server whose workers have no time.
	busy bool
	// asked is called by whoever asks one that is busy.
	asked func()
}

func (f *transcriptTemporal) ExecuteWorkflow(_ context.Context, options client.StartWorkflowOptions, workflow any,
	args ...any,
) (client.WorkflowRun, error) {
	require.Equal(f.t, migration.TranscriptWorkflowType, workflow)
	require.Equal(f.t, "transcript/movies", options.ID)
	if f.startErr != nil {
		return nil, f.startErr
	}
	f.requests = append(f.requests, args[0].(migration.TranscriptRequest))
	f.limits = append(f.limits, options.WorkflowExecutionTimeout)
	if f.busy {
		if f.asked != nil {
			f.asked()
		}
		return busyRun{}, nil
	}
	page := f.pages[0]
	f.pages = f.pages[1:]
	return transcriptRun{page: page}, nil
}

type transcriptRun struct {
	client.WorkflowRun
	page migration.TranscriptPage
}

func (r transcriptRun) Get(_ context.Context, into any) error {
	*into.(*migration.TranscriptPage) = r.page
	return nil
}

type busyRun struct{ client.WorkflowRun }

func (busyRun) Get(ctx context.Context, _ any) error {
	<-ctx.Done()
	return ctx.Err()
}

func transcriptLines(t *testing.T, exchanges ...migration.Exchange) []byte {
	var compressed bytes.Buffer
	lines := gzip.NewWriter(&compressed)
	for _, e := range exchanges {
		require.NoError(t, json.NewEncoder(lines).Encode(e))
	}
	require.NoError(t, lines.Close())
	return compressed.Bytes()
}

func newTranscriptConsole(t *testing.T, pages ...migration.TranscriptPage) (*console, *transcriptTemporal) {
	fake := &transcriptTemporal{fakeTemporal: newFake(t, moment{status: inRounds(t)}), pages: pages}
	fake.plan = moviesPlan(t)
	c := newConsole(t, fake.fakeTemporal)
	c.deps.dial = func(context.Context, client.Options) (temporalClient, error) { return fake, nil }
	return c, fake
}

func TestTranscriptOfAMigration(t *testing.T) {
	sent := func(second int, e migration.Exchange) migration.Exchange {
		e.At, e.Millis = now.Add(time.Duration(second)*time.Second), 35
		return e
	}
	first := transcriptLines(t,
		sent(3, migration.Exchange{
			Side: "source", Step: "TakeSnapshot", Method: "PUT", Path: "/_snapshot/snapferry-movies-1/movies-r0001-a1",
			Body: `{"indices":"movies","include_global_state":false}`, Status: 200, Answer: "{\"accepted\":true}\n",
		}),
		sent(1, migration.Exchange{
			Side: "target", Step: "BlockWrites", Attempt: 2, Method: "POST", Path: "/_bulk",
			Body: "{\"index\":{}}\n{\"a\":1}\n", Failure: "connection\nreset",
		}))
	second := transcriptLines(t, sent(4, migration.Exchange{
		Side: "source", Step: "AbortSnapshot", Method: "DELETE", Path: "/_snapshot/snapferry-movies-1/movies-r0001-a1",
		Status: 403, Answer: `{"error":"no permission"}`,
	}))
	pages := []migration.TranscriptPage{{Lines: first, After: "0001"}, {Lines: second, Unreadable: 2}}
	c, fake := newTranscriptConsole(t, pages...)
	out, errs := c.run(exitOK, "transcript", "movies")
	golden.Equal(t, "testdata/transcript.txt", out)
	require.Contains(t, errs, "2 parts of the transcript could not be read")
	run := migration.Run{Plan: moviesPlan(t), Token: migration.TokenOf("run-1")}
	require.Equal(t, []migration.TranscriptRequest{{Run: run}, {Run: run, After: "0001"}}, fake.requests)
	require.Equal(t, []time.Duration{0, 0}, fake.limits, "who asked for it waits for a worker")

	c, _ = newTranscriptConsole(t, pages...)
	out, _ = c.run(exitOK, "transcript", "movies", "-o", "json")
	var all []migration.Exchange
	require.NoError(t, json.Unmarshal([]byte(out), &all))
	require.Len(t, all, 3)
	require.Equal(t, "BlockWrites", all[0].Step, "in the order of time")

	c, _ = newTranscriptConsole(t, migration.TranscriptPage{})
	out, _ = c.run(exitOK, "transcript", "movies")
	require.Contains(t, out, "Nothing was changed on the clusters so far")
}

func TestTranscriptsThatCannotBeRead(t *testing.T) {
	c, fake := newTranscriptConsole(t)
	fake.startErr = serviceerror.NewWorkflowExecutionAlreadyStarted("", "", "")
	_, errs := c.run(exitFailed, "transcript", "movies")
	require.Contains(t, errs, "reading of the transcript of movies is running already (workflow transcript/movies)")

	c, fake = newTranscriptConsole(t)
	fake.moments = nil
	_, errs = c.run(exitNotFound, "transcript", "movies")
	require.Contains(t, errs, "there is no migration movies")

	c, _ = newTranscriptConsole(t, migration.TranscriptPage{Lines: []byte("no gzip")})
	_, errs = c.run(exitFailed, "transcript", "movies")
	require.Contains(t, errs, "the transcript of movies can't be read")
}
