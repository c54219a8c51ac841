package elastic

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/snapferry/snapferry/internal/human"
)

// esError is Elasticsearch's error object since 2.x.
type esError struct {
	Type      string          `json:"type"`
	Reason    string          `json:"reason"`
	Index     json.RawMessage `json:"index"`
	CausedBy  *esError        `json:"caused_by"`
	RootCause []*esError      `json:"root_cause"`
}

// errorBody covers the three shapes of a refusal: {"error":{..},"status":n} of Elasticsearch,
// {"error":"text"} of old versions, and {"Message":".."} or {"message":".."} of Amazon's front end.
type errorBody struct {
	Error   json.RawMessage `json:"error"`
	Message string          `json:"message"` // encoding/json matches "Message" as well
}

// maxReason bounds texts taken from answers that aren't Elasticsearch's, such as a proxy's HTML
// page.
const maxReason = 300

// answered makes an *Error of a refusal. The caller adds operation, subject and endpoint, and
// redacts it.
func answered(status int, body []byte, once bool) *Error {
	e := &Error{Status: status}
	fromElasticsearch := e.parse(body)
	e.Kind = e.classify(fromElasticsearch, once)
	return e
}

// parse fills type, reason and causes. It reports whether Elasticsearch itself answered, and not
// something in front of it.
func (e *Error) parse(body []byte) bool {
	var parsed errorBody
	if json.Unmarshal(body, &parsed) != nil {
		e.Reason = human.Shorten(strings.TrimSpace(string(body)), maxReason)
		return strings.HasPrefix(e.Reason, "No handler found for uri") // 5.x says this in plain text
	}
	var object esError
	var text string
	switch {
	case len(parsed.Error) == 0:
		e.Reason = human.Shorten(parsed.Message, maxReason)
		return false
	case json.Unmarshal(parsed.Error, &text) == nil:
		e.Reason = oneLine(text)
	case json.Unmarshal(parsed.Error, &object) == nil:
		e.Type, e.Reason = object.Type, oneLine(object.Reason)
		if object.Type == "" {
			return false // Elasticsearch names its exceptions, so this is somebody else's object
		}
		e.index = unquoted(object.Index)
		if e.index != "" && !strings.Contains(e.Reason, e.index) {
			e.Reason += " [" + e.index + "]"
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
	inUse = regexp.MustCompile(
		`(?i)cannot (close|delete) (indices|data streams) that are being (snapshotted|restored)` +
			`|modify or unregister repository that is currently used`)
	// collided matches two requests that read a new repository at the same time. 5.x writes an
	// empty incompatible-snapshots on the first read (seen on 5.5.2), and deletes it later to
	// replace it.
	collided   = regexp.MustCompile(`(file_already_exists_exception|no_such_file_exception).*incompatible-snapshots`)
	notAllowed = regexp.MustCompile(`^Your request: .* is not allowed`)
	noHandler  = regexp.MustCompile(`(?i)^no handler found for uri|^Incorrect HTTP method for uri`)
	// storeBusy matches an object store that throttles, or a timeout, as the cause of a
	// repository's failure: a retry may fix it.
	storeBusy = regexp.MustCompile(
		`(?i)slow ?down|reduce your request rate|qps ?limit|status code: 50[0234]|timed out|timeout|` +
			`connection (reset|refused)|service ?unavailable`)
	// storeRefusal matches what a store says of a wrong key, a missing permission, a wrong bucket
	// or an unknown name.
	storeRefusal = regexp.MustCompile(`(?i)access ?denied|forbidden|InvalidAccessKeyId|SignatureDoesNotMatch|` +
		`InvalidSecurityToken|Expired ?Token|not authorized|RequestTimeTooSkewed|NoSuchBucket|NoSuchKey|` +
		`InvalidBucketName|bucket (\[.*\] )?does not exist|key does not exist|credentials|UserDisable|` +
		`status code: 4\d\d|corrupt`)
	// storeTrouble matches what the stores' SDKs and the network say of a single failure.
	storeTrouble = regexp.MustCompile(
		`(?i)internal ?error|failed to respond|name resolution|UnknownHost|premature end|` +
			`unable to execute http request|broken pipe|connection pool|no route to host|unreachable|` +
			`(connection|stream|socket) (was |is |has been )?(closed|aborted)`)
	// vendorCause matches the types of exceptions that only the stores' SDKs and the repository
	// plugins have. Alibaba's plugin lets them through, so they may stand at the top of an answer.
	vendorCause = regexp.MustCompile(`^(o_s_s_exception|blob_store_exception|(client|service|credentials)_exception|` +
		`inconsistent_exception|amazon_\w*exception|a_w_s_\w*exception|aws_\w*exception|sdk_\w*exception|` +
		`s3_exception|no_such_(bucket|key)_exception)\b`)
	// storeCause matches the types of causes that come from an SDK or the network, and no type of
	// Elasticsearch's own.
	storeCause = regexp.MustCompile(vendorCause.String() + `|` +
		`^((unchecked_)?i_o_exception|connection_closed_exception|connect_exception|` +
		`no_http_response_exception|http_host_connect_exception|socket_\w*exception|s_s_l_\w*exception|` +
		`unknown_host_exception|e_o_f_exception)\b`)
)

// refusedForGood are exceptions that 5.x to 7.x answer with 500 although a repeat can't help.
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
	case e.Status == http.StatusUnauthorized, e.Status == http.StatusForbidden,
		e.Status == http.StatusProxyAuthRequired:
		return Unauthorized
	case e.Status == http.StatusNotFound && fromElasticsearch:
		return Missing
	case e.Status == http.StatusNotFound:
		// A load balancer that has no cluster behind it at the moment says so, too. If that counted
		// as Elasticsearch's answer, a block that is set would count as removed.
		return Internal
	case e.Status == http.StatusTooManyRequests, e.Status == http.StatusBadGateway,
		e.Status == http.StatusServiceUnavailable:
		return Unavailable
	case e.Status == http.StatusRequestTimeout, e.Status == http.StatusGatewayTimeout:
		return lost
	case e.Status >= 400 && e.Status < 500:
		return Invalid
	case e.Status == http.StatusInternalServerError && fromElasticsearch && (refusedForGood[e.Type] || e.ofStore()):
		return e.classifyStore(lost)
	}
	return Internal
}

