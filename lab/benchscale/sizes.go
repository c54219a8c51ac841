package main

import (
	"context"
	"encoding/json"

	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/history/v1"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// sizes keeps the largest payload.
type sizes struct {
	bytes int
	of    string
}

func (s *sizes) add(bytes int, of string) {
	if bytes > s.bytes {
		s.bytes, s.of = bytes, of
	}
}

// addJSON is for what isn't in a history: the answer to a query.
func (s *sizes) addJSON(value any, of string) {
	if text, err := json.Marshal(value); err == nil {
		s.add(len(text), of)
	}
}

// read measures the histories of all workflows of this server.
func (s *stage) read(ctx context.Context, sizes *sizes, result *Case) error {
	var token []byte
	for {
		page, err := s.client.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{NextPageToken: token})
		if err != nil {
			return err
		}
		for _, found := range page.GetExecutions() {
			if err := s.readHistory(ctx, found.GetExecution(), found.GetType().GetName(), sizes); err != nil {
				return err
			}
			described, err := s.client.DescribeWorkflowExecution(ctx, found.GetExecution().GetWorkflowId(),
				found.GetExecution().GetRunId())
			if err != nil {
				return err
			}
			info := described.GetWorkflowExecutionInfo()
			result.LargestHistoryEvents = max(result.LargestHistoryEvents, info.GetHistoryLength())
			result.LargestHistoryBytes = max(result.LargestHistoryBytes, info.GetHistorySizeBytes())
			for name, field := range info.GetMemo().GetFields() {
				sizes.add(len(field.GetData()), "the memo "+name+" of "+found.GetType().GetName())
			}
		}
		if token = page.GetNextPageToken(); len(token) == 0 {
			break
		}
	}
	result.LargestPayloadBytes, result.LargestPayloadOf = sizes.bytes, sizes.of
	return nil
}

// readHistory measures the payloads of a history.
func (s *stage) readHistory(ctx context.Context, run *common.WorkflowExecution, workflowType string,
	sizes *sizes,
) error {
	events := s.client.GetWorkflowHistory(ctx, run.GetWorkflowId(), run.GetRunId(), false,
		enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	scheduled := map[int64]string{}
	for events.HasNext() {
		event, err := events.Next()
		if err != nil {
			return err
		}
		if activity := event.GetActivityTaskScheduledEventAttributes(); activity != nil {
			scheduled[event.GetEventId()] = activity.GetActivityType().GetName()
		}
		sizes.add(largest(event.ProtoReflect()), describe(event, scheduled, workflowType))
	}
	return nil
}

// describe says what an event is about, in words of the code.
func describe(event *history.HistoryEvent, scheduled map[int64]string, workflowType string) string {
	switch {
	case event.GetActivityTaskScheduledEventAttributes() != nil:
		return "the input of " + scheduled[event.GetEventId()]
	case event.GetActivityTaskCompletedEventAttributes() != nil:
		return "the result of " + scheduled[event.GetActivityTaskCompletedEventAttributes().GetScheduledEventId()]
	}
	return event.GetEventType().String() + " of " + workflowType
}

// largest is that of a message's payloads. Those of one list count together, as Temporal counts
// them.
func largest(message protoreflect.Message) int {
	if list, ok := message.Interface().(*common.Payloads); ok {
		return proto.Size(list)
	}
	if payload, ok := message.Interface().(*common.Payload); ok {
		return proto.Size(payload)
	}
	most := 0
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		if field.Message() == nil {
			return true
		}
		switch {
		case field.IsList():
			for i := range value.List().Len() {
				most = max(most, largest(value.List().Get(i).Message()))
			}
		case field.IsMap():
			if field.MapValue().Message() != nil {
				value.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
					most = max(most, largest(v.Message()))
					return true
				})
			}
		default:
			most = max(most, largest(value.Message()))
		}
		return true
	})
	return most
}
