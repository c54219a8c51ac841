package workflows

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"

	"github.com/snapferry/snapferry/migration"
)

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
			g.env.RegisterDelayedCallback(g.free, 5*time.Minute+10*time.Second) // long before the deadline
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
		"begin and death": func(g *guarded) {
			g.ends(5*time.Minute, "Terminated")
			g.at(5*time.Minute,
				migration.AskBegin)
		},
		"death and begin": func(g *guarded) {
			g.at(5*time.Minute, migration.AskBegin)
			g.ends(5*time.Minute,
				"Terminated")
		},
		"remove and begin": func(g *guarded) {
			g.env.RegisterDelayedCallback(func() { g.send(migration.AskRemove); g.send(migration.AskBegin) },
				5*time.Minute)
		},
		"begin and remove": func(g *guarded) {
			g.env.RegisterDelayedCallback(func() { g.send(migration.AskBegin); g.send(migration.AskRemove) },
				5*time.Minute)
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
	g.env.RegisterDelayedCallback(
		func() { g.number = 1; g.send(migration.AskRemove); g.send(migration.AskBegin); g.number = 2 },
		20*time.Minute)
	g.env.RegisterDelayedCallback(func() { require.True(t, g.source["movies"].ours) }, 21*time.Minute)
	g.at(30*time.Minute, migration.AskBegin, migration.AskHandOver, migration.AskRelease)
	g.ends(31*time.Minute, "Completed")
	g.run()
	g.gone()
	require.False(t, g.answers[migration.AskBegin][0].Served)
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
	g.env.RegisterDelayedCallback(func() { g.source["catalog-2"] = &sourceIndex{uuid: "u3"} }, 4*time.Minute)
	g.at(5*time.Minute, migration.AskBegin, migration.AskHandOver)
	g.env.RegisterDelayedCallback(func() {
		require.Equal(t, "movies", g.last(migration.AskHandOver).Refused[0].Index)
		require.Equal(t, "catalog-2", g.last(migration.AskHandOver).Late[0].Name, "the source is looked at meanwhile")
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
		g.window.add(migration.SourceIndex{
			Name: fmt.Sprintf("%s-%05d", strings.Repeat("n", 94), i),
			UUID: strings.Repeat("u", 22),
		})
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
