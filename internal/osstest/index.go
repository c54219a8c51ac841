package osstest

import (
	"iter"
	"slices"
	"sort"
)

// index keeps a bucket's objects in the order of their keys, in blocks: a slice of all would move
// half of 300,000 entries for each new key.
type index struct {
	blocks [][]*object // none is empty
	n      int
}

const fullBlock = 512

// seek finds the first object whose key is not before the given one.
func (x *index) seek(key string) (block, at int) {
	block = sort.Search(len(x.blocks), func(i int) bool { b := x.blocks[i]; return b[len(b)-1].Key >= key })
	if block < len(x.blocks) {
		b := x.blocks[block]
		at = sort.Search(len(b), func(i int) bool { return b[i].Key >= key })
	}
	return block, at
}

func (x *index) get(key string) *object {
	if block, at := x.seek(key); block < len(x.blocks) && x.blocks[block][at].Key == key {
		return x.blocks[block][at]
	}
	return nil
}

// set adds an object, or replaces the one under its key and returns that.
func (x *index) set(o *object) (old *object) {
	block, at := x.seek(o.Key)
	switch {
	case len(x.blocks) == 0:
		x.blocks = [][]*object{{o}}
		x.n = 1
		return nil
	case block == len(x.blocks): // behind all others
		block--
		at = len(x.blocks[block])
	case x.blocks[block][at].Key == o.Key:
		old, x.blocks[block][at] = x.blocks[block][at], o
		return old
	}
	b := slices.Insert(x.blocks[block], at, o)
	x.blocks[block] = b
	x.n++
	if len(b) > fullBlock {
		half := len(b) / 2
		if at == len(b)-1 { // keys come in order: leave full blocks behind
			half = at
		}
		x.blocks[block] = slices.Clip(b[:half])
		x.blocks = slices.Insert(x.blocks, block+1, slices.Clone(b[half:]))
	}
	return nil
}

func (x *index) remove(key string) {
	block, at := x.seek(key)
	if block == len(x.blocks) || x.blocks[block][at].Key != key {
		return
	}
	x.n--
	if x.blocks[block] = slices.Delete(x.blocks[block], at, at+1); len(x.blocks[block]) == 0 {
		x.blocks = slices.Delete(x.blocks, block, block+1)
	}
}

// from yields the objects from a key on.
func (x *index) from(key string) iter.Seq[*object] {
	return func(yield func(*object) bool) {
		for block, at := x.seek(key); block < len(x.blocks); block, at = block+1, 0 {
			for _, o := range x.blocks[block][at:] {
				if !yield(o) {
					return
				}
			}
		}
	}
}

// behind is the first string after all that begin with prefix; "" if there's none.
func behind(prefix string) string {
	b := []byte(prefix)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] < 0xff {
			b[i]++
			return string(b[:i+1])
		}
	}
	return ""
}
