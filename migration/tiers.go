package migration

import (
	"fmt"
	"slices"
	"strings"
)

// What becomes of indices that Amazon keeps in UltraWarm or cold storage, where no snapshot of a
// round takes them.
const (
	// WarmRefused refuses them: before anything begins, and before writes are blocked. Rounds between
	// leave them out.
	WarmRefused = "refuse"
	// WarmLeftOut leaves them on the source.
	WarmLeftOut = "leaveOut"
	// WarmIncluded is for a source that isn't Amazon's: there, the setting that marks a warm index
	// means a kind of node.
	WarmIncluded = "include"
)

// NotHot names indices that the plan's list stands for and that Amazon doesn't keep in hot storage.
// No round takes them.
type NotHot struct {
	// Warm are in UltraWarm storage, Cold in cold storage: the first names, sorted, and how many more
	// there are.
	Warm     []string `json:"warm,omitempty"`
	MoreWarm int      `json:"moreWarm,omitempty"`
	Cold     []string `json:"cold,omitempty"`
	MoreCold int      `json:"moreCold,omitempty"`
	// LeftOut says that the plan wants it so: else they are in the way of the freeze.
	LeftOut bool `json:"leftOut,omitempty"`
}

// longestNotHot bounds the names of one kind, in bytes: they stand in the workflow's state.
const longestNotHot = 4 << 10

// NewNotHot is nil if there are no such indices. Both lists are sorted.
func NewNotHot(warm, cold []string, plan Plan) *NotHot {
	if len(warm)+len(cold) == 0 {
		return nil
	}
	n := NotHot{LeftOut: plan.Source.Warm == WarmLeftOut}
	n.Warm, n.MoreWarm = fitting(warm)
	n.Cold, n.MoreCold = fitting(cold)
	return &n
}

func fitting(names []string) (first []string, more int) {
	room := longestNotHot
	for i, name := range names {
		if room -= len(name) + len(`"",`); room < 0 {
			return slices.Clone(names[:i]), len(names) - i
		}
	}
	return slices.Clone(names), 0
}

// Has tells whether an index is among those that are named.
func (n *NotHot) Has(name string) bool {
	return n != nil && (slices.Contains(n.Warm, name) || slices.Contains(n.Cold, name))
}

// Sentences say which indices stay on the source and why, for people.
func (n *NotHot) Sentences() []string {
	if n == nil {
		return nil
	}
	var sentences []string
	add := func(storage, request string, names []string, more int) {
		if len(names)+more == 0 {
			return
		}
		text := fmt.Sprintf("in %s storage, so no round takes them: %s", storage, strings.Join(names, ", "))
		if more > 0 {
			text += fmt.Sprintf(" and %d more", more)
		}
		if n.LeftOut {
			text += ". They stay on the source (source.warm: leaveOut)"
		} else {
			text += ". The freeze is refused until each is hot again: " + request
		}
		sentences = append(sentences, text)
	}
	add("UltraWarm", "POST /_ultrawarm/migration/INDEX/_hot", n.Warm, n.MoreWarm)
	add("cold", `POST /_cold/migration/_warm {"indices": "INDEX"}, then POST /_ultrawarm/migration/INDEX/_hot`,
		n.Cold, n.MoreCold)
	return sentences
}
