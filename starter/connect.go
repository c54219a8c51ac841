package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	"go.temporal.io/sdk/log"
)

// callTimeout limits one call to Temporal that needs no worker.
const callTimeout = 10 * time.Second

// connection is a client, with the facts about it that error messages name.
type connection struct {
	temporalClient
	address, namespace string
}

// connect finds Temporal as the temporal command line does. Flags override that.
func (a *app) connect(ctx context.Context) (*connection, error) {
	options, err := envconfig.LoadClientOptions(envconfig.LoadClientOptionsRequest{
		ConfigFileProfile: a.profile, EnvLookup: a.environment,
	})
	if err != nil {
		return nil, fail(exitFailed, "can't read the configuration of Temporal's client: %w; check "+
			"--profile, the TEMPORAL_* variables and the configuration file of the temporal command "+
			"line", err)
	}
	if a.address != "" {
		options.HostPort = a.address
	}
	if a.namespace != "" {
		options.Namespace = a.namespace
	}
	if options.HostPort == "" {
		options.HostPort = client.DefaultHostPort
	}
	if options.Namespace == "" {
		options.Namespace = client.DefaultNamespace
	}
	// The SDK's log lines would mix with the output.
	options.Logger = log.NewStructuredLogger(slog.New(slog.NewTextHandler(io.Discard, nil)))

	dialing, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	c, err := a.dial(dialing, options)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, unreachable(options.HostPort, err)
	}
	return &connection{temporalClient: c, address: options.HostPort, namespace: options.Namespace}, nil
}

func unreachable(address string, cause error) error {
	return fail(exitFailed, "can't reach Temporal at %s (%w); set the address with --address, TEMPORAL_ADDRESS "+
		"or a profile, and TLS or an API key if the server needs them; `temporal server start-dev` starts a "+
		"server for tests", address, cause)
}

// explain turns an error of a call about one migration into a sentence with an exit code.
func (c *connection) explain(err error, t target) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*exitError](err); ok {
		return err
	}
	if _, ok := errors.AsType[*serviceerror.NamespaceNotFound](err); ok {
		return fail(exitFailed, "Temporal at %s has no namespace %s; set another one with --namespace or "+
			"TEMPORAL_NAMESPACE",
			c.address, c.namespace)
	}
	if _, ok := errors.AsType[*serviceerror.NotFound](err); ok {
		exit := fail(exitNotFound, "there is no migration %s: no workflow with the id %s in namespace %s at %s",
			t.label(), t.id, c.namespace, c.address)
		exit.next = "starter start -f PLAN, or name another with -w WORKFLOW-ID"
		return exit
	}
	if _, ok := errors.AsType[*serviceerror.PermissionDenied](err); ok {
		return fail(exitFailed, "Temporal at %s refuses access to namespace %s: %w; check TEMPORAL_API_KEY "+
			"or the client certificate",
			c.address, c.namespace, err)
	}
	if transient(err) {
		return unreachable(c.address, err)
	}
	return fail(exitFailed, "Temporal at %s answered: %w", c.address, err)
}

// transient reports whether another try may succeed.
func transient(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	if _, ok := errors.AsType[*serviceerror.Unavailable](err); ok {
		return true
	}
	if _, ok := errors.AsType[*serviceerror.ResourceExhausted](err); ok {
		return true
	}
	_, ok := errors.AsType[*serviceerror.DeadlineExceeded](err)
	return ok
}

// within runs a call with a time limit of its own.
func within[T any](ctx context.Context, limit time.Duration, call func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	value, err := call(ctx)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("no answer within %s: %w", limit, errors.Join(err, ctx.Err()))
	}
	return value, err
}
