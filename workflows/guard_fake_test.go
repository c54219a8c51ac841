package workflows

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// How a test of the guard is written:
//
//   - g := newGuarded(t) makes a source with two indices, and a target. Change g.source, g.on and
//     so on before the run.
//   - Say what the migration asks, and when: g.at(time.Minute, migration.AskBlock). g.window()
//     opens a window of an hour and blocks. Answers are in g.answers, by ask, the newest last.
//   - Say when the migration ends: g.ends(5*time.Minute, "Terminated").
//   - g.run() runs the guard to its end. Then look at g.source, g.handed, g.told and the result.
type guarded struct {
	t   *testing.T
	env *testsuite.TestWorkflowEnvironment

	*fakes

	// source holds the indices and the blocks of each; handed are those that the target was handed
	// over with.
	source map[string]*sourceIndex
	handed map[string]bool
	// unblocked is with what each index's block was removed last.
	unblocked map[string]migration.SourceIndex
	// refuse has indices refuse an activity.
	refuse map[string]map[string]bool
	blocks []migration.SourceIndex // that were to be blocked
	told   []migration.Report
	watch  []byte
	pages  map[migration.GuardList]migration.GuardPage

	// unread has the worker that asks not read the blocks of what it announces.
	unread   bool
	input    migration.GuardInput
	runID    string
	number   int
	until    int64
	indices  []migration.SourceIndex
	handover []migration.HandoverIndex
	answers  map[migration.GuardAsk][]migration.GuardAnswer
	failures map[migration.GuardAsk][]error
	serial   int
	begun    bool
}

// sourceIndex is an index of the source, and what is on it.
type sourceIndex struct {
	uuid string
	ours bool
	own  map[string]string
	docs int64
	// outside tells that the plan doesn't mean the index any more.
	outside bool
}

