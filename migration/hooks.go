package migration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Hooks are steps of the user's own around the frozen window: they stop what writes to the source,
// and switch the service over. Those of one moment are called one after the other, in the order of
// the plan. A rehearsal calls none.
type Hooks struct {
	// BeforeBlock stop the writers. If one refuses, nothing is blocked.
	BeforeBlock []Hook `json:"beforeBlock,omitempty" example:"[{name: stop, activity: {type: Stop, taskQueue: ours}}]"`
	// AfterBlock are called once writes are blocked. If one refuses, the block is removed.
	AfterBlock []Hook `json:"afterBlock,omitempty" example:"[{name: drain, activity: {type: Drain, taskQueue: ours}}]"`
	// BeforeHandover are called after a person has sent cutover. If one refuses, the source stays
	// blocked and a person decides, until the deadline.
	BeforeHandover []Hook `json:"beforeHandover,omitempty" example:"[{name: ask, http: {url: env:SNAPFERRY_SECRET_A}}]"`
	// AfterHandover are called once the target takes writes: DNS, an alias, a load balancer.
	AfterHandover []Hook `json:"afterHandover,omitempty" example:"[{name: dns, workflow: {type: D, taskQueue: ours}}]"`
	// AfterThaw are called whenever a window ends without a handover. The guard calls them.
	AfterThaw []Hook `json:"afterThaw,omitempty" example:"[{name: start, activity: {type: Start, taskQueue: ours}}]"`
}

// Hook is one step of the user's own. It has exactly one of HTTP, Activity and Workflow.
type Hook struct {
	// Name tells the hook from the others of its moment.
	Name     string   `json:"name" required:"true" example:"stop-writers"`
	HTTP     HookHTTP `json:"http,omitzero"`
	Activity HookTask `json:"activity,omitzero"`
	Workflow HookTask `json:"workflow,omitzero"`
	// Timeout is for one attempt, Attempts how many there are at most.
	Timeout  Duration `json:"timeout,omitempty" min:"1s" example:"1m"`
	Attempts int      `json:"attempts,omitempty" min:"1" example:"3"`
}

// HookHTTP is a POST with a [HookInput] as JSON. 2xx lets the step go on, any 4xx but 408 and 429
// refuses it. The answer may be a [HookAnswer].
type HookHTTP struct {
	// URL is the receiver's, or a reference to it, like that of the webhook.
	URL string `json:"url" required:"true" example:"env:SNAPFERRY_SECRET_HOOK_URL"`
	// Headers are sent besides. A value may be a reference. That of a header which sounds like a
	// secret must be one.
	Headers map[string]string `json:"headers,omitempty" example:"{Authorization: env:SNAPFERRY_SECRET_HOOK_TOKEN}"`
	// SigningSecret signs the requests.
	SigningSecret SecretRef `json:"signingSecret,omitempty" example:"env:SNAPFERRY_SECRET_HOOK_SIGNING"`
}

// HookTask is an activity or a workflow that a worker of the user's own serves, in the migration's
// namespace. It takes a [HookInput] and may return a [HookAnswer].
type HookTask struct {
	Type      string `json:"type" required:"true" example:"StopWriters"`
	TaskQueue string `json:"taskQueue" required:"true" example:"ours"`
}

// HookMoment is when a hook is called.
type HookMoment string

// The moments, named like the fields of [Hooks].
const (
	HookBeforeBlock    HookMoment = "beforeBlock"
	HookAfterBlock     HookMoment = "afterBlock"
	HookBeforeHandover HookMoment = "beforeHandover"
	HookAfterHandover  HookMoment = "afterHandover"
	HookAfterThaw      HookMoment = "afterThaw"
)

// HookMoments lists the moments in their order.
func HookMoments() []HookMoment {
	return []HookMoment{HookBeforeBlock, HookAfterBlock, HookBeforeHandover, HookAfterHandover, HookAfterThaw}
}

// inWindow tells whether the window's deadline may come while such a hook is called.
func (m HookMoment) inWindow() bool {
	return m == HookBeforeBlock || m == HookAfterBlock || m == HookBeforeHandover
}

// At are the hooks of a moment.
func (h Hooks) At(moment HookMoment) []Hook {
	switch moment {
	case HookBeforeBlock:
		return h.BeforeBlock
	case HookAfterBlock:
		return h.AfterBlock
	case HookBeforeHandover:
		return h.BeforeHandover
	case HookAfterHandover:
		return h.AfterHandover
	case HookAfterThaw:
		return h.AfterThaw
	}
	return nil
}

