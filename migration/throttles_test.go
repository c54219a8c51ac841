package migration

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestThrottlesOfAPlan(t *testing.T) {
	plan, err := Decode([]byte(wholePlan))
	require.NoError(t, err)
	require.Equal(t, Limits{}, plan.Throttles.Rounds, "what stands on the clusters")
	require.Equal(t, Limits{Snapshot: "4gb", Restore: "4gb", Recovery: "4gb"}, plan.Throttles.Window)
	require.Equal(t, time.Hour, plan.Freeze.SlotWait.Std())

	plan, err = Decode([]byte(wholePlan + `
throttles:
  rounds: {snapshot: 20MB, restore: keep}
  window: {snapshot: unlimited, restore: 200mb, recovery: null}
freeze: {slotWait: 10m}
`))
	require.NoError(t, err)
	require.Equal(t, Limits{Snapshot: "20MB", Restore: "keep"}, plan.Throttles.Rounds)
	require.Equal(t, Limits{Snapshot: "unlimited", Restore: "200mb", Recovery: "4gb"}, plan.Throttles.Window)
	require.Equal(t, 10*time.Minute, plan.Freeze.SlotWait.Std())
}

func TestThrottleAsASetting(t *testing.T) {
	for throttle, want := range map[Throttle]string{"40mb": "40mb", "4GB": "4GB", ThrottleUnlimited: "0"} {
		value, set := throttle.Setting()
		require.True(t, set, throttle)
		require.Equal(t, want, value)
	}
	for _, throttle := range []Throttle{"", ThrottleKeep} {
		_, set := throttle.Setting()
		require.False(t, set, throttle)
	}
}

func TestThrottlesThatAreRefused(t *testing.T) {
	const noRate = ") is not a number of bytes per second with a unit; for example snapshot: 40mb, or keep (what is " +
		"set on the cluster stays), or unlimited"
	for plan, says := range map[string]string{
		"throttles: {window: {snapshot: 40}}": "throttles.window.snapshot (40) must be a string; " +
			"for example snapshot: 40mb",
		"throttles: {window: {snapshot: \"0\"}}":  "throttles.window.snapshot (0" + noRate,
		"throttles: {window: {snapshot: \"-1\"}}": "throttles.window.snapshot (-1" + noRate,
		"throttles: {window: {snapshot: 1.5gb}}":  "throttles.window.snapshot (1.5gb" + noRate,
		"throttles: {window: {snapshot: 40mb/s}}": "throttles.window.snapshot (40mb/s" + noRate,
		"throttles: {rounds: {restore: 40kb}}": "throttles.rounds.restore (40kb) must be from 1mb " +
			"to 1tb",
		"throttles: {rounds: {recovery: 2tb}}": "throttles.rounds.recovery (2tb) must be from 1mb " +
			"to 1tb",
		"throttles: {rounds: {snapshots: 40mb}}": "throttles.rounds.snapshots is not a field of a " +
			"plan; did you mean throttles.rounds.snapshot?",
		"throttles: {round: {snapshot: 40mb}}": "throttles.round is not a field of a plan; did you " +
			"mean throttles.rounds?",
		"freeze: {slotWait: 100ms}": `freeze.slotWait ("100ms") must be at least 1s; for example slotWait: 1h`,
		"freeze: {slotWait: 1000h}": "freeze.slotWait (1000h) must be at most 720h",
		"throttles: {window: {restore: fast, snapshot: faster}}": "throttles.window.restore (fast) is not a number " +
			"of bytes per second",
	} {
		t.Run(plan, func(t *testing.T) {
			_, err := Decode([]byte(wholePlan + plan))
			require.ErrorContains(t, err, says)
		})
	}
}

// A limit that the repository's registration has already is given once.
func TestThrottlesOfRoundsAreGivenOnce(t *testing.T) {
	registered := strings.Replace(wholePlan, "    roleArn:",
		"    settings: {max_snapshot_bytes_per_sec: 80mb}\n    roleArn:", 1)
	require.NotEqual(t, wholePlan, registered)
	_, err := Decode([]byte(registered + "throttles: {rounds: {snapshot: 20mb}}"))
	require.ErrorContains(t, err, "throttles.rounds.snapshot (20mb) is also set by "+
		"source.repository.settings.max_snapshot_bytes_per_sec (80mb); remove one of the two")
	_, err = Decode([]byte(registered + "throttles: {rounds: {snapshot: keep, restore: 20mb}, window: {snapshot: " +
		"100mb}}"))
	require.NoError(t, err)
}

// Workflow state keeps what was found, nothing more than there is.
func TestThrottlesFoundAsJSON(t *testing.T) {
	text, err := json.Marshal(ThrottlesFound{Snapshot: "20mb", Recovery: &RecoveryFound{Persistent: "60mb"}})
	require.NoError(t, err)
	require.JSONEq(t, `{"snapshot":"20mb","recovery":{"persistent":"60mb"}}`, string(text))
	var found ThrottlesFound
	require.NoError(t, json.Unmarshal([]byte(`{"recovery":{}}`), &found))
	require.Equal(t, ThrottlesFound{Recovery: &RecoveryFound{}}, found, "it plays a role, and nothing was set")
}
