package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/snapferry/snapferry/migration"
	"github.com/snapferry/snapferry/workflows"
)

const (
	// attributesInterval is how often the worker asks which search attributes are registered.
	attributesInterval = 20 * time.Second
	// attributesSettle is how long they must have been there. Each process of a Temporal server
	// remembers for up to a minute which ones there are. One that doesn't know of them yet would
	// refuse the workflow tasks that set them. A worker that finds them in use when it begins knows
	// that none will.
	attributesSettle = 80 * time.Second
)

// attributesTimeout bounds a look at the search attributes.
const attributesTimeout = 10 * time.Second

// namespaceAttributes are the search attributes of a namespace.
type namespaceAttributes struct {
	// list tells which are registered.
	list func(context.Context) (map[string]enums.IndexedValueType, error)
	// used tells whether a workflow has ours already: then all processes of the server know them.
	used func(context.Context) bool
}

func attributesOf(temporal client.Client, namespace string) namespaceAttributes {
	return namespaceAttributes{
		list: func(ctx context.Context) (map[string]enums.IndexedValueType, error) {
			ctx, cancel := context.WithTimeout(ctx, attributesTimeout)
			defer cancel()
			found, err := temporal.OperatorService().ListSearchAttributes(ctx,
				&operatorservice.ListSearchAttributesRequest{Namespace: namespace})
			return found.GetCustomAttributes(), err
		},
		used: func(ctx context.Context) bool {
			ctx, cancel := context.WithTimeout(ctx, attributesTimeout)
			defer cancel()
			page, err := temporal.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{
				Namespace: namespace, PageSize: 1, Query: migration.AttributePhase + " IS NOT NULL",
			})
			return err == nil && len(page.GetExecutions()) > 0
		},
	}
}

// refusals hears of a workflow task that the server has refused because of a search attribute.
type refusals chan struct{}

func newRefusals() refusals { return make(refusals, 1) }

// intercept looks at what the server answers to workflow tasks. Whatever was known of the attributes
// is wrong then, and the next attempt comes at once.
func (r refusals) intercept(ctx context.Context, method string, request, reply any, connection *grpc.ClientConn,
	invoke grpc.UnaryInvoker, options ...grpc.CallOption,
) error {
	err := invoke(ctx, method, request, reply, connection, options...)
	if err != nil && method == workflowservice.WorkflowService_RespondWorkflowTaskCompleted_FullMethodName &&
		strings.Contains(err.Error(), enums.WORKFLOW_TASK_FAILED_CAUSE_BAD_SEARCH_ATTRIBUTES.String()) {
		workflows.SetSearchable(false)
		select {
		case r <- struct{}{}:
		default: // it is known already
		}
	}
	return err
}

// followAttributes asks at each tick which search attributes the namespace has, until the context
// ends, and tells the workflows when it has had all of ours for long enough. Without them nothing is
// missing but a way to filter lists. After a refusal they count as new.
func followAttributes(ctx context.Context, of namespaceAttributes, refused refusals, ticks <-chan time.Time,
	now func() time.Time, tell func(has bool), logger *zap.Logger,
) {
	var since time.Time // of their presence; zero without it
	first := true
	told, said := false, ""
	say := func(text string, fields ...zap.Field) {
		if text != said {
			logger.Info(text, fields...)
			said = text
		}
	}
	for {
		found, err := of.list(ctx)
		missing := lacking(found)
		switch {
		case err != nil && transientError(err):
			// What was registered still is.
		case err != nil:
			since = time.Time{}
			say("can't tell whether search attributes are registered; workflows set none", zap.Error(err))
		case len(missing) > 0:
			since = time.Time{}
			say("lists of workflows can't be filtered by phase: search attributes are not registered",
				zap.Strings("missing", missing), zap.String("register", migration.RegisterAttributes))
		case since.IsZero():
			if since = now(); first && of.used(ctx) {
				since = since.Add(-attributesSettle)
			}
		}
		first = first && err != nil
		if has := !since.IsZero() && now().Sub(since) >= attributesSettle; has != told {
			tell(has)
			if told = has; has {
				say("workflows set the search attributes of migrations")
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-refused:
			since, first, told = time.Time{}, false, false
			tell(false)
		case <-ticks:
		}
	}
}

// lacking names the search attributes that are not registered, or have another type.
func lacking(found map[string]enums.IndexedValueType) (missing []string) {
	for _, name := range []string{migration.AttributePhase, migration.AttributeAttention, migration.AttributeFrozen} {
		want, err := enums.IndexedValueTypeFromString(migration.AttributeTypes()[name])
		switch has, there := found[name]; {
		case !there:
			missing = append(missing, name)
		case err != nil || has != want:
			missing = append(missing, name+" (it has type "+has.String()+" instead of "+want.String()+")")
		}
	}
	return missing
}

// transientError tells whether another try may succeed.
func transientError(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return true
	}
	if _, ok := errors.AsType[*serviceerror.DeadlineExceeded](err); ok {
		return true
	}
	if _, ok := errors.AsType[*serviceerror.ResourceExhausted](err); ok {
		return true
	}
	_, ok := errors.AsType[*serviceerror.Unavailable](err)
	return ok
}
