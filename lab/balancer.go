package lab

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
)

// balancer sends requests to the nodes of a cluster in turn, as the load balancer in front of a
// cloud's cluster does. A node that takes no connection is left out. What was sent to a node that
// dies before it has answered is lost.
type balancer struct {
	*http.Transport
	nodes atomic.Pointer[[]*url.URL]
	turn  atomic.Uint64
}

func newBalancer() *balancer {
	b := &balancer{Transport: newTransport()}
	b.DisableCompression = true // the client's Accept-Encoding decides, and the answer passes as it is
	return b
}

// set sends requests to these addresses from now on.
func (b *balancer) set(addresses ...string) error {
	var nodes []*url.URL
	for _, address := range addresses {
		u, err := url.Parse(address)
		if err != nil || u.Host == "" {
			return fmt.Errorf("%q is no address of a node: want http://HOST:PORT", address)
		}
		nodes = append(nodes, u)
	}
	b.nodes.Store(&nodes)
	return nil
}

func (b *balancer) RoundTrip(r *http.Request) (response *http.Response, err error) {
	nodes := *b.nodes.Load()
	turn := b.turn.Add(1)
	for i := range uint64(len(nodes)) {
		to := nodes[(turn+i)%uint64(len(nodes))]
		out := r.Clone(r.Context())
		out.URL.Scheme, out.URL.Host, out.Host = to.Scheme, to.Host, to.Host
		if r.Body != nil && r.GetBody != nil {
			if out.Body, err = r.GetBody(); err != nil {
				return nil, err
			}
		}
		if response, err = b.Transport.RoundTrip(out); err == nil || !notReached(err) {
			return response, err
		}
	}
	return nil, err
}

// notReached tells whether a request never left for its node.
func notReached(err error) bool {
	failure, ok := errors.AsType[*net.OpError](err)
	return ok && failure.Op == "dial"
}

// openProxy is a way to the nodes of a cluster without the rules of a front end.
type openProxy struct{ frontend }

func newOpenProxy(nodes ...string) (*openProxy, error) {
	p := &openProxy{}
	p.rules = func(*http.Request, []byte) *refusal { return nil }
	p.maxBody = 100 << 20 // http.max_content_length, Elasticsearch's default
	p.forward = &httputil.ReverseProxy{}
	if err := p.start("", nodes[0]); err != nil {
		return nil, err
	}
	return p, p.SetUpstreams(nodes...)
}
