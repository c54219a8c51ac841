package workflows

import (
	"fmt"
	"slices"

	"github.com/snapferry/snapferry/migration"
)

// proofWorld is what the world knows of proofs.
type proofWorld struct {
	// unproven are the shards that the next plans find to prove, in batches of one shard.
	unproven int
	// planned are the requests for plans, proved those for batches. verifiedWith is what the
	// verification was told.
	planned      []migration.PlanProofsRequest
	proved       []migration.ProveRequest
	verifiedWith []migration.VerifyRequest
	unlikeShards int
	docsProven   int64
	// inWindow counts what is planned or proven while writes are blocked. The test environment goes on
	// with an activity that was cancelled, so it means something only if none was.
	inWindow int
	// unlikeFiles are indices of which a restore recovers other files than the snapshot lists.
	unlikeFiles []string
}

// recovered is the physical evidence of a restore: two files of each index.
func (w *proofWorld) recovered(r migration.RestoreRequest) *migration.RestoredFiles {
	found := &migration.RestoredFiles{Named: true}
	for _, index := range r.Indices {
		if slices.Contains(w.unlikeFiles, index.Name) {
			found.UnlikeCount++
			found.Unlike = append(found.Unlike, migration.UnlikeFiles{Index: index.Name, Why: "_0.cfs is shorter"})
			continue
		}
		found.Shards, found.Files, found.Bytes = found.Shards+1, found.Files+2, found.Bytes+200
	}
	return found
}

func (w *proofWorld) countInWindow(blocked bool) {
	if blocked {
		w.inWindow++
	}
}

func (w *world) registerProofs() {
	register(w, migration.ActivityPlanProofs, func(r migration.PlanProofsRequest) (migration.ProofPlan, error) {
		w.countInWindow(w.blocked)
		w.planned = append(w.planned, r)
		plan := migration.ProofPlan{
			Proofs: migration.Proofs{}, Proven: migration.Proven{
				OfIndices: len(r.Indices), OfShards: 6, Docs: w.docsProven, Shards: 6 - w.unproven,
				UnlikeShards: w.unlikeShards,
			},
		}
		for _, index := range r.Indices {
			plan.Proven.OfDocs += index.Docs
		}
		if w.unlikeShards > 0 {
			plan.Proven.Unlike = []string{"[movies][0]: the checksums differ"}
		}
		for name, proof := range r.Proofs {
			plan.Proofs[name] = proof
		}
		for _, part := range r.New {
			for name, proof := range part {
				plan.Proofs[name] = proof
			}
		}
		for i := range min(w.unproven, r.Batches) {
			plan.Batches = append(plan.Batches, migration.ProofBatch{
				Tasks: []migration.ProofTask{{
					Index: fmt.Sprintf("index-%d", i), Of: 1, Shards: []migration.ShardTask{{Mark: "1/a"}},
				}}, Indices: 1, Shards: 1, Docs: 10,
			})
		}
		return plan, nil
	})
	register(w, migration.ActivityProve, func(r migration.ProveRequest) (migration.Proved, error) {
		w.countInWindow(w.blocked)
		w.proved = append(w.proved, r)
		w.unproven--
		return migration.Proved{
			Proofs: migration.Proofs{r.Batch.Tasks[0].Index: {
				UUID: "u", TargetUUID: "t",
				Shards: []migration.ShardProof{{Mark: "1/a", Target: "1/b", AtMillis: 1}},
			}},
			ReadRate: migration.ReadRate{Docs: 20_000, Shards: 1, Millis: 1000},
		}, nil
	})
}
