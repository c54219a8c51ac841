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
)

// signer signs each request as the last step before it is sent: nothing after it may change headers
// or URL.
type signer struct {
	auth   SigV4
	next   http.RoundTripper
	signer *v4.Signer
	now    func() time.Time
}

func newSigner(auth SigV4, next http.RoundTripper) (*signer, error) {
	if auth.Region == "" || auth.Credentials == nil {
		return nil, errors.New("signing needs a region and a credentials provider")
	}
	auth.Service = auth.service()
	return &signer{auth: auth, next: next, signer: v4.NewSigner(), now: time.Now}, nil
}

// expired matches how Amazon refuses temporary credentials that have expired.
var expired = regexp.MustCompile(`(?i)security token[^"]*(expired|invalid)|token has expired|signature expired`)

// RoundTrip sends a signed clone of the request. If Amazon answers that the token has expired, it
// fetches new credentials and sends the request again: Amazon refused it before it had an effect.
func (s *signer) RoundTrip(request *http.Request) (*http.Response, error) {
	var content []byte
	if request.Body != nil {
		var err error
		content, err = io.ReadAll(request.Body)
		_ = request.Body.Close()
		if err != nil {
			return nil, fmt.Errorf("read the request's body: %w", err)
		}
	}
	response, err := s.send(request, content)
	if err != nil || response.StatusCode != http.StatusForbidden && response.StatusCode != http.StatusUnauthorized {
		return response, err
	}
	cache, ok := s.auth.Credentials.(interface{ Invalidate() })
	if !ok {
		return response, nil
	}
	refusal, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	_ = response.Body.Close()
	if err != nil {
		return nil, err
	}
	if !expired.Match(refusal) {
		response.Body = io.NopCloser(bytes.NewReader(refusal))
		return response, nil
	}
	cache.Invalidate()
	return s.send(request, content)
}

func (s *signer) send(request *http.Request, content []byte) (*http.Response, error) {
	signed := request.Clone(request.Context())
	signed.Header.Del("Authorization")
	if len(content) == 0 {
		signed.Body, signed.GetBody, signed.ContentLength = http.NoBody, nil, 0
	} else {
		signed.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }
		signed.Body, _ = signed.GetBody()
		signed.ContentLength = int64(len(content)) // else it would be sent chunked, which isn't signed
		signed.TransferEncoding = nil
	}
	signed.Host = "" // the host of the URL, the domain's own
	credentials, err := s.credentials(request.Context())
	if err != nil {
		return nil, err
	}
	hash := sha256.Sum256(content)
	err = s.signer.SignHTTP(request.Context(), credentials, signed, hex.EncodeToString(hash[:]), s.auth.Service,
		s.auth.Region, s.now())
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
