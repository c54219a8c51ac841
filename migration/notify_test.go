package migration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Each mistake is named with its field, its value and a remedy.
func TestReceiversThatAreWrong(t *testing.T) {
	const mail = `email: {server: "smtp.example.com:587", from: a@example.com, to: [b@example.com]}`
	for name, test := range map[string]struct{ receiver, problem string }{
		"no name": {
			"{kind: slack, url: env:U}", "notify.receivers[0].name is missing; for example name: oncall",
		},
		"a name with spaces": {
			"{name: on call, kind: slack, url: env:U}", "notify.receivers[0].name (on call) is not a name",
		},
		"the same name": {
			"{name: a, kind: slack, url: env:U}, {name: a, kind: slack, url: env:V}",
			"notify.receivers[1].name (a) is the name of another receiver; give each receiver a name of its own",
		},
		"an unknown kind": {
			"{name: a, kind: irc, url: env:U}",
			"notify.receivers[0].kind (irc) is not an allowed value; use one of webhook, slack",
		},
		"an unknown event": {
			"{name: a, kind: slack, url: env:U, events: [frozen, thawn]}",
			"notify.receivers[0].events[1] (thawn) is not an allowed value; use one of attention, frozen",
		},
		"an event twice": {
			"{name: a, kind: slack, url: env:U, events: [frozen, frozen]}",
			"notify.receivers[0].events[1] (frozen) is listed twice; remove one of the two",
		},
		"no URL": {
			"{name: a, kind: slack}", "notify.receivers[0].url is missing; write a reference to the secret",
		},
		"a URL in clear": {
			`{name: a, kind: slack, url: "https://hooks.slack.com/services/T0/B0/planted"}`,
			"notify.receivers[0].url must be a reference to a secret, not the secret itself",
		},
		"a reference of the worker itself": {
			"{name: a, kind: slack, url: env:AWS_SECRET}",
			"notify.receivers[0].url (env:AWS_SECRET) belongs to the worker",
		},
		"a signing secret for Slack": {
			"{name: a, kind: slack, url: env:U, signingSecret: env:S}",
			"notify.receivers[0].signingSecret has no effect on a receiver of kind slack; leave it out, or use kind: " +
				"webhook or dingtalk or feishu",
		},
		"an authorization for WeCom": {
			"{name: a, kind: wecom, url: env:U, authorization: env:S}",
			"notify.receivers[0].authorization has no effect on a receiver of kind wecom",
		},
		"mail by webhook": {
			"{name: a, kind: webhook, url: env:U, " + mail + "}",
			"notify.receivers[0].email has no effect on a receiver of kind webhook",
		},
		"a URL for mail": {
			"{name: a, kind: email, url: env:U, " + mail + "}",
			"notify.receivers[0].url has no effect on a receiver of kind email",
		},
		"mail without anything": {
			"{name: a, kind: email}", "notify.receivers[0].email.server must be the host and port of an SMTP server",
		},
		"mail without a port": {
			"{name: a, kind: email, " + strings.Replace(mail, ":587", "", 1) + "}",
			"notify.receivers[0].email.server (smtp.example.com) must be the host and port",
		},
		"mail to nobody": {
			"{name: a, kind: email, " + strings.Replace(mail, ", to: [b@example.com]", "", 1) + "}",
			"notify.receivers[0].email.to is missing; for example to: [oncall@example.com]",
		},
		"an address with a name": {
			"{name: a, kind: email, " + strings.Replace(mail, "b@example.com", `"B <b@example.com>"`, 1) + "}",
			"notify.receivers[0].email.to[0] (B <b@example.com>) is not an e-mail address; write the address alone",
		},
		"a header in an address": {
			"{name: a, kind: email, " + strings.Replace(mail, "from: a@example.com", `from: "a@example.com\r\nBcc: c@d"`, 1) + "}",
			"is not an e-mail address",
		},
		"a password in clear on the wire": {
			"{name: a, kind: email, " +
				strings.Replace(mail, "from", "tls: none, user: u, password: env:P, from", 1) + "}",
			"notify.receivers[0].email.tls (none) would send the password in clear; use tls: starttls or tls: implicit",
		},
		"a user without a password": {
			"{name: a, kind: email, " + strings.Replace(mail, "from", "user: u, from", 1) + "}",
			"notify.receivers[0].email.password is missing",
		},
		"a password without a user": {
			"{name: a, kind: email, " + strings.Replace(mail, "from", "password: env:P, from", 1) + "}",
			"notify.receivers[0].email.user is missing",
		},
		"a relative CA file": {
			"{name: a, kind: slack, url: env:U, caFile: ca.pem}",
			"notify.receivers[0].caFile (ca.pem) must be an absolute path",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Decode([]byte(wholePlan + "notify: {receivers: [" + test.receiver + "]}\n"))
			require.ErrorContains(t, err, test.problem)
			require.NotContains(t, err.Error(), "planted")
		})
	}
	_, err := Decode([]byte(wholePlan +
		"notify: {beforeExpiry: 3h, receivers: [{name: a, kind: slack, url: env:U}]}\n"))
	require.ErrorContains(t, err, "notify.beforeExpiry (3h) must be less than freeze.maxDuration (2h)")
}

