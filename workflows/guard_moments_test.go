package workflows

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"

	"github.com/snapferry/snapferry/migration"
)

// What meets the guard in the middle of something.

// now asks in the middle of an activity, and waits until the guard has heard it.
func (g *guarded) now(ask migration.GuardAsk) {
	done := make(chan struct{})
	g.env.RegisterDelayedCallback(func() { defer close(done); g.send(ask) }, 0)
	<-done
}

func TestARemovalWhileTheBlocksAreRead(t *testing.T) {
	g := newGuarded(t)
	g.unread = true
	g.after[migration.ActivityReadSourceBlocks] = func(int) { g.now(migration.AskRemove) }
	g.window()
	result := g.run()
	g.free()
	require.False(t, g.last(migration.AskAnnounce).Served)
	require.NoError(t, g.failures[migration.AskAnnounce][0], "nothing is the matter")
	require.Zero(t, result.Announced)
	require.Zero(t, g.n[migration.ActivityBlockSource])
}

// One index refuses the block, and while it is removed from the others the window ends.
func TestARemovalWhileARefusedBlockIsRemoved(t *testing.T) {
	g := newGuarded(t)
	g.refuse[migration.ActivityBlockSource] = map[string]bool{"movies": true}
	g.after[migration.ActivityUnblockSource] = func(n int) {
		if n == 1 {
			g.now(migration.AskRemove)
		}
	}
	g.window()
	g.run()
	g.free()
	require.False(t, g.last(migration.AskBlock).Served)
	require.Empty(t, g.last(migration.AskBlock).Refused)
}

// A block that was set counts no more once a later one has failed, since that removes all.
func TestNothingBeginsAfterALaterBlockHasFailed(t *testing.T) {
	g := newGuarded(t)
	g.on[migration.ActivityBlockSource] = func(n int) error {
		if n == 2 {
			return refusal(migration.ErrorUnauthorized, "403")
		}
		return nil
	}
	g.window()
	g.at(5*time.Minute, migration.AskBlock, migration.AskBegin)
	g.at(6*time.Minute, migration.AskBlock, migration.AskBegin, migration.AskHandOver, migration.AskRelease)
	g.ends(7*time.Minute, "Completed")
	g.run()
	g.gone()
	require.Error(t, g.failures[migration.AskBlock][1])
	require.False(t, g.answers[migration.AskBegin][0].Served)
	require.True(t, g.answers[migration.AskBegin][1].Served)
}

// What was never blocked is never changed.
func TestAWindowWithoutABlock(t *testing.T) {
	g := newGuarded(t)
	g.source["movies"].ours = true // of somebody else, but for the guard the same
	g.at(time.Second, migration.AskOpen, migration.AskAnnounce, migration.AskRemove)
	result := g.run()
	require.Equal(t, migration.GuardRemoved, result.Phase)
	require.Zero(t, g.n[migration.ActivityUnblockSource])
	require.True(t, g.source["movies"].ours)
}

// An index is made again between the look and the block, which names it as it is now.
func TestTheGuardKnowsWhatItHasBlocked(t *testing.T) {
	g := newGuarded(t)
	g.on[migration.ActivityBlockSource] = func(int) error {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.source["movies"] = &sourceIndex{uuid: "u9"}
		return nil
	}
	g.window()
	g.env.RegisterDelayedCallback(func() {
		value, err := g.env.QueryWorkflow(migration.QueryGuardUnknown,
			[]migration.SourceIndex{{Name: "movies", UUID: "u9"}})
		require.NoError(t, err)
		var unknown []migration.SourceIndex
		require.NoError(t, value.Get(&unknown))
		require.Empty(t, unknown)
	}, 10*time.Second)
	g.at(time.Minute, migration.AskRemove)
	g.run()
	g.free()
}

