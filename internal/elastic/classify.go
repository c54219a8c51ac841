package elastic

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
)

// esError is Elasticsearch's error object since 2.x.
type esError struct {
	Type      string          `json:"type"`
	Reason    string          `json:"reason"`
	Index     json.RawMessage `json:"index"`
	CausedBy  *esError        `json:"caused_by"`
	RootCause []*esError      `json:"root_cause"`
}

// errorBody covers the three shapes of a refusal: Elasticsearch's {"error":{..},"status":n}, the {"error":"text"} of old
// versions, and {"Message":".."} or {"message":".."} of Amazon's front end.
type errorBody struct {
	Error   json.RawMessage `json:"error"`
	Message string          `json:"message"` // encoding/json matches "Message" as well
}

// maxReason bounds texts taken from answers that aren't Elasticsearch's, such as a proxy's HTML page.
const maxReason = 300

// answered makes an *Error of a refusal. The caller adds operation, subject and endpoint and redacts.
func answered(status int, body []byte, once bool) *Error {
	e := &Error{Status: status}
	fromElasticsearch := e.parse(body)
	e.Kind = e.classify(fromElasticsearch, once)
	return e
}

// parse fills type, reason and causes, and tells whether Elasticsearch itself answered rather than something in front of it.
func (e *Error) parse(body []byte) bool {
	var parsed errorBody
	if json.Unmarshal(body, &parsed) != nil {
		e.Reason = shorten(strings.TrimSpace(string(body)), maxReason)
		return strings.HasPrefix(e.Reason, "No handler found for uri") // 5.x says this in plain text
	}
	var object esError
	var text string
	switch {
	case len(parsed.Error) == 0:
		e.Reason = shorten(parsed.Message, maxReason)
		return false
	case json.Unmarshal(parsed.Error, &text) == nil:
		e.Reason = oneLine(text)
	case json.Unmarshal(parsed.Error, &object) == nil:
		e.Type, e.Reason = object.Type, oneLine(object.Reason)
		if index := unquoted(object.Index); index != "" && !strings.Contains(e.Reason, index) {
			e.Reason += " [" + index + "]"
		}
		for cause := object.CausedBy; cause != nil; cause = cause.CausedBy {
			e.Causes = append(e.Causes, cause.text())
		}
		if len(e.Causes) == 0 { // search failures tell their reason only here
			for _, root := range object.RootCause {
				if root != nil && root.Type != object.Type {
					e.Causes = append(e.Causes, root.text())
					break
				}
			}
		}
	}
	return true
}

func (c *esError) text() string {
	if c.Reason == "" {
		return c.Type
	}
	return c.Type + ": " + oneLine(c.Reason)
}

var (
	inUse = regexp.MustCompile(`(?i)cannot (close|delete) (indices|data streams) that are being (snapshotted|restored)` +
		`|modify or unregister repository that is currently used`)
	notAllowed = regexp.MustCompile(`^Your request: .* is not allowed`)
	noHandler  = regexp.MustCompile(`(?i)^no handler found for uri|^Incorrect HTTP method for uri`)
	// An object store's own trouble behind a repository's refusal: that passes, unlike a wrong bucket or key.
	storeTrouble = regexp.MustCompile(`(?i)slow ?down|status code: 50[0234]|timed out|timeout|connection (reset|refused)|service unavailable`)
)

// refusedForGood are the exceptions with which 5.x to 7.x answer 500 although a repeat can't help.
var refusedForGood = map[string]bool{
	"repository_verification_exception": true,
	"repository_exception":              true,
	"snapshot_exception":                true,
	"snapshot_creation_exception":       true,
	"snapshot_restore_exception":        true,
	"index_shard_snapshot_exception":    true,
	"corrupt_index_exception":           true,
}

func (e *Error) classify(fromElasticsearch, once bool) Kind {
	lost := Unavailable
	if once {
		lost = OutcomeUnknown
	}
	if kind := e.classifyType(); kind != Unclassified {
		return kind
	}
	switch {
	case notAllowed.MatchString(e.Reason), noHandler.MatchString(e.Reason), e.Status == http.StatusMethodNotAllowed:
		return NotSupported
	case e.Status == http.StatusForbidden && strings.HasPrefix(e.Reason, "Request throttled"):
		return Unavailable
	case e.Status == http.StatusUnauthorized, e.Status == http.StatusForbidden, e.Status == http.StatusProxyAuthRequired:
		return Unauthorized
	case e.Status == http.StatusNotFound:
		return Missing
	case e.Status == http.StatusTooManyRequests, e.Status == http.StatusBadGateway, e.Status == http.StatusServiceUnavailable:
		return Unavailable
	case e.Status == http.StatusRequestTimeout, e.Status == http.StatusGatewayTimeout:
		return lost
	case e.Status >= 400 && e.Status < 500:
		return Invalid
	case e.Status == http.StatusInternalServerError && fromElasticsearch && refusedForGood[e.Type]:
		// A verification that timed out most often means a wrong endpoint: that a person must see.
		if e.Type != "repository_verification_exception" && storeTrouble.MatchString(strings.Join(e.Causes, " ")) {
			return lost
		}
		return Rejected
	}
	return Internal
}

// classifyType decides by the exception where the status alone would mislead.
func (e *Error) classifyType() Kind {
	switch e.Type {
	case "concurrent_snapshot_execution_exception", "snapshot_in_progress_exception":
		return SlotTaken
	case "cluster_block_exception":
		if e.Status == http.StatusServiceUnavailable { // no master, or state not recovered yet
			return Unavailable
		}
		return Blocked
	case "invalid_snapshot_name_exception":
		if strings.Contains(e.Reason, "already exists") {
			return AlreadyExists
		}
	case "resource_already_exists_exception", "index_already_exists_exception", "snapshot_name_already_in_use_exception":
		return AlreadyExists
	case "index_closed_exception": // 403 up to 6.x, 400 later
		return Invalid
	case "snapshot_restore_exception":
		if strings.HasSuffix(e.Reason, "snapshot does not exist") { // answered with 500
			return Missing
		}
	}
	switch {
	case inUse.MatchString(e.Reason):
		return SlotTaken
	case strings.Contains(strings.Join(e.Causes, " "), "search_context_missing_exception"), e.Type == "search_context_missing_exception":
		return Unavailable // a scroll that lapsed: start it again
	}
	return Unclassified
}

func unquoted(raw json.RawMessage) string {
	var s string
	_ = json.Unmarshal(raw, &s) // absent or not a string: empty
	return s
}

// oneLine joins lines, which 2.x has in quantity, and bounds Elasticsearch's own texts.
func oneLine(s string) string { return shorten(strings.Join(strings.Fields(s), " "), 2000) }

func shorten(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "..."
}
