package elastic

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// Kind classifies an error by what its receiver should do about it.
type Kind int

const (
	// None is the kind of nil: the call succeeded.
	None Kind = iota
	// Unclassified is the kind of errors that didn't come from this package, and of a cancelled context.
	Unclassified
	// Unavailable: the cluster can't answer now, or its answer was incomplete, and nothing was changed by the call or the
	// call may be repeated without harm. Remedy: repeat with back-off.
	Unavailable
	// OutcomeUnknown: a call that must not be repeated blindly (create snapshot, restore, delete snapshot) was sent, but
	// its answer was lost. Remedy: look whether it took effect, then adopt the result or repeat.
	OutcomeUnknown
	// SlotTaken: another snapshot or restore holds the cluster's only slot, or the indices or the repository are in use by
	// one. Remedy: wait and repeat, for as long as a snapshot may last (Amazon takes one every hour).
	SlotTaken
	// Unauthorized: the credentials are missing, wrong, expired or not permitted this call. Remedy: a person corrects
	// credentials, IAM policy or role mapping.
	Unauthorized
	// NotSupported: the service or version doesn't have this call. Remedy: use another way.
	NotSupported
	// Missing: an index, snapshot, repository or document isn't there. Remedy: correct the name. Directly after a snapshot
	// was published the reading cluster may merely be behind.
	Missing
	// AlreadyExists: the name is taken. Remedy: after an unknown outcome it's our own; compare and adopt it.
	AlreadyExists
	// Blocked: a block on the index or cluster forbids the call. Remedy: lift the block, if it's ours.
	Blocked
	// Invalid: the cluster refuses the request as such. Remedy: correct the plan; it's a defect if the plan is right.
	Invalid
	// Rejected: the cluster understood, tried and refused for good: repository not accessible, snapshot not restorable.
	// Remedy: read the causes and correct bucket, permission, version or index; a mere repeat fails again.
	Rejected
	// Internal: anything else, such as a server error without a known meaning, an answer that can't be read, or trouble of
	// the object store behind a repository. A change that was asked for may have been made. Remedy: look, repeat a few
	// times, then show it.
	Internal
)

var kindNames = [...]string{
	"None", "Unclassified", "Unavailable", "OutcomeUnknown", "SlotTaken", "Unauthorized", "NotSupported",
	"Missing", "AlreadyExists", "Blocked", "Invalid", "Rejected", "Internal",
}

// String is the constant's name.
func (k Kind) String() string {
	if k < 0 || int(k) >= len(kindNames) {
		return fmt.Sprintf("Kind(%d)", int(k))
	}
	return kindNames[k]
}

// Error is a call that failed. All its texts are redacted.
type Error struct {
	Kind      Kind
	Operation string   // what was tried, e.g. "create snapshot"
	Subject   string   // on what, e.g. "mig/run1-r0003" or "a,b"; may be empty
	Endpoint  string   // host of the cluster
	Status    int      // HTTP status, 0 if there was no answer
	Type      string   // Elasticsearch's exception type in snake case; empty for a front end's answer
	Reason    string   // what came back
	Causes    []string // the chain of caused_by, outermost first, each "type: reason"

	err error // the network or context error behind it, if any
}

// Error is one sentence: what was tried, on what, what came back and why.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Operation)
	if e.Subject != "" {
		b.WriteString(" " + e.Subject)
	}
	if e.Endpoint != "" {
		b.WriteString(" on " + e.Endpoint)
	}
	b.WriteString(":")
	if e.Status != 0 {
		fmt.Fprintf(&b, " %d", e.Status)
		if e.Type == "" && e.Reason == "" {
			b.WriteString(" " + http.StatusText(e.Status))
		}
	}
	if e.Type != "" {
		b.WriteString(" " + e.Type)
	}
	if e.Reason != "" {
		if e.Type != "" {
			b.WriteString(":")
		}
		b.WriteString(" " + e.Reason)
	}
	for _, cause := range e.Causes {
		b.WriteString(", caused by " + cause)
	}
	return b.String()
}

// Unwrap gives the context error behind a timeout (errors.Is(err, context.DeadlineExceeded)), else nil or the network error.
func (e *Error) Unwrap() error { return e.err }

// KindOf is the kind of the first *Error in err's chain; [None] for nil, else [Unclassified].
func KindOf(err error) Kind {
	if err == nil {
		return None
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Unclassified
}
