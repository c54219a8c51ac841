package workflows

import (
	"fmt"
	"slices"
	"strings"

	"go.temporal.io/sdk/temporal"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// handover is what a run knows of the handover that the guard carries out.
type handover struct {
	// settings are those of the source that the target's indices don't get.
	settings []migration.LeftOut
	// refused are the first indices that the target refused last, omitted counts the others.
	refused []migration.Refusal
	omitted int
	// leaving names the indices that the next try leaves out, leftOut are those that were.
	leaving []string
	leftOut []migration.Refusal
}

// heard takes what the guard answered after a try.
func (h *handover) heard(answer migration.GuardAnswer) error {
	for _, name := range h.leaving {
		refusal := migration.Refusal{Index: name, Message: "the target refused it"}
		if at := slices.IndexFunc(h.refused, isOf(name)); at >= 0 {
			refusal = h.refused[at]
		}
		if !slices.ContainsFunc(h.leftOut, isOf(name)) {
			h.leftOut = append(h.leftOut, refusal)
		}
	}
	h.leaving, h.refused, h.omitted = nil, answer.Refused, answer.RefusedOmitted
	if len(h.refused) == 0 {
		return nil
	}
	return refusedError(migration.ErrorHandover, "make the target writable", h.refused, len(h.refused)+h.omitted)
}

func isOf(index string) func(migration.Refusal) bool {
	return func(r migration.Refusal) bool { return r.Index == index }
}

// refusedError names the first refusals, of so many.
func refusedError(kind migration.ErrorType, tried string, refused []migration.Refusal, count int) error {
	const most = 5
	var texts []string
	for _, refusal := range refused[:min(most, len(refused))] {
		texts = append(texts, fmt.Sprintf("index %s: %s. %s", refusal.Index, strings.TrimSuffix(refusal.Message, "."),
			refusal.Remedy))
	}
	text := fmt.Sprintf("%s: refused for %s:\n- %s", tried, indexCount(count), strings.Join(texts, "\n- "))
	if more := count - len(texts); more > 0 {
		text += fmt.Sprintf("\n- and %s more", human.Count(int64(more)))
	}
	return temporal.NewApplicationErrorWithOptions(text, string(kind),
		temporal.ApplicationErrorOptions{NonRetryable: true})
}

// cantLeaveOut says why a request can't leave out the indices that it names; empty if it can, or
// names none.
func (m *run) cantLeaveOut(request migration.Request, names []string) string {
	if len(names) == 0 {
		return ""
	}
	if request != migration.RequestRetry || m.Phase != migration.PhaseCutover || !m.guarded() {
		return "indices can be left out only by a retry in phase cutover"
	}
	others := slices.DeleteFunc(slices.Clone(names),
		func(name string) bool { return slices.ContainsFunc(m.handover.refused, isOf(name)) })
	if len(others) > 0 && m.handover.omitted == 0 {
		return "only what the target refused can be left out, and these are not refused: " +
			human.Shorten(strings.Join(others, ", "), longestWarning)
	}
	return ""
}
