package report

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// Markdown prints the report for a ticket or a wiki.
func Markdown(r migration.Report, zone *time.Location) string {
	v := newView(r, zone)
	v.shorten()
	var out bytes.Buffer
	row := func(cells ...string) {
		for i, cell := range cells {
			cells[i] = escape(cell)
		}
		fmt.Fprintf(&out, "| %s |\n", strings.Join(cells, " | "))
	}
	head := func(title string, cells ...string) {
		fmt.Fprintf(&out, "\n## %s\n\n", title)
		row(cells...)
		out.WriteString("|" + strings.Repeat(" --- |", len(cells)) + "\n")
	}

	fmt.Fprintf(&out, "# %s\n\n**%s**\n\n", escape(v.Title), v.Outcome)
	for _, f := range v.Facts {
		fmt.Fprintf(&out, "- %s: %s\n", f.Label, escape(f.Value))
	}
	if len(v.Attention) > 0 {
		head("Would have needed attention", "step", "type", "what", "what to do")
		for _, a := range v.Attention {
			row(a.Step, a.Type, a.Message+a.Times, a.Remedy)
		}
		if v.AttentionOmitted > 0 {
			row("...", fmt.Sprintf("%d more", v.AttentionOmitted), "", "")
		}
	}
	if w := v.Window; w != nil {
		head(v.WindowTitle+": "+w.Took, "part", "took", "share")
		for _, p := range w.Parts {
			row(p.Name, p.Took, fmt.Sprintf("%.0f %%", p.Percent))
		}
	}
	if len(v.Rounds) > 0 {
		head("Rounds", "round", "kind", "snapshot", "copied", "there already", "snapshot took", "copy", "restore",
			"documents", "took part")
		for i, r := range v.Rounds {
			if v.RoundsLeftOut > 0 && i == listedRounds/2 {
				row("...", fmt.Sprintf("%d more", v.RoundsLeftOut), "", "", "", "", "", "", "", "")
			}
			if v.RoundsOmitted > 0 && i == 1 {
				row("...", fmt.Sprintf("%d omitted", v.RoundsOmitted), "", "", "", "", "", "", "", "")
			}
			row(fmt.Sprint(r.Number), r.Kind, r.Snapshot, r.Copied, r.Skipped, r.Snap, r.Copy, r.Restore, r.Docs,
				r.Part)
		}
	}
	if len(v.Indices) > 0 {
		head("Indices", "index", "source documents", "target documents", "verdict", "differences")
		for _, i := range v.Indices {
			row(i.Name, i.Source, i.Target, i.Verdict, strings.Join(i.Differences, "; "))
		}
		if v.IndicesOmitted != "" {
			row("...", "", "", v.IndicesOmitted, "")
		}
	}
	if len(v.Decisions) > 0 {
		head("Requests", "at", "request", "by", "in phase", "verdict", "reason")
		for _, d := range v.Decisions {
			row(d.At, d.Request, d.By, d.Phase, d.Verdict, d.Reason)
		}
	}
	for _, section := range []struct {
		title string
		items []string
	}{
		{"On the source after the cutover", v.Late},
		{hooksTitle, v.Hooks},
		{failedTitle, v.Failed},
		{notifiedTitle, v.Notified},
		{"Left on the source", v.NotHot},
		{"Warnings", v.Warnings},
		{"What remains", v.Remains},
	} {
		if len(section.items) == 0 {
			continue
		}
		fmt.Fprintf(&out, "\n## %s\n\n", section.title)
		for _, item := range section.items {
			fmt.Fprintf(&out, "- %s\n", escape(item))
		}
	}
	return human.Visible(out.String())
}

var escaper = strings.NewReplacer("|", `\|`, "\n", " ", "\r", "", "*", `\*`, "_", `\_`, "<", "&lt;", "`", "\\`")

// escape keeps what a person or a cluster said from becoming markup.
func escape(text string) string { return escaper.Replace(text) }
