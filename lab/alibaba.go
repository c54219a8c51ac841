package lab

import (
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httputil"
)

// AlibabaOptions describe the instance that an AlibabaProxy stands in for.
type AlibabaOptions struct {
	Upstream string // the node, http://HOST:PORT
	Addr     string // where to listen; empty is a free port of 127.0.0.1
	User     string
	Password string
}

// AlibabaProxy stands in for what is before a node of Alibaba Cloud Elasticsearch: basic
// authentication with X-Pack's refusals (401 with WWW-Authenticate). It does not have: address
// allow lists, TLS, roles, automatic snapshots, Alibaba's own settings.
type AlibabaProxy struct {
	frontend
	o AlibabaOptions
}

// NewAlibabaProxy starts a front end before a node.
func NewAlibabaProxy(o AlibabaOptions) (*AlibabaProxy, error) {
	p := &AlibabaProxy{o: o}
	p.rules = p.refuse
	p.maxBody = 100 << 20 // http.max_content_length, Elasticsearch's default
	p.forward = &httputil.ReverseProxy{}
	if err := p.start(o.Addr, o.Upstream); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *AlibabaProxy) refuse(r *http.Request, _ []byte) *refusal {
	user, password, ok := r.BasicAuth()
	if !ok {
		return xpackRefusal(fmt.Sprintf("missing authentication token for REST request [%s]", r.URL.RequestURI()))
	}
	same := subtle.ConstantTimeCompare([]byte(user), []byte(p.o.User)) & subtle.ConstantTimeCompare([]byte(password),
		[]byte(p.o.Password))
	if same != 1 {
		return xpackRefusal(fmt.Sprintf("failed to authenticate user [%s]", user))
	}
	return nil
}

// xpackRefusal is how X-Pack's security answers.
func xpackRefusal(reason string) *refusal {
	const challenge = `Basic realm="security" charset="UTF-8"`
	cause := map[string]any{
		"type": "security_exception", "reason": reason,
		"header": map[string]string{"WWW-Authenticate": challenge},
	}
	all := map[string]any{"root_cause": []any{cause}}
	for name, value := range cause {
		all[name] = value
	}
	body, _ := json.Marshal(map[string]any{"error": all, "status": http.StatusUnauthorized})
	return &refusal{
		status: http.StatusUnauthorized, header: http.Header{"Www-Authenticate": {challenge}},
		body: string(body),
	}
}

// basicTransport adds basic authentication.
type basicTransport struct {
	*http.Transport
	user, password string
}

// BasicClient is an HTTP client with basic authentication.
func BasicClient(user, password string) *http.Client {
	return &http.Client{Transport: &basicTransport{Transport: loopback, user: user, password: password}}
}

func (t *basicTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.SetBasicAuth(t.user, t.password)
	return t.Transport.RoundTrip(r)
}
