package activities

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/elastic/elastictest"
	"github.com/snapferry/snapferry/migration"
)

// What a proof is worth in the frozen window.

// Proven indices that stand still are not read in the window; of the shards that were written to
// only what came after the proof is.
func TestTheWindowReadsOnlyWhatChanged(t *testing.T) {
	w := newProvenWorld(t, "6.8.23", "7.10.2")
	proven := w.prove()
	require.Equal(t, migration.Proven{
		AtMillis: proven.AtMillis, Indices: 2, OfIndices: 2, Shards: 5, OfShards: 5, Docs: 8, OfDocs: 8,
	}, proven)
	before := w.searches()
	catalog, movies := w.verified(w.freeze(nil))
	require.Equal(t, migration.Evidence{Proven: 3}, catalog)
	require.Equal(t, migration.Evidence{Proven: 2}, movies)
	require.Equal(t, before, w.searches(), "nothing was read")

	w = newProvenWorld(t, "6.8.23", "7.10.2")
	w.prove()
	require.NoError(t, w.from.Index("movies", "alien", "delicatessen"))
	catalog, movies = w.verified(w.freeze(nil))
	require.Equal(t, migration.Evidence{Proven: 3}, catalog)
	require.Equal(t, migration.Evidence{Beyond: 2, Read: 2}, movies)
}

// Of what is not read, counts say enough if the source has as many as were compared, and the target
// was restored from the files of the snapshot: also when the proof has several parts. An update takes
// a document away from there, and then the sequence numbers are compared.
func TestCountsSufficeWhereNothingChanged(t *testing.T) {
	for what, test := range map[string]struct {
		change func(*provenWorld)
		files  *migration.RestoredFiles
		spoil  func(*provenWorld)
		sums   int
	}{
		"only new documents": {
			func(w *provenWorld) { w.add("delicatessen", "eraserhead") }, &migration.RestoredFiles{}, nil, 0,
		},
		"an update": {
			func(w *provenWorld) { w.add("alien", "delicatessen") }, &migration.RestoredFiles{}, nil, 1,
		},
		"a document that the target lost": {
			func(w *provenWorld) { w.add("delicatessen", "eraserhead") }, &migration.RestoredFiles{},
			func(w *provenWorld) { w.to.Smuggle("movies", "alien", 0) }, 1,
		},
		"files that are not known": {
			func(w *provenWorld) { w.add("delicatessen", "eraserhead") },
			&migration.RestoredFiles{Unknown: []string{"movies"}, UnknownCount: 1}, nil, 2,
		},
	} {
		for _, parts := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/parts=%v", what, parts), func(t *testing.T) {
				w := newProvenWorld(t, "6.8.23", "7.10.2")
				w.prove()
				if parts {
					w.add("fargo", "gattaca", "heat", "ikiru")
					w.carry("movies-r0001-a1", w.request)
					w.add("jaws", "kes") // while it is compared, so that it is compared in parts
					w.prove()
				}
				test.change(w)
				request := w.freeze(nil)
				request.Taken, request.Files = w.taken, test.files
				before := w.sums()
				if test.spoil != nil {
					test.spoil(w)
					refused(w.world, migration.ErrorVerification, w.activities.VerifyTarget, request, "movies")
				} else {
					_, movies := w.verified(request)
					require.Equal(t, 2, movies.Beyond)
				}
				require.Equal(t, test.sums, w.sums()-before)
			})
		}
	}
}

// Without sequence numbers a changed index is read whole, and so is any index without a proof.
func TestTheWindowReadsWholeWhatHasNoProof(t *testing.T) {
	w := newProvenWorld(t, "5.5.2", "6.8.23")
	w.prove()
	require.NoError(t, w.from.Index("movies", "alien"))
	catalog, movies := w.verified(w.freeze(nil))
	require.Equal(t, migration.Evidence{Proven: 3}, catalog)
	require.Equal(t, migration.Evidence{Scanned: 2, Read: 3}, movies)

	w = newProvenWorld(t, "6.8.23", "7.10.2")
	catalog, movies = w.verified(w.freeze(nil))
	require.Equal(t, migration.Evidence{Scanned: 3, Read: 5}, catalog)
	require.Equal(t, migration.Evidence{Scanned: 2, Read: 3}, movies)

	w = newProvenWorld(t, "6.8.23", "7.10.2")
	w.prove()
	w.run.Plan.Verify.Checksum = migration.ChecksumInWindow
	catalog, _ = w.verified(w.freeze(nil))
	require.Equal(t, migration.Evidence{Scanned: 3, Read: 5}, catalog)
}

