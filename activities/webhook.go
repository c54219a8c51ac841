package activities

import (
	"context"
	"encoding/json"
	"time"

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
	body, err := json.Marshal(in.Report)
	if err != nil {
		return fail(migration.ErrorWebhook, "encode the report for the webhook: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, webhookTimeout)
	defer cancel()
	p, err := a.newPosting(ctx, "the webhook", "cutover.webhook.url", webhook.URL, body, migration.ErrorWebhook)
	if err != nil {
		return err
	}
	if webhook.Authorization != "" {
		authorization, err := a.keys.secret(ctx, "cutover.webhook.authorization", webhook.Authorization)
		if err != nil {
			return err
		}
		p.header("Authorization", authorization, true)
	}
	answer, err := a.send(p, 0)
	switch {
	case err != nil:
		return err
	case answer.good():
		return nil
	case answer.passes():
		return passing(retryUnavailable, "call the webhook at "+p.receiver+": it answered "+answer.text,
			answer.retryAfter)
	}
	// The message doesn't show the answer's body: some receivers repeat what they were sent.
	return fail(migration.ErrorWebhook, "call the webhook at %s: it answered %s", p.receiver, answer.text)
}
