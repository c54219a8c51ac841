// Package notifytest has receivers of messages for tests.
package notifytest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

// PostOffice is an SMTP server that keeps what it gets.
type PostOffice struct {
	// Address is its host and port, Roots its certificate in PEM form.
	Address string
	Roots   []byte

	server *smtp.Server
	close  func()

	mu       sync.Mutex
	letters  []Letter
	refuse   error
	signedIn int
}

// User and Password sign in where users have to.
const (
	User     = "alerts"
	Password = "planted-password"
)

// Letter is a mail that arrived.
type Letter struct {
	From string
	To   []string
	// Text has the headers as well.
	Text string
	// Encrypted tells how it came.
	Encrypted bool
}

// Letters are those that have arrived.
func (p *PostOffice) Letters() []Letter {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.letters)
}

// SignedIn counts those who have signed in.
func (p *PostOffice) SignedIn() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.signedIn
}

// Refuse answers each mail with this reply until it is called again; 0 takes them.
func (p *PostOffice) Refuse(code int, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuse = nil; code > 0 {
		p.refuse = &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode{code / 100, 3, 2}, Message: text}
	}
}

// Close ends it.
func (p *PostOffice) Close() { p.close() }

// NewPostOffice serves mail: with STARTTLS, encrypted from the start, or in clear.
func NewPostOffice(t testing.TB, security string, users bool) *PostOffice {
	t.Helper()
	p := &PostOffice{}
	config, roots := certificate(t)
	p.Roots = roots
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
	p.Address = listener.Addr().String()
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
func certificate(t testing.TB) (*tls.Config, []byte) {
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
	office *PostOffice
	conn   *smtp.Conn
	letter Letter
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	s.office.mu.Lock()
	defer s.office.mu.Unlock()
	s.letter = Letter{From: from}
	_, s.letter.Encrypted = s.conn.TLSConnectionState()
	return s.office.refuse
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	if strings.HasPrefix(to, "nobody") {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such user"}
	}
	s.letter.To = append(s.letter.To, to)
	return nil
}

func (s *session) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	s.letter.Text = string(text)
	s.office.mu.Lock()
	defer s.office.mu.Unlock()
	s.office.letters = append(s.office.letters, s.letter)
	return err
}

func (s *session) Reset()        {}
func (s *session) Logout() error { return nil }

type signedSession struct{ *session }

func (s *signedSession) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *signedSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != User || password != Password {
			return &smtp.SMTPError{
				Code: 535, EnhancedCode: smtp.EnhancedCode{5, 7, 8},
				Message: "wrong password " + password,
			}
		}
		s.office.mu.Lock()
		defer s.office.mu.Unlock()
		s.office.signedIn++
		return nil
	}), nil
}
