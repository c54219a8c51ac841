package main

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/snapferry/snapferry/migration"
	"github.com/snapferry/snapferry/workflows"
)

func registered() map[string]enums.IndexedValueType {
	return map[string]enums.IndexedValueType{
		migration.AttributePhase: enums.INDEXED_VALUE_TYPE_KEYWORD, "Another": enums.INDEXED_VALUE_TYPE_INT,
		migration.AttributeAttention: enums.INDEXED_VALUE_TYPE_KEYWORD,
		migration.AttributeFrozen:    enums.INDEXED_VALUE_TYPE_BOOL,
	}
}

// Workflows are told of the attributes once they have been there for long enough, and at once when
// one is gone.
func TestTheAttributesAreFollowed(t *testing.T) {
	var absent map[string]enums.IndexedValueType
	other := registered()
	other[migration.AttributeFrozen] = enums.INDEXED_VALUE_TYPE_KEYWORD
	down := serviceerror.NewUnavailable("down")
	refused := serviceerror.NewPermissionDenied("no", "")
	looks := []struct {
		found map[string]enums.IndexedValueType
		err   error
		told  bool // after this look
	}{
		{absent, nil, false},
		{registered(), nil, false},
		{registered(), nil, false},
		{nil, down, false}, // it counts on
		{registered(), nil, false},
		{registered(), nil, true}, // 80 s after they were seen first
		{nil, down, true},
		{absent, nil, false},
		{registered(), nil, false},
		{registered(), nil, false},
		{other, nil, false},
		{registered(), nil, false},
		{registered(), nil, false},
		{registered(), nil, false},
		{registered(), nil, false},
		{registered(), nil, true},
		{nil, refused, false},
	}
	core, logs := observer.New(zapcore.InfoLevel)
	ctx, cancel := context.WithCancel(t.Context())
	at, n, has := time.Unix(0, 0), 0, false
	ticks := make(chan time.Time, 1)
	list := func(context.Context) (map[string]enums.IndexedValueType, error) {
		if n > 0 {
			require.Equal(t, looks[n-1].told, has, "after look %d", n-1)
			at = at.Add(attributesInterval)
		}
		look := looks[n]
		if n++; n == len(looks) {
			cancel()
		} else {
			ticks <- at
		}
		return look.found, look.err
	}
	used := func(context.Context) bool {
		t.Error("only a worker that finds them when it begins asks whether they are in use")
		return true
	}
	followAttributes(ctx, namespaceAttributes{list, used}, nil, ticks, func() time.Time { return at },
		func(now bool) { has = now }, zap.New(core))
	require.False(t, has)

	var said []string
	for _, entry := range logs.All() {
		said = append(said, entry.Message)
	}
	const missing, set = "lists of workflows can't be filtered by phase: search attributes are not registered",
		"workflows set the search attributes of migrations"
	require.Equal(t, []string{
		missing, set, missing, set,
		"can't tell whether search attributes are registered; workflows set none",
	}, said)
	require.Equal(t, migration.RegisterAttributes, logs.All()[0].ContextMap()["register"])
}

// A worker that is started again trusts at once what workflows have: else what happens in its first
// minute would be seen by nobody.
func TestAttributesInUseAreTrustedAtOnce(t *testing.T) {
	for _, inUse := range []bool{true, false} {
		ctx, cancel := context.WithCancel(t.Context())
		list := func(context.Context) (map[string]enums.IndexedValueType, error) {
			cancel()
			return registered(), nil
		}
		has := false
		followAttributes(ctx, namespaceAttributes{list, func(context.Context) bool { return inUse }}, nil, nil,
			time.Now,
			func(now bool) { has = now }, zap.NewNop())
		require.Equal(t, inUse, has)
	}
}

// The server has refused a workflow task: its next attempt sets no attributes, and none does until
// they have been there for long enough once more.
func TestARefusalCountsAtOnce(t *testing.T) {
	t.Cleanup(func() { workflows.SetSearchable(false) })
	refused := newRefusals()
	answer := func(method string, err error) error {
		return refused.intercept(t.Context(), method, nil, nil, nil,
			func(context.Context, string, any, any, *grpc.ClientConn, ...grpc.CallOption) error { return err })
	}
	const completed = "/temporal.api.workflowservice.v1.WorkflowService/RespondWorkflowTaskCompleted"
	bad := status.Error(codes.InvalidArgument, "BadSearchAttributes: Namespace default has no mapping defined for "+
		"search attribute SnapferryPhase")
	require.NoError(t, answer(completed, nil))
	require.Error(t, answer(completed, errors.New("UnhandledCommand")))
	require.Error(t, answer("/temporal.api.workflowservice.v1.WorkflowService/StartWorkflowExecution", bad))
	require.Empty(t, refused)
	require.ErrorIs(t, answer(completed, bad), bad)
	require.ErrorIs(t, answer(completed, bad), bad, "of several workflows")
	require.Len(t, refused, 1)

	ctx, cancel := context.WithCancel(t.Context())
	looks := 0
	list := func(context.Context) (map[string]enums.IndexedValueType, error) {
		if looks++; looks == 2 {
			cancel()
		}
		return registered(), nil
	}
	var told []bool
	followAttributes(ctx, namespaceAttributes{list, func(context.Context) bool { return true }}, refused, nil, time.Now,
		func(has bool) { told = append(told, has) }, zap.NewNop())
	require.Equal(t, []bool{true, false}, told)
}

func TestAnAttributeOfAnotherTypeIsMissing(t *testing.T) {
	require.Empty(t, lacking(registered()))
	wrong := registered()
	wrong[migration.AttributeFrozen] = enums.INDEXED_VALUE_TYPE_KEYWORD
	require.Equal(t, []string{"SnapferryFrozen (it has type Keyword instead of Bool)"}, lacking(wrong))
	delete(wrong, migration.AttributePhase)
	require.Len(t, lacking(wrong), 2)
}
