package notify

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// templates has one file for each kind of webhook: the JSON that it takes. In a template, json writes
// a value as JSON.
//
//go:embed templates/*.json
var files embed.FS

var templates = template.Must(template.New("").Funcs(template.FuncMap{"json": asJSON}).ParseFS(files,
	"templates/*.json"))

func asJSON(value any) (string, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return strings.TrimSpace(out.String()), err
}

// page is what a template can show.
type page struct {
	migration.Notification
	// Time and Until are in RFC 3339, in UTC. Until is empty if there is none.
	Time, Until string
	// Message is all for people, as plain text.
	Message string
	// Timestamp and Sign are those of Feishu; empty without a secret.
	Timestamp, Sign string
}

// longestText bounds a message in bytes. WeCom takes 2,048 bytes of text, the others more.
const longestText = 2000

// render makes the body for a webhook.
func render(target Target, n migration.Notification, now time.Time) ([]byte, error) {
	p := page{Notification: n, Time: stamp(n.AtMillis), Message: human.Shorten(plain(n), longestText)}
	if n.UntilMillis > 0 {
		p.Until = stamp(n.UntilMillis)
	}
	switch target.Kind {
	case migration.KindSlack:
		p.Message = slackEscapes.Replace(p.Message)
	case migration.KindWeCom:
		p.Message = withoutTags.Replace(p.Message)
	case migration.KindFeishu:
		p.Message = withoutTags.Replace(p.Message)
		if target.SigningSecret != "" {
			p.Timestamp = strconv.FormatInt(now.Unix(), 10)
			p.Sign = feishuSign(p.Timestamp, target.SigningSecret)
		}
	}
	var out bytes.Buffer
	if err := templates.ExecuteTemplate(&out, target.Kind+".json", p); err != nil {
		return nil, err
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, out.Bytes()); err != nil {
		return nil, err
	}
	return compact.Bytes(), nil
}

// What a cluster answered stands in messages, and must not call anybody: chats take mentions of rooms
// and people from what stands in angle brackets. Slack shows the escaped characters as they were, the
// others have no escapes.
var (
	slackEscapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
	withoutTags  = strings.NewReplacer("<", "\uff1c", ">", "\uff1e")
)

// plain is a message as plain text: what happened, until when, and what to type.
func plain(n migration.Notification) string {
	var out strings.Builder
	out.WriteString(subject(n) + "\n")
	if n.Text != "" {
		out.WriteString("\n" + n.Text + "\n")
	}
	if n.UntilMillis > 0 {
		out.WriteString("\nUntil: " + human.Clock(n.UntilMillis, time.UTC) + "\n")
	}
	for i, command := range n.Commands {
		lead := "  or: "
		if i == 0 {
			lead = "\nNext: "
		}
		out.WriteString(lead + command + "\n")
	}
	out.WriteString("\nAt: " + human.Clock(n.AtMillis, time.UTC))
	return human.Visible(out.String())
}

// subject begins with a word that is always there: DingTalk and Feishu can demand one.
func subject(n migration.Notification) string {
	what := "snapferry"
	if n.Rehearsal {
		what += ", rehearsal of"
	}
	return what + " " + n.Plan + ": " + human.Line(n.Title)
}

func stamp(millis int64) string { return time.UnixMilli(millis).UTC().Format(time.RFC3339) }

// feishuSign is Feishu's signature: the key is made of time (in seconds) and secret, and what is
// signed is empty.
func feishuSign(timestamp, secret string) string {
	return base64.StdEncoding.EncodeToString(sum(timestamp+"\n"+secret, ""))
}

// dingTalkURL adds DingTalk's signature, of time (in milliseconds) and secret, to the URL.
func dingTalkURL(address *url.URL, secret string, now time.Time) *url.URL {
	timestamp := strconv.FormatInt(now.UnixMilli(), 10)
	signed := *address
	query := signed.Query()
	query.Set("timestamp", timestamp)
	query.Set("sign", base64.StdEncoding.EncodeToString(sum(secret, timestamp+"\n"+secret)))
	signed.RawQuery = query.Encode()
	return &signed
}

// sum is HMAC-SHA256.
func sum(key, message string) []byte {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(message))
	return mac.Sum(nil)
}
