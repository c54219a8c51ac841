package elastic

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/elastic/go-elasticsearch/v7/esapi"
)

// Probe is what an index answers to a write: it is refused by a block, or there is an error, or
// else it would be taken.
type Probe struct {
	Blocked bool
	Err     error
}

// Expected says what most of the indices will answer. It decides only how many are asked at once.
type Expected int

// A write that a block refuses costs a cluster next to nothing: whichever node gets it refuses it.
// One that is taken goes through the queue of the node that holds the shard, together with the
// writes of the application. That queue is short: 50 on 2.x, 200 from 5.x on.
const (
	ExpectBlocked Expected = 2000
	ExpectOpen    Expected = 50
)

const (
	// probeBytes bounds the body of a probe. Amazon's smallest instances take 10 MB.
	probeBytes = 1 << 20
	// probeTimeout is how long a write waits for a primary that is missing: an index without one
	// must not delay what all others answer.
	probeTimeout = 5 * time.Second
	// probeRounds is how often indices are asked that a full queue refuses, each time fewer at
	// once.
	probeRounds = 3
)

// ProbeWrites reports for each index whether writes to it are refused, and writes nothing itself.
// It takes one bulk request for very many indices. As [Client.ProbeWrite], it updates a document
// that doesn't exist, without an upsert: see there why that changes nothing, and which answers tell
// what. An index that doesn't exist is not asked, since a write would create it: its error is
// [Missing].
//
// The error that is returned by itself concerns all indices. A block of the cluster counts as one
// of each index.
func (c *Client) ProbeWrites(ctx context.Context, indices []string, expected Expected) (map[string]Probe, error) {
	what := call{operation: "probe writing", subject: list(indices)}
	if err := c.named(what.operation, indices); err != nil {
		return nil, err
	}
	version, err := c.Version(ctx)
	if err != nil {
		return nil, err
	}
	states, err := c.indexStates(ctx, indices)
	if err != nil {
		return nil, err
	}
	probes := make(map[string]Probe, len(indices))
	var ask []string
	for _, name := range indices {
		if states[name] == "" {
			probes[name] = Probe{Err: c.fail(call{operation: what.operation, subject: name}, Missing, "no such index")}
			continue
		}
		ask = append(ask, name)
	}
	most := int(expected)
	for round := 1; len(ask) > 0; round++ {
		for _, batch := range probeBatches(ask, most, version) {
			if err := c.probeBatch(ctx, what, batch, probes); err != nil {
				return nil, err
			}
		}
		ask = rejected(ask, probes)
		if round == probeRounds {
			break
		}
		most = max(1, most/10)
	}
	return probes, nil
}

// rejected are the indices whose write a full queue refused.
func rejected(names []string, probes map[string]Probe) []string {
	var again []string
	for _, name := range names {
		if e, ok := errors.AsType[*Error](probes[name].Err); ok && e.Status == http.StatusTooManyRequests {
			again = append(again, name)
		}
	}
	return again
}

type probeLine struct {
	Index string `json:"_index"`
	Type  string `json:"_type,omitempty"`
	ID    string `json:"_id"`
	// Without a routing, an index that demands one refuses.
	Routing string `json:"routing"`
}

// probeBatch is the body of one request, and the indices in it.
type probeBatch struct {
	version Version // of the cluster
	names   []string
	body    bytes.Buffer
}

// probeBatches writes requests that are bounded in number of indices and in bytes.
func probeBatches(names []string, most int, version Version) []*probeBatch {
	id := "snapferry-probe-" + rand.Text()
	docType := ""
	if version.Major < 7 {
		docType = "doc" // any name will do: a document that doesn't exist has none
	}
	var all []*probeBatch
	for _, name := range names {
		line, err := json.Marshal(map[string]probeLine{"update": {name, docType, id, id}})
		if err != nil {
			panic(fmt.Sprintf("elastic: the probe of %q can't be encoded: %v", name, err))
		}
		line = append(line, "\n{\"doc\":{}}\n"...)
		if n := len(all); n == 0 || len(all[n-1].names) == most || all[n-1].body.Len()+len(line) > probeBytes {
			all = append(all, &probeBatch{version: version})
		}
		last := all[len(all)-1]
		last.names = append(last.names, name)
		last.body.Write(line)
	}
	return all
}

