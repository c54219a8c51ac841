//go:build lab

package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"

	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/migration"
	"github.com/snapferry/snapferry/workflows"
)

// Three migrations in different phases are listed, with a worker and without one. Search attributes
// that somebody registers are set, and Temporal finds migrations by them. Somebody removes them in
// the frozen window: the migration ends as if nothing had happened.
func TestListedAndFound(t *testing.T) {
	t.Parallel()
	s := newScenario(t, labs.take(t, usual), "listed", 500)
	s.noRoundBesides()
	s.write()

	// Without the attributes nothing is missing but a way to filter.
	filtered := func(query string) []string {
		page, err := s.rig.Client.ListWorkflow(s.ctx, &workflowservice.ListWorkflowExecutionsRequest{
			Query: "ExecutionStatus = 'Running' AND " + query,
		})
		require.NoError(t, err)
		ids := []string{}
		for _, info := range page.GetExecutions() {
			ids = append(ids, info.GetExecution().GetWorkflowId())
		}
		return ids
	}
	_, err := s.rig.Client.ListWorkflow(s.ctx, &workflowservice.ListWorkflowExecutionsRequest{
		Query: migration.AttributeFrozen + " = true",
	})
	require.Error(t, err, "the attributes are not registered yet")
	first := s.worker()
	broken := s.lab.Plan("other-broken", "no-such-index")
	_, err = s.rig.Start(s.ctx, broken)
	require.NoError(t, err)
	_, err = s.rig.Await(s.ctx, migration.WorkflowID(broken.Name),
		func(status migration.Status) bool { return status.Attention != nil })
	require.NoError(t, err)
	t.Cleanup(func() {
		for _, name := range []string{broken.Name, "other-rounds"} {
			_ = s.rig.Client.TerminateWorkflow(t.Context(), migration.WorkflowID(name), "", "the test has ended")
		}
	})

	// A worker that begins after the attributes were in use trusts them at once.
	words := strings.Fields(migration.RegisterAttributes)
	s.temporal(words[1:]...)
	s.useAttributes()
	require.NoError(t, first.Kill())
	second := s.worker()
	require.Eventually(t, func() bool {
		log, err := os.ReadFile(second.LogPath)
		return err == nil && strings.Contains(string(log), "workflows set the search attributes of migrations")
	}, lab.Patience, 100*time.Millisecond)

	require.NoError(t, lab.LoadCatalog(s.ctx, s.lab.Source.Direct(),
		lab.CatalogOptions{Index: "other-rounds", Documents: 100, Shards: 1}))
	rounds := s.lab.Plan("other-rounds", "other-rounds")
	rounds.Rounds.Interval = migration.Duration(time.Hour)
	_, err = s.rig.Start(s.ctx, rounds)
	require.NoError(t, err)
	_, err = s.rig.Await(s.ctx, migration.WorkflowID(rounds.Name),
		func(status migration.Status) bool { return status.NextRoundMillis > 0 })
	require.NoError(t, err)
	s.start()
	s.await(func(status migration.Status) bool { return status.RoundsEnded >= 1 })
	s.signal(migration.RequestFreeze)
	s.awaitPhase(migration.PhaseAwaitCutover)
	// What parked before there were attributes gets them with its next step.
	require.NoError(t, s.rig.Signal(s.ctx, migration.WorkflowID(broken.Name), migration.RequestRetry))

	for query, want := range map[string]string{
		migration.AttributeFrozen + " = true":                                   s.id,
		migration.AttributePhase + " = 'rounds'":                                migration.WorkflowID(rounds.Name),
		migration.AttributeAttention + " IS NOT NULL":                           migration.WorkflowID(broken.Name),
		migration.AttributePhase + " = 'awaitCutover' AND WorkflowType != 'No'": s.id,
	} {
		require.Eventually(t, func() bool {
			found := filtered(query)
			return len(found) == 1 && found[0] == want
		}, lab.Patience, 200*time.Millisecond, "%s finds %v", query, filtered(query))
	}

	list := func(arguments ...string) string {
		out, err := s.rig.Starter(s.ctx, append([]string{"list"}, arguments...)...)
		require.NoError(t, err)
		require.Zero(t, out.Code, out.Stderr)
		for line := range strings.Lines(out.Stdout) {
			require.LessOrEqual(t, utf8.RuneCountInString(strings.TrimSpace(line)), 80, line)
		}
		return out.Stdout
	}
	text := list()
	t.Log("\n" + text)
	require.Regexp(t, `(?m)^  listed +awaitCutover +\d+s, \S+ left +-\n    starter cutover listed$`, text)
	require.Regexp(t, `(?m)^  other-broken +preflight +- +[A-Z]\w+\n    starter retry other-broken$`, text)
	require.Regexp(t, `(?m)^  other-rounds +rounds +(expect \S+|-) +-\n    starter freeze other-rounds$`, text)

	// Without a worker the list answers as fast, and says so.
	require.NoError(t, second.Kill())
	began := time.Now()
	var rows struct {
		Workflows []struct {
			WorkflowID string          `json:"workflowId"`
			Phase      migration.Phase `json:"phase"`
			Problem    string          `json:"problem"`
		} `json:"workflows"`
	}
	require.NoError(t, json.Unmarshal([]byte(list("-o", "json")), &rows))
	t.Logf("without a worker: %s", time.Since(began).Round(time.Millisecond))
	require.Len(t, rows.Workflows, 3)
	require.Equal(t, migration.PhaseAwaitCutover, rows.Workflows[0].Phase)

	// The attributes vanish. What the next worker still believes costs an attempt or more of a
	// workflow task at most.
	s.worker()
	s.awaitPhase(migration.PhaseAwaitCutover)
	for name := range migration.AttributeTypes() {
		s.temporal("operator", "search-attribute", "remove", "--name", name, "--yes")
	}
	s.signal(migration.RequestCutover)
	s.completed()
	path := filepath.Join(t.TempDir(), "history.json")
	require.NoError(t, s.rig.History(s.ctx, s.id, path))
	replayer := worker.NewWorkflowReplayer()
	workflows.Register(replayer)
	require.NoError(t, replayer.ReplayWorkflowHistoryFromJSONFile(nil, path))
	history, err := os.ReadFile(path)
	require.NoError(t, err)
	t.Logf("workflow tasks that the server refused: %d", strings.Count(string(history), "BAD_SEARCH_ATTRIBUTES"))
	closed := list("--closed")
	t.Log("\n" + closed)
	require.Regexp(t, `(?m)^  listed +completed +was \S+ +-\n    starter report listed$`, closed)
}

