package workflows

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

// joins has the world's activities do what follows at once, as those of a worker do.
func (w *world) joins(r migration.RestoreRequest) *migration.OpenResult {
	if !w.joined || r.Open == nil {
		return nil
	}
	counters := migration.WriteCounters{}
	for _, index := range r.Indices {
		counters[index.Name] = migration.Counter{UUID: "u-" + index.Name, Docs: 7}
	}
	return &migration.OpenResult{Counters: counters}
}

// looksFrozen is how the source stands right after the block; nil if the world doesn't tell.
func (w *world) looksFrozen(in migration.GuardRequest) *migration.FrozenLook {
	if !w.joined || in.Look == nil || !w.blocked {
		return nil
	}
	look := &migration.FrozenLook{
		Standstill: migration.Standstill{
			Docs: migration.ShardDocs{"movies": {3}}, Marks: migration.ShardMarks{"movies": {w.mark}},
		},
		Indices: migration.IndexList{Inline: w.indices, NotHot: w.notHot},
	}
	if w.becomes != nil {
		found := w.findChanged(*in.Look.Find)
		look.Standstill.Found = &found
	}
	return look
}

// Nothing is decided between block and standstill, or between a restore and the opening. So one
// activity does both, and only the check before the cutover asks for the standstill itself.
func TestOneActivityDoesWhatFollowsAtOnce(t *testing.T) {
	w := newWorld(t)
	w.joined = true
	w.at(20*time.Minute, migration.RequestFreeze)
	w.at(50*time.Minute, migration.RequestCutover)
	w.run()
	report := w.completed()
	require.NotNil(t, report.FrozenWindow)
	require.Zero(t, w.called(migration.ActivityOpenTarget))
	require.Equal(t, 1, w.called(migration.ActivityAwaitStandstill))
}

// The first shape asks for neither.
func TestOlderRunsAskForEachStep(t *testing.T) {
	w := newWorld(t)
	w.firstShape()
	w.joined = true
	w.at(20*time.Minute, migration.RequestFreeze)
	w.at(50*time.Minute, migration.RequestCutover)
	w.run()
	w.completed()
	require.NotZero(t, w.called(migration.ActivityOpenTarget))
	require.Equal(t, 2, w.called(migration.ActivityAwaitStandstill))
	for _, r := range w.restores {
		require.Nil(t, r.Open)
	}
}

// An index that was created while the block was set has escaped it: the look after the block shows
// it, and the freeze begins again.
func TestTheLookAfterTheBlockShowsAnIndexThatEscapedIt(t *testing.T) {
	w := newWorld(t)
	w.joined = true
	w.after[migration.ActivityBlockSource] = func(n int) {
		if n == 1 {
			w.change(func() { w.indices = append(w.indices, migration.Index{Name: "late", UUID: "u-late", Shards: 1}) })
		}
	}
	w.at(20*time.Minute, migration.RequestFreeze)
	w.at(50*time.Minute, migration.RequestCutover)
	w.run()
	require.NoError(t, w.env.GetWorkflowError())
	require.Equal(t, 2, w.called(migration.ActivityBlockSource))
	require.Contains(t, w.guard.announced, "late")
}

// A killed worker's copy is taken up by another one within 8 s, of which Temporal's own timers take up
// to 1.5 s on an idle computer.
func TestWhenAKilledWorkerIsTakenOver(t *testing.T) {
	for _, options := range []time.Duration{
		copyActivity("").HeartbeatTimeout + copyActivity("").RetryPolicy.InitialInterval,
		quickCall("").HeartbeatTimeout + quickCall("").RetryPolicy.InitialInterval,
		urgent(pollUntilDone("")).HeartbeatTimeout + urgent(pollUntilDone("")).RetryPolicy.InitialInterval,
	} {
		require.LessOrEqual(t, options, 6500*time.Millisecond)
	}
}
