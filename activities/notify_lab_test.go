//go:build lab

package activities

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	netmail "net/mail"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"

	"github.com/snapferry/snapferry/internal/notify/notifytest"
	"github.com/snapferry/snapferry/migration"
)

// rooms are receivers of every kind, each as its vendor has it.
type rooms struct {
	*httptest.Server
	post *notifytest.PostOffice

	mu   sync.Mutex
	down bool
	got  map[string][]string // by kind, the texts
	ids  map[string]int      // of the generic webhook
}

// answers are what each chat says when it has a message.
var roomAnswers = map[string]string{
	migration.KindSlack: "ok", migration.KindDingTalk: `{"errcode":0,"errmsg":"ok"}`,
	migration.KindWeCom: `{"errcode":0,"errmsg":"ok"}`, migration.KindFeishu: `{"code":0,"msg":"success"}`,
}

func newRooms(t *testing.T) *rooms {
	r := &rooms{got: map[string][]string{}, ids: map[string]int{}}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	r.post = notifytest.NewPostOffice(t, migration.TLSStart, true)
	return r
}

func (r *rooms) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, _ := io.ReadAll(request.Body)
	kind, _, _ := strings.Cut(strings.TrimPrefix(request.URL.Path, "/"), "/")
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.down:
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	case kind == migration.KindDingTalk && request.URL.Query().Get("sign") == "",
		kind == migration.KindFeishu && !strings.Contains(string(body), `"sign"`):
		_, _ = io.WriteString(w, `{"errcode":310000,"code":19021,"msg":"sign not match"}`)
		return
	}
	r.got[kind] = append(r.got[kind], string(body))
	if kind == migration.KindWebhook {
		var message struct{ ID string }
		_ = json.Unmarshal(body, &message)
		r.ids[message.ID]++
	}
	_, _ = io.WriteString(w, roomAnswers[kind])
}

// goDown has nobody take messages, and up has them again.
func (r *rooms) goDown(down bool) {
	code := 0
	if down {
		code = 451
	}
	r.post.Refuse(code, "try later")
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = down
}

// mailed are the events of the mails.
func (r *rooms) mailed() (events []string) {
	for _, letter := range r.post.Letters() {
		if parsed, err := netmail.ReadMessage(strings.NewReader(letter.Text)); err == nil {
			events = append(events, parsed.Header.Get("X-Snapferry-Event"))
		}
	}
	return events
}

// receivers has the plan tell all of them.
func (e *stricken) receivers(r *rooms) {
	e.t.Helper()
	notify := &e.world.run.Plan.Notify
	for _, kind := range []string{
		migration.KindWebhook, migration.KindSlack, migration.KindDingTalk, migration.KindFeishu, migration.KindWeCom,
	} {
		name := "TEST_ROOM_" + strings.ToUpper(kind)
		e.t.Setenv(name, r.URL+"/"+kind+"/planted-room-key")
		receiver := migration.Receiver{Name: kind, Kind: kind, URL: migration.SecretRef("env:" + name)}
		if kind == migration.KindDingTalk || kind == migration.KindFeishu {
			receiver.SigningSecret = "env:TEST_ROOM_SIGNING"
		}
		notify.Receivers = append(notify.Receivers, receiver)
	}
	e.t.Setenv("TEST_ROOM_SIGNING", "planted-room-signing")
	e.t.Setenv("TEST_ROOM_PASSWORD", notifytest.Password)
	notify.Receivers = append(notify.Receivers, migration.Receiver{
		Name: "mail", Kind: migration.KindEmail, CAFile: e.secretFile("mail-ca.pem", r.post.Roots),
		Email: migration.Email{
			Server: r.post.Address, TLS: migration.TLSStart, User: notifytest.User, Password: "env:TEST_ROOM_PASSWORD",
			From: "snapferry@example.com", To: []string{"oncall@example.com"},
		},
	})
}

// secretFile is a file that plans may name.
func (e *stricken) secretFile(name string, content []byte) string {
	e.t.Helper()
	dir := e.t.TempDir()
	e.activities.keys.fence.Dir = dir
	path := filepath.Join(dir, name)
	require.NoError(e.t, os.WriteFile(path, content, 0o600))
	return path
}

