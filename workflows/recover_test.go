package workflows

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"

	"github.com/snapferry/snapferry/internal/report"
	"github.com/snapferry/snapferry/migration"
)

// leftovers stands in for the activities of Recover and Cleanup: what is there, by kind.
type leftovers struct {
	t     *testing.T
	there map[migration.RemainsKind]int64
	// removed are the kinds that were removed, in order.
	removed []migration.RemainsKind
	fails   map[migration.RemainsKind]error
	looks   int
	err     error // of the look
}

func (l *leftovers) find(in migration.FindRemainsRequest) (found migration.Remains, err error) {
	l.looks++
	for _, kind := range in.Kinds {
		if n := l.there[kind]; n > 0 {
			found.Found = append(found.Found, migration.RemainsGroup{
				Kind: kind, Origin: migration.OriginOurs, Count: n, Where: "the source", Why: "it is",
				Names: []string{"a"},
			})
		}
	}
	return found, l.err
}

func (l *leftovers) remove(in migration.RemoveRemainsRequest) (migration.Removed, error) {
	removes, _ := in.Removes(in.Kind)
	require.True(l.t, removes)
	l.removed = append(l.removed, in.Kind)
	if err := l.fails[in.Kind]; err != nil {
		return migration.Removed{}, err
	}
	n := l.there[in.Kind]
	delete(l.there, in.Kind)
	return migration.Removed{Kind: in.Kind, Count: n}, nil
}

func (l *leftovers) run(workflow any, input string) (result migration.RemainsReport, err error) {
	l.t.Helper()
	env := newEnvironment(l.t)
	env.RegisterActivityWithOptions(l.find, activity.RegisterOptions{Name: migration.ActivityFindRemains})
	env.RegisterActivityWithOptions(l.remove, activity.RegisterOptions{Name: migration.ActivityRemoveRemains})
	var in migration.RemainsInput
	require.NoError(l.t, json.Unmarshal([]byte(input), &in))
	env.ExecuteWorkflow(workflow, in)
	require.True(l.t, env.IsWorkflowCompleted())
	if err := env.GetWorkflowError(); err != nil {
		return result, err
	}
	return result, env.GetWorkflowResult(&result)
}

func everythingLeft(t *testing.T) *leftovers {
	return &leftovers{t: t, fails: map[migration.RemainsKind]error{}, there: map[migration.RemainsKind]int64{
		migration.RemainsBlocks: 3, migration.RemainsRunning: 1, migration.RemainsThrottles: 2,
		migration.RemainsIndices:   4,
		migration.RemainsSnapshots: 5, migration.RemainsRepositories: 2, migration.RemainsUploads: 1,
		migration.RemainsObjects: 900,
	}}
}

// The bare plan, as somebody may start it in the Temporal UI, changes nothing.
func TestRecoverAndCleanupOnlyLookUnlessAsked(t *testing.T) {
	for kinds, workflow := range map[int]any{6: Recover, 7: Cleanup} {
		l := everythingLeft(t)
		found, err := l.run(workflow, `{"plan": `+planJSON+`}`)
		require.NoError(t, err)
		require.Empty(t, l.removed)
		require.Equal(t, "movies", found.Plan)
		require.Len(t, found.Left(), kinds)
		require.Nil(t, found.After)
		require.Contains(t, report.RemainsPage(found), "left behind: 3 write blocks, the source: a and 2 more")
	}
}

// What uses something goes before it. A late restore may bring an index back until the repositories
// are gone.
func TestCleanupRemovesInOrder(t *testing.T) {
	l := everythingLeft(t)
	found, err := l.run(Cleanup, `{"plan": `+planJSON+`, "remove": ["all"]}`)
	require.NoError(t, err)
	require.Equal(t, []migration.RemainsKind{
		migration.RemainsThrottles, migration.RemainsIndices, migration.RemainsSnapshots, migration.RemainsRepositories,
		migration.RemainsIndices, migration.RemainsUploads, migration.RemainsObjects,
	}, l.removed)
	require.Len(t, found.Removed, 6, "indices once")
	require.Equal(t, 2, l.looks)
	left := found.Left()
	require.Len(t, left, 1)
	require.Equal(t, migration.RemainsBlocks, left[0].Kind, "a cleanup never removes a block, and tells of it")
}

