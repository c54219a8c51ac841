package osstest

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Call is what a rule may look at, before the request is served (and before its signature is
// checked).
type Call struct {
	Face      Face
	AccessKey string // that the request claims: its signature hasn't been looked at
	Op        string // the face's name of the operation, "UploadPart"
	Bucket    string
	Key       string
	Header    http.Header // of the request; read only
}

// Rule injects a fault into requests.
type Rule struct {
	// Match says which requests; nil means all. See [Op] and [Ops].
	Match func(Call) bool
	// Times is how many matching requests are hit before the rule ends; 0 means that it stays.
	Times int
	// Rate, between 0 and 1, is the share of matching requests that are hit, drawn from
	// Options.Seed; 0 means each one.
	Rate float64
	// Fault is what happens to them. When several rules hit a request, all apply; the first one's
	// answer is sent.
	Fault Fault
}

// Fault is something that goes wrong. The functions below make them.
type Fault func(*effect)

// Anywhere is an offset that is drawn for each request that is hit, evenly from 0 up to the last
// byte of its body, from Options.Seed. An empty body, and a request's whose length isn't known
// beforehand, is left alone.
const Anywhere int64 = -2

// effect is all that goes wrong with one request. Offsets are in bytes of a body, -1 for none.
type effect struct {
	draw          float64 // where Anywhere is
	shortenUpload int64
	corruptUpload int64
	latency       time.Duration
	answer        *apiError
	resetUpload   int64
	resetDownload int64
	truncate      int64
	cut           int64
	corrupt       int64
	wrongCRC      bool
	slowComplete  time.Duration
	loseAnswer    bool
	hooks         []func()
}

// ShortenUpload keeps only the first n bytes of an upload and takes them for all of it: only the
// size, the ETag or the CRC of the answer tell.
func ShortenUpload(n int64) Fault { return func(e *effect) { e.shortenUpload = n } }

// CorruptUpload flips a bit in the byte at offset n of an upload, before it's checked and stored.
func CorruptUpload(n int64) Fault { return func(e *effect) { e.corruptUpload = n } }

// Latency holds a request back before anything is done with it.
func Latency(d time.Duration) Fault { return func(e *effect) { e.latency += d } }

// Throttle answers 503 with the delay that OSS asks for in x-oss-qos-delay-time (milliseconds).
func Throttle(delay time.Duration) Fault {
	return func(e *effect) {
		if e.answer == nil {
			e.answer = &apiError{
				status: 503, code: "PartitionQpsLimitted",
				message: "Request rate is too high for the partition.", ec: "0026-00000028", delay: delay,
			}
		}
	}
}

// Fail answers with an error of the caller's choice instead of doing what is asked.
func Fail(status int, code, message string) Fault {
	return func(e *effect) {
		if e.answer == nil {
			e.answer = &apiError{status: status, code: code, message: message}
		}
	}
}

// ResetUpload resets the connection after n bytes of the request's body were read.
func ResetUpload(n int64) Fault { return func(e *effect) { e.resetUpload = n } }

// ResetDownload resets the connection after n bytes of GetObject's body were sent.
func ResetDownload(n int64) Fault { return func(e *effect) { e.resetDownload = n } }

// TruncateDownload ends GetObject's body after n bytes and closes the connection; Content-Length
// promised more.
func TruncateDownload(n int64) Fault { return func(e *effect) { e.truncate = n } }

// ShortenDownload sends only n bytes of GetObject's body and a Content-Length that agrees, as a
// careless proxy does: only the length that the client knows, the CRC or the ETag tell.
func ShortenDownload(n int64) Fault { return func(e *effect) { e.cut = n } }

// CorruptDownload flips a bit in the byte at offset n of GetObject's body.
func CorruptDownload(n int64) Fault { return func(e *effect) { e.corrupt = n } }

// WrongCRC stores what arrives but reports another x-oss-hash-crc64ecma, as if it had been damaged
// on the way.
func WrongCRC() Fault { return func(e *effect) { e.wrongCRC = true } }

// SlowComplete delays CompleteMultipartUpload and carries it out even if the client has gone by
// then, as OSS does.
func SlowComplete(d time.Duration) Fault { return func(e *effect) { e.slowComplete += d } }

// LoseAnswer does what is asked and then resets the connection: the client can't know the outcome.
// It has no effect on HeadObject and GetObject.
func LoseAnswer() Fault { return func(e *effect) { e.loseAnswer = true } }

// Hook calls f when a request is hit, before anything is done with it: a test can wait for that
// instead of sleeping, change something at that moment, or hold the request back by not returning
// (Close waits for it).
func Hook(f func()) Fault { return func(e *effect) { e.hooks = append(e.hooks, f) } }

// Faults lets several things go wrong with the same request.
func Faults(all ...Fault) Fault {
	return func(e *effect) {
		for _, f := range all {
			f(e)
		}
	}
}

// Op matches one operation by OSS's name, "PutObject".
func Op(name string) func(Call) bool { return Ops(name) }

// Ops matches several operations by name.
func Ops(names ...string) func(Call) bool {
	set := map[string]bool{}
	for _, n := range names {
		set[n] = true
	}
	return func(c Call) bool { return set[c.Op] }
}

type faults struct {
	mu    sync.Mutex
	rules []*Rule
	rand  *rand.Rand
}

func (f *faults) seed(seed uint64) { f.rand = rand.New(rand.NewPCG(seed, seed)) }

// Inject adds a rule; the function that it returns takes it away again.
func (s *Server) Inject(r Rule) (remove func()) {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	rule := &r
	s.faults.rules = append(s.faults.rules, rule)
	return func() {
		s.faults.mu.Lock()
		defer s.faults.mu.Unlock()
		s.faults.drop(rule)
	}
}

// ClearFaults takes all rules away.
func (s *Server) ClearFaults() {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.rules = nil
}

func (f *faults) drop(rule *Rule) {
	for i, r := range f.rules {
		if r == rule {
			f.rules = append(append([]*Rule(nil), f.rules[:i]...), f.rules[i+1:]...)
			return
		}
	}
}

// take finds out what goes wrong with a call and uses up the rules that hit it.
func (f *faults) take(c Call) effect {
	e := effect{
		resetUpload: -1, shortenUpload: -1, corruptUpload: -1, resetDownload: -1, truncate: -1, cut: -1,
		corrupt: -1,
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.rules {
		if r.Match != nil && !r.Match(c) || r.Rate > 0 && f.rand.Float64() >= r.Rate {
			continue
		}
		e.draw = f.rand.Float64()
		r.Fault(&e)
		if r.Times > 0 {
			if r.Times--; r.Times == 0 {
				f.drop(r) // makes a new slice, so the loop goes on undisturbed
			}
		}
	}
	return e
}

func (c *call) describe() Call {
	return Call{
		Face: c.d.face, AccessKey: claimedKey(c.r.Header.Get("Authorization")), Op: c.op.name, Bucket: c.bucket,
		Key: c.key, Header: c.r.Header,
	}
}

// claimedKey finds the access key in "OSS ID:...", "OSS4-HMAC-SHA256 Credential=ID/..." and
// "AWS4-HMAC-SHA256 Credential=ID/...".
func claimedKey(authorization string) string {
	if v1, ok := strings.CutPrefix(authorization, "OSS "); ok {
		id, _, _ := strings.Cut(v1, ":")
		return id
	}
	_, credential, _ := strings.Cut(authorization, "Credential=")
	id, _, _ := strings.Cut(credential, "/")
	return id
}

// settle turns Anywhere into an offset within a body of n bytes.
func (e *effect) settle(n int64, offsets ...*int64) {
	for _, at := range offsets {
		if *at == Anywhere {
			*at = -1
			if n > 0 {
				*at = min(int64(e.draw*float64(n)), n-1)
			}
		}
	}
}

// wait holds a request back until d has passed, its client has gone or the server closes.
func (c *call) wait(d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-c.context().Done():
		return errAbort
	}
}

// waitRegardless doesn't look at the client.
func (c *call) waitRegardless(d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.Server.ctx.Done():
	}
}

