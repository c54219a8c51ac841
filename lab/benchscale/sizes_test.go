package main

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/history/v1"
	"google.golang.org/protobuf/proto"
)

func TestTheLargestPayloadOfAnEvent(t *testing.T) {
	payload := func(bytes int) *common.Payload { return &common.Payload{Data: make([]byte, bytes)} }
	input := &common.Payloads{Payloads: []*common.Payload{payload(300), payload(50)}}
	event := &history.HistoryEvent{Attributes: &history.HistoryEvent_ActivityTaskScheduledEventAttributes{
		ActivityTaskScheduledEventAttributes: &history.ActivityTaskScheduledEventAttributes{
			Input:  input,
			Header: &common.Header{Fields: map[string]*common.Payload{"trace": payload(100)}},
		},
	}}
	require.Equal(t, proto.Size(input), largest(event.ProtoReflect()), "those of one list count together")
	require.Zero(t, largest((&history.HistoryEvent{}).ProtoReflect()))
}

func TestACaseTellsWhatIsAboveItsLimit(t *testing.T) {
	good := Case{
		Indices: 9, LargestPayloadBytes: mostPayloadBytes, LargestHistoryEvents: mostHistoryEvents,
		LargestHistoryBytes: mostHistoryBytes, Result: "completed",
	}
	require.NoError(t, good.check())
	bad := good
	bad.LargestPayloadBytes++
	bad.LargestPayloadOf = "the input of VerifyTarget"
	require.ErrorContains(t, bad.check(), "of the input of VerifyTarget")
	bad = good
	bad.LargestHistoryEvents++
	require.ErrorContains(t, bad.check(), "in events")
	bad = good
	bad.LargestHistoryBytes++
	require.ErrorContains(t, bad.check(), "in bytes")
	bad = good
	bad.Result = "aborted"
	require.ErrorContains(t, bad.check(), "aborted")
}
