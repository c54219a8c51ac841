package activities

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"

	"github.com/snapferry/snapferry/internal/webhook"
	"github.com/snapferry/snapferry/migration"
)

const (
	hookToken = "planted-hook-token"
	hookKey   = "planted-hook-signing-key"
	hookPlain = "planted-plain-header"
)

// hookReceiver is a receiver of hooks, and what it was sent.
type hookReceiver struct {
	*httptest.Server
	status  int
	header  http.Header
	answer  string
	got     []*http.Request
	bodies  []string
	waiting func(*http.Request)
}

func newHookReceiver(t *testing.T) *hookReceiver {
	r := &hookReceiver{status: http.StatusOK, header: http.Header{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, request *http.Request) {
		body, _ := io.ReadAll(request.Body)
		r.got, r.bodies = append(r.got, request), append(r.bodies, string(body))
		if r.waiting != nil {
			r.waiting(request)
		}
		for name := range r.header {
			rw.Header().Set(name, r.header.Get(name))
		}
		rw.WriteHeader(r.status)
		_, _ = io.WriteString(rw, r.answer)
	}))
	t.Cleanup(r.Close)
	t.Setenv("TEST_HOOK_URL", r.URL+"/planted-path")
	t.Setenv("TEST_HOOK_TOKEN", "Bearer "+hookToken)
	t.Setenv("TEST_HOOK_KEY", hookKey)
	t.Setenv("TEST_HOOK_PLAIN", hookPlain)
	return r
}

func hookRequest() migration.CallHookRequest {
	return migration.CallHookRequest{
		Field: "hooks.beforeBlock[0]",
		Hook: migration.Hook{
			Name: "stop-writers", Timeout: migration.Duration(time.Minute), Attempts: 3,
			HTTP: migration.HookHTTP{
				URL: "env:TEST_HOOK_URL", SigningSecret: "env:TEST_HOOK_KEY",
				Headers: map[string]string{
					"Authorization": "env:TEST_HOOK_TOKEN", "X-Team": "search", "X-Key": "env:TEST_HOOK_PLAIN",
				},
			},
		},
		Input: migration.HookInput{
			Migration: "movies", Moment: migration.HookBeforeBlock, Hook: "stop-writers", Attempt: 1,
			IdempotencyKey: "token-1-beforeBlock-stop-writers-1", Indices: []string{"movies"}, IndicesTotal: 1,
		},
	}
}

func TestAHookIsCalledSigned(t *testing.T) {
	w, r := newWorld(t), newHookReceiver(t)
	r.answer = `{"message": "3 writers stopped"}`
	answer := must[migration.HookAnswer](w, w.activities.CallHook, hookRequest())
	require.Equal(t, "3 writers stopped", answer.Says())
	require.False(t, answer.Refuses())

	got, body := r.got[0], r.bodies[0]
	require.Equal(t, "POST /planted-path", got.Method+" "+got.URL.Path)
	require.Equal(t, "Bearer "+hookToken, got.Header.Get("Authorization"))
	require.Equal(t, "search", got.Header.Get("X-Team"))
	require.Equal(t, "application/json", got.Header.Get("Content-Type"))
	require.Equal(t, "token-1-beforeBlock-stop-writers-1", got.Header.Get("Idempotency-Key"))
	var input migration.HookInput
	require.NoError(t, json.Unmarshal([]byte(body), &input))
	require.Equal(t, hookRequest().Input, input)
	require.NotContains(t, body, "planted-")
	require.Equal(t, webhook.Signature(hookKey, got.Header.Get(webhook.HeaderTimestamp), []byte(body)),
		got.Header.Get(webhook.HeaderSignature))

	// Another attempt is the same call, signed at its own time.
	w.clock = w.clock.Add(time.Minute)
	must[migration.HookAnswer](w, w.activities.CallHook, hookRequest())
	again := r.got[1]
	require.Equal(t, got.Header.Get("Idempotency-Key"), again.Header.Get("Idempotency-Key"))
	require.NotEqual(t, got.Header.Get(webhook.HeaderSignature), again.Header.Get(webhook.HeaderSignature))
	require.Equal(t, body, r.bodies[1])

	unsigned := hookRequest()
	unsigned.Hook.HTTP.SigningSecret = ""
	must[migration.HookAnswer](w, w.activities.CallHook, unsigned)
	require.Empty(t, r.got[2].Header.Get(webhook.HeaderSignature))
}

func TestWhatAReceiverOfHooksAnswers(t *testing.T) {
	w, r := newWorld(t), newHookReceiver(t)
	r.header.Set("Location", r.URL+"/elsewhere")
	call := func() (migration.HookAnswer, error) {
		return do[migration.HookAnswer](w, w.activities.CallHook, hookRequest())
	}
	for _, r.status = range []int{200, 201, 202, 299} {
		for body, says := range map[string]string{
			"": "", "{}": "", "done\n": "done", `"done"`: "done", `{"message": "done", "more": [1]}`: "done",
		} {
			r.answer = body
			answer, err := call()
			require.NoError(t, err, body)
			require.Equal(t, says, answer.Says(), body)
			require.False(t, answer.Refuses())
		}
	}
	r.status, r.answer = http.StatusOK, `{"proceed": false, "reason": "a job runs"}`
	answer, err := call()
	require.NoError(t, err)
	require.True(t, answer.Refuses())
	require.Equal(t, "a job runs", answer.Says())

	for _, r.answer = range []string{`{"proceed": "no"}`, `{"proceed": tru`, `{"message": 7}`} {
		refused(w, migration.ErrorHookFailed, w.activities.CallHook, hookRequest(), "its answer can't be read")
	}
	r.answer = `{"proceed": false, "reason": "a job runs"}`
	for _, r.status = range []int{302, 400, 404, 409, 422} {
		refused(w, migration.ErrorHookRefused, w.activities.CallHook, hookRequest(), "it answered", ": a job runs")
	}
	r.answer = "you may not"
	for _, r.status = range []int{401, 403} { // they often repeat what they refuse
		failure := refusal(w, migration.ErrorHookRefused, w.activities.CallHook, hookRequest(), "it answered")
		require.NotContains(t, failure.Message(), "you may not")
	}
	before := len(r.got)
	for _, r.status = range []int{408, 429, 500, 502, 503} {
		passes(w, retryUnavailable, w.activities.CallHook, hookRequest())
	}
	require.Len(t, r.got, before+5, "Temporal tries again, not the activity")
	r.Close()
	passes(w, retryUnavailable, w.activities.CallHook, hookRequest())
}