// Documents that 5.x wrote have no sequence number: in a shard that changed they are read again.
func TestOldDocumentsAreBeyondEachSequenceNumber(t *testing.T) {
	w := newOlderWorld(t, "5.5.2", "6.8.23", "7.10.2")
	w.prove()
	require.NoError(t, w.from.Index("movies", "delicatessen"))
	catalog, movies := w.verified(w.freeze(nil))
	require.Equal(t, migration.Evidence{Proven: 3}, catalog)
	require.Equal(t, migration.Evidence{Beyond: 2, Read: 3}, movies)

	w = newOlderWorld(t, "5.5.2", "6.8.23", "7.10.2")
	w.prove()
	require.NoError(t, w.from.Index("movies", "delicatessen"))
	request := w.freeze(func() { w.to.Smuggle("movies", "brazil", 9) })
	refused(w.world, migration.ErrorVerification, w.activities.VerifyTarget, request, "beyond sequence number")
}

// A shard that is written to all night is proven up to a sequence number, part by part.
func TestAShardThatIsWrittenToIsProvenUpToASequenceNumber(t *testing.T) {
	w := newProvenWorld(t, "6.8.23", "7.10.2")
	require.NoError(t, w.from.Index("movies", "alien", "delicatessen")) // no longer as the target has it
	request := w.planRequest()
	request.BatchDocs = 1
	plan := must[migration.ProofPlan](w.world, w.activities.PlanProofs, request)
	parts := 0
	for _, batch := range plan.Batches {
		for _, task := range batch.Tasks {
			if task.Index == "movies" {
				for _, shard := range task.Shards {
					require.Empty(t, shard.Mark)
					require.EqualValues(t, -1, shard.Beyond)
					require.EqualValues(t, 0, shard.UpTo, "one document at a time")
					parts++
				}
			}
		}
	}
	require.Equal(t, 2, parts)
	proven := w.prove()
	require.Equal(t, 5, proven.Shards)
	require.Equal(t, 2, proven.BeyondShards)
	require.Equal(t, 1, proven.Indices)
	_, movies := w.verified(w.freeze(nil))
	require.Equal(t, migration.Evidence{Beyond: 2, Read: 2}, movies)
}

// Whatever raises a doubt has a shard read whole, or compared by its sequence numbers; and what is
// not equal is found.
func TestDoubtsAboutProofs(t *testing.T) {
	whole := migration.Evidence{Scanned: 2, Read: 3}
	for what, test := range map[string]struct {
		change func(*provenWorld)
		want   migration.Evidence
	}{
		"a shard of the source moved": {func(w *provenWorld) { w.from.Reallocate("movies") }, whole},
		"a shard of the target moved": {
			func(w *provenWorld) { w.to.Reallocate("movies") }, migration.Evidence{Beyond: 2},
		},
		"the index was created again, with as many documents": {func(w *provenWorld) {
			w.from.Delete("movies")
			w.from.Create("movies", 2, nil)
			require.NoError(t, w.from.Index("movies", "alien", "brazil", "casablanca"))
		}, whole},
		"the target's was deleted": {func(w *provenWorld) { w.to.Delete("movies") }, whole},
		"the list of proofs is lost": {func(w *provenWorld) {
			w.proofs, w.proofsOf = nil, migration.Stored[migration.Proofs]{Digest: w.lostDigest(), Entries: 2}
		}, whole},
	} {
		t.Run(what, func(t *testing.T) {
			w := newProvenWorld(t, "6.8.23", "7.10.2")
			w.prove()
			test.change(w)
			_, movies := w.verified(w.freeze(nil))
			require.Equal(t, test.want, movies)
		})
	}
}

// What is damaged on the target after its proof is found: by evidence, not by luck.
func TestDamageAfterTheProofIsFound(t *testing.T) {
	for what, test := range map[string]struct {
		before func(*provenWorld)
		spoil  func(*provenWorld)
		says   string
	}{
		"written in the open": {nil, func(w *provenWorld) {
			removeBlock(w.world, onTarget, "movies")
			require.NoError(w.t, w.to.Index("movies", "alien"))
			w.setting(w.to, writeBlock, true)
		}, "it took 1 operations"},
		"a changed shard lost a document of before the proof, and has another": {
			func(w *provenWorld) { require.NoError(w.t, w.from.Index("movies", "alien", "delicatessen")) },
			func(w *provenWorld) { w.to.Smuggle("movies", "brazil", 0); w.to.Route("movies", 0, "theirs", "") },
			"index movies is not equal",
		},
		"a changed shard lost a document of after the proof": {
			func(w *provenWorld) { require.NoError(w.t, w.from.Index("movies", "alien", "delicatessen")) },
			func(w *provenWorld) { w.to.Smuggle("movies", "delicatessen", 0) },
			"index movies is not equal",
		},
		"a changed shard has an old version": {
			func(w *provenWorld) { require.NoError(w.t, w.from.Index("movies", "alien", "delicatessen")) },
			func(w *provenWorld) { w.to.Smuggle("movies", "alien", 1) },
			"beyond sequence number",
		},
	} {
		t.Run(what, func(t *testing.T) {
			w := newProvenWorld(t, "6.8.23", "7.10.2")
			w.prove()
			if test.before != nil {
				test.before(w)
			}
			request := w.freeze(func() { test.spoil(w) })
			refused(w.world, migration.ErrorVerification, w.activities.VerifyTarget, request, test.says)
		})
	}
}

