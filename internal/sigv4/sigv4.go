// Package sigv4 checks AWS's Signature Version 4 as a service does: from the request on the wire,
// and on purpose without the SDK's signer. Client and server agree only if both follow AWS's
// description ("Create a signed AWS API request"). The test servers use it: the front end of
// Amazon's domain (package lab) and the S3 face of package osstest. What a service says about a
// request that it refuses, how far clocks may differ and which scope it wants is theirs.
package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
)

const (
	// Algorithm begins the Authorization header.
	Algorithm = "AWS4-HMAC-SHA256"
	// Unsigned stands for the hash of a payload that the signature doesn't cover. S3 takes it.
	Unsigned = "UNSIGNED-PAYLOAD"
	// TimeFormat is that of X-Amz-Date, in UTC. Its first eight characters are the date of the
	// scope.
	TimeFormat = "20060102T150405Z"

	term = "aws4_request" // ends the scope
)

// Authorization is a parsed Authorization header.
type Authorization struct {
	AccessKey             string
	Date, Region, Service string // the scope
	SignedHeaders         []string
	Signature             string // hexadecimal
}

// Parse reads "AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/SERVICE/aws4_request, SignedHeaders=a;b,
// Signature=HEX". The complaint is in the words of Amazon's gateway. It is empty if the header is
// complete.
func Parse(header string) (a Authorization, complaint string) {
	rest, ok := strings.CutPrefix(header, Algorithm)
	if !ok {
		return a, "Authorization header requires '" + Algorithm + "'."
	}
	fields := map[string]string{}
	for field := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		fields[name] = value
	}
	for _, name := range []string{"Credential", "Signature", "SignedHeaders"} {
		if fields[name] == "" {
			return a, fmt.Sprintf("Authorization header requires '%s' parameter.", name)
		}
	}
	scope := strings.Split(fields["Credential"], "/")
	if len(scope) != 5 || scope[4] != term {
		return a, "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term."
	}
	return Authorization{
		AccessKey: scope[0], Date: scope[1], Region: scope[2], Service: scope[3],
		SignedHeaders: strings.Split(fields["SignedHeaders"], ";"), Signature: fields["Signature"],
	}, ""
}

// Check is what a signature was checked against. A service that refuses a request may tell it.
type Check struct {
	CanonicalRequest, StringToSign string
	Valid                          bool
}

// Check compares the signature with the one that belongs to the request. path is escaped as the
// service wants it in the canonical request: S3 as on the wire, other services once more. payload
// is the hexadecimal SHA-256 of the body, or Unsigned. timestamp is that of the request, in
// TimeFormat.
func (a Authorization) Check(keys *Keys, secret, timestamp string, r *http.Request, path, payload string) Check {
	var c Check
	c.CanonicalRequest = canonicalRequest(r, path, payload, a.SignedHeaders)
	scope := []string{a.Date, a.Region, a.Service, term}
	c.StringToSign = strings.Join([]string{
		Algorithm, timestamp, strings.Join(scope, "/"),
		Hash([]byte(c.CanonicalRequest)),
	}, "\n")
	given, _ := hex.DecodeString(a.Signature) // what can't be read is no signature
	c.Valid = hmac.Equal(keys.Sign("AWS4"+secret, scope, c.StringToSign), given)
	return c
}

// canonicalRequest is the text that the client must have signed.
func canonicalRequest(r *http.Request, path, payload string, signedHeaders []string) string {
	var b strings.Builder
	b.WriteString(r.Method + "\n" + path + "\n" + canonicalQuery(r.URL.RawQuery) + "\n")
	for _, name := range signedHeaders {
		var values []string
		switch name {
		case "host": // net/http takes these two out of Header
			values = []string{r.Host}
		case "content-length":
			values = []string{strconv.FormatInt(r.ContentLength, 10)}
		default:
			values = slices.Clone(r.Header.Values(name))
		}
		for i, v := range values {
			values[i] = strings.Join(strings.Fields(v), " ")
		}
		b.WriteString(name + ":" + strings.Join(values, ",") + "\n")
	}
	b.WriteString("\n" + strings.Join(signedHeaders, ";") + "\n" + payload)
	return b.String()
}

// canonicalQuery is sorted by name, then by value, and each name has a "=". What can't be unescaped
// stays as it is.
func canonicalQuery(raw string) string {
	type pair struct{ name, value string }
	var pairs []pair
	for text := range strings.SplitSeq(raw, "&") {
		if text == "" {
			continue
		}
		name, value, _ := strings.Cut(text, "=")
		pairs = append(pairs, pair{Escape(unescaped(name), ""), Escape(unescaped(value), "")})
	}
	slices.SortFunc(pairs, func(a, b pair) int {
		if a.name != b.name {
			return strings.Compare(a.name, b.name)
		}
		return strings.Compare(a.value, b.value)
	})
	var b strings.Builder
	for i, p := range pairs {
		if i > 0 {
			b.WriteString("&")
		}
		b.WriteString(p.name + "=" + p.value)
	}
	return b.String()
}

func unescaped(s string) string {
	if u, err := url.QueryUnescape(s); err == nil {
		return u
	}
	return s
}

// Escape percent-encodes everything but RFC 3986's unreserved characters and those in also.
func Escape(s, also string) string {
	const hexDigits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-._~"+also, c) >= 0:
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
		}
	}
	return b.String()
}

// Hash is a SHA-256 as the protocol writes it.
func Hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// Keys derives signing keys and keeps them, since that takes four times the work of a signature.
// The zero value is ready. OSS's own version 4 derives its keys in the same way.
type Keys struct {
	mu   sync.Mutex
	keys map[string][]byte // by secret and scope
}

// Sign derives the day's key from the secret, step by step along the scope, and signs the text with
// it.
func (k *Keys) Sign(secret string, scope []string, text string) []byte {
	name := secret + "\n" + strings.Join(scope, "/")
	k.mu.Lock()
	key, ok := k.keys[name]
	if !ok {
		key = []byte(secret)
		for _, step := range scope {
			key = sign(key, step)
		}
		if k.keys == nil || len(k.keys) > 1000 { // a new day, or somebody who tries
			k.keys = map[string][]byte{}
		}
		k.keys[name] = key
	}
	k.mu.Unlock()
	return sign(key, text)
}

func sign(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}
