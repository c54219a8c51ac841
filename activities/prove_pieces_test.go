package activities

import (
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/elastic/elastictest"
	"github.com/snapferry/snapferry/migration"
)

// largeWorld has an index of ten documents in one shard, which are read three at a time.
type largeWorld struct{ *provenWorld }

func newLargeWorld(t *testing.T) largeWorld {
	w := newProvenWorld(t, "6.8.23", "7.10.2")
	w.from.Delete("movies")
	w.to.Delete("movies") // it had two shards
	w.from.Create("movies", 1, map[string]string{"index.version.created": "6082399"})
	for n := range 10 {
		w.add(fmt.Sprintf("m%d", n))
	}
	w.carry("movies-r0001-a1", w.request)
	return largeWorld{w}
}

// batch is the one that holds the index.
func (w largeWorld) batch() migration.ProofBatch {
	w.t.Helper()
	request := w.planRequest()
	request.PieceDocs = 3
	plan := must[migration.ProofPlan](w.world, w.activities.PlanProofs, request)
	require.Len(w.t, plan.Batches, 1)
	return plan.Batches[0]
}

// shard is what a batch proves of the index.
func (w largeWorld) shard(batch migration.ProofBatch) migration.ShardProof {
	w.t.Helper()
	proved := must[migration.Proved](w.world, w.activities.Prove, migration.ProveRequest{Run: w.run, Batch: batch})
	require.Zero(w.t, proved.Failed, proved.Failure)
	proofs, err := fetch(w.t.Context(), w.activities.lists, w.run, proved.Proofs, proved.ProofsOf)
	require.NoError(w.t, err)
	if len(proofs["movies"].Shards) == 0 {
		return migration.ShardProof{}
	}
	return proofs["movies"].Shards[0]
}

// pieces counts those that were begun on the source.
func (w largeWorld) pieces() int { return len(w.from.Requests("POST /movies/_search")) }

// atPiece runs something when the source is asked for that piece.
func (w largeWorld) atPiece(number int, do func(*http.Request)) {
	asked := 0
	w.from.On("POST /movies/_search", number, func(_ http.ResponseWriter, r *http.Request) bool {
		if asked++; asked == number {
			do(r)
		}
		return false
	})
}

// killedAtPiece runs an attempt that ends at that piece, and gives the next one what its heartbeats said.
func (w largeWorld) killedAtPiece(number int, batch migration.ProofBatch, upTo int64) {
	w.t.Helper()
	stop := w.stop
	w.atPiece(number, func(r *http.Request) {
		before := w.awaitHeartbeat(func(p migration.Progress) bool {
			return len(p.Reads) == 1 && p.Reads[0].UpTo == upTo
		})
		w.before = &before
		close(stop)
		_, _ = io.Copy(io.Discard, r.Body) // only then the server notices that the client is gone
		<-r.Context().Done()
	})
	passes(w.world, retryWorkerStopping, w.activities.Prove, migration.ProveRequest{Run: w.run, Batch: batch})
	w.stop = make(chan struct{})
}

// A large shard is read in pieces, and what comes of it is what reading it in one go says.
func TestALargeShardIsReadInPieces(t *testing.T) {
	w := newLargeWorld(t)
	batch := w.batch()
	inPieces := w.shard(batch)
	require.Equal(t, 4, w.pieces())
	require.EqualValues(t, 10, inPieces.Docs)
	require.EqualValues(t, 9, *inPieces.UpTo)

	for i := range batch.Tasks {
		for j := range batch.Tasks[i].Shards {
			batch.Tasks[i].Shards[j].Piece = 0
		}
	}
	whole := w.shard(batch)
	require.Equal(t, 5, w.pieces())
	inPieces.AtMillis, whole.AtMillis = 0, 0
	require.Equal(t, whole, inPieces)
}

// What a killed worker has read is not read again, as long as nothing has changed.
func TestTheNextAttemptGoesOnBehindTheLastPiece(t *testing.T) {
	for what, tt := range map[string]struct {
		change func(largeWorld)
		pieces int // of the second attempt
		proven bool
	}{
		"nothing changed":       {func(largeWorld) {}, 2, true},
		"the target's moved":    {func(w largeWorld) { w.to.Reallocate("movies") }, 4, true},
		"the source's moved":    {func(w largeWorld) { w.from.Reallocate("movies") }, 0, false},
		"the source is written": {func(w largeWorld) { w.add("m10") }, 0, false},
	} {
		t.Run(what, func(t *testing.T) {
			w := newLargeWorld(t)
			batch := w.batch()
			w.killedAtPiece(3, batch, 5)
			tt.change(w)
			begun := w.pieces()
			proof := w.shard(batch)
			require.Equal(t, tt.pieces, w.pieces()-begun)
			if !tt.proven {
				require.Empty(t, proof.Mark)
				return
			}
			require.Empty(t, proof.Unlike)
			require.EqualValues(t, 10, proof.Docs)
		})
	}
}