// Settings, mappings and aliases are compared before the freeze as well, and in the window only those
// that were changed since on one of the clusters.
func TestDefinitionsAreComparedBeforeTheFreeze(t *testing.T) {
	mappings := func(c *elastictest.Cluster) int { return len(c.Requests("GET /*/_mapping")) }
	for what, tt := range map[string]struct {
		before, after func(*provenWorld) // the proof
		spoil         func(*provenWorld) // in the window
		compared      bool
		movies        []string
	}{
		"equal": {},
		"another setting": {
			before: func(w *provenWorld) { w.to.Change("movies", "index.max_result_window", "77") },
			movies: []string{`setting index.max_result_window is "77" on the target and not set on the source`},
		},
		"changed on the target after the proof": {
			spoil:    func(w *provenWorld) { w.to.AddAlias("movies", "cinema") },
			compared: true, movies: []string{"alias cinema is on the target only"},
		},
		"changed on the source after the proof": {
			after:    func(w *provenWorld) { w.from.AddAlias("movies", "cinema") }, // the final round carries it
			compared: true,
		},
		"put right on the target after the proof": {
			before:   func(w *provenWorld) { w.to.AddAlias("movies", "cinema") },
			after:    func(w *provenWorld) { w.to.RemoveAlias("movies", "cinema") },
			compared: true,
		},
	} {
		t.Run(what, func(t *testing.T) {
			w := newProvenWorld(t, "6.8.23", "7.10.2")
			do := func(change func(*provenWorld)) {
				if change != nil {
					change(w)
				}
			}
			do(tt.before)
			for name, counter := range w.request.Expected {
				counter.Definition = "" // else what differs is restored again
				w.request.Expected[name] = counter
			}
			w.prove()
			do(tt.after)
			request := w.freeze(func() { do(tt.spoil) })
			from, to := mappings(w.from), mappings(w.to)
			result := must[migration.VerifyResult](w.world, w.activities.VerifyTarget, request)
			require.Equal(t, tt.compared, mappings(w.from) > from)
			require.Equal(t, tt.compared, mappings(w.to) > to)
			require.Empty(t, result.Indices[0].Differences)
			require.ElementsMatch(t, tt.movies, result.Indices[1].Differences)
		})
	}
}

// In the window the clusters are asked nothing about an index that stands as it was proven: what the
// look after the block has seen suffices. If the verification is tried again, marks and counters are
// read again, but no search is made.
func TestWhatIsProvenIsNotAskedAgain(t *testing.T) {
	for _, versions := range [][2]string{{"5.5.2", "5.5.3"}, {"6.8.23", "7.10.2"}} {
		for _, again := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s again %v", versions[0], again), func(t *testing.T) {
				w := newProvenWorld(t, versions[0], versions[1])
				w.prove()
				require.NoError(t, w.from.Index("catalog", "f"))
				request, about := w.freezeLooking(nil), "* /*"
				require.Contains(t, request.OnTarget, "movies")
				require.NotContains(t, request.OnTarget, "catalog", "it takes part")
				if again {
					request.OnTarget, about = nil, "* /*/_search"
				}
				asked := func(c *elastictest.Cluster) string {
					return strings.Join(append(c.Requests(about), c.Requests(about+"/*")...), " ")
				}
				from, to := asked(w.from), asked(w.to)
				result := must[migration.VerifyResult](w.world, w.activities.VerifyTarget, request)
				for _, index := range result.Indices {
					require.True(t, index.Equal, index.Differences)
				}
				require.EqualValues(t, 6, result.Indices[0].SourceDocs)
				require.EqualValues(t, 3, result.Indices[1].SourceDocs)
				require.EqualValues(t, 3, result.Indices[1].TargetDocs)
				for what, paths := range map[string][2]string{"source": {from, asked(w.from)}, "target": {to, asked(w.to)}} {
					require.Greater(t, strings.Count(paths[1], "catalog"), strings.Count(paths[0], "catalog"), what)
					require.Equal(t, strings.Count(paths[0], "movies"), strings.Count(paths[1], "movies"), what)
				}
			})
		}
	}
}

