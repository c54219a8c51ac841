package lab

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/snapferry/snapferry/internal/sigv4"
)

// AmazonOptions describe the domain that an AmazonProxy stands in for.
type AmazonOptions struct {
	Upstream      string // the node, http://HOST:PORT
	Addr          string // where to listen; empty is a free port of 127.0.0.1
	Region        string
	AccessKey     string
	SecretKey     string
	Account       string           // twelve digits; for the ARNs in messages
	Domain        string           // its name; for the ARNs in messages
	Version       string           // of Elasticsearch; decides what is allowed, for instance _close from 7.4 on
	PassableRoles []string         // the roles for which the key has iam:PassRole
	MaxBody       int64            // largest request in bytes; 0 is 10 MiB, what Amazon allows the small instance types
	Now           func() time.Time // for tests; nil is time.Now
}

// AmazonProxy stands in for the front end of an Amazon Elasticsearch Service domain. It verifies
// Signature Version 4 for the service es and refuses what Amazon refuses, with Amazon's status and
// shape; the rest it passes on:
//
//   - unsigned requests, unknown keys, wrong signatures, wrong scopes and clocks that differ by
//     more than five minutes (403);
//   - calls that the version's list of supported operations lacks: _close and _open before 7.4,
//     _cluster/reroute, _cat/nodeattrs (401);
//   - a snapshot repository without role_arn, with a role that the caller may not pass, of another
//     type than s3, or named cs-..., which are Amazon's own;
//   - requests above the instance type's limit (413).
//
// Answers to _nodes come without the nodes' addresses, settings and paths. It does not have: access
// policies, fine-grained access control, throttling, cs-automated snapshots, a limit on the answer,
// other forms of authentication.
type AmazonProxy struct {
	frontend
	o    AmazonOptions
	keys sigv4.Keys
}

// clockSkew is what Amazon's front end of the service es tolerates.
const clockSkew = 5 * time.Minute

