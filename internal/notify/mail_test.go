package notify

import (
	"errors"
	"io"
	netmail "net/mail"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/golden"
	"github.com/snapferry/snapferry/internal/notify/notifytest"
	"github.com/snapferry/snapferry/migration"
)

func mailTo(p *notifytest.PostOffice) Target {
	return Target{Kind: migration.KindEmail, Roots: p.Roots, Email: migration.Email{
		Server: p.Address, From: "snapferry@example.com", To: []string{"oncall@example.com", "second@example.com"},
	}}
}

// Mail arrives encrypted from the start, after STARTTLS, and in clear if the plan says so.
func TestMail(t *testing.T) {
	for _, security := range []string{migration.TLSStart, migration.TLSImplicit, migration.TLSNone} {
		for _, users := range []bool{false, true} {
			if security == migration.TLSNone && users {
				continue // no plan has it
			}
			p := notifytest.NewPostOffice(t, security, users)
			target := mailTo(p)
			target.Email.TLS = security
			if users {
				target.Email.User, target.Password = notifytest.User, notifytest.Password
			}
			require.NoError(t, Send(t.Context(), target, message(), now), "%s, %v", security, users)
			require.Len(t, p.Letters(), 1)
			got := p.Letters()[0]
			require.Equal(t, security != migration.TLSNone, got.Encrypted)
			require.Equal(t, "snapferry@example.com", got.From)
			require.Equal(t, []string{"oncall@example.com", "second@example.com"}, got.To)
			require.Equal(t, users, p.SignedIn() == 1)
			require.NotContains(t, got.Text, "planted")

			parsed, err := netmail.ReadMessage(strings.NewReader(got.Text))
			require.NoError(t, err)
			require.Equal(t, "snapferry movies: needs attention: compare the target with the frozen source",
				parsed.Header.Get("Subject"))
			require.Equal(t, "<notify.movies.3f2a91c7.attention-5d41402abc4b@example.com>",
				parsed.Header.Get("Message-ID"))
			require.Equal(t, "auto-generated", parsed.Header.Get("Auto-Submitted"))
			require.Equal(t, "attention", parsed.Header.Get("X-Snapferry-Event"))
			body, err := io.ReadAll(parsed.Body)
			require.NoError(t, err)
			golden.Equal(t, "testdata/email.txt", []byte(strings.ReplaceAll(string(body), "\r\n", "\n")))
		}
	}
}

// Each failure of a mail server: whether it passes, and no password in it.
func TestMailThatFails(t *testing.T) {
	for name, test := range map[string]struct {
		security string
		change   func(*notifytest.PostOffice, *Target)
		want     Kind
		says     string
	}{
		"wrong password": {migration.TLSStart, func(_ *notifytest.PostOffice, target *Target) {
			target.Email.User, target.Password = "alerts", "planted-wrong"
		}, Unauthorized, "wrong password"},
		"no such receiver": {migration.TLSStart, func(_ *notifytest.PostOffice, target *Target) {
			target.Email.To = []string{"nobody@example.com"}
		}, Refused, "no such user"},
		"busy": {migration.TLSStart, func(p *notifytest.PostOffice, _ *Target) {
			p.Refuse(451, "try later")
		}, Unavailable, "try later"},
		"sender refused": {migration.TLSStart, func(p *notifytest.PostOffice, _ *Target) {
			p.Refuse(553, "not your address")
		}, Refused, "not your address"},
		"no STARTTLS": {migration.TLSNone, func(_ *notifytest.PostOffice, target *Target) {
			target.Email.TLS = migration.TLSStart
		}, Refused, "STARTTLS"},
		"a stranger's certificate": {migration.TLSStart, func(_ *notifytest.PostOffice, target *Target) {
			target.Roots = nil
		}, Unavailable, "certificate"},
		"nobody there": {migration.TLSStart, func(p *notifytest.PostOffice, _ *Target) {
			p.Close()
		}, Unavailable, "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			users := name == "wrong password"
			p := notifytest.NewPostOffice(t, test.security, users)
			target := mailTo(p)
			target.Email.TLS = test.security
			test.change(p, &target)
			err := Send(t.Context(), target, message(), now)
			var failure *Error
			require.ErrorAs(t, err, &failure)
			require.Equal(t, test.want, failure.Kind, failure.Message)
			require.Contains(t, failure.Message, test.says)
			require.NotContains(t, failure.Message, "planted")
			require.Empty(t, p.Letters())
			require.False(t, errors.Is(err, io.EOF))
		})
	}
}
