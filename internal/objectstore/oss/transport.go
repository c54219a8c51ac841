package oss

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/snapferry/snapferry/internal/objectstore"
)

// httpClient replaces the SDK's transport, which dials without a context, so that a cancelled call
// hangs, and knows no proxy. It speaks HTTP/1.1 only: with HTTP/2 all bodies would share one
// connection.
func httpClient(concurrency int, roots *x509.CertPool) *http.Client {
	secure := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, RootCAs: roots}
	dialer := &net.Dialer{Timeout: connectTimeout, KeepAlive: 30 * time.Second}
	return &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment,
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				return watch(dialer.DialContext(ctx, network, address))
			},
			DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				ctx, cancel := context.WithTimeout(ctx, 2*connectTimeout)
				defer cancel()
				d := tls.Dialer{NetDialer: dialer, Config: secure}
				return watch(d.DialContext(ctx, network, address))
			},
			TLSClientConfig:     secure, // through a proxy
			MaxIdleConnsPerHost: max(concurrency, 16),
			IdleConnTimeout:     idleTimeout,
			TLSHandshakeTimeout: connectTimeout,
			// A small body is sent together with its header; a larger one is written from the
			// memory that the caller lends.
			WriteBufferSize: 16 << 10,
		},
		// A redirected PUT would arrive without its body.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func watch(c net.Conn, err error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	return &watchedConn{Conn: c}, nil
}

// watchedConn fails a write that makes no progress, and a read that waits for too long.
type watchedConn struct{ net.Conn }

func (c *watchedConn) Write(p []byte) (int, error) {
	// net/http waits for the answer from the first byte of a request on. The time of sending
	// doesn't count, so each write extends the deadline for the answer.
	now := time.Now()
	if err := errors.Join(c.SetWriteDeadline(now.Add(stallTimeout)),
		c.SetReadDeadline(now.Add(answerTimeout))); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

func (c *watchedConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(answerTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// ReadFrom is how net/http sends a body. A body that lends its memory is written from there.
func (c *watchedConn) ReadFrom(r io.Reader) (int64, error) {
	limited, ok := r.(*io.LimitedReader)
	if !ok {
		return io.Copy(struct{ io.Writer }{c}, r)
	}
	body, ok := limited.R.(*exactly)
	if !ok || body.lender == nil {
		return io.Copy(struct{ io.Writer }{c}, r)
	}
	n, err := body.writeTo(c, limited.N)
	limited.N -= n
	return n, err
}

// largestWrite is how many bytes one write has at most; the deadline is for each write.
const largestWrite = 256 << 10

// exactly is a body of a known length, which the SDK reads by Len. A body that is too short fails,
// so that the server doesn't wait for the rest. After end it doesn't touch the caller's memory:
// net/http may still read a body when the request has its answer, or has failed.
type exactly struct {
	mu     sync.Mutex
	r      io.Reader
	lender objectstore.Lender // r as one, or nil
	left   int64
	ended  bool
}

var errEnded = errors.New("the request has ended")

func newExactly(r io.Reader, size int64) *exactly {
	lender, _ := r.(objectstore.Lender)
	return &exactly{r: r, lender: lender, left: size}
}

// Len is for the SDK, before the body is read.
func (e *exactly) Len() int { return int(e.left) }

func (e *exactly) Read(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended {
		return 0, errEnded
	}
	if e.left <= 0 {
		return 0, io.EOF
	}
	n, err := e.r.Read(p[:min(int64(len(p)), e.left)])
	e.left -= int64(n)
	return n, e.complete(err)
}

// complete makes an error of an early end.
func (e *exactly) complete(err error) error {
	if err == io.EOF && e.left > 0 { //nolint:errorlint // readers give io.EOF itself
		return fmt.Errorf("the body is %d bytes too short: %w", e.left, io.ErrUnexpectedEOF)
	}
	return err
}

// writeTo writes at most n bytes of the lent memory.
func (e *exactly) writeTo(w io.Writer, n int64) (written int64, err error) {
	for written < n && err == nil {
		var sent int
		sent, err = e.writeNext(w, int(min(n-written, largestWrite)))
		written += int64(sent)
	}
	if err == io.EOF { //nolint:errorlint // lenders give io.EOF itself
		err = nil
	}
	return written, err
}

func (e *exactly) writeNext(w io.Writer, most int) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended {
		return 0, errEnded
	}
	if e.left <= 0 {
		return 0, io.EOF
	}
	next, err := e.lender.Next(int(min(int64(most), e.left)))
	if err != nil {
		return 0, e.complete(err)
	}
	n, err := w.Write(next)
	e.left -= int64(n)
	return n, err
}

// Close is called by net/http. It does nothing: the memory belongs to the caller.
func (e *exactly) Close() error { return nil }

// end returns when nothing reads the body any more; nothing will do so later.
func (e *exactly) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ended = true
}
