package report

import (
	"fmt"
	"time"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// hooksTitle stands over what the hooks said.
const hooksTitle = "Hooks"

// Hooks says what the plan's hooks said, in order. omitted counts calls before them.
func Hooks(calls []migration.HookCall, omitted int, zone *time.Location) []string {
	var lines []string
	if omitted > 0 {
		lines = append(lines, fmt.Sprintf("%d earlier calls", omitted))
	}
	for _, call := range calls {
		line := human.Clock(call.AtMillis, zone) + ": " + call.Sentence()
		if call.Outcome != migration.HookSkipped {
			line += " (took " + human.Span(call.Millis) + ")"
		}
		if call.Guard {
			line += " (called by the guard)"
		}
		lines = append(lines, human.Line(line))
	}
	return lines
}

// Down says for how long nobody could write; empty if no hook has to do with it.
func Down(w *migration.FrozenWindow) string {
	if w == nil || w.DownMillis == 0 {
		return ""
	}
	from := "the block"
	if w.DownSinceMillis > 0 {
		from = "the hook that stops the writers"
	}
	return human.Span(w.DownMillis) + ", from " + from + " until the target took writes and the last hook had answered"
}
