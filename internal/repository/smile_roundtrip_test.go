package repository_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/repository"
	rt "github.com/snapferry/snapferry/internal/repository/repositorytest"
)

// text spells out a value as repository.SmileText does its tokens.
func text(out *strings.Builder, value any) {
	line := func(kind string, n int64, f float64, s string, raw []byte) {
		fmt.Fprintf(out, "%s %d %g %q %x\n", kind, n, f, s, raw)
	}
	switch v := value.(type) {
	case nil:
		line("null", 0, 0, "", nil)
	case bool:
		line("a boolean", map[bool]int64{true: 1}[v], 0, "", nil)
	case int64:
		line("an integer", v, 0, "", nil)
	case float64:
		line("a fraction", 0, v, "", nil)
	case string:
		line("a string", 0, 0, v, nil)
	case []byte:
		line("binary", 0, 0, "", v)
	case []any:
		line("an array", 0, 0, "", nil)
		for _, e := range v {
			text(out, e)
		}
		line("the end of an array", 0, 0, "", nil)
	case rt.Object:
		line("an object", 0, 0, "", nil)
		for _, f := range v {
			line("a name", 0, 0, f.Name, nil)
			text(out, f.Value)
		}
		line("the end of an object", 0, 0, "", nil)
	}
}

func randomText(rng *rand.Rand) string {
	letters := []rune("abcé€𝄞")[:1+rng.IntN(6)]
	s := make([]rune, rng.IntN(4)*rng.IntN(40))
	for i := range s {
		s[i] = letters[rng.IntN(len(letters))]
	}
	if rng.IntN(2) == 0 { // often the same: to be shared
		return fmt.Sprint("word", rng.IntN(1500))
	}
	return string(s)
}

func randomValue(rng *rand.Rand, depth int) any {
	kinds := 8
	if depth == 0 {
		kinds = 6
	}
	switch rng.IntN(kinds) {
	case 0:
		return nil
	case 1:
		return rng.IntN(2) == 0
	case 2:
		return int64(rng.Uint64()) >> rng.IntN(64)
	case 3:
		return math.Float64frombits(rng.Uint64() &^ (1 << 62)) // neither NaN nor infinite
	case 4:
		return randomText(rng)
	case 5:
		raw := make([]byte, rng.IntN(30))
		for i := range raw {
			raw[i] = byte(rng.Uint32())
		}
		return raw
	case 6:
		list := []any{}
		for range rng.IntN(12) {
			list = append(list, randomValue(rng, depth-1))
		}
		return list
	default:
		o := rt.Object{}
		for range rng.IntN(12) {
			o = append(o, rt.Field{Name: randomText(rng), Value: randomValue(rng, depth-1)})
		}
		return o
	}
}

func TestSmileRoundTrip(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 3))
	for range 200 {
		value := randomValue(rng, 5)
		var want strings.Builder
		text(&want, value)
		for _, o := range []rt.SmileOptions{{}, {SharedValues: true}, {SevenBit: true}} {
			got, err := repository.SmileText(o.Encode(value))
			require.NoError(t, err)
			require.Equal(t, want.String(), got)
		}
	}
}

// More shared strings than the 1,024 that a reader keeps, with references of one and of two bytes.
func TestSmileForgetsSharedStrings(t *testing.T) {
	list := []any{}
	for i := range 5000 {
		word := fmt.Sprint("word", i*i%4001)
		list = append(list, rt.Object{{Name: word, Value: word}})
	}
	var want strings.Builder
	text(&want, list)
	got, err := repository.SmileText(rt.SmileOptions{SharedValues: true}.Encode(list))
	require.NoError(t, err)
	require.Equal(t, want.String(), got)
}
