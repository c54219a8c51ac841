package migration

import (
	"math"
	"slices"
)

// Prediction is what a frozen window will probably take, by its parts.
type Prediction struct {
	// AtMillis is the epoch time for which it holds.
	AtMillis int64 `json:"atMillis"`
	// Writes is how many operations the last round lacks, DeltaBytes how much has probably to be
	// copied for them.
	Writes     int64 `json:"writes"`
	DeltaBytes int64 `json:"deltaBytes"`
	// Millis is the complete window, as in FrozenWindow.
	Millis         int64 `json:"millis"`
	BlockMillis    int64 `json:"blockMillis"`
	SnapshotMillis int64 `json:"snapshotMillis"`
	CopyMillis     int64 `json:"copyMillis"`
	RestoreMillis  int64 `json:"restoreMillis"`
	VerifyMillis   int64 `json:"verifyMillis"`
	// Groups is how many groups of indices the final round will be cut into, and GroupedMillis what
	// their snapshots, copies and restores take together, since they overlap. Both are 0 if there
	// are none.
	Groups        int   `json:"groups,omitempty"`
	GroupedMillis int64 `json:"groupedMillis,omitempty"`
}

// CarryMillis is the part that a round before the block takes away.
func (p Prediction) CarryMillis() int64 {
	if p.Groups > 0 {
		return p.GroupedMillis
	}
	return p.SnapshotMillis + p.CopyMillis + p.RestoreMillis
}

// Window is the prediction as the window that would come of it.
func (p Prediction) Window() FrozenWindow {
	return FrozenWindow{
		Millis: p.Millis, BlockMillis: p.BlockMillis, SnapshotMillis: p.SnapshotMillis, CopyMillis: p.CopyMillis,
		RestoreMillis: p.RestoreMillis, VerifyMillis: p.VerifyMillis,
		Groups: p.Groups, GroupedMillis: p.GroupedMillis,
	}
}

// Measured is what a prediction rests on.
type Measured struct {
	// Rounds are those that ended, the oldest first.
	Rounds []Round
	// Window is the last frozen window that came to its verification, if any.
	Window *FrozenWindow
	// Docs counts the documents that are verified, Checksums whether one by one.
	Docs      int64
	Checksums bool
	// Shards counts the primaries that are verified. 0 predicts as earlier versions did: runs that
	// they began decide by it.
	Shards int64
	// Pipeline says when groups are cut, and Weights how the writes are spread over the indices that
	// take part. Without weights no groups are predicted.
	Pipeline Pipeline
	Weights  []int64
	// Delta says that only what is not proven before is read in the window. Proven is how much that
	// is; nil if it isn't known. ReadRate was measured while documents were compared.
	Delta    bool
	Proven   *Proven
	ReadRate ReadRate
}

// What holds until it was measured, on small clusters.
const (
	usualBlockMillis  = 350
	usualVerifyMillis = 150
	docsPerMilli      = 40 // read and compared on both clusters
)

// What holds of a verification with checksums until it was measured: 3 to 15 documents a
// millisecond were seen on a busy computer, and a handful of requests for each small shard. To
// predict too much is better than too little, since freeze.auto decides by it.
const (
	carefulDocsPerMilli = 10
	millisPerShard      = 10
)

// Predict says what a window will take in which so many operations have to be copied. It knows as
// much as the rounds have shown: without any, nothing.
func (m Measured) Predict(writes int64) Prediction {
	p := Prediction{Writes: writes, DeltaBytes: m.deltaBytes(writes)}
	pace := m.pace()
	p.SnapshotMillis = pace.snapshot.at(p.DeltaBytes)
	p.CopyMillis = pace.copy.at(p.DeltaBytes)
	p.RestoreMillis = pace.restore.at(p.DeltaBytes)
	p.BlockMillis, p.VerifyMillis = usualBlockMillis, usualVerifyMillis
	switch {
	case m.Shards > 0 && m.Checksums:
		p.VerifyMillis += m.Shards*millisPerShard + m.Docs/carefulDocsPerMilli
	case m.Checksums:
		p.VerifyMillis += m.Docs / docsPerMilli
	}
	if m.Window != nil {
		p.BlockMillis, p.VerifyMillis = m.Window.BlockMillis, m.Window.VerifyMillis
	}
	if m.Delta {
		p.VerifyMillis = m.verifyMillis(writes)
	}
	p.Millis = p.BlockMillis + p.CarryMillis() + p.VerifyMillis
	if groups, millis := m.Pipeline.groups(pace, m.Weights, p.DeltaBytes, p.Millis); groups > 1 {
		p.Groups, p.GroupedMillis = groups, millis
		p.Millis = p.BlockMillis + p.CarryMillis() + p.VerifyMillis
	}
	return p
}

// pace is what the rounds have shown.
func (m Measured) pace() pace {
	return pace{
		snapshot: m.line(true, func(r Round) (int64, int64) { return r.BytesCopied, r.SnapshotMillis }),
		copy:     m.line(false, func(r Round) (int64, int64) { return r.BytesCopied, r.CopyMillis }),
		restore:  m.line(true, func(r Round) (int64, int64) { return r.BytesCopied, r.RestoreMillis }),
	}
}

// enoughRead is how many documents must have been read before their rate says anything.
const enoughRead = 10_000

