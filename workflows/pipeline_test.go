package workflows

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/migration"
)

// inGroups has the plan cut the final round into so many groups. The world has one index for each.
func inGroups(w *world, groups int) {
	w.plan = strings.Replace(w.plan, `"freeze": {`, fmt.Sprintf(`"freeze": {"pipeline": {"groups": %d}, `, groups), 1)
	w.usualRequests()
}

// groupOf is the group of a snapshot, 0 if its round has none.
func groupOf(snapshot string) int {
	turn, _ := migration.TurnOf("movies", snapshot)
	return turn.Group
}

// gates let fakes wait for each other: each step of each group has one.
type gates struct {
	mu   sync.Mutex
	open map[string]chan struct{}
}

func (g *gates) gate(name string) chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open == nil {
		g.open = map[string]chan struct{}{}
	}
	if g.open[name] == nil {
		g.open[name] = make(chan struct{})
	}
	return g.open[name]
}

// failing is a failure that no retry helps against.
func failing(errorType migration.ErrorType) error {
	return temporal.NewApplicationErrorWithOptions("it failed", string(errorType),
		temporal.ApplicationErrorOptions{NonRetryable: true})
}

// The second group's snapshot is taken while the first group is copied, and neither waits for the
// other: here each of the two steps ends only once the other has begun.
func TestGroupsOverlap(t *testing.T) {
	w := newWorld(t)
	inGroups(w, 2)
	var g gates
	w.on[migration.ActivityCopySnapshot] = func(n int) error {
		if n == 3 { // after the baseline and one round
			close(g.gate("copy of the first"))
			<-g.gate("snapshot of the second")
		}
		return nil
	}
	w.on[migration.ActivityTakeSnapshot] = func(n int) error {
		if n == 4 {
			close(g.gate("snapshot of the second"))
			<-g.gate("copy of the first")
		}
		return nil
	}
	w.run()
	report := w.completed()

	final := report.Rounds[len(report.Rounds)-1]
	require.Equal(t, 2, final.Groups)
	require.Equal(t, 2, report.FrozenWindow.Groups)
	require.Equal(t, 2, final.Indices)
	require.EqualValues(t, 20, final.BlobsCopied)
	require.EqualValues(t, 20, final.BytesRestored)
	groups := w.snapshots[2:]
	require.Equal(t, []string{"movies-r0002-g1-a1", "movies-r0002-g2-a2"}, groups)
	require.Equal(t, groups, w.restored[2:])
	copies := w.copies[2:]
	require.Equal(t, []string{groups[1]}, copies[0].Later)
	require.Empty(t, copies[1].Later)
	require.Equal(t, copies[0].Snapshot.UUID, copies[1].BaseUUID)
	var restored []string
	for _, r := range w.restores[2:] {
		require.Len(t, r.Indices, 1, "only the group's")
		restored = append(restored, r.Indices[0].Name)
	}
	require.ElementsMatch(t, []string{"catalog", "movies"}, restored)
	require.Len(t, w.closes[len(w.closes)-1].Indices, 2, "all are closed at once, ahead of the first restore")
	require.Equal(t, 1, w.called(migration.ActivityVerifyTarget), "the verdict is one")
}