func TestAHookThatDoesNotAnswerInTime(t *testing.T) {
	w, r := newWorld(t), newHookReceiver(t)
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	r.waiting = func(request *http.Request) {
		select {
		case <-request.Context().Done():
		case <-release:
		}
	}
	request := hookRequest()
	request.Hook.Timeout = migration.Duration(50 * time.Millisecond)
	_, err := do[any](w, w.activities.CallHook, request)
	var failure *temporal.ApplicationError
	require.ErrorAs(t, err, &failure) // on a busy computer the time is over before the call
	require.Contains(t, []string{retryUnavailable, retryTimeout}, failure.Type())
	require.False(t, failure.NonRetryable())
	w.secret(err)
}

// A receiver may repeat what it was sent, in any form, and at any length.
func TestTheSecretsOfAHookStayOutOfEverything(t *testing.T) {
	w, r := newWorld(t), newHookReceiver(t)
	host := strings.TrimPrefix(r.URL, "http://")
	repeats := strings.Join([]string{
		hookToken, hookKey, hookPlain, base64.StdEncoding.EncodeToString([]byte(hookKey)), fmt.Sprintf("%x", hookToken),
		r.URL + "/planted-path",
	}, " ")
	for _, r.status = range []int{200, 409, 500} {
		for _, r.answer = range []string{
			repeats, `{"proceed": false, "reason": "` + repeats + `", "message": "` + repeats + `"}`,
		} {
			answer, err := do[migration.HookAnswer](w, w.activities.CallHook, hookRequest())
			text := answer.Reason + answer.Message
			if err != nil {
				w.secret(err)
				text += err.Error()
			}
			for _, hidden := range []string{
				"planted-", host, base64.StdEncoding.EncodeToString([]byte(hookKey)), fmt.Sprintf("%x", hookToken),
			} {
				require.NotContains(t, text, hidden, "%d %s", r.status, r.answer)
			}
		}
	}
	r.status, r.answer = http.StatusConflict, strings.Repeat("long\nanswer ", 10_000)
	failure := refusal(w, migration.ErrorHookRefused, w.activities.CallHook, hookRequest())
	require.Less(t, len(failure.Message()), 300)
	require.NotContains(t, failure.Message(), "\n")
	require.NotContains(t, w.log.String(), "planted-")
}

func TestAHookWithinTheFence(t *testing.T) {
	w, r := newWorld(t), newHookReceiver(t)
	for _, variable := range []string{"TEST_HOOK_URL", "TEST_HOOK_TOKEN", "TEST_HOOK_KEY"} {
		t.Run(variable, func(t *testing.T) {
			t.Setenv(variable, "")
			refused(w, migration.ErrorSecret, w.activities.CallHook, hookRequest(), "hooks.beforeBlock[0].http.",
				"env:"+variable)
		})
	}
	w.activities.keys.fence.Endpoints = []string{"*.example.com"}
	refused(w, migration.ErrorSecret, w.activities.CallHook, hookRequest(), "hooks.beforeBlock[0].http.url",
		"--allow-endpoints")
	require.Empty(t, r.got)
}

// A guard that has called the hooks after a thaw may have ended before the migration asks.
func TestAGuardThatHasEndedTellsOfItsHooks(t *testing.T) {
	w := newWorld(t)
	g, f := newGuards(w)
	called := []migration.HookCall{
		{Moment: migration.HookAfterThaw, Name: "start-writers", Outcome: migration.HookDone},
	}
	f.guards[w.guardID()] = &fakeGuard{status: enums.WORKFLOW_EXECUTION_STATUS_COMPLETED, knows: migration.GuardStatus{
		Token: w.run.Token, Phase: migration.GuardRemoved, Hooks: called,
	}}
	answer := must[migration.GuardAnswer](w, g.AskGuard, w.guardRequest(migration.AskHooks))
	require.Equal(t, called, answer.Hooks)
	require.Empty(t, f.started)
	require.Empty(t, f.options)

	// One that was terminated meanwhile is started again, and calls those that are missing.
	f.guards[w.guardID()].status = enums.WORKFLOW_EXECUTION_STATUS_TERMINATED
	f.guards[w.guardID()].knows.HooksDue = true
	must[migration.GuardAnswer](w, g.AskGuard, w.guardRequest(migration.AskHooks))
	require.Len(t, f.started, 1)
	require.True(t, f.started[0].Before.HooksDue)
	require.Len(t, f.options, 1)
}
