package activities

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/config"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/migration"
)

// clusters keeps one client for each cluster and credential, so that the short
// steps of the frozen window find their connections open.
type clusters struct {
	mu      sync.Mutex
	clients map[string]*elastic.Client
}

func newClusters() *clusters { return &clusters{clients: map[string]*elastic.Client{}} }

// get resolves the plan's secrets anew each time, since they may be replaced
// while a migration runs. Its errors are classified.
func (c *clusters) get(ctx context.Context, at side, run migration.Run) (*elastic.Client, error) {
	endpoint, auth := run.Plan.Source.Endpoint, run.Plan.Source.Auth
	if at == onTarget {
		endpoint, auth = run.Plan.Target.Endpoint, run.Plan.Target.Auth
	}
	var password string
	if auth.Type == migration.AuthBasic {
		var err error
		if password, err = resolveSecret(auth.Password); err != nil {
			return nil, err
		}
	}
	var hidden []string
	if at == onTarget {
		hidden = repositoryKey(run.Plan.Target.Repository)
	}
	digest := sha256.Sum256([]byte(password + "\x00" + strings.Join(hidden, "\x00")))
	key := fmt.Sprintf("%s|%s|%s|%s|%x", endpoint, auth.Type, auth.Region, auth.User, digest)

	c.mu.Lock()
	defer c.mu.Unlock()
	if client, ok := c.clients[key]; ok {
		return client, nil
	}
	client, err := connect(ctx, endpoint, auth, password, hidden)
	if err != nil {
		return nil, err
	}
	c.clients[key] = client
	return client, nil
}

// repositoryKey is the key that the target cluster reads OSS with. OSS's refusals
// quote its id, and the cluster quotes those, to whichever worker asks. One that
// isn't there can't be hidden; whoever needs it will say so.
func repositoryKey(r migration.TargetRepository) (parts []string) {
	for _, ref := range []migration.SecretRef{r.AccessKeyID, r.SecretAccessKey} {
		if value, err := resolveSecret(ref); err == nil {
			parts = append(parts, value)
		}
	}
	return parts
}

func connect(ctx context.Context, endpoint string, auth migration.Auth, password string, hidden []string) (*elastic.Client, error) {
	settings := elastic.Config{Endpoint: endpoint, Redact: hidden}
	switch auth.Type {
	case migration.AuthBasic:
		settings.Auth = elastic.Basic{User: auth.User, Password: password}
	case migration.AuthSigV4:
		aws, err := config.LoadDefaultConfig(ctx, config.WithRegion(auth.Region))
		if err != nil {
			return nil, fail(migration.ErrorUnauthorized, "load the worker's AWS configuration: %w", err)
		}
		settings.Auth = elastic.SigV4{Region: auth.Region, Credentials: aws.Credentials}
	}
	client, err := elastic.New(settings)
	if err != nil {
		return nil, fail(migration.ErrorRefused, "prepare the connection to the cluster: %w", err)
	}
	return client, nil
}