// useAttributes has a workflow that nobody runs set the search attributes, once the server takes
// them.
func (s *scenario) useAttributes() {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		run, err := s.rig.Client.ExecuteWorkflow(s.ctx, client.StartWorkflowOptions{
			ID: "attributes", TaskQueue: "nobody's", TypedSearchAttributes: temporal.NewSearchAttributes(
				temporal.NewSearchAttributeKeyKeyword(migration.AttributePhase).ValueSet("rehearse"),
				temporal.NewSearchAttributeKeyKeyword(migration.AttributeAttention).ValueUnset(),
				temporal.NewSearchAttributeKeyBool(migration.AttributeFrozen).ValueSet(false),
			),
		}, "Nothing")
		if err != nil {
			return false
		}
		return s.rig.Client.TerminateWorkflow(s.ctx, run.GetID(), "", "the attributes are in use") == nil
	}, lab.Patience, 200*time.Millisecond)
	require.Eventually(s.t, func() bool {
		page, err := s.rig.Client.ListWorkflow(s.ctx, &workflowservice.ListWorkflowExecutionsRequest{
			Query: migration.AttributePhase + " IS NOT NULL",
		})
		return err == nil && len(page.GetExecutions()) > 0
	}, lab.Patience, 200*time.Millisecond)
	found, err := s.rig.Client.OperatorService().ListSearchAttributes(s.ctx,
		&operatorservice.ListSearchAttributesRequest{Namespace: client.DefaultNamespace})
	require.NoError(s.t, err)
	require.Contains(s.t, found.GetCustomAttributes(), migration.AttributeFrozen)
}
