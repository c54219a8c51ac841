package sigv4_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/sigv4"
)

// The examples of AWS's own test suite for Signature Version 4 (get-vanilla and
// get-vanilla-query-order-key-case).
func TestSigV4IsAmazonsOwn(t *testing.T) {
	const (
		secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
		at     = "20150830T123600Z"
		prefix = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, " +
			"SignedHeaders=host;x-amz-date, Signature="
	)
	var keys sigv4.Keys
	for target, signature := range map[string]string{
		"/":                             "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
		"/?Param2=value2&Param1=value1": "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
	} {
		r := httptest.NewRequest(http.MethodGet, target, http.NoBody)
		r.Host = "example.amazonaws.com"
		r.Header.Set("X-Amz-Date", at)
		a, complaint := sigv4.Parse(prefix + signature)
		require.Empty(t, complaint)
		require.Equal(t, "AKIDEXAMPLE", a.AccessKey)
		require.Equal(t, "service", a.Service)
		check := a.Check(&keys, secret, at, r, "/", sigv4.Hash(nil))
		require.True(t, check.Valid, check.CanonicalRequest)
		require.False(t, a.Check(&keys, "another", at, r, "/", sigv4.Hash(nil)).Valid)
		a.Signature = "none"
		require.False(t, a.Check(&keys, secret, at, r, "/", sigv4.Hash(nil)).Valid)
	}
}

// A name that is the beginning of another comes first, although "-" is smaller than "=". A name
// without a value gets a "=".
func TestTheQueryIsSortedByName(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/?a-b=1&a=2&a=1&c&%C3%BC=%2F+x", http.NoBody)
	check := sigv4.Authorization{SignedHeaders: []string{"host"}}.Check(&sigv4.Keys{}, "", "", r, "/", sigv4.Unsigned)
	require.Equal(t, "GET\n/\n%C3%BC=%2F%20x&a=1&a=2&a-b=1&c=\nhost:example.com\n\nhost\nUNSIGNED-PAYLOAD",
		check.CanonicalRequest)
}

func TestHeadersThatAreNone(t *testing.T) {
	for header, want := range map[string]string{
		"Basic abc": "Authorization header requires 'AWS4-HMAC-SHA256'.",
		"AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request, SignedHeaders=host": "Authorization header requires " +
			"'Signature' parameter.",
		"AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=c": "exactly 5 slash-delimited elements",
	} {
		_, complaint := sigv4.Parse(header)
		require.Contains(t, complaint, want)
	}
}
