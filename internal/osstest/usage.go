package osstest

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Usage is what one access key has asked of one face by one operation. A request counts when it has
// been answered or broken off.
type Usage struct {
	Face      Face   `json:"face"`
	AccessKey string `json:"accessKey"` // "" if the signature wasn't valid, or not looked at
	Op        string `json:"op"`        // the face's name: OSS says InitiateMultipartUpload, S3 CreateMultipartUpload
	Requests  int64  `json:"requests"`
	Failed    int64  `json:"failed"`   // of them: answered with 400 or more, or with nothing
	BytesIn   int64  `json:"bytesIn"`  // bodies of requests, as far as they were read
	BytesOut  int64  `json:"bytesOut"` // bodies of answers, listings included
}

type usageKey struct {
	face          Face
	accessKey, op string
}

// tally counts requests and injected faults.
type tally struct {
	mu     sync.Mutex
	usage  map[usageKey]*Usage
	faults map[string]int64
}

func (t *tally) add(e Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := usageKey{e.Face, e.AccessKey, e.Op}
	u := t.usage[k]
	if u == nil {
		u = &Usage{Face: e.Face, AccessKey: e.AccessKey, Op: e.Op}
		if t.usage == nil {
			t.usage = map[usageKey]*Usage{}
		}
		t.usage[k] = u
	}
	u.Requests++
	if e.Status == 0 || e.Status >= 400 {
		u.Failed++
	}
	u.BytesIn += e.BytesIn
	u.BytesOut += e.BytesOut
}

// injected counts a fault when it takes effect, not when a rule hits: a byte beyond the end of a
// body isn't corrupted.
func (c *call) injected(kind string) {
	t := &c.tally
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.faults == nil {
		t.faults = map[string]int64{}
	}
	t.faults[kind]++
}

// Usage tells what was asked since the start or ResetCounts, by face, access key and operation, in
// that order.
func (s *Server) Usage() []Usage {
	s.tally.mu.Lock()
	all := make([]Usage, 0, len(s.tally.usage))
	for _, u := range s.tally.usage {
		all = append(all, *u)
	}
	s.tally.mu.Unlock()
	slices.SortFunc(all, func(a, b Usage) int {
		return cmp.Or(cmp.Compare(a.Face, b.Face), strings.Compare(a.AccessKey, b.AccessKey),
			strings.Compare(a.Op, b.Op))
	})
	return all
}

// Injected is how many faults took effect since the start or ResetCounts, by kind (see
// [FaultSpec]). A fault that a rule chose but that had nothing to hit, such as an offset beyond the
// body, isn't among them.
func (s *Server) Injected() map[string]int64 {
	s.tally.mu.Lock()
	defer s.tally.mu.Unlock()
	all := maps.Clone(s.tally.faults)
	if all == nil {
		all = map[string]int64{}
	}
	return all
}

// Count is how many requests of an operation were received on both faces, failed ones included.
func (s *Server) Count(op string) int64 { return s.Counts()[op] }

// Counts are all of them, by operation.
func (s *Server) Counts() map[string]int64 {
	s.tally.mu.Lock()
	defer s.tally.mu.Unlock()
	all := map[string]int64{}
	for k, u := range s.tally.usage {
		all[k.op] += u.Requests
	}
	return all
}

// ResetCounts starts counting from 0 again, requests and faults.
func (s *Server) ResetCounts() {
	s.tally.mu.Lock()
	defer s.tally.mu.Unlock()
	s.tally.usage, s.tally.faults = nil, nil
}
