package report

import (
	"fmt"
	"strings"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// TookPart says how many indices took part in a round, and why: "20 of 600 (18 written, 2 new)".
// Nothing of a round that says nothing about it.
func TookPart(r migration.Round) string {
	taken := r.Indices - r.Skipped
	var reasons []string
	for _, reason := range migration.Reasons() {
		if count := r.Taken[reason]; count > 0 && reason != migration.ReasonFull {
			reasons = append(reasons, fmt.Sprintf("%s %s", human.Count(int64(count)), reason.Text()))
		}
	}
	text := fmt.Sprintf("%s of %s", human.Count(int64(taken)), human.Count(int64(r.Indices)))
	switch {
	case r.Indices == 0:
		return ""
	case taken == 0:
		return "none of " + human.Count(int64(r.Indices))
	case r.Skipped == 0:
		text = "all " + human.Count(int64(r.Indices))
	}
	if len(reasons) > 0 {
		text += " (" + strings.Join(reasons, ", ") + ")"
	}
	return text
}

// whySkipped is why indices may be left out of a round.
const whySkipped = "each has the uuid, the marks of its shards, the mappings, the settings and the aliases " +
	"with which it was restored last, and the target has it as it was restored"

// Skipped says what a round left out, and why it was allowed to; nothing if it left nothing out.
func Skipped(r migration.Round) string {
	if r.Skipped == 0 {
		return ""
	}
	return fmt.Sprintf("%s not taken: %s", human.Things(r.Skipped, "index was", "indices were"), whySkipped)
}

// Taking says which indices take part in the newest round, and why the others don't.
func Taking(s migration.Status) []string {
	var texts []string
	for _, t := range s.Because {
		text := fmt.Sprintf("%s, %s", human.Things(t.Indices, "index", "indices"), t.Reason.Text())
		if t.Reason != migration.ReasonFull && len(t.First) > 0 {
			text += ": " + human.Line(strings.Join(t.First, ", "))
			if more := t.Indices - len(t.First); more > 0 {
				text += fmt.Sprintf(" and %s more", human.Count(int64(more)))
			}
		}
		texts = append(texts, text)
	}
	if s.Skipped > 0 {
		texts = append(texts, Skipped(migration.Round{Skipped: s.Skipped}))
	}
	return texts
}
