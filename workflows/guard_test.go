package workflows

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/testsuite"

	"github.com/snapferry/snapferry/migration"
)

// How a test of the guard is written:
//
//   - g := newGuarded(t) makes a source with two indices, and a target. Change g.source, g.on and so on
//     before the run.
//   - Say what the migration asks, and when: g.at(time.Minute, migration.AskBlock). g.window() opens a
//     window of an hour and blocks. Answers are in g.answers, by ask, the newest last.
//   - Say when the migration ends: g.ends(5*time.Minute, "Terminated").
//   - g.run() runs the guard to its end. Then look at g.source, g.handed, g.told and the result.
type guarded struct {
	t   *testing.T
	env *testsuite.TestWorkflowEnvironment

	mu sync.Mutex
	// source holds the indices and the blocks of each; handed are those that the target was handed
	// over with.
	source map[string]*sourceIndex
	handed map[string]bool
	calls  []string
	n      map[string]int
	// on runs before the nth call of an activity, after when it has had its effect.
	on    map[string]func(n int) error
	after map[string]func(n int)
	// refuse has indices refuse an activity.
	refuse map[string]map[string]bool
	told   []migration.Report
	watch  []byte
	pages  map[migration.GuardList]migration.GuardPage

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
	uuid    string
	ours    bool
	own     map[string]string
	docs    int64
	sinceBy string
}

