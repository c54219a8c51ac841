package transfer

import "sync/atomic"

// Stats count what Movers have met. They only grow, so that they can be exported as counters.
type Stats struct {
	// BytesRead from the source, those that were read again included.
	BytesRead atomic.Int64
	// BytesResumed stood in the sink already, in uploads of earlier attempts, and were not read again.
	BytesResumed atomic.Int64
	// Retries are requests that were sent again after an error that may pass.
	Retries atomic.Int64
	// Stalls are requests that were ended because nothing moved; most of them are retries as well.
	Stalls atomic.Int64
	// Corruptions are copies and parts whose checksums showed that bytes had been damaged on their way. Each was thrown away.
	Corruptions atomic.Int64
}
