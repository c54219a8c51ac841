package report

import (
	"fmt"
	"strings"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// RemainsPage prints what earlier runs left behind, and what became of it, as a page for the
// Temporal UI, in Markdown.
func RemainsPage(r migration.RemainsReport) string {
	var page lines
	switch now := r.Remains; {
	case r.After != nil:
		page.add("**Removed from plan %s**\n", r.Plan)
		for _, line := range RemovedLines(r.Removed) {
			page.add("- %s", line)
		}
		page.add("\n**Left now**\n")
		page.remains(*r.After)
	default:
		page.add("**Left behind by earlier runs of plan %s**\n", r.Plan)
		page.remains(now)
	}
	return human.Visible(page.String())
}

// shownGroups is how many groups fit on a page.
const shownGroups = 30

func (l *lines) remains(found migration.Remains) {
	if len(found.Found) == 0 {
		l.add("Nothing was found.")
	}
	for i, group := range found.Found {
		if i == shownGroups {
			l.add("- ... %d more", len(found.Found)-i)
			break
		}
		l.add("- %s", RemainsLine(group))
	}
	for _, warning := range found.Warnings {
		l.add("- Warning: %s", warning)
	}
}

// originWords say whose something is, in a report.
var originWords = map[migration.RemainsOrigin]string{
	migration.OriginOurs:    "left behind",
	migration.OriginPerhaps: "perhaps left behind",
	migration.OriginKept:    "stays",
}

// kindWords name one and several of a kind.
var kindWords = map[migration.RemainsKind][2]string{
	migration.RemainsBlocks:       {"write block", "write blocks"},
	migration.RemainsRunning:      {"running snapshot", "running snapshots"},
	migration.RemainsThrottles:    {"raised throttle", "raised throttles"},
	migration.RemainsIndices:      {"index", "indices"},
	migration.RemainsSnapshots:    {"snapshot", "snapshots"},
	migration.RemainsRepositories: {"registered repository", "registered repositories"},
	migration.RemainsUploads:      {"unfinished upload", "unfinished uploads"},
	migration.RemainsObjects:      {"object", "objects"},
}

// RemainsLine is a group as one line of text.
func RemainsLine(g migration.RemainsGroup) string {
	var b strings.Builder
	b.WriteString(fmt.Sprintf("%s: %s, %s", originWords[g.Origin], things(g.Kind, g.Count, g.Bytes), g.Where))
	if len(g.Names) > 0 {
		b.WriteString(": " + strings.Join(g.Names[:min(len(g.Names), shownNames)], ", "))
		if more := g.Count - int64(min(len(g.Names), shownNames)); more > 0 {
			b.WriteString(fmt.Sprintf(" and %s more", human.Count(more)))
		}
	}
	b.WriteString(" (" + g.Why)
	if g.Token != "" {
		b.WriteString("; run " + g.Token)
	}
	b.WriteString(")")
	return b.String()
}

const shownNames = 5

func things(kind migration.RemainsKind, count, bytes int64) string {
	words := kindWords[kind]
	text := human.Count(count) + " " + words[1]
	if count == 1 {
		text = "1 " + words[0]
	}
	if bytes > 0 {
		text += " (" + human.Size(bytes) + ")"
	}
	return text
}

// RemovedLines say what became of each kind.
func RemovedLines(removed []migration.Removed) (all []string) {
	for _, kind := range removed {
		all = append(all, things(kind.Kind, kind.Count, kind.Bytes)+" removed")
		if kind.LeftCount > 0 {
			all = append(all, things(kind.Kind, kind.LeftCount, 0)+" not removed: "+strings.Join(kind.Left, "; "))
		}
	}
	return all
}
