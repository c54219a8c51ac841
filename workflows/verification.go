package workflows

import (
	"fmt"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// verdictBytes bounds the verdicts on indices in a report, which is the workflow's result and goes
// to the webhook: some 250 indices. Of more, a report lists those that are not equal or differ, and
// counts the others.
const verdictBytes = 48 << 10

// verifyRequest asks for the target to be compared with what the source held when it stood still.
// In a rehearsal it has not, and what was written since the snapshot is told apart.
func (m *run) verifyRequest(indices migration.IndexList, frozen migration.Standstill) migration.VerifyRequest {
	request := migration.VerifyRequest{
		Run: m.forActivities(), Indices: indices.Inline, IndicesOf: indices.Of(),
		Frozen: frozen.Docs, FrozenOf: frozen.DocsOf, Counters: m.Counters, CountersOf: m.CountersOf,
		Most: verdictBytes,
	}
	if m.proves() {
		request.Proofs, request.ProofsOf = m.Proofs, m.ProofsOf
		request.Marks, request.MarksOf = m.Restored, m.RestoredOf
		request.OnTarget, request.OnTargetOf = m.changed.OnTarget, m.changed.OnTargetOf
	}
	if m.shape.delta() && !m.plan.Rehearsal {
		request.Files, request.Taken, request.TakenOf = m.lastRound().Files, m.taking.Inline, m.taking.Of()
	}
	if m.plan.Rehearsal {
		request.Seen, request.SeenOf = m.SeenWrites, m.SeenWritesOf
	}
	return request
}

// warnOfFiles tells of shards that a restore has given other files than the snapshot lists.
func (m *run) warnOfFiles(files *migration.RestoredFiles) {
	if files == nil || files.UnlikeCount == 0 {
		return
	}
	text := fmt.Sprintf("of %s the restore recovered other files than the snapshot lists",
		human.Things(files.UnlikeCount, "shard", "shards"))
	if len(files.Unlike) > 0 {
		first := files.Unlike[0]
		text += fmt.Sprintf(", first [%s][%d]: %s", first.Index, first.Shard, first.Why)
	}
	m.warn(text)
}

// differencesOf are warnings of what differs in settings, mappings and aliases.
func differencesOf(verdicts []migration.IndexResult, unlisted *migration.Unlisted) []string {
	var warnings []string
	for _, index := range verdicts {
		for _, difference := range index.Differences {
			warnings = append(warnings, index.Name+": "+difference)
		}
	}
	if unlisted != nil && unlisted.Differing > 0 {
		warnings = append(warnings, fmt.Sprintf("%d more indices differ in settings, mappings or aliases",
			unlisted.Differing))
	}
	return warnings
}
