package notify

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/golden"
	"github.com/snapferry/snapferry/internal/webhook"
	"github.com/snapferry/snapferry/migration"
)

var now = time.Date(2026, 11, 28, 23, 41, 7, 0, time.UTC)

// message is one with everything that a message can have, and with what must not become markup.
func message() migration.Notification {
	return migration.Notification{
		ID: "notify/movies/3f2a91c7/attention-5d41402abc4b", Event: migration.EventAttention, Plan: "movies",
		WorkflowID: "migration/movies", Token: "3f2a91c7", Phase: migration.PhaseVerify,
		AtMillis: now.UnixMilli(), UntilMillis: now.Add(2 * time.Hour).UnixMilli(),
		Title: "needs attention: compare the target with the frozen source",
		Text:  "VerificationFailed: index <!channel> \"logs\" & <at user_id=\"all\"></at> differs\n\nWhat to do: compare.",
		Commands: []string{
			"starter retry movies", "temporal workflow signal --workflow-id migration/movies --name retry",
		},
		Step: "compare the target with the frozen source", Failure: "VerificationFailed",
	}
}

var webhooks = []string{
	migration.KindWebhook, migration.KindSlack, migration.KindDingTalk, migration.KindFeishu, migration.KindWeCom,
}

// What each kind of webhook gets is what its vendor documents.
func TestTheBodyOfEachKind(t *testing.T) {
	for _, kind := range webhooks {
		body, err := render(Target{Kind: kind, SigningSecret: "planted-signing"}, message(), now)
		require.NoError(t, err)
		require.True(t, json.Valid(body))
		require.NotContains(t, string(body), "planted")
		golden.Equal(t, "testdata/"+kind+".json", append(body, '\n'))
	}
	bare, err := render(Target{Kind: migration.KindWebhook}, migration.Notification{Event: migration.EventTest}, now)
	require.NoError(t, err)
	golden.Equal(t, "testdata/webhook-bare.json", append(bare, '\n'))
}

// WeCom takes 2,048 bytes of text.
func TestALongMessageIsCut(t *testing.T) {
	long := message()
	long.Text = strings.Repeat("\u4e2d", 3000)
	for _, kind := range []string{migration.KindWeCom, migration.KindDingTalk, migration.KindSlack} {
		body, err := render(Target{Kind: kind}, long, now)
		require.NoError(t, err)
		require.Less(t, len(body), 2300)
		require.True(t, json.Valid(body))
	}
}

// server is a receiver that keeps what it gets.
type server struct {
	*httptest.Server
	status int
	answer string
	header http.Header
	got    []*http.Request
	bodies []string
}

