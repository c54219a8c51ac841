package migration

import (
	"cmp"
	"strings"
)

// MemoOutline is the key in a migration's memo under which its Outline stands. A memo needs no
// registration, and no worker to be read.
const MemoOutline = "snapferry"

// Outline is what a migration says of itself to whoever lists workflows: where it stands, and
// whether somebody is needed. It stands in the memo. Structs of this type can be compared.
type Outline struct {
	Phase Phase `json:"phase"`
	// PhaseSinceMillis and the other times are epoch milliseconds.
	PhaseSinceMillis int64 `json:"phaseSinceMillis,omitempty"`
	Paused           bool  `json:"paused,omitempty"`
	// Attention is the class of the failure that needs a person, or that lasts (Retrying).
	Attention string `json:"attention,omitempty"`
	Retrying  bool   `json:"retrying,omitempty"`
	// FrozenSinceMillis is when writes were blocked, FrozenUntilMillis when the dead man's switch
	// removes the block; 0 while writes are not blocked, and once the cutover has begun.
	FrozenSinceMillis int64 `json:"frozenSinceMillis,omitempty"`
	FrozenUntilMillis int64 `json:"frozenUntilMillis,omitempty"`
	// WindowMillis is how long the window will probably take, and once it was measured, how long it
	// took until the target was verified; 0 if that is not known.
	WindowMillis int64 `json:"windowMillis,omitempty"`
	// Findings counts what a rehearsal found that would have needed attention.
	Findings int `json:"findings,omitempty"`
	// Next is the request that moves it on, if it waits for one.
	Next Request `json:"next,omitempty"`
}

// longestAttention is enough for each error type, and bounds what a foreign one can hold.
const longestAttention = 60

// Outline is the status in short.
func (s Status) Outline() Outline {
	o := Outline{
		Phase: s.Phase, PhaseSinceMillis: s.PhaseSinceMillis, Paused: s.Paused,
		Next: firstRequest(s.Next),
	}
	if a := s.Attention; a != nil {
		o.Attention, o.Retrying = shorten(a.Type, longestAttention), a.Retrying
	}
	if s.Frozen() {
		o.FrozenSinceMillis, o.FrozenUntilMillis = s.FrozenSinceMillis, s.FrozenUntilMillis
	}
	switch {
	case s.FrozenWindow != nil:
		o.WindowMillis = s.FrozenWindow.Millis
	case s.Prediction != nil:
		o.WindowMillis = s.Prediction.Millis
	}
	if r := s.Rehearsal; r != nil {
		o.Findings = len(r.Attention) + r.AttentionOmitted
		if r.Window != nil {
			o.WindowMillis = r.Window.Millis
		}
	}
	return o
}

// Frozen tells whether the migration's block on writes is in force as far as it knows. After a
// cutover the block stays, and nobody waits for its end any more.
func (s Status) Frozen() bool { return s.FrozenSinceMillis > 0 && !s.Phase.Ended() }

// DownSince is the epoch time in milliseconds since when nobody can write: that of the first hook that
// stops the writers, or else that of the write block. It is 0 outside the frozen window and the cutover.
func (s Status) DownSince() int64 {
	if !s.Phase.Frozen() && s.Phase != PhaseCutover {
		return 0
	}
	return cmp.Or(s.DownSinceMillis, s.FrozenSinceMillis)
}

// Frozen is Status.Frozen.
func (o Outline) Frozen() bool { return o.FrozenSinceMillis > 0 }

// firstRequest is the request that the first command of ours sends; empty if there is none.
func firstRequest(commands []string) Request {
	for _, command := range commands {
		if words := strings.Fields(command); len(words) > 1 && words[0] == "starter" {
			return Request(words[1])
		}
	}
	return ""
}

// The search attributes of a migration. A namespace has them if somebody registered them; see
// docs/runbook.md.
const (
	// AttributePhase has the phase.
	AttributePhase = "SnapferryPhase"
	// AttributeAttention has the class of the failure that needs attention; unset without one.
	AttributeAttention = "SnapferryAttention"
	// AttributeFrozen says whether writes are blocked.
	AttributeFrozen = "SnapferryFrozen"
)

// AttributeTypes are the types with which the search attributes are registered, as the temporal
// command line names them.
func AttributeTypes() map[string]string {
	return map[string]string{AttributePhase: "Keyword", AttributeAttention: "Keyword", AttributeFrozen: "Bool"}
}

// RegisterAttributes is the command that registers the search attributes.
const RegisterAttributes = "temporal operator search-attribute create --name " + AttributePhase + " --type Keyword " +
	"--name " + AttributeAttention + " --type Keyword --name " + AttributeFrozen + " --type Bool"
