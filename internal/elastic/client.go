package elastic

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/elastic/go-elasticsearch/v7/esapi"
	"github.com/elastic/go-elasticsearch/v7/estransport"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/internal/version"
)

// Config says where a cluster is and how to speak to it.
type Config struct {
	// Endpoint is scheme, host and optional port, e.g.
	// "https://search-movies-abc.ap-southeast-1.es.amazonaws.com". It may end with a slash, but
	// must have no path and no user. Amazon requires the domain's own host name.
	Endpoint string
	// Auth is nil for no credentials.
	Auth Auth
	// Timeout bounds each call: 60 seconds if 0. Calls that change settings or aliases get twice as
	// much, those that change snapshots or wait for shards five times.
	Timeout time.Duration
	// CACert is a PEM bundle to trust instead of the system's, for a cluster with a private
	// certificate authority.
	CACert []byte
	// Redact lists further strings that no error may show. Passwords and secrets in repository
	// settings need not be listed.
	Redact []string
	// Transport replaces the HTTP transport, for tests; CACert then has no effect.
	Transport http.RoundTripper
}

// Format prints endpoint and kind of authentication, never a secret, for every verb.
func (c Config) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "elastic(%s, %v)", hostOf(c.Endpoint), c.Auth)
}

// Client makes calls to one cluster. It is safe for concurrent use. It keeps idle connections, but
// no goroutines.
type Client struct {
	*wire
	observe func(Exchange) // nil if nobody wants to know
}

// wire is what a client and those who are observed share.
type wire struct {
	host      string
	timeout   time.Duration
	transport *estransport.Client
	redactor  redactor
	version   atomic.Pointer[Version]
	scrolls   *scrolls
	close     func()
}

const (
	defaultTimeout = time.Minute
	slowFactor     = 5 // even an asynchronous "create snapshot" takes minutes on a large repository
	// largestAnswer is in bytes and protects the worker's memory; a cluster state of thousands of
	// indices has some tens of MiB.
	largestAnswer = 512 << 20
)

// New makes a client. It doesn't connect: an error means that the configuration can't be used.
func New(config Config) (*Client, error) {
	endpoint, err := parseEndpoint(config.Endpoint)
	if err != nil {
		return nil, err
	}
	c := &Client{wire: &wire{host: endpoint.Host, timeout: config.Timeout, scrolls: newScrolls(), close: func() {}}}
	if c.timeout <= 0 {
		c.timeout = defaultTimeout
	}
	c.redactor.Add(config.Redact...)

	transport := config.Transport
	if transport == nil {
		plain, err := newTransport(config.CACert)
		if err != nil {
			return nil, err
		}
		transport, c.close = plain, plain.CloseIdleConnections
	}
	settings := estransport.Config{
		URLs:   []*url.URL{endpoint},
		Header: http.Header{"User-Agent": {version.UserAgent()}},
		// Create and restore must not be repeated blindly, and 503 may mean "slot taken": the
		// caller decides.
		DisableRetry:      true,
		DisableMetaHeader: true,
	}
	switch auth := config.Auth.(type) {
	case nil:
	case Basic:
		if auth.User == "" || auth.Password == "" {
			return nil, errors.New("basic authentication needs a user and a password")
		}
		transport = newBasic(auth, &c.redactor.Redactor, transport)
	case SigV4:
		if transport, err = newSigner(auth, &c.redactor.Redactor, transport); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("unknown authentication %T", config.Auth)
	}
	settings.Transport = tracker{next: transport}
	if c.transport, err = estransport.New(settings); err != nil {
		return nil, fmt.Errorf("prepare the connection to %s: %w", c.host, err)
	}
	return c, nil
}

// Close closes idle connections. The client stays usable.
func (c *Client) Close() { c.close() }

// Host is the cluster's host and port.
func (c *Client) Host() string { return c.host }

// Format prints the host, never a secret, for every verb.
func (c *Client) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "elastic("+c.host+")") }

func parseEndpoint(endpoint string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimRight(endpoint, "/"))
	switch {
	case err != nil: // its text would quote the endpoint, which may hold a password
		return nil, errors.New("the endpoint isn't a URL")
	case u.User != nil:
		return nil, errors.New("the endpoint holds a user or password; use basic authentication instead")
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, errors.New("the endpoint must be http://HOST[:PORT] or https://HOST[:PORT]")
	case u.Path != "" || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("the endpoint of %s must not have a path", u.Host)
	}
	return u, nil
}

func hostOf(endpoint string) string {
	if u, err := parseEndpoint(endpoint); err == nil {
		return u.Host
	}
	return "invalid endpoint"
}

// call describes a request for errors and time limits.
type call struct {
	operation string // "create snapshot"
	subject   string // "mig/run1-r0003"
	once      bool   // must not be repeated blindly: a lost answer is OutcomeUnknown instead of Unavailable
	slow      bool   // gets slowFactor times the timeout
	changes   bool   // the cluster's state: gets changeFactor times the timeout
	most      int64  // of the answer, in bytes: ErrTooLarge above it; largestAnswer if 0
	looks     bool   // after another call has failed: its own failures are not looked into
}

