package main

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/version"
)

func TestVersion(t *testing.T) {
	c := newConsole(t, nil)
	out, _ := c.run(exitOK, "version")
	require.Equal(t, "starter "+version.Get().String()+"\n", out)
	out, _ = c.run(exitOK, "version", "-o", "json")
	var got version.Info
	require.NoError(t, json.Unmarshal([]byte(out), &got))
	require.Equal(t, version.Get(), got)
}