// Whatever fails in one group parks that group only. The others go on to their end, before anybody
// has sent retry.
func TestAGroupThatFailsParksNoOther(t *testing.T) {
	for name, test := range map[string]struct {
		activity string
		call     int
		failure  migration.ErrorType
	}{
		"snapshot":               {migration.ActivityTakeSnapshot, 3, migration.ErrorUnauthorized},
		"copy":                   {migration.ActivityCopySnapshot, 3, migration.ErrorUnauthorized},
		"copy of a bad snapshot": {migration.ActivityCopySnapshot, 3, migration.ErrorSnapshotUnusable},
		"restore":                {migration.ActivityRestoreSnapshot, 3, migration.ErrorRefused},
		"open":                   {migration.ActivityOpenTarget, 3, migration.ErrorRefused},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.indices = append(w.indices, migration.Index{Name: "catalog-2", Shards: 1, Docs: 9})
			inGroups(w, 3)
			w.on[test.activity] = func(n int) error {
				if n == test.call {
					return failing(test.failure)
				}
				return nil
			}
			var parked migration.Status
			var ended []string
			w.env.RegisterDelayedCallback(func() {
				parked = w.status()
				ended = slices.Clone(w.restored[2:])
				w.env.SignalWorkflow(string(migration.RequestRetry), nil)
			}, 25*time.Minute)
			w.run()
			require.NoError(t, w.env.GetWorkflowError())
			require.NotNil(t, parked.Attention)
			require.Equal(t, string(test.failure), parked.Attention.Type)
			require.Equal(t, migration.PhaseFinalRound, parked.Phase)
			require.True(t, w.blocked)
			if name == "open" {
				require.Len(t, ended, 3)
			} else {
				require.Len(t, ended, 2)
			}
			require.NotContains(t, slices.Compact(ended[len(ended)-2:]), 1)
			for _, snapshot := range ended[len(ended)-2:] {
				require.NotEqual(t, 1, groupOf(snapshot))
			}
			require.Equal(t, 1, groupOf(w.restored[len(w.restored)-1]), "retry repeats the group that failed")
			if test.failure.TakesNewSnapshot() {
				require.Equal(t, "movies-r0002-g1-a4", w.snapshots[len(w.snapshots)-1])
			} else if test.activity != migration.ActivityTakeSnapshot {
				require.Equal(t, "movies-r0002-g3-a3", w.snapshots[len(w.snapshots)-1], "no other snapshot is needed")
			}
			require.Len(t, w.webhook, 0)
			require.Equal(t, 1, w.called(migration.ActivityVerifyTarget))
		})
	}
}

// Two groups fail: each is shown in its turn, and each needs its own retry. That the others end
// counts for none.
func TestGroupsThatFailAreShownInTurn(t *testing.T) {
	w := newWorld(t)
	w.indices = append(w.indices, migration.Index{Name: "catalog-2", Shards: 1, Docs: 9})
	inGroups(w, 3)
	w.on[migration.ActivityTakeSnapshot] = func(n int) error {
		switch n {
		case 4:
			return failing(migration.ErrorUnauthorized)
		case 5:
			return failing(migration.ErrorRefused)
		}
		return nil
	}
	var shown []string
	for after := 21 * time.Minute; after < 30*time.Minute; after += 2 * time.Minute {
		w.env.RegisterDelayedCallback(func() {
			status := w.status()
			if status.Attention == nil {
				shown = append(shown, "")
				return
			}
			shown = append(shown, status.Attention.Type)
			w.env.SignalWorkflow(string(migration.RequestRetry), nil)
		}, after)
	}
	w.run()
	require.NoError(t, w.env.GetWorkflowError())
	require.Equal(t, []string{string(migration.ErrorUnauthorized), string(migration.ErrorRefused), "", "", ""}, shown)
	require.ElementsMatch(t, []int{1, 2, 3}, []int{
		groupOf(w.restored[2]), groupOf(w.restored[3]), groupOf(w.restored[4]),
	})
}

// What may pass needs no person: the group is repeated when the others have ended.
func TestAGroupThatKeepsFailingIsRepeated(t *testing.T) {
	w := newWorld(t)
	inGroups(w, 2)
	failed := 0
	w.on[migration.ActivityRestoreSnapshot] = func(n int) error {
		if n >= 3 && failed < 60 { // more than one step's bound
			failed++
			return temporal.NewApplicationError("not yet", "Unclassified")
		}
		return nil
	}
	w.run()
	report := w.completed()
	require.Equal(t, 2, report.Rounds[len(report.Rounds)-1].Groups)
}

// The dead man's switch and abort end all groups, whatever these do. The source is writable again,
// and the next round brings what the target lacks.
func TestAWindowThatEndsAmongItsGroups(t *testing.T) {
	for name, test := range map[string]struct {
		activity string
		call     int
	}{
		"snapshot of the first":  {migration.ActivityTakeSnapshot, 3},
		"copy of the first":      {migration.ActivityCopySnapshot, 3},
		"restore of the first":   {migration.ActivityRestoreSnapshot, 3},
		"snapshot of the second": {migration.ActivityTakeSnapshot, 4},
		"restore of the second":  {migration.ActivityRestoreSnapshot, 4},
	} {
		t.Run(name+", abort", func(t *testing.T) {
			w := newWorld(t)
			inGroups(w, 2)
			w.during(test.activity, test.call, func() { w.env.SignalWorkflow(string(migration.RequestAbort), nil) })
			w.run()
			w.aborted()
		})
		t.Run(name+", the switch", func(t *testing.T) {
			w := newWorld(t)
			inGroups(w, 2)
			w.on[test.activity] = func(n int) error {
				if n == test.call {
					return failing(migration.ErrorUnauthorized) // nobody sends retry before it strikes
				}
				return nil
			}
			w.at(5*time.Hour, migration.RequestFreeze)
			w.at(5*time.Hour+20*time.Minute, migration.RequestCutover)
			var thawed bool
			w.env.RegisterDelayedCallback(func() { thawed = !w.isBlocked() }, 4*time.Hour)
			w.run()
			report := w.completed()
			require.True(t, thawed)
			names := slices.Clone(w.snapshots)
			slices.Sort(names)
			require.Equal(t, len(names), len(slices.Compact(names)), "no name is used twice")
			require.Equal(t, 2, report.Rounds[len(report.Rounds)-1].Groups)
		})
	}
}