// HookField is the field of a plan that holds a hook.
func HookField(moment HookMoment, number int) string {
	return fmt.Sprintf("hooks.%s[%d]", moment, number)
}

// eachHook calls do for every hook.
func (h Hooks) each(do func(moment HookMoment, field string, hook Hook)) {
	for _, moment := range HookMoments() {
		for i, hook := range h.At(moment) {
			do(moment, HookField(moment, i), hook)
		}
	}
}

// The bounds of hooks.
const (
	// MaxHooks is how many a moment may have.
	MaxHooks            = 5
	MaxHookTimeout      = Duration(time.Hour)
	MaxHookAttempts     = 10
	DefaultHookTimeout  = Duration(time.Minute)
	DefaultHookAttempts = 3
)

// Span is how long a call of a hook takes at most, with all attempts and the pauses between them.
func (h Hook) Span() time.Duration {
	pauses := time.Duration(0)
	for pause, n := HookFirstPause, 1; n < h.Attempts; n++ {
		pauses += pause
		pause = min(2*pause, HookLongestPause)
	}
	return time.Duration(h.Attempts)*(h.Timeout.Std()+HookSlack) + pauses
}

// The pauses between the attempts of a hook, and what snapferry needs itself for each.
const (
	HookFirstPause   = time.Second
	HookLongestPause = 30 * time.Second
	HookSlack        = 5 * time.Second
)

// What names a hook's target, for people; never a URL.
func (h Hook) What() string {
	switch {
	case h.Activity != (HookTask{}):
		return "activity " + h.Activity.Type + " on task queue " + h.Activity.TaskQueue
	case h.Workflow != (HookTask{}):
		return "workflow " + h.Workflow.Type + " on task queue " + h.Workflow.TaskQueue
	}
	return "an HTTP call"
}

func (h Hooks) withDefaults(window Duration) Hooks {
	for _, list := range []*[]Hook{
		&h.BeforeBlock, &h.AfterBlock, &h.BeforeHandover, &h.AfterHandover, &h.AfterThaw,
	} {
		if len(*list) == 0 {
			*list = nil // as if it were left out
			continue
		}
		*list = slices.Clone(*list)
		for i := range *list {
			hook := &(*list)[i]
			hook.Timeout = or(hook.Timeout, min(DefaultHookTimeout, window/2))
			hook.Attempts = or(hook.Attempts, DefaultHookAttempts)
		}
	}
	return h
}

// HookInput is what a hook is given: the body of the HTTP call, or the argument of the activity or
// workflow. Fields may be added.
type HookInput struct {
	// Migration is the plan's name.
	Migration  string     `json:"migration"`
	WorkflowID string     `json:"workflowId"`
	Moment     HookMoment `json:"moment"`
	Hook       string     `json:"hook"`
	// Attempt is 1, and grows by one each time that the hook is called again in the same window
	// because a person wants it. IdempotencyKey stays the same while a call is repeated without
	// a person, also after a worker's death and from the guard.
	Attempt        int    `json:"attempt"`
	IdempotencyKey string `json:"idempotencyKey"`
	// Indices are the first of those that the migration moves, IndicesTotal counts them all.
	Indices      []string `json:"indices,omitempty"`
	IndicesTotal int      `json:"indicesTotal"`
	// Until is the time, in the form of RFC 3339, at which snapferry removes the write block if the
	// cutover has not begun; empty after the window.
	Until string `json:"until,omitempty"`
	// Source and Target are the endpoints of the clusters.
	Source string `json:"source"`
	Target string `json:"target"`
	// Reason says why the window ended, for afterThaw.
	Reason string `json:"reason,omitempty"`
}

// HookIndices is how many indices a hook is told by name.
const HookIndices = 20

// HookAnswer is what a hook may answer. Nothing at all is an answer as well: the step goes on.
type HookAnswer struct {
	// Proceed refuses the step if it is false. Without it, the step goes on.
	Proceed *bool `json:"proceed,omitempty"`
	// Reason says why it is refused. Message is shown in either case.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
}

// errHookAnswer never quotes the answer.
var errHookAnswer = errors.New("its answer can't be read: it must be nothing, a text, or an object such as " +
	`{"proceed": false, "reason": "..."}`)

