package byhand

import (
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestScriptIsValidBash(t *testing.T) {
	path, err := write(t.TempDir())
	require.NoError(t, err)
	out, err := exec.CommandContext(t.Context(), "bash", "-n", path).CombinedOutput()
	require.NoError(t, err, string(out))

	out, err = exec.CommandContext(t.Context(), "bash", path).CombinedOutput()
	require.Error(t, err, "without its environment it must not do anything")
	require.Contains(t, string(out), "unbound variable")
}

func TestStepsOfTheScript(t *testing.T) {
	steps, err := parseSteps("step block 1700000000000000 1700000001500000\nstep copy 1700000001500001 " +
		"1700000001600001\n")
	require.NoError(t, err)
	require.Len(t, steps, 2)
	require.Equal(t, 1500*time.Millisecond, steps["block"].Ended.Sub(steps["block"].Began))
	require.Equal(t, 100*time.Millisecond, steps["copy"].Ended.Sub(steps["copy"].Began))
	for _, wrong := range []string{"curl: (22)\n", "step block 2 1\n", "step block 1\n"} {
		_, err := parseSteps(wrong)
		require.ErrorContains(t, err, "is no step", wrong)
	}
}
