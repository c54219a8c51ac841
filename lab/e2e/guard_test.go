//go:build lab

package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"

	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/lab/rig"
	"github.com/snapferry/snapferry/migration"
	"github.com/snapferry/snapferry/workflows"
)

// soon is how long the guard may take on the lab's clusters, with nobody acting. It takes seconds;
// this is for a slow computer that is busy. A guard that fails to watch its migration looks again
// after ten minutes, and most windows here end after hours: that would be too late.
const soon = 5 * time.Minute

// moment is where a migration stands when something ends it. reach brings it there, and returns
// what lets go of the request that it holds there.
type moment struct {
	name  string
	reach func(*scenario) (release func())
	begun bool // the cutover has begun
}

// held brings a migration into its window and holds the first request there that matches.
func held(on func(*scenario) *lab.Faults, match func(*scenario) lab.Match) func(*scenario) func() {
	return func(s *scenario) func() {
		require.NoError(s.t, s.put(s.lab.Source.Direct()), "or the window takes nothing")
		fault := on(s).HoldNext(match(s))
		s.signal(migration.RequestFreeze)
		s.signal(migration.RequestCutover) // counts once it is frozen, and for nothing after a reset
		s.awaitHeld(fault)
		return fault.Release
	}
}

func sourceFaults(s *scenario) *lab.Faults { return &s.lab.Source.Front.Faults }

func targetFaults(s *scenario) *lab.Faults { return &s.lab.Target.Front.Faults }

func at(method, path string) func(*scenario) lab.Match {
	return func(s *scenario) lab.Match {
		return lab.Requests(method, strings.ReplaceAll(path, "NAME", s.name))
	}
}

var moments = []moment{
	{"ready", func(s *scenario) func() {
		require.NoError(s.t, s.put(s.lab.Source.Direct()), "or the hot round takes nothing")
		fault := sourceFaults(s).HoldNext(lab.Requests(http.MethodPut, "/"+s.name+"-r"))
		s.signal(migration.RequestFreeze)
		s.awaitHeld(fault) // the hot round
		return fault.Release
	}, false},
	{"block", held(sourceFaults, at(http.MethodPut, "/NAME/_settings")), false},
	{"standstill", func(s *scenario) func() {
		require.NoError(s.t, s.put(s.lab.Source.Direct()), "or the window takes nothing")
		fault := s.heldOnceBlocked(lab.Requests(http.MethodPost, "/"+s.name+"/_refresh"))
		s.signal(migration.RequestCutover) // as in held
		s.awaitHeld(fault)
		return fault.Release
	}, false},
	{"final", held(sourceFaults, at(http.MethodPut, "/NAME-r")), false},
	{"waiting", func(s *scenario) func() {
		s.signal(migration.RequestFreeze)
		s.awaitPhase(migration.PhaseAwaitCutover)
		return func() {}
	}, false},
	{"cutover", func(s *scenario) func() {
		s.signal(migration.RequestFreeze)
		s.awaitPhase(migration.PhaseAwaitCutover)
		fault := targetFaults(s).HoldNext(lab.Requests(http.MethodPut, "/"+s.name+"/_settings"))
		s.signal(migration.RequestCutover)
		s.awaitHeld(fault)
		return fault.Release
	}, true},
}

// blows are what ends a migration.
var blows = []struct {
	name   string
	strike func(*scenario)
}{
	{"terminate", func(s *scenario) {
		s.temporal("workflow", "terminate", "--workflow-id", s.id, "--reason", "a test")
	}},
	{"resetfirst", func(s *scenario) { s.reset(func([]*history.HistoryEvent) int { return 0 }) }},
	{"resetbefore", func(s *scenario) { s.reset(beforeTheBlock) }},
	{"resetlast", func(s *scenario) {
		s.reset(func(events []*history.HistoryEvent) int { return len(events) - 1 })
	}},
}

// Whatever ends a migration, and wherever: the source ends writable, or the target is handed over,
// and nobody acts.
func TestTheSourceEndsWritableOrHandedOver(t *testing.T) {
	t.Parallel()
	for _, m := range moments {
		for _, b := range blows {
			t.Run(m.name+b.name, func(t *testing.T) {
				t.Parallel()
				s := newScenario(t, labs.take(t, usual), "g"+m.name+b.name, 200)
				s.noRoundBesides()
				if m.name == "ready" {
					s.plan.Freeze.HotRound = migration.HotRoundAlways
				}
				s.worker()
				s.start()
				s.await(func(status migration.Status) bool { return status.RoundsEnded >= 1 })
				release := m.reach(s)
				b.strike(s)
				struck := time.Now()
				release()
				if m.begun {
					s.handedOverSoon(struck)
				} else {
					s.writableSoon(struck)
				}
				if b.name == "terminate" {
					return
				}
				// The run that the reset has begun leaves it so.
				s.await(func(status migration.Status) bool {
					return status.Phase == migration.PhaseRounds && status.Step == "" ||
						status.Phase == migration.PhasePreflight && status.Attention != nil ||
						status.Phase == migration.PhaseCompleted
				})
				if m.begun {
					s.handedOverSoon(time.Now())
				} else {
					s.writableSoon(time.Now())
				}
			})
		}
	}
}

