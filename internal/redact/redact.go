// Package redact removes secrets from what services answer. Front ends and plugins quote what they
// were sent: headers, bodies, URLs. So a [Redactor] finds a secret in each form in which it travels:
// as it is, escaped for JSON, for a URL or for HTML, in hexadecimal, and in base64 at any position,
// which is how Basic authentication sends it.
//
// Whatever names a setting or a header that sounds like a secret is removed as well, known or not.
package redact

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode/utf16"
	"unicode/utf8"
)

// Mark stands where a secret was.
const Mark = "[redacted]"

// Shortest is the least length of a secret in bytes. To remove a trivial value such as "a" would
// remove that letter everywhere.
const Shortest = 4

// Sensitive matches the names of settings whose values must never be shown.
var Sensitive = regexp.MustCompile(`(?i)secret|access_?key|token|password|passphrase|credential`)

var (
	// pair finds such settings in texts that quote them, as JSON or as Java's toString.
	pair = regexp.MustCompile(
		`(?i)("?[\w.]*(?:secret|access_?key|token|password|passphrase)[\w.]*"?\s*[:=]\s*)("[^"]*"|[^\s,;}\]"]+)`)
	// header finds credentials in a quoted header, such as {"Authorization":["Basic ..."]}.
	header = regexp.MustCompile(`(?i)(authorization\\*["'\]]*\s*[:=]\s*[\[\\"']*(?:basic|bearer)\s+)[^\s"'\\,\]}]+`)
)

// Redactor removes the secrets that it knows. The zero value knows none. It is safe for concurrent
// use.
type Redactor struct {
	mu      sync.RWMutex
	secrets []string
	forms   []*regexp.Regexp // of the secrets, longest first, so that one within another leaves no rest
}

// Add makes secrets known. Those that are shorter than [Shortest] are ignored.
func (r *Redactor) Add(secrets ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := len(r.secrets)
	for _, secret := range secrets {
		if len(secret) >= Shortest && !slices.Contains(r.secrets, secret) {
			r.secrets = append(r.secrets, secret)
		}
	}
	if len(r.secrets) == before {
		return
	}
	slices.SortStableFunc(r.secrets, func(a, b string) int { return len(b) - len(a) })
	r.forms = r.forms[:0:0]
	for _, secret := range r.secrets {
		r.forms = append(r.forms, forms(secret)...)
	}
}

// AddBasic makes the password of Basic authentication known, and what is sent of it.
func (r *Redactor) AddBasic(user, password string) { r.Add(password, user+":"+password) }

// Text is a text without secrets.
func (r *Redactor) Text(s string) string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, secret := range r.secrets {
		s = strings.ReplaceAll(s, secret, Mark)
	}
	for _, form := range r.forms {
		s = form.ReplaceAllLiteralString(s, Mark)
	}
	s = header.ReplaceAllString(s, "${1}"+Mark)
	return pair.ReplaceAllString(s, "${1}"+Mark)
}

// A long secret, such as a session's token, is looked for piece by piece. A pattern costs some ten
// times its secret in memory, so the pieces behind the first ones are looked for as they are.
const (
	piece       = 256 // characters
	mostEscaped = 16  // pieces
)

// forms are the patterns of a secret.
func forms(secret string) []*regexp.Regexp {
	var all []*regexp.Regexp
	for _, core := range inBase64(secret) {
		// The characters beside it may hold the rest of the secret, or of user:password.
		all = append(all, regexp.MustCompile(`[A-Za-z0-9+/_=-]*`+regexp.QuoteMeta(core)+`[A-Za-z0-9+/_=-]*`))
	}
	all = append(all, regexp.MustCompile(`(?i)`+hex.EncodeToString([]byte(secret))))
	rest := []rune(secret)
	for n := 0; len(rest) > 0; n++ {
		size := min(piece, len(rest))
		if len(rest)-size < Shortest {
			size = len(rest) // what would be left is too short to be looked for
		}
		if n < mostEscaped {
			var escaped strings.Builder
			for _, c := range rest[:size] {
				escaped.WriteString(character(c))
			}
			all = append(all, regexp.MustCompile(escaped.String()))
		} else {
			all = append(all, regexp.MustCompile(regexp.QuoteMeta(string(rest[:size]))))
		}
		rest = rest[size:]
	}
	return all
}

// character is a pattern for one character in any of its escapes.
func character(c rune) string {
	ways := []string{regexp.QuoteMeta(string(c)), fmt.Sprintf(`&#0*%d;`, c), fmt.Sprintf(`&#[xX]0*(?i:%x);`, c)}
	if c == utf8.RuneError {
		ways = append(ways, `.`) // not UTF-8: nobody knows how it is shown
	}
	percent, escape := "", ""
	for _, b := range []byte(string(c)) {
		percent += fmt.Sprintf(`%%(?:25)*(?i:%02x)`, b)
		escape += fmt.Sprintf(`\\+x(?i:%02x)`, b)
	}
	units := ""
	for _, unit := range utf16.Encode([]rune{c}) {
		units += fmt.Sprintf(`\\+u(?i:%04x)`, unit)
	}
	ways = append(ways, percent, escape, units)
	switch c {
	case '"', '\\', '/', '\'':
		ways = append(ways, `\\+`+regexp.QuoteMeta(string(c))) // JSON, and JSON within JSON
	case ' ':
		ways = append(ways, `\+`, `%(?:25)*2[bB]`)
	case '\n', '\t', '\r':
		ways = append(ways, `\\+`+map[rune]string{'\n': "n", '\t': "t", '\r': "r"}[c])
	}
	if entity, ok := map[rune]string{'&': "amp", '<': "lt", '>': "gt", '"': "quot", '\'': "apos"}[c]; ok {
		ways = append(ways, "&"+entity+";")
	}
	// The longest first: a plain backslash must not take the first half of an escape.
	slices.Reverse(ways)
	return "(?:" + strings.Join(ways, "|") + ")"
}

// leastCore is how many characters of base64 tell a secret from a word.
const leastCore = 6

// inBase64 are the parts of the base64 of any text with the secret in it that depend on the secret
// alone: one for each position modulo three, in both alphabets.
func inBase64(secret string) (cores []string) {
	for _, alphabet := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for before := range 3 {
			encoded := alphabet.EncodeToString(append(make([]byte, before), secret...))
			first := (before*8 + 5) / 6            // what holds bits of the bytes before
			last := (before + len(secret)) * 8 / 6 // what would hold bits of the bytes after
			if core := encoded[first:last]; len(core) >= leastCore && !slices.Contains(cores, core) {
				cores = append(cores, core)
			}
		}
		// Of a secret that is alone in its base64, the last character counts as well.
		if all := alphabet.EncodeToString([]byte(secret)); !slices.Contains(cores, all) && len(all) >= leastCore {
			cores = append(cores, all)
		}
	}
	slices.SortStableFunc(cores, func(a, b string) int { return len(b) - len(a) })
	return cores
}
