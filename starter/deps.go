package main

import (
	"context"
	"io"
	"os"
	"os/user"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	"go.temporal.io/sdk/converter"
	"golang.org/x/term"

	"github.com/snapferry/snapferry/internal/pause"
)

// deps is everything outside of the process that the commands use, so that tests can replace it.
type deps struct {
	in       io.Reader
	out, err io.Writer
	// inTerminal and outTerminal report whether a terminal is at the other end.
	inTerminal, outTerminal bool
	// columns is how wide the terminal is now; nil or 0 if there is none.
	columns     func() int
	dial        func(context.Context, client.Options) (temporalClient, error)
	environment envconfig.EnvLookup
	now         func() time.Time
	// sleep waits between two polls. It ends early with the context.
	sleep func(context.Context, time.Duration) error
	// zone is the time zone of the times that people see.
	zone *time.Location
	user func() string
}

// temporalClient is the part of client.Client that the commands use.
type temporalClient interface {
	ExecuteWorkflow(ctx context.Context, options client.StartWorkflowOptions, workflow any,
		args ...any) (client.WorkflowRun, error)
	GetWorkflow(ctx context.Context, workflowID, runID string) client.WorkflowRun
	SignalWorkflow(ctx context.Context, workflowID, runID, signalName string, arg any) error
	QueryWorkflow(ctx context.Context, workflowID, runID, queryType string, args ...any) (converter.EncodedValue, error)
	UpdateWorkflow(ctx context.Context, options client.UpdateWorkflowOptions) (client.WorkflowUpdateHandle, error)
	GetWorkflowHistory(ctx context.Context, workflowID, runID string, isLongPoll bool,
		filter enums.HistoryEventFilterType) client.HistoryEventIterator
	DescribeWorkflowExecution(ctx context.Context, workflowID,
		runID string) (*workflowservice.DescribeWorkflowExecutionResponse, error)
	ListWorkflow(ctx context.Context, request *workflowservice.ListWorkflowExecutionsRequest) (
		*workflowservice.ListWorkflowExecutionsResponse, error)
	DescribeTaskQueue(ctx context.Context, queue string,
		kind enums.TaskQueueType) (*workflowservice.DescribeTaskQueueResponse, error)
	Close()
}

// system is the real world.
func system() deps {
	return deps{
		in: os.Stdin, out: os.Stdout, err: os.Stderr,
		inTerminal:  term.IsTerminal(int(os.Stdin.Fd())),
		outTerminal: term.IsTerminal(int(os.Stdout.Fd())),
		columns:     terminalColumns,
		dial: func(ctx context.Context, options client.Options) (temporalClient, error) {
			return client.DialContext(ctx, options)
		},
		environment: envconfig.EnvLookupOS,
		now:         time.Now,
		sleep:       pause.For,
		zone:        time.Local,
		user:        currentUser,
	}
}

// currentUser names who sends a request. A container may know its users by number only.
func currentUser() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return os.Getenv("USER")
}

// terminalColumns is the width of the terminal; 0 if the output is none.
func terminalColumns() int {
	columns, _, err := term.GetSize(int(os.Stdout.Fd()))
	if err != nil {
		return 0
	}
	return columns
}