// reset breaks the connection with a RST, so that the client sees an error and no end of stream.
func (c *call) reset() { c.disconnect(true) }

func (c *call) disconnect(reset bool) {
	rc := http.NewResponseController(c.w.ResponseWriter)
	if c.w.status != 0 {
		_ = rc.Flush() // what was written so far shall arrive
	}
	conn, _, err := rc.Hijack()
	if err != nil {
		c.w.abandon = true // not a plain HTTP/1 connection: net/http breaks it
		return
	}
	below := conn
	if t, ok := conn.(*tls.Conn); ok {
		below = t.NetConn()
	}
	if tcp, ok := below.(*net.TCPConn); ok && reset {
		_ = tcp.SetLinger(0)
	}
	if reset {
		conn = below // without TLS's farewell
	}
	_ = conn.Close()
}

// declared is the Content-Length to send for a body of n bytes.
func (c *call) declared(n int64) int64 {
	e := &c.effect
	e.settle(n, &e.resetDownload, &e.truncate, &e.cut, &e.corrupt)
	if e.cut >= 0 && e.cut < n {
		c.injected(FaultShortenDownload)
		return e.cut
	}
	return n
}

var errCut = errors.New("enough was sent")

// shape wraps the way out as far as something limits or spoils it.
func (c *call) shape(w io.Writer) io.Writer {
	limits := c.limiters.sent
	e := c.effect
	if len(limits) == 0 && e.resetDownload < 0 && e.truncate < 0 && e.cut < 0 && e.corrupt < 0 {
		return w
	}
	return &shapedWriter{w: w, c: c, limits: limits}
}

