package transfer

import "context"

// Buffers is a fixed set of buffers of one size: a hard bound on memory, unlike a pool that the collector refills. Each is
// allocated when it is first needed.
type Buffers struct {
	size int
	free chan []byte
}

const (
	defaultBufferSize = 8 << 20
	defaultBuffers    = 32
	// smallBuffer is what is not worth waiting for: most blobs of a repository are small, and each would hold a large buffer.
	// Their number is bounded by the slots.
	smallBuffer = 256 << 10
)

// NewBuffers makes count buffers of size bytes, by default 32 of 8 MiB.
func NewBuffers(size, count int) *Buffers {
	if size <= 0 {
		size = defaultBufferSize
	}
	if count <= 0 {
		count = defaultBuffers
	}
	b := &Buffers{size: size, free: make(chan []byte, count)}
	for range count {
		b.free <- nil
	}
	return b
}

// get waits for a buffer and gives n bytes of it; the function gives it back.
func (b *Buffers) get(ctx context.Context, n int64) ([]byte, func(), error) {
	if n <= smallBuffer {
		return make([]byte, n), func() {}, nil
	}
	select {
	case buffer := <-b.free:
		if buffer == nil {
			buffer = make([]byte, b.size)
		}
		return buffer[:n], func() { b.free <- buffer }, nil
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
}
