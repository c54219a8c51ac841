package migration

import (
	"slices"
	"strings"
	"time"
)

// Notify says whom a migration tells of what happens to it.
type Notify struct {
	// Receivers are told, each of the events that it wants.
	Receivers []Receiver `json:"receivers,omitempty" example:"[{name: oncall, kind: slack, url: \"env:SNAPFERRY_SECRET_SLACK_URL\"}]"`
	// BeforeExpiry is how long before the dead man's switch EventWindowExpiring is told. Default: a
	// quarter of freeze.maxDuration, 30m at most.
	BeforeExpiry Duration `json:"beforeExpiry,omitempty" min:"1s" example:"30m"`
}

// Receiver is one place where messages go.
type Receiver struct {
	// Name names it in the status. Each receiver has another one.
	Name string `json:"name" required:"true" example:"oncall"`
	Kind string `json:"kind" required:"true" enum:"webhook,slack,dingtalk,feishu,wecom,email" example:"slack"`
	// Events are those that it wants; all if there are none.
	Events []Event `json:"events,omitempty" enum:"attention,frozen,verified,windowExpiring,thawed,handedOver,completed,aborted,roundFailed" example:"[attention, windowExpiring, thawed]"`
	// URL is that of a webhook. It is a secret: whoever has it can write to the room.
	URL SecretRef `json:"url,omitempty" example:"env:SNAPFERRY_SECRET_SLACK_URL"`
	// Authorization is the value of the Authorization header, for kind webhook.
	Authorization SecretRef `json:"authorization,omitempty" example:"env:SNAPFERRY_SECRET_ALERTS_AUTHORIZATION"`
	// SigningSecret signs each message, for the kinds webhook, dingtalk and feishu.
	SigningSecret SecretRef `json:"signingSecret,omitempty" example:"env:SNAPFERRY_SECRET_DINGTALK_SIGNING"`
	// CAFile is like that of the target, for this receiver.
	CAFile string `json:"caFile,omitempty" example:"/run/secrets/mail-ca.pem"`
	// Email is for kind email.
	Email Email `json:"email,omitzero"`
}

// Email says how mail is sent.
type Email struct {
	// Server is the SMTP server's host and port.
	Server string `json:"server,omitempty" example:"smtp.example.com:587"`
	// TLS is starttls (the default), implicit or none.
	TLS string `json:"tls,omitempty" enum:"starttls,implicit,none" example:"starttls"`
	// User and Password are for servers that ask for them. Neither is sent without TLS.
	User     string    `json:"user,omitempty" example:"alerts@example.com"`
	Password SecretRef `json:"password,omitempty" example:"env:SNAPFERRY_SECRET_SMTP_PASSWORD"`
	From     string    `json:"from,omitempty" example:"snapferry@example.com"`
	To       []string  `json:"to,omitempty" example:"[oncall@example.com]"`
}

// The kinds of receivers.
const (
	KindWebhook  = "webhook"
	KindSlack    = "slack"
	KindDingTalk = "dingtalk"
	KindFeishu   = "feishu"
	KindWeCom    = "wecom"
	KindEmail    = "email"
)

// How mail is encrypted on its way to the server.
const (
	TLSStart    = "starttls"
	TLSImplicit = "implicit"
	TLSNone     = "none"
)

// Event is something that receivers are told.
type Event string

// The events.
const (
	// EventAttention: a step failed and waits for a person, or keeps failing.
	EventAttention Event = "attention"
	// EventFrozen: writes to the source are blocked.
	EventFrozen Event = "frozen"
	// EventVerified: the target is proven equal, and a person decides about the cutover.
	EventVerified Event = "verified"
	// EventWindowExpiring: the write block will soon be removed, since nobody has sent cutover.
	EventWindowExpiring Event = "windowExpiring"
	// EventThawed: the write block was removed without a cutover.
	EventThawed Event = "thawed"
	// EventHandedOver: the target takes writes.
	EventHandedOver Event = "handedOver"
	EventCompleted  Event = "completed"
	EventAborted    Event = "aborted"
	// EventRoundFailed: a round's snapshot failed, and the round begins again without a person.
	EventRoundFailed Event = "roundFailed"
	// EventTest is a person's try. No plan names it: each receiver gets it.
	EventTest Event = "test"
)

// Wants tells whether a receiver is told of an event.
func (r Receiver) Wants(event Event) bool {
	return event == EventTest || len(r.Events) == 0 || slices.Contains(r.Events, event)
}

// For are the receivers that are told of an event.
func (n Notify) For(event Event) []Receiver {
	var wanting []Receiver
	for _, receiver := range n.Receivers {
		if receiver.Wants(event) {
			wanting = append(wanting, receiver)
		}
	}
	return wanting
}

// longestBeforeExpiry is the default of Notify.BeforeExpiry in long windows.
const longestBeforeExpiry = Duration(30 * time.Minute)

func (n Notify) withDefaults(freeze Freeze) Notify {
	if len(n.Receivers) == 0 {
		return n
	}
	n.BeforeExpiry = or(n.BeforeExpiry, min(freeze.MaxDuration/4, longestBeforeExpiry))
	n.Receivers = slices.Clone(n.Receivers)
	for i := range n.Receivers {
		if r := &n.Receivers[i]; r.Kind == KindEmail {
			r.Email.TLS = or(r.Email.TLS, TLSStart)
		}
	}
	return n
}