// verifyMillis is what the verification takes if only what is not proven is read. A document that
// was written since its proof is read again.
func (m Measured) verifyMillis(writes int64) int64 {
	docs, shards := m.Docs, m.Shards
	if m.Proven != nil {
		docs, shards = min(m.Proven.LeftDocs()+writes, m.Docs), int64(m.Proven.LeftShards())
	}
	perDoc := 1.0 / carefulDocsPerMilli
	switch w := m.Window; {
	case w != nil && w.VerifyDocs >= enoughRead: // in a window everything is read at the same time
		perDoc = float64(w.VerifyMillis) / float64(w.VerifyDocs)
	case m.ReadRate.Docs >= enoughRead:
		// Both are measured shard by shard; a window reads at least two at the same time.
		perDoc = float64(m.ReadRate.Millis) / float64(m.ReadRate.Docs) / 2
	}
	return usualVerifyMillis + shards*millisPerShard + int64(perDoc*float64(docs))
}

// deltaBytes is what so many operations come to, at the rate of the newest rounds in which enough
// was written; the baseline's documents stand in for them.
func (m Measured) deltaBytes(writes int64) int64 {
	const enough = 3
	var bytes, operations int64
	rounds := 0
	for _, r := range slices.Backward(m.Rounds) {
		if r.Kind != RoundBaseline && r.Writes > 0 && rounds < enough {
			bytes, operations, rounds = bytes+r.BytesCopied, operations+r.Writes, rounds+1
		}
	}
	if rounds == 0 {
		for _, r := range m.Rounds {
			if r.Kind == RoundBaseline {
				bytes, operations = r.BytesCopied, r.Docs
			}
		}
	}
	if operations <= 0 {
		return 0
	}
	return int64(float64(bytes) / float64(operations) * float64(writes))
}

// line is a time that grows with the bytes.
type line struct{ fixed, perByte float64 }

func (l line) at(bytes int64) int64 { return int64(math.Round(l.fixed + l.perByte*float64(bytes))) }

type point struct{ bytes, millis float64 }

// throttleFree is so little that no throttle slows it down noticeably: at 40 MB/s it takes a tenth
// of a second.
const throttleFree = 4 << 20

// line fits one part's times. Only rounds with the window's throttles tell how fast the clusters
// are in it; of the others, the smallest tell what the part takes whatever its size. Without any
// with the window's throttles all rounds are taken as they are, which predicts too much rather than
// too little. No byte takes longer than it did in the round that was fastest. throttled says that
// Elasticsearch's throttles slow the part down where they are not raised.
func (m Measured) line(throttled bool, took func(Round) (bytes, millis int64)) line {
	var raised, free, gentle, all []point
	fastest := math.Inf(1)
	usual := m.usuallyTaken()
	for _, r := range m.Rounds {
		if r.Groups > 0 {
			continue // its steps overlapped, and each was there several times
		}
		bytes, millis := took(r)
		p := point{float64(bytes), float64(millis)}
		indices, known := r.Took()
		if known && indices == 0 {
			continue // it had no such part
		}
		if bytes > throttleFree {
			fastest = min(fastest, p.millis/p.bytes)
		}
		if known && indices > 2*usual {
			// What each index takes whatever its size would count for bytes.
			gentle = append(gentle, p)
			continue
		}
		all = append(all, p)
		switch {
		case r.Lifted:
			raised = append(raised, p)
		case bytes <= throttleFree && r.Kind != RoundBaseline:
			free = append(free, p)
		default:
			gentle = append(gentle, p)
		}
	}
	if len(raised) == 0 {
		return fit(all, fastest)
	}
	if throttled && len(raised)+len(free) == 1 {
		fastest = min(fastest, steepestBeside(raised[0], gentle))
	}
	return fit(append(raised, free...), fastest)
}

// usuallyTaken is how many indices the final round will probably take: as many as the newest rounds
// took at most. Without such a round it is as many as there may be.
func (m Measured) usuallyTaken() int {
	const enough = 3
	usual, rounds := 0, 0
	for _, r := range slices.Backward(m.Rounds) {
		took, known := r.Took()
		if r.Kind == RoundBaseline || !known || took == 0 || r.Taken[ReasonFull] > 0 {
			continue
		}
		if usual, rounds = max(usual, took), rounds+1; rounds == enough {
			break
		}
	}
	if rounds == 0 {
		return math.MaxInt / 2
	}
	return usual
}

// raisedGain is how many times as fast a throttled part is at least without its throttle. On 5.5.2
// a snapshot was 6 times as fast, a restore 14 times.
const raisedGain = 2

// steepestBeside bounds what a byte takes where a single round tells how fast the clusters are: a
// larger one took as long as it did although it was throttled.
func steepestBeside(p point, larger []point) float64 {
	steepest := math.Inf(1)
	for _, other := range larger {
		if other.bytes < 2*p.bytes {
			continue
		}
		steepest = min(steepest, max(other.millis-p.millis, 0)/(other.bytes-p.bytes)/raisedGain)
	}
	return steepest
}

// fit is the line of the least squares that neither begins nor leads below zero, and is nowhere
// steeper than steepest.
func fit(points []point, steepest float64) line {
	if len(points) == 0 {
		return line{}
	}
	var n, x, y, xx, xy float64
	for _, p := range points {
		n, x, y, xx, xy = n+1, x+p.bytes, y+p.millis, xx+p.bytes*p.bytes, xy+p.bytes*p.millis
	}
	var slope float64
	switch spread := xx - x*x/n; {
	case spread >= 1:
		slope = (xy - x*y/n) / spread
	case x > 0: // all of one size: how much of the time grows with it can't be told
		slope = y / 2 / x
	}
	slope = min(max(slope, 0), steepest)
	if fixed := (y - slope*x) / n; fixed >= 0 {
		return line{fixed: fixed, perByte: slope}
	}
	return line{perByte: min(xy/xx, steepest)}
}
