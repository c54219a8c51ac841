package elastic

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
)

// Kind classifies an error by what its receiver should do about it.
type Kind int

const (
	// None is the kind of nil: the call succeeded.
	None Kind = iota
	// Unclassified is the kind of errors that didn't come from this package, and of a cancelled
	// context.
	Unclassified
	// Unavailable: the cluster can't answer now, or its answer was incomplete. The call changed
	// nothing, or to repeat it is harmless. Remedy: repeat with back-off.
	Unavailable
	// OutcomeUnknown: a call that must not be repeated blindly (create snapshot, restore, delete
	// snapshot) was sent, but its answer was lost. Remedy: check whether it took effect, then adopt
	// the result or repeat.
	OutcomeUnknown
	// SlotTaken: another snapshot or restore holds the cluster's only slot, or uses the indices or
	// the repository. Remedy: wait and repeat, for as long as a snapshot may last (Amazon takes one
	// every hour).
	SlotTaken
	// Unauthorized: the credentials are missing, wrong or expired, or may not make this call.
	// Remedy: a person corrects the credentials, the IAM policy or the role mapping.
	Unauthorized
	// NotSupported: the service or version doesn't have this call. Remedy: use another way.
	NotSupported
	// Missing: there is no such index, snapshot, repository or document. Remedy: correct the name.
	// Directly after a snapshot was published, the reading cluster may not see it yet: repeat.
	Missing
	// AlreadyExists: the name is taken. Remedy: after an unknown outcome it is our own: compare it
	// and adopt it.
	AlreadyExists
	// Blocked: a block on the index or cluster forbids the call. Remedy: remove the block if it is
	// ours.
	Blocked
	// Invalid: the cluster refuses the request as such. Remedy: correct the plan; if the plan is
	// right, it is a defect.
	Invalid
	// Rejected: the cluster tried and failed for good: it can't access the repository, or can't
	// restore the snapshot. Remedy: read the causes and correct bucket, permission, version or
	// index. A repeat alone fails again.
	Rejected
	// Internal: anything else, such as a server error of unknown meaning, an answer that can't be
	// read, or a failure of the object store behind a repository. The change may have been made.
	// Remedy: check that, repeat a few times, then show it to a person.
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

	index string // that Elasticsearch doesn't find
	err   error  // the network or context error behind it, if any
}

// Error is one sentence: what was tried, on what, what came back, and why.
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

// Unwrap gives the context error behind a timeout (errors.Is(err, context.DeadlineExceeded)), else
// nil or the network error.
func (e *Error) Unwrap() error { return e.err }

// KindOf is the kind of the first *Error in err's chain; [None] for nil, else [Unclassified].
func KindOf(err error) Kind {
	if err == nil {
		return None
	}
	if e, ok := errors.AsType[*Error](err); ok && e.Kind != None {
		return e.Kind
	}
	return Unclassified
}

var noPrimaries = regexp.MustCompile(`(?i)indices don't have primary shards|primary shard is not allocated`)

// LacksPrimaries tells whether a snapshot was refused because no node holds a primary of an index.
func LacksPrimaries(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Type == "snapshot_exception" && noPrimaries.MatchString(e.Reason)
}

// IsClosed tells whether a request failed because an index is closed.
func IsClosed(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Type == "index_closed_exception"
}
