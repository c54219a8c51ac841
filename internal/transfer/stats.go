package transfer

import "sync/atomic"

// Stats count what happened in Movers. They only grow, so that they can be exported as counters.
type Stats struct {
	// BytesRead from the source, including those that were read again.
	BytesRead atomic.Int64
	// BytesResumed were in the sink already, in uploads of earlier attempts, and were not read
	// again.
	BytesResumed atomic.Int64
	// Retries are requests that were sent again after an error that may pass.
	Retries atomic.Int64
	// Stalls are requests that were ended because they made no progress; most of them are also
	// counted as retries.
	Stalls atomic.Int64
	// Corruptions are copies and parts whose checksums showed that bytes were damaged on the way.
	// None of them was kept.
	Corruptions atomic.Int64
}
