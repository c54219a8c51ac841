package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// event is something that happens in a migration, as its requests show from outside.
type event string

// The events of the rounds before the freeze, and those of a frozen window.
const (
	snapshotAsked  event = "snapshot"
	blobCopied     event = "copy" // the first blob after a snapshot
	rootPublished  event = "publish"
	restoreAsked   event = "restore"
	sourceBlocked  event = "freeze"
	finalSnapshot  event = "final snapshot"
	finalCopy      event = "final copy"
	finalPublish   event = "final publish"
	finalRestore   event = "final restore"
	targetVerified event = "verified" // the migration waits for cutover
	cutoverSent    event = "cutover"
)

// inWindow are the events while writes are blocked, or about to be.
var inWindow = []event{
	sourceBlocked, finalSnapshot, finalCopy, finalPublish, finalRestore, targetVerified, cutoverSent,
}

// moment is when a fault begins: right after an event.
type moment struct {
	Event event `json:"event"`
	Nth   int   `json:"nth"`
}

func (m moment) String() string {
	if slices.Contains(inWindow, m.Event) && m.Nth == 1 {
		return string(m.Event)
	}
	return fmt.Sprintf("%s %d", m.Event, m.Nth)
}

// moments are those at which a fault may begin. Each migration of a campaign comes to all of them,
// unless a fault ends it before.
func moments() []moment {
	var all []moment
	for _, of := range []event{snapshotAsked, blobCopied, rootPublished, restoreAsked} {
		for nth := 1; nth <= roundsBefore; nth++ {
			all = append(all, moment{of, nth})
		}
	}
	for _, of := range inWindow {
		all = append(all, moment{of, 1})
	}
	return all
}

// blow is a fault at a moment.
type blow struct {
	Fault string `json:"fault"`
	At    moment `json:"at"`
}

func (b blow) String() string { return b.Fault + " at " + b.At.String() }

func blowsText(blows []blow) string {
	texts := make([]string, len(blows))
	for i, b := range blows {
		texts[i] = b.String()
	}
	return strings.Join(texts, ", ")
}

// mostBlows is how many faults a run has at most.
const mostBlows = 3

// often is how many times as likely a fault is as one that ends a migration or needs a person: a
// campaign is mostly about what snapferry copes with alone.
const often = 6

func (f fault) weight() int {
	if f.ends || f.person != "" {
		return 1
	}
	return often
}

// pick chooses one of the faults by weight.
func pick(r *rand.Rand, from []fault) int {
	all := 0
	for _, f := range from {
		all += f.weight()
	}
	at := r.IntN(all)
	return slices.IndexFunc(from, func(f fault) bool { at -= f.weight(); return at < 0 })
}

// draw chooses what happens in the run of a seed: one to three different faults. The same seed
// chooses the same.
func draw(seed uint64) []blow {
	r := rand.New(rand.NewPCG(seed, 0x5eed))
	left := slices.Clone(faults)
	var blows []blow
	for range 1 + r.IntN(mostBlows) {
		n := pick(r, left)
		chosen := left[n]
		left = slices.Delete(left, n, n+1)
		possible := moments()
		if len(chosen.at) > 0 {
			possible = slices.DeleteFunc(possible, func(m moment) bool { return !slices.Contains(chosen.at, m.Event) })
		}
		blows = append(blows, blow{chosen.name, possible[r.IntN(len(possible))]})
	}
	return blows
}
