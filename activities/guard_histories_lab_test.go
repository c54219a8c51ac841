//go:build lab

package activities

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/history/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/snapferry/snapferry/migration"
)

// guardHistories is where -guard-histories wants the histories of guards, for the replay tests of
// package workflows.
var guardHistories = flag.String("guard-histories", "", "folder to export histories of guards to, for replays")

// recordings are the ways that a guard can take, one history each. begin ends when the guard has
// done its work; the looks follow.
var recordings = []struct {
	name  string
	begin func(*stricken)
}{
	{"guard-removal", func(e *stricken) {
		e.begin()
		e.waiting()
		e.signal(migration.RequestAbort)
		e.guarded(migration.GuardRemoved)
	}},
	{"guard-deadline", func(e *stricken) {
		e.windowOf(10 * time.Second)
		e.begin()
		e.waiting()
		e.guarded(migration.GuardRemoved)
	}},
	{"guard-handover", func(e *stricken) {
		e.begin()
		e.waiting()
		e.signal(migration.RequestCutover)
		e.guarded(migration.GuardHandedOver)
	}},
	{"guard-terminated", func(e *stricken) {
		e.begin()
		e.waiting()
		e.terminate(e.id)
		e.guarded(migration.GuardRemoved)
	}},
	{"guard-takesover", func(e *stricken) {
		e.begin()
		e.waiting()
		old := e.guardRun()
		e.terminate(migration.GuardID(e.name))
		e.soon("a guard again", func() bool { return e.guardRun() != old && e.guardStatus().TakesOver == "" })
		e.signal(migration.RequestCutover)
		e.guarded(migration.GuardHandedOver)
	}},
	{"guard-windows", func(e *stricken) { // the second one ends with a handover
		e.windowOf(10 * time.Second)
		e.begin()
		e.waiting()
		e.guarded(migration.GuardRemoved)
		e.await("rounds again", func(s migration.Status) bool {
			return s.Phase == migration.PhaseRounds &&
				s.Step == ""
		})
		e.signal(migration.RequestFreeze)
		e.await("the second wait for cutover", func(s migration.Status) bool {
			return s.Phase == migration.PhaseAwaitCutover
		})
		e.signal(migration.RequestCutover)
		e.guarded(migration.GuardHandedOver)
	}},
	{"guard-alone", func(e *stricken) { // it finds a late index, and has to try twice
		e.refuseOnce = "movies"
		e.begin()
		e.hold = true
		e.waiting()
		e.signal(migration.RequestCutover)
		e.awaitHeld(e.handing)
		e.terminate(e.id)
		e.from.Create("catalog-2", 1, nil)
		e.letGo()
		e.guarded(migration.GuardHandedOver)
	}},
}

// TestLabRecordGuards exports the history of a guard for each way that it can take. The looks of a
// guard take ten minutes, so all of them wait at once, each with a server of its own.
func TestLabRecordGuards(t *testing.T) {
	if *guardHistories == "" {
		t.Skip("records only with -guard-histories")
	}
	hooks := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(hooks.Close)
	var all []*stricken
	for _, recording := range recordings {
		server, err := startTemporal()
		require.NoError(t, err)
		t.Cleanup(func() { _ = server.Stop() })
		e := newStrickenOn(t, server.Client(), recording.name)
		e.world.run.Plan.Cutover.Webhook = migration.Webhook{URL: hooks.URL}
		recording.begin(e)
		all = append(all, e)
	}
	for _, e := range all {
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
		defer cancel()
		var result migration.GuardStatus
		require.NoError(t, e.temporal.GetWorkflow(ctx, migration.GuardID(e.name), "").Get(ctx, &result))
		e.export(migration.GuardID(e.name), e.name)
	}
}

// export writes a workflow's history: compact, and without the name of this computer.
func (e *stricken) export(id, name string) {
	e.t.Helper()
	whole := &history.History{}
	for events := e.temporal.GetWorkflowHistory(e.t.Context(), id, "", false,
		enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT); events.HasNext(); {
		event, err := events.Next()
		require.NoError(e.t, err)
		whole.Events = append(whole.Events, event)
	}
	text, err := protojson.Marshal(whole)
	require.NoError(e.t, err)
	text = regexp.MustCompile(`"identity": *"[^"]*"`).ReplaceAll(text, []byte(`"identity":"worker"`))
	var compact bytes.Buffer
	require.NoError(e.t, json.Compact(&compact, text))
	path := filepath.Join(*guardHistories, name+".json")
	require.NoError(e.t, os.WriteFile(path, append(compact.Bytes(), '\n'), 0o644))
}

// windowOf bounds the frozen window.
func (e *stricken) windowOf(most time.Duration) {
	freeze := &e.world.run.Plan.Freeze
	freeze.MaxDuration, freeze.StandstillTimeout = migration.Duration(most), migration.Duration(most/2)
}

// guarded waits until the guard has come to a phase, once its window is over. Its second try to hand
// over comes after a minute.
func (e *stricken) guarded(phase migration.GuardPhase) {
	e.t.Helper()
	require.Eventually(e.t, func() bool { return e.guardStatus().Phase == phase }, soon,
		100*time.Millisecond, "%s: the guard never came to %s", e.name, phase)
}
