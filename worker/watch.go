package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/converter"
	"go.uber.org/zap"

	"github.com/snapferry/snapferry/migration"
)

// The numbers of migrations come from their status, which a worker asks them for. A gauge of the
// workflow's own would stay on a worker that has lost the run.
const (
	// watchInterval is between two passes, unless the configuration has another.
	watchInterval = 10 * time.Second
	// watchTimeout bounds the questions about one migration.
	watchTimeout = 5 * time.Second
	// watchedAtOnce bounds the load on the workers, which answer.
	watchedAtOnce = 4
	// mostWatched bounds a pass, and the number of series.
	mostWatched = 200
	// watchedFor is how long numbers are shown without a pass that has ended.
	watchedFor = 2 * time.Minute
)

// watchedTemporal is the part of a Temporal client that the watch uses.
type watchedTemporal interface {
	ListWorkflow(ctx context.Context, request *workflowservice.ListWorkflowExecutionsRequest) (
		*workflowservice.ListWorkflowExecutionsResponse, error)
	QueryWorkflow(ctx context.Context, workflowID, runID, queryType string, args ...any) (
		converter.EncodedValue, error)
	DescribeWorkflowExecution(ctx context.Context, workflowID, runID string) (
		*workflowservice.DescribeWorkflowExecutionResponse, error)
}

// watched is what was seen of a migration.
type watched struct {
	migration.Status
	// pagesRunning counts the pages that a worker copies now.
	pagesRunning int
	// verifying is how far the verification is; nil while none runs.
	verifying *migration.Progress
}

// pass is what one pass over all migrations saw.
type pass struct {
	at   time.Time // zero before the first
	seen []watched
	// unreadable counts those that run and gave no answer.
	unreadable int
}

// watcher asks all migrations of a namespace for their status, again and again.
type watcher struct {
	temporal  watchedTemporal
	namespace string
	logger    *zap.Logger
	now       func() time.Time

	mu   sync.Mutex
	last pass
}

func newWatcher(temporal watchedTemporal, namespace string, logger *zap.Logger) *watcher {
	return &watcher{temporal: temporal, namespace: namespace, logger: logger, now: time.Now}
}

// run makes a pass at each tick until the context ends.
func (w *watcher) run(ctx context.Context, ticks <-chan time.Time) {
	for {
		w.pass(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticks:
		}
	}
}

// pass replaces what was seen before. A migration that has ended, or that gives no answer, is no
// longer there.
func (w *watcher) pass(ctx context.Context) {
	ids, err := w.running(ctx)
	if err != nil {
		if ctx.Err() == nil {
			w.logger.Warn("can't list the migrations, so there are no metrics of them", zap.Error(err))
		}
		return // what was seen before is shown for a while
	}
	seen := make([]*watched, len(ids))
	places := make(chan struct{}, watchedAtOnce)
	var looking sync.WaitGroup
	for i, id := range ids {
		places <- struct{}{}
		looking.Go(func() {
			defer func() { <-places }()
			found, err := w.look(ctx, id)
			if err != nil {
				w.logger.Debug("no metrics of a migration", zap.String("workflow", id), zap.Error(err))
				return
			}
			seen[i] = &found
		})
	}
	looking.Wait()
	if ctx.Err() != nil {
		return
	}
	next := pass{at: w.now()}
	for _, found := range seen {
		switch {
		case found == nil:
			next.unreadable++
		case !found.Phase.Ended():
			next.seen = append(next.seen, *found)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = next
}

// running are the ids of the migrations and rehearsals that run. Each is there once.
func (w *watcher) running(ctx context.Context) (ids []string, err error) {
	known := map[string]bool{}
	request := &workflowservice.ListWorkflowExecutionsRequest{
		Namespace: w.namespace,
		Query: "WorkflowType = '" + migration.WorkflowType + "' AND ExecutionStatus = 'Running' AND TaskQueue = '" +
			migration.TaskQueue + "'",
	}
	for {
		page, err := w.list(ctx, request)
		if err != nil {
			return nil, err
		}
		for _, info := range page.GetExecutions() {
			id := info.GetExecution().GetWorkflowId()
			switch {
			case known[id]:
			case len(ids) == mostWatched:
				return ids, nil
			default:
				known[id] = true
				ids = append(ids, id)
			}
		}
		if request.NextPageToken = page.GetNextPageToken(); len(request.NextPageToken) == 0 {
			return ids, nil
		}
	}
}

func (w *watcher) list(ctx context.Context,
	request *workflowservice.ListWorkflowExecutionsRequest,
) (*workflowservice.ListWorkflowExecutionsResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	return w.temporal.ListWorkflow(ctx, request)
}

// look asks a migration for its status, and Temporal for what runs of it now.
func (w *watcher) look(ctx context.Context, id string) (watched, error) {
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	var found watched
	value, err := w.temporal.QueryWorkflow(ctx, id, "", migration.QueryStatus)
	if err != nil {
		return found, err
	}
	if err := value.Get(&found.Status); err != nil {
		return found, err
	}
	if found.WorkflowID == "" {
		return found, errors.New("the answer is no status of a migration")
	}
	described, err := w.temporal.DescribeWorkflowExecution(ctx, id, "")
	if err != nil {
		return found, err
	}
	for _, pending := range described.GetPendingActivities() {
		if pending.GetState() != enums.PENDING_ACTIVITY_STATE_STARTED {
			continue
		}
		switch pending.GetActivityType().GetName() {
		case migration.ActivityCopyPage:
			found.pagesRunning++
		case migration.ActivityVerifyTarget:
			var progress migration.Progress
			details := pending.GetHeartbeatDetails()
			if details != nil && converter.GetDefaultDataConverter().FromPayloads(details, &progress) == nil &&
				progress.DocsTotal > 0 { // it has begun to read
				found.verifying = &progress
			}
		}
	}
	return found, nil
}

// newest is what the last pass saw, unless that was long ago.
func (w *watcher) newest() pass {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.now().Sub(w.last.at) > watchedFor {
		return pass{at: w.last.at}
	}
	return w.last
}
