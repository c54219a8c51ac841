package lab

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"google.golang.org/grpc"

	"github.com/snapferry/snapferry/lab/payloads"
)

// Temporal is the dev server. Its database is a file, so what runs survives Kill and Restart.
type Temporal struct {
	Address   string // HOST:PORT of the gRPC front end
	UIAddress string // http://HOST:PORT, empty without the UI
	Namespace string
	CLI       string // path of the temporal command
}

// Dial connects to the server. Close the client.
func (t Temporal) Dial(ctx context.Context, options ...grpc.DialOption) (client.Client, error) {
	return client.DialContext(ctx, client.Options{
		HostPort: t.Address, Namespace: t.Namespace, Logger: log.NewStructuredLogger(slog.New(slog.DiscardHandler)),
		ConnectionOptions: client.ConnectionOptions{DialOptions: options},
	})
}

// LimitPayloads starts a proxy before the lab's Temporal that ends with the lab. Who is to be held
// to the limit takes the proxy's address in place of Temporal's.
func (l *Lab) LimitPayloads() (*payloads.Proxy, error) {
	p, err := payloads.NewProxy(l.Temporal.Address)
	if err != nil {
		return nil, err
	}
	l.closing(p.Close)
	return p, nil
}

func newTemporal(dir string, t *toolbox, ui bool, at *Temporal) *server {
	at.Namespace, at.CLI = "default", t.temporal().path
	port, uiPort := 0, 0
	ports := []*int{&port}
	if ui {
		ports = append(ports, &uiPort)
	}
	return &server{
		name: "temporal", ports: ports,
		spec: func() processSpec {
			at.Address = fmt.Sprintf("127.0.0.1:%d", port)
			args := []string{
				"server", "start-dev", "--ip", "127.0.0.1", "--port", strconv.Itoa(port),
				"--db-filename", filepath.Join(dir, "temporal.db"), "--log-level", "error", "--disable-config-file",
				"--disable-config-env",
			}
			if ui {
				at.UIAddress = fmt.Sprintf("http://127.0.0.1:%d", uiPort)
				args = append(args, "--ui-port", strconv.Itoa(uiPort))
			} else {
				args = append(args, "--headless")
			}
			return processSpec{name: "temporal", path: t.temporal().path, dir: dir, args: args, env: plainEnv()}
		},
		ready: func(ctx context.Context, _ *Process) error {
			ctx, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			c, err := at.Dial(ctx)
			if err != nil {
				return err
			}
			defer c.Close()
			if _, err := c.CheckHealth(ctx, &client.CheckHealthRequest{}); err != nil {
				return err
			}
			_, err = c.WorkflowService().DescribeNamespace(ctx,
				&workflowservice.DescribeNamespaceRequest{Namespace: at.Namespace})
			return err
		},
	}
}

func temporalFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("no folder for Temporal: %w", err)
	}
	return nil
}
