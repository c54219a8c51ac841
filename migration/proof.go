package migration

import (
	"strconv"
	"strings"
)

// ActivityPlanProofs takes a [PlanProofsRequest] and returns [ProofPlan]; ActivityProve takes a
// [ProveRequest] and returns [Proved]. Both change nothing on the clusters.
const (
	ActivityPlanProofs = "PlanProofs"
	ActivityProve      = "Prove"
)

// Proof says that an index was found equal on both clusters before the freeze, shard by shard.
type Proof struct {
	// UUID and TargetUUID are those of the index on the two clusters.
	UUID       string       `json:"uuid"`
	TargetUUID string       `json:"targetUuid"`
	Shards     []ShardProof `json:"shards"`
	// Defined is a comparison of settings, mappings and aliases; nil if there was none.
	Defined *DefinitionProof `json:"defined,omitempty"`
}

// DefinitionProof remembers a comparison of an index's settings, mappings and aliases. It says what
// another comparison would say, as long as both clusters have these digests of them.
type DefinitionProof struct {
	Source string `json:"source"`
	Target string `json:"target"`
	// Differences are the first ones in words, what matters most first. They decide nothing.
	Differences []string `json:"differences,omitempty"`
	AtMillis    int64    `json:"atMillis"`
}

// Holds tells whether neither cluster has changed the definition since it was compared.
func (d *DefinitionProof) Holds(source, target string) bool {
	return d != nil && d.Source != "" && d.Source == source && d.Target != "" && d.Target == target
}

// Proofs are the proofs of indices, by their names on the source.
type Proofs = map[string]Proof

// ShardProof says of which documents of a shard the target was found to hold the same. The zero
// value proves nothing.
type ShardProof struct {
	// Mark is that of the source's shard, if it stood still and all its documents were compared, by
	// a checksum on both clusters. Target is that of the target's shard at that time.
	Mark   string `json:"mark,omitempty"`
	Target string `json:"target,omitempty"`
	// UpTo is a sequence number, from 6.0 on: each document of the source that is not beyond it was
	// found on the target. Life is that of the source's primary: another one may give a number to
	// another operation.
	UpTo *int64 `json:"upTo,omitempty"`
	Life string `json:"life,omitempty"`
	// Held is how many documents were compared up to UpTo, in one or several parts; nil if that is not
	// known. As long as the source has as many, it has the same: no write adds one.
	Held *int64 `json:"held,omitempty"`
	// Docs and Checksum are those of all documents; only with Mark.
	Docs     int64  `json:"docs,omitempty"`
	Checksum string `json:"checksum,omitempty"`
	AtMillis int64  `json:"atMillis,omitempty"`
	// Unlike says what differed although the shard stood still on both clusters. Nothing is proven
	// then, and nobody compares again what is still so.
	Unlike string `json:"unlike,omitempty"`
}

// SeqNo is the sequence number of a mark from 6.0 on; false of any other mark.
func SeqNo(mark string) (int64, bool) {
	number, life, found := cutLife(mark)
	n, err := strconv.ParseInt(number, 10, 64)
	return n, found && life != "" && err == nil
}

// Holds tells whether all documents of a shard are still proven equal: nothing has changed on either
// cluster since they were compared.
func (p ShardProof) Holds(source, target string) bool {
	return p.Unlike == "" && p.Mark != "" && p.Mark == source && p.Target != "" && p.Target == target
}

// Reaches is the sequence number up to which a shard's documents were found on the target; false if
// none, or if the source's primary, whose mark this is, has begun another life since.
func (p ShardProof) Reaches(source string) (int64, bool) {
	_, life, _ := cutLife(source)
	if p.Unlike != "" || p.UpTo == nil || p.Life == "" || p.Life != life {
		return 0, false
	}
	return *p.UpTo, true
}

// PlanProofsRequest asks what has to be proven still.
type PlanProofsRequest struct {
	Run
	// Indices are all that the target holds.
	Indices   []Index         `json:"indices,omitempty"`
	IndicesOf Stored[[]Index] `json:"indicesOf,omitzero"`
	// Restored are the source's marks of what the target holds; Doubted are indices whose marks mean
	// nothing.
	Restored   IndexMarks         `json:"restored,omitempty"`
	RestoredOf Stored[IndexMarks] `json:"restoredOf,omitzero"`
	Doubted    []string           `json:"doubted,omitempty"`
	DoubtedOf  []Stored[[]Index]  `json:"doubtedOf,omitempty"`
	// Proofs are those so far, and New those that batches have added since.
	Proofs   Proofs           `json:"proofs,omitempty"`
	ProofsOf Stored[Proofs]   `json:"proofsOf,omitzero"`
	New      []Proofs         `json:"new,omitempty"`
	NewOf    []Stored[Proofs] `json:"newOf,omitempty"`
	// Batches bounds how many batches the plan has; 0 asks only how much is proven. BatchDocs bounds
	// the documents of one, unless it is a single shard. PieceDocs is about how many documents of a
	// shard are read at a time, where sequence numbers can cut it.
	Batches   int   `json:"batches,omitempty"`
	BatchDocs int64 `json:"batchDocs,omitempty"`
	PieceDocs int64 `json:"pieceDocs,omitempty"`
}