// Only indices that have a block of their own are told of.
func TestTheGuardNamesBlocksThatWereThere(t *testing.T) {
	g := newGuarded(t)
	g.source["catalog"].own = map[string]string{sourceWriteBlock: "false", "index.blocks.metadata": "false"}
	g.source["movies"].own = map[string]string{"index.blocks.metadata": "false", "index.blocks.read": "true"}
	g.window()
	g.at(time.Minute, migration.AskRemove)
	g.run()
	own := g.last(migration.AskAnnounce).Own
	require.Len(t, own, 1)
	require.Equal(t, "movies", own[0].Name)
}

// Whoever asks for the removal again has it tried at once.
func TestAnAskForTheRemovalIsTriedAtOnce(t *testing.T) {
	g := newGuarded(t)
	broken := true
	g.on[migration.ActivityUnblockSource] = func(int) error {
		g.mu.Lock()
		defer g.mu.Unlock()
		if broken {
			return refusal(migration.ErrorUnauthorized, "403")
		}
		return nil
	}
	g.window()
	g.at(5*time.Minute, migration.AskRemove)
	g.env.RegisterDelayedCallback(func() { g.mu.Lock(); broken = false; g.mu.Unlock() }, 40*time.Minute)
	g.at(40*time.Minute, migration.AskRemove) // in the middle of a pause of ten minutes
	g.env.RegisterDelayedCallback(g.free, 40*time.Minute+10*time.Second)
	g.run()
	require.Error(t, g.failures[migration.AskRemove][0])
	require.NoError(t, g.failures[migration.AskRemove][1])
}

// An index that refuses once is tried again before anybody hears of it.
func TestAnIndexThatRefusesTheRemovalOnce(t *testing.T) {
	g := newGuarded(t)
	g.refuse[migration.ActivityUnblockSource] = map[string]bool{"movies": true}
	g.after[migration.ActivityUnblockSource] = func(int) {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.refuse, migration.ActivityUnblockSource)
	}
	g.window()
	g.at(5*time.Minute, migration.AskRemove)
	g.env.RegisterDelayedCallback(g.free, 5*time.Minute+30*time.Second)
	g.run()
	require.Empty(t, g.last(migration.AskRemove).Remains)
}

// Once the block is removed, nobody watches how the migration ends: that is no business of the
// guard's.
func TestARemovalEndsTheWatch(t *testing.T) {
	g := newGuarded(t)
	cancelled := map[string]int{}
	g.env.SetOnActivityCanceledListener(func(info *activity.Info) { cancelled[info.ActivityType.Name]++ })
	g.window()
	g.at(5*time.Minute, migration.AskRemove)
	g.env.RegisterDelayedCallback(func() {
		require.Equal(t, 1, cancelled[migration.ActivityWatchMigration])
	}, 5*time.Minute+10*time.Second)
	require.Empty(t, g.run().Ended)
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
	t.Run("after it removed", func(t *testing.T) {
		g := restarted(t, migration.GuardRemoved)
		g.pages[migration.GuardLeft] = g.pages[migration.GuardAnnounced]
		g.run()
		g.free()
		require.Equal(t, 2, g.n[migration.ActivityUnblockSource], "the looks are its own")
	})
	t.Run("after it handed over", func(t *testing.T) {
		g := restarted(t, migration.GuardHandedOver)
		g.ends(6*time.Minute, "Terminated")
		g.run()
		require.Equal(t, 2, g.n[migration.ActivityLookAgain], "the looks are its own")
		require.Equal(t, []string{migration.GuardEventHandedOver}, g.events())
	})
	t.Run("after the migration had told of the handover", func(t *testing.T) {
		g := restarted(t, migration.GuardHandedOver)
		g.input.Before.Released = true
		g.run()
		require.Nil(t, g.watch, "nobody needs to know how the migration ends")
		require.Empty(t, g.told)
	})
	t.Run("after the migration had ended", func(t *testing.T) {
		g := restarted(t, migration.GuardHandingOver)
		g.input.Before.Ended = "Terminated"
		g.run()
		g.gone()
		require.Nil(t, g.watch, "it knows that the migration has ended")
		require.Equal(t, []string{migration.GuardEventHandedOver}, g.events())
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
