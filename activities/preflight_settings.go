package activities

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/migration"
)

// indexSettings looks for settings that would make a restore fail, and tells which ones the target
// won't get.
func (f *preflight) indexSettings(context.Context) error {
	if f.to == nil {
		return nil
	}
	var left, held leftOut
	for _, index := range f.indices {
		for setting, value := range index.Settings {
			switch why := whyLeftOut(f.run.Plan, nil, setting); {
			case why != "" && !matches(allocationRules, setting):
				left.add(index.Name, setting, why)
			case matchesAny(heldBack, setting):
				held.add(index.Name, setting, "")
			case setting == storeType && why == "":
				if problem := storeProblem(index.Name, value, f.target.Version); problem != "" {
					f.problem("%s", problem)
				}
			}
		}
	}
	var sentences []string
	for _, setting := range inOrder(left.all) {
		sentences = append(sentences, setting.Sentence())
	}
	f.warnings = append(f.warnings, sentences[:min(len(sentences), mostNamed)]...)
	if more := len(sentences) - mostNamed; more > 0 {
		f.warnings = append(f.warnings, fmt.Sprintf("%d more settings are not on the target: the report lists them",
			more))
	}
	for _, setting := range inOrder(held.all) {
		f.warnings = append(f.warnings, fmt.Sprintf("%s (%s) stays off the target until the handover: else the target "+
			"would change or delete what it restores. It comes back if the target has a policy of that name",
			setting.Setting, named("", setting.Names)))
	}
	return nil
}

func inOrder(all []migration.LeftOut) []migration.LeftOut {
	slices.SortFunc(all, func(a, b migration.LeftOut) int { return strings.Compare(a.Setting, b.Setting) })
	return all
}

const storeType = "index.store.type"

// storeProblem says why the target can't hold an index with that index.store.type; empty if it can.
// The restore would be accepted, and all its shards would fail.
func storeProblem(index, kind string, target elastic.Version) string {
	switch {
	case kind == "default" && target.Major >= 6, kind == "simplefs" && target.Major >= 8:
		return fmt.Sprintf("index %s has %s %q, which %s doesn't know, so that no shard of it can be restored: set it "+
			"to fs on the source (the index must be closed for that), or add restore.ignoreSettings: [%q] to the plan",
			index, storeType, kind, target, storeType)
	}
	return ""
}
