package activities

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/internal/webhook"
	"github.com/snapferry/snapferry/migration"
)

// longestHookAnswer is how much of an answer is read, in bytes.
const longestHookAnswer = 64 << 10

// CallHook makes the HTTP call of a hook. What refuses the step is a failure of the type
// [migration.ErrorHookRefused]. The receiver may see a call more than once, with the same
// idempotency key.
func (a *Activities) CallHook(ctx context.Context, in migration.CallHookRequest) (migration.HookAnswer, error) {
	return perform(ctx, a, "calling the hook "+in.Hook.Name,
		func(ctx context.Context, _ *pulse) (migration.HookAnswer, error) { return a.callHook(ctx, in) })
}

func (a *Activities) callHook(ctx context.Context, in migration.CallHookRequest) (migration.HookAnswer, error) {
	var none migration.HookAnswer
	call := in.Hook.HTTP
	body, err := json.Marshal(in.Input)
	if err != nil {
		return none, fail(migration.ErrorHookFailed, "encode the input of the hook %s: %w", in.Hook.Name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, in.Hook.Timeout.Std())
	defer cancel()
	field := in.Field + ".http"
	p, err := a.newPosting(ctx, "the hook "+in.Hook.Name, field+".url", call.URL, body, migration.ErrorHookFailed)
	if err != nil {
		return none, err
	}
	for _, name := range slices.Sorted(maps.Keys(call.Headers)) {
		value := call.Headers[name]
		ref := migration.SecretRef(value)
		secret := ref.Validate() == nil
		if secret {
			if value, err = a.keys.secret(ctx, field+".headers."+name, ref); err != nil {
				return none, err
			}
		}
		p.header(name, value, secret)
	}
	p.header(webhook.HeaderIdempotency, in.Input.IdempotencyKey, false)
	if call.SigningSecret != "" {
		key, err := a.keys.secret(ctx, field+".signingSecret", call.SigningSecret)
		if err != nil {
			return none, err
		}
		webhook.Sign(p.request.Header, key, body, a.now())
		p.hidden.Add(key, p.request.Header.Get(webhook.HeaderSignature))
	}
	answer, err := a.send(p, longestHookAnswer)
	if err != nil {
		return none, err
	}
	return p.hookAnswer(answer)
}

// hookAnswer makes of what a receiver answered what the workflow is told.
func (p *posting) hookAnswer(answer posted) (migration.HookAnswer, error) {
	var none migration.HookAnswer
	said, readable := p.said(answer)
	switch {
	case answer.passes():
		return none, passing(retryUnavailable, "call "+p.what+" at "+p.receiver+": it answered "+answer.text,
			answer.retryAfter)
	case !answer.good():
		text := "it answered " + answer.text
		if why := said.Says(); why != "" && answer.status != http.StatusUnauthorized &&
			answer.status != http.StatusForbidden { // those often repeat credentials, in forms of their own
			text += ": " + why
		}
		return none, fail(migration.ErrorHookRefused, "%s", text)
	case !readable:
		return none, fail(migration.ErrorHookFailed, "call %s at %s: its answer can't be read: proceed must be true "+
			"or false, reason and message texts", p.what, p.receiver)
	}
	return said, nil
}

// said reads the body: an object, or any text. Nothing that is secret gets through.
func (p *posting) said(answer posted) (said migration.HookAnswer, readable bool) {
	clean := func(text string) string {
		return human.Shorten(human.Line(strings.TrimSpace(p.hidden.Text(text))), migration.LongestHookMessage)
	}
	body := bytes.TrimSpace(answer.body)
	if len(body) == 0 {
		return said, true
	}
	if body[0] != '{' && body[0] != '"' {
		return migration.HookAnswer{Message: clean(string(body))}, true
	}
	if json.Unmarshal(body, &said) != nil {
		return migration.HookAnswer{}, false
	}
	said.Reason, said.Message = clean(said.Reason), clean(said.Message)
	return said, true
}