// An index that is deleted in the window has the freeze begin again, also if it was in a group.
func TestAGroupWhoseIndexIsDeleted(t *testing.T) {
	w := newWorld(t)
	w.indices = append(w.indices, migration.Index{Name: "catalog-2", Shards: 1, Docs: 9})
	inGroups(w, 3)
	w.on[migration.ActivityTakeSnapshot] = func(n int) error {
		if n != 4 {
			return nil
		}
		w.change(func() {
			w.indices = slices.DeleteFunc(slices.Clone(w.indices), func(i migration.Index) bool {
				return i.Name == "catalog-2"
			})
		})
		return failing(migration.ErrorMissing)
	}
	w.run()
	report := w.completed()
	require.True(t, slices.ContainsFunc(report.Warnings, func(text string) bool {
		return strings.Contains(text, "changed while writes were blocked")
	}), report.Warnings)
	require.Len(t, report.Indices, 2)
	require.Contains(t, w.restored, "movies-r0002-g3-a3", "the others went on")
	require.Equal(t, "movies-r0002-a4", w.restored[len(w.restored)-1], "the target had to be cleared first")
}

// A pipeline is not used where it can't win, and where it must not be.
func TestNoGroups(t *testing.T) {
	for name, change := range map[string]func(w *world){
		"turned off":        func(w *world) { inGroups(w, 1) },
		"a short window":    func(w *world) { w.usualRequests() },
		"one index changed": func(w *world) { inGroups(w, 2); w.still("catalog") },
		"an older shape": func(w *world) {
			inGroups(w, 2)
			w.env.OnGetVersion("shape", workflow.Version(shapeFirst), workflow.Version(newestShape)).
				Return(workflow.Version(shapeGuarded))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			change(w)
			w.run()
			report := w.completed()
			require.Zero(t, report.Rounds[len(report.Rounds)-1].Groups)
			grouped := func(snapshot string) bool { return groupOf(snapshot) > 0 }
			require.False(t, slices.ContainsFunc(w.snapshots, grouped), w.snapshots)
			assert.NotEmpty(t, w.snapshots)
		})
	}
}

// With so many indices that the workflow doesn't see them, an activity cuts the groups.
func TestGroupsOfAStoredList(t *testing.T) {
	first := newWorld(t)
	first.env.SetContinueAsNewSuggested(true)
	first.during(migration.ActivityOpenTarget, 1, func() {
		first.env.SignalWorkflow(string(migration.RequestFreeze), nil)
	})
	first.env.ExecuteWorkflow(Migration, inputOf(t, planJSON), nil)
	var next *workflow.ContinueAsNewError
	require.ErrorAs(t, first.env.GetWorkflowError(), &next)
	carried := carriedIn(t, next)
	carried.SeenWrites = nil
	carried.SeenWritesOf = migration.Stored[map[string]int64]{Digest: strings.Repeat("a", 64), Entries: 2}

	w := newWorld(t)
	w.registered, w.published, w.generation = true, carried.Published.UUID, carried.Published.Generation
	w.everPublished = append(w.everPublished, w.published)
	inGroups(w, 2)
	carried.PlanResolved = false
	w.at(time.Hour, migration.RequestCutover)
	w.continuedWith(carried)
	require.NoError(t, w.env.GetWorkflowError())
	require.Len(t, w.cuts, 1)
	require.Equal(t, carried.SeenWritesOf, w.cuts[0].SeenOf)
	require.Equal(t, []string{"movies-r0001-g1-a1", "movies-r0001-g2-a2"}, w.restored)
}
