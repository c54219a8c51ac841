//go:build lab

package activities

import (
	"errors"
	"net/http"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/migration"
)

// damages are what is done to one document of a target, behind the product's back. Each index is
// named after its kind of evidence, and after its damage.
var damages = []string{"drop", "add", "change", "corrupt"}

// Kinds of evidence. Of "before", the target was damaged before its proof; of "proven", after it,
// while the source stood still. The source of "old" and "new" went on: a document is damaged that
// was there at the proof, or that came after it. "whole" has no proof.
var (
	kinds   = []string{"before", "proven", "old", "new", "whole"}
	writing = []string{"old", "new"}
)

type proofLab struct {
	*evidenceLab
	proofs migration.ProofPlan
	marks  migration.IndexMarks
	frozen migration.Standstill
	// inPieces says that shards were read in pieces.
	inPieces bool
}

func newProofLab(t *testing.T, from, to string) *proofLab {
	t.Helper()
	var indices []string
	for _, kind := range kinds {
		for _, damage := range append([]string{"none"}, damages...) {
			indices = append(indices, kind+"-"+damage)
		}
	}
	indices = append(indices, "proven-forged", "old-forged", "old-swap", "files-stale", "files-corrupt")
	return &proofLab{evidenceLab: newEvidenceLabOf(t, from, to, indices...)}
}

// damage does to the target what the index is named after.
func (p *proofLab) damage(index, id string) {
	p.t.Helper()
	_, damage, _ := strings.Cut(index, "-")
	const nested = `{"n":"other","list":[{"a":1},{"a":2}]}` // as many of Lucene's documents as before
	do := map[string]func(){
		"drop":   func() { p.send(p.target, http.MethodDelete, index, id, "", nil) },
		"add":    func() { p.write(p.target, index, "first", "more") },
		"change": func() { p.write(p.target, index, "other", id) },
		// A version that the source never gave.
		"corrupt": func() {
			p.send(p.target, http.MethodPut, index, id, "version=77&version_type=external", nested)
		},
		// The only write that leaves a version as it was.
		"forged": func() {
			p.send(p.target, http.MethodPut, index, id, "version=1&version_type=external_gte", nested)
		},
	}[damage]
	if do != nil {
		p.corrupt(index, do)
	}
}

// still takes what the freeze knows: documents and marks of the source, which stands still.
func (p *proofLab) still() {
	p.t.Helper()
	request := migration.IndicesRequest{Run: p.run, Indices: migration.IndexNames(p.indices)}
	p.frozen = labMust[migration.Standstill](p.labRig, p.activities.AwaitStandstill,
		migration.StandstillRequest{IndicesRequest: request})
	p.marks = labMust[migration.Changed](p.labRig, p.activities.FindChanged,
		migration.ChangedRequest{Run: p.run, Indices: p.indices, All: true}).Marks
}

// prove proves whatever can be proven of indices.
func (p *proofLab) prove(indices ...string) migration.Proven {
	p.t.Helper()
	request := migration.PlanProofsRequest{
		Run: p.run, Indices: p.only(indices...), Restored: p.marks, Batches: 100, BatchDocs: 1000, PieceDocs: 2,
	}
	plan := labMust[migration.ProofPlan](p.labRig, p.activities.PlanProofs, request)
	require.NotEmpty(p.t, plan.Batches)
	for _, batch := range plan.Batches {
		proved := labMust[migration.Proved](p.labRig, p.activities.Prove,
			migration.ProveRequest{Run: p.run, Batch: batch, Rate: 1_000_000})
		require.Zero(p.t, proved.Failed+proved.Moved, proved.Failure)
		require.Positive(p.t, proved.Docs)
		p.inPieces = p.inPieces || proved.ReadRate.Shards > batch.Shards
		if proved.ProofsOf.IsZero() {
			request.New = append(request.New, proved.Proofs)
		} else {
			request.NewOf = append(request.NewOf, proved.ProofsOf)
		}
	}
	plan = labMust[migration.ProofPlan](p.labRig, p.activities.PlanProofs, request)
	require.Empty(p.t, plan.Batches, "nothing is left to prove")
	p.proofs = plan
	return plan.Proven
}

