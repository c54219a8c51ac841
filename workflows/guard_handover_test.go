package workflows

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// The guard's decisions once the cutover has begun.

// As long as the migration is there, a person may help: the guard waits for it after its own tries.
func TestAHandoverThatAPersonHelps(t *testing.T) {
	g := newGuarded(t)
	g.refuse[migration.ActivityHandOver] = map[string]bool{"movies": true}
	g.window()
	g.at(5*time.Minute, migration.AskBegin)
	const later = 3 * 24 * time.Hour
	g.env.RegisterDelayedCallback(func() {
		require.Equal(t, handoverTurns, g.n[migration.ActivityHandOver])
		g.refuse[migration.ActivityHandOver] = nil
	}, later)
	g.at(later+time.Minute, migration.AskHandOver, migration.AskRelease)
	g.ends(later+2*time.Minute, "Completed")
	g.run()
	g.gone()
	require.Equal(t, migration.GuardHandedOver, g.last(migration.AskHandOver).Phase)
}

// What fails as a whole is told to whoever asks, and the next try goes on at the same batch.
func TestAHandoverThatFails(t *testing.T) {
	g := newGuarded(t)
	for i := range 1500 {
		name := fmt.Sprintf("%s-%04d", strings.Repeat("n", 60), i)
		g.handover = append(g.handover, migration.HandoverIndex{Name: name})
	}
	g.on[migration.ActivityHandOver] = func(n int) error {
		if n <= 2 {
			return refusal(migration.ErrorUnauthorized, "403")
		}
		return nil
	}
	g.window()
	g.at(5*time.Minute, migration.AskBegin)
	g.env.RegisterDelayedCallback(func() {
		require.Equal(t, 1, g.n[migration.ActivityHandOver], "the second batch would fail, too")
		require.Empty(t, g.handed)
	}, 5*time.Minute+5*time.Second)
	g.at(5*time.Minute+10*time.Second, migration.AskHandOver)
	g.at(6*time.Minute, migration.AskHandOver, migration.AskRelease)
	g.ends(7*time.Minute, "Completed")
	g.run()
	g.gone()
	require.Len(t, g.handed, 1502)
	require.Equal(t, migration.ErrorUnauthorized, errorType(g.failures[migration.AskHandOver][0]))
	require.NoError(t, g.failures[migration.AskHandOver][1])
}

// Who may ask for the handover, and when.
func TestWhoMayAskForTheHandover(t *testing.T) {
	for name, test := range map[string]struct {
		phase migration.GuardPhase
		token string
		may   bool
	}{
		"the migration":             {migration.GuardHandingOver, "token", true},
		"another one":               {migration.GuardHandingOver, "other", false},
		"before the cutover begins": {migration.GuardWatching, "token", false},
		"after the removal":         {migration.GuardRemoved, "token", false},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuarded(t)
			g.within(func(ctx workflow.Context, guard *guard) {
				guard.Phase, guard.handover = test.phase, g.handover
				call := g.own()
				call.Token, call.LeaveOut = test.token, []string{"movies", "unknown"}
				answered := false
				workflow.Go(ctx, func(ctx workflow.Context) {
					answer, err := guard.askedToHandOver(ctx, call)
					require.NoError(t, err)
					require.False(t, answer.Served)
					answered = true
				})
				require.NoError(t, workflow.Sleep(ctx, time.Second))
				require.Equal(t, test.may, !answered, "only whoever may ask waits for a try")
				require.Equal(t, test.may, guard.pressed)
				require.Equal(t, test.may, len(guard.handover) == 1)
				require.Equal(t, test.may, guard.LeftOut == 1)
			})
		})
	}
}

// Who says that the migration tells of the end: itself, once all is handed over.
func TestWhoReleasesTheGuard(t *testing.T) {
	for name, test := range map[string]struct {
		phase    migration.GuardPhase
		token    string
		released bool
	}{
		"the migration":              {migration.GuardHandedOver, "token", true},
		"another one":                {migration.GuardHandedOver, "other", false},
		"while it hands over still":  {migration.GuardHandingOver, "token", false},
		"while the window is open":   {migration.GuardWatching, "token", false},
		"after the block is removed": {migration.GuardRemoved, "token", false},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuarded(t)
			g.within(func(ctx workflow.Context, guard *guard) {
				guard.Phase = test.phase
				call := g.own()
				call.Token = test.token
				_, err := guard.release(ctx, call)
				require.NoError(t, err)
				require.Equal(t, test.released, guard.Released)
				require.Equal(t, test.released, guard.told)
				require.Equal(t, test.released, guard.looked)
			})
		})
	}
}