// The guard is terminated as well, before or after: the migration starts it again. With both gone,
// only a person helps.
func TestTheGuardIsTerminated(t *testing.T) {
	t.Parallel()
	t.Run("guardalone", func(t *testing.T) {
		t.Parallel()
		s := newScenario(t, labs.take(t, usual), "guardalone", 200)
		s.waiting()
		s.terminateGuard()
		s.awaitGuard()
		s.signal(migration.RequestCutover)
		s.completed()
	})
	t.Run("guardthenmigration", func(t *testing.T) {
		t.Parallel()
		s := newScenario(t, labs.take(t, usual), "guardthenmigration", 200)
		s.waiting()
		s.terminateGuard()
		s.awaitGuard()
		s.temporal("workflow", "terminate", "--workflow-id", s.id, "--reason", "a test")
		s.writableSoon(time.Now())
	})
}

// A migration whose workflow hangs is no longer able to remove its block: the guard does at the
// deadline.
func TestAHangingMigrationEndsAtTheDeadline(t *testing.T) {
	t.Parallel()
	doubling(t, "hanging", time.Minute, migrationHangs)
}

// migrationHangs tells whether it was seen that the window was open still.
func migrationHangs(t *testing.T, name string, limit time.Duration) (inTime bool) {
	s := newScenario(t, labs.take(t, usual), name, 200)
	s.noRoundBesides()
	s.plan.Freeze.MaxDuration = migration.Duration(limit)
	s.worker()
	// Its workflow tasks are served here, until they are served no more.
	queue := name
	own := worker.New(s.rig.Client, queue, worker.Options{LocalActivityWorkerOnly: true})
	workflows.Register(own)
	require.NoError(t, own.Start())
	stop := true
	defer func() {
		if stop {
			own.Stop()
		}
	}()
	_, err := s.rig.Client.ExecuteWorkflow(s.ctx, client.StartWorkflowOptions{ID: s.id, TaskQueue: queue},
		migration.WorkflowType, s.plan)
	require.NoError(t, err)
	s.await(func(status migration.Status) bool { return status.RoundsEnded >= 1 })
	s.signal(migration.RequestFreeze)
	status := s.await(func(status migration.Status) bool {
		return status.Phase == migration.PhaseFinalRound || status.Phase == migration.PhaseVerify ||
			status.Phase == migration.PhaseAwaitCutover || windowIsOver(status)
	})
	if windowIsOver(status) {
		return false
	}
	own.Stop()
	stop = false
	until := time.UnixMilli(status.FrozenUntilMillis)
	if err := s.put(s.lab.Source.Direct()); time.Now().Before(until) {
		require.ErrorContains(t, err, "cluster_block_exception", "the window is open still")
		inTime = true
	}
	s.writableSoon(until)
	return inTime
}

// waiting brings a migration to the wait for cutover.
func (s *scenario) waiting() {
	s.noRoundBesides()
	s.worker()
	s.start()
	s.await(func(status migration.Status) bool { return status.RoundsEnded >= 1 })
	s.signal(migration.RequestFreeze)
	s.awaitPhase(migration.PhaseAwaitCutover)
}

func (s *scenario) writableSoon(since time.Time) {
	s.t.Helper()
	require.Eventually(s.t, func() bool { return s.put(s.lab.Source.Direct()) == nil }, time.Until(since)+soon,
		200*time.Millisecond, "the source is still blocked")
	s.targetRefuses()
	s.t.Logf("writable %.1f s later", time.Since(since).Seconds())
}

func (s *scenario) handedOverSoon(since time.Time) {
	s.t.Helper()
	require.Eventually(s.t, func() bool { return s.put(s.lab.Target.Direct()) == nil }, time.Until(since)+soon,
		200*time.Millisecond, "the target is not handed over")
	require.ErrorContains(s.t, s.put(s.lab.Source.Direct()), "cluster_block_exception")
	s.t.Logf("handed over %.1f s later", time.Since(since).Seconds())
}

func (s *scenario) terminateGuard() {
	require.NoError(s.t, s.rig.Client.TerminateWorkflow(s.ctx, migration.GuardID(s.name), "", "a test"))
}

// awaitGuard waits until the guard runs again and knows what the last one knew.
func (s *scenario) awaitGuard() {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		value, err := s.rig.Client.QueryWorkflow(s.ctx, migration.GuardID(s.name), "", migration.QueryStatus)
		if err != nil {
			return false
		}
		described, err := s.rig.Client.DescribeWorkflowExecution(s.ctx, migration.GuardID(s.name), "")
		var status migration.GuardStatus
		return err == nil && value.Get(&status) == nil && status.TakesOver == "" &&
			status.Phase == migration.GuardWatching && status.Blocked &&
			described.GetWorkflowExecutionInfo().GetStatus() == enums.WORKFLOW_EXECUTION_STATUS_RUNNING
	}, soon, 200*time.Millisecond)
}

// beforeTheBlock chooses the request for a window.
func beforeTheBlock(events []*history.HistoryEvent) int {
	for i, event := range events {
		for _, payload := range event.GetActivityTaskScheduledEventAttributes().GetInput().GetPayloads() {
			if strings.Contains(string(payload.GetData()), `"ask":"open"`) {
				return i
			}
		}
	}
	return len(events) - 1
}

// reset begins the migration again, as [rig.Reset] says.
func (s *scenario) reset(pick func([]*history.HistoryEvent) int) {
	s.t.Helper()
	require.NoError(s.t, rig.Reset(s.ctx, s.rig.Client, s.id, pick))
}
