package migration

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// SnapshotName names the snapshot of a round and attempt, such as movies-r0003-a1. Elasticsearch
// wants lower case and none of \ / * ? " < > | , # or space (SnapshotsService.validate), which a
// plan's name can't hold.
func SnapshotName(plan string, round, attempt int) string {
	return fmt.Sprintf("%s-r%04d-a%d", plan, round, attempt)
}

// GroupSnapshotName names the snapshot of a group of indices in a round whose indices are cut into
// groups, such as movies-r0003-g2-a1. Groups count from 1.
func GroupSnapshotName(plan string, round, group, attempt int) string {
	return fmt.Sprintf("%s-r%04d-g%d-a%d", plan, round, group, attempt)
}

// SnapshotTurn is when a snapshot of a migration was taken, as its name tells. Group is 0 if the
// round had no groups.
type SnapshotTurn struct{ Round, Group, Attempt int }

var snapshotTurn = regexp.MustCompile(`^-r([0-9]{4,9})(?:-g([0-9]{1,9}))?-a([0-9]{1,9})$`)

// TurnOf reads the name of a snapshot of this plan; false if it is none.
func TurnOf(plan, snapshot string) (SnapshotTurn, bool) {
	rest, ours := strings.CutPrefix(snapshot, plan)
	m := snapshotTurn.FindStringSubmatch(rest)
	if !ours || m == nil {
		return SnapshotTurn{}, false
	}
	var t SnapshotTurn
	for i, n := range []*int{&t.Round, &t.Group, &t.Attempt} {
		*n, _ = strconv.Atoi(m[i+1]) // nine digits
	}
	return t, true
}

// Compare orders snapshots by their time: negative if t was taken before other. Attempts go on
// counting over all groups of a round, so of two attempts of a round the higher one is later.
func (t SnapshotTurn) Compare(other SnapshotTurn) int {
	return cmp.Or(cmp.Compare(t.Round, other.Round), cmp.Compare(t.Attempt, other.Attempt),
		cmp.Compare(t.Group, other.Group))
}
