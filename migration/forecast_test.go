package migration

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPaceLimits(t *testing.T) {
	const mib = 1 << 20
	limit := func(step, setting, value string, rate int64, nodes int, byDefault bool) PaceLimit {
		return PaceLimit{
			Step: step, Setting: setting, Value: value, BytesPerSecond: rate, Nodes: nodes, Default: byDefault,
		}
	}
	snapshot := limit(StepSnapshot, "max_snapshot_bytes_per_sec", "40mb", 40*mib, 2, true)
	for name, tt := range map[string]struct {
		plan   func(*Plan)
		around Surroundings
		want   []PaceLimit
	}{
		"Elasticsearch's own before 7.9": {
			around: Surroundings{SourceNodes: 2, TargetNodes: 3, Shards: 10},
			want: []PaceLimit{
				snapshot, limit(StepRestore, "max_restore_bytes_per_sec", "40mb", 40*mib, 3, true),
			},
		},
		"from 7.9 on recoveries are limited": {
			around: Surroundings{SourceNodes: 2, TargetNodes: 3, Shards: 10, Recovery: &RecoveryFound{}},
			want: []PaceLimit{
				snapshot, limit(StepRestore, "indices.recovery.max_bytes_per_sec", "40mb", 40*mib, 3, true),
			},
		},
		"what is set, the transient setting first": {
			plan: func(p *Plan) {
				p.Copy.Bandwidth = 50_000_000
				p.Source.Repository.Settings = map[string]any{"max_snapshot_bytes_per_sec": "20mb"}
				p.Target.Repository.Settings = map[string]any{"max_restore_bytes_per_sec": "1gb"}
			},
			around: Surroundings{
				SourceNodes: 2, TargetNodes: 3, Shards: 10,
				Recovery: &RecoveryFound{Transient: "10mb", Persistent: "80mb"},
			},
			want: []PaceLimit{
				limit(StepSnapshot, "max_snapshot_bytes_per_sec", "20mb", 20*mib, 2, false),
				limit(StepCopy, "copy.bandwidth", "50MB/s", 50_000_000, 0, false),
				limit(StepRestore, "max_restore_bytes_per_sec", "1gb", 1024*mib, 3, false),
				limit(StepRestore, "indices.recovery.max_bytes_per_sec", "10mb", 10*mib, 3, false),
			},
		},
		"in Elasticsearch's own short units": {
			plan: func(p *Plan) {
				p.Source.Repository.Settings = map[string]any{"max_snapshot_bytes_per_sec": "40m"}
				p.Target.Repository.Settings = map[string]any{"max_restore_bytes_per_sec": "1.5G"}
			},
			around: Surroundings{
				SourceNodes: 2, TargetNodes: 3, Shards: 10, Recovery: &RecoveryFound{Transient: "512k"},
			},
			want: []PaceLimit{
				limit(StepSnapshot, "max_snapshot_bytes_per_sec", "40m", 40*mib, 2, false),
				limit(StepRestore, "max_restore_bytes_per_sec", "1.5G", 1536*mib, 3, false),
				limit(StepRestore, "indices.recovery.max_bytes_per_sec", "512k", 512<<10, 3, false),
			},
		},
		"the plan's throttles stand before what is set": {
			plan: func(p *Plan) {
				p.Throttles.Rounds = Limits{Snapshot: "80mb", Restore: ThrottleUnlimited, Recovery: ThrottleKeep}
				p.Source.Repository.Settings = map[string]any{"max_snapshot_bytes_per_sec": "20mb"}
			},
			around: Surroundings{
				SourceNodes: 2, TargetNodes: 3, Shards: 10, Recovery: &RecoveryFound{Persistent: "0"},
			},
			want: []PaceLimit{limit(StepSnapshot, "max_snapshot_bytes_per_sec", "80mb", 80*mib, 2, false)},
		},
		"no node works without a shard, and nobody knows more nodes than shards": {
			around: Surroundings{TargetNodes: 9, Shards: 4},
			want: []PaceLimit{
				limit(StepSnapshot, "max_snapshot_bytes_per_sec", "40mb", 40*mib, 4, true),
				limit(StepRestore, "max_restore_bytes_per_sec", "40mb", 40*mib, 4, true),
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var plan Plan
			if tt.plan != nil {
				tt.plan(&plan)
			}
			require.Equal(t, tt.want, plan.PaceLimits(tt.around))
		})
	}

	l := limit(StepRestore, "max_restore_bytes_per_sec", "40mb", 40*mib, 3, true)
	require.EqualValues(t, 10_000, l.Millis(1200*mib), "1200 MiB at 120 MiB/s")
	copying := limit(StepCopy, "copy.bandwidth", "100MB/s", 100_000_000, 0, false)
	slowest, known := SlowestLimit([]PaceLimit{snapshot, copying, l})
	require.True(t, known)
	require.Equal(t, snapshot, slowest, "80 MiB/s are slower than 100 MB/s and 120 MiB/s")
	_, known = SlowestLimit(nil)
	require.False(t, known)
}

// forecastOf is a check of a plan with 10 GiB, whose probe copied 100 MB: a second of each of its
// steps came with its size, so that a byte takes 30 ns; the rest is what a round takes in any case.
func forecastOf(written *Written) CheckReport {
	return CheckReport{
		Checked: Checked{Bytes: 10 << 30, Shards: 8, Probe: &Index{Name: "small", Shards: 2}},
		Probed: &Probed{
			Bytes: 100_000_000, SnapshotMillis: 1500, CopyMillis: 1200, RestoreMillis: 2000,
			Round: &ProbedRound{SnapshotMillis: 500, CopyMillis: 200, RestoreMillis: 1000},
		},
		Written: written,
	}
}

