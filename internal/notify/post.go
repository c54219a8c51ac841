package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"time"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/internal/redact"
	"github.com/snapferry/snapferry/internal/webhook"
	"github.com/snapferry/snapferry/migration"
)

// post sends a message to a webhook.
func post(ctx context.Context, target Target, n migration.Notification, now time.Time) error {
	address, err := url.Parse(target.URL)
	if err != nil || address.Scheme != "http" && address.Scheme != "https" || address.Hostname() == "" {
		return &Error{Kind: Invalid, Message: "its URL can't be used: it must begin with https:// or http://"}
	}
	body, err := render(target, n, now)
	if err != nil {
		return &Error{Kind: Invalid, Message: "make the message: " + err.Error()}
	}
	hidden := &redact.Redactor{}
	webhook.Hide(hidden, address)
	hidden.Add(target.SigningSecret, target.Authorization)
	if target.Kind == migration.KindDingTalk && target.SigningSecret != "" {
		address = dingTalkURL(address, target.SigningSecret, now)
		webhook.Hide(hidden, address)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address.String(), bytes.NewReader(body))
	if err != nil {
		return &Error{Kind: Invalid, Message: "its URL can't be used"}
	}
	request.Header.Set("Content-Type", "application/json; charset=utf-8")
	request.Header.Set("User-Agent", target.UserAgent)
	if target.Kind == migration.KindWebhook {
		request.Header.Set(webhook.HeaderIdempotency, n.ID)
		if target.Authorization != "" {
			request.Header.Set("Authorization", target.Authorization)
		}
		if target.SigningSecret != "" {
			webhook.Sign(request.Header, target.SigningSecret, body, now)
		}
	}
	response, err := target.client().Do(request)
	if err != nil {
		return &Error{Kind: Unavailable, Message: "it can't be reached: " + hidden.Text(reason(err))}
	}
	defer func() { _ = response.Body.Close() }()
	const enough = 64 << 10
	answer, err := io.ReadAll(io.LimitReader(response.Body, enough))
	if err != nil {
		return &Error{Kind: Unavailable, Message: "its answer broke off: " + hidden.Text(reason(err))}
	}
	return judge(target.Kind, response, answer, hidden, now)
}

// reason is an error of the HTTP client without the URL, which its own text repeats.
func reason(err error) string {
	if timedOut(err) {
		return "no answer within " + patience.String()
	}
	return webhook.Cause(err).Error()
}

// judge says whether an answer means that the message is there.
func judge(kind string, response *http.Response, body []byte, hidden *redact.Redactor, now time.Time) error {
	said := "it answered " + hidden.Text(response.Status)
	if kind == migration.KindSlack && slackWord.Match(body) {
		said += ": " + string(body)
	}
	switch status := response.StatusCode; {
	case status >= 200 && status <= 299:
		return judgeBody(kind, body, hidden)
	case status == http.StatusTooManyRequests:
		return &Error{Kind: Throttled, Message: said, RetryAfter: webhook.RetryAfter(response.Header, now)}
	case status == http.StatusRequestTimeout, status >= 500:
		return &Error{Kind: Unavailable, Message: said, RetryAfter: webhook.RetryAfter(response.Header, now)}
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return &Error{Kind: Unauthorized, Message: said}
	case kind == migration.KindFeishu && json.Valid(body): // it answers 400 with a code
		if err := judgeBody(kind, body, hidden); err != nil {
			return err
		}
	}
	return &Error{Kind: Refused, Message: said}
}

// slackWord is how Slack names a failure, such as no_service. Anything else may repeat what it was
// sent.
var slackWord = regexp.MustCompile(`^[a-z_]{1,60}$`)

// vendor is how a chat answers with status 200: by a code in the body.
type vendor struct {
	// passing are the codes of failures that pass: too many messages, or a busy server.
	passing []int64
	// unauthorized are the codes of a wrong token, signature, address or keyword.
	unauthorized []int64
}

// The codes are those of the vendors' pages:
//   - DingTalk, custom robots: 130101 and 410100 (too fast), -1 (busy), 310000 (signature, keyword or
//     address), 300001 (token).
//   - Feishu, custom bots: 11232 (too fast), 19001 (token), 19021 (signature), 19022 (address), 19024
//     (keyword).
//   - WeCom, group robots: 45009 and 45033 (too fast), -1 (busy), 93000 (key).
var vendors = map[string]vendor{
	migration.KindDingTalk: {passing: []int64{-1, 130101, 410100}, unauthorized: []int64{300001, 310000}},
	migration.KindFeishu:   {passing: []int64{11232}, unauthorized: []int64{19001, 19021, 19022, 19024}},
	migration.KindWeCom:    {passing: []int64{-1, 45009, 45033}, unauthorized: []int64{93000}},
}

// judgeBody reads the code of a chat that answers 200 to everything.
func judgeBody(kind string, body []byte, hidden *redact.Redactor) error {
	known, has := vendors[kind]
	if !has {
		return nil
	}
	var answer struct {
		ErrCode    *int64 `json:"errcode"`
		ErrMsg     string `json:"errmsg"`
		Code       *int64 `json:"code"`
		Msg        string `json:"msg"`
		StatusCode *int64 `json:"StatusCode"` // of Feishu's older bots
	}
	failed := json.Unmarshal(body, &answer) != nil
	code, text := answer.ErrCode, answer.ErrMsg
	if kind == migration.KindFeishu {
		code, text = answer.Code, answer.Msg
		if code == nil {
			code = answer.StatusCode
		}
	}
	if failed || code == nil {
		return &Error{Kind: Refused, Message: "its answer has no code, so it is not the chat's: check the URL"}
	}
	const longest = 200
	said := fmt.Sprintf("it answered code %d: %s", *code, human.Shorten(human.Line(hidden.Text(text)), longest))
	switch {
	case *code == 0:
		return nil
	case slices.Contains(known.passing, *code):
		return &Error{Kind: Throttled, Message: said, RetryAfter: time.Minute} // each counts by the minute
	case slices.Contains(known.unauthorized, *code):
		return &Error{Kind: Unauthorized, Message: said}
	}
	return &Error{Kind: Refused, Message: said}
}
