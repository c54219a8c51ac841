package report

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

func TestWhatBecameOfMessages(t *testing.T) {
	at := time.Date(2026, 11, 28, 23, 41, 7, 0, time.UTC).UnixMilli()
	require.Equal(t, []string{
		"2026-11-28 23:41:07 UTC, frozen: sent to 2 receivers",
		"2026-11-28 23:41:07 UTC, attention: sent to 1 of 4 receivers, 1 under way, 1 failing and tried again, " +
			"1 given up; oncall: it answered 503; mail: no such user. Workflow notify/movies/t/attention-1",
		"2026-11-28 23:41:07 UTC, completed: sent to 0 of 1 receiver, 1 under way. Workflow notify/movies/t/completed",
	}, Notified([]migration.Notified{
		{ID: "notify/movies/t/frozen-1", Event: migration.EventFrozen, AtMillis: at, Receivers: 2, Delivered: 2},
		{
			ID: "notify/movies/t/attention-1", Event: migration.EventAttention, AtMillis: at, Receivers: 4,
			Delivered: 1, Failing: 1, Failed: 1, Troubles: []migration.DeliveryProblem{
				{Receiver: "oncall", Error: "it answered 503"}, {Receiver: "mail", Error: "no such user"},
			},
		},
		{ID: "notify/movies/t/completed", Event: migration.EventCompleted, AtMillis: at, Receivers: 1},
	}, time.UTC))
	require.Empty(t, Notified(nil, time.UTC))
}