// ofStore tells whether the object store behind a repository refused, whatever Elasticsearch has
// wrapped around that.
func (e *Error) ofStore() bool {
	return vendorCause.MatchString(e.Type) || slices.ContainsFunc(e.Causes, vendorCause.MatchString)
}

// classifyStore tells a temporary failure of the object store behind a repository from a permanent
// one. Internal is retried some times and then shown to a person: that fits causes that are mostly
// temporary and sometimes a wrong endpoint. A caller that asked for a change reads the state before
// it asks again.
func (e *Error) classifyStore(lost Kind) Kind {
	all := e.Causes
	if vendorCause.MatchString(e.Type) {
		all = append([]string{e.Type + ": " + e.Reason}, all...)
	}
	causes := strings.Join(all, " ")
	switch {
	case collided.MatchString(causes):
		return lost
	case storeRefusal.MatchString(causes) && !storeBusy.MatchString(causes):
		return Rejected
	case e.Type != "repository_verification_exception" && storeBusy.MatchString(causes):
		return lost
	case storeBusy.MatchString(causes), storeTrouble.MatchString(causes),
		slices.ContainsFunc(all, storeCause.MatchString):
		return Internal // a verification that timed out most often means a wrong endpoint
	}
	return Rejected
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
		if strings.Contains(e.Reason, "already exists") || strings.Contains(e.Reason, "already in-progress") {
			return AlreadyExists
		}
	case "resource_already_exists_exception", "index_already_exists_exception",
		"snapshot_name_already_in_use_exception":
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
	case strings.Contains(strings.Join(e.Causes, " "), "search_context_missing_exception"),
		e.Type == "search_context_missing_exception":
		return Unavailable // an expired scroll: start it again
	}
	return Unclassified
}

func unquoted(raw json.RawMessage) string {
	var s string
	_ = json.Unmarshal(raw, &s) // absent or not a string: empty
	return s
}

// oneLine joins the lines of a text, of which 2.x sends many, and bounds it.
func oneLine(s string) string { return human.Shorten(strings.Join(strings.Fields(s), " "), 2000) }