func newGuarded(t *testing.T) *guarded {
	g := &guarded{
		t: t, env: newEnvironment(t), fakes: newFakes(), handed: map[string]bool{},
		refuse:  map[string]map[string]bool{},
		source:  map[string]*sourceIndex{"catalog": {uuid: "u1"}, "movies": {uuid: "u2"}},
		runID:   thisRun,
		number:  1,
		answers: map[migration.GuardAsk][]migration.GuardAnswer{}, failures: map[migration.GuardAsk][]error{},
		handover: []migration.HandoverIndex{{Name: "catalog"}, {Name: "movies"}},
		pages:    map[migration.GuardList]migration.GuardPage{}, unblocked: map[string]migration.SourceIndex{},
	}
	g.env.RegisterWorkflow(Guard)
	plan, err := inputOf(t, strings.Replace(planJSON, `"rounds"`,
		`"cutover": {"webhook": {"url": "https://hooks.example.com/x"}}, "rounds"`, 1)).Plan()
	require.NoError(t, err)
	g.input = migration.GuardInput{
		Run:        migration.Run{Plan: plan, Token: "token"},
		WorkflowID: migration.WorkflowID("movies"), Cluster: "c",
	}
	g.indices = g.names("catalog", "movies")
	g.until = g.env.Now().Add(time.Hour).UnixMilli()
	serve(g.env, g.fakes, migration.ActivityReadSourceBlocks,
		func(r migration.IndicesRequest) ([]migration.SourceIndex, error) {
			return g.read(r.Indices), nil
		})
	serve(g.env, g.fakes, migration.ActivityBlockSource, func(r migration.BlockRequest) (migration.BlockResult, error) {
		var result migration.BlockResult
		g.blocks = append(g.blocks, r.Indices...)
		for _, index := range r.Indices {
			at, there := g.source[index.Name]
			switch {
			case !there:
				result.Gone = append(result.Gone, index.Name)
			case g.refuse[migration.ActivityBlockSource][index.Name]:
				result.Refused = append(result.Refused, migration.Refusal{Index: index.Name, Message: "read_only"})
			default:
				at.ours = true
				result.Blocked = append(result.Blocked,
					migration.SourceIndex{Name: index.Name, UUID: at.uuid, Blocks: at.own})
			}
		}
		return result, nil
	})
	serve(g.env, g.fakes, migration.ActivityUnblockSource,
		func(r migration.UnblockRequest) (migration.UnblockResult, error) {
			var result migration.UnblockResult
			for _, index := range r.Indices {
				assert.False(t, g.begun && slices.ContainsFunc(g.handover,
					func(listed migration.HandoverIndex) bool { return listed.Name == index.Name }),
					"the block of %s is removed after the cutover has begun", index.Name)
				if at, there := g.source[index.Name]; !there {
					continue
				} else if g.refuse[migration.ActivityUnblockSource][index.Name] {
					result.Refused = append(result.Refused, migration.Refusal{Index: index.Name, Message: "read_only"})
				} else {
					g.unblocked[index.Name] = index
					at.ours = index.Blocks[sourceWriteBlock] == "true" // puts back what it was told that it had
				}
			}
			return result, nil
		})
	serve(g.env, g.fakes, migration.ActivityHandOver,
		func(r migration.HandOverRequest) (migration.HandOverResult, error) {
			g.begun = true
			var result migration.HandOverResult
			for _, index := range r.Indices {
				if at, there := g.source[index.Name]; there {
					assert.True(t, at.ours, "%s is handed over although the source takes writes", index.Name)
				}
				if g.refuse[migration.ActivityHandOver][index.Name] {
					result.Refused = append(result.Refused,
						migration.Refusal{Index: index.Name, Message: "unknown setting"})
					continue
				}
				g.handed[index.Name] = true
			}
			return result, nil
		})
	serve(g.env, g.fakes, migration.ActivityLookAgain,
		func(r migration.LookAgainRequest) ([]migration.LateIndex, error) {
			var late []migration.LateIndex
			for _, name := range slices.Sorted(maps.Keys(g.source)) {
				index := g.source[name]
				if slices.Contains(r.Indices, name) || len(r.Indices) == 0 && !index.ours && !index.outside {
					late = append(late, migration.LateIndex{Name: name, UUID: index.uuid, Docs: index.docs})
				}
			}
			return late, nil
		})
	serve(g.env, g.fakes, migration.ActivityCallWebhook, func(r migration.WebhookRequest) (any, error) {
		g.told = append(g.told, r.Report)
		return nil, nil
	})
	serve(g.env, g.fakes, migration.ActivityReadGuard, func(r migration.ReadGuardRequest) (migration.GuardPage, error) {
		assert.Equal(t, "guard-1", r.RunID)
		return g.pages[r.List], nil
	})
	g.env.RegisterActivityWithOptions(func(ctx context.Context, r migration.WatchRequest) (migration.MigrationEnd,
		error,
	) {
		g.mu.Lock()
		defer g.mu.Unlock()
		assert.Equal(t, g.runID, r.RunID)
		g.watch = activity.GetInfo(ctx).TaskToken
		return migration.MigrationEnd{}, activity.ErrResultPending
	}, activity.RegisterOptions{Name: migration.ActivityWatchMigration})
	return g
}

// firstShape has the guard be one that began before it was told the blocks.
func (g *guarded) firstShape() {
	g.env.OnGetVersion("guard", workflow.Version(guardFirst), workflow.Version(guardHooks)).
		Return(workflow.DefaultVersion)
}

func (g *guarded) names(names ...string) []migration.SourceIndex {
	var indices []migration.SourceIndex
	for _, name := range names {
		indices = append(indices, migration.SourceIndex{Name: name, UUID: g.source[name].uuid})
	}
	return indices
}

// read is what indices have on the source.
func (g *guarded) read(names []string) []migration.SourceIndex {
	var found []migration.SourceIndex
	for _, name := range names {
		blocks := map[string]string{}
		if index, there := g.source[name]; there {
			maps.Copy(blocks, index.own)
			if index.ours {
				blocks[sourceWriteBlock] = "true"
			}
			found = append(found, migration.SourceIndex{Name: name, UUID: index.uuid, Blocks: blocks})
		}
	}
	return found
}