// verdictOn verifies one index. It leaves out the target's write counters, which would tell already:
// the documents have to.
func (p *proofLab) verdictOn(index string, files *migration.RestoredFiles, taken []string) migration.IndexResult {
	p.t.Helper()
	request := migration.VerifyRequest{
		Run: p.run, Indices: p.only(index), Frozen: p.frozen.Docs, Marks: p.marks,
		Proofs: p.proofs.Proofs, ProofsOf: p.proofs.ProofsOf, Files: files, Taken: p.only(taken...),
	}
	result, err := labTry[migration.VerifyResult](p.labRig, p.activities.VerifyTarget, request)
	if failure, ok := errors.AsType[*temporal.ApplicationError](err); ok {
		require.Equal(p.t, string(migration.ErrorVerification), failure.Type(), "%v", err)
		require.NoError(p.t, failure.Details(&result))
	} else {
		require.NoError(p.t, err)
	}
	require.Len(p.t, result.Indices, 1)
	found := result.Indices[0]
	said := "equal"
	if !found.Equal {
		said = "NOT EQUAL"
	}
	first := ""
	if len(found.Differences) > 0 {
		first = found.Differences[0]
	}
	p.t.Logf("%-16s %-9s by: %-40s read %3d  %s", index, said, found.Evidence.Text(), found.Evidence.Read, first)
	return found
}

func (p *proofLab) only(names ...string) []migration.Index {
	var found []migration.Index
	for _, index := range p.indices {
		if slices.Contains(names, index.Name) {
			found = append(found, index)
		}
	}
	return found
}

// of are all indices of some kinds.
func (p *proofLab) of(kinds ...string) []string {
	var names []string
	for _, index := range p.indices {
		kind, _, _ := strings.Cut(index.Name, "-")
		if slices.Contains(kinds, kind) {
			names = append(names, index.Name)
		}
	}
	return names
}

// Each kind of evidence finds each damage of one document, and says that what is equal is equal.
func TestLabProofs(t *testing.T) {
	for _, pair := range [][2]string{{"6.8.23", "7.10.2"}, {"5.5.2", "6.8.23"}} {
		t.Run(pair[0]+" "+pair[1], func(t *testing.T) { newProofLab(t, pair[0], pair[1]).check(t, pair[0][0] >= '6') })
	}
}

func (p *proofLab) check(t *testing.T, numbered bool) {
	p.round(1)
	p.restore(1, p.run.Plan.Indices...)
	p.still()
	for _, index := range p.of("before") {
		p.damage(index, "d7")
	}
	toProve := slices.DeleteFunc(slices.Clone(p.run.Plan.Indices), func(index string) bool {
		return strings.HasPrefix(index, "whole-")
	})
	proven := p.prove(toProve...)
	t.Logf("proven before the freeze: %+v", proven)
	require.Equal(t, numbered, p.inPieces, "sequence numbers cut shards into pieces")
	require.Len(t, p.of("before"), 1+len(damages))
	require.GreaterOrEqual(t, proven.UnlikeShards, len(damages), "damage is told before the freeze")
	require.Equal(t, len(toProve)-len(damages), proven.Indices)

	// The source of some goes on. The final round brings what it wrote.
	swap := p.ofOneShard("old-swap")
	changed := p.of(slices.Concat(writing, []string{"files"})...)
	for _, index := range changed {
		p.blocked(p.source, index, false)
		if index == "old-swap" {
			p.send(p.source, http.MethodDelete, index, swap[0], "", nil)
			continue
		}
		p.write(p.source, index, "second", "d1", "d2", "d3", "n1", "n2", "n3", "n4")
		p.send(p.source, http.MethodDelete, index, "d4", "", nil)
	}
	p.round(2)
	p.still()
	files := p.restore(2, p.of(writing...)...)

	for _, index := range p.of("proven", "old", "whole") {
		p.damage(index, "d20")
	}
	for _, index := range p.of("new") {
		p.damage(index, "n2")
	}
	// What the source has deleted since the proof is there, and another document of the shard is lost:
	// all counts are as they were.
	p.corrupt("old-swap", func() {
		p.send(p.target, http.MethodDelete, "old-swap", swap[1], "", nil)
		p.write(p.target, "old-swap", "first", swap[0])
	})
	for _, index := range p.of(kinds...) {
		p.judge(index, p.verdictOn(index, files, changed), numbered)
	}
	for _, index := range p.of(writing...) {
		require.True(t, files.Same(index), "%s: %+v", index, files)
	}
	p.staleFiles()
	p.corruptFile()
}

