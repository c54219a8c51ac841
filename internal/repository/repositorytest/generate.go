package repositorytest

import (
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
)

// Sizes draws the length of a file in bytes.
type Sizes func(rng *rand.Rand) int

// FixedSize gives every file one length.
func FixedSize(n int) Sizes { return func(*rand.Rand) int { return n } }

// LogNormal draws lengths that are distributed as those of a real repository's blobs: most are
// small, and a few hold nearly all bytes. Half of the files are below median; mean is the mean of
// all, limit the largest. All are in bytes.
func LogNormal(median, mean, limit int) Sizes {
	// of a log-normal distribution mean/median = exp(sigma^2/2)
	sigma := math.Sqrt(2 * math.Log(float64(mean)/float64(median)))
	return func(rng *rand.Rand) int {
		return max(1, min(limit, int(float64(median)*math.Exp(sigma*rng.NormFloat64()))))
	}
}

// extensions are those of the files of a Lucene segment that isn't compound. The .si file is left
// out, since Elasticsearch keeps its content in the shard's list of files as well.
var extensions = []string{"fdt", "fdx", "fnm", "dvd", "dvm", "nvd", "nvm", "tim", "tip", "doc", "pos", "dim", "dii"}

// AddFiles adds n files to each shard of an index, as segments that aren't compound. Their contents
// are cut from a block of random bytes that the complete repository shares, so that gigabytes cost
// neither memory nor time. Two files of one size are equal only by chance.
func AddFiles(name string, n int, sizes Sizes) Change {
	return func(r *Repository, _ *snapshot) {
		for _, sh := range r.mustIndex(name).shards {
			for left := n; left > 0; left -= min(left, len(extensions)) {
				base := "_" + strconv.FormatInt(int64(sh.counter), 36) + "."
				sh.counter++
				var segment []file
				for _, extension := range extensions[:min(left, len(extensions))] {
					segment = append(segment, file{base + extension, r.cut(sizes(r.rng))})
				}
				sh.segments = append(sh.segments, segment)
			}
		}
	}
}

// EmptyIndex adds an index whose shards have nothing yet except a commit.
func EmptyIndex(name string, shards int) Change {
	return func(r *Repository, _ *snapshot) {
		x := &index{uuid: r.uuid()}
		for range shards {
			x.shards = append(x.shards, &shard{})
		}
		r.indices[name] = x
	}
}

// slabSpread is how many bytes apart the places may be from which contents are cut.
const slabSpread = 4 << 20

// cut gives n random bytes.
func (r *Repository) cut(n int) []byte {
	if need := n + slabSpread; len(r.slab) < need {
		grown := slices.Grow([]byte(nil), need)[:need]
		var seed [32]byte
		for i := range seed {
			seed[i] = byte(r.rng.Uint32())
		}
		_, _ = rand.NewChaCha8(seed).Read(grown) // never fails
		r.slab = grown
	}
	at := r.rng.IntN(slabSpread)
	return r.slab[at : at+n : at+n]
}
