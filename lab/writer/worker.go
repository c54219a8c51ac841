package writer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/snapferry/snapferry/lab/cluster"
)

// maxBulk is the most writes that go in one request.
const maxBulk = 20

// worker is one goroutine with documents of its own.
type worker struct {
	w       *Writer
	n       int
	rand    *rand.Rand
	docs    []*document // those that may still be written to
	created int
	counter int64
}

func (k *worker) run(ctx context.Context) {
	for {
		size := 1
		if k.rand.IntN(3) == 0 { // a third of the requests are bulks
			size = 2 + k.rand.IntN(maxBulk-1)
		}
		if k.w.limiter.WaitN(ctx, size) != nil || !k.w.gate.enter(ctx) {
			return
		}
		k.write(size)
		k.w.gate.leave()
	}
}

// write sends one request. It does not end with the writer: an answer that we don't wait for would
// be an unknown outcome.
func (k *worker) write(size int) {
	attempts := k.choose(size)
	ctx, cancel := context.WithTimeout(context.Background(), k.w.o.Timeout)
	defer cancel()
	var outcomes []outcome
	if size == 1 {
		outcomes = []outcome{k.single(ctx, attempts[0])}
	} else {
		outcomes = k.bulk(ctx, attempts)
	}
	gone := map[*document]bool{}
	for i, a := range attempts {
		k.w.settle(a, outcomes[i])
		gone[a.doc] = outcomes[i].result == unanswered
	}
	kept := k.docs[:0]
	for _, d := range k.docs {
		if !gone[d] {
			kept = append(kept, d)
		}
	}
	k.docs = kept
}

// choose makes up writes to different documents: creations, overwriting, updates, deletions, and
// now and then a deleted document's return.
func (k *worker) choose(size int) []*attempt {
	taken := map[*document]bool{}
	attempts := make([]*attempt, 0, size)
	for range size {
		var d *document
		if len(k.docs) > 20 && k.rand.IntN(100) < 60 {
			d = k.docs[k.rand.IntN(len(k.docs))]
		}
		if d == nil || taken[d] {
			d = k.newDocument()
		}
		taken[d] = true
		k.counter++
		a := &attempt{doc: d, kind: index, counter: k.counter}
		if d.exists {
			switch p := k.rand.IntN(100); {
			case p < 50:
				a.kind = update
			case p < 70:
				a.kind, a.counter = remove, 0
			}
		}
		attempts = append(attempts, a)
	}
	return attempts
}

func (k *worker) newDocument() *document {
	k.created++
	d := &document{id: fmt.Sprintf("%s%d-%06d", k.w.o.Prefix, k.n, k.created)}
	if k.created%20 == 0 { // a small share with a routing of its own
		d.routing = fmt.Sprintf("tenant-%d", k.created/20%7)
	}
	k.docs = append(k.docs, d)
	return d
}

// content is what a write stores. The counter tells versions of a document apart.
func (k *worker) content(a *attempt) map[string]any {
	fields := map[string]any{
		"writer": k.n, "writerCounter": a.counter, "stock": a.counter % 500, "priceCents": 199 + a.counter%50_000,
		"currency":  "USD",
		"writtenAt": time.Now().UTC().Format(time.RFC3339Nano),
	}
	if a.kind == index {
		fields["sku"] = a.doc.id
		fields["name"] = fmt.Sprintf("Written %d of worker %d", a.counter, k.n)
		fields["description"] = strings.Repeat(fmt.Sprintf("state %d ", a.counter), 10)
	}
	return fields
}

type result string

const (
	acknowledged result = "acknowledged"
	refused      result = "refused"
	rejected     result = "rejected"
	unanswered   result = "unanswered"
)

// outcome is what came of one write.
type outcome struct {
	result  result
	version int64
	reason  string
}

// judge reads an item of a bulk answer, or the answer to a single write.
func judge(a *attempt, status int, version int64, reason string) outcome {
	switch {
	case status/100 == 2, status == http.StatusNotFound && a.kind == remove && version > 0:
		// deleting what isn't there is acknowledged, too
		return outcome{result: acknowledged, version: version}
	case status == http.StatusForbidden && (strings.Contains(reason, "cluster_block_exception") ||
		strings.Contains(reason, "ClusterBlockException")):
		return outcome{result: refused, reason: reason}
	case status/100 == 4 && status != http.StatusRequestTimeout:
		return outcome{result: rejected, reason: fmt.Sprintf("HTTP %d: %s", status, reason)}
	}
	return outcome{result: unanswered, reason: fmt.Sprintf("HTTP %d: %s", status, reason)}
}

// failed judges a write of a request that got no usable answer.
func failed(a *attempt, err error) outcome {
	var status *cluster.StatusError
	if errors.As(err, &status) {
		var answer struct {
			Version int64 `json:"_version"`
		}
		_ = json.Unmarshal([]byte(status.Body), &answer) // an error has none
		return judge(a, status.Status, answer.Version, status.Body)
	}
	return outcome{result: unanswered, reason: err.Error()}
}

func (k *worker) single(ctx context.Context, a *attempt) outcome {
	o := k.w.o
	path := "/" + url.PathEscape(o.Index) + "/" + url.PathEscape(o.Type) + "/" + url.PathEscape(a.doc.id)
	method, body := http.MethodPut, any(k.content(a))
	switch a.kind {
	case update:
		method, path, body = http.MethodPost, path+"/_update", map[string]any{"doc": k.content(a)}
	case remove:
		method, body = http.MethodDelete, nil
	}
	if a.doc.routing != "" {
		path += "?routing=" + url.QueryEscape(a.doc.routing)
	}
	var answer struct {
		Version int64 `json:"_version"`
	}
	if err := k.w.to.Load().Do(ctx, method, path, body, &answer); err != nil {
		return failed(a, err)
	}
	return judge(a, http.StatusOK, answer.Version, "")
}

func (k *worker) bulk(ctx context.Context, attempts []*attempt) []outcome {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	for _, a := range attempts {
		meta := map[string]string{"_index": k.w.o.Index, "_type": k.w.o.Type, "_id": a.doc.id}
		if a.doc.routing != "" {
			meta["routing"] = a.doc.routing
		}
		_ = encoder.Encode(map[kind]any{a.kind: meta}) // maps of strings and numbers always encode
		switch a.kind {
		case index:
			_ = encoder.Encode(k.content(a))
		case update:
			_ = encoder.Encode(map[string]any{"doc": k.content(a)})
		}
	}
	var answer struct {
		Items []map[string]struct {
			ID      string `json:"_id"`
			Status  int
			Version int64 `json:"_version"`
			Error   json.RawMessage
		}
	}
	err := k.w.to.Load().Do(ctx, http.MethodPost, "/_bulk", body.Bytes(), &answer)
	outcomes := make([]outcome, len(attempts))
	for i, a := range attempts {
		switch {
		case err != nil:
			outcomes[i] = failed(a, err)
		case i >= len(answer.Items):
			outcomes[i] = outcome{result: unanswered, reason: "the answer lacks this item"}
		default:
			item := answer.Items[i][string(a.kind)]
			outcomes[i] = judge(a, item.Status, item.Version, string(item.Error))
			if item.ID != a.doc.id {
				outcomes[i] = outcome{result: unanswered, reason: "the answer is about another document"}
			}
		}
	}
	return outcomes
}
