package workflows

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

// apart is a list of indices with what it leaves out.
func (w *world) apart(list migration.IndexList) migration.IndexList {
	list.NotHot = w.notHot
	return list
}

// warms has Amazon move the index movies to UltraWarm storage after the baseline's snapshot.
func (w *world) warms(leftOut bool) {
	w.during(migration.ActivityCopySnapshot, 1, func() {
		w.change(func() {
			w.indices = w.indices[:1]
			w.notHot = &migration.NotHot{Warm: []string{"movies"}, LeftOut: leftOut}
		})
	})
	w.cleared.Back = 1
}

// The plan leaves it out: everything else is handed over, and each page says what stays behind.
func TestWhatThePlanLeavesOutIsRepeatedByStatusAndReport(t *testing.T) {
	w := newWorld(t)
	w.plan = strings.Replace(planJSON, `"source": {`, `"source": {"warm": "leaveOut", `, 1)
	w.notHot = &migration.NotHot{Cold: []string{"movies-old"}, LeftOut: true}
	w.env.RegisterDelayedCallback(func() { require.Equal(t, w.notHot, w.status().NotHot) }, time.Minute)
	w.usualRequests()
	report := w.finished()
	require.Equal(t, migration.ResultCompleted, report.Result)
	require.Equal(t, w.notHot, report.NotHot)
	require.Empty(t, report.Warnings)
	require.Equal(t, migration.WarmLeftOut, w.closes[0].Plan.Source.Warm)
}

func TestAnIndexThatIsMovedAfterARoundIsNamedToTheEnd(t *testing.T) {
	w := newWorld(t)
	w.warms(true)
	w.env.RegisterDelayedCallback(func() {
		status := w.status()
		require.Equal(t, []string{"movies"}, status.NotHot.Warm)
		require.Contains(t, status.Warnings, "these indices were moved to UltraWarm or cold storage after a round had "+
			"restored them, and stay on the target as they were last restored: movies")
	}, 18*time.Minute)
	w.usualRequests()
	report := w.finished()
	require.Equal(t, []string{"movies"}, report.NotHot.Warm)
	require.Len(t, report.Warnings, 1)
	require.Contains(t, strings.Join(report.Remains, "\n"), "target: indices that are in UltraWarm or cold storage on "+
		"the source now, as they were last restored, blocked for writes, not verified: movies")
	require.NotContains(t, strings.Join(report.Remains, "\n"), "no longer on the source")
	for _, handed := range w.handovers {
		for _, index := range handed {
			require.NotEqual(t, "movies", index.Name)
		}
	}
}

// It comes back, and is one of the others again.
func TestAnIndexThatIsHotAgainIsForgottenAsWarm(t *testing.T) {
	w := newWorld(t)
	all := w.indices
	w.warms(false)
	w.env.RegisterDelayedCallback(func() {
		require.NotNil(t, w.status().NotHot)
		w.change(func() { w.indices, w.notHot = all, nil })
	}, 18*time.Minute)
	w.at(19*time.Minute, migration.RequestRound)
	w.at(25*time.Minute, migration.RequestFreeze)
	w.at(40*time.Minute, migration.RequestCutover)
	w.run()
	report := w.completed()
	require.Nil(t, report.NotHot)
	require.Empty(t, report.Warnings)
}

// The plan wants it, so the freeze is refused while writes go on, until somebody makes it hot.
func TestTheFreezeIsRefusedWhileAnIndexIsNotHot(t *testing.T) {
	w := newWorld(t)
	w.fails(migration.ActivityCheckDependencies, 1, migration.ErrorNotHot)
	w.at(25*time.Minute, migration.RequestRetry)
	w.usualRequests()
	w.env.RegisterDelayedCallback(func() {
		status := w.status()
		require.Equal(t, migration.PhaseReady, status.Phase)
		require.Equal(t, string(migration.ErrorNotHot), status.Attention.Type)
		require.Contains(t, status.Attention.Remedy, "source.warm: leaveOut")
		require.False(t, w.isBlocked())
	}, 22*time.Minute)
	w.run()
	w.completed()
}

// What a look in the frozen window finds is handed over, so it must be all that the plan stands for.
func TestOnlyTheFrozenWindowAsksForAllIndices(t *testing.T) {
	w := newWorld(t)
	w.usualRequests()
	w.run()
	w.completed()
	require.NotEmpty(t, w.looks)
	frozen := 0
	for _, look := range w.looks {
		assert.True(t, look.LeaveOut)
		if look.Frozen {
			frozen++
		}
	}
	require.Positive(t, frozen)
	require.Less(t, frozen, len(w.looks))
}