// An index of an earlier window, which the plan doesn't mean any more, is looked at also after the
// handover: a late attempt may have blocked it.
func TestALateAttemptOfAnEarlierWindow(t *testing.T) {
	g := newGuarded(t)
	g.window()
	g.at(5*time.Minute, migration.AskRemove)
	g.env.RegisterDelayedCallback(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.number, g.indices, g.handover = 2, g.names("movies"), g.handover[1:]
		g.source["catalog"].outside = true
	}, 6*time.Minute)
	g.at(6*time.Minute+time.Second, migration.AskOpen, migration.AskAnnounce, migration.AskBlock, migration.AskList)
	g.at(6*time.Minute+30*time.Second, migration.AskBegin, migration.AskHandOver, migration.AskRelease)
	g.env.RegisterDelayedCallback(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.source["catalog"].ours = true
	}, 12*time.Minute)
	g.ends(7*time.Minute, "Completed")
	g.run()
	require.False(t, g.source["catalog"].ours)
	require.True(t, g.source["movies"].ours)
	require.True(t, g.handed["movies"])
}

// What a look says of an index: whether it is new, or was made again, and why it could not be
// blocked. The blocks that it had go along, so that ours is told apart.
func TestWhatTheGuardSaysOfLateIndices(t *testing.T) {
	g := newGuarded(t)
	own := map[string]string{"index.blocks.read_only": "true"}
	g.source["catalog"].own = own
	g.window()
	g.env.RegisterDelayedCallback(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.blocks = nil
		g.source["catalog"].ours = false
		g.source["movies"] = &sourceIndex{uuid: "u9", docs: 1}
		g.source["movies-2"] = &sourceIndex{uuid: "u3", docs: 7}
		g.refuse[migration.ActivityBlockSource] = map[string]bool{"movies-2": true}
	}, 4*time.Minute)
	g.on[migration.ActivityHandOver] = func(int) error { // the fake's own check needs the block
		g.mu.Lock()
		defer g.mu.Unlock()
		g.source["catalog"].ours, g.source["movies"].ours = true, true
		return nil
	}
	g.after[migration.ActivityHandOver] = func(int) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.source["catalog"].ours, g.source["movies"].ours = false, false
	}
	g.at(5*time.Minute, migration.AskBegin, migration.AskHandOver)
	g.env.RegisterDelayedCallback(func() {
		require.Equal(t, []migration.LateIndex{
			{Name: "catalog", UUID: "u1"},
			{Name: "movies", UUID: "u9", New: true, Docs: 1},
			{Name: "movies-2", UUID: "u3", New: true, Docs: 7, Problem: "read_only"},
		}, g.last(migration.AskHandOver).Late)
		require.Equal(t, own, g.blocks[0].Blocks)
		g.refuse[migration.ActivityBlockSource] = nil
	}, 5*time.Minute+30*time.Second)
	g.at(6*time.Minute, migration.AskRelease)
	g.ends(7*time.Minute, "Completed")
	result := g.run()
	require.Empty(t, result.Late[2].Problem, "a later look has blocked it")
	require.True(t, g.source["movies-2"].ours)
}

// An index that is found again takes the place of what was known, and the list is bounded.
func TestTheListOfLateIndices(t *testing.T) {
	g := &guard{}
	g.keepLate([]migration.LateIndex{{Name: "a", Docs: 1}, {Name: "b", Docs: 2}})
	g.keepLate([]migration.LateIndex{{Name: "a", Docs: 9}})
	require.Equal(t, []migration.LateIndex{{Name: "a", Docs: 9}, {Name: "b", Docs: 2}}, g.Late)
	for i := range migration.GuardNamed + 1 {
		g.keepLate([]migration.LateIndex{{Name: fmt.Sprint(i)}})
	}
	require.Len(t, g.Late, migration.GuardNamed)
	require.Equal(t, 3, g.LateOmitted)
}

func TestAGuardWithoutAWebhookTellsNobody(t *testing.T) {
	g := newGuarded(t)
	g.input.Run.Plan.Cutover.Webhook = migration.Webhook{}
	g.window()
	g.run()
	g.free()
	require.Zero(t, g.n[migration.ActivityCallWebhook])
}