const (
	// NotifyWorkflowType tells the receivers of one event. It is a workflow of its own, so that it
	// outlives the migration.
	NotifyWorkflowType = "Notify"
	// SignalNotified tells a migration what became of a message. Only Notify sends it; its payload
	// is a Notified.
	SignalNotified = "notified"
)

// NotifyID is the workflow that tells of one event of a run. The same event has the same id, so it is
// told once.
func NotifyID(planName, token, event string) string {
	return "notify/" + planName + "/" + token + "/" + event
}

// NotifyTestID is the workflow that tries the receivers of a plan.
func NotifyTestID(planName string) string { return "notify-test/" + planName }

// Notification is a message.
type Notification struct {
	// ID is the same each time that the message is sent. It has no spaces.
	ID    string `json:"id"`
	Event Event  `json:"event"`
	// Plan, WorkflowID and Token are those of the migration.
	Plan       string `json:"plan"`
	WorkflowID string `json:"workflowId"`
	Token      string `json:"token,omitempty"`
	Phase      Phase  `json:"phase,omitempty"`
	Rehearsal  bool   `json:"rehearsal,omitempty"`
	// AtMillis is when it happened, UntilMillis when the write block will be removed; 0 if it won't.
	AtMillis    int64 `json:"atMillis"`
	UntilMillis int64 `json:"untilMillis,omitempty"`
	// Title says in a few words what happened, Text in sentences, Commands what a person can type.
	Title    string   `json:"title"`
	Text     string   `json:"text"`
	Commands []string `json:"commands,omitempty"`
	// Step and Failure are those of what needs attention.
	Step    string `json:"step,omitempty"`
	Failure string `json:"failure,omitempty"`
}

// NotifyInput starts NotifyWorkflowType.
type NotifyInput struct {
	Notification Notification `json:"notification"`
	Receivers    []Receiver   `json:"receivers"`
	// LastMillis is when it is too late to tell; 0 if it never is.
	LastMillis int64 `json:"lastMillis,omitempty"`
}

// SendRequest asks for a message to be sent to one receiver.
type SendRequest struct {
	Notification Notification `json:"notification"`
	Receiver     Receiver     `json:"receiver"`
}

// Delivery is what became of a message at one receiver.
type Delivery struct {
	Receiver string `json:"receiver"`
	Kind     string `json:"kind"`
	// State is one of those below; empty while it was not tried yet.
	State    DeliveryState `json:"state,omitempty"`
	AtMillis int64         `json:"atMillis,omitempty"`
	// Error is the last failure, Remedy what to do about it.
	Error  string `json:"error,omitempty"`
	Remedy string `json:"remedy,omitempty"`
}

// DeliveryState is where a delivery stands.
type DeliveryState string

// The states of a delivery.
const (
	Delivered DeliveryState = "delivered"
	// DeliveryFailing: it is tried again.
	DeliveryFailing DeliveryState = "failing"
	// DeliveryFailed: it was given up.
	DeliveryFailed DeliveryState = "failed"
)

// NotifyResult is the result of NotifyWorkflowType, and its answer to QueryStatus.
type NotifyResult struct {
	Deliveries []Delivery `json:"deliveries"`
}

// Notified sums up what became of a message, for a status and a report.
type Notified struct {
	// ID is that of the notification.
	ID       string `json:"id"`
	Event    Event  `json:"event"`
	AtMillis int64  `json:"atMillis"`
	// Receivers counts those that are told, Delivered those that have it.
	Receivers int `json:"receivers"`
	Delivered int `json:"delivered,omitempty"`
	// Failing and Failed count those that don't have it yet, and that won't get it. Troubles names
	// some of both.
	Failing  int               `json:"failing,omitempty"`
	Failed   int               `json:"failed,omitempty"`
	Troubles []DeliveryProblem `json:"troubles,omitempty"`
}

// DeliveryProblem says why a receiver doesn't have a message.
type DeliveryProblem struct {
	Receiver string `json:"receiver"`
	Error    string `json:"error"`
}

const (
	// troublesNamed is how many receivers a Notified names, and longestTrouble how long the failure
	// of each may be, in bytes: a status and a state have little room.
	troublesNamed  = 1
	longestTrouble = 120
)

// Sum sums up deliveries of a notification.
func (n Notification) Sum(deliveries []Delivery) Notified {
	sum := Notified{ID: n.ID, Event: n.Event, AtMillis: n.AtMillis, Receivers: len(deliveries)}
	for _, d := range deliveries {
		switch d.State {
		case Delivered:
			sum.Delivered++
			continue
		case DeliveryFailing:
			sum.Failing++
		case DeliveryFailed:
			sum.Failed++
		default:
			continue
		}
		if len(sum.Troubles) < troublesNamed {
			sum.Troubles = append(sum.Troubles,
				DeliveryProblem{Receiver: d.Receiver, Error: shorten(d.Error, longestTrouble)})
		}
	}
	return sum
}

// Key is the id without what all messages of a run have in front.
func (n Notified) Key() string { return n.ID[strings.LastIndexByte(n.ID, '/')+1:] }

// Ended tells whether no receiver is tried any more.
func (n Notified) Ended() bool { return n.Delivered+n.Failed == n.Receivers }
