package elastic

import (
	"context"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Auth says how requests prove who sends them: [Basic], [SigV4], or nil for no credentials.
type Auth interface{ auth() }

// Basic sends a user name and a password, as Alibaba Cloud Elasticsearch and Amazon's fine-grained
// access control expect.
type Basic struct {
	User, Password string
	// Again reads the password again once the cluster has refused it, since it may have been renewed.
	// It may be nil.
	Again func(context.Context) (string, error)
}

// SigV4 signs each request for Amazon Elasticsearch Service.
type SigV4 struct {
	Region      string // of the domain
	Service     string // empty means "es"
	Credentials aws.CredentialsProvider
}

func (Basic) auth() {}
func (SigV4) auth() {}

// Format prints the user, never the password, for every verb.
func (b Basic) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "basic("+b.User+")") }

// Format prints region and service, never credentials, for every verb.
func (s SigV4) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "sigv4("+s.Region+"/"+s.service()+")")
}

func (s SigV4) service() string {
	if s.Service == "" {
		return "es"
	}
	return s.Service
}
