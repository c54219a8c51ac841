package elastic

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/snapferry/snapferry/internal/awschain"
	"github.com/snapferry/snapferry/internal/redact"
	"github.com/snapferry/snapferry/internal/skew"
)

// signer signs each request as the last step before it is sent: nothing after it may change headers
// or URL.
type signer struct {
	auth   SigV4
	next   http.RoundTripper
	signer *v4.Signer
	hidden *redact.Redactor
	now    func() time.Time
	clock  skew.Clock
}

func newSigner(auth SigV4, hidden *redact.Redactor, next http.RoundTripper) (*signer, error) {
	if auth.Region == "" || auth.Credentials == nil {
		return nil, errors.New("signing needs a region and a credentials provider")
	}
	auth.Service = auth.service()
	return &signer{auth: auth, next: next, hidden: hidden, signer: v4.NewSigner(), now: time.Now}, nil
}

// expired matches how Amazon refuses temporary credentials that have expired.
var expired = regexp.MustCompile(`(?i)security token[^"]*(expired|invalid)|token has expired|signature expired`)

// wrongTime matches how Amazon refuses a signature whose time is not its own.
var wrongTime = regexp.MustCompile(`(?i)signature expired|signature not yet current|RequestTimeTooSkewed`)

// RoundTrip sends a signed clone of the request. If Amazon refuses it, and there are new credentials
// by now or this computer's clock is wrong, it sends the request again: Amazon refused it before it
// had an effect.
func (s *signer) RoundTrip(request *http.Request) (*http.Response, error) {
	content, err := contentOf(request)
	if err != nil {
		return nil, err
	}
	used := s.clock.Ahead()
	response, err := s.send(request, content)
	if err != nil || response.StatusCode != http.StatusForbidden && response.StatusCode != http.StatusUnauthorized {
		return response, err
	}
	refusal, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	_ = response.Body.Close()
	if err != nil {
		return nil, err
	}
	late := wrongTime.Match(refusal) && s.clock.Learn(response.Header, s.now(), used)
	if !late && !s.renewed(request.Context(), refusal) {
		response.Body = io.NopCloser(bytes.NewReader(refusal))
		return response, nil
	}
	return s.send(request, content)
}

// renewed tells whether other credentials may change the answer.
func (s *signer) renewed(ctx context.Context, refusal []byte) bool {
	switch credentials := s.auth.Credentials.(type) {
	case interface{ Refused(context.Context) bool }:
		return credentials.Refused(ctx)
	case interface{ Invalidate() }:
		if expired.Match(refusal) {
			credentials.Invalidate()
			return true
		}
	}
	return false
}

// contentOf reads a request's body, so that it can be sent twice.
func contentOf(request *http.Request) ([]byte, error) {
	if request.Body == nil {
		return nil, nil
	}
	content, err := io.ReadAll(request.Body)
	_ = request.Body.Close()
	if err != nil {
		return nil, fmt.Errorf("read the request's body: %w", err)
	}
	return content, nil
}

// withContent is a clone of the request with a body of a known length: else it would be sent
// chunked, which isn't signed, and which Amazon's front end refuses.
func withContent(request *http.Request, content []byte) *http.Request {
	clone := request.Clone(request.Context())
	if len(content) == 0 {
		clone.Body, clone.GetBody, clone.ContentLength = http.NoBody, nil, 0
		return clone
	}
	clone.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }
	clone.Body, _ = clone.GetBody()
	clone.ContentLength, clone.TransferEncoding = int64(len(content)), nil
	return clone
}

func (s *signer) send(request *http.Request, content []byte) (*http.Response, error) {
	signed := withContent(request, content)
	signed.Header.Del("Authorization")
	signed.Host = "" // the host of the URL, the domain's own
	credentials, err := s.credentials(request.Context())
	if err != nil {
		return nil, err
	}
	s.hidden.Add(credentials.SecretAccessKey, credentials.SessionToken)
	hash := sha256.Sum256(content)
	err = s.signer.SignHTTP(request.Context(), credentials, signed, hex.EncodeToString(hash[:]), s.auth.Service,
		s.auth.Region, s.clock.Now(s.now()))
	if err != nil {
		return nil, &transportError{err: fmt.Errorf("sign the request: %w", err), refused: true}
	}
	return s.next.RoundTrip(signed)
}

func (s *signer) credentials(ctx context.Context) (aws.Credentials, error) {
	credentials, err := s.auth.Credentials.Retrieve(ctx)
	if err != nil {
		// Nothing was sent. A failure of the service that gives credentials counts as one of the
		// cluster.
		return credentials, &transportError{
			err:     fmt.Errorf("get AWS credentials: %w%s", err, awschain.Hint(err)),
			refused: ctx.Err() == nil && !awschain.Passes(err),
		}
	}
	return credentials, nil
}
