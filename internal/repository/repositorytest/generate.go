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

// LogNormal draws lengths as those of a repository's blobs lie: most are small, a few hold nearly all bytes. Half of the files are
// below the median, mean is that of all; limit bounds the largest.
func LogNormal(median, mean, limit int) Sizes {
	sigma := math.Sqrt(2 * math.Log(float64(mean)/float64(median))) // of a log-normal distribution mean/median = exp(sigma^2/2)
	return func(rng *rand.Rand) int {
		return max(1, min(limit, int(float64(median)*math.Exp(sigma*rng.NormFloat64()))))
	}
}

// extensions are files of a Lucene segment that isn't compound. Its .si is left out, since Elasticsearch keeps that in the shard's list
// of files as well.
var extensions = []string{"fdt", "fdx", "fnm", "dvd", "dvm", "nvd", "nvm", "tim", "tip", "doc", "pos", "dim", "dii"}

// AddFiles gives each shard of an index n more files, as segments that aren't compound. The files' contents are cut from a block of
// random bytes that the whole repository shares, so that gigabytes cost neither memory nor time; two files of one size are
// alike only by chance.
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

// EmptyIndex adds an index whose shards hold nothing yet but a commit.
func EmptyIndex(name string, shards int) Change {
	return func(r *Repository, _ *snapshot) {
		x := &index{uuid: r.uuid()}
		for range shards {
			x.shards = append(x.shards, &shard{})
		}
		r.indices[name] = x
	}
}

// slabSpread is by how much the places differ from which contents are cut.
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