type shapedWriter struct {
	w      io.Writer
	c      *call
	limits []*rate.Limiter
	sent   int64
}

func (s *shapedWriter) Write(p []byte) (int, error) {
	e := &s.c.effect
	if err := throttle(s.c.context(), s.limits, len(p)); err != nil {
		return 0, errAbort
	}
	if s.c.effect.cut >= 0 {
		p = p[:min(int64(len(p)), max(0, e.cut-s.sent))]
	}
	if at := e.corrupt - s.sent; e.corrupt >= 0 && at >= 0 && at < int64(len(p)) {
		p = bytes.Clone(p)
		p[at] ^= 0x10
		s.c.injected(FaultCorruptDownload)
	}
	for _, end := range []struct {
		at  int64
		end func() error
	}{
		{e.resetDownload, func() error { s.c.injected(FaultResetDownload); return errAbort }},
		{e.truncate, func() error { s.c.injected(FaultTruncateDownload); s.c.disconnect(false); return errCut }},
		{e.cut, func() error { return errCut }},
	} {
		if end.at >= 0 && s.sent+int64(len(p)) >= end.at {
			n, err := s.w.Write(p[:end.at-s.sent])
			s.sent += int64(n)
			if err != nil {
				return n, err
			}
			return n, end.end()
		}
	}
	n, err := s.w.Write(p)
	s.sent += int64(n)
	return n, err
}

// requestBody is the way in, with the same limits.
type requestBody struct {
	r          io.Reader
	c          *call
	limits     []*rate.Limiter
	resetAfter int64
	broken     bool
	n          int64
}

func (b *requestBody) Read(p []byte) (int, error) {
	if b.c != nil && b.resetAfter >= 0 {
		if b.n >= b.resetAfter {
			if !b.broken {
				b.broken = true
				b.c.injected(FaultResetUpload)
			}
			return 0, errAbort
		}
		p = p[:min(int64(len(p)), b.resetAfter-b.n)]
	}
	n, err := b.r.Read(p)
	before := b.n
	b.n += int64(n)
	if n > 0 && len(b.limits) > 0 && throttle(b.c.context(), b.limits, n) != nil {
		return n, errAbort
	}
	if b.c == nil {
		return n, err
	}
	e := &b.c.effect
	if e.corruptUpload >= before && e.corruptUpload < b.n {
		p[e.corruptUpload-before] ^= 0x10
		b.c.injected(FaultCorruptUpload)
	}
	if e.shortenUpload >= 0 && b.n > e.shortenUpload {
		if before <= e.shortenUpload {
			b.c.injected(FaultShortenUpload)
		}
		n = int(max(0, e.shortenUpload-before))
	}
	return n, err
}
