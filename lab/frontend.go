package lab

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"time"
)

// frontend is what both clouds' front ends share: a listener, the body read up to a limit, the
// rules, the faults, the way on to the node.
type frontend struct {
	Faults

	url     string
	nodes   *balancer
	maxBody int64
	rules   func(r *http.Request, body []byte) *refusal // nil: the request may pass
	forward *httputil.ReverseProxy
	server  *http.Server
	served  chan struct{}
}

// refusal is an answer that the front end gives itself.
type refusal struct {
	status int
	header http.Header
	body   string
}

// start listens on addr ("" is a free port of 127.0.0.1).
func (f *frontend) start(addr, upstream string) error {
	f.nodes = newBalancer()
	if err := f.SetUpstream(upstream); err != nil {
		return err
	}
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("the front end can't listen: %w", err)
	}
	f.url = "http://" + listener.Addr().String()
	f.forward.Transport = f.nodes
	f.forward.Rewrite = func(p *httputil.ProxyRequest) {
		p.Out.URL.RawQuery = p.In.URL.RawQuery // as it came: ReverseProxy drops what it can't parse
		for _, name := range []string{"Authorization", "X-Amz-Date", "X-Amz-Content-Sha256", "X-Amz-Security-Token"} {
			p.Out.Header.Del(name)
		}
	}
	f.forward.ErrorHandler = func(w http.ResponseWriter, r *http.Request, err error) {
		w.WriteHeader(http.StatusBadGateway)
		fmt.Fprintf(w, `{"Message":"the lab's front end did not reach the node: %v"}`, err)
	}
	f.forward.ErrorLog = log.New(io.Discard, "", 0)
	f.server = &http.Server{Handler: f, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	f.served = make(chan struct{})
	go func() {
		defer close(f.served)
		_ = f.server.Serve(listener) // always ends with ErrServerClosed, by Close
	}()
	return nil
}

// URL is where the front end listens.
func (f *frontend) URL() string { return f.url }

// SetUpstream sends requests to another address from now on.
func (f *frontend) SetUpstream(address string) error { return f.nodes.set(address) }

// SetUpstreams sends requests to these nodes in turn from now on. One that takes no connection is
// left out.
func (f *frontend) SetUpstreams(addresses ...string) error { return f.nodes.set(addresses...) }

// Close ends the front end; requests under way are broken off. Closing twice is fine.
func (f *frontend) Close() error {
	f.Clear()
	err := f.server.Close()
	<-f.served
	f.nodes.CloseIdleConnections()
	return err
}

func (f *frontend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	answer := &statusWriter{ResponseWriter: w}
	body, err := io.ReadAll(io.LimitReader(r.Body, f.maxBody+1))
	defer func() {
		f.observe(Exchange{
			Method: r.Method, Path: r.URL.Path, RawQuery: r.URL.RawQuery, Body: body, Status: answer.status,
			Took: time.Since(began),
		})
	}()
	if err != nil {
		panic(http.ErrAbortHandler) // the client went away
	}
	_, _ = io.Copy(io.Discard, r.Body) // what is above the limit: a client that still sends would miss the answer
	refused := f.tooBig(body)
	if refused == nil {
		refused = f.rules(r, body)
	}
	if refused != nil {
		for name, values := range refused.header {
			w.Header()[name] = values
		}
		w.Header().Set("Content-Type", "application/json")
		answer.WriteHeader(refused.status)
		_, _ = io.WriteString(answer, refused.body)
		return
	}
	out := r.Clone(r.Context())
	out.Body, out.ContentLength, out.TransferEncoding = io.NopCloser(bytes.NewReader(body)), int64(len(body)), nil
	out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	if rule := f.take(r); rule != nil {
		if rule.forward { // a held or lost request is done even if its client has gone
			ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), Patience)
			defer cancel()
			out = out.WithContext(ctx)
		}
		rule.serve(answer, out, f.forward)
		return
	}
	f.forward.ServeHTTP(answer, out)
}

func (f *frontend) tooBig(body []byte) *refusal {
	if int64(len(body)) <= f.maxBody {
		return nil
	}
	return &refusal{
		status: http.StatusRequestEntityTooLarge,
		body:   fmt.Sprintf(`{"Message":"Request size exceeded %d bytes"}`, f.maxBody),
	}
}

// statusWriter remembers the status for observers.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 || w.status < 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
