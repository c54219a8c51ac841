package activities

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"

	"github.com/snapferry/snapferry/internal/audit"
	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/internal/ferry"
	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/internal/notify"
	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/migration"
)

// The types of errors that Temporal retries. The UI shows them while an activity is being retried;
// no code decides by them.
const (
	retryUnavailable    = "Unavailable"
	retryOutcomeUnknown = "OutcomeUnknown"
	retrySlotTaken      = "SlotTaken"
	retryThrottled      = "Throttled"
	retryInternal       = "Internal"
	retryWorkerStopping = "WorkerStopping"
	retryTimeout        = "Timeout"
	retrySourceMoves    = "SourceMoves"
)

// fail makes an error that no retry can fix. The message is a sentence: what was tried, on what,
// what came back. What to do comes from the type (migration.ErrorType.Remedy).
func fail(t migration.ErrorType, format string, args ...any) error {
	return failWith(t, nil, format, args...)
}

// failWith is fail with a result for the workflow in the error's details.
func failWith(t migration.ErrorType, details any, format string, args ...any) error {
	options := temporal.ApplicationErrorOptions{NonRetryable: true}
	if details != nil {
		options.Details = []any{details}
	}
	return temporal.NewApplicationErrorWithOptions(fmt.Errorf(format, args...).Error(), string(t), options)
}

// passing makes an error that Temporal retries, after the given time if it is not 0.
func passing(errorType, message string, after time.Duration) error {
	return temporal.NewApplicationErrorWithOptions(message, errorType,
		temporal.ApplicationErrorOptions{NextRetryDelay: after})
}

// classify decides for every failure of a cluster, a bucket, a receiver or the network whether a retry may fix
// it, and what a person is told. It is the only place that decides so. It leaves an error that is
// classified already, and a cancellation, as they are.
func classify(err error) error {
	if err == nil {
		return nil
	}
	if classified, ok := errors.AsType[*temporal.ApplicationError](err); ok {
		return classified
	}
	if failure, ok := errors.AsType[*ferry.Error](err); ok {
		return classifyFerry(failure)
	}
	if failure, ok := errors.AsType[*audit.Error](err); ok {
		return classifyAudit(failure)
	}
	if failure, ok := errors.AsType[*notify.Error](err); ok {
		return classifyNotify(failure)
	}
	if canceled(err) {
		return err
	}
	if elastic.KindOf(err) != elastic.Unclassified {
		return classifyElastic(err)
	}
	if failure, ok := errors.AsType[*objectstore.Error](err); ok {
		return classifyObjectStore(failure, err)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return passing(retryTimeout, err.Error(), 0)
	}
	return passing(retryInternal, err.Error(), 0)
}

func classifyElastic(err error) error {
	switch elastic.KindOf(err) {
	case elastic.Unavailable:
		return passing(retryUnavailable, shorten(err.Error()), 0)
	case elastic.OutcomeUnknown:
		return passing(retryOutcomeUnknown, shorten(err.Error()), 0)
	case elastic.SlotTaken:
		return passing(retrySlotTaken, err.Error(), 0)
	case elastic.Unauthorized:
		return fail(migration.ErrorUnauthorized, "%w", err)
	case elastic.Missing:
		return fail(migration.ErrorMissing, "%w", err)
	case elastic.Rejected:
		if badKey.MatchString(err.Error()) {
			return fail(migration.ErrorUnauthorized, "%s", shorten(err.Error()))
		}
		return fail(migration.ErrorRefused, "%s", shorten(err.Error()))
	case elastic.NotSupported, elastic.AlreadyExists, elastic.Blocked, elastic.Invalid:
		return fail(migration.ErrorRefused, "%w", err)
	}
	return passing(retryInternal, shorten(err.Error()), 0)
}

// badKey finds refusals of S3 and OSS among the causes that a cluster gives for a failure of its
// repository.
var badKey = regexp.MustCompile(`(?i)SignatureDoesNotMatch|InvalidAccessKeyId|Access ?Denied|InvalidSecurityToken|` +
	`Expired ?Token|is not authorized to perform|(load|provide).* credentials|UserDisable|status code: 40[13]\b`)

