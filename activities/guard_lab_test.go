//go:build lab

package activities

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"

	"github.com/snapferry/snapferry/migration"
)

var endings = []struct {
	name string
	do   func(*stricken)
}{
	{"terminate", func(e *stricken) { e.terminate(e.id) }},
	{"reset-first", func(e *stricken) { e.reset(func([]*history.HistoryEvent) int { return 0 }) }},
	{"reset-before", func(e *stricken) {
		e.reset(func(events []*history.HistoryEvent) int {
			for i, event := range events {
				for _, payload := range event.GetActivityTaskScheduledEventAttributes().GetInput().GetPayloads() {
					if strings.Contains(string(payload.GetData()), `"ask":"open"`) {
						return i
					}
				}
			}
			return len(events) - 1
		})
	}},
	{"reset-last", func(e *stricken) { e.reset(func(events []*history.HistoryEvent) int { return len(events) - 1 }) }},
}

// stages are where the migration stands when it is ended. reach brings it there.
var stages = []struct {
	name  string
	begun bool
	reach func(e *stricken)
}{
	{"ready", false, func(e *stricken) {
		arrived := e.held("GET /_snapshot/_status")
		e.signal(migration.RequestFreeze)
		e.awaitHeld(arrived)
	}},
	{"block", false, func(e *stricken) { e.frozenAt("PUT /*/_settings") }},
	{"standstill", false, func(e *stricken) { e.frozenAt("POST /*/_refresh") }},
	{"final", false, func(e *stricken) {
		require.NoError(e.t, e.from.Index("movies", "late")) // without a change no snapshot is taken
		e.frozenAt("PUT /_snapshot/*/*-r0001-*")
	}},
	{"verify", false, func(e *stricken) { e.frozenAt("POST /*/_search") }},
	{"waiting", false, func(e *stricken) { e.waiting() }},
	{"cutover", true, func(e *stricken) {
		e.hold = true
		e.waiting()
		e.signal(migration.RequestCutover)
		e.awaitHeld(e.handing)
	}},
}

func (e *stricken) frozenAt(pattern string) {
	arrived := e.held(pattern)
	e.signal(migration.RequestFreeze)
	e.awaitHeld(arrived)
	if status, err := e.status(); err == nil && status.Phase.Frozen() {
		e.signal(migration.RequestCutover) // which counts for nothing after a reset
	}
}

func (e *stricken) waiting() {
	e.signal(migration.RequestFreeze)
	e.await("the wait for cutover", func(s migration.Status) bool { return s.Phase == migration.PhaseAwaitCutover })
}

// takesWrites tells whether a cluster takes a write to an index.
func takesWrites(c interface {
	Index(name string, ids ...string) error
},
) bool {
	return c.Index("movies", fmt.Sprint(time.Now().UnixNano())) == nil && c.Index("catalog", "x") == nil
}