func newGuarded(t *testing.T) *guarded {
	g := &guarded{
		t: t, env: newEnvironment(t), handed: map[string]bool{}, n: map[string]int{},
		on: map[string]func(int) error{}, after: map[string]func(int){}, refuse: map[string]map[string]bool{},
		source:  map[string]*sourceIndex{"catalog": {uuid: "u1"}, "movies": {uuid: "u2"}},
		runID:   thisRun,
		number:  1,
		answers: map[migration.GuardAsk][]migration.GuardAnswer{}, failures: map[migration.GuardAsk][]error{},
		handover: []migration.HandoverIndex{{Name: "catalog"}, {Name: "movies"}},
		pages:    map[migration.GuardList]migration.GuardPage{},
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
	serveGuard(g, migration.ActivityReadSourceBlocks, func(r migration.IndicesRequest) ([]migration.SourceIndex, error) {
		var found []migration.SourceIndex
		for _, name := range r.Indices {
			blocks := map[string]string{}
			if index, there := g.source[name]; there {
				maps.Copy(blocks, index.own)
				if index.ours {
					blocks[sourceWriteBlock] = "true"
				}
				found = append(found, migration.SourceIndex{Name: name, UUID: index.uuid, Blocks: blocks})
			}
		}
		return found, nil
	})
	serveGuard(g, migration.ActivityBlockSource, func(r migration.BlockRequest) (migration.BlockResult, error) {
		var result migration.BlockResult
		for _, index := range r.Indices {
			at, there := g.source[index.Name]
			switch {
			case !there:
				result.Gone = append(result.Gone, index.Name)
			case g.refuse[migration.ActivityBlockSource][index.Name]:
				result.Refused = append(result.Refused, migration.Refusal{Index: index.Name, Message: "read_only"})
			default:
				at.ours = true
				result.Blocked = append(result.Blocked, migration.SourceIndex{Name: index.Name, UUID: at.uuid})
			}
		}
		return result, nil
	})
	serveGuard(g, migration.ActivityUnblockSource, func(r migration.UnblockRequest) (migration.UnblockResult, error) {
		assert.False(t, g.begun, "a block is removed after the cutover has begun")
		var result migration.UnblockResult
		for _, index := range r.Indices {
			if at, there := g.source[index.Name]; !there {
				continue
			} else if g.refuse[migration.ActivityUnblockSource][index.Name] {
				result.Refused = append(result.Refused, migration.Refusal{Index: index.Name, Message: "read_only"})
			} else {
				at.ours = index.Blocks[sourceWriteBlock] == "true" // puts back what it was told that it had
			}
		}
		return result, nil
	})
	serveGuard(g, migration.ActivityHandOver, func(r migration.HandOverRequest) (migration.HandOverResult, error) {
		g.begun = true
		var result migration.HandOverResult
		for _, index := range r.Indices {
			if at, there := g.source[index.Name]; there {
				assert.True(t, at.ours, "%s is handed over although the source takes writes", index.Name)
			}
			if g.refuse[migration.ActivityHandOver][index.Name] {
				result.Refused = append(result.Refused, migration.Refusal{Index: index.Name, Message: "unknown setting"})
				continue
			}
			g.handed[index.Name] = true
		}
		return result, nil
	})
	serveGuard(g, migration.ActivityLookAgain, func(r migration.LookAgainRequest) ([]migration.LateIndex, error) {
		var late []migration.LateIndex
		for _, name := range slices.Sorted(maps.Keys(g.source)) {
			if index := g.source[name]; slices.Contains(r.Indices, name) || len(r.Indices) == 0 && !index.ours {
				late = append(late, migration.LateIndex{Name: name, UUID: index.uuid, Docs: index.docs})
			}
		}
		return late, nil
	})
	serveGuard(g, migration.ActivityCallWebhook, func(r migration.WebhookRequest) (any, error) {
		g.told = append(g.told, r.Report)
		return nil, nil
	})
	serveGuard(g, migration.ActivityReadGuard, func(r migration.ReadGuardRequest) (migration.GuardPage, error) {
		assert.Equal(t, "guard-1", r.RunID)
		return g.pages[r.List], nil
	})
	g.env.RegisterActivityWithOptions(func(ctx context.Context, r migration.WatchRequest) (migration.MigrationEnd, error) {
		g.mu.Lock()
		defer g.mu.Unlock()
		assert.Equal(t, g.runID, r.RunID)
		g.watch = activity.GetInfo(ctx).TaskToken
		return migration.MigrationEnd{}, activity.ErrResultPending
	}, activity.RegisterOptions{Name: migration.ActivityWatchMigration})
	return g
}

// serveGuard makes a fake known under an activity's name.
func serveGuard[I, O any](g *guarded, name string, fake func(I) (O, error)) {
	g.env.RegisterActivityWithOptions(func(_ context.Context, in I) (O, error) {
		g.mu.Lock()
		g.calls = append(g.calls, name)
		g.n[name]++
		n, hook, after := g.n[name], g.on[name], g.after[name]
		g.mu.Unlock()
		if hook != nil {
			if err := hook(n); err != nil {
				var none O
				return none, err
			}
		}
		g.mu.Lock()
		out, err := fake(in)
		g.mu.Unlock()
		if after != nil {
			after(n)
		}
		return out, err
	}, activity.RegisterOptions{Name: name})
}

func (g *guarded) names(names ...string) []migration.SourceIndex {
	var indices []migration.SourceIndex
	for _, name := range names {
		indices = append(indices, migration.SourceIndex{Name: name, UUID: g.source[name].uuid})
	}
	return indices
}

// send asks now, in the workflow's own loop.
func (g *guarded) send(ask migration.GuardAsk) {
	call := migration.GuardCall{Token: "token", RunID: g.runID, Window: g.number, UntilMillis: g.until}
	switch ask {
	case migration.AskAnnounce:
		call.Indices = g.indices
	case migration.AskList:
		call.Handover, call.First = g.handover, true
	}
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

func TestTheGuardHandsOver(t *testing.T) {
	g := newGuarded(t)
	g.window()
	g.at(5*time.Minute, migration.AskBegin, migration.AskHandOver, migration.AskRelease)
	g.ends(6*time.Minute, "Completed")
	result := g.run()
	g.gone()
	require.Equal(t, migration.GuardHandedOver, result.Phase)
	require.True(t, g.last(migration.AskBegin).Served)
	require.Empty(t, g.last(migration.AskHandOver).Refused)
	require.Empty(t, g.told, "the migration tells")
	require.Equal(t, 2, result.Listed)
}

func TestTheGuardRemovesWhenItIsAsked(t *testing.T) {
	g := newGuarded(t)
	g.window()
	g.at(5*time.Minute, migration.AskRemove, migration.AskBegin)
	result := g.run()
	g.free()
	require.Equal(t, migration.GuardRemoved, g.last(migration.AskRemove).Phase)
	require.False(t, g.last(migration.AskBegin).Served, "what is removed can't be handed over")
	require.Empty(t, g.told)
	require.Equal(t, 3, g.n[migration.ActivityUnblockSource], "it looks again two times")
	require.Equal(t, migration.GuardRemoved, result.Phase)
}

func TestTheDeadline(t *testing.T) {
	g := newGuarded(t)
	g.window()
	result := g.run()
	g.free()
	require.Equal(t, deadlinePassed, result.Cause)
	require.Equal(t, []string{migration.GuardEventRemoved}, g.events())
	require.Equal(t, migration.ResultBlockRemoved, g.told[0].Result)
}

// Whatever ends the migration, its guard removes the block, or hands over if that had begun.
func TestTheMigrationEnds(t *testing.T) {
	for _, how := range []string{"Terminated", "Failed", "TimedOut", "Deleted"} {
		t.Run(how+" before the cutover", func(t *testing.T) {
			g := newGuarded(t)
			g.window()
			g.ends(5*time.Minute, how)
			g.at(6*time.Minute, migration.AskBegin)
			result := g.run()
			g.free()
			require.Contains(t, result.Cause, how)
			require.False(t, g.last(migration.AskBegin).Served)
			require.Equal(t, []string{migration.GuardEventRemoved}, g.events())
		})
		t.Run(how+" after it", func(t *testing.T) {
			g := newGuarded(t)
			g.window()
			g.on[migration.ActivityHandOver] = func(n int) error { // as long as the target is away
				if n < 10 {
					return fmt.Errorf("no answer")
				}
				return nil
			}
			g.at(5*time.Minute, migration.AskBegin)
			g.ends(5*time.Minute+time.Second, how)
			g.run()
			g.gone()
			require.Equal(t, []string{migration.GuardEventHandedOver}, g.events())
			require.Equal(t, migration.ResultCompleted, g.told[0].Result)
		})
	}
}

// The end of the migration, the deadline and the wish to begin meet in one moment: there is one
// decision, and what is done is what was answered.
func TestOneDecision(t *testing.T) {
	for name, test := range map[string]func(*guarded){
		"begin and deadline": func(g *guarded) { g.at(time.Hour, migration.AskBegin) },
		"begin and death":    func(g *guarded) { g.ends(5*time.Minute, "Terminated"); g.at(5*time.Minute, migration.AskBegin) },
		"death and begin":    func(g *guarded) { g.at(5*time.Minute, migration.AskBegin); g.ends(5*time.Minute, "Terminated") },
		"remove and begin": func(g *guarded) {
			g.env.RegisterDelayedCallback(func() { g.send(migration.AskRemove); g.send(migration.AskBegin) }, 5*time.Minute)
		},
		"begin and remove": func(g *guarded) {
			g.env.RegisterDelayedCallback(func() { g.send(migration.AskBegin); g.send(migration.AskRemove) }, 5*time.Minute)
			g.ends(8*time.Minute, "Terminated")
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuarded(t)
			g.window()
			test(g)
			result := g.run()
			if g.last(migration.AskBegin).Served {
				g.gone()
				require.Equal(t, migration.GuardHandedOver, result.Phase)
			} else {
				g.free()
				require.Equal(t, migration.GuardRemoved, result.Phase)
			}
		})
	}
}

// An attempt of an activity that nobody waits for any more sets the block after it was removed.
func TestALateAttempt(t *testing.T) {
	for _, after := range []time.Duration{time.Minute, 5 * time.Minute} {
		g := newGuarded(t)
		g.window()
		g.at(5*time.Minute, migration.AskRemove)
		g.env.RegisterDelayedCallback(func() {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.source["movies"].ours = true
		}, 5*time.Minute+after)
		g.run()
		g.free()
	}
}

// A run that was reset is another one: it has nothing to say, but for the removal.
func TestAnUnknownRun(t *testing.T) {
	g := newGuarded(t)
	g.window()
	g.env.RegisterDelayedCallback(func() { g.mu.Lock(); g.runID = "run-2"; g.mu.Unlock() }, 4*time.Minute)
	g.at(5*time.Minute, migration.AskOpen, migration.AskBlock, migration.AskBegin, migration.AskRemove)
	g.run()
	g.free()
	for _, ask := range []migration.GuardAsk{migration.AskOpen, migration.AskBlock, migration.AskBegin} {
		require.False(t, g.last(ask).Served, "%s", ask)
	}
	require.Equal(t, migration.GuardRemoved, g.last(migration.AskRemove).Phase)
}

func TestAnUnknownRunRemovesNothingAfterTheCutover(t *testing.T) {
	g := newGuarded(t)
	g.window()
	g.at(5*time.Minute, migration.AskBegin, migration.AskHandOver)
	g.ends(6*time.Minute, "Terminated")
	g.env.RegisterDelayedCallback(func() { g.mu.Lock(); g.runID = "run-2"; g.mu.Unlock() }, 6*time.Minute)
	g.at(6*time.Minute, migration.AskRemove, migration.AskOpen, migration.AskHandOver)
	g.run()
	g.gone()
	require.Equal(t, migration.GuardHandedOver, g.last(migration.AskRemove).Phase)
	require.False(t, g.last(migration.AskOpen).Served)
	require.True(t, g.last(migration.AskHandOver).Told, "the guard tells, since the run that began it is gone")
}

// Two windows of one guard. What the second has blocked is not removed by the looks of the first.
func TestTwoWindows(t *testing.T) {
	g := newGuarded(t)
	g.window()
	g.at(5*time.Minute, migration.AskRemove)
	g.env.RegisterDelayedCallback(func() { g.number = 2 }, 6*time.Minute)
	g.at(6*time.Minute+time.Second, migration.AskOpen, migration.AskAnnounce, migration.AskBlock, migration.AskList)
	g.at(30*time.Minute, migration.AskBegin, migration.AskHandOver, migration.AskRelease)
	g.ends(31*time.Minute, "Completed")
	g.run()
	g.gone()
	require.True(t, g.last(migration.AskBegin).Served)
}

// An ask of the first window that comes late means nothing to the second.
func TestAnAskOfAnEarlierWindow(t *testing.T) {
	g := newGuarded(t)
	g.window()
	g.at(5*time.Minute, migration.AskRemove)
	g.env.RegisterDelayedCallback(func() { g.number = 2 }, 6*time.Minute)
	g.at(6*time.Minute+time.Second, migration.AskOpen, migration.AskAnnounce, migration.AskBlock, migration.AskList)
	g.env.RegisterDelayedCallback(func() { g.number = 1; g.send(migration.AskRemove); g.send(migration.AskBegin); g.number = 2 },
		20*time.Minute)
	g.env.RegisterDelayedCallback(func() { require.True(t, g.source["movies"].ours) }, 21*time.Minute)
	g.at(30*time.Minute, migration.AskBegin, migration.AskHandOver, migration.AskRelease)
	g.ends(31*time.Minute, "Completed")
	g.run()
	g.gone()
	require.False(t, g.answers[migration.AskBegin][0].Served)
}

// An index that is deleted and created again in the window, and then blocked, has our block and none
// of its own: nothing puts that back.
func TestOurBlockIsNeverTakenForOneThatWasThere(t *testing.T) {
	for name, own := range map[string]map[string]string{"no block": nil, "a block": {sourceWriteBlock: "true"}} {
		t.Run(name, func(t *testing.T) {
			g := newGuarded(t)
			g.source["catalog"].own = own
			g.window()
			g.env.RegisterDelayedCallback(func() {
				g.mu.Lock()
				g.source["catalog"] = &sourceIndex{uuid: "u9", ours: true} // blocked by name, between look and block
				g.mu.Unlock()
				g.indices = g.names("catalog", "movies")
			}, 4*time.Minute)
			g.at(5*time.Minute, migration.AskAnnounce, migration.AskBlock, migration.AskRemove)
			g.run()
			require.Equal(t, own != nil, g.source["catalog"].ours)
			require.False(t, g.source["movies"].ours)
		})
	}
}

// One index that can't be blocked leaves no other one blocked while a person is waited for.
func TestAnIndexThatRefusesTheBlock(t *testing.T) {
	g := newGuarded(t)
	g.refuse[migration.ActivityBlockSource] = map[string]bool{"movies": true}
	g.window()
	g.env.RegisterDelayedCallback(func() {
		g.free()
		require.Equal(t, "movies", g.last(migration.AskBlock).Refused[0].Index)
		require.True(t, g.last(migration.AskBlock).Served, "the window is open still")
		g.refuse[migration.ActivityBlockSource] = nil
	}, 4*time.Minute)
	g.at(5*time.Minute, migration.AskBegin)
	g.at(6*time.Minute, migration.AskBlock)
	g.at(7*time.Minute, migration.AskBegin, migration.AskHandOver, migration.AskRelease)
	g.ends(8*time.Minute, "Completed")
	g.run()
	g.gone()
	require.False(t, g.answers[migration.AskBegin][0].Served, "nothing begins while nothing is blocked")
}

func TestABlockThatFailsLeavesNothingBlocked(t *testing.T) {
	g := newGuarded(t)
	g.after[migration.ActivityBlockSource] = func(int) {}
	g.on[migration.ActivityBlockSource] = func(n int) error {
		g.mu.Lock()
		g.source["catalog"].ours = true // the half of it
		g.mu.Unlock()
		return refusal(migration.ErrorUnauthorized, "403")
	}
	g.window()
	g.env.RegisterDelayedCallback(func() { g.free() }, 4*time.Minute)
	g.at(5*time.Minute, migration.AskRemove)
	g.run()
	require.ErrorContains(t, g.failures[migration.AskBlock][0], "403")
	require.Equal(t, migration.ErrorUnauthorized, errorType(g.failures[migration.AskBlock][0]))
	g.free()
}

// An index that refuses the removal keeps neither the others nor the migration, and is named.
func TestAnIndexThatRefusesTheRemoval(t *testing.T) {
	g := newGuarded(t)
	g.refuse[migration.ActivityUnblockSource] = map[string]bool{"movies": true}
	g.window()
	g.at(5*time.Minute, migration.AskRemove)
	g.env.RegisterDelayedCallback(func() {
		require.Equal(t, "movies", g.last(migration.AskRemove).Remains[0].Index, "it is answered within seconds")
		require.False(t, g.source["catalog"].ours)
		g.refuse[migration.ActivityUnblockSource] = nil
	}, 5*time.Minute+30*time.Second)
	result := g.run()
	g.free()
	require.Empty(t, result.Remains, "a later look has removed it")
}

// Credentials that are wrong keep the block until they are right: the guard goes on trying, and
// whoever asks hears why it fails.
func TestARemovalThatFails(t *testing.T) {
	g := newGuarded(t)
	g.on[migration.ActivityUnblockSource] = func(n int) error {
		if n < 20 {
			return refusal(migration.ErrorUnauthorized, "403")
		}
		return nil
	}
	g.window()
	g.at(5*time.Minute, migration.AskRemove)
	g.run()
	g.free()
	require.Equal(t, migration.ErrorUnauthorized, errorType(g.failures[migration.AskRemove][0]))
}

// A removal that is asked for while the block is being set waits for that, and removes it.
func TestARemovalWhileTheBlockIsSet(t *testing.T) {
	g := newGuarded(t)
	g.after[migration.ActivityBlockSource] = func(n int) {
		done := make(chan struct{})
		g.env.RegisterDelayedCallback(func() { defer close(done); g.send(migration.AskRemove) }, 0)
		<-done
	}
	g.window()
	g.run()
	g.free()
	require.False(t, g.last(migration.AskBlock).Served)
}

func TestAnIndexThatIsNotHandedOver(t *testing.T) {
	g := newGuarded(t)
	g.refuse[migration.ActivityHandOver] = map[string]bool{"movies": true}
	g.window()
	g.at(5*time.Minute, migration.AskBegin, migration.AskHandOver)
	g.env.RegisterDelayedCallback(func() {
		require.Equal(t, "movies", g.last(migration.AskHandOver).Refused[0].Index)
		require.True(t, g.handed["catalog"], "it holds no other one")
		g.refuse[migration.ActivityHandOver] = nil
	}, 5*time.Minute+30*time.Second)
	g.at(5*time.Minute+40*time.Second, migration.AskHandOver, migration.AskRelease)
	g.ends(7*time.Minute, "Completed")
	result := g.run()
	g.gone()
	require.Empty(t, result.Refused)
}

// With the migration gone the guard tries again by itself, for a day, and then says what is left.
func TestAHandoverThatNobodyWaitsFor(t *testing.T) {
	g := newGuarded(t)
	g.refuse[migration.ActivityHandOver] = map[string]bool{"movies": true}
	g.window()
	g.at(5*time.Minute, migration.AskBegin)
	g.ends(6*time.Minute, "Terminated")
	result := g.run()
	require.Equal(t, "movies", result.Refused[0].Index)
	require.Equal(t, handoverTurns, g.n[migration.ActivityHandOver])
	require.True(t, g.handed["catalog"])
	require.True(t, g.source["movies"].ours, "two writable clusters would lose data")
	require.Contains(t, g.told[0].Guard.Message, "no writes yet")
}

// What appears on the source after the last look is blocked, counted and named.
func TestWhatComesAfterTheLastLook(t *testing.T) {
	g := newGuarded(t)
	g.window()
	g.env.RegisterDelayedCallback(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.source["catalog-2"] = &sourceIndex{uuid: "u3", docs: 12}
	}, 4*time.Minute)
	g.at(5*time.Minute, migration.AskBegin, migration.AskHandOver)
	g.env.RegisterDelayedCallback(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.source["catalog-3"] = &sourceIndex{uuid: "u4", docs: 1}
	}, 5*time.Minute+10*time.Second)
	g.at(5*time.Minute+20*time.Second, migration.AskRelease)
	g.ends(6*time.Minute, "Completed")
	g.env.RegisterDelayedCallback(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.source["catalog"].ours = false
	}, 10*time.Minute)
	result := g.run()
	g.gone()
	require.Equal(t, []migration.LateIndex{{Name: "catalog-2", UUID: "u3", New: true, Docs: 12}},
		g.last(migration.AskHandOver).Late)
	require.Len(t, g.last(migration.AskRelease).Late, 2)
	require.Len(t, result.Late, 3)
	require.False(t, result.Late[2].New)
	require.Equal(t, []string{migration.GuardEventLate, migration.GuardEventLate}, g.events())
}