// request asks for no more copies than the primary. An index may want more before it takes writes,
// and a bulk request would wait for them before it looks for the document.
func (b *probeBatch) request() esapi.Request {
	request := esapi.BulkRequest{Body: bytes.NewReader(b.body.Bytes()), Timeout: probeTimeout}
	if b.version.Major < 5 {
		return consistent{request}
	}
	request.WaitForActiveShards = "1"
	return request
}

// consistent is a bulk request to 2.x, where write consistency came before wait_for_active_shards.
type consistent struct{ esapi.BulkRequest }

// Do implements [esapi.Request].
func (r consistent) Do(ctx context.Context, to esapi.Transport) (*esapi.Response, error) {
	return r.BulkRequest.Do(ctx, consistentTransport{to})
}

type consistentTransport struct{ esapi.Transport }

// Perform implements [esapi.Transport].
func (t consistentTransport) Perform(r *http.Request) (*http.Response, error) {
	query := r.URL.Query()
	query.Set("consistency", "one")
	r.URL.RawQuery = query.Encode()
	return t.Transport.Perform(r)
}

// probeBatch asks the indices of one request.
func (c *Client) probeBatch(ctx context.Context, what call, batch *probeBatch, probes map[string]Probe) error {
	var answer struct {
		Items []map[string]struct {
			Status int             `json:"status"`
			Error  json.RawMessage `json:"error"`
		} `json:"items"`
	}
	err := c.do(ctx, what, batch.request(), &answer)
	switch KindOf(err) {
	case None:
	case Blocked:
		for _, name := range batch.names {
			probes[name] = Probe{Blocked: true}
		}
		return nil
	case Invalid, NotSupported, Unauthorized:
		// A cluster may forbid that the body names indices (rest.action.multi.allow_explicit_index:
		// false), and a policy may allow only paths that begin with an index.
		return c.probeEach(ctx, batch.names, probes)
	default:
		return err
	}
	if len(answer.Items) != len(batch.names) {
		return c.fail(what, Internal, fmt.Sprintf("it has answers for %d of %d indices", len(answer.Items),
			len(batch.names)))
	}
	for i, name := range batch.names { // the answers come in the order of the request
		item, ok := answer.Items[i]["update"]
		if !ok {
			return c.fail(what, Internal, "an answer is for another operation than an update")
		}
		blocked, err := c.probed(call{operation: what.operation, subject: name}, item.Status, item.Error)
		probes[name] = Probe{blocked, err}
	}
	return nil
}

// probed judges the answer of one index.
func (c *Client) probed(what call, status int, raw json.RawMessage) (blocked bool, err error) {
	if status >= 200 && status < 300 {
		return false, c.fail(what, Internal, "the update of a document that can't exist succeeded")
	}
	text, err := json.Marshal(map[string]json.RawMessage{"error": raw})
	if err != nil {
		return false, c.fail(what, Internal, "the answer can't be read: "+err.Error())
	}
	failure := answered(status, text, false)
	switch {
	case failure.Kind == Blocked:
		return true, nil
	case failure.Kind == Missing && failure.Type == "document_missing_exception":
		return false, nil
	}
	return false, c.describe(what, failure)
}

// probeEach asks one index after another. A failure that has nothing to do with an index ends it.
func (c *Client) probeEach(ctx context.Context, names []string, probes map[string]Probe) error {
	for _, name := range names {
		blocked, err := c.ProbeWrite(ctx, name, "")
		switch kind := KindOf(err); {
		case kind == Unclassified, kind == Unavailable && !FromCluster(err), kind == Unauthorized && !FromCluster(err):
			return err
		}
		probes[name] = Probe{blocked, err}
	}
	return nil
}