// ProofPlan is what is proven, and what to prove next.
type ProofPlan struct {
	Proofs   Proofs         `json:"proofs,omitempty"`
	ProofsOf Stored[Proofs] `json:"proofsOf,omitzero"`
	Proven   Proven         `json:"proven"`
	Batches  []ProofBatch   `json:"batches,omitempty"`
}

// Proven sums up how much is proven, and what is left to the window as things stand.
type Proven struct {
	AtMillis int64 `json:"atMillis"`
	// Indices counts those of which nothing is left to read, of all OfIndices.
	Indices   int `json:"indices"`
	OfIndices int `json:"ofIndices"`
	// Shards and Docs are proven, of all OfShards and OfDocs. A shard that is written to counts with
	// its documents up to its proof.
	Shards   int   `json:"shards"`
	OfShards int   `json:"ofShards"`
	Docs     int64 `json:"docs"`
	OfDocs   int64 `json:"ofDocs"`
	// BeyondShards are those shards of which only documents beyond a sequence number are left.
	BeyondShards int `json:"beyondShards,omitempty"`
	// Unlike are the first shards that were found unequal while they stood still; UnlikeShards
	// counts all.
	Unlike       []string `json:"unlike,omitempty"`
	UnlikeShards int      `json:"unlikeShards,omitempty"`
}

// LeftDocs and LeftShards are what the window has to read as things stand.
func (p Proven) LeftDocs() int64 { return max(p.OfDocs-p.Docs, 0) }

// LeftShards counts the shards that the window has to ask for anything.
func (p Proven) LeftShards() int { return max(p.OfShards-p.Shards+p.BeyondShards, 0) }

// UnlikeNamed is how many unequal shards are named.
const UnlikeNamed = 5

// ProofBatch is one activity's part of what is to be proven.
type ProofBatch struct {
	Tasks   []ProofTask         `json:"tasks,omitempty"`
	TasksOf Stored[[]ProofTask] `json:"tasksOf,omitzero"`
	Indices int                 `json:"indices"`
	Shards  int                 `json:"shards"`
	Docs    int64               `json:"docs"`
	// Definitions counts the indices of which settings, mappings and aliases are compared.
	Definitions int `json:"definitions,omitempty"`
}

// ProofTask is an index of which something is to be proven.
type ProofTask struct {
	Index  string      `json:"index"`
	UUID   string      `json:"uuid"`
	Of     int         `json:"of"` // how many shards the index has
	Shards []ShardTask `json:"shards,omitempty"`
	// Definition asks to compare its settings, mappings and aliases.
	Definition bool `json:"definition,omitempty"`
}

// ShardTask is a shard to prove: all of it if Mark is set, which it has to have for that, or else
// the documents beyond Beyond up to UpTo.
type ShardTask struct {
	Shard  int    `json:"shard"`
	Mark   string `json:"mark,omitempty"`
	Life   string `json:"life,omitempty"`
	Beyond int64  `json:"beyond,omitempty"`
	UpTo   int64  `json:"upTo,omitempty"`
	// Held as in ShardProof: of the documents that are not beyond Beyond.
	Held *int64 `json:"held,omitempty"`
	// Piece is how many sequence numbers of a shard with a Mark are read at a time; 0 reads it in one
	// go. What has none is read with the last ones.
	Piece int64 `json:"piece,omitempty"`
}

// ShardRead is how far a shard was read, piece by piece. It is part of a heartbeat: the next attempt
// goes on from there, if the marks of both clusters are still the same.
type ShardRead struct {
	Index  string `json:"index"`
	Shard  int    `json:"shard"`
	Mark   string `json:"mark"`
	Target string `json:"target"`
	// UpTo is the last sequence number that was read. Done says that nothing is left.
	UpTo int64 `json:"upTo"`
	Done bool  `json:"done,omitempty"`
	// What was read until then of the source, and of the target.
	FromSource ReadSum `json:"fromSource"`
	FromTarget ReadSum `json:"fromTarget"`
}

// ReadSum is a checksum over documents, as package elastic makes it.
type ReadSum struct {
	Docs int64  `json:"docs"`
	Sum  uint64 `json:"sum,string"` // no number: other readers of JSON would round it
	Xor  uint64 `json:"xor,string"`
}