// UnmarshalJSON takes an object, whose other fields are ignored, or a text, which is the message.
// Whatever else comes must not be taken for a consent.
func (a *HookAnswer) UnmarshalJSON(data []byte) error {
	*a = HookAnswer{}
	data = bytes.TrimSpace(data)
	if bytes.Equal(data, []byte("null")) {
		return nil
	}
	if json.Unmarshal(data, &a.Message) == nil {
		return nil
	}
	type plain HookAnswer
	var read plain
	if !bytes.HasPrefix(data, []byte("{")) || json.Unmarshal(data, &read) != nil {
		return errHookAnswer
	}
	*a = HookAnswer(read)
	return nil
}

// Refuses tells whether the answer refuses the step.
func (a HookAnswer) Refuses() bool { return a.Proceed != nil && !*a.Proceed }

// Says is what people are shown of the answer.
func (a HookAnswer) Says() string {
	if a.Refuses() && a.Reason != "" {
		return a.Reason
	}
	return or(a.Message, a.Reason)
}

// CallHookRequest asks for the HTTP call of a hook. Field is the plan's.
type CallHookRequest struct {
	Field string    `json:"field"`
	Hook  Hook      `json:"hook"`
	Input HookInput `json:"input"`
}

// HookOutcome is what became of a hook.
type HookOutcome string

// The outcomes.
const (
	// HookDone: the step goes on.
	HookDone HookOutcome = "done"
	// HookRefused: the hook said no.
	HookRefused HookOutcome = "refused"
	// HookFailed: no attempt had an answer that means anything, or none in time.
	HookFailed HookOutcome = "failed"
	// HookLeft: the window ended, or the migration was aborted, before the hook answered.
	HookLeft HookOutcome = "left"
	// HookSkipped: a person went on without it.
	HookSkipped HookOutcome = "skipped"
)

// HookCall is one call of a hook and what it said.
type HookCall struct {
	Moment   HookMoment  `json:"moment"`
	Name     string      `json:"name"`
	AtMillis int64       `json:"atMillis"`
	Millis   int64       `json:"millis,omitempty"`
	Outcome  HookOutcome `json:"outcome"`
	Message  string      `json:"message,omitempty"`
	// Guard says that the guard called it.
	Guard bool `json:"guard,omitempty"`
}

// LongestHookMessage bounds, in bytes, what is kept of a hook's answer.
const LongestHookMessage = 160

// Sentence says what became of the hook, for people.
func (c HookCall) Sentence() string {
	text := map[HookOutcome]string{
		HookDone: "let it go on", HookRefused: "refused", HookFailed: "failed",
		HookLeft: "had not answered when the window ended", HookSkipped: "was skipped",
	}[c.Outcome]
	text = "the hook " + c.Name + " (" + string(c.Moment) + ") " + text
	if c.Message != "" {
		text += ": " + c.Message
	}
	return text
}

var (
	headerName = regexp.MustCompile(`^[A-Za-z0-9-]+$`)
	// ownHeaders are those that snapferry sets itself.
	ownHeaders = []string{
		"content-type", "content-length", "host", "user-agent", "connection", "transfer-encoding",
		"idempotency-key", "snapferry-timestamp", "snapferry-signature",
	}
)

const (
	maxHeaders    = 10
	longestHeader = 512
	longestTask   = 200
)

func (c *checker) checkHooks(p Plan) {
	for _, moment := range HookMoments() {
		list, field := p.Hooks.At(moment), "hooks."+string(moment)
		if len(list) > MaxHooks {
			c.add(field, fmt.Sprint(len(list)), fmt.Sprintf("has more than %d hooks", MaxHooks),
				"let one hook do what several do")
		}
		for i, hook := range list {
			if slices.ContainsFunc(list[:i], func(h Hook) bool { return h.Name == hook.Name }) {
				c.add(HookField(moment, i)+".name", hook.Name, "is the name of another hook of "+field,
					"give each hook a name of its own")
			}
		}
	}
	p.Hooks.each(func(moment HookMoment, field string, hook Hook) {
		c.match(field+".name", hook.Name, planName, "is not a valid name",
			"use up to 63 lower-case letters, digits and hyphens, for example name: stop-writers")
		c.checkHookTarget(field, hook)
		if hook.Timeout > MaxHookTimeout {
			c.add(field+".timeout", hook.Timeout.String(), "must be at most "+MaxHookTimeout.String(),
				"for example timeout: "+DefaultHookTimeout.String())
		} else if moment.inWindow() && hook.Timeout >= p.Freeze.MaxDuration {
			c.add(field+".timeout", hook.Timeout.String(), "must be less than freeze.maxDuration ("+
				p.Freeze.MaxDuration.String()+"), which bounds the hooks as well",
				"for example timeout: "+min(DefaultHookTimeout, p.Freeze.MaxDuration/2).String())
		}
		c.upTo(field+".attempts", hook.Attempts, 1, MaxHookAttempts, DefaultHookAttempts)
	})
}