// longestMessage bounds an error in bytes: the causes of a plugin quote complete XML answers, and
// what matters stands at the beginning.
const longestMessage = 1000

func shorten(message string) string {
	// OSS's SDK appends the complete answer here
	if before, _, found := strings.Cut(message, " [ResponseError]:"); found {
		message = before
	}
	return human.Shorten(message, longestMessage)
}

// classifyObjectStore decides by the kind of the failure; the message is that of the complete
// error. The copy gives its own error where it knows more about an absent or changed object.
func classifyObjectStore(failure *objectstore.Error, err error) error {
	switch failure.Kind {
	case objectstore.Throttled:
		return passing(retryThrottled, err.Error(), failure.RetryAfter)
	case objectstore.Transient:
		return passing(retryUnavailable, err.Error(), failure.RetryAfter)
	case objectstore.Forbidden:
		return fail(migration.ErrorUnauthorized, "%w", err)
	case objectstore.NotFound, objectstore.BucketMissing:
		return fail(migration.ErrorMissing, "%w", err)
	case objectstore.Changed:
		return fail(migration.ErrorRepository, "%w", err)
	case objectstore.Invalid:
		return fail(migration.ErrorRefused, "%w", err)
	}
	return passing(retryInternal, err.Error(), 0)
}

// classifyFerry takes what a copy says of the snapshot and of both repositories.
func classifyFerry(failure *ferry.Error) error {
	switch failure.Kind {
	case ferry.Moving:
		return passing(retrySourceMoves, failure.Message, 0)
	case ferry.Missing:
		return fail(migration.ErrorMissing, "%s", failure.Message)
	case ferry.Unusable:
		return fail(migration.ErrorSnapshotUnusable, "%s", failure.Message)
	case ferry.Damaged, ferry.Conflict:
		return fail(migration.ErrorRepository, "%s", failure.Message)
	case ferry.Refused:
		return fail(migration.ErrorRefused, "%s", failure.Message)
	}
	return passing(retryInternal, failure.Message, 0)
}

// classifyAudit takes what an audit says when there is nothing to compare.
func classifyAudit(failure *audit.Error) error {
	switch failure.Kind {
	case audit.Missing:
		return fail(migration.ErrorMissing, "%s", failure.Message)
	case audit.Damaged:
		return fail(migration.ErrorRepository, "%s", failure.Message)
	case audit.Refused:
		return fail(migration.ErrorRefused, "%s", failure.Message)
	}
	return passing(retryInternal, failure.Message, 0)
}

// classifyNotify takes what a receiver of messages says, or what keeps one from saying anything.
func classifyNotify(failure *notify.Error) error {
	switch failure.Kind {
	case notify.Unavailable:
		return passing(retryUnavailable, failure.Message, failure.RetryAfter)
	case notify.Throttled:
		return passing(retryThrottled, failure.Message, failure.RetryAfter)
	case notify.Unauthorized, notify.Refused, notify.Invalid:
		return fail(migration.ErrorReceiver, "%s", failure.Message)
	}
	return passing(retryInternal, failure.Message, 0)
}

func canceled(err error) bool {
	return temporal.IsCanceledError(err) || errors.Is(err, context.Canceled)
}

// permanent tells whether an error, classified or not, ends the activity's retries. nil does not.
func permanent(err error) bool {
	classified, ok := errors.AsType[*temporal.ApplicationError](classify(err))
	return ok && classified.NonRetryable()
}

// typeOf is the type that an error, classified or not, has for the workflow; empty for nil and for
// a cancellation.
func typeOf(err error) migration.ErrorType {
	if classified, ok := errors.AsType[*temporal.ApplicationError](classify(err)); ok {
		return migration.ErrorType(classified.Type())
	}
	return ""
}

// messageOf is the sentence of an error, classified or not, without the type that Temporal adds to
// it.
func messageOf(err error) string {
	if classified, ok := errors.AsType[*temporal.ApplicationError](classify(err)); ok {
		return classified.Message()
	}
	return err.Error()
}