// judge requires the verdict, and the evidence that it rests on.
func (p *proofLab) judge(index string, found migration.IndexResult, numbered bool) {
	p.t.Helper()
	kind, damage, _ := strings.Cut(index, "-")
	// Without sequence numbers nothing but the write counters shows a write that leaves the version.
	equal := damage == "none" || damage == "forged" && !numbered
	require.Equal(p.t, equal, found.Equal, "%s: %v", index, found.Differences)
	e := *found.Evidence
	switch {
	case kind == "proven" && damage == "none", kind == "before" && damage == "none":
		require.Equal(p.t, evidenceShards, e.Proven, index)
		require.Zero(p.t, e.Read, index)
	case kind == "before":
		require.Positive(p.t, e.Scanned, "what was unequal at its proof is read whole: %s", index)
	case kind == "whole", !numbered && kind != "proven":
		require.Positive(p.t, e.Scanned, index)
		require.Zero(p.t, e.Beyond, index)
	case kind == "proven" && !numbered:
		require.Positive(p.t, e.Scanned, "the target changed: %s", index)
	default:
		require.Positive(p.t, e.Beyond, index)
		require.Zero(p.t, e.Scanned, index)
		require.Less(p.t, e.Read, int64(evidenceDocs/2), "only what came after the proof is read: %s", index)
	}
}

// staleFiles has the target restore an old list of files, as if it were that of the new snapshot.
func (p *proofLab) staleFiles() {
	p.t.Helper()
	const index = "files-stale"
	before, after := p.listKey(index, p.taken[0].UUID), p.listKey(index, p.taken[1].UUID)
	right := p.object(after)
	p.store(after, p.object(before))
	p.restore(2, index)
	p.store(after, right)
	files := p.restore(2, index) // it adopts what was restored, and compares again
	require.Equal(p.t, 1, files.UnlikeCount, "%+v", files)
	found := p.verdictOn(index, files, []string{index})
	require.False(p.t, found.Equal)
	require.Contains(p.t, strings.Join(found.Differences, "; "),
		"was not restored from the files that the snapshot lists")
	require.Zero(p.t, found.Evidence.Files)
}

// corruptFile damages a byte of a blob in OSS. Neither names nor lengths show that: Elasticsearch
// does, by Lucene's checksum, and refuses the restore.
func (p *proofLab) corruptFile() {
	p.t.Helper()
	const index = "files-corrupt"
	list := p.listKey(index, p.taken[1].UUID)
	old, err := repository.ParseShardSnapshot(p.object(p.listKey(index, p.taken[0].UUID)))
	require.NoError(p.t, err)
	now, err := repository.ParseShardSnapshot(p.object(list))
	require.NoError(p.t, err)
	known := map[string]bool{}
	for _, file := range old.Files {
		known[file.Name] = true
	}
	largest := repository.File{}
	for _, file := range now.Files {
		if !known[file.Name] && len(file.MetaHash) == 0 && file.Length > largest.Length {
			largest = file
		}
	}
	require.NotEmpty(p.t, largest.Name)
	key := path.Join(path.Dir(list), largest.Name)
	data := p.object(key)
	data[len(data)/2] ^= 1
	p.store(key, data)
	_, err = labTry[migration.RestoreResult](p.labRig, p.activities.RestoreSnapshot, migration.RestoreRequest{
		Run: p.run, Snapshot: p.taken[1], Indices: p.only(index), Files: true,
	})
	require.Error(p.t, err)
	p.t.Logf("%-16s NOT EQUAL by: Elasticsearch's checksum: %v", index, err)
	require.Contains(p.t, strings.ToLower(err.Error()), "checksum")
}