// ProveRequest asks for one batch to be proven.
type ProveRequest struct {
	Run
	Batch ProofBatch `json:"batch"`
	// Rate bounds the documents a second that the batch reads on each cluster; 0 is no bound.
	Rate int `json:"rate,omitempty"`
}

// Proved is what a batch has proven.
type Proved struct {
	Proofs   Proofs         `json:"proofs,omitempty"`
	ProofsOf Stored[Proofs] `json:"proofsOf,omitzero"`
	ReadRate
	// Moved counts shards that changed, were closed or went away while they were compared: they are
	// not proven.
	// Failed counts those that could not be read, and Failure says why of one.
	Moved   int    `json:"moved,omitempty"`
	Failed  int    `json:"failed,omitempty"`
	Failure string `json:"failure,omitempty"`
}

// ReadRate is what was measured while documents were compared: time of requests, without the pauses
// of verify.rate.
type ReadRate struct {
	// Docs were read on each cluster, in Shards reads: of a shard, or of a piece of one.
	Docs   int64 `json:"docs,omitempty"`
	Shards int   `json:"shards,omitempty"`
	Millis int64 `json:"millis,omitempty"`
}

// Add sums two rates up. What was measured long ago counts less than what is new.
func (r ReadRate) Add(other ReadRate) ReadRate {
	const enough = 50_000_000
	if r.Docs > enough {
		r.Docs, r.Shards, r.Millis = r.Docs/2, r.Shards/2, r.Millis/2
	}
	r.Docs += other.Docs
	r.Shards += other.Shards
	r.Millis += other.Millis
	return r
}

// Evidence says how an index was found equal: how many of its shards by which kind. See
// docs/verification.md.
type Evidence struct {
	// Proven shards were compared before the freeze, document by document, and stood still since on
	// both clusters.
	Proven int `json:"proven,omitempty"`
	// Beyond counts shards of which the documents beyond a sequence number were compared in the
	// window, and of all others the sequence numbers: each of them was found on the target before.
	Beyond int `json:"beyond,omitempty"`
	// Scanned shards were compared document by document in the window.
	Scanned int `json:"scanned,omitempty"`
	// Counted shards were compared by their number of documents only, as the plan demands.
	Counted int `json:"counted,omitempty"`
	// Files counts shards of which the last restore recovered the files that the snapshot lists. It
	// comes on top of the others, and proves nothing alone.
	Files int `json:"files,omitempty"`
	// Read is how many documents were read on the source in the window.
	Read int64 `json:"read,omitempty"`
	// SinceMillis is when the oldest proof was made.
	SinceMillis int64 `json:"sinceMillis,omitempty"`
}

// Add sums up the evidence of several indices.
func (e *Evidence) Add(other Evidence) {
	e.Proven += other.Proven
	e.Beyond += other.Beyond
	e.Scanned += other.Scanned
	e.Counted += other.Counted
	e.Files += other.Files
	e.Read += other.Read
	if e.SinceMillis == 0 || other.SinceMillis > 0 && other.SinceMillis < e.SinceMillis {
		e.SinceMillis = other.SinceMillis
	}
}

// Shards counts them all.
func (e Evidence) Shards() int { return e.Proven + e.Beyond + e.Scanned + e.Counted }

// Text names the kinds, as in "3 shards proven before the freeze, 2 scanned in the window". Of one
// kind alone it leaves the number out.
func (e Evidence) Text() string {
	var parts []string
	all, files := e.Shards(), ""
	switch {
	case e.Files > 0 && e.Files == all:
		files = ", with the snapshot's files"
	case e.Files > 0:
		files = ", " + strconv.Itoa(e.Files) + " with the snapshot's files"
	}
	for _, kind := range []struct {
		shards int
		text   string
	}{
		{e.Proven, "proven before the freeze"},
		{e.Beyond, "beyond a sequence number"},
		{e.Scanned, "scanned in the window"},
		{e.Counted, "counts only"},
	} {
		switch {
		case kind.shards == 0:
		case kind.shards == all:
			return kind.text + files
		default:
			parts = append(parts, strconv.Itoa(kind.shards)+" "+kind.text)
		}
	}
	return strings.Join(parts, ", ") + files
}

// Empty tells whether a proof says nothing.
func (p Proof) Empty() bool { return p.NewestMillis() == 0 }

// NewestMillis is when the newest part of it was compared; 0 if none was.
func (p Proof) NewestMillis() int64 {
	var newest int64
	if p.Defined != nil {
		newest = p.Defined.AtMillis
	}
	for _, shard := range p.Shards {
		newest = max(newest, shard.AtMillis)
	}
	return newest
}

// Size is what a batch takes as JSON in bytes, or a little more.
func (b ProofBatch) Size() int {
	const index, shard = 100, 110
	size := index
	for _, task := range b.Tasks {
		size += index + len(task.Index) + shard*len(task.Shards)
	}
	return size
}