// busy is one minute with 1 kB/ms of new documents and 2 kB/ms of merges, in 4 shards.
func busy() *Written {
	return &Written{
		Millis: 60_000, Indexed: 6000, Indices: 2, Shards: 4, Bytes: 5_000_000_000, NewBytes: 60_000_000,
		MergedBytes: 120_000_000,
	}
}

func TestForecastOfARound(t *testing.T) {
	const interval = Duration(15 * time.Minute)
	r := forecastOf(busy())
	r.Foresee(interval)
	// Least: 1,000 bytes/ms and 1,700 ms in any case. (900,000 + 1,700) ms * 1,000 bytes/ms / (1 - 0.03)
	// are 929,587,629 bytes, which take 9,296 ms in each step beside 500, 200 and 1,000.
	require.Equal(t, RoundEstimate{
		Bytes: 929_587_629, Millis: 29_588, SnapshotMillis: 9796, CopyMillis: 9496, RestoreMillis: 10_296,
	}, r.Round.Least)
	// Most: 3,000 bytes/ms and twice 1,700 ms, since twice as many shards as the probe's were written.
	// 903,400 * 3,000 / (1 - 0.09) are 2,978,241,758 bytes, which take 29,782 ms in each step.
	require.Equal(t, RoundEstimate{
		Bytes: 2_978_241_758, Millis: 92_746, SnapshotMillis: 30_782, CopyMillis: 30_182, RestoreMillis: 31_782,
	}, r.Round.Most)
	require.Empty(t, r.Round.NoTime)
	require.EqualValues(t, 900_000, r.Round.IntervalMillis)

	// A limit of 20 MB/s on the copy: 50 ns a byte instead of 10, so 70 in all.
	// 901,700 * 1,000 / (1 - 0.07) = 969,569,892.
	r = forecastOf(busy())
	r.Limits = []PaceLimit{{Step: StepCopy, Setting: "copy.bandwidth", BytesPerSecond: 20_000_000}}
	r.Foresee(interval)
	require.Equal(t, RoundEstimate{
		Bytes: 969_569_892, Millis: 69_570, SnapshotMillis: 10_196, CopyMillis: 48_678, RestoreMillis: 10_696,
	}, r.Round.Least)
	require.EqualValues(t, 536_871, r.Forecast.CopyMillis, "the baseline is no faster either: 10 GiB at 20 MB/s")
	require.EqualValues(t, 161_061, r.Forecast.SnapshotMillis, "107.37 times 1.5 s")

	// What is written faster than it is copied is at most all that there is, and what is new in it.
	fast := busy()
	fast.NewBytes *= 40 // 40 kB/ms, at 30 ns a byte
	r = forecastOf(fast)
	r.Foresee(interval)
	const all = 5_000_000_000 + 40_000*900_000
	require.EqualValues(t, all, r.Round.Least.Bytes)
	require.EqualValues(t, all/100_000+500, r.Round.Least.SnapshotMillis)
	require.EqualValues(t, all, r.Round.Most.Bytes)

	// Only deletes: next to nothing is copied.
	r = forecastOf(&Written{Millis: 60_000, Deleted: 10, Indices: 1, Shards: 1, Bytes: 1000})
	r.Foresee(interval)
	require.Equal(t, RoundEstimate{
		Millis: 1700, SnapshotMillis: 500, CopyMillis: 200, RestoreMillis: 1000,
	}, r.Round.Most)
}

func TestForecastsThatAreNotKnown(t *testing.T) {
	const interval = Duration(15 * time.Minute)
	for name, written := range map[string]*Written{"not watched": nil, "nothing written": {Millis: 60_000}} {
		r := forecastOf(written)
		r.Foresee(interval)
		require.Nil(t, r.Round, name)
		require.NotNil(t, r.Forecast, name)
	}
	for says, spoil := range map[string]func(*CheckReport){
		"there was no probe":               func(r *CheckReport) { r.Probed = nil },
		"it had a second round":            func(r *CheckReport) { r.Probed.Round = nil },
		"copied too little to tell the pa": func(r *CheckReport) { r.Probed.Bytes = 30_000_000 },
		"second round copied about as muc": func(r *CheckReport) { r.Probed.Round.Bytes = r.Probed.Bytes - 1 },
	} {
		r := forecastOf(busy())
		spoil(&r)
		r.Foresee(interval)
		require.Contains(t, r.Round.NoTime, says)
		// 1,000 and 3,000 bytes/ms within 900,000 ms.
		require.Equal(t, RoundEstimate{Bytes: 900_000_000}, r.Round.Least, says)
		require.Equal(t, RoundEstimate{Bytes: 2_700_000_000}, r.Round.Most, says)
	}

	// A small probe tells enough of a round that copies no more than it did.
	idle := busy()
	idle.NewBytes, idle.MergedBytes = 60, 0 // 1 byte/s
	r := forecastOf(idle)
	r.Probed.Bytes = 30_000_000
	r.Foresee(interval)
	require.Nil(t, r.Forecast)
	require.Empty(t, r.Round.NoTime)
	require.EqualValues(t, 902, r.Round.Least.Bytes)
	require.EqualValues(t, 1700, r.Round.Least.Millis)
	require.EqualValues(t, 3400, r.Round.Most.Millis)
}

func TestHowLongACheckWatches(t *testing.T) {
	require.Zero(t, CheckOptions{}.WatchFor(false))
	require.Equal(t, DefaultWatch, CheckOptions{}.WatchFor(true))
	require.Equal(t, Duration(time.Second), CheckOptions{Watch: Duration(time.Second)}.WatchFor(true))
	require.Equal(t, LongestWatch, CheckOptions{Watch: 2 * LongestWatch}.WatchFor(false))
}
