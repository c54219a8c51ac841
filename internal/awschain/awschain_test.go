package awschain_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"
	"testing"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/awschain"
)

func answered(status int, code string) error {
	var inner error = errors.New("not an API's")
	if code != "" {
		inner = &smithy.GenericAPIError{Code: code, Message: "said so"}
	}
	return &smithy.OperationError{
		ServiceID: "STS", OperationName: "AssumeRoleWithWebIdentity",
		Err: &smithyhttp.ResponseError{
			Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status}},
			Err:      inner,
		},
	}
}

func metadata(err error) error {
	return fmt.Errorf("no EC2 IMDS role found, %w", &url.Error{
		Op:  "Get",
		URL: "http://169.254.169.254/latest/meta-data", Err: &net.OpError{Op: "dial", Net: "tcp", Err: err},
	})
}

func TestWhatPassesWhileCredentialsAreFetched(t *testing.T) {
	_, absent := os.Open(t.TempDir() + "/token")
	for name, tt := range map[string]struct {
		err  error
		want bool
	}{
		"STS is down":              {answered(503, ""), true},
		"STS fails":                {answered(500, "InternalFailure"), true},
		"STS throttles with 400":   {answered(400, "Throttling"), true},
		"429":                      {answered(429, "TooMany"), true},
		"the provider of identity": {answered(400, "IDPCommunicationError"), true},
		"connection reset": {&net.OpError{
			Op: "read", Net: "tcp",
			Err: os.NewSyscallError("read", syscall.ECONNRESET),
		}, true},
		"refused by STS' proxy": {&net.OpError{
			Op: "dial", Net: "tcp",
			Err: os.NewSyscallError("connect", syscall.ECONNREFUSED),
		}, true},
		"no name": {&net.DNSError{
			Err: "server misbehaving", Name: "sts.eu-west-1.amazonaws.com",
			IsTemporary: true,
		}, true},
		"time is over":  {fmt.Errorf("assume role: %w", context.DeadlineExceeded), true},
		"slow metadata": {metadata(os.ErrDeadlineExceeded), true},

		"denied by STS":           {answered(403, "AccessDenied"), false},
		"expired token":           {answered(400, "ExpiredTokenException"), false},
		"no role on the instance": {fmt.Errorf("no EC2 IMDS role found, %w", answered(404, "")), false},
		"no instance of EC2":      {metadata(os.NewSyscallError("connect", syscall.EHOSTUNREACH)), false},
		"no provider at all": {
			errors.New("no EC2 IMDS role found, access disabled to EC2 IMDS via client option"),
			false,
		},
		"no profile":    {errors.New("failed to get shared config profile, x"), false},
		"no token file": {fmt.Errorf("failed to read token: %w", absent), false},
		"an untrusted authority": {&url.Error{
			Op: "Post", URL: "https://sts",
			Err: &tls.CertificateVerificationError{Err: errors.New("unknown authority")},
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, tt.want, awschain.Passes(fmt.Errorf("failed to refresh cached credentials, %w", tt.err)),
				"%v", tt.err)
		})
	}
	var path *fs.PathError
	require.ErrorAs(t, absent, &path)
	require.Contains(t, awschain.Hint(metadata(syscall.EHOSTUNREACH)), "AWS_ACCESS_KEY_ID")
	require.Contains(t, awschain.Hint(metadata(syscall.EHOSTUNREACH)), "AWS_PROFILE")
	require.Empty(t, awschain.Hint(answered(403, "AccessDenied")))
}
