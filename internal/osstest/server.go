package osstest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/snapferry/snapferry/internal/sigv4"
)

// Options say how a server starts. The zero value of each field is usable, but without Keys every
// request is refused.
type Options struct {
	// Addr is the address to listen on; "" means 127.0.0.1 and a free port.
	Addr string
	// Dir holds everything. "" means a temporary folder that Close removes.
	Dir string
	// Region that V4 signatures must name, such as "cn-hangzhou" (no "oss-" in front). "" accepts
	// any.
	Region string
	// Keys that may sign; see also [Server.SetKeys].
	Keys []Key
	// Domains below which the first label of a Host is a bucket ("bucket.localhost"). Nil means
	// localhost and the region's own names, oss-REGION.aliyuncs.com and
	// oss-REGION-internal.aliyuncs.com. Any other Host means path style.
	Domains []string
	// S3 adds the S3-compatible face on a listener of its own; nil means none. See [Server.S3URL].
	S3 *S3Options
	// Seed makes the faults with a Rate repeat from run to run.
	Seed uint64
	// Now is the server's clock, for signatures and Last-Modified; nil means time.Now.
	Now func() time.Time
}

// Key is an access key. With a Token it's a temporary one (STS): requests must then have that
// x-oss-security-token.
type Key struct {
	ID       string
	Secret   string
	Token    string
	Expires  time.Time // of the token; zero means never
	ReadOnly bool      // may list, head and get; every write is AccessDenied
}

// Server is a running OSS; it's also an http.Handler. All its methods are safe for concurrent use.
type Server struct {
	region  string
	domains []string
	now     func() time.Time
	// ownClock says that now isn't this computer's clock, so that answers have to say it.
	ownClock bool
	store    *store
	tempDir  string // to remove at the end, if ours

	oss *listener // nil for New
	s3  s3Face

	mu      sync.RWMutex // guards the fields below
	keys    map[string]Key
	closed  bool
	observe func(Event)

	tally   tally
	signing sigv4.Keys // of S3's version 4 and of OSS's own

	faults  faults
	shaper  shaper
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	calls   sync.WaitGroup
	session string // first half of each request id
	serial  atomic.Uint64
}

// New returns a server that doesn't listen, for use as an http.Handler. Close it as well.
func New(o Options) (*Server, error) {
	s := &Server{
		s3: newS3Face(o), region: o.Region, domains: o.Domains, now: o.Now, ownClock: o.Now != nil,
		session: strings.ToUpper(randomHex(4)),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.faults.seed(o.Seed)
	s.SetKeys(o.Keys...)
	if s.now == nil {
		s.now = time.Now
	}
	if s.domains == nil {
		s.domains = []string{"localhost", "oss-" + o.Region + ".aliyuncs.com", "oss-" + o.Region +
			"-internal.aliyuncs.com"}
	}
	dir := o.Dir
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "osstest-"); err != nil {
			return nil, err
		}
		s.tempDir = dir
	}
	var err error
	if s.store, err = openStore(dir); err != nil {
		return nil, fmt.Errorf("osstest: reading %s: %w", dir, err)
	}
	return s, nil
}

// Start returns a server that listens on o.Addr. It fails if the address is taken or what lies in
// o.Dir is damaged.
func Start(o Options) (*Server, error) {
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", o.Addr)
	if err != nil {
		return nil, fmt.Errorf("osstest: %w", err)
	}
	s, err := New(o)
	if err != nil {
		_ = l.Close()
		return nil, err
	}
	s.oss = serveOn(l, s)
	if o.S3 != nil {
		if err := s.startS3(*o.S3); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return s, nil
}

// listener is an address that is served.
type listener struct {
	net.Listener
	http   *http.Server
	served chan struct{}
}

// complaints are what net/http has to say, a panic above all. That a client didn't trust the
// certificate is the client's to say.
type complaints struct{}

func (complaints) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("TLS handshake error")) {
		return len(p), nil
	}
	return os.Stderr.Write(p)
}

func serveOn(l net.Listener, h http.Handler) *listener {
	s := &listener{Listener: l, served: make(chan struct{}), http: &http.Server{
		Handler: h, ReadHeaderTimeout: time.Minute,
		ErrorLog: log.New(complaints{}, "", log.LstdFlags),
	}}
	go func() {
		defer close(s.served)
		_ = s.http.Serve(l) // ends with ErrServerClosed
	}()
	return s
}

func (l *listener) close() error {
	if l == nil {
		return nil
	}
	err := l.http.Close()
	<-l.served
	return err
}

// URL is the endpoint to give to clients, "http://127.0.0.1:port".
func (s *Server) URL() string { return "http://" + s.oss.Addr().String() }

// Close cuts all connections and returns when no request is served any more. It ends injected
// waits; a slow Complete is then carried out at once. A second Close does nothing.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.cancel()
	s.mu.Unlock()
	err := errors.Join(s.oss.close(), s.s3.listener.close())
	s.calls.Wait()
	err = errors.Join(err, s.store.close())
	if s.tempDir != "" {
		err = errors.Join(err, os.RemoveAll(s.tempDir))
	}
	return err
}

