package oss_test

import (
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// serve runs a server until the test ends and gives its URL.
func serve(t *testing.T, server *http.Server) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		require.NoError(t, server.Close())
		<-done
	})
	return "http://" + l.Addr().String()
}
