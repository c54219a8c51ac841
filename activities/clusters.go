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

// clusters keeps one client for each cluster and credential, so that the short steps of the frozen
// window find open connections.
type clusters struct {
	mu      sync.Mutex
	clients map[string]*elastic.Client
}

func newClusters() *clusters { return &clusters{clients: map[string]*elastic.Client{}} }

// get reads the plan's secrets each time, since somebody may replace them while a migration runs.
// Its errors are classified.
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
	client, err := connect(ctx, at, endpoint, auth, password, hidden)
	if err != nil {
		return nil, err
	}
	c.clients[key] = client
	return client, nil
}

// repositoryKey is the key that the target cluster reads OSS with. OSS quotes the id of the key
// when it refuses a request, and the cluster quotes OSS, to any worker. A secret that this worker
// lacks can't be hidden: the step that needs it reports that.
func repositoryKey(r migration.TargetRepository) (parts []string) {
	for _, ref := range []migration.SecretRef{r.AccessKeyID, r.SecretAccessKey} {
		if value, err := resolveSecret(ref); err == nil {
			parts = append(parts, value)
		}
	}
	return parts
}

func connect(ctx context.Context, at side, endpoint string, auth migration.Auth, password string,
	hidden []string,
) (*elastic.Client, error) {
	settings := elastic.Config{Endpoint: endpoint, Redact: hidden}
	switch auth.Type {
	case migration.AuthBasic:
		settings.Auth = elastic.Basic{User: auth.User, Password: password}
	case migration.AuthSigV4:
		aws, err := config.LoadDefaultConfig(ctx, config.WithRegion(auth.Region))
		if err != nil {
			return nil, fail(migration.ErrorUnauthorized, "load the AWS configuration of this worker: %w", err)
		}
		settings.Auth = elastic.SigV4{Region: auth.Region, Credentials: aws.Credentials}
	}
	client, err := elastic.New(settings)
	if err != nil {
		return nil, fail(migration.ErrorRefused, "prepare the connection to the %s cluster: %w", at, err)
	}
	return client, nil
}