// NewAmazonProxy starts a front end before a node.
func NewAmazonProxy(o AmazonOptions) (*AmazonProxy, error) {
	if o.MaxBody == 0 {
		o.MaxBody = 10 << 20
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	p := &AmazonProxy{o: o}
	p.rules = p.refuse
	p.maxBody = o.MaxBody
	p.forward = &httputil.ReverseProxy{ModifyResponse: redactNodes}
	if err := p.start(o.Addr, o.Upstream); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *AmazonProxy) refuse(r *http.Request, body []byte) *refusal {
	if refused := p.authenticate(r, body); refused != nil {
		return refused
	}
	if !p.supported(r) {
		return amazonRefusal(http.StatusUnauthorized, "Your request: '%s' is not allowed.", r.URL.Path)
	}
	r.Header.Del("Accept-Encoding") // Amazon compresses from 6.0 on, and only if told to
	if name, ok := repositoryName(r); ok && (r.Method == http.MethodPut || r.Method == http.MethodPost) {
		return p.checkRepository(r.URL.Path, name, body)
	}
	return nil
}

// authenticate checks the signature. The messages are those of Amazon's gateway.
func (p *AmazonProxy) authenticate(r *http.Request, body []byte) *refusal {
	authorization := r.Header.Get("Authorization")
	if authorization == "" {
		return amazonRefusal(http.StatusForbidden, "User: anonymous is not authorized to perform: es:ESHttp%s on "+
			"resource: arn:aws:es:%s:%s:domain/%s%s",
			titled(r.Method), p.o.Region, p.o.Account, p.o.Domain, r.URL.Path)
	}
	h, complaint := sigv4.Parse(authorization)
	if complaint != "" {
		return gatewayRefusal("%s", complaint)
	}
	timestamp := r.Header.Get("X-Amz-Date")
	signed, err := time.Parse(sigv4.TimeFormat, timestamp)
	now := p.o.Now().UTC()
	switch {
	case err != nil:
		return gatewayRefusal("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
	case !slices.Contains(h.SignedHeaders, "host"):
		return gatewayRefusal("'Host' must be a 'SignedHeader' in the AWS Authorization.")
	case !slices.Contains(h.SignedHeaders, "x-amz-date"):
		return gatewayRefusal("'X-Amz-Date' must be a 'SignedHeader' in the AWS Authorization.")
	case h.Service != "es":
		return gatewayRefusal("Credential should be scoped to correct service: 'es'.")
	case h.Region != p.o.Region:
		return gatewayRefusal("Credential should be scoped to a valid region, not '%s'.", h.Region)
	case h.Date != timestamp[:8]:
		return gatewayRefusal("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from " +
			"HTTP.")
	case now.Sub(signed) > clockSkew:
		return gatewayRefusal("Signature expired: %s is now earlier than %s (%s - 5 min.)",
			timestamp, now.Add(-clockSkew).Format(sigv4.TimeFormat), now.Format(sigv4.TimeFormat))
	case signed.Sub(now) > clockSkew:
		return gatewayRefusal("Signature not yet current: %s is still later than %s (%s + 5 min.)",
			timestamp, now.Add(clockSkew).Format(sigv4.TimeFormat), now.Format(sigv4.TimeFormat))
	case h.AccessKey != p.o.AccessKey:
		return gatewayRefusal("The security token included in the request is invalid.")
	}
	path, _, _ := strings.Cut(r.RequestURI, "?")
	hash := sigv4.Hash(body)
	check := h.Check(&p.keys, p.o.SecretKey, timestamp, r, sigv4.Escape(path, "/"), hash)
	if claimed := r.Header.Get("X-Amz-Content-Sha256"); !check.Valid || (claimed != "" && claimed != hash) {
		return gatewayRefusal("The request signature we calculated does not match the signature you provided. "+
			"Check your AWS Secret Access Key and signing method. Consult the service documentation for details.\n\n"+
			"The Canonical String for this request should have been\n'%s'\n\nThe String-to-Sign should have "+
			"been\n'%s'\n",
			check.CanonicalRequest, check.StringToSign)
	}
	return nil
}

// supported says whether the domain's version offers the call.
func (p *AmazonProxy) supported(r *http.Request) bool {
	segments := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch last := segments[len(segments)-1]; {
	case last == "_close" || last == "_open":
		return !olderThan(p.o.Version, 7, 4)
	case segments[0] == "_cluster" && last == "reroute", segments[0] == "_cat" && last == "nodeattrs":
		return false
	}
	return true
}

// repositoryName is the name in /_snapshot/NAME, if that is what the request is about.
func repositoryName(r *http.Request) (string, bool) {
	segments := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if len(segments) != 2 || segments[0] != "_snapshot" || strings.HasPrefix(segments[1], "_") {
		return "", false
	}
	return segments[1], true
}

func (p *AmazonProxy) checkRepository(path, name string, body []byte) *refusal {
	var repository struct {
		Type     string         `json:"type"`
		Settings map[string]any `json:"settings"`
	}
	if err := json.Unmarshal(body, &repository); err != nil {
		return nil // the node says what is wrong with it
	}
	role, _ := repository.Settings["role_arn"].(string)
	switch {
	case strings.HasPrefix(name, "cs-"), repository.Type != "s3":
		return amazonRefusal(http.StatusUnauthorized, "Your request: '%s' payload is not allowed.", path)
	case role == "":
		return amazonRefusal(http.StatusBadRequest, "settings.role_arn is needed for snapshot registration.")
	case !slices.Contains(p.o.PassableRoles, role):
		return amazonRefusal(http.StatusForbidden, "User: arn:aws:iam::%s:user/lab is not authorized to perform: "+
			"iam:PassRole on resource: %s", p.o.Account, role)
	}
	return nil
}

// amazonRefusal has the shape of the service es.
func amazonRefusal(status int, format string, args ...any) *refusal {
	body, _ := json.Marshal(map[string]string{"Message": fmt.Sprintf(format, args...)})
	return &refusal{status: status, body: string(body)}
}

// gatewayRefusal has the shape of the layer before it, which checks signatures: a small m.
func gatewayRefusal(format string, args ...any) *refusal {
	body, _ := json.Marshal(map[string]string{"message": fmt.Sprintf(format, args...)})
	return &refusal{status: http.StatusForbidden, body: string(body)}
}

// titled makes Get of GET, as in es:ESHttpGet.
func titled(method string) string { return method[:1] + strings.ToLower(method[1:]) }

// redactNodes takes out of an answer to _nodes what Amazon does not show.
func redactNodes(response *http.Response) error {
	path := response.Request.URL.Path
	if response.StatusCode != http.StatusOK || (path != "/_nodes" && !strings.HasPrefix(path, "/_nodes/")) {
		return nil
	}
	body, err := io.ReadAll(response.Body)
	response.Body.Close()
	if err != nil {
		return err
	}
	var answer map[string]any
	if json.Unmarshal(body, &answer) == nil {
		nodes, _ := answer["nodes"].(map[string]any)
		for _, node := range nodes {
			if node, ok := node.(map[string]any); ok {
				for _, secret := range []string{
					"transport_address", "host", "ip", "transport", "http", "settings",
					"jvm", "process",
				} {
					delete(node, secret)
				}
			}
		}
		if body, err = json.Marshal(answer); err != nil {
			return err
		}
	}
	response.Body, response.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	response.Header.Set("Content-Length", strconv.Itoa(len(body)))
	return nil
}