// SetKeys replaces the access keys: the way to rotate or revoke one.
func (s *Server) SetKeys(keys ...Key) {
	m := make(map[string]Key, len(keys))
	for _, k := range keys {
		m[k.ID] = k
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = m
}

// call is one request on its way through the server.
type call struct {
	*Server
	d         *dialect // of its face
	stop      func()   // ends ctx
	ctx       context.Context
	w         *responder
	r         *http.Request
	requestID string
	query     url.Values
	bucket    string
	key       string
	op        operation
	access    string // id of the key that signed, once verified
	code      string // of the error, if any
	effect    effect
	limiters  limiters
	body      *requestBody
	began     time.Time
}

// own reads one of the face's own headers: "Meta-A" is x-oss-meta-a or x-amz-meta-a.
func (c *call) own(name string) string { return c.r.Header.Get(c.d.header + name) }

// ServeHTTP answers one request of OSS's protocol.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handle(FaceOSS, w, r) }

func (s *Server) handle(face Face, w http.ResponseWriter, r *http.Request) {
	c := &call{Server: s, d: dialects[face], w: &responder{ResponseWriter: w}, r: r, began: time.Now()}
	c.requestID = s.session + serialHex(s.serial.Add(1))
	h := c.w.Header()
	h.Set(c.d.header+"Request-Id", c.requestID)
	h.Set("Server", c.d.server)
	if s.ownClock { // else net/http says the time
		h.Set("Date", s.now().UTC().Format(http.TimeFormat))
	}
	if !s.enter() {
		c.fail(errClosing)
		return
	}
	defer s.calls.Done()
	defer c.release()
	c.body = &requestBody{r: r.Body}
	err := c.serve()
	switch {
	case errors.Is(err, errAbort):
		c.reset()
	case err != nil && c.w.status != 0: // too late for an error: break the connection, or the client believes the rest
		c.reset()
	case err != nil:
		c.fail(err)
	}
	s.finish(c)
	if c.w.abandon {
		panic(http.ErrAbortHandler)
	}
}

// context ends when the client goes or the server closes. Most requests never wait and don't ask
// for it.
func (c *call) context() context.Context {
	if c.ctx == nil {
		ctx, cancel := context.WithCancel(c.r.Context())
		detach := context.AfterFunc(c.Server.ctx, cancel)
		c.ctx, c.stop = ctx, func() { detach(); cancel() }
	}
	return c.ctx
}

func (c *call) release() {
	if c.stop != nil {
		c.stop()
	}
}

func (s *Server) enter() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return false
	}
	s.calls.Add(1)
	return true
}

func (c *call) serve() error {
	if err := c.locate(); err != nil {
		return err
	}
	c.effect = c.faults.take(c.describe())
	for _, hook := range c.effect.hooks {
		hook()
	}
	if c.effect.latency > 0 {
		c.injected(FaultLatency)
	}
	if err := c.wait(c.effect.latency); err != nil {
		return err
	}
	if e := c.effect.answer; e != nil {
		c.injected(e.kind())
		return e
	}
	if enc := c.r.Header.Get("Content-Encoding"); strings.Contains(enc, "aws-chunked") ||
		strings.HasPrefix(c.r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
		return errAWSChunked
	}
	if c.op.serve == nil {
		return c.op.refusal
	}
	key, err := c.authenticate()
	if err != nil {
		return err
	}
	c.access = key.ID
	if err := c.trafficLimit(); err != nil {
		return err
	}
	if key.ReadOnly && c.op.writes {
		return errAccessDenied
	}
	var latency time.Duration
	c.limiters, latency = c.shaper.of(key.ID)
	if err := c.wait(latency); err != nil {
		return err
	}
	e := &c.effect
	e.settle(c.r.ContentLength, &e.resetUpload, &e.shortenUpload, &e.corruptUpload)
	c.body.limits, c.body.resetAfter, c.body.c = c.limiters.received, e.resetUpload, c
	return c.op.serve(c)
}

// responder counts what is sent. It passes files on to sendfile.
type responder struct {
	http.ResponseWriter
	status  int
	bytes   int64
	abandon bool
}

// WriteHeader sends the names of headers as OSS spells them: the Java SDK finds metadata by
// "x-oss-meta-" in lower case only.
func (w *responder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	h := w.Header()
	for name, values := range h {
		spelt := name
		switch {
		case strings.HasPrefix(name, "X-Oss-"), strings.HasPrefix(name, "X-Amz-"):
			spelt = strings.ToLower(name)
		case name == "Etag":
			spelt = "ETag"
		case name == "Content-Md5":
			spelt = "Content-MD5"
		}
		if spelt != name {
			delete(h, name)
			h[spelt] = values
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *responder) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

func (w *responder) ReadFrom(r io.Reader) (int64, error) {
	n, err := io.Copy(w.ResponseWriter, r)
	w.bytes += n
	return n, err
}

// serialHex is n as 16 upper-case digits.
func serialHex(n uint64) string {
	const digits = "0123456789ABCDEF"
	var b [16]byte
	for i := range b {
		b[len(b)-1-i] = digits[n&15]
		n >>= 4
	}
	return string(b[:])
}

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // never fails since Go 1.24
	return hex.EncodeToString(b)
}
