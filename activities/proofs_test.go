package activities

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

// What a proof says before the freeze.

// A difference of what stands still is found before the freeze, told, and not compared again as long
// as nothing changes. The window finds it too, unless the final round has restored the index again
// because its count is another one: then it reads it whole.
func TestDamageIsFoundBeforeTheFreeze(t *testing.T) {
	for what, test := range map[string]struct {
		spoil   func(*provenWorld)
		counted bool
	}{
		"lost":        {func(w *provenWorld) { w.to.Smuggle("movies", "alien", 0) }, true},
		"old version": {func(w *provenWorld) { w.to.Smuggle("movies", "alien", 7) }, false},
		"too many":    {func(w *provenWorld) { w.to.Smuggle("movies", "theirs", 1) }, true},
		"another": {func(w *provenWorld) {
			w.to.Smuggle("movies", "alien", 0)
			w.to.Smuggle("movies", "theirs", 1)
		}, false},
	} {
		t.Run(what, func(t *testing.T) {
			w := newProvenWorld(t, "6.8.23", "7.10.2")
			test.spoil(w)
			proven := w.prove()
			require.Positive(t, proven.UnlikeShards)
			require.Contains(t, proven.Unlike[0], "[movies]")
			plan := must[migration.ProofPlan](w.world, w.activities.PlanProofs, w.planRequest())
			require.Empty(t, plan.Batches)
			request := w.freeze(nil)
			if test.counted {
				_, movies := w.verified(request)
				require.Equal(t, 3, int(movies.Read)+2-movies.Scanned, "unequal shards are read whole")
				return
			}
			refused(w.world, migration.ErrorVerification, w.activities.VerifyTarget, request,
				"index movies is not equal")
		})
	}
}

// What changes, is closed or goes away while it is compared is not proven, and is no failure.
func TestWhatChangesWhileItIsComparedIsNotProven(t *testing.T) {
	for what, change := range map[string]func(*provenWorld){
		"written on the source": func(w *provenWorld) { _ = w.from.Index("movies", "alien", "brazil", "casablanca") },
		"moved on the source":   func(w *provenWorld) { w.from.Reallocate("movies") },
		"moved on the target":   func(w *provenWorld) { w.to.Reallocate("movies") },
		"closed on the target":  func(w *provenWorld) { w.to.SetOpen("movies", false) },
		"deleted on the source": func(w *provenWorld) { w.from.Delete("movies") },
		"deleted on the target": func(w *provenWorld) { w.to.Delete("movies") },
		"created again": func(w *provenWorld) {
			w.from.Delete("movies")
			w.from.Create("movies", 2, nil)
		},
	} {
		t.Run(what, func(t *testing.T) {
			w := newProvenWorld(t, "6.8.23", "7.10.2")
			plan := must[migration.ProofPlan](w.world, w.activities.PlanProofs, w.planRequest())
			require.Len(t, plan.Batches, 1)
			changed := false
			w.from.On("POST /movies/_search", 1, func(http.ResponseWriter, *http.Request) bool {
				changed = true
				return false
			})
			w.from.During("POST /movies/_search", func() { change(w) })
			proved := must[migration.Proved](w.world, w.activities.Prove,
				migration.ProveRequest{Run: w.run, Batch: plan.Batches[0]})
			require.True(t, changed)
			require.Zero(t, proved.Failed, proved.Failure)
			require.Contains(t, proved.Proofs, "catalog")
			if what == "written on the source" {
				// It proves nothing, but says that the next plan goes on in parts.
				for _, shard := range proved.Proofs["movies"].Shards {
					require.EqualValues(t, -1, *shard.UpTo)
					require.Empty(t, shard.Mark)
				}
				w.proofs = proved.Proofs
				next := must[migration.ProofPlan](w.world, w.activities.PlanProofs, w.planRequest())
				require.Equal(t, 3, next.Proven.Shards, "those of the catalog")
				require.Len(t, next.Batches, 1)
				for _, shard := range next.Batches[0].Tasks[0].Shards {
					require.Empty(t, shard.Mark)
					require.EqualValues(t, -1, shard.Beyond)
				}
				return
			}
			require.Equal(t, 2, proved.Moved)
			for _, shard := range proved.Proofs["movies"].Shards {
				require.Zero(t, shard)
			}
		})
	}
}

// Batches of nothing but definitions have a bound, too.
func TestBatchesOfDefinitions(t *testing.T) {
	p := provePlanner{in: migration.PlanProofsRequest{Batches: 3, BatchDocs: 100}, docs: map[string]int64{}}
	for i := range definitionsAtOnce + 1 {
		p.still = append(p.still, migration.ProofTask{Index: fmt.Sprint(i), Of: 1, Definition: true})
	}
	p.moving = []migration.ProofTask{{
		Index: "last", Of: 2, Definition: true, Shards: []migration.ShardTask{{UpTo: 90}, {Shard: 1, UpTo: 90}},
	}}
	p.docs["last"] = 90
	batches := p.cut()
	require.Len(t, batches, 3)
	require.Equal(t, []int{definitionsAtOnce, 2, 0},
		[]int{batches[0].Definitions, batches[1].Definitions, batches[2].Definitions})
	require.Equal(t, []int{0, 1, 1}, []int{batches[0].Shards, batches[1].Shards, batches[2].Shards})
	require.Equal(t, []int{definitionsAtOnce, 2, 1},
		[]int{batches[0].Indices, batches[1].Indices, batches[2].Indices})
}
