package activities

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"

	"go.temporal.io/sdk/activity"

	"github.com/snapferry/snapferry/internal/awschain"
	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/migration"
)

// clusters keeps one client for each cluster and credential, so that the short steps of the frozen
// window find open connections.
type clusters struct {
	keys
	mu      sync.Mutex
	clients map[string]*elastic.Client

	// activity is the type of the activity that runs, and sent tells whether its workflow had the
	// same source before.
	activity func(context.Context) string
	sent     func(context.Context, migration.Source) (bool, error)
	// chain gives AWS credentials for a region.
	chain func(region string) *awschain.Credentials
}

func newClusters(k keys) *clusters {
	return &clusters{
		keys: k, clients: map[string]*elastic.Client{},
		activity: func(ctx context.Context) string { return activity.GetInfo(ctx).ActivityType.Name },
		sent:     sentBefore, chain: awschain.New,
	}
}

// access is how a cluster is reached: the plan's fields, with what they refer to.
type access struct {
	side     side
	endpoint string
	auth     migration.Auth
	password string
	ca       []byte
	hidden   []string
	// again reads the password again, after the cluster has refused it.
	again func(context.Context) (string, error)
}

// get reads the plan's secrets each time, since somebody may replace them while a migration runs.
// Its errors are classified.
func (c *clusters) get(ctx context.Context, at side, run migration.Run) (*elastic.Client, error) {
	to, err := c.access(ctx, at, run)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256([]byte(to.password + "\x00" + strings.Join(to.hidden, "\x00") + "\x00" + string(to.ca)))
	key := fmt.Sprintf("%s|%s|%s|%s|%x", to.endpoint, to.auth.Type, to.auth.Region, to.auth.User, digest)

	c.mu.Lock()
	defer c.mu.Unlock()
	if client, ok := c.clients[key]; ok {
		return client, nil
	}
	client, err := c.connect(to)
	if err != nil {
		return nil, err
	}
	if len(c.clients) >= mostKept {
		clear(c.clients) // those of old passwords
	}
	c.clients[key] = client
	return client, nil
}

// access reads what a plan says of a cluster. Where the fence refuses it, one step goes on: whoever
// could set the source's block may remove it (docs/adr/0022-secrets-fence.md).
func (c *clusters) access(ctx context.Context, at side, run migration.Run) (access, error) {
	to, err := c.read(ctx, at, run)
	if typeOf(err) != migration.ErrorSecret || at != onSource || !removesBlock(c.activity(ctx)) {
		return to, err
	}
	source := run.Plan.Source
	sent, failure := c.sent(ctx, source)
	if failure != nil || !sent {
		return to, cmp.Or(failure, err)
	}
	opened := keys{c.fence.Opened(string(source.Auth.Password), "file:"+source.CAFile)}
	return opened.read(ctx, at, run)
}

func (k keys) read(ctx context.Context, at side, run migration.Run) (access, error) {
	to := access{side: at, endpoint: run.Plan.Source.Endpoint, auth: run.Plan.Source.Auth}
	ca := run.Plan.Source.CAFile
	if at == onTarget {
		to.endpoint, to.auth, ca = run.Plan.Target.Endpoint, run.Plan.Target.Auth, run.Plan.Target.CAFile
	}
	field := string(at)
	if err := k.endpoint(field+".endpoint", to.endpoint); err != nil {
		return to, err
	}
	var err error
	if to.ca, err = k.roots(ctx, field+".caFile", ca); err != nil {
		return to, err
	}
	if to.auth.Type == migration.AuthBasic {
		to.again = func(ctx context.Context) (string, error) {
			return k.secret(ctx, field+".auth.password", to.auth.Password)
		}
		if to.password, err = to.again(ctx); err != nil {
			return to, err
		}
	}
	if at == onTarget {
		to.hidden = k.repositoryKey(ctx, run.Plan.Target.Repository)
	}
	return to, nil
}

// repositoryKey is the key that the target cluster reads OSS with. OSS quotes the id of the key
// when it refuses a request, and the cluster quotes OSS, to any worker. A secret that this worker
// lacks can't be hidden: the step that needs it reports that.
func (k keys) repositoryKey(ctx context.Context, r migration.TargetRepository) (parts []string) {
	for _, ref := range []migration.SecretRef{r.AccessKeyID, r.SecretAccessKey} {
		if value, err := k.secret(ctx, "", ref); err == nil {
			parts = append(parts, value)
		}
	}
	return parts
}

func (c *clusters) connect(to access) (*elastic.Client, error) {
	settings := elastic.Config{Endpoint: to.endpoint, Redact: to.hidden, CACert: to.ca}
	switch to.auth.Type {
	case migration.AuthBasic:
		settings.Auth = elastic.Basic{User: to.auth.User, Password: to.password, Again: to.again}
	case migration.AuthSigV4:
		settings.Auth = elastic.SigV4{Region: to.auth.Region, Credentials: c.chain(to.auth.Region)}
	}
	client, err := elastic.New(settings)
	if err != nil {
		return nil, fail(migration.ErrorRefused, "prepare the connection to the %s cluster: %w", to.side, err)
	}
	return client, nil
}
