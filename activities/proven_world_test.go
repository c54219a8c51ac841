package activities

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

// provenWorld is a world in which proofs are made before the freeze.
type provenWorld struct {
	*changedWorld
	proofs   migration.Proofs
	proofsOf migration.Stored[migration.Proofs]
	taken    []migration.Index // of the final round
}

// newProvenWorld is a world after its baseline, on clusters of these versions. From 6.0 on all
// documents have sequence numbers.
func newProvenWorld(t *testing.T, source, target string) *provenWorld {
	return newOlderWorld(t, source, source, target)
}

// newOlderWorld is one whose documents an older version of the source wrote.
func newOlderWorld(t *testing.T, wrote, source, target string) *provenWorld {
	w := &provenWorld{changedWorld: &changedWorld{world: newWorld(t)}}
	w.from.Version = wrote
	require.NoError(t, w.from.Remove("movies", "alien", "brazil", "casablanca"))
	require.NoError(t, w.from.Index("movies", "alien", "brazil", "casablanca"))
	require.NoError(t, w.from.Remove("catalog", "a", "b", "c", "d", "e"))
	require.NoError(t, w.from.Index("catalog", "a", "b", "c", "d", "e"))
	w.from.Version, w.to.Version = source, target
	if wrote != source {
		require.NoError(t, w.from.Index("movies", "alien", "delicatessen")) // one of each shard
	}
	w.run.Plan.Indices = []string{"*"}
	w.prepared()
	w.carry("movies-r0000-a1", migration.ChangedRequest{All: true})
	return w
}

// carry brings the target up to the source, as a round does.
func (w *provenWorld) carry(snapshot string, request migration.ChangedRequest) migration.Changed {
	found := w.find(request)
	w.request = migration.ChangedRequest{Restored: found.Marks, Expected: w.roundOfAll(snapshot)}
	return found
}

func (w *provenWorld) planRequest() migration.PlanProofsRequest {
	return migration.PlanProofsRequest{
		Run: w.run, Indices: w.indices(), Restored: w.request.Restored, Proofs: w.proofs, ProofsOf: w.proofsOf,
		Batches: 10, BatchDocs: 100,
	}
}

// prove plans and proves until nothing more can be proven.
func (w *provenWorld) prove() migration.Proven {
	w.t.Helper()
	for range 10 {
		plan := must[migration.ProofPlan](w.world, w.activities.PlanProofs, w.planRequest())
		w.proofs, w.proofsOf = plan.Proofs, plan.ProofsOf
		if len(plan.Batches) == 0 {
			return plan.Proven
		}
		request := w.planRequest()
		for _, batch := range plan.Batches {
			proved := must[migration.Proved](w.world, w.activities.Prove,
				migration.ProveRequest{Run: w.run, Batch: batch})
			require.Zero(w.t, proved.Failed, proved.Failure)
			request.New = append(request.New, proved.Proofs)
			if !proved.ProofsOf.IsZero() {
				request.NewOf = append(request.NewOf, proved.ProofsOf)
			}
		}
		plan = must[migration.ProofPlan](w.world, w.activities.PlanProofs, request)
		w.proofs, w.proofsOf = plan.Proofs, plan.ProofsOf
	}
	w.t.Fatal("there is always more to prove")
	return migration.Proven{}
}

// freeze is what a freeze and the final round do, up to the verification. spoil comes right before
// it.
func (w *provenWorld) freeze(spoil func()) migration.VerifyRequest {
	request := w.freezeLooking(spoil)
	request.OnTarget, request.OnTargetOf = nil, migration.Stored[migration.TargetIndices]{} // as after a retry
	return request
}

// freezeLooking is freeze whose verification relies on what was seen of the target after the block.
func (w *provenWorld) freezeLooking(spoil func()) migration.VerifyRequest {
	w.t.Helper()
	must[any](w.world, w.activities.BlockWrites, migration.IndicesRequest{Run: w.run, Indices: w.names()})
	find := w.request
	find.Run, find.Indices, find.OnTarget = w.run, w.indices(), true
	still := must[migration.Standstill](w.world, w.activities.AwaitStandstill, migration.StandstillRequest{
		IndicesRequest: migration.IndicesRequest{Run: w.run, Indices: w.names()}, Find: &find,
	})
	counters := w.request.Expected
	if taking := still.Found.Taking; taking.Len() > 0 {
		snapshot := must[migration.Snapshot](w.world, w.activities.TakeSnapshot, migration.SnapshotRequest{
			Run: w.run, Snapshot: "movies-r0009-a1", Indices: taking.Names(),
		})
		w.s3.Copy(w.oss)
		must[any](w.world, w.activities.CloseTarget, migration.CloseRequest{
			Run: w.run, Indices: taking.Names(), Expected: counters,
		})
		must[migration.RestoreResult](w.world, w.activities.RestoreSnapshot,
			migration.RestoreRequest{Run: w.run, Snapshot: snapshot, Indices: taking.Inline})
		w.taken = taking.Inline
		opened := must[migration.OpenResult](w.world, w.activities.OpenTarget,
			migration.IndicesRequest{Run: w.run, Indices: taking.Names()})
		for name, counter := range opened.Counters {
			counters[name] = counter
		}
	}
	if spoil != nil {
		spoil()
	}
	return migration.VerifyRequest{
		Run: w.run, Indices: w.indices(), Frozen: still.Docs, Counters: counters,
		Proofs: w.proofs, ProofsOf: w.proofsOf,
		Marks: still.Found.Marks, OnTarget: still.Found.OnTarget, OnTargetOf: still.Found.OnTargetOf,
	}
}

// searches counts those that read documents on the source.
func (w *provenWorld) searches() int {
	return len(w.from.Requests("POST /movies/_search")) + len(w.from.Requests("POST /catalog/_search"))
}

func (w *provenWorld) names() []string { return migration.IndexNames(w.indices()) }

// verified is the evidence of both indices.
func (w *provenWorld) verified(request migration.VerifyRequest) (catalog, movies migration.Evidence) {
	w.t.Helper()
	result := must[migration.VerifyResult](w.world, w.activities.VerifyTarget, request)
	require.Len(w.t, result.Indices, 2)
	evidence := func(i int) migration.Evidence {
		require.True(w.t, result.Indices[i].Equal)
		found := *result.Indices[i].Evidence
		found.SinceMillis = 0
		return found
	}
	return evidence(0), evidence(1)
}

// sums counts the searches that sum sequence numbers up.
func (w *provenWorld) sums() (sums int) {
	for _, sent := range w.to.Bodies("POST /movies/_search") {
		if strings.Contains(sent, `"sum"`) {
			sums++
		}
	}
	return sums
}

func (w *provenWorld) add(ids ...string) { require.NoError(w.t, w.from.Index("movies", ids...)) }

func (w *provenWorld) lostDigest() string {
	const digits = "0123456789abcdef"
	return digits + digits + digits + digits
}
