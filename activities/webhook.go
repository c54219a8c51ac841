package activities

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/snapferry/snapferry/internal/redact"
	build "github.com/snapferry/snapferry/internal/version"
	"github.com/snapferry/snapferry/migration"
)

const webhookTimeout = 30 * time.Second

// CallWebhook posts the report as JSON to the plan's webhook. The receiver may see it more than
// once: after a lost answer the call is made again.
func (a *Activities) CallWebhook(ctx context.Context, in migration.WebhookRequest) error {
	_, err := perform(ctx, a, "calling the webhook", func(ctx context.Context, _ *pulse) (none, error) {
		return none{}, a.callWebhook(ctx, in)
	})
	return err
}

func (a *Activities) callWebhook(ctx context.Context, in migration.WebhookRequest) error {
	webhook := in.Plan.Cutover.Webhook
	if webhook.URL == "" {
		return nil
	}
	hidden, address, receiver := redact.Redactor{}, webhook.URL, ""
	if ref := migration.SecretRef(webhook.URL); ref.Validate() == nil {
		var err error
		if address, err = a.keys.secret(ctx, "cutover.webhook.url", ref); err != nil {
			return err
		}
		receiver = string(ref) // messages never show a URL that is a secret, nor its host
	}
	if err := a.keys.endpoint("cutover.webhook.url", address); err != nil {
		return err
	}
	body, err := json.Marshal(in.Report)
	if err != nil {
		return fail(migration.ErrorWebhook, "encode the report for the webhook: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return fail(migration.ErrorWebhook, "call the webhook: its URL can't be used; check cutover.webhook.url in "+
			"the plan")
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", build.UserAgent())
	if webhook.Authorization != "" {
		authorization, err := a.keys.secret(ctx, "cutover.webhook.authorization", webhook.Authorization)
		if err != nil {
			return err
		}
		hidden.Add(authorization)
		if _, token, ok := strings.Cut(authorization, " "); ok {
			hidden.Add(token)
		}
		request.Header.Set("Authorization", authorization)
	}
	if receiver == "" {
		receiver = request.URL.Host // path and query often hold a token
	} else {
		hidden.Add(address, request.URL.Host, request.URL.Hostname(), request.URL.EscapedPath(), request.URL.RawQuery)
	}
	client := *a.http
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	response, err := client.Do(request)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if failure, ok := errors.AsType[*url.Error](err); ok {
			err = failure.Err // its own text repeats the complete URL
		}
		return passing(retryUnavailable, "call the webhook at "+receiver+": "+hidden.Text(err.Error()), 0)
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 1<<20)) // so that the connection can be reused
	switch status := response.StatusCode; {
	case status >= 200 && status <= 299:
		return nil
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests, status >= 500:
		return passing(retryUnavailable, "call the webhook at "+receiver+": it answered "+hidden.Text(response.Status),
			retryAfter(response.Header, a.now()))
	}
	// The message doesn't show the answer's body: some receivers repeat what they were sent.
	return fail(migration.ErrorWebhook, "call the webhook at %s: it answered %s", receiver,
		hidden.Text(response.Status))
}
