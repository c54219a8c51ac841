package migration

import (
	"fmt"
	"net"
	"net/mail"
	"regexp"
	"slices"
	"strings"
)

// receiverName is a name that stands in messages and lists without quotes.
var receiverName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$`)

// checkNotify checks the receivers of messages.
func (c *checker) checkNotify(p Plan) {
	c.atMost("notify.beforeExpiry", p.Notify.BeforeExpiry)
	if p.Notify.BeforeExpiry >= p.Freeze.MaxDuration && p.Freeze.MaxDuration > 0 {
		c.add("notify.beforeExpiry", p.Notify.BeforeExpiry.String(),
			"must be less than freeze.maxDuration ("+p.Freeze.MaxDuration.String()+")",
			"for example beforeExpiry: "+(p.Freeze.MaxDuration/4).String())
	}
	named := map[string]bool{}
	for i, receiver := range p.Notify.Receivers {
		field := fmt.Sprintf("notify.receivers[%d]", i)
		c.match(field+".name", receiver.Name, receiverName, "is not a name",
			"use up to 63 letters, digits, dots, hyphens and underscores, for example name: oncall")
		if named[receiver.Name] {
			c.add(field+".name", receiver.Name, "is the name of another receiver",
				"give each receiver a name of its own")
		}
		named[receiver.Name] = true
		c.checkReceiver(field, receiver)
	}
}

func (c *checker) checkReceiver(field string, r Receiver) {
	for i, event := range r.Events {
		if slices.Contains(r.Events[:i], event) {
			c.add(fmt.Sprintf("%s.events[%d]", field, i), string(event), "is listed twice", "remove one of the two")
		}
	}
	onlyFor := func(name string, given bool, kinds ...string) {
		if given && !slices.Contains(kinds, r.Kind) {
			c.add(field+"."+name, "", "has no effect on a receiver of kind "+r.Kind,
				"leave it out, or use kind: "+strings.Join(kinds, " or "))
		}
	}
	onlyFor("authorization", r.Authorization != "", KindWebhook)
	onlyFor("signingSecret", r.SigningSecret != "", KindWebhook, KindDingTalk, KindFeishu)
	onlyFor("email", r.Email.given(), KindEmail)
	c.checkSecret(field+".authorization", r.Authorization, false)
	c.checkSecret(field+".signingSecret", r.SigningSecret, false)
	if r.CAFile != "" {
		c.checkCAFile(field+".caFile", r.CAFile, "")
	}
	if r.Kind != KindEmail {
		c.checkSecret(field+".url", r.URL, true)
		return
	}
	onlyFor("url", r.URL != "", KindWebhook, KindSlack, KindDingTalk, KindFeishu, KindWeCom)
	c.checkEmail(field+".email", r.Email)
}

// given tells whether anything is said about mail.
func (e Email) given() bool {
	return e.Server != "" || e.TLS != "" || e.User != "" || e.Password != "" || e.From != "" || len(e.To) > 0
}

func (c *checker) checkEmail(field string, e Email) {
	host, port, err := net.SplitHostPort(e.Server)
	if err != nil || !hostname.MatchString(host) || port == "" || !validPort(port) {
		c.add(field+".server", e.Server, "must be the host and port of an SMTP server",
			"for example server: smtp.example.com:587")
	}
	c.checkAddress(field+".from", e.From)
	if len(e.To) == 0 {
		c.add(field+".to", "", "is missing", "for example to: [oncall@example.com]")
	}
	for i, address := range e.To {
		c.checkAddress(fmt.Sprintf("%s.to[%d]", field, i), address)
	}
	c.checkSecret(field+".password", e.Password, e.User != "")
	switch {
	case e.User == "" && e.Password != "":
		c.add(field+".user", "", "is missing", "write the user of the password, or leave the password out")
	case e.User != "" && e.TLS == TLSNone:
		c.add(field+".tls", e.TLS, "would send the password in clear",
			"use tls: starttls or tls: implicit, or leave user and password out")
	}
}

// checkAddress takes an address alone, such as oncall@example.com.
func (c *checker) checkAddress(field, address string) {
	parsed, err := mail.ParseAddress(address)
	if err != nil || parsed.Address != address || hasControl(address) {
		c.add(field, address, "is not an e-mail address", "write the address alone, for example oncall@example.com")
	}
}
