package notify

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/internal/redact"
	"github.com/snapferry/snapferry/migration"
)

// partPatience is how long each part of the conversation with a mail server may take: to connect, to
// greet, to sign in, and to take the mail. Together they end within the activity's own time.
const partPatience = 10 * time.Second

// mail sends a message by SMTP.
func mail(ctx context.Context, target Target, n migration.Notification, now time.Time) error {
	message, err := letter(target.Email, n, now)
	if err != nil {
		return &Error{Kind: Invalid, Message: "make the mail: " + err.Error()}
	}
	client, err := target.smtp()
	if err != nil {
		return &Error{Kind: Invalid, Message: "its mail server can't be used: " + err.Error()}
	}
	err = client.DialAndSendWithContext(ctx, message)
	if err == nil || message.IsDelivered() { // what fails behind it, such as the farewell, is no matter
		return nil
	}
	hidden := &redact.Redactor{}
	hidden.AddBasic(target.Email.User, target.Password)
	const longest = 300
	text := human.Shorten(human.Line(hidden.Text(err.Error())), longest)
	return &Error{Kind: kindOf(err), Message: "its mail server: " + text}
}

// smtp makes a client for one mail.
func (t Target) smtp() (*gomail.Client, error) {
	host, port, err := net.SplitHostPort(t.Email.Server)
	if err != nil {
		return nil, errors.New("it is no host and port")
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, errors.New("its port is no number")
	}
	config := t.tlsConfig()
	config.ServerName = host
	options := []gomail.Option{
		gomail.WithPort(number), gomail.WithTimeout(partPatience), gomail.WithTLSConfig(config),
	}
	switch t.Email.TLS {
	case migration.TLSImplicit:
		options = append(options, gomail.WithSSL())
	case migration.TLSNone:
		options = append(options, gomail.WithTLSPolicy(gomail.NoTLS))
	default:
		options = append(options, gomail.WithTLSPolicy(gomail.TLSMandatory))
	}
	if t.Email.User != "" {
		options = append(options, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover),
			gomail.WithUsername(t.Email.User), gomail.WithPassword(t.Password))
	}
	return gomail.NewClient(host, options...)
}

// letter is a message as mail. Its id is always the same for the same message, so that a mail that
// was sent twice can be told from two mails.
func letter(e migration.Email, n migration.Notification, now time.Time) (*gomail.Msg, error) {
	message := gomail.NewMsg()
	if err := errors.Join(message.From(e.From), message.To(e.To...)); err != nil {
		return nil, err
	}
	_, domain, _ := strings.Cut(e.From, "@")
	message.SetMessageIDWithValue(strings.ReplaceAll(n.ID, "/", ".") + "@" + domain)
	message.SetDateWithValue(now)
	message.Subject(subject(n))
	message.SetGenHeader("Auto-Submitted", "auto-generated")
	message.SetGenHeader("X-Snapferry-Event", string(n.Event))
	message.SetBodyString(gomail.TypeTextPlain,
		fmt.Sprintf("%s\n\n-- \nWorkflow %s, message %s\n", plain(n), n.WorkflowID, n.ID))
	return message, nil
}

// kindOf classifies a failure by the server's reply, or by what kept it from replying.
func kindOf(err error) Kind {
	code := 0
	if reply, ok := errors.AsType[*textproto.Error](err); ok {
		code = reply.Code
	} else if failure, ok := errors.AsType[*gomail.SendError](err); ok {
		code = failure.ErrorCode()
	}
	switch {
	case code == 530, code == 534, code == 535, code == 538:
		return Unauthorized
	case code >= 500:
		return Refused
	case code >= 400:
		return Unavailable
	}
	_, network := errors.AsType[net.Error](err)
	_, certificate := errors.AsType[*tls.CertificateVerificationError](err)
	if network || certificate || timedOut(err) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return Unavailable
	}
	return Refused // it lacks STARTTLS, or a way to sign in
}