func (e *stricken) soon(what string, is func() bool) {
	e.t.Helper()
	began := time.Now()
	for !is() {
		if time.Since(began) > soon {
			status, err := e.status()
			e.t.Fatalf("%s: not within %s. Guard: %+v. Migration: phase %s, step %q, attention %+v, warnings %v, %v",
				what,
				soon, e.guardStatus(), status.Phase, status.Step, status.Attention, status.Warnings, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	e.t.Logf("%s after %.1f s", what, time.Since(began).Seconds())
}

func TestLabWhateverEndsAMigration(t *testing.T) {
	for _, stage := range stages {
		for _, ending := range endings {
			t.Run(stage.name+"/"+ending.name, func(t *testing.T) {
				e := newStricken(t, "ends-"+stage.name+"-"+ending.name)
				e.begin()
				stage.reach(e)
				ending.do(e)
				if stage.name != "block" {
					e.letGo()
				}
				outcome := func() {
					if stage.begun {
						e.soon("handed over", func() bool { e.mu.Lock(); defer e.mu.Unlock(); return e.handed })
						require.False(t, takesWrites(e.from), "two writable clusters")
						return
					}
					e.soon("writable", func() bool { return takesWrites(e.from) })
					require.False(t, e.handed)
				}
				outcome()
				e.letGo()
				if ending.name == "terminate" {
					return
				}
				e.soon("at rest", func() bool {
					status, err := e.status()
					if err != nil {
						return false // nobody has answered in time
					}
					if stage.begun {
						return status.Phase == migration.PhaseCompleted
					}
					// From its first task on, it finds what it has restored itself on the target.
					return status.Phase == migration.PhaseRounds && status.Step == "" ||
						status.Phase == migration.PhasePreflight && status.Attention != nil
				})
				outcome()
				if status, _ := e.status(); !stage.begun {
					require.False(t, status.FreezeRequested)
				}
			})
		}
	}
}

func TestLabTheGuardIsTerminated(t *testing.T) {
	revived := func(e *stricken) {
		old := e.guardRun()
		e.terminate(migration.GuardID(e.name))
		e.soon("a guard again", func() bool {
			return e.guardRun() != old && e.guardStatus().TakesOver == "" && e.guardStatus().Phase.Holds()
		})
	}
	t.Run("and the migration goes on", func(t *testing.T) {
		e := newStricken(t, "guard-alone")
		e.begin()
		e.waiting()
		revived(e)
		e.signal(migration.RequestCutover)
		var report migration.Report
		require.NoError(t, e.temporal.GetWorkflow(t.Context(), e.id, "").Get(t.Context(), &report))
		require.Equal(t, migration.ResultCompleted, report.Result)
		require.True(t, e.handed)
		require.False(t, takesWrites(e.from))
	})
	t.Run("and then the migration", func(t *testing.T) {
		e := newStricken(t, "guard-and-migration")
		e.begin()
		e.waiting()
		revived(e)
		e.terminate(e.id)
		e.soon("writable", func() bool { return takesWrites(e.from) })
	})
	t.Run("while it hands over", func(t *testing.T) {
		e := newStricken(t, "guard-in-cutover")
		e.begin()
		e.hold = true
		e.waiting()
		e.signal(migration.RequestCutover)
		e.awaitHeld(e.handing)
		revived(e)
		e.letGo()
		var report migration.Report
		require.NoError(t, e.temporal.GetWorkflow(t.Context(), e.id, "").Get(t.Context(), &report))
		require.True(t, e.handed)
		require.False(t, takesWrites(e.from))
	})
}

func (e *stricken) guardRun() string {
	described, err := e.temporal.DescribeWorkflowExecution(e.t.Context(), migration.GuardID(e.name), "")
	if err != nil {
		return ""
	}
	return described.GetWorkflowExecutionInfo().GetExecution().GetRunId()
}

// A completed migration whose run is reset only reports: it restores nothing over what is handed
// over.
func TestLabACompletedMigrationIsReset(t *testing.T) {
	e := newStricken(t, "reset-completed")
	e.begin()
	e.waiting()
	e.signal(migration.RequestCutover)
	var report migration.Report
	require.NoError(t, e.temporal.GetWorkflow(t.Context(), e.id, "").Get(t.Context(), &report))
	closes := len(e.to.Requests("POST /*/_close"))
	e.reset(func([]*history.HistoryEvent) int { return 0 })
	require.NoError(t, e.temporal.GetWorkflow(t.Context(), e.id, "").Get(t.Context(), &report))
	require.Contains(t, strings.Join(report.Warnings, "|"), "this run only reports it")
	require.Len(t, e.to.Requests("POST /*/_close"), closes)
	require.False(t, takesWrites(e.from))
}

// Two plans with an index in common: the second is refused before anything of it is blocked.
func TestLabTwoPlansThatShareAnIndex(t *testing.T) {
	first := newStricken(t, "shares-one")
	first.begin()
	first.waiting()
	plan := first.world.run.Plan
	plan.Name = "shares-two"
	plan.Indices = []string{"catalog"}
	second := first.world.run
	second.Plan, second.Token = plan, "other"
	ctx := t.Context()
	guards := NewGuards(first.activities, first.temporal)
	ask := func(a migration.GuardAsk) (migration.GuardAnswer, error) {
		env := newEnvironment(quiet{})
		env.RegisterActivityWithOptions(guards.AskGuard, activity.RegisterOptions{Name: migration.ActivityAskGuard})
		run := "default-test-run-id"
		value, err := env.ExecuteActivity(migration.ActivityAskGuard, migration.GuardRequest{
			Run: second, Ask: a, WorkflowID: "migration/shares-two", OriginalRun: run, Window: 1,
			Sequence: len(string(a)), UntilMillis: time.Now().Add(time.Hour).UnixMilli(),
			Indices: []migration.Index{{Name: "catalog", UUID: "index-2"}},
		})
		var answer migration.GuardAnswer
		if err == nil {
			err = value.Get(&answer)
		}
		return answer, err
	}
	t.Cleanup(func() { _ = first.temporal.TerminateWorkflow(context.Background(), "guard/shares-two", "", "ended") })
	// The guard ends its window as soon as it sees that there is no such migration.
	_, _ = first.temporal.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: "migration/shares-two", TaskQueue: "nobody",
	}, migration.WorkflowType, plan)
	_, err := ask(migration.AskOpen)
	require.NoError(t, err)
	_, err = ask(migration.AskAnnounce)
	require.NoError(t, err)
	_, err = ask(migration.AskBlock)
	require.ErrorContains(t, err, "the plan shares-one freezes, too: catalog")
	require.True(t, errors.Is(err, err))
}
