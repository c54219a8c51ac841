package report

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// listedRounds is how many rounds the text lists: the first ones and the last ones. A migration of
// some weeks has thousands.
const listedRounds = 30

// Text prints the report for a terminal.
func Text(r migration.Report, zone *time.Location) string {
	v := newView(r, zone)
	v.shorten()
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s\n%s\n\n", v.Title, v.Outcome)
	human.Table(&out, func(row func(...string)) {
		for _, f := range v.Facts {
			row(f.Label+":", f.Value)
		}
	})
	if len(v.Attention) > 0 {
		out.WriteString("\nWould have needed attention\n")
		for _, a := range v.Attention {
			fmt.Fprintf(&out, "  - %s\n      what to do: %s\n", strings.ReplaceAll(a.Short(), "\n", "\n    "), a.Remedy)
		}
		if v.AttentionOmitted > 0 {
			fmt.Fprintf(&out, "  and %d more\n", v.AttentionOmitted)
		}
	}
	if w := v.Window; w != nil {
		fmt.Fprintf(&out, "\n%s\n", v.WindowTitle)
		human.Table(&out, func(row func(...string)) {
			row("began", w.Started)
			for _, p := range w.Parts {
				row(p.Name, p.Took)
			}
			row("together", w.Took)
		})
	}
	if len(v.Rounds) > 0 {
		out.WriteString("\nRounds\n")
		human.Table(&out, func(row func(...string)) {
			row("ROUND", "KIND", "SNAPSHOT", "COPIED", "THERE ALREADY", "SNAPSHOT TOOK", "COPY", "RESTORE", "DOCUMENTS",
				"TOOK PART")
			for i, r := range v.Rounds {
				if v.RoundsLeftOut > 0 && i == listedRounds/2 {
					row("...", fmt.Sprintf("%d more", v.RoundsLeftOut))
				}
				if v.RoundsOmitted > 0 && i == 1 {
					row("...", fmt.Sprintf("%d omitted", v.RoundsOmitted))
				}
				row(fmt.Sprint(r.Number), r.Kind, r.Snapshot, r.Copied, r.Skipped, r.Snap, r.Copy, r.Restore, r.Docs,
					r.Part)
			}
		})
	}
	if len(v.Indices) > 0 {
		out.WriteString("\nIndices\n")
		human.Table(&out, func(row func(...string)) {
			row("INDEX", "SOURCE DOCUMENTS", "TARGET DOCUMENTS", "VERDICT")
			for _, i := range v.Indices {
				row(i.Name, i.Source, i.Target, i.Verdict)
			}
		})
		if v.IndicesOmitted != "" {
			fmt.Fprintf(&out, "  %s\n", v.IndicesOmitted)
		}
		for _, i := range v.Indices {
			for _, difference := range i.Differences {
				fmt.Fprintf(&out, "  %s: %s\n", human.Line(i.Name), human.Line(difference))
			}
		}
	}
	if len(v.Decisions) > 0 {
		out.WriteString("\nRequests\n")
		human.Table(&out, func(row func(...string)) {
			row("AT", "REQUEST", "BY", "IN PHASE", "VERDICT", "REASON")
			for _, d := range v.Decisions {
				row(d.At, d.Request, d.By, d.Phase, d.Verdict, d.Reason)
			}
		})
	}
	list(&out, "On the source after the cutover", v.Late)
	list(&out, hooksTitle, v.Hooks)
	list(&out, failedTitle, v.Failed)
	list(&out, notifiedTitle, v.Notified)
	list(&out, "Left on the source", v.NotHot)
	list(&out, "Warnings", v.Warnings)
	list(&out, "What remains", v.Remains)
	return human.Visible(out.String())
}

// shorten leaves out rounds from the middle.
func (v *view) shorten() {
	if v.RoundsLeftOut = len(v.Rounds) - listedRounds; v.RoundsLeftOut <= 0 {
		v.RoundsLeftOut = 0
		return
	}
	head, tail := v.Rounds[:listedRounds/2], v.Rounds[len(v.Rounds)-listedRounds/2:]
	v.Rounds = append(append([]round(nil), head...), tail...)
}

func list(out *bytes.Buffer, title string, items []string) {
	if len(items) == 0 {
		return
	}
	fmt.Fprintf(out, "\n%s\n", title)
	for _, item := range items {
		fmt.Fprintf(out, "  - %s\n", human.Line(item))
	}
}
