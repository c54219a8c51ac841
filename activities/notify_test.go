package activities

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/secrets"
	"github.com/snapferry/snapferry/migration"
)

func sendTo(receiver migration.Receiver) migration.SendRequest {
	return migration.SendRequest{Receiver: receiver, Notification: migration.Notification{
		ID: "notify/movies/t/frozen-1", Event: migration.EventFrozen, Plan: "movies", Title: "frozen", AtMillis: 1,
	}}
}

// Each failure of a receiver is classified, and no message has a secret of it.
func TestSendNotification(t *testing.T) {
	w := newWorld(t)
	status, got := http.StatusOK, 0
	room := httptest.NewServer(http.HandlerFunc(func(answer http.ResponseWriter, r *http.Request) {
		got++
		require.Equal(t, "Bearer planted-authorization", r.Header.Get("Authorization"))
		require.Contains(t, r.Header.Get("User-Agent"), "snapferry")
		answer.WriteHeader(status)
	}))
	t.Cleanup(room.Close)
	t.Setenv("TEST_ROOM", room.URL+"/planted-room-key")
	t.Setenv("TEST_ROOM_AUTHORIZATION", "Bearer planted-authorization")
	request := sendTo(migration.Receiver{
		Name: "oncall", Kind: migration.KindWebhook, URL: "env:TEST_ROOM", Authorization: "env:TEST_ROOM_AUTHORIZATION",
	})
	must[any](w, w.activities.SendNotification, request)
	status = http.StatusServiceUnavailable
	passes(w, retryUnavailable, w.activities.SendNotification, request)
	status = http.StatusTooManyRequests
	passes(w, retryThrottled, w.activities.SendNotification, request)
	status = http.StatusForbidden
	failure := refusal(w, migration.ErrorReceiver, w.activities.SendNotification, request, "it answered 403")
	require.NotContains(t, failure.Error(), "planted")
	require.Equal(t, 4, got)
	room.Close()
	passes(w, retryUnavailable, w.activities.SendNotification, request)

	// A secret is read when it is used, so a worker that lacks it says which one.
	t.Setenv("TEST_ROOM", "")
	refused(w, migration.ErrorSecret, w.activities.SendNotification, request, "notify: receiver oncall: url",
		"env:TEST_ROOM")
}

// A worker that connects to some hosts only sends nothing elsewhere, and doesn't name a host that is
// part of a secret.
func TestAReceiverBeyondTheFence(t *testing.T) {
	w := newWorld(t)
	t.Setenv("TEST_ROOM", "https://planted-host.example.com/key")
	w.activities.keys.fence = secrets.Fence{EnvPrefix: "TEST_", Endpoints: []string{"*.example.org", "10.0.0.7:25"}}
	failure := refusal(w, migration.ErrorSecret, w.activities.SendNotification,
		sendTo(migration.Receiver{Name: "oncall", Kind: migration.KindSlack, URL: "env:TEST_ROOM"}),
		"notify: receiver oncall: url", "--allow-endpoints")
	require.NotContains(t, failure.Error(), "planted")
	refused(w, migration.ErrorSecret, w.activities.SendNotification,
		sendTo(migration.Receiver{Name: "mail", Kind: migration.KindEmail, Email: migration.Email{
			Server: "smtp.example.com:25", From: "a@example.com", To: []string{"b@example.com"},
		}}), "notify: receiver mail: email.server", "smtp.example.com:25")
	refused(w, migration.ErrorSecret, w.activities.SendNotification,
		sendTo(migration.Receiver{Name: "own", Kind: migration.KindSlack, URL: "env:AWS_SECRET"}),
		"are the worker's own")
}

// Preflight reads the secrets of the receivers, before anybody needs to be told of anything.
func TestPreflightReadsTheSecretsOfReceivers(t *testing.T) {
	w := newWorld(t)
	w.run.Plan.Notify.Receivers = []migration.Receiver{
		{Name: "oncall", Kind: migration.KindSlack, URL: "env:TEST_ROOM_THAT_IS_NOT_SET"},
	}
	refused(w, migration.ErrorSecret, w.activities.Preflight, w.run, "notify.receivers[0].url",
		"env:TEST_ROOM_THAT_IS_NOT_SET")
}
