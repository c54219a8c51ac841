package lab

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A node that is down is left out, whatever was asked; when it is back it is asked again.
func TestRequestsGoToTheNodesThatAreUp(t *testing.T) {
	asked := map[string]int{}
	var nodes []*httptest.Server
	var urls []string
	for _, name := range []string{"one", "two", "three"} {
		node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			assert.NoError(t, err)
			asked[name+" "+r.Method+" "+string(body)]++
		}))
		defer node.Close()
		nodes, urls = append(nodes, node), append(urls, node.URL)
	}
	p, err := newOpenProxy(urls...)
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Close()) }()
	ask := func() {
		for range 3 {
			for _, method := range []string{http.MethodGet, http.MethodPut} {
				status, _ := call(t, &http.Client{Transport: loopback}, method, p.URL(), "body")
				require.Equal(t, http.StatusOK, status)
			}
		}
	}
	ask()
	require.Equal(t, map[string]int{
		"one GET body": 1, "one PUT body": 1, "two GET body": 1, "two PUT body": 1, "three GET body": 1,
		"three PUT body": 1,
	}, asked)

	clear(asked)
	nodes[1].Close()
	ask()
	sum := 0
	for what, times := range asked {
		require.NotContains(t, what, "two")
		sum += times
	}
	require.Equal(t, 6, sum)

	nodes[0].Close()
	nodes[2].Close()
	status, text := call(t, &http.Client{Transport: loopback}, http.MethodGet, p.URL(), "")
	require.Equal(t, http.StatusBadGateway, status)
	require.Contains(t, text, "did not reach the node")
}

// Nodes elect a manager only if more than half of them have found each other.
func TestDiscoverySettings(t *testing.T) {
	addresses, names := []string{"127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"}, []string{"s-1", "s-2", "s-3"}
	require.Equal(t, nodeSettings{
		"discovery.type": "zen", "transport.tcp.port": "2",
		"discovery.zen.ping.unicast.hosts":   "127.0.0.1:1,127.0.0.1:2,127.0.0.1:3",
		"discovery.zen.minimum_master_nodes": "2",
	}, discovery("6.8.23", 2, addresses, names))
	require.Equal(t, nodeSettings{
		"discovery.type": "zen", "transport.port": "3",
		"discovery.seed_hosts":         "127.0.0.1:1,127.0.0.1:2,127.0.0.1:3",
		"cluster.initial_master_nodes": "s-1,s-2,s-3",
	}, discovery("7.10.2", 3, addresses, names))
	require.Equal(t, "multi-node", discovery("8.17.2", 3, addresses, names)["discovery.type"])
}
