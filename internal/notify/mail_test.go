package notify

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	netmail "net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/golden"
	"github.com/snapferry/snapferry/migration"
)

// postOffice is an SMTP server that keeps what it gets.
type postOffice struct {
	server  *smtp.Server
	close   func()
	address string
	roots   []byte

	mu    sync.Mutex
	mails []letterGot
	// refuse answers MAIL FROM; nil takes it.
	refuse error
	// signedIn are the users that have signed in.
	signedIn []string
}

type letterGot struct {
	from string
	to   []string
	text string
	tls  bool
}

// newPostOffice serves mail: with STARTTLS, encrypted from the start, or in clear.
func newPostOffice(t *testing.T, security string, users bool) *postOffice {
	t.Helper()
	p := &postOffice{}
	config, roots := certificate(t)
	p.roots = roots
	p.server = smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		session := &session{office: p, conn: c}
		if users {
			return &signedSession{session}, nil
		}
		return session, nil
	}))
	p.server.Domain = "localhost"
	p.server.ErrorLog = silent{}
	if security == migration.TLSStart {
		p.server.TLSConfig = config
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p.address = listener.Addr().String()
	if security == migration.TLSImplicit {
		listener = tls.NewListener(listener, config)
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = p.server.Serve(listener) })
	p.close = func() {
		_ = listener.Close() // also before Serve knows it
		_ = p.server.Close()
		serving.Wait()
	}
	t.Cleanup(p.close)
	return p
}

type silent struct{}

func (silent) Printf(string, ...any) {}
func (silent) Println(...any)        {}

// certificate is one for 127.0.0.1 that nobody has signed, and its PEM form.
func certificate(t *testing.T) (*tls.Config, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}},
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

type session struct {
	office *postOffice
	conn   *smtp.Conn
	letter letterGot
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	s.office.mu.Lock()
	defer s.office.mu.Unlock()
	s.letter = letterGot{from: from}
	_, s.letter.tls = s.conn.TLSConnectionState()
	return s.office.refuse
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	if strings.HasPrefix(to, "nobody") {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such user"}
	}
	s.letter.to = append(s.letter.to, to)
	return nil
}

func (s *session) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	s.letter.text = string(text)
	s.office.mu.Lock()
	defer s.office.mu.Unlock()
	s.office.mails = append(s.office.mails, s.letter)
	return err
}

func (s *session) Reset()        {}
func (s *session) Logout() error { return nil }

type signedSession struct{ *session }

func (s *signedSession) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *signedSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != "alerts" || password != "planted-password" {
			return &smtp.SMTPError{
				Code: 535, EnhancedCode: smtp.EnhancedCode{5, 7, 8},
				Message: "wrong password " + password,
			}
		}
		s.office.mu.Lock()
		defer s.office.mu.Unlock()
		s.office.signedIn = append(s.office.signedIn, user)
		return nil
	}), nil
}

func (p *postOffice) target() Target {
	return Target{Kind: migration.KindEmail, Roots: p.roots, Email: migration.Email{
		Server: p.address, From: "snapferry@example.com", To: []string{"oncall@example.com", "second@example.com"},
	}}
}

// Mail arrives encrypted from the start, after STARTTLS, and in clear if the plan says so.
func TestMail(t *testing.T) {
	for _, security := range []string{migration.TLSStart, migration.TLSImplicit, migration.TLSNone} {
		for _, users := range []bool{false, true} {
			if security == migration.TLSNone && users {
				continue // no plan has it
			}
			p := newPostOffice(t, security, users)
			target := p.target()
			target.Email.TLS = security
			if users {
				target.Email.User, target.Password = "alerts", "planted-password"
			}
			require.NoError(t, Send(t.Context(), target, message(), now), "%s, %v", security, users)
			require.Len(t, p.mails, 1)
			got := p.mails[0]
			require.Equal(t, security != migration.TLSNone, got.tls)
			require.Equal(t, "snapferry@example.com", got.from)
			require.Equal(t, []string{"oncall@example.com", "second@example.com"}, got.to)
			require.Equal(t, users, len(p.signedIn) == 1)
			require.NotContains(t, got.text, "planted")

			parsed, err := netmail.ReadMessage(strings.NewReader(got.text))
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
		change   func(*postOffice, *Target)
		want     Kind
		says     string
	}{
		"wrong password": {migration.TLSStart, func(_ *postOffice, target *Target) {
			target.Email.User, target.Password = "alerts", "planted-wrong"
		}, Unauthorized, "wrong password"},
		"no such receiver": {migration.TLSStart, func(_ *postOffice, target *Target) {
			target.Email.To = []string{"nobody@example.com"}
		}, Refused, "no such user"},
		"busy": {migration.TLSStart, func(p *postOffice, _ *Target) {
			p.refuse = &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 2}, Message: "try later"}
		}, Unavailable, "try later"},
		"sender refused": {migration.TLSStart, func(p *postOffice, _ *Target) {
			p.refuse = &smtp.SMTPError{Code: 553, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "not your address"}
		}, Refused, "not your address"},
		"no STARTTLS": {migration.TLSNone, func(_ *postOffice, target *Target) {
			target.Email.TLS = migration.TLSStart
		}, Refused, "STARTTLS"},
		"a stranger's certificate": {migration.TLSStart, func(_ *postOffice, target *Target) {
			target.Roots = nil
		}, Unavailable, "certificate"},
		"nobody there": {migration.TLSStart, func(p *postOffice, _ *Target) {
			p.close()
		}, Unavailable, "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			users := name == "wrong password"
			p := newPostOffice(t, test.security, users)
			target := p.target()
			target.Email.TLS = test.security
			test.change(p, &target)
			err := Send(t.Context(), target, message(), now)
			var failure *Error
			require.ErrorAs(t, err, &failure)
			require.Equal(t, test.want, failure.Kind, failure.Message)
			require.Contains(t, failure.Message, test.says)
			require.NotContains(t, failure.Message, "planted")
			require.Empty(t, p.mails)
			require.False(t, errors.Is(err, io.EOF))
		})
	}
}