// ErrTooLarge is behind the error of a call whose answer is larger than its caller can hold.
var ErrTooLarge = errors.New("the answer is too large")

// do sends a request, classifies a refusal and decodes the answer into out; nil ignores the answer.
// Every error is an *Error, or wraps context.Canceled if the caller's context ended; then it is
// unknown whether a change was made.
func (c *Client) do(ctx context.Context, what call, request esapi.Request, out any) error {
	limited, cancel := context.WithTimeout(ctx, c.limit(what))
	defer cancel()

	response, tell, err := c.observed(limited, request)
	if err != nil {
		tell(nil, err)
		return c.unanswered(ctx, what, err)
	}
	defer func() { _ = response.Body.Close() }()
	most := int64(largestAnswer)
	if what.most > 0 {
		most = what.most
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, most+1))
	tell(body, err)
	if err != nil {
		return c.unanswered(ctx, what, &transportError{err: err, sent: true})
	}
	if response.StatusCode < 200 || response.StatusCode > 299 {
		failure := answered(response.StatusCode, body, what.once)
		if failure.Kind == Missing && failure.Type == indexNotFound && !what.looks {
			c.lookAgain(ctx, failure)
		}
		return c.describe(what, failure)
	}
	if int64(len(body)) > most {
		return c.describe(what, &Error{
			Kind: Invalid, Reason: fmt.Sprintf("the answer has more than %s", human.Size(most)), err: ErrTooLarge,
		})
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(body, out); err != nil {
		return c.fail(what, Internal, "the answer can't be read: "+err.Error())
	}
	return nil
}

// unanswered classifies a call that got no complete answer.
func (c *Client) unanswered(ctx context.Context, what call, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("%s on %s: %w", what.operation, c.host, context.Canceled)
	}
	failure := &Error{Kind: Unavailable, Reason: err.Error(), err: err}
	transport, ok := errors.AsType[*transportError](err)
	if what.once && (!ok || transport.sent) {
		failure.Kind = OutcomeUnknown
	}
	if ok && transport.refused {
		failure.Kind = Unauthorized
	}
	if errors.Is(err, context.DeadlineExceeded) {
		failure.Reason, failure.err = "no answer in time", context.DeadlineExceeded
	}
	return c.describe(what, failure)
}

// fail makes an error of an answer that has the wrong content.
func (c *Client) fail(what call, kind Kind, reason string) error {
	return c.describe(what, &Error{Kind: kind, Reason: reason})
}

func (c *Client) describe(what call, e *Error) error {
	e.Operation, e.Subject, e.Endpoint = what.operation, what.subject, c.host
	c.redactor.error(e)
	return e
}

// acknowledge sends a request that changes the cluster state. The answer "acknowledged": false
// means that a node didn't confirm the change in time. The change itself was made, and to repeat it
// is harmless.
func (c *Client) acknowledge(ctx context.Context, what call, request esapi.Request) error {
	var answer struct {
		Acknowledged *bool `json:"acknowledged"`
	}
	if err := c.do(ctx, what, request, &answer); err != nil {
		return err
	}
	if answer.Acknowledged != nil && !*answer.Acknowledged {
		return c.unacknowledged(what)
	}
	return nil
}

// body encodes a request body as a *bytes.Reader, so that it is sent with a length, as Amazon's
// front end demands.
func body(v any) *bytes.Reader {
	encoded, err := json.Marshal(v)
	if err != nil {
		// only our own types and plain settings reach this
		panic(fmt.Sprintf("elastic: body of type %T can't be encoded", v))
	}
	return bytes.NewReader(encoded)
}

// shardsHeader is what broadcasts and searches tell about the shards that they reached.
type shardsHeader struct {
	Total      int `json:"total"`
	Successful int `json:"successful"`
	Failed     int `json:"failed"`
	Failures   []struct {
		Index  string  `json:"index"`
		Shard  int     `json:"shard"`
		Reason esError `json:"reason"`
	} `json:"failures"`
}

// kind is that of an answer to which not all shards contributed: a block goes away by itself as
// little as elsewhere.
func (s shardsHeader) kind() Kind {
	for _, failure := range s.Failures {
		if failure.Reason.Type == "cluster_block_exception" &&
			!strings.Contains(failure.Reason.Reason, "SERVICE_UNAVAILABLE") {
			return Blocked
		}
	}
	return Unavailable
}

func (s shardsHeader) failure() string {
	text := fmt.Sprintf("%d of %d shards failed", s.Failed, s.Total)
	if len(s.Failures) > 0 {
		first := s.Failures[0]
		text += fmt.Sprintf(", first [%s][%d] %s", first.Index, first.Shard, first.Reason.text())
	}
	return text
}

func ptr[T any](v T) *T { return &v }
