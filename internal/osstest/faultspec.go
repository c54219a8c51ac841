package osstest

import (
	"fmt"
	"slices"
	"time"
)

// The kinds of faults, as they are counted and as [FaultSpec] names them.
const (
	FaultLatency          = "latency"
	FaultThrottle         = "throttle"
	FaultError            = "error"
	FaultResetUpload      = "reset-upload"
	FaultShortenUpload    = "shorten-upload"
	FaultCorruptUpload    = "corrupt-upload"
	FaultResetDownload    = "reset-download"
	FaultTruncateDownload = "truncate-download"
	FaultShortenDownload  = "shorten-download"
	FaultCorruptDownload  = "corrupt-download"
	FaultWrongCRC         = "wrong-crc"
	FaultSlowComplete     = "slow-complete"
	FaultLoseAnswer       = "lose-answer"
)

// FaultSpec describes a [Rule] with one fault in a form that travels as JSON.
type FaultSpec struct {
	// Kind is one of the constants above.
	Kind string `json:"kind"`
	// Rate, above 0 and up to 1, is the share of the matching requests that are hit, drawn from
	// Options.Seed.
	Rate float64 `json:"rate"`
	// Times is how many requests are hit before it ends; 0 means no end.
	Times int `json:"times,omitempty"`
	// Face, AccessKey and Ops choose requests; empty means any face and key, and those operations
	// that the kind can hit: uploads are PutObject and UploadPart, downloads GetObject.
	Face      Face     `json:"face,omitempty"`
	AccessKey string   `json:"accessKey,omitempty"`
	Ops       []string `json:"ops,omitempty"`
	// Delay of latency, throttle and slow-complete.
	Delay time.Duration `json:"delay,omitempty"`
	// Offset in the body; nil means Anywhere.
	Offset *int64 `json:"offset,omitempty"`
}

// Rule makes the rule to inject. It fails if the kind is unknown or the rate isn't in (0, 1].
func (f FaultSpec) Rule() (Rule, error) {
	if f.Rate <= 0 || f.Rate > 1 {
		return Rule{}, fmt.Errorf("osstest: fault %s: the rate is %v, not above 0 and up to 1", f.Kind, f.Rate)
	}
	at := Anywhere
	if f.Offset != nil {
		at = *f.Offset
	}
	uploads, downloads := []string{"PutObject", "UploadPart"}, []string{"GetObject"}
	var fault Fault
	var ops []string
	switch f.Kind {
	case FaultLatency:
		fault = Latency(f.Delay)
	case FaultThrottle:
		fault = Throttle(f.Delay)
	case FaultError:
		fault = Fail(500, "InternalError", "We encountered an internal error. Please try again.")
	case FaultResetUpload:
		fault, ops = ResetUpload(at), uploads
	case FaultShortenUpload:
		fault, ops = ShortenUpload(at), uploads
	case FaultCorruptUpload:
		fault, ops = CorruptUpload(at), uploads
	case FaultResetDownload:
		fault, ops = ResetDownload(at), downloads
	case FaultTruncateDownload:
		fault, ops = TruncateDownload(at), downloads
	case FaultShortenDownload:
		fault, ops = ShortenDownload(at), downloads
	case FaultCorruptDownload:
		fault, ops = CorruptDownload(at), downloads
	case FaultWrongCRC:
		fault, ops = WrongCRC(), uploads
	case FaultSlowComplete:
		fault, ops = SlowComplete(f.Delay), []string{"CompleteMultipartUpload"}
	case FaultLoseAnswer:
		fault = LoseAnswer()
	default:
		return Rule{}, fmt.Errorf("osstest: no fault is called %q", f.Kind)
	}
	if len(f.Ops) > 0 {
		ops = slices.Clone(f.Ops)
	}
	match := func(c Call) bool {
		return (f.Face == "" || f.Face == c.Face) && (f.AccessKey == "" || f.AccessKey == c.AccessKey) &&
			(len(ops) == 0 || slices.Contains(ops, c.Op))
	}
	return Rule{Match: match, Rate: f.Rate, Times: f.Times, Fault: fault}, nil
}

// SetFaults replaces all rules by those described. On an error nothing has changed.
func (s *Server) SetFaults(specs ...FaultSpec) error {
	rules := make([]*Rule, 0, len(specs))
	for _, spec := range specs {
		r, err := spec.Rule()
		if err != nil {
			return err
		}
		rules = append(rules, &r)
	}
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.rules = rules
	return nil
}
