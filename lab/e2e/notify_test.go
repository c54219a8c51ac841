//go:build lab

package e2e

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/migration"
)

// told is what a webhook's receiver gets, see docs/notify.md.
type told struct {
	Event, Migration, Phase, Title, Time, Command string
	Until                                         *time.Time
	Failure                                       string
}

// told is a receiver of messages.
func (s *scenario) told() <-chan told {
	messages := make(chan told, 20)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var message told
		if err := json.NewDecoder(r.Body).Decode(&message); err != nil {
			s.t.Error(err)
		}
		messages <- message
	}))
	s.t.Cleanup(receiver.Close)
	s.plan.Notify.Receivers = []migration.Receiver{{
		Name: "oncall", Kind: migration.KindWebhook, URL: "env:SNAPFERRY_SECRET_ONCALL",
	}}
	s.knowingWorker("SNAPFERRY_SECRET_ONCALL=" + receiver.URL + "/planted-room")
	return messages
}

// A migration that parks at night, with writes blocked, tells somebody. The command of the message is
// all that this person needs to know.
func TestWhoIsToldGetsACommandThatHelps(t *testing.T) {
	t.Parallel()
	s := newScenario(t, labs.take(t, usual), "told", 200)
	s.noRoundBesides()
	messages := s.told()
	next := func(event migration.Event) told {
		t.Helper()
		select {
		case message := <-messages:
			require.EqualValues(t, event, message.Event, "%+v", message)
			require.Equal(t, s.name, message.Migration)
			return message
		case <-s.ctx.Done():
			t.Fatalf("nobody was told of %s", event)
		}
		return told{}
	}
	s.write()
	s.firstRound()
	s.lab.Target.Front.Faults.FailNext(1, lab.Requests(http.MethodPost, "/_restore"), http.StatusForbidden,
		`{"error":"not at night","status":403}`)
	s.signal(migration.RequestFreeze)

	frozen := next(migration.EventFrozen)
	require.NotNil(t, frozen.Until)
	parked := s.awaitAttention()
	attention := next(migration.EventAttention)
	require.Equal(t, parked.Type, attention.Failure)
	require.Equal(t, *frozen.Until, *attention.Until, "writes are blocked, and until when is part of it")
	since, err := time.Parse(time.RFC3339, attention.Time)
	require.NoError(t, err)
	require.WithinDuration(t, time.UnixMilli(parked.SinceMillis), since, time.Minute)

	command, isStarter := strings.CutPrefix(attention.Command, "starter ")
	require.True(t, isStarter, attention.Command)
	s.starter(0, strings.Fields(command)...)
	verified := next(migration.EventVerified)
	command, _ = strings.CutPrefix(verified.Command, "starter ")
	s.starter(0, append(strings.Fields(command), "--yes")...) // at a terminal it would ask
	report := s.completed()
	next(migration.EventHandedOver)
	next(migration.EventCompleted)
	require.Empty(t, messages)
	require.Greater(t, len(report.Notified), 2)
	for _, told := range report.Notified[:2] { // the last ones may arrive after the report was made
		require.Equal(t, 1, told.Delivered, "%+v", told)
	}
	said := s.historyOf(s.id)
	require.Contains(t, said, "SNAPFERRY_SECRET_ONCALL", "or nothing was looked at")
	require.NotContains(t, said, "planted-room")
}