// noSecretsIn reads the history of a workflow.
func (e *stricken) noSecretsIn(id string) {
	e.t.Helper()
	events := e.temporal.GetWorkflowHistory(e.t.Context(), id, "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	read := 0
	for events.HasNext() {
		event, err := events.Next()
		require.NoError(e.t, err)
		require.NotContains(e.t, fmt.Sprint(event), "planted", "%s", id)
		read++
	}
	require.Positive(e.t, read)
}

// everybody waits until each receiver has so many messages.
func (r *rooms) everybody(e *stricken, messages int) {
	e.t.Helper()
	e.soon(fmt.Sprintf("%d messages in each room", messages), func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		for kind := range roomAnswers {
			if len(r.got[kind]) < messages {
				return false
			}
		}
		return len(r.got[migration.KindWebhook]) >= messages && len(r.post.Letters()) >= messages
	})
}

// Every event reaches a receiver of each kind, on a real server: those of the migration, those of its
// guard, and the last one, which outlives the run.
func TestLabEveryEventReachesEachKindOfReceiver(t *testing.T) {
	// A window ends, and the way to the wait for cutover must not take all of it. How long that takes
	// here nobody knows.
	inTime, name := false, "told"
	for limit := 10 * time.Second; !inTime && !t.Failed(); limit *= 2 {
		t.Run(limit.String(), func(t *testing.T) { inTime = everyEvent(t, name, limit) })
		name = "told-" + (2 * limit).String()
	}
}

