package transfer

import (
	"context"
	"fmt"
	"math/bits"
	"slices"
	"sync"
)

const (
	// DefaultMemory is the limit in bytes of Buffers for which none is given.
	DefaultMemory = 128 << 20
	// LeastMemory is the smallest limit in bytes: four blocks, each as large as the smallest part
	// that OSS accepts.
	LeastMemory = 512 << 10

	smallestSlab = 4 << 10
	largestSlab  = 8 << 20
	// copySlab is the memory, in bytes, through which a blob is piped. Larger slabs cost more cache
	// than they save calls.
	copySlab = 256 << 10
)

// Buffers is the memory for all blobs under way in a process, with a hard limit in bytes; the
// Movers of the process share it. It is cut into blocks, and these into slabs whose sizes are
// powers of two, from 4 KiB up to a block (a buddy system: Knuth, The Art of Computer Programming
// 2.5). A block is allocated when it is first needed, and kept, so that the garbage collector never
// has two sets of blocks.
//
// A request holds one slab at most, and asks for it before it opens a connection. Slabs are granted
// in the order of the requests, so small requests can't delay a large one for ever. Whoever holds a
// slab never waits for somebody who waits for one, so there is no deadlock, however small the limit
// is. The connections' own buffers, of some KiB each, are not counted.
type Buffers struct {
	block int

	mu      sync.Mutex
	blocks  []*block
	waiting []*waiter
	inUse   int64
}

type waiter struct {
	size    int
	granted slab
	ready   chan struct{} // closed when granted
}

// slab is a piece of a block.
type slab struct {
	bytes  []byte
	block  *block
	offset int
}

// NewBuffers makes Buffers that never hold more than limit bytes; 0 means DefaultMemory. It fails
// if the limit is below LeastMemory.
func NewBuffers(limit int64) (*Buffers, error) {
	if limit == 0 {
		limit = DefaultMemory
	}
	if limit < LeastMemory {
		return nil, fmt.Errorf("the memory limit of the copy is %d bytes: it must be at least %d (%d KiB), or 0 for "+
			"the default of %d MiB",
			limit, LeastMemory, LeastMemory>>10, DefaultMemory>>20)
	}
	size := min(int64(1)<<(bits.Len64(uint64(limit/4))-1), largestSlab)
	b := &Buffers{block: int(size)}
	for range limit / size {
		b.blocks = append(b.blocks, newBlock(int(size)))
	}
	return b, nil
}

// DefaultBuffers makes Buffers of DefaultMemory.
func DefaultBuffers() *Buffers {
	b, err := NewBuffers(DefaultMemory)
	if err != nil {
		panic(err) // can't be: the default is above the least
	}
	return b
}

// get waits for a slab and gives n bytes of it, a block at most. The function returns the slab.
func (b *Buffers) get(ctx context.Context, n int64) ([]byte, func(), error) {
	if n == 0 {
		return nil, func() {}, nil
	}
	size := smallestSlab
	for int64(size) < n {
		size *= 2
	}
	b.mu.Lock()
	if len(b.waiting) == 0 {
		if s, ok := b.take(size); ok {
			b.mu.Unlock()
			return s.bytes[:n], func() { b.release(s) }, nil
		}
	}
	w := &waiter{size: size, ready: make(chan struct{})}
	b.waiting = append(b.waiting, w)
	b.mu.Unlock()
	select {
	case <-w.ready:
		return w.granted.bytes[:n], func() { b.release(w.granted) }, nil
	case <-ctx.Done():
		b.leave(w)
		return nil, nil, context.Cause(ctx)
	}
}

// leave ends the wait of a waiter, which may just have got its slab.
func (b *Buffers) leave(w *waiter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(b.waiting, w); i >= 0 {
		b.waiting = slices.Delete(b.waiting, i, i+1)
	} else {
		b.put(w.granted)
	}
	b.serve()
}

func (b *Buffers) release(s slab) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.put(s)
	b.serve()
}

// serve grants free slabs to the waiters, in their order.
func (b *Buffers) serve() {
	for len(b.waiting) > 0 {
		s, ok := b.take(b.waiting[0].size)
		if !ok {
			return
		}
		b.waiting[0].granted = s
		close(b.waiting[0].ready)
		b.waiting = slices.Delete(b.waiting, 0, 1)
	}
}

// take takes a slab from the block with the smallest piece that is large enough, so that large
// pieces stay.
func (b *Buffers) take(size int) (slab, bool) {
	var best *block
	for _, candidate := range b.blocks {
		if room := candidate.room(); room >= size && (best == nil || room < best.room()) {
			best = candidate
		}
	}
	if best == nil {
		return slab{}, false
	}
	b.inUse += int64(size)
	return best.take(size), true
}

func (b *Buffers) put(s slab) {
	s.block.put(s)
	b.inUse -= int64(len(s.bytes))
}

// block is cut into halves, and these into halves. Its tree is an array: node i has the children
// 2i+1 and 2i+2, and holds the size of the largest free piece below it, in units of the smallest
// slab.
type block struct {
	memory []byte
	size   int
	tree   []uint16
}

func newBlock(size int) *block {
	units := size / smallestSlab
	b := &block{size: size, tree: make([]uint16, 2*units-1)}
	for node, n := 0, units; node < len(b.tree); n /= 2 {
		for range units / n {
			b.tree[node] = uint16(n)
			node++
		}
	}
	return b
}

// room is the size of the largest free piece.
func (b *block) room() int { return int(b.tree[0]) * smallestSlab }

func (b *block) take(size int) slab {
	want, node, n := uint16(size/smallestSlab), 0, b.size/smallestSlab
	for ; n > int(want); n /= 2 {
		left, right := b.tree[2*node+1], b.tree[2*node+2]
		if left >= want && (right < want || left <= right) {
			node = 2*node + 1
		} else {
			node = 2*node + 2
		}
	}
	offset := (node+1)*size - b.size
	b.set(node, 0, n)
	if b.memory == nil {
		b.memory = make([]byte, b.size)
	}
	return slab{bytes: b.memory[offset : offset+size : offset+size], block: b, offset: offset}
}

func (b *block) put(s slab) {
	n := len(s.bytes) / smallestSlab
	b.set((s.offset+b.size)/len(s.bytes)-1, uint16(n), n)
}

// set changes a node of n units, and the nodes above it: two free halves make one free piece.
func (b *block) set(node int, free uint16, n int) {
	b.tree[node] = free
	for node > 0 {
		node = (node - 1) / 2
		left, right := b.tree[2*node+1], b.tree[2*node+2]
		if b.tree[node] = max(left, right); int(left) == n && int(right) == n {
			b.tree[node] = uint16(2 * n)
		}
		n *= 2
	}
}