// What is not proven, or is another index by now, is asked about, whatever the look has seen.
func TestALookIsNoProof(t *testing.T) {
	for name, unlike := range map[string]func(*migration.TargetIndex){
		"other shard": func(on *migration.TargetIndex) { on.Shards[0] = "9/other" },
		"other index": func(on *migration.TargetIndex) { on.UUID = "another" },
		"no shards":   func(on *migration.TargetIndex) { on.Shards = nil },
	} {
		t.Run(name, func(t *testing.T) {
			w := newProvenWorld(t, "6.8.23", "7.10.2")
			w.prove()
			request := w.freezeLooking(func() { w.to.Smuggle("movies", "alien", 0) })
			on := request.OnTarget["movies"]
			unlike(&on)
			request.OnTarget["movies"] = on
			refused(w.world, migration.ErrorVerification, w.activities.VerifyTarget, request, "movies")
		})
	}
}

// Whoever changes the target during the final round is found before the cutover at the latest: the
// verification relies on what was seen after the block.
func TestWritesDuringTheFinalRoundAreFound(t *testing.T) {
	w := newProvenWorld(t, "7.10.2", "7.10.2")
	w.prove()
	request := w.freezeLooking(func() {
		w.to.SetSetting("movies", "index.blocks.write", "false")
		require.NoError(t, w.to.Remove("movies", "alien"))
		w.to.SetSetting("movies", "index.blocks.write", "true")
	})
	must[migration.VerifyResult](w.world, w.activities.VerifyTarget, request)
	refused(w.world, migration.ErrorTargetWritten, w.activities.CheckHandover,
		migration.CheckHandoverRequest{Run: w.run, Indices: w.names(), Counters: request.Counters}, "movies")
}

// Something may hide the documents of an index from searches on both clusters. Then a proof has
// compared nothing with nothing.
func TestAProofThatFoundNothingProvesNothing(t *testing.T) {
	w := newProvenWorld(t, "7.10.2", "7.10.2")
	hidden := func(rw http.ResponseWriter, r *http.Request) bool {
		shards := 1
		if preference := r.URL.Query().Get("preference"); preference == "" || strings.Contains(preference, ",") {
			shards = 2
		}
		_, _ = fmt.Fprintf(rw, `{"_scroll_id":"eA==","count":0,"_shards":{"total":%d,"successful":%d,"failed":0},`+
			`"hits":{"total":{"value":0,"relation":"eq"},"hits":[]}}`, shards, shards)
		return true
	}
	for _, c := range []*elastictest.Cluster{w.from, w.to} {
		for _, request := range []string{"POST /movies/_search", "POST /movies/_count", "GET /movies/_count"} {
			c.On(request, 1000, hidden)
		}
	}
	w.prove()
	require.Zero(t, w.proofs["movies"].Shards[0].Docs)
	refused(w.world, migration.ErrorVerification, w.activities.VerifyTarget, w.freezeLooking(nil),
		"a search finds none of its 3 documents")
}

// Other files than the snapshot lists are a difference, whatever searches find. The same files are
// evidence on top.
func TestFilesOfTheLastRestoreDecide(t *testing.T) {
	w := newProvenWorld(t, "6.8.23", "7.10.2")
	w.prove()
	require.NoError(t, w.from.Index("movies", "alien", "delicatessen"))
	request := w.freeze(nil)
	for _, index := range request.Indices {
		if index.Name == "movies" {
			request.Taken = []migration.Index{index}
		}
	}
	request.Files = &migration.RestoredFiles{Shards: 2, Files: 4, Named: true}
	catalog, movies := w.verified(request)
	require.Equal(t, migration.Evidence{Proven: 3}, catalog)
	require.Equal(t, migration.Evidence{Beyond: 2, Read: 2, Files: 2}, movies)

	request.Files.Unknown, request.Files.UnknownCount = []string{"movies"}, 1
	_, movies = w.verified(request)
	require.Equal(t, migration.Evidence{Beyond: 2, Read: 2}, movies)

	request.Files = &migration.RestoredFiles{
		UnlikeCount: 1, Unlike: []migration.UnlikeFiles{{Index: "movies", Shard: 1, Why: "_0.cfs is shorter"}},
	}
	refused(w.world, migration.ErrorVerification, w.activities.VerifyTarget, request,
		"shard 1 was not restored from the files that the snapshot lists: _0.cfs is shorter")
	request.Files.Unlike[0].Index = "another"
	w.verified(request)
	request.Files.UnlikeCount = 2
	refused(w.world, migration.ErrorVerification, w.activities.VerifyTarget, request,
		"some of them may be of this index")
}