// The attempt after the next one goes on from there as well, also if that one has read nothing.
func TestWhatWasReadIsNeverForgotten(t *testing.T) {
	w := newLargeWorld(t)
	batch := w.batch()
	w.killedAtPiece(3, batch, 5)
	w.killedAtPiece(1, batch, 5)
	begun := w.pieces()
	require.EqualValues(t, 10, w.shard(batch).Docs)
	require.Equal(t, 2, w.pieces()-begun)
}

// A failure that passes ends the attempt, and not the reading.
func TestAFailureThatPassesKeepsThePieces(t *testing.T) {
	w := newLargeWorld(t)
	batch := w.batch()
	asked := 0
	w.from.On("POST /movies/_search", 1000, func(answer http.ResponseWriter, _ *http.Request) bool {
		if asked++; asked != 3 {
			return false
		}
		before := w.awaitHeartbeat(func(p migration.Progress) bool { return len(p.Reads) == 1 && p.Reads[0].UpTo == 5 })
		w.before = &before
		answer.Header().Set("Content-Type", "application/json")
		answer.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(answer, `{"error":{"type":"search_phase_execution_exception","root_cause":[
			{"type":"search_context_missing_exception","reason":"No search context found"}]},"status":404}`)
		return true
	})
	passes(w.world, retryUnavailable, w.activities.Prove, migration.ProveRequest{Run: w.run, Batch: batch})
	begun := w.pieces()
	require.EqualValues(t, 10, w.shard(batch).Docs)
	require.Equal(t, 2, w.pieces()-begun)
}

// A shard that is written to is not read to its end.
func TestAWriteEndsTheReadingOfALargeShard(t *testing.T) {
	w := newLargeWorld(t)
	w.atPiece(2, func(*http.Request) { w.add("m10") })
	batch := w.batch()
	proof := w.shard(batch)
	require.Equal(t, 2, w.pieces())
	require.EqualValues(t, -1, *proof.UpTo, "from now on it is proven in parts, which writes don't spoil")
	require.EqualValues(t, -1, *w.shard(batch).UpTo)
	require.Equal(t, 2, w.pieces(), "nothing is read if it was written to before")
}

// What is closed or deleted while it is read is not proven, and is no failure.
func TestALargeShardThatGoesAway(t *testing.T) {
	for what, change := range map[string]func(largeWorld){
		"closed on the target":  func(w largeWorld) { w.to.SetOpen("movies", false) },
		"deleted on the target": func(w largeWorld) { w.to.Delete("movies") },
		"deleted on the source": func(w largeWorld) { w.from.Delete("movies") },
		"moved on the target":   func(w largeWorld) { w.to.Reallocate("movies") },
	} {
		t.Run(what, func(t *testing.T) {
			w := newLargeWorld(t)
			w.atPiece(2, func(*http.Request) { change(w) })
			require.Zero(t, w.shard(w.batch()))
		})
	}
}

// Where numbers are no way to cut a shard, it isn't cut.
func TestPiecesHoldDocuments(t *testing.T) {
	for _, tt := range []struct {
		highest, docs, piece, want int64
	}{
		{9, 10, 3, 3},
		{999, 1000, 1000, 0},
		{999, 50_000_000, 75_000, 0}, // most documents are of 5.x
		{199_999_999, 1_000_000, 500_000, 100_000_000},
		{299_999, 50_000_000, 75_000, 75_000},
		{-1, 50_000_000, 75_000, 0},
		{9, 10, 0, 0},
	} {
		require.Equal(t, tt.want, pieceOf(fmt.Sprintf("%d/life", tt.highest), tt.docs, tt.piece), "%+v", tt)
	}
	require.Zero(t, pieceOf("AbcDef123/life", 1000, 10), "the id of a commit")
	require.Zero(t, pieceOf("", 1000, 10))
}

// Documents of 5.x have no number, or -2.
func TestPiecesHoldDocumentsWithoutANumber(t *testing.T) {
	w := newLargeWorld(t)
	for _, at := range []*elastictest.Cluster{w.from, w.to} {
		at.Unassign("movies", "m0")
	}
	w.to.Smuggle("movies", "m0", 7)
	require.Contains(t, w.shard(w.batch()).Unlike, "the source has 10 documents")
}

// Each difference is found, wherever it lies.
func TestPiecesFindDamage(t *testing.T) {
	for what, spoil := range map[string]func(largeWorld){
		"lost":                           func(w largeWorld) { w.to.Smuggle("movies", "m4", 0) },
		"old version":                    func(w largeWorld) { w.to.Smuggle("movies", "m4", 7) },
		"too many":                       func(w largeWorld) { w.to.Smuggle("movies", "theirs", 1) },
		"too many, beyond all of source": func(w largeWorld) { w.to.Route("movies", 0, "theirs", "") },
	} {
		t.Run(what, func(t *testing.T) {
			w := newLargeWorld(t)
			spoil(w)
			require.Contains(t, w.shard(w.batch()).Unlike, "the source has 10 documents")
		})
	}
}
