package migration

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"
)

// WorkflowType is the name under which the migration workflow is registered and started, from the
// starter, the Temporal UI, temporal or tctl.
const WorkflowType = "Migration"

const (
	// TaskQueue has the workflow and every activity but the copies.
	TaskQueue = "snapferry"
	// CopyTaskQueue has the copy activities. So copy workers can be many and stand where the
	// bandwidth is, and a copy never keeps the removal of a block waiting for a slot.
	CopyTaskQueue = "snapferry-copy"
	// GuardTaskQueue has the activities with which migrations and guards talk and wait for each other.
	// Whoever serves TaskQueue serves it as well. They have places of their own: those that wait for a
	// removal must never take the places of those that do it.
	GuardTaskQueue = "snapferry-guard"
)

// HeartbeatTimeout is how long Temporal hears nothing of an activity before it gives it to another
// worker. A killed worker's work is taken up within 8 s: half a second is the pause before the second
// attempt, and on an idle computer Temporal's timers were late by not quite 1.5 s in all.
const HeartbeatTimeout = 6 * time.Second

// WorkflowID is the one id of a plan's migration: a second start of the same plan meets the first
// instead of running beside it.
func WorkflowID(planName string) string { return "migration/" + planName }

// The queries that a migration answers.
const (
	// QueryStatus answers with a Status.
	QueryStatus = "status"
	// QueryBandwidth answers with how many bytes per second each copy activity may read now, as a
	// number, 0 if there is no limit.
	QueryBandwidth = "bandwidth"
)

// Bandwidth is the signal, and the update of the same name, that sets the limit on all copy
// activities together; its payload is a BandwidthInput. Unlike a Request it is always possible.
const Bandwidth = "bandwidth"

// BandwidthInput says how much all copy activities together may read, and who asked for it. The
// text of a rate alone, such as "50MB/s", is legal too.
type BandwidthInput struct {
	// Limit is needed: a signal without payload must not remove a limit.
	Limit  *ByteRate `json:"limit"`
	By     string    `json:"by,omitempty"`
	Reason string    `json:"reason,omitempty"`

	problem string
}

// Problem is what is wrong with the input, which then changes nothing.
func (in BandwidthInput) Problem() string {
	if in.problem == "" && in.Limit == nil {
		return `it names no limit: send {"limit": "50MB/s"}, or "none" to remove the limit`
	}
	return in.problem
}

// UnmarshalJSON never fails, since the SDK would drop the signal with nothing but a worker's log
// line: see Problem.
func (in *BandwidthInput) UnmarshalJSON(data []byte) error {
	type plain BandwidthInput
	*in = BandwidthInput{}
	err := json.Unmarshal(data, &in.Limit)
	if err != nil && json.Unmarshal(data, new(string)) != nil {
		decoder := json.NewDecoder(bytes.NewReader(data))
		decoder.DisallowUnknownFields()
		in.Limit = nil
		err = decoder.Decode((*plain)(in))
	}
	if err != nil {
		*in = BandwidthInput{problem: shorten(err.Error(), 200)}
	}
	short := RequestInput{By: in.By, Reason: in.Reason}.Shortened()
	in.By, in.Reason = short.By, short.Reason
	return nil
}

// Request is what a person asks of a running migration. Each exists as a signal, with an optional
// RequestInput as its payload, and as an update of the same name, which answers whether it was
// taken.
type Request string

// The requests that a migration understands.
const (
	RequestFreeze  Request = "freeze"
	RequestCutover Request = "cutover"
	RequestAbort   Request = "abort"
	RequestPause   Request = "pause"
	RequestResume  Request = "resume"
	RequestRetry   Request = "retry"
	RequestRound   Request = "round"
)

// Requests lists every request, in the order in which help texts name them.
func Requests() []Request {
	return []Request{
		RequestFreeze, RequestCutover, RequestAbort, RequestPause, RequestResume, RequestRetry,
		RequestRound,
	}
}

// Description says in a sentence what a request does, for help texts and for `temporal workflow
// metadata`.
func (r Request) Description() string {
	switch r {
	case RequestFreeze:
		return "Block writes on the source, copy what was written last, and verify the target."
	case RequestCutover:
		return "Hand over: make the verified target writable. The source stays blocked. There is no way back."
	case RequestAbort:
		return "Stop, remove the write block from the source, and report what remains where."
	case RequestPause:
		return "Start no further step until resume. Not possible while writes are blocked."
	case RequestResume:
		return "Go on after pause."
	case RequestRetry:
		return "Run the step that needs attention again. In phase cutover it may leave out indices: " +
			`{"leaveOut": ["INDEX"]}. It may skip a hook: {"skipHook": true}.`
	case RequestRound:
		return "Start the next incremental round now instead of at the plan's interval."
	}
	return ""
}

// RequestInput is the optional payload of a signal or update: who asks, and why. Both are kept in
// the status and the report.
type RequestInput struct {
	By     string `json:"by,omitempty"`
	Reason string `json:"reason,omitempty"`
	// LeaveOut names indices that a retry in phase cutover hands over no more. The cutover ends
	// without them, and the report names them.
	LeaveOut []string `json:"leaveOut,omitempty"`
	// SkipHook has a retry go on without the hook that needs attention.
	SkipHook bool `json:"skipHook,omitempty"`
}

// UnmarshalJSON takes whatever a person typed into the payload: the documented object, or anything
// else as the reason. The SDK would drop a payload that fails to decode, with nothing but a line in
// a worker's log, and a freeze or an abort must not get lost because a brace is missing.
func (in *RequestInput) UnmarshalJSON(data []byte) error {
	type plain RequestInput
	*in = RequestInput{}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if decoder.Decode((*plain)(in)) == nil {
		return nil
	}
	*in = RequestInput{}
	if json.Unmarshal(data, &in.Reason) != nil {
		in.Reason = string(data)
	}
	return nil
}

// Shortened cuts what people wrote to what a status can hold.
func (in RequestInput) Shortened() RequestInput {
	const longestBy, longestReason = 100, 500
	return RequestInput{
		By: shorten(in.By, longestBy), Reason: shorten(in.Reason, longestReason), LeaveOut: in.LeaveOut,
		SkipHook: in.SkipHook,
	}
}

// Byline says who asked and why, to be put behind what was asked for; nothing if neither is known.
func (in RequestInput) Byline() string {
	text := ""
	if in.By != "" {
		text += " by " + in.By
	}
	if in.Reason != "" {
		text += ": " + in.Reason
	}
	return text
}

// shorten cuts a text to so many bytes, at a character's edge.
func shorten(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + " ..."
}

// Answer is what an update returns to its caller.
type Answer struct {
	// Message says what happens now, or what will once the phase is reached.
	Message string `json:"message"`
	Phase   Phase  `json:"phase"`
}
