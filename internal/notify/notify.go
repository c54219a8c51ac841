// Package notify sends a message to one receiver: a webhook, a chat room or people with e-mail. It
// makes what each kind of receiver takes (render.go and templates/), signs it, sends it once, and
// says whether the answer means that the receiver has it. Who sends again, and when, is decided
// elsewhere.
//
// URLs are secrets here: whoever has one can write to the room. No error holds one, nor any part of
// it.
package notify

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"time"

	"github.com/snapferry/snapferry/migration"
)

// Target is a receiver with its secrets.
type Target struct {
	Kind string
	// URL, Authorization and SigningSecret are for webhooks. The last two may be empty.
	URL           string
	Authorization string
	SigningSecret string
	// Roots are certificate authorities in PEM form, instead of the system's; nil means those.
	Roots []byte
	// Email and Password are for mail.
	Email    migration.Email
	Password string
	// UserAgent says who sends.
	UserAgent string
}

// Kind is the class of a failure.
type Kind int

// The kinds of failures.
const (
	// Unavailable: the receiver can't be reached, or is in trouble. It may pass.
	Unavailable Kind = iota + 1
	// Throttled: the receiver gets too much. It passes.
	Throttled
	// Unauthorized: the receiver refuses the credentials or the signature.
	Unauthorized
	// Refused: the receiver refuses the message.
	Refused
	// Invalid: what the plan and its secrets say can't be used.
	Invalid
)

// Error is why a message was not delivered. Its message holds no secret.
type Error struct {
	Kind    Kind
	Message string
	// RetryAfter is what the receiver asks for; 0 if it asks for nothing.
	RetryAfter time.Duration
}

func (e *Error) Error() string { return e.Message }

// patience is how long one try may take.
const patience = 30 * time.Second

// Send sends a message once. Its errors are of type *Error, but for that of a context that has ended.
func Send(ctx context.Context, target Target, n migration.Notification, now time.Time) error {
	within, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var err error
	if target.Kind == migration.KindEmail {
		err = mail(within, target, n, now)
	} else {
		err = post(within, target, n, now)
	}
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// tlsConfig trusts the target's roots.
func (t Target) tlsConfig() *tls.Config {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.Roots != nil {
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AppendCertsFromPEM(t.Roots)
	}
	return config
}

// client makes a client for one request. It follows no redirect: the message and its credentials go
// where the plan says.
func (t Target) client() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: t.tlsConfig(), DisableKeepAlives: true,
			ForceAttemptHTTP2: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// timedOut tells whether a failure is that of a try that took too long.
func timedOut(err error) bool { return errors.Is(err, context.DeadlineExceeded) }