func newServer(t *testing.T, answer string) *server {
	s := &server{status: http.StatusOK, answer: answer, header: http.Header{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.got, s.bodies = append(s.got, r), append(s.bodies, string(body))
	for name, values := range s.header {
		w.Header()[name] = values
	}
	w.WriteHeader(s.status)
	_, _ = io.WriteString(w, s.answer)
}

// fine is how each vendor says that the message is there.
var fine = map[string]string{
	migration.KindWebhook: "", migration.KindSlack: "ok", migration.KindDingTalk: `{"errcode":0,"errmsg":"ok"}`,
	migration.KindWeCom:  `{"errcode":0,"errmsg":"ok"}`,
	migration.KindFeishu: `{"StatusCode":0,"StatusMessage":"success","code":0,"data":{},"msg":"success"}`,
}

func TestEachKindIsSent(t *testing.T) {
	for _, kind := range webhooks {
		t.Run(kind, func(t *testing.T) {
			s := newServer(t, fine[kind])
			target := Target{
				Kind: kind, URL: s.URL + "/robot/send?access_token=planted", Authorization: "Bearer planted-token",
				SigningSecret: "planted-signing", UserAgent: "snapferry/1",
			}
			require.NoError(t, Send(t.Context(), target, message(), now))
			require.Len(t, s.got, 1)
			got := s.got[0]
			require.Equal(t, http.MethodPost, got.Method)
			require.Equal(t, "/robot/send", got.URL.Path)
			require.Equal(t, "planted", got.URL.Query().Get("access_token"))
			require.Equal(t, "application/json; charset=utf-8", got.Header.Get("Content-Type"))
			require.Equal(t, "snapferry/1", got.Header.Get("User-Agent"))
			want, err := render(target, message(), now)
			require.NoError(t, err)
			require.Equal(t, string(want), s.bodies[0])
			if kind != migration.KindWebhook {
				require.Empty(t, got.Header.Get("Authorization"), "only a generic webhook gets it")
			}
		})
	}
}

// The signatures are those of the vendors' own examples, calculated with openssl:
//
//	printf '1764373267000\nplanted-signing' | openssl dgst -sha256 -hmac planted-signing -binary | base64
func TestSignatures(t *testing.T) {
	at := time.UnixMilli(1764373267000)
	address, err := url.Parse("https://oapi.dingtalk.com/robot/send?access_token=abc")
	require.NoError(t, err)
	signed := dingTalkURL(address, "planted-signing", at)
	require.Equal(t, "1764373267000", signed.Query().Get("timestamp"))
	require.Equal(t, "bC+NiNjHr0Cqlp81SFjH9YuHWp7uARUD6R7Ged8dcCE=", signed.Query().Get("sign"))
	require.Equal(t, "abc", signed.Query().Get("access_token"))
	require.Equal(t, "tpkqPqqd4nIM/PnWdrdnfNZDuRs36xrzG39bZD9KxhY=", feishuSign("1764373267", "planted-signing"))
}

// A signed webhook can be checked by whoever gets it, and told from the same one sent again.
func TestTheHeadersOfAWebhook(t *testing.T) {
	s := newServer(t, "")
	target := Target{
		Kind: migration.KindWebhook, URL: s.URL, Authorization: "Bearer planted-token",
		SigningSecret: "planted-signing",
	}
	require.NoError(t, Send(t.Context(), target, message(), now))
	header := s.got[0].Header
	require.Equal(t, "Bearer planted-token", header.Get("Authorization"))
	require.Equal(t, message().ID, header.Get(webhook.HeaderIdempotency))
	require.Equal(t, webhook.Signature("planted-signing", header.Get(webhook.HeaderTimestamp), []byte(s.bodies[0])),
		header.Get(webhook.HeaderSignature))

	target.SigningSecret, target.Authorization = "", ""
	require.NoError(t, Send(t.Context(), target, message(), now))
	require.Empty(t, s.got[1].Header.Get(webhook.HeaderSignature))
	require.Empty(t, s.got[1].Header.Get("Authorization"))
}

// What each answer means. Chats answer 200 to what they refuse.
func TestAnswers(t *testing.T) {
	const all = "all"
	for _, test := range []struct {
		kind   string
		status int
		answer string
		want   Kind
		says   string
	}{
		{all, 400, "planted-token", Refused, "it answered 400 Bad Request"},
		{all, 401, "", Unauthorized, "it answered 401"},
		{all, 403, "", Unauthorized, "it answered 403"},
		{all, 404, "", Refused, "it answered 404"},
		{all, 302, "", Refused, "it answered 302"},
		{all, 408, "", Unavailable, "it answered 408"},
		{all, 429, "", Throttled, "it answered 429"},
		{all, 500, "", Unavailable, "it answered 500"},
		{all, 503, "", Unavailable, "it answered 503"},
		{migration.KindSlack, 404, "no_service", Refused, "it answered 404 Not Found: no_service"},
		{migration.KindSlack, 410, "channel_is_archived", Refused, "channel_is_archived"},
		{migration.KindDingTalk, 200, `{"errcode":310000,"errmsg":"sign not match"}`, Unauthorized, "code 310000: sign not match"},
		{migration.KindDingTalk, 200, `{"errcode":300001,"errmsg":"token is not exist"}`, Unauthorized, "code 300001"},
		{migration.KindDingTalk, 200, `{"errcode":130101,"errmsg":"send too fast, exceed 20 times per minute"}`, Throttled, "send too fast"},
		{migration.KindDingTalk, 200, `{"errcode":-1,"errmsg":"system busy"}`, Throttled, "code -1"},
		{migration.KindDingTalk, 200, `{"errcode":400105,"errmsg":"unsupported msgtype"}`, Refused, "code 400105"},
		{migration.KindDingTalk, 200, "<html>sign in</html>", Refused, "no code"},
		{migration.KindWeCom, 200, `{"errcode":93000,"errmsg":"invalid webhook url, hint: [planted-token]"}`, Unauthorized, "code 93000"},
		{migration.KindWeCom, 200, `{"errcode":45009,"errmsg":"api freq out of limit"}`, Throttled, "code 45009"},
		{migration.KindWeCom, 200, `{}`, Refused, "no code"},
		{migration.KindFeishu, 200, `{"code":19021,"msg":"sign match fail or timestamp is not within one hour from current time"}`, Unauthorized, "sign match fail"},
		{migration.KindFeishu, 400, `{"code":19001,"msg":"param invalid: incoming webhook access token invalid"}`, Unauthorized, "code 19001"},
		{migration.KindFeishu, 200, `{"code":11232,"data":{},"msg":"frequency limited psm"}`, Throttled, "code 11232"},
		{migration.KindFeishu, 200, `{"code":9499,"msg":"Bad Request","data":{}}`, Refused, "code 9499"},
		{migration.KindFeishu, 200, `{"StatusCode":0,"StatusMessage":"success"}`, 0, ""},
		{migration.KindFeishu, 200, `ok`, Refused, "no code"},
	} {
		kinds := []string{test.kind}
		if test.kind == all {
			kinds = webhooks
		}
		for _, kind := range kinds {
			s := newServer(t, test.answer)
			s.status = test.status
			s.header.Set("Location", "http://elsewhere.invalid/planted-token")
			s.header.Set("Retry-After", "7")
			target := Target{Kind: kind, URL: s.URL + "/hook/planted-token", SigningSecret: "planted-signing"}
			err := Send(t.Context(), target, message(), now)
			where := kind + " " + test.answer
			require.Len(t, s.got, 1, where)
			if test.want == 0 {
				require.NoError(t, err, where)
				continue
			}
			var failure *Error
			require.ErrorAs(t, err, &failure, where)
			require.Equal(t, test.want, failure.Kind, "%s: %s", where, failure.Message)
			require.Contains(t, failure.Message, test.says, where)
			require.NotContains(t, failure.Message, "planted", where)
			require.NotContains(t, failure.Message, strings.TrimPrefix(s.URL, "http://"), where)
			if test.status == 429 || test.status == 503 {
				require.Equal(t, 7*time.Second, failure.RetryAfter)
			}
		}
	}
}

// No error of the network shows a URL or a part of it.
func TestAnUnreachableReceiver(t *testing.T) {
	closed := newServer(t, "")
	closed.Close()
	for _, address := range []string{
		closed.URL + "/planted-path?key=planted-key", "https://planted-host.invalid/planted-path", "planted-path",
		"ftp://planted-host/planted-path",
		"http://planted-user:planted-pass@" + strings.TrimPrefix(closed.URL, "http://"),
		"http://[planted-host/", "http://planted-host:99999/",
	} {
		for _, kind := range webhooks {
			err := Send(t.Context(), Target{Kind: kind, URL: address, SigningSecret: "planted-signing"}, message(), now)
			var failure *Error
			require.ErrorAs(t, err, &failure, address)
			require.NotContains(t, failure.Message, "planted", address)
			require.NotContains(t, failure.Message, strings.TrimPrefix(closed.URL, "http://"), address)
		}
	}
}

// A receiver with a certificate of one's own is trusted only by its roots.
func TestRoots(t *testing.T) {
	s := &server{status: http.StatusOK, answer: "ok"}
	secure := httptest.NewUnstartedServer(s)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // it complains of whoever doesn't trust it
	secure.StartTLS()
	t.Cleanup(secure.Close)
	target := Target{Kind: migration.KindSlack, URL: secure.URL + "/planted"}
	err := Send(t.Context(), target, message(), now)
	var failure *Error
	require.ErrorAs(t, err, &failure)
	require.Equal(t, Unavailable, failure.Kind)
	require.Contains(t, failure.Message, "certificate")

	target.Roots = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	require.NoError(t, Send(t.Context(), target, message(), now))
}

// A cancelled try says that it was cancelled, and nothing about the receiver.
func TestACancelledTry(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	came, gone := make(chan struct{}), make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(came)
		select {
		case <-gone:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(slow.Close)
	t.Cleanup(func() { close(gone) })
	go func() { <-came; cancel() }()
	err := Send(ctx, Target{Kind: migration.KindSlack, URL: slow.URL}, message(), now)
	require.True(t, errors.Is(err, context.Canceled), "%v", err)
}
