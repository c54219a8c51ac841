package transfer

// InUse is how many bytes are handed out at the moment.
func (b *Buffers) InUse() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.inUse
}
