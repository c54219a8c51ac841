package lab

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// counted is a front end before a server that counts.
func counted(t *testing.T) (p *AlibabaProxy, reached *atomic.Int32) {
	reached = &atomic.Int32{}
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	t.Cleanup(server.Close)
	p, err := NewAlibabaProxy(AlibabaOptions{Upstream: server.URL, User: "u", Password: "p"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.Close() })
	return p, reached
}

func TestFailNextKeepsRequestsFromTheServer(t *testing.T) {
	p, reached := counted(t)
	fault := p.FailNext(2, Requests(http.MethodPut, "/_snapshot/"), 503, `{"error":"busy"}`)
	for i, want := range []int{503, 503, 200} {
		status, text := call(t, BasicClient("u", "p"), http.MethodPut, p.URL()+"/_snapshot/r/s", "")
		assert.Equal(t, want, status, i)
		if want == 503 {
			assert.Equal(t, `{"error":"busy"}`, text)
		}
		status, _ = call(t, BasicClient("u", "p"), http.MethodGet, p.URL()+"/_snapshot/r/s", "")
		assert.Equal(t, 200, status, "another method")
	}
	assert.Equal(t, 2, fault.Hits())
	assert.EqualValues(t, 4, reached.Load())
}

func TestLoseNextLetsTheServerActWithoutAnAnswer(t *testing.T) {
	p, reached := counted(t)
	p.LoseNext(1, nil, 504)
	status, _ := call(t, BasicClient("u", "p"), http.MethodPut, p.URL()+"/a", "{}")
	assert.Equal(t, 504, status)
	assert.EqualValues(t, 1, reached.Load())

	p.LoseNext(1, nil, 0)
	client := BasicClient("u", "p")
	defer client.CloseIdleConnections()
	r, err := http.NewRequest(http.MethodPut, p.URL()+"/a", http.NoBody)
	require.NoError(t, err)
	_, err = client.Do(r)
	assert.ErrorContains(t, err, "EOF")
	assert.EqualValues(t, 2, reached.Load())
}

func TestHoldNextWaitsForRelease(t *testing.T) {
	p, reached := counted(t)
	hold := p.HoldNext(Requests("", "/held"))
	var done sync.WaitGroup
	done.Go(func() {
		status, _ := call(t, BasicClient("u", "p"), http.MethodGet, p.URL()+"/held", "")
		assert.Equal(t, 200, status)
	})
	<-hold.Arrived()
	assert.Zero(t, reached.Load())
	status, _ := call(t, BasicClient("u", "p"), http.MethodGet, p.URL()+"/other", "")
	assert.Equal(t, 200, status)
	hold.Release()
	done.Wait()
	assert.EqualValues(t, 2, reached.Load())
}

func TestObserversSeeEverythingThatWasAskedAndSaid(t *testing.T) {
	p, _ := counted(t)
	var mu sync.Mutex
	var seen []Exchange
	stop := p.Observe(func(e Exchange) { mu.Lock(); defer mu.Unlock(); seen = append(seen, e) })
	p.FailNext(1, Requests("", "/b"), 500, "")
	call(t, BasicClient("u", "wrong"), http.MethodGet, p.URL()+"/a", "")
	call(t, BasicClient("u", "p"), http.MethodPost, p.URL()+"/b?x=1", "body")
	call(t, BasicClient("u", "p"), http.MethodGet, p.URL()+"/c", "")
	require.Eventually(t, func() bool { mu.Lock(); defer mu.Unlock(); return len(seen) == 3 }, longEnough, pollEvery)
	stop()
	call(t, BasicClient("u", "p"), http.MethodGet, p.URL()+"/d", "")
	mu.Lock()
	defer mu.Unlock()
	for i := range seen {
		seen[i].Took = 0
	}
	assert.ElementsMatch(t, []Exchange{
		{Method: "GET", Path: "/a", Body: []byte{}, Status: 401},
		{Method: "POST", Path: "/b", RawQuery: "x=1", Body: []byte("body"), Status: 500},
		{Method: "GET", Path: "/c", Body: []byte{}, Status: 200},
	}, seen)
}

func TestAHeldRequestOutlivesItsClient(t *testing.T) {
	p, reached := counted(t)
	hold := p.HoldNext(nil)
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, p.URL()+"/held", http.NoBody)
	require.NoError(t, err)
	client := BasicClient("u", "p")
	defer client.CloseIdleConnections()
	gone := make(chan error)
	go func() {
		_, err := client.Do(r)
		gone <- err
	}()
	<-hold.Arrived()
	cancel()
	require.ErrorIs(t, <-gone, context.Canceled)
	assert.Zero(t, reached.Load())
	hold.Release()
	require.Eventually(t, func() bool { return reached.Load() == 1 }, longEnough, pollEvery)
}
