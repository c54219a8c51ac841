package activities

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAnAbsentIndexCostsNoRequestForEachOther(t *testing.T) {
	w := newWorld(t)
	names := []string{"zz-absent", "zz-alias", "logs-alias"}
	w.to.Create("other", 1, nil)
	w.to.AddAlias("other", "zz-alias")
	for i := range 200 {
		name := fmt.Sprintf("logs-%03d", i)
		w.to.Create(name, 1, nil)
		names = append(names, name)
	}
	w.to.AddAlias("logs-000", "logs-alias")
	w.to.SetOpen("logs-001", false)
	found, aliases, err := existing(t.Context(), clientOf(w, onTarget), names)
	require.NoError(t, err)
	require.Len(t, found, 200)
	require.ElementsMatch(t, []string{"zz-alias", "logs-alias"}, aliases)
	require.True(t, found["logs-000"].Open)
	require.False(t, found["logs-001"].Open)
	requests := len(w.to.Requests("GET /*/*")) + len(w.to.Requests("GET /*/*/*/*")) + len(w.to.Requests("GET /*/*/*"))
	require.LessOrEqual(t, requests, 3)
	require.Empty(t, w.to.Requests("GET /*/_stats*"))
}
