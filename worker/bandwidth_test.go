package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

func TestTheBandwidthFollowsItsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "limit")
	write := func(text string) { require.NoError(t, os.WriteFile(path, []byte(text), 0o600)) }
	write("50MB/s\n")
	ticks, limits, ended := make(chan time.Time), make(chan int64, 10), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(ended)
		followBandwidth(ctx, "file:"+path, ticks, func(limit int64) { limits <- limit }, zap.NewNop())
	}()
	require.Equal(t, int64(50e6), <-limits)
	ticks <- time.Time{} // the same again
	write("quick")       // a slip of the pen leaves the limit
	ticks <- time.Time{}
	require.NoError(t, os.Remove(path))
	ticks <- time.Time{}
	write("none")
	ticks <- time.Time{}
	require.Equal(t, int64(0), <-limits)
	require.Empty(t, limits)
	cancel()
	<-ended

	followBandwidth(t.Context(), "7MB/s", nil, func(limit int64) { limits <- limit }, zap.NewNop())
	require.Equal(t, int64(7e6), <-limits)
}
