package lab

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Ports that systems give to connections may be taken before a child listens on them.
func TestFreePortsAreNoneOfThoseOfConnections(t *testing.T) {
	ports := make([]int, 50)
	places := make([]*int, len(ports))
	for i := range ports {
		places[i] = &ports[i]
	}
	require.NoError(t, freePorts(places))
	seen := map[int]bool{}
	for _, port := range ports {
		require.False(t, seen[port], "port %d twice", port)
		seen[port] = true
		require.GreaterOrEqual(t, port, lowestPort)
		require.Less(t, port, lowestPort+portsToTry)
	}
}