// A guard that takes over from one that was terminated goes on with what was decided.
func TestAGuardThatIsStartedAgain(t *testing.T) {
	before := migration.GuardStatus{
		Plan: "movies", Token: "token", WorkflowID: migration.WorkflowID("movies"), RunID: thisRun, Window: 1,
		Blocked: true, Asked: true, Announced: 2, Listed: 2,
	}
	restarted := func(t *testing.T, phase migration.GuardPhase) *guarded {
		g := newGuarded(t)
		status := before
		status.Phase, status.UntilMillis = phase, g.until
		g.input.Before, g.input.From = &status, "guard-1"
		g.pages[migration.GuardAnnounced] = migration.GuardPage{Indices: g.indices}
		g.pages[migration.GuardHandover] = migration.GuardPage{Handover: g.handover}
		for _, index := range g.source {
			index.ours = true
		}
		return g
	}
	t.Run("in the window", func(t *testing.T) {
		g := restarted(t, migration.GuardWatching)
		g.at(5*time.Minute, migration.AskBegin, migration.AskHandOver, migration.AskRelease)
		g.ends(6*time.Minute, "Completed")
		g.run()
		g.gone()
	})
	t.Run("in the window, and the migration ends", func(t *testing.T) {
		g := restarted(t, migration.GuardWatching)
		g.ends(6*time.Minute, "Terminated")
		g.run()
		g.free()
	})
	t.Run("while it removed", func(t *testing.T) {
		g := restarted(t, migration.GuardRemoving)
		g.run()
		g.free()
	})
	t.Run("while it handed over", func(t *testing.T) {
		g := restarted(t, migration.GuardHandingOver)
		g.at(5*time.Minute, migration.AskHandOver, migration.AskRelease)
		g.ends(6*time.Minute, "Completed")
		g.run()
		g.gone()
	})
	t.Run("of an earlier migration", func(t *testing.T) {
		g := restarted(t, migration.GuardWatching)
		g.input.Before.Token = "another"
		g.window()
		g.at(5*time.Minute, migration.AskRemove)
		g.run()
		g.free()
	})
	t.Run("of an earlier migration that has handed over", func(t *testing.T) {
		g := restarted(t, migration.GuardHandedOver)
		g.input.Before.Token = "another"
		g.source["catalog"].ours, g.source["movies"].ours = false, false
		g.source["catalog"].own = map[string]string{sourceWriteBlock: "true"} // is what it is
		g.window()
		g.at(5*time.Minute, migration.AskRemove)
		g.run()
		require.True(t, g.source["catalog"].ours)
	})
}

