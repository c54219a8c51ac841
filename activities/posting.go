package activities

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/snapferry/snapferry/internal/redact"
	build "github.com/snapferry/snapferry/internal/version"
	"github.com/snapferry/snapferry/internal/webhook"
	"github.com/snapferry/snapferry/migration"
)

// posting is a POST of JSON to a receiver that the plan names. What is secret of it stays out of all
// messages, also if the receiver repeats what it was sent.
type posting struct {
	// what is called, such as "the webhook".
	what    string
	request *http.Request
	// receiver is what messages show of it.
	receiver string
	hidden   redact.Redactor
}

// newPosting resolves the URL in a field of the plan, which may be a reference, and makes the
// request. unusable is the type of the failure if none can be made of it.
func (a *Activities) newPosting(ctx context.Context, what, field, address string, body []byte,
	unusable migration.ErrorType,
) (*posting, error) {
	p := &posting{what: what}
	if ref := migration.SecretRef(address); ref.Validate() == nil {
		var err error
		if address, err = a.keys.secret(ctx, field, ref); err != nil {
			return nil, err
		}
		p.receiver = string(ref) // messages never show a URL that is a secret, nor its host
	}
	if err := a.keys.endpoint(field, address); err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return nil, fail(unusable, "call %s: its URL can't be used; check %s in the plan", what, field)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", build.UserAgent())
	if p.request = request; p.receiver == "" {
		p.receiver = request.URL.Host // path and query often hold a token
	} else {
		p.hidden.Add(address)
		webhook.Hide(&p.hidden, request.URL)
	}
	return p, nil
}

// header sets a header. A secret value stays out of messages, also without the scheme before it.
func (p *posting) header(name, value string, secret bool) {
	p.request.Header.Set(name, value)
	if !secret {
		return
	}
	p.hidden.Add(value)
	if _, token, ok := strings.Cut(value, " "); ok {
		p.hidden.Add(token)
	}
}

// posted is what a receiver answered, and at most so much of its body.
type posted struct {
	status     int
	text       string // of the status
	body       []byte
	retryAfter time.Duration
}

// good tells whether the receiver took the call.
func (p posted) good() bool { return p.status >= 200 && p.status <= 299 }

// passes tells whether another attempt may help.
func (p posted) passes() bool {
	return p.status == http.StatusRequestTimeout || p.status == http.StatusTooManyRequests || p.status >= 500
}

// send sends the request, without following redirects: they could lead the secrets elsewhere.
// Without an answer the error is one that Temporal retries.
func (a *Activities) send(p *posting, most int64) (posted, error) {
	client := *a.http
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	response, err := client.Do(p.request)
	if err != nil {
		return posted{}, p.failed(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, most))
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 1<<20)) // so that the connection can be reused
	if err != nil && most > 0 {
		return posted{}, p.failed(err)
	}
	return posted{
		response.StatusCode, p.hidden.Text(response.Status), body, webhook.RetryAfter(response.Header, a.now()),
	}, nil
}

func (p *posting) failed(err error) error {
	if cause := p.request.Context().Err(); errors.Is(cause, context.Canceled) {
		return cause
	}
	return passing(retryUnavailable,
		"call "+p.what+" at "+p.receiver+": "+p.hidden.Text(webhook.Cause(err).Error()), 0)
}