func (c *checker) checkHookTarget(field string, hook Hook) {
	kinds := 0
	if hook.HTTP.URL != "" || len(hook.HTTP.Headers) > 0 || hook.HTTP.SigningSecret != "" {
		kinds++
		c.checkHookHTTP(field+".http", hook.HTTP)
	}
	for _, task := range []struct {
		field string
		HookTask
	}{{field + ".activity", hook.Activity}, {field + ".workflow", hook.Workflow}} {
		if task.HookTask != (HookTask{}) {
			kinds++
			c.checkHookTask(task.field, task.HookTask)
		}
	}
	if kinds != 1 {
		c.add(field, hook.Name, "must have exactly one of http, activity and workflow",
			"for example activity: {type: StopWriters, taskQueue: ours}")
	}
}

func (c *checker) checkHookHTTP(field string, h HookHTTP) {
	if h.URL == "" {
		c.add(field+".url", "", "is missing", "for example url: env:SNAPFERRY_SECRET_HOOK_URL")
	} else if SecretRef(h.URL).Validate() != nil {
		c.checkURL(field+".url", h.URL, true, "https://deploy.example.com/hooks/stop-writers")
	}
	if len(h.Headers) > maxHeaders {
		c.add(field+".headers", fmt.Sprint(len(h.Headers)), fmt.Sprintf("has more than %d headers", maxHeaders),
			"leave some out")
	}
	for _, name := range slices.Sorted(mapKeys(h.Headers)) {
		value := h.Headers[name]
		switch {
		case !headerName.MatchString(name):
			c.add(field+".headers", name, "is not the name of a header", "use letters, digits and hyphens, "+
				"for example X-Team: search")
		case slices.Contains(ownHeaders, strings.ToLower(name)):
			c.add(field+".headers."+name, "", "is a header that snapferry sets itself", "leave it out")
		case value == "" || len(value) > longestHeader || strings.ContainsFunc(value, unicode.IsControl):
			c.add(field+".headers."+name, "", fmt.Sprintf("must be one line of 1 to %d characters", longestHeader),
				"for example X-Team: search")
		case (secretName.MatchString(name) || sensitiveHeader.MatchString(name)) && SecretRef(value).Validate() != nil:
			// The value stays out of the message: it may be the secret.
			c.add(field+".headers."+name, "", "must be a reference to a secret, not the secret itself",
				"for example "+name+": env:SNAPFERRY_SECRET_HOOK_TOKEN")
		case isReference(value) && SecretRef(value).ownOfWorker():
			c.add(field+".headers."+name, value, ownOfWorkerProblem, ownOfWorkerRemedy)
		}
	}
	c.checkSecret(field+".signingSecret", h.SigningSecret, false)
}

// sensitiveHeader finds headers that sound like a secret besides secretName.
var sensitiveHeader = regexp.MustCompile(`(?i)key|cookie|auth|signature`)

func isReference(value string) bool { return SecretRef(value).Validate() == nil }

func (c *checker) checkHookTask(field string, task HookTask) {
	for _, part := range []struct{ name, value, example string }{
		{"type", task.Type, "StopWriters"}, {"taskQueue", task.TaskQueue, "ours"},
	} {
		remedy := "for example " + part.name + ": " + part.example
		switch {
		case part.value == "":
			c.add(field+"."+part.name, "", "is missing", remedy)
		case len(part.value) > longestTask || strings.ContainsFunc(part.value, unicode.IsControl):
			c.add(field+"."+part.name, "", fmt.Sprintf("must be one line of at most %d characters", longestTask),
				remedy)
		}
	}
	queues := []string{TaskQueue, CopyTaskQueue, GuardTaskQueue}
	if slices.Contains(queues, task.TaskQueue) || strings.HasPrefix(task.TaskQueue, "/_sys/") {
		c.add(field+".taskQueue", task.TaskQueue, "is a queue of snapferry's or Temporal's own",
			"run a worker of your own on a queue of its own, for example taskQueue: ours")
	}
}
