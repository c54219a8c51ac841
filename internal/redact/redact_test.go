package redact_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/redact"
)

var secrets = []string{
	"hunter2-w0rd", `quo"te\back/slash'`, "plus+slash/eq=&<>", "ünïcødé-漢字", "with space\tand\nline", "abcd",
	strings.Repeat("long-secret/", 100),
}

// A front end that quotes what it was sent gives nothing away, whatever it does to the text.
func TestEveryFormOfASecretIsRemoved(t *testing.T) {
	quoted := func(s string) string {
		text, err := json.Marshal(s)
		require.NoError(t, err)
		return strings.Trim(string(text), `"`)
	}
	percent := func(s string) string {
		var out strings.Builder
		for _, b := range []byte(s) {
			fmt.Fprintf(&out, "%%%02x", b)
		}
		return out.String()
	}
	units := func(s string) string {
		var out strings.Builder
		for _, r := range s {
			fmt.Fprintf(&out, `\u%04X`, r)
		}
		return out.String()
	}
	for name, form := range map[string]func(string) string{
		"plain":             func(s string) string { return s },
		"JSON":              quoted,
		"JSON in JSON":      func(s string) string { return quoted(quoted(s)) },
		"escaped slash":     func(s string) string { return strings.ReplaceAll(quoted(s), "/", `\/`) },
		"query":             url.QueryEscape,
		"path":              url.PathEscape,
		"query in query":    func(s string) string { return url.QueryEscape(url.QueryEscape(s)) },
		"all percent":       percent,
		"all units":         units,
		"HTML":              html.EscapeString,
		"hex":               func(s string) string { return hex.EncodeToString([]byte(s)) },
		"upper hex":         func(s string) string { return strings.ToUpper(hex.EncodeToString([]byte(s))) },
		"base64":            func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
		"base64 without =":  func(s string) string { return base64.RawStdEncoding.EncodeToString([]byte(s)) },
		"base64 for URLs":   func(s string) string { return base64.URLEncoding.EncodeToString([]byte(s)) },
		"Basic":             func(s string) string { return base64.StdEncoding.EncodeToString([]byte("elastic:" + s)) },
		"Basic, other user": func(s string) string { return base64.StdEncoding.EncodeToString([]byte("me:" + s)) },
		"base64 in a text": func(s string) string {
			return base64.StdEncoding.EncodeToString([]byte("x" + s + " and more"))
		},
		"base64 in a URL": func(s string) string {
			return url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(s)))
		},
	} {
		for _, secret := range secrets {
			var r redact.Redactor
			r.AddBasic("elastic", secret)
			shown := form(secret)
			got := r.Text("before <" + shown + "> after")
			if len(secret) == redact.Shortest && (name == "base64 in a text" || name == "Basic, other user") {
				continue // five characters could be any word
			}
			require.Contains(t, got, "[redacted]", "%s of %q", name, secret)
			require.NotContains(t, got, shown, "%s of %q", name, secret)
			require.True(t, strings.HasPrefix(got, "before <"), "%s: %s", name, got)
			require.True(t, strings.HasSuffix(got, "> after"), "%s: %s", name, got)
		}
	}
}

func TestQuotedHeadersAndSettingsAreRemoved(t *testing.T) {
	var r redact.Redactor
	for text, want := range map[string]string{
		`headers: {"Authorization":["Basic ZWxhc3RpYzpwdw=="]}`: `headers: {"Authorization":["Basic [redacted]"]}`,
		"Authorization: Bearer abc.def.ghi, Host: x":            "Authorization: Bearer [redacted], Host: x",
		`\"authorization\":\"Basic ZWxhc3RpYw==\"`:              `\"authorization\":\"Basic [redacted]\"`,
		"secret_access_key: xyz1":                               "secret_access_key: [redacted]",
		"X-Amz-Security-Token: FwoGZX":                          "X-Amz-Security-Token: [redacted]",
		"basic authentication needs a password for movies":      "basic authentication needs a password for movies",
	} {
		require.Equal(t, want, r.Text(text))
	}
}

// The largest file that a secret may come from.
func TestAHugeSecretIsRemoved(t *testing.T) {
	secret := strings.Repeat("0123456789abcdef", 64<<10/16)
	var r redact.Redactor
	r.Add(secret)
	require.Equal(t, "x", strings.ReplaceAll(r.Text("x"+secret), "[redacted]", ""))
}

func TestWhatIsNoSecretStays(t *testing.T) {
	var r redact.Redactor
	r.Add("a", "abc", "hunter2-w0rd")
	const text = "abc: the index logs-2024 has 3 shards, YWJj, hunter2"
	require.Equal(t, text, r.Text(text))
}