func TestTheDefaultsOfReceivers(t *testing.T) {
	const receivers = "notify: {receivers: [{name: a, kind: slack, url: env:U}, {name: b, kind: email, email: " +
		"{server: \"m:25\", from: a@b.c, to: [d@e.f]}}]}\n"
	for window, before := range map[string]time.Duration{"2h": 30 * time.Minute, "1h": 15 * time.Minute, "24h": 30 * time.Minute} {
		plan, err := Decode([]byte(wholePlan + receivers + "freeze: {maxDuration: " + window + "}\n"))
		require.NoError(t, err)
		require.Equal(t, before, plan.Notify.BeforeExpiry.Std())
		require.Equal(t, TLSStart, plan.Notify.Receivers[1].Email.TLS)
	}
	plan, err := Decode([]byte(wholePlan))
	require.NoError(t, err)
	require.Zero(t, plan.Notify, "a plan without receivers stays as it was")
}

// A worker looks at everything that receivers refer to before it changes anything.
func TestTheReferencesOfReceivers(t *testing.T) {
	plan, err := Decode([]byte(wholePlan + "notify: {receivers: [{name: a, kind: webhook, url: env:U, authorization: " +
		"env:A, signingSecret: env:S, caFile: /run/secrets/ca}, {name: b, kind: email, email: {server: \"m:25\", " +
		"user: u, password: env:P, from: a@b.c, to: [d@e.f]}}]}\n"))
	require.NoError(t, err)
	found := map[string]SecretRef{}
	for _, r := range plan.References() {
		found[r.Field] = r.Ref
	}
	require.Equal(t, SecretRef("env:U"), found["notify.receivers[0].url"])
	require.Equal(t, SecretRef("env:A"), found["notify.receivers[0].authorization"])
	require.Equal(t, SecretRef("env:S"), found["notify.receivers[0].signingSecret"])
	require.Equal(t, SecretRef("file:/run/secrets/ca"), found["notify.receivers[0].caFile"])
	require.Equal(t, SecretRef("env:P"), found["notify.receivers[1].email.password"])
	require.Contains(t, plan.Endpoints(), Endpoint{"notify.receivers[1].email.server", "m:25"})
}

func TestWhoIsTold(t *testing.T) {
	n := Notify{Receivers: []Receiver{{Name: "all"}, {Name: "some", Events: []Event{EventThawed}}}}
	require.Len(t, n.For(EventThawed), 2)
	require.Len(t, n.For(EventFrozen), 1)
	require.Len(t, n.For(EventTest), 2, "a test reaches each")
}

// A status has little room, whatever receivers answer.
func TestWhatBecameOfAMessageIsShort(t *testing.T) {
	var deliveries []Delivery
	for i := range 100 {
		deliveries = append(deliveries, Delivery{
			Receiver: fmt.Sprint("r", i), State: DeliveryFailing, Error: strings.Repeat("x", 1000),
		})
	}
	deliveries[0].State, deliveries[1].State, deliveries[2].State = Delivered, DeliveryFailed, ""
	sum := Notification{ID: "notify/movies/t/frozen-7", Event: EventFrozen}.Sum(deliveries)
	require.Equal(t, []int{100, 1, 1, 97}, []int{sum.Receivers, sum.Delivered, sum.Failed, sum.Failing})
	require.Len(t, sum.Troubles, troublesNamed)
	require.LessOrEqual(t, len(sum.Troubles[0].Error), longestTrouble+len(" ..."))
	require.False(t, sum.Ended())
	require.Equal(t, "frozen-7", sum.Key())
}
