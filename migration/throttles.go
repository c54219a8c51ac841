package migration

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// Throttles says how fast each node of the clusters may take snapshots and restore them.
// Elasticsearch's own limit of 40 MB/s protects searches; inside the frozen window it costs most of
// the time.
type Throttles struct {
	// Rounds holds for the baseline and the rounds; what stands on the clusters if left out.
	Rounds Limits `json:"rounds,omitzero"`
	// Window holds from before the write block, or the hot round, until the window has ended. A
	// rehearsal's round that measures what the window will take has it, too.
	Window Limits `json:"window,omitzero"`
}

// Limits are the three throttles.
type Limits struct {
	// Snapshot is max_snapshot_bytes_per_sec of the repository on the source.
	Snapshot Throttle `json:"snapshot,omitempty" example:"40mb"`
	// Restore is max_restore_bytes_per_sec of the repository on the target.
	Restore Throttle `json:"restore,omitempty" example:"40mb"`
	// Recovery is the target's indices.recovery.max_bytes_per_sec, which limits restores, beside
	// replicas, from 7.9 on; before, it is left alone.
	Recovery Throttle `json:"recovery,omitempty" example:"40mb"`
}

// Throttle is a number of bytes per second and node as Elasticsearch writes it, such as 40mb
// (powers of 1024), or one of the words below.
type Throttle string

const (
	// ThrottleKeep leaves what stands on the cluster.
	ThrottleKeep Throttle = "keep"
	// ThrottleUnlimited takes the limit away.
	ThrottleUnlimited Throttle = "unlimited"
	// DefaultWindowThrottle is more than any node's disks and network can do. With it 5.5.2 took a
	// snapshot of 375 MB in 1.7 s instead of 9.8 s, and 5.5.3 restored it in 0.7 s instead of 9.6
	// s.
	DefaultWindowThrottle Throttle = "4gb"
)

// Setting is the value that sets this rate; false if what stands there stays. Elasticsearch 5.0 to
// 8.x: BlobStoreRepository and RecoverySettings take 0 for no limit.
func (t Throttle) Setting() (string, bool) {
	switch t {
	case "", ThrottleKeep:
		return "", false
	case ThrottleUnlimited:
		return "0", true
	}
	return string(t), true
}

var throttleText = regexp.MustCompile(`^([1-9][0-9]{0,11})(b|kb|mb|gb|tb)$`)

const (
	// With less than slowestThrottle no migration ever ends: it is a slip of the pen, such as kb
	// for mb.
	slowestThrottle = 1 << 20
	fastestThrottle = 1 << 40
)

// bytes is the rate as a number; false if it is none.
func (t Throttle) bytes() (float64, bool) {
	parts := throttleText.FindStringSubmatch(strings.ToLower(string(t)))
	if parts == nil {
		return 0, false
	}
	number, err := strconv.ParseFloat(parts[1], 64)
	power := map[string]float64{"b": 0, "kb": 1, "mb": 2, "gb": 3, "tb": 4}[parts[2]]
	return number * math.Pow(1024, power), err == nil
}

// withDefaults fills in what the plan leaves out. In rounds that is kept, empty or not.
func (t Throttles) withDefaults() Throttles {
	t.Window = t.Window.or(DefaultWindowThrottle)
	return t
}

func (l Limits) or(fallback Throttle) Limits {
	return Limits{
		Snapshot: or(l.Snapshot, fallback), Restore: or(l.Restore, fallback),
		Recovery: or(l.Recovery, fallback),
	}
}

// checkThrottles reports values that are no rate, and those that the repositories' further settings
// give as well.
func (c *checker) checkThrottles(plan Plan) {
	rounds, window := plan.Throttles.Rounds, plan.Throttles.Window
	c.checkLimits("throttles.rounds", rounds)
	c.checkLimits("throttles.window", window)
	for _, given := range []struct {
		field, setting string
		throttle       Throttle
		settings       map[string]any
		where          string
	}{
		{
			"throttles.rounds.snapshot", "max_snapshot_bytes_per_sec", rounds.Snapshot, plan.Source.Repository.Settings,
			"source.repository.settings",
		},
		{
			"throttles.rounds.restore", "max_restore_bytes_per_sec", rounds.Restore, plan.Target.Repository.Settings,
			"target.repository.settings",
		},
	} {
		other, twice := given.settings[given.setting]
		if _, set := given.throttle.Setting(); set && twice {
			c.add(given.field, string(given.throttle), fmt.Sprintf("is also set by %s.%s (%v)", given.where,
				given.setting, other), "remove one of the two")
		}
	}
}

func (c *checker) checkLimits(field string, limits Limits) {
	for _, limit := range []struct {
		name  string
		value Throttle
	}{{"snapshot", limits.Snapshot}, {"restore", limits.Restore}, {"recovery", limits.Recovery}} {
		number, ok := limit.value.bytes()
		switch remedy := fmt.Sprintf("for example %s: 40mb, or keep (what is set on the cluster stays), or unlimited",
			limit.name); {
		case limit.value == "", limit.value == ThrottleKeep, limit.value == ThrottleUnlimited:
		case !ok:
			c.add(field+"."+limit.name, string(limit.value), "is not a number of bytes per second with a unit", remedy)
		case number < slowestThrottle || number > fastestThrottle:
			c.add(field+"."+limit.name, string(limit.value), "must be from 1mb to 1tb", remedy)
		}
	}
}

// ThrottlesFound is what stood on the clusters before snapferry changed it. It is read once and
// then kept: whoever reads later finds our own values.
type ThrottlesFound struct {
	// Snapshot is max_snapshot_bytes_per_sec of the repository on the source, Restore
	// max_restore_bytes_per_sec of that on the target, each as the cluster wrote it; empty if it
	// wasn't set and Elasticsearch's default held.
	Snapshot string `json:"snapshot,omitempty"`
	Restore  string `json:"restore,omitempty"`
	// Recovery is nil if the target's indices.recovery.max_bytes_per_sec plays no role for restores
	// (before 7.9), or if the cluster doesn't show it.
	Recovery *RecoveryFound `json:"recovery,omitempty"`
	// Warnings say what can't be read and will therefore be left alone.
	Warnings []string `json:"warnings,omitempty"`
}

// RecoveryFound is indices.recovery.max_bytes_per_sec among the cluster's settings; empty where it
// wasn't set. Only the transient one is ever changed: it goes before the persistent one, and
// disappears with a full restart.
type RecoveryFound struct {
	Transient  string `json:"transient,omitempty"`
	Persistent string `json:"persistent,omitempty"`
}

// SetThrottlesRequest asks for limits. One that is kept becomes what was found.
type SetThrottlesRequest struct {
	Run
	Found  ThrottlesFound `json:"found"`
	Wanted Limits         `json:"wanted"`
}

// ThrottlesSet is what came of it.
type ThrottlesSet struct {
	// Warnings say which limits a service refused to change: those stand as before.
	Warnings []string `json:"warnings,omitempty"`
}

// RestoreThrottlesRequest asks for what was found to be restored.
type RestoreThrottlesRequest struct {
	Run
	Found ThrottlesFound `json:"found"`
}