// A guard serves one migration. Another one of the same plan waits until it has ended.
func TestAnotherMigrationOfThePlan(t *testing.T) {
	g := newGuarded(t)
	g.window()
	g.env.RegisterDelayedCallback(func() {
		g.env.UpdateWorkflow(string(migration.AskOpen), "x", &testsuite.TestUpdateCallback{
			OnAccept: func() {}, OnReject: func(error) {},
			OnComplete: func(value any, err error) {
				require.NoError(t, err)
				require.False(t, value.(migration.GuardAnswer).Served)
			},
		}, migration.GuardCall{Token: "other", RunID: "r", Window: 1, UntilMillis: g.until})
	}, 5*time.Minute)
	g.at(6*time.Minute, migration.AskRemove)
	g.run()
	g.free()
}

// A guard that nobody opens a window with ends, too.
func TestAGuardWithoutAWindowEnds(t *testing.T) {
	require.Equal(t, migration.GuardIdle, newGuarded(t).run().Phase)
}

// Nothing that the guard is asked or asks is larger than a batch, whatever there is to block.
func TestTheGuardsPagesAreBounded(t *testing.T) {
	g := &guard{}
	for i := range 10_000 {
		g.window.add(migration.SourceIndex{Name: fmt.Sprintf("%s-%05d", strings.Repeat("n", 94), i), UUID: strings.Repeat("u", 22)})
	}
	seen := 0
	for from := 0; ; {
		page, err := g.page(migration.GuardPageRequest{List: migration.GuardAnnounced, From: from})
		require.NoError(t, err)
		require.LessOrEqual(t, len(jsonOf(t, page)), 128<<10)
		seen += len(page.Indices)
		if from = page.Next; from == 0 {
			break
		}
	}
	require.Equal(t, 10_000, seen)
}
