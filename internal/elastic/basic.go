package elastic

import (
	"context"
	"net/http"
	"sync"

	"github.com/snapferry/snapferry/internal/redact"
)

// basic sends user and password with each request. A password may be renewed while a client is in
// use, so a refused request is sent again with the new one.
type basic struct {
	auth   Basic
	hidden *redact.Redactor
	next   http.RoundTripper

	mu       sync.Mutex
	password string
}

func newBasic(auth Basic, hidden *redact.Redactor, next http.RoundTripper) *basic {
	hidden.AddBasic(auth.User, auth.Password)
	return &basic{auth: auth, hidden: hidden, next: next, password: auth.Password}
}

// RoundTrip implements http.RoundTripper.
func (b *basic) RoundTrip(request *http.Request) (*http.Response, error) {
	content, err := contentOf(request)
	if err != nil {
		return nil, err
	}
	used := b.current()
	response, err := b.send(request, content, used)
	if err != nil || response.StatusCode != http.StatusUnauthorized {
		return response, err
	}
	renewed, ok := b.renewed(request.Context(), used)
	if !ok {
		return response, nil
	}
	_ = response.Body.Close()
	return b.send(request, content, renewed)
}

func (b *basic) send(request *http.Request, content []byte, password string) (*http.Response, error) {
	signed := withContent(request, content)
	signed.SetBasicAuth(b.auth.User, password)
	return b.next.RoundTrip(signed)
}

func (b *basic) current() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.password
}

// renewed reads the password again. It reports whether that is another one than the one used.
func (b *basic) renewed(ctx context.Context, used string) (string, bool) {
	if b.auth.Again == nil {
		return "", false
	}
	password, err := b.auth.Again(ctx)
	if err != nil || password == used {
		return "", false
	}
	b.hidden.AddBasic(b.auth.User, password)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.password = password
	return password, true
}