func TestRecoverRemovesTheKindsThatAreNamed(t *testing.T) {
	l := everythingLeft(t)
	delete(l.there, migration.RemainsThrottles)
	_, err := l.run(Recover, `{"plan": `+planJSON+`, "remove": ["throttles", "blocks"]}`)
	require.NoError(t, err)
	require.Equal(t, []migration.RemainsKind{migration.RemainsBlocks}, l.removed, "there are no throttles")
}

// A kind that can't be removed keeps none of the others from it.
func TestWhatCantBeRemovedIsNamed(t *testing.T) {
	l := everythingLeft(t)
	l.fails[migration.RemainsRepositories] = temporal.NewApplicationErrorWithOptions("unregister it: no permission",
		string(migration.ErrorUnauthorized), temporal.ApplicationErrorOptions{NonRetryable: true})
	found, err := l.run(Cleanup, `{"plan": `+planJSON+`, "remove": ["all"]}`)
	require.NoError(t, err)
	require.Contains(t, l.removed, migration.RemainsObjects)
	at := slices.IndexFunc(found.Removed,
		func(r migration.Removed) bool { return r.Kind == migration.RemainsRepositories })
	require.Equal(t, []string{"unregister it: no permission"}, found.Removed[at].Left)
	require.Contains(t, report.RemainsPage(found), "not removed: unregister it: no permission")
}

func TestARunUnderWayEndsTheRemoval(t *testing.T) {
	running := temporal.NewApplicationErrorWithOptions("it is running", string(migration.ErrorRunning),
		temporal.ApplicationErrorOptions{NonRetryable: true})
	l := everythingLeft(t)
	l.fails[migration.RemainsIndices] = running
	_, err := l.run(Cleanup, `{"plan": `+planJSON+`, "remove": ["all"]}`)
	require.Equal(t, migration.ErrorRunning, errorType(err))
	require.NotContains(t, l.removed, migration.RemainsObjects)

	l = &leftovers{t: t, err: running}
	_, err = l.run(Recover, `{"plan": `+planJSON+`, "remove": ["all"]}`)
	require.Equal(t, migration.ErrorRunning, errorType(err))
	require.Empty(t, l.removed)
}

// It waits out a cluster that is away.
func TestRecoverTriesAgain(t *testing.T) {
	l := everythingLeft(t)
	l.fails[migration.RemainsBlocks] = errors.New("the source is away")
	found, err := l.run(Recover, `{"plan": `+planJSON+`, "remove": ["blocks"]}`)
	require.NoError(t, err)
	require.Greater(t, len(l.removed), 5)
	require.Equal(t, int64(1), found.Removed[0].LeftCount)
}

func TestRecoverDecodesStrictly(t *testing.T) {
	for name, test := range map[string]struct{ input, says string }{
		"nothing":          {`null`, "no request was given"},
		"a bare plan":      {planJSON, "name is not a field of a request to recover or clean up"},
		"a mistyped field": {`{"plan": ` + planJSON + `, "remov": ["all"]}`, "did you mean remove?"},
		"another's kind": {
			`{"plan": ` + planJSON + `, "remove": ["objects"]}`,
			"is not a kind that this workflow removes",
		},
		"text for a list": {`{"plan": ` + planJSON + `, "remove": "all"}`, "must be a list"},
		"a path as token": {`{"plan": ` + planJSON + `, "token": "../x"}`, "must be the last part"},
		"several in one name": {
			`{"plan": ` + planJSON + `, "indices": ["a,b"]}`,
			"is not the name or pattern of indices",
		},
		"a bad plan": {`{"plan": {"name": "movies"}}`, "plan.source.endpoint is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			l := &leftovers{t: t}
			_, err := l.run(Recover, test.input)
			require.Equal(t, migration.ErrorInvalidPlan, errorType(err))
			require.ErrorContains(t, err, test.says)
			require.Zero(t, l.looks)
		})
	}
}

// The result holds two looks and what became of each kind: all of it fits into a payload.
func TestAReportOfRemainsIsBounded(t *testing.T) {
	var r migration.RemainsReport
	for _, kind := range migration.CleanupKinds {
		removed := migration.Removed{Kind: kind}
		for i := range 1000 {
			removed.Leave(1, fmt.Sprintf("%01000d", i))
		}
		require.Equal(t, int64(1000), removed.LeftCount)
		r.Add(removed)
	}
	text, err := json.Marshal(r)
	require.NoError(t, err)
	require.Less(t, len(text), 40<<10)
}