// send asks now, in the workflow's own loop.
func (g *guarded) send(ask migration.GuardAsk) {
	call := migration.GuardCall{Token: "token", RunID: g.runID, Window: g.number, UntilMillis: g.until}
	switch ask {
	case migration.AskAnnounce:
		call.Indices, call.Read = g.indices, !g.unread
		if call.Read {
			names := make([]string, len(g.indices))
			for i, index := range g.indices {
				names[i] = index.Name
			}
			g.mu.Lock()
			call.Indices = g.read(names)
			g.mu.Unlock()
		}
		for _, batch := range migration.Batches(call.Indices, migration.LongestBatch) {
			call.Indices = batch
			g.update(ask, call)
		}
		return
	case migration.AskList:
		call.Handover, call.First = g.handover, true
	}
	g.update(ask, call)
}

func (g *guarded) update(ask migration.GuardAsk, call migration.GuardCall) {
	g.serial++
	g.env.UpdateWorkflow(string(ask), fmt.Sprint(g.serial), &testsuite.TestUpdateCallback{
		OnAccept: func() {},
		OnReject: func(err error) { g.t.Errorf("%s is rejected: %v", ask, err) },
		OnComplete: func(value any, err error) {
			answer, _ := value.(migration.GuardAnswer)
			g.answers[ask] = append(g.answers[ask], answer)
			g.failures[ask] = append(g.failures[ask], err)
		},
	}, call)
}

// at asks after a while, one after the other.
func (g *guarded) at(after time.Duration, asks ...migration.GuardAsk) {
	for i, ask := range asks {
		g.env.RegisterDelayedCallback(func() { g.send(ask) }, after+time.Duration(i)*time.Second)
	}
}

// window opens the window and blocks, in the first minute.
func (g *guarded) window() {
	g.at(time.Second, migration.AskOpen, migration.AskAnnounce, migration.AskBlock, migration.AskList)
}

// ends ends the run that the guard serves.
func (g *guarded) ends(after time.Duration, status string) {
	g.env.RegisterDelayedCallback(func() {
		g.mu.Lock()
		token := g.watch
		g.mu.Unlock()
		assert.NoError(g.t, g.env.CompleteActivity(token, migration.MigrationEnd{Status: status}, nil))
	}, after)
}

func (g *guarded) run() migration.GuardStatus {
	g.t.Helper()
	g.env.ExecuteWorkflow(Guard, g.input)
	require.True(g.t, g.env.IsWorkflowCompleted(), "the guard hangs")
	require.NoError(g.t, g.env.GetWorkflowError())
	var result migration.GuardStatus
	require.NoError(g.t, g.env.GetWorkflowResult(&result))
	return result
}

// last is the newest answer to an ask.
func (g *guarded) last(ask migration.GuardAsk) migration.GuardAnswer {
	g.t.Helper()
	require.NotEmpty(g.t, g.answers[ask], "%s was not answered", ask)
	return g.answers[ask][len(g.answers[ask])-1]
}

// free asserts that the source takes writes, and that nothing was handed over.
func (g *guarded) free() {
	g.t.Helper()
	for name, index := range g.source {
		require.False(g.t, index.ours, "%s is still blocked", name)
	}
	require.Empty(g.t, g.handed)
}

// gone asserts that the target takes writes and the source doesn't.
func (g *guarded) gone() {
	g.t.Helper()
	for name, index := range g.source {
		require.True(g.t, index.ours, "%s takes writes on the source", name)
	}
	require.True(g.t, g.handed["catalog"] && g.handed["movies"], "handed over: %v", g.handed)
}

func (g *guarded) events() []string {
	var events []string
	for _, report := range g.told {
		events = append(events, report.Guard.Event)
	}
	return events
}