// everyEvent tells whether a window of that length was long enough.
func everyEvent(t *testing.T, name string, limit time.Duration) (inTime bool) {
	e, r := newStricken(t, name), newRooms(t)
	e.windowOf(limit)
	e.world.run.Plan.Notify.BeforeExpiry = migration.Duration(limit / 5)
	e.receivers(r)
	e.from.EndNextAs("PARTIAL", "disk gone") // roundFailed
	e.to.Create("movies", 1, nil)            // preflight refuses it: attention

	// The receivers are away when the migration parks, for longer than a minute.
	r.goDown(true)
	e.startOnly()
	parked := e.await("attention", func(s migration.Status) bool { return s.Attention != nil })
	e.await("failing receivers", func(s migration.Status) bool {
		return len(s.Notified) == 1 && s.Notified[0].Failing == 6
	})
	r.goDown(false)
	r.everybody(e, 1)
	e.await("delivered", func(s migration.Status) bool { return s.Notified[0].Delivered == 6 })

	e.to.Delete("movies")
	e.signal(migration.RequestRetry)
	e.await("the first round", func(s migration.Status) bool {
		return s.RoundsEnded >= 1 && s.Phase == migration.PhaseRounds && s.Step == ""
	})
	r.everybody(e, 2) // roundFailed, without a person
	if !e.waitingWithin(limit) {
		return false
	}
	e.guarded(migration.GuardRemoved)
	r.everybody(e, 6) // frozen, verified, windowExpiring, thawed
	e.await("rounds again", func(s migration.Status) bool { return s.Phase == migration.PhaseRounds && s.Step == "" })
	if !e.waitingWithin(limit) {
		return false
	}
	e.signal(migration.RequestCutover)
	var report migration.Report
	require.NoError(t, e.temporal.GetWorkflow(t.Context(), e.id, "").Get(t.Context(), &report))
	require.NotEmpty(t, report.Notified)
	r.everybody(e, 10) // frozen, verified, handedOver, completed

	want := map[string]int{
		"attention": 1, "roundFailed": 1, "frozen": 2, "verified": 2, "windowExpiring": 1, "thawed": 1,
		"handedOver": 1, "completed": 1,
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	events := map[string]int{}
	for _, body := range r.got[migration.KindWebhook] {
		var message struct{ Event, Migration, Command, Time, Until string }
		require.NoError(t, json.Unmarshal([]byte(body), &message))
		require.Equal(t, name, message.Migration)
		require.NotEmpty(t, message.Command)
		events[message.Event]++
		at, err := time.Parse(time.RFC3339, message.Time)
		require.NoError(t, err)
		if message.Event == "attention" {
			require.WithinDuration(t, time.UnixMilli(parked.Attention.SinceMillis), at, 2*time.Second)
		}
	}
	require.Equal(t, want, events)
	require.Equal(t, 10, len(r.ids), "no id twice: %v", slices.Sorted(maps.Keys(r.ids)))
	mailed := map[string]int{}
	for _, event := range r.mailed() {
		mailed[event]++
	}
	require.Equal(t, want, mailed)
	for kind, texts := range r.got {
		require.Len(t, texts, 10, kind)
		require.NotContains(t, strings.Join(texts, ""), "planted", kind)
	}
	e.noSecretsIn(e.id)
	e.noSecretsIn(migration.GuardID(e.name))
	for id := range r.ids {
		e.noSecretsIn(id)
		if *guardHistories != "" && strings.Contains(id, "/attention-") {
			e.export(id, "notify-away") // its receivers were away
		}
	}
	if *guardHistories != "" {
		e.export(e.id, "notified-whole")
		e.export(migration.GuardID(e.name), "notified-guard")
	}
	return true
}

// waitingWithin is waiting in a window of that length. It tells whether half of it was enough.
func (e *stricken) waitingWithin(limit time.Duration) bool {
	e.t.Helper()
	e.signal(migration.RequestFreeze)
	s := e.await("the wait for cutover, or the end of the window", func(s migration.Status) bool {
		return s.Phase == migration.PhaseAwaitCutover || s.Phase == migration.PhaseRounds && !s.FreezeRequested
	})
	took := time.Duration(s.PhaseSinceMillis-s.FrozenSinceMillis) * time.Millisecond
	e.t.Logf("%s after %s", s.Phase, took)
	return s.Phase == migration.PhaseAwaitCutover && took <= limit/2
}

// An abort, and what a guard does whose migration is gone, is told as well.
func TestLabTheGuardTellsWhenItsMigrationIsGone(t *testing.T) {
	e, r := newStricken(t, "told-by-guard"), newRooms(t)
	e.receivers(r)
	e.begin()
	e.waiting()
	r.everybody(e, 2)
	e.terminate(e.id)
	e.guarded(migration.GuardRemoved)
	r.everybody(e, 3)
	r.mu.Lock()
	last := r.got[migration.KindWebhook][2]
	r.mu.Unlock()
	require.Contains(t, last, `"event":"thawed"`)
	require.Contains(t, last, "Terminated")
}

func TestLabAnAbortIsTold(t *testing.T) {
	e, r := newStricken(t, "told-abort"), newRooms(t)
	e.receivers(r)
	e.begin()
	e.signal(migration.RequestAbort)
	r.everybody(e, 1)
	r.mu.Lock()
	require.Contains(t, r.got[migration.KindWebhook][0], `"event":"aborted"`)
	r.mu.Unlock()
}

// A run that was reset tells nothing again that was told, and what is new it tells.
func TestLabAResetTellsNothingAgain(t *testing.T) {
	e, r := newStricken(t, "told-reset"), newRooms(t)
	e.receivers(r)
	e.to.Create("movies", 1, nil) // preflight refuses it
	e.startOnly()
	attention := func(s migration.Status) bool { return s.Attention != nil }
	e.await("attention", attention)
	r.everybody(e, 1)
	e.reset(func([]*history.HistoryEvent) int { return 0 })
	e.await("attention again, which was told", func(s migration.Status) bool {
		return attention(s) && len(s.Notified) == 0
	})
	e.signal(migration.RequestRetry)
	r.everybody(e, 2)
	r.mu.Lock()
	defer r.mu.Unlock()
	require.Len(t, r.ids, 2, "%v", r.ids)
	for id, times := range r.ids {
		require.Equal(t, 1, times, id)
	}
}

// A test of the receivers says what each answers.
func TestLabTheReceiversAreTried(t *testing.T) {
	e, r := newStricken(t, "told-test"), newRooms(t)
	e.receivers(r)
	e.t.Setenv("TEST_ROOM_SLACK", r.URL+"/nowhere\nplanted")
	r.goDown(false)
	plan := e.world.run.Plan
	run, err := e.temporal.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{
		ID: migration.NotifyTestID(plan.Name), TaskQueue: migration.TaskQueue,
	}, migration.NotifyWorkflowType, migration.NotifyInput{
		Receivers: plan.Notify.Receivers, Notification: migration.Notification{
			ID: "notify-test/told-test/1", Event: migration.EventTest, Plan: plan.Name, AtMillis: 1, Title: "a test",
		},
	})
	require.NoError(t, err)
	var result migration.NotifyResult
	require.NoError(t, run.Get(t.Context(), &result))
	for _, d := range result.Deliveries {
		if d.Receiver == migration.KindSlack {
			require.Equal(t, migration.DeliveryFailed, d.State)
			require.NotContains(t, d.Error, "planted")
			continue
		}
		require.Equal(t, migration.Delivered, d.State, "%+v", d)
	}
	e.noSecretsIn(migration.NotifyTestID(plan.Name))
}
