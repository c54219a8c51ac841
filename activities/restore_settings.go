package activities

import (
	"maps"
	"slices"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/migration"
)

// What happens to the settings of an index on its way to the target:
//
//   - neverRestored name things that only the source has. They are left out.
//   - vendorSettings belong to plugins of Amazon's service. The target keeps what it doesn't know
//     as archived.*, and refuses most changes of such an index. They are left out.
//   - What restore.ignoreSettings names is left out.
//   - What arrived as archived.* nevertheless is left out of the next restore. The workflow
//     remembers it.
//   - heldBack would let the target roll over, change or delete an index that is restored again and
//     again. They come back at the handover.
//   - setAside are validated against the number of replicas, which is lower until the handover.
//     They come back with the replicas.

// neverRestored: the source's blocks, including ours of the freeze, and rules that name nodes.
var neverRestored = []string{"index.blocks.*", allocationRules}

const allocationRules = "index.routing.allocation.*"

var vendorSettings = []string{
	"index.opendistro.*", "index.opendistro_*", "index.plugins.*", "index.knn*", "index.ultrawarm*",
}

const (
	lifecycleSettings = "index.lifecycle.*"
	lifecyclePolicy   = "index.lifecycle.name"
	refreshInterval   = "index.refresh_interval"
	numberOfReplicas  = "index.number_of_replicas"
	autoExpand        = "index.auto_expand_replicas"
	waitForActive     = "index.write.wait_for_active_shards"
)

var (
	heldBack = []string{lifecycleSettings}
	setAside = []string{waitForActive}
)

// fixedSettings can't be left out by a restore: Elasticsearch refuses the request if one is named
// (RestoreService.UNREMOVABLE_SETTINGS).
var fixedSettings = []string{
	"index.number_of_shards", numberOfReplicas, autoExpand, "index.version.created",
	"index.version.upgraded", "index.version.minimum_compatible", "index.uuid", "index.creation_date",
}

// notRestored are the settings that no restore brings, as names and patterns: those of the plan,
// our own, and those that the target has turned out not to know.
func notRestored(plan migration.Plan, unknown []string) []string {
	patterns := slices.Concat(neverRestored, vendorSettings, heldBack, setAside)
	for _, setting := range slices.Concat(plan.Restore.IgnoreSettings, unknown) {
		if !slices.Contains(patterns, setting) && !slices.Contains(fixedSettings, setting) {
			patterns = append(patterns, setting)
		}
	}
	return patterns
}

func matchesAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return matches(pattern, name) })
}

// whyLeftOut says why a setting of the source is not on the target; empty if it is, or if the
// handover brings it.
func whyLeftOut(plan migration.Plan, unknown []string, name string) string {
	switch {
	case matchesAny(plan.Restore.IgnoreSettings, name) && !slices.Contains(fixedSettings, name):
		return "restore.ignoreSettings names it"
	case matchesAny(vendorSettings, name):
		return "it belongs to a plugin of Amazon's service"
	case slices.Contains(unknown, name):
		return unknownToTarget
	case matches(allocationRules, name):
		return "it names nodes of the source"
	}
	return ""
}

// leftOut collects settings of indices.
type leftOut struct{ all []migration.LeftOut }

func (l *leftOut) add(index, setting, why string) {
	l.all = migration.AddLeftOut(l.all,
		migration.LeftOut{Setting: setting, Why: why, Indices: 1, Names: []string{index}})
}

// archivedPrefix begins the name of a setting that a cluster keeps and doesn't know.
const archivedPrefix = "archived."

// allArchived removes such settings, in a request that changes something else. 5.x doesn't know it,
// and changes its indices whatever is archived in them.
const allArchived = "archived.*"

// unknownToTarget says of archived settings why they are left out.
const unknownToTarget = "the target doesn't know it"

// archivedIn are the settings of an index that the cluster doesn't know, by the names that they had
// on the source, sorted.
func archivedIn(settings map[string]string) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		if matches(archivedPrefix+"*", name) {
			names = append(names, name[len(archivedPrefix):])
		}
	}
	return names
}

// archivedOf collects the archived settings of indices.
func archivedOf(indices []elastic.Index, source func(string) string) []migration.LeftOut {
	var found leftOut
	for _, index := range indices {
		for _, setting := range archivedIn(index.Settings) {
			found.add(source(index.Name), setting, unknownToTarget)
		}
	}
	return found.all
}
