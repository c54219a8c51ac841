package oss_test

import (
	"context"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/objectstore/oss"
)

// lent is an endless body that sees whether it is read after its request has ended.
type lent struct {
	slab   []byte
	giveUp func()
	pieces int
	ended  atomic.Bool
	late   atomic.Int64
}

func (l *lent) Next(most int) ([]byte, error) {
	if l.pieces++; l.pieces == 20 && l.giveUp != nil {
		l.giveUp()
	}
	if l.ended.Load() {
		l.late.Add(1)
	}
	return l.slab[:min(most, len(l.slab))], nil
}

func (l *lent) Read(p []byte) (int, error) {
	next, err := l.Next(len(p))
	return copy(p, next), err
}

// net/http goes on sending a body when the answer comes early. The memory belongs to somebody else
// by then.
func TestNothingIsReadAfterPut(t *testing.T) {
	const size = 256 << 20
	gone := make(chan struct{}, 1)
	server := &http.Server{
		ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Oss-Meta-Hang") == "" { // a whole answer, before anything of the body was read
				control := http.NewResponseController(w)
				assert.NoError(t, control.EnableFullDuplex())
				w.Header().Set("Content-Length", "0")
				w.WriteHeader(http.StatusServiceUnavailable)
				assert.NoError(t, control.Flush())
			}
			_, _ = io.Copy(io.Discard, r.Body) // until the client goes
			gone <- struct{}{}
		}),
	}
	sink := open(t, start(t), func(o *oss.Options) { o.Endpoint = serve(t, server) })
	for name, meta := range map[string]map[string]string{"answered early": nil, "given up": {"hang": "yes"}} {
		ctx, cancel := context.WithCancel(t.Context())
		body := &lent{slab: make([]byte, 256<<10)}
		if meta != nil {
			body.giveUp = cancel
		}
		_, err := sink.Put(ctx, "k", body, size, meta)
		body.ended.Store(true)
		clear(body.slab) // a race, if somebody still reads it
		require.Error(t, err)
		if meta != nil {
			require.ErrorIs(t, err, context.Canceled)
		}
		<-gone
		require.Zero(t, body.late.Load(), name)
		cancel()
	}
}
