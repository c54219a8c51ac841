package webhook

import (
	"errors"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/redact"
)

// The signature is the one that docs/plan.md and docs/notify.md describe.
func TestSign(t *testing.T) {
	header := http.Header{}
	Sign(header, "planted-signing", []byte(`{"a":1}`), time.Unix(1764373267, 999))
	require.Equal(t, "1764373267", header.Get(HeaderTimestamp))
	// printf '1764373267.{"a":1}' | openssl dgst -sha256 -hmac planted-signing
	require.Equal(t, "v1=964687a85c32b5cc23c0ee03c4d6b520ebc4ca64ab2324e7911e774fa45fcd81", header.Get(HeaderSignature))
	require.NotEqual(t, header.Get(HeaderSignature), Signature("planted-signing", "1764373268", []byte(`{"a":1}`)))
}

func TestHide(t *testing.T) {
	address, err := url.Parse("https://chat.example.com:8443/send/planted-key?token=planted-token")
	require.NoError(t, err)
	var hidden redact.Redactor
	Hide(&hidden, address)
	for _, text := range []string{
		address.String(), "chat.example.com", "planted-key", "planted-token", "chat.example.com:8443",
	} {
		require.Equal(t, "at "+redact.Mark, hidden.Text("at "+text))
	}
	require.Equal(t, "send", hidden.Text("send"), "a plain word is no key")
}

func TestCause(t *testing.T) {
	refused := errors.New("connection refused")
	require.Equal(t, refused, Cause(&url.Error{Op: "Post", URL: "https://planted", Err: refused}))
	require.Equal(t, refused, Cause(refused))
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 3, 2, 22, 30, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"30": 30 * time.Second, "99999": time.Hour, "soon": 0, "": 0, "-1": 0,
		now.Add(90 * time.Second).Format(http.TimeFormat): 90 * time.Second,
		now.Add(-time.Second).Format(http.TimeFormat):     0,
	} {
		require.Equal(t, want, RetryAfter(http.Header{"Retry-After": {value}}, now), value)
	}
}
