package osstest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The index against a plain sorted slice, over enough keys for blocks to be split and emptied.
func TestIndex(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var x index
	var want []string
	check := func() {
		t.Helper()
		got := []string{}
		for o := range x.from("") {
			got = append(got, o.Key)
		}
		require.Equal(t, want, got)
		require.Equal(t, len(want), x.n)
		from := fmt.Sprintf("k%05d", rng.IntN(30_000))
		at, _ := slices.BinarySearch(want, from)
		next := ""
		for o := range x.from(from) {
			next = o.Key
			break
		}
		if at < len(want) {
			require.Equal(t, want[at], next)
		} else {
			require.Empty(t, next)
		}
	}
	for i := range 40_000 {
		key := fmt.Sprintf("k%05d", rng.IntN(10_000))
		if i < 2000 {
			key = fmt.Sprintf("k%05d", i+10_000) // in order
		}
		at, there := slices.BinarySearch(want, key)
		if i%3 == 2 {
			x.remove(key)
			if there {
				want = slices.Delete(want, at, at+1)
			}
		} else {
			o := &object{Key: key}
			require.Equal(t, there, x.get(key) != nil)
			require.Equal(t, there, x.set(o) != nil)
			require.Same(t, o, x.get(key))
			if !there {
				want = slices.Insert(want, at, key)
			}
		}
		if i%4000 == 0 {
			check()
		}
	}
	check()
	for _, key := range slices.Clone(want) {
		x.remove(key)
	}
	want = []string{}
	check()
	assert.Empty(t, x.blocks)
}

func TestBehind(t *testing.T) {
	for prefix, want := range map[string]string{"a/": "a0", "a\xff": "b", "": "", "\xff\xff": ""} {
		assert.Equal(t, want, behind(prefix))
	}
}
