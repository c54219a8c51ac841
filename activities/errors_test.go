package activities

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/snapferry/snapferry/internal/audit"
	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/internal/ferry"
	"github.com/snapferry/snapferry/internal/notify"
	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/migration"
)

// Each kind of failure: what it becomes, and whether a retry may fix it.
func TestClassify(t *testing.T) {
	const passing, forGood = true, false
	cluster := func(kind elastic.Kind) error {
		return fmt.Errorf("wrapped: %w", &elastic.Error{
			Kind: kind, Operation: "do something",
			Endpoint: "es.example.com", Reason: "because",
		})
	}
	store := func(kind objectstore.Kind) error {
		return fmt.Errorf("wrapped: %w", &objectstore.Error{
			Kind: kind, Op: "GetObject", Bucket: "b",
			RetryAfter: 7 * time.Second,
		})
	}
	sent := func(kind notify.Kind) error { return &notify.Error{Kind: kind, Message: "it answered"} }
	copied := func(kind ferry.Kind) error { return &ferry.Error{Kind: kind, Message: "copy the snapshot s: because"} }
	audited := func(kind audit.Kind) error { return &audit.Error{Kind: kind, Message: "audit the repository: because"} }
	for _, tt := range []struct {
		err     error
		want    string
		retried bool
	}{
		{cluster(elastic.Unavailable), "Unavailable", passing},
		{cluster(elastic.OutcomeUnknown), "OutcomeUnknown", passing},
		{cluster(elastic.SlotTaken), "SlotTaken", passing},
		{cluster(elastic.Internal), "Internal", passing},
		{cluster(elastic.Unauthorized), string(migration.ErrorUnauthorized), forGood},
		{cluster(elastic.Missing), string(migration.ErrorMissing), forGood},
		{cluster(elastic.NotSupported), string(migration.ErrorRefused), forGood},
		{cluster(elastic.AlreadyExists), string(migration.ErrorRefused), forGood},
		{cluster(elastic.Blocked), string(migration.ErrorRefused), forGood},
		{cluster(elastic.Invalid), string(migration.ErrorRefused), forGood},
		{cluster(elastic.Rejected), string(migration.ErrorRefused), forGood},
		{store(objectstore.Throttled), "Throttled", passing},
		{store(objectstore.Transient), "Unavailable", passing},
		{store(objectstore.Forbidden), string(migration.ErrorUnauthorized), forGood},
		{store(objectstore.NotFound), string(migration.ErrorMissing), forGood},
		{store(objectstore.BucketMissing), string(migration.ErrorMissing), forGood},
		{store(objectstore.Changed), string(migration.ErrorRepository), forGood},
		{store(objectstore.Invalid), string(migration.ErrorRefused), forGood},
		{sent(notify.Unavailable), "Unavailable", passing},
		{sent(notify.Throttled), "Throttled", passing},
		{sent(notify.Unauthorized), string(migration.ErrorReceiver), forGood},
		{sent(notify.Refused), string(migration.ErrorReceiver), forGood},
		{sent(notify.Invalid), string(migration.ErrorReceiver), forGood},
		{sent(0), "Internal", passing},
		{copied(ferry.Missing), string(migration.ErrorMissing), forGood},
		{copied(ferry.Unusable), string(migration.ErrorSnapshotUnusable), forGood},
		{copied(ferry.Damaged), string(migration.ErrorRepository), forGood},
		{copied(ferry.Conflict), string(migration.ErrorRepository), forGood},
		{copied(ferry.Refused), string(migration.ErrorRefused), forGood},
		{copied(ferry.Moving), "SourceMoves", passing},
		{copied(ferry.Kind(0)), "Internal", passing},
		{audited(audit.Missing), string(migration.ErrorMissing), forGood},
		{audited(audit.Damaged), string(migration.ErrorRepository), forGood},
		{audited(audit.Refused), string(migration.ErrorRefused), forGood},
		{audited(audit.Kind(0)), "Internal", passing},
		{context.DeadlineExceeded, "Timeout", passing},
		{errors.New("who knows"), "Internal", passing},
	} {
		err := classify(tt.err)
		var failure *temporal.ApplicationError
		require.ErrorAs(t, err, &failure, "%v", tt.err)
		require.Equal(t, tt.want, failure.Type(), "%v", tt.err)
		require.Equal(t, tt.retried, !failure.NonRetryable(), "%v", tt.err)
		require.Equal(t, tt.err.Error(), failure.Message())
		require.Equal(t, err, classify(err), "what is classified passes through")
	}
	require.NoError(t, classify(nil))
	require.Equal(t, context.Canceled, classify(context.Canceled), "a cancellation stays one")

	var throttled *temporal.ApplicationError
	require.ErrorAs(t, classify(store(objectstore.Throttled)), &throttled)
	require.Equal(t, 7*time.Second, throttled.NextRetryDelay())
}
