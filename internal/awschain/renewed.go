package awschain

import (
	"context"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
)

const (
	// keptFor is after how long the chain is set up again. The SDK reads its files of credentials
	// only once, and people and sidecars renew them.
	keptFor = 10 * time.Minute
	// shortestKept bounds how often refusals have the chain set up again: a permission that lacks is
	// refused as well.
	shortestKept = time.Second
	// triedAgain is after how long the chain is set up again that couldn't be.
	triedAgain = 10 * time.Second
	// freshFor is how long after a change a refusal may still be about the credentials before it.
	freshFor = time.Minute
)

// Credentials are those of the SDK's chain, which is set up again every few minutes, and once they
// are refused. It is safe for concurrent use.
type Credentials struct {
	load func(context.Context) (aws.CredentialsProvider, error)
	now  func() time.Time

	mu       sync.Mutex
	provider aws.CredentialsProvider
	since    time.Time // when the chain was set up
	last     aws.Credentials
	changed  time.Time // when Retrieve gave others than before
}

// New gives the credentials of the SDK's chain for a region. It reads nothing yet.
func New(region string) *Credentials {
	return NewFrom(func(ctx context.Context) (aws.CredentialsProvider, error) {
		loaded, err := config.LoadDefaultConfig(ctx, config.WithRegion(region))
		return loaded.Credentials, err
	}, time.Now)
}

// NewFrom is New with another way to set the chain up, and another clock.
func NewFrom(load func(context.Context) (aws.CredentialsProvider, error), now func() time.Time) *Credentials {
	return &Credentials{load: load, now: now}
}

// Retrieve implements aws.CredentialsProvider.
func (c *Credentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.retrieve(ctx, keptFor)
}

func (c *Credentials) retrieve(ctx context.Context, kept time.Duration) (aws.Credentials, error) {
	credentials, err := c.renewed(ctx, kept)
	if err != nil {
		return credentials, err
	}
	if !sameKey(c.last, credentials) {
		if c.last.HasKeys() {
			c.changed = c.now()
		}
		c.last = credentials
	}
	return credentials, nil
}

// renewed sets the chain up again if that is due.
func (c *Credentials) renewed(ctx context.Context, kept time.Duration) (aws.Credentials, error) {
	now := c.now()
	if c.provider != nil && now.Sub(c.since) < kept {
		return c.provider.Retrieve(ctx)
	}
	provider, err := c.load(ctx)
	var credentials aws.Credentials
	if err == nil {
		credentials, err = provider.Retrieve(ctx)
	}
	switch {
	case err == nil:
		c.provider, c.since = provider, now
		return credentials, nil
	case c.provider == nil:
		return aws.Credentials{}, err
	}
	// A file is being written, or a service doesn't answer: the ones before may still be valid.
	c.since = now.Add(triedAgain - keptFor)
	return c.provider.Retrieve(ctx)
}

// Refused is told that a service has refused a request. It reports whether there are other
// credentials by now, so that it makes sense to send the request again.
func (c *Credentials) Refused(ctx context.Context) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.retrieve(ctx, shortestKept); err != nil {
		return false
	}
	return !c.changed.IsZero() && c.now().Sub(c.changed) < freshFor
}

// Secrets are the credentials that no message may show.
func (c *Credentials) Secrets() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return []string{c.last.SecretAccessKey, c.last.SessionToken}
}

func sameKey(a, b aws.Credentials) bool {
	return a.AccessKeyID == b.AccessKeyID && a.SecretAccessKey == b.SecretAccessKey && a.SessionToken == b.SessionToken
}
