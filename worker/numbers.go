package main

import (
	"context"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/snapferry/snapferry/migration"
)

// watch adds the numbers of all migrations, until the context ends.
func (o *observation) watch(ctx context.Context, temporal watchedTemporal, c config, logger *zap.Logger) {
	w := newWatcher(temporal, c.client.Namespace, logger)
	o.registry.MustRegister(&numbers{newest: w.newest, now: w.now})
	ticker := time.NewTicker(c.metricsInterval)
	defer ticker.Stop()
	w.run(ctx, ticker.C)
}

// numbers are the metrics of the migrations. docs/metrics.md explains each.
type numbers struct {
	newest func() pass
	now    func() time.Time
}

// number is one metric of each migration.
type number struct {
	name, help string
	// label is the one beside that of the migration, if there is one.
	labels []string
	// counter is set for what only grows.
	counter bool
	// of gives the values that there are now.
	of func(w watched, now time.Time, give func(value float64, labels ...string))
}

const migrationLabel = "migration"

func (n number) desc() *prometheus.Desc {
	return prometheus.NewDesc("snapferry_migration_"+n.name, n.help, append([]string{migrationLabel}, n.labels...), nil)
}

// What a watcher tells of itself.
var (
	descLastPass = prometheus.NewDesc("snapferry_watch_last_pass_timestamp_seconds",
		"When this worker last asked all migrations for their status; 0 before the first time.", nil, nil)
	descUnreadable = prometheus.NewDesc("snapferry_watch_unreadable_migrations",
		"Migrations that run and gave no answer when this worker last asked.", nil, nil)
	descMigrations = prometheus.NewDesc("snapferry_watch_migrations",
		"Migrations and rehearsals that run and gave an answer when this worker last asked.", nil, nil)
)

func (n *numbers) Describe(descs chan<- *prometheus.Desc) {
	descs <- descLastPass
	descs <- descUnreadable
	descs <- descMigrations
	for _, number := range allNumbers {
		descs <- number.desc()
	}
}

func (n *numbers) Collect(metrics chan<- prometheus.Metric) {
	p := n.newest()
	at := 0.0
	if !p.at.IsZero() {
		at = seconds(p.at.UnixMilli())
	}
	metrics <- prometheus.MustNewConstMetric(descLastPass, prometheus.GaugeValue, at)
	metrics <- prometheus.MustNewConstMetric(descUnreadable, prometheus.GaugeValue, float64(p.unreadable))
	metrics <- prometheus.MustNewConstMetric(descMigrations, prometheus.GaugeValue, float64(len(p.seen)))
	now := n.now()
	for _, number := range allNumbers {
		desc, kind := number.desc(), prometheus.GaugeValue
		if number.counter {
			kind = prometheus.CounterValue
		}
		for _, w := range p.seen {
			number.of(w, now, func(value float64, labels ...string) {
				labels = append([]string{w.WorkflowID}, labels...)
				metrics <- prometheus.MustNewConstMetric(desc, kind, value, labels...)
			})
		}
	}
}

func seconds(millis int64) float64 { return float64(millis) / 1000 }

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// always is a number that each migration has.
func always(of func(watched) float64) func(watched, time.Time, func(float64, ...string)) {
	return func(w watched, _ time.Time, give func(float64, ...string)) { give(of(w)) }
}

// known is a number that a migration has where has is not nil.
func known[T any](has func(watched) *T, of func(T) float64) func(watched, time.Time, func(float64, ...string)) {
	return func(w watched, _ time.Time, give func(float64, ...string)) {
		if found := has(w); found != nil {
			give(of(*found))
		}
	}
}

func predicted(w watched) *migration.FrozenWindow {
	if w.Prediction == nil {
		return nil
	}
	window := w.Prediction.Window()
	return &window
}

func measured(w watched) *migration.FrozenWindow {
	if w.Rehearsal != nil && w.Rehearsal.Window != nil {
		return w.Rehearsal.Window
	}
	return w.FrozenWindow
}

func whole(window migration.FrozenWindow) float64 { return seconds(window.Millis) }

// parts gives a window by its parts. In groups, snapshot, copy and restore overlap: they are one.
func parts(window *migration.FrozenWindow, give func(float64, ...string)) {
	if window == nil {
		return
	}
	give(seconds(window.BlockMillis), "block")
	if window.Groups > 0 {
		give(seconds(window.GroupedMillis), "groups")
	} else {
		give(seconds(window.SnapshotMillis), "snapshot")
		give(seconds(window.CopyMillis), "copy")
		give(seconds(window.RestoreMillis), "restore")
	}
	give(seconds(window.VerifyMillis), "verify")
}

func lastRound(w watched) *migration.Round {
	if n := len(w.Rounds); n > 0 {
		return &w.Rounds[n-1]
	}
	return nil
}

func copied(w watched) *migration.CopyProgress { return w.Copy }
func proven(w watched) *migration.Proven       { return w.Proven }
func verifying(w watched) *migration.Progress  { return w.verifying }

// attentionType bounds the label: a type that isn't ours is other.
func attentionType(attention migration.Attention) string {
	if migration.ErrorType(attention.Type).Known() {
		return attention.Type
	}
	return "other"
}

var allNumbers = []number{
	{
		name: "info", help: "1 for each migration and rehearsal that runs, with the plan's name.",
		labels: []string{"plan", "kind"},
		of: func(w watched, _ time.Time, give func(float64, ...string)) {
			kind := "migration"
			if w.Plan.Rehearsal {
				kind = "rehearsal"
			}
			give(1, w.Plan.Name, kind)
		},
	},
	{
		name: "phase", help: "1 for the phase in which the migration is, 0 for all others.",
		labels: []string{"phase"},
		of: func(w watched, _ time.Time, give func(float64, ...string)) {
			for _, phase := range migration.OpenPhases() {
				give(truth(phase == w.Phase), string(phase))
			}
		},
	},
	{
		name: "started_timestamp_seconds", help: "When the migration began.",
		of: always(func(w watched) float64 { return seconds(w.StartedMillis) }),
	},
	{
		name: "phase_started_timestamp_seconds", help: "When the phase began.",
		of: always(func(w watched) float64 { return seconds(w.PhaseSinceMillis) }),
	},
	{
		name: "paused", help: "1 while the migration is paused.",
		of: always(func(w watched) float64 { return truth(w.Paused) }),
	},
	{
		name: "attention", help: "1 while a step needs attention; retrying is true if it goes on without a person.",
		labels: []string{"type", "retrying"},
		of: func(w watched, _ time.Time, give func(float64, ...string)) {
			if w.Attention != nil {
				give(1, attentionType(*w.Attention), strconv.FormatBool(w.Attention.Retrying))
			}
		},
	},
	{
		name: "findings", help: "What a rehearsal has found that would have needed attention.",
		of: known(func(w watched) *migration.Rehearsal { return w.Rehearsal },
			func(r migration.Rehearsal) float64 { return float64(len(r.Attention) + r.AttentionOmitted) }),
	},
	{
		name: "frozen", help: "1 while writes to the source are blocked.",
		of: always(func(w watched) float64 { return truth(w.Frozen()) }),
	},
	{
		name: "frozen_seconds", help: "For how long writes to the source have been blocked.",
		of: func(w watched, now time.Time, give func(float64, ...string)) {
			if w.Frozen() {
				give(seconds(now.UnixMilli() - w.FrozenSinceMillis))
			}
		},
	},
	{
		name: "down_seconds",
		help: "For how long nobody could write: since the writers were stopped, or the block.",
		of: func(w watched, now time.Time, give func(float64, ...string)) {
			if since := w.DownSince(); since > 0 {
				give(seconds(now.UnixMilli() - since))
			}
		},
	},
	{
		name: "frozen_left_seconds", help: "In how long the write block is removed if nobody sends cutover.",
		of: func(w watched, now time.Time, give func(float64, ...string)) {
			if w.Frozen() && w.FrozenUntilMillis > 0 {
				give(seconds(w.FrozenUntilMillis - now.UnixMilli()))
			}
		},
	},
	{
		name: "predicted_window_seconds",
		help: "How long a frozen window will probably take until the target is verified.",
		of:   known(predicted, whole),
	},
	{
		name: "predicted_window_part_seconds", help: "The parts of the predicted window.", labels: []string{"part"},
		of: func(w watched, _ time.Time, give func(float64, ...string)) { parts(predicted(w), give) },
	},
	{
		name: "measured_window_seconds", help: "How long the frozen window took until the target was verified.",
		of: known(measured, whole),
	},
	{
		name: "measured_window_part_seconds", help: "The parts of the measured window.", labels: []string{"part"},
		of: func(w watched, _ time.Time, give func(float64, ...string)) { parts(measured(w), give) },
	},
	{
		name: "rounds_total", help: "Rounds that have ended, with the baseline.", counter: true,
		of: always(func(w watched) float64 { return float64(w.RoundsEnded) }),
	},
	{
		name: "failed_snapshots_total", help: "Snapshots that ended PARTIAL or FAILED.", counter: true,
		of: always(func(w watched) float64 { return float64(len(w.Failed) + w.FailedOmitted) }),
	},
	{
		name: "round_interval_seconds", help: "The plan's time between two rounds.",
		of: always(func(w watched) float64 { return w.Plan.Rounds.Interval.Std().Seconds() }),
	},
	{
		name: "indices", help: "The indices of the newest round.",
		of: always(func(w watched) float64 { return float64(w.IndicesTotal) }),
	},
	{
		name: "last_round_copied_bytes", help: "What the last round copied: its delta.",
		of: known(lastRound, func(r migration.Round) float64 { return float64(r.BytesCopied) }),
	},
	{
		name: "last_round_copied_blobs", help: "The blobs that the last round copied.",
		of: known(lastRound, func(r migration.Round) float64 { return float64(r.BlobsCopied) }),
	},
	{
		name: "last_round_writes",
		help: "Operations on the source between the last round's snapshot and the one before.",
		of:   known(lastRound, func(r migration.Round) float64 { return float64(r.Writes) }),
	},
	{
		name: "last_round_step_seconds", help: "How long the steps of the last round took.", labels: []string{"step"},
		of: func(w watched, _ time.Time, give func(float64, ...string)) {
			if r := lastRound(w); r != nil {
				give(seconds(r.SnapshotMillis), "snapshot")
				give(seconds(r.CopyMillis), "copy")
				give(seconds(r.RestoreMillis), "restore")
			}
		},
	},
	{
		name: "carried_timestamp_seconds", help: "All writes before this time are on the target.",
		of: known(lastRound, func(r migration.Round) float64 { return seconds(r.StartTimeMillis) }),
	},
	{
		name: "copy_bytes", help: "The delta that is being copied in pages.",
		of: known(copied, func(c migration.CopyProgress) float64 { return float64(c.BytesTotal) }),
	},
	{
		name: "copy_done_bytes", help: "What the pages that have ended have copied of the delta.",
		of: known(copied, func(c migration.CopyProgress) float64 { return float64(c.BytesDone) }),
	},
	{
		name: "copy_blobs", help: "The blobs of the delta that is being copied in pages.",
		of: known(copied, func(c migration.CopyProgress) float64 { return float64(c.BlobsTotal) }),
	},
	{
		name: "copy_done_blobs", help: "The blobs of the pages that have ended.",
		of: known(copied, func(c migration.CopyProgress) float64 { return float64(c.BlobsDone) }),
	},
	{
		name: "copy_pages", help: "Pages of the delta: done, running, or waiting for a place.",
		labels: []string{"state"},
		of: func(w watched, _ time.Time, give func(float64, ...string)) {
			if c := w.Copy; c != nil {
				running := min(w.pagesRunning, c.PagesTotal-c.PagesDone) // one may have ended since
				give(float64(c.PagesDone), "done")
				give(float64(running), "running")
				give(float64(c.PagesTotal-c.PagesDone-running), "waiting")
			}
		},
	},
	{
		name: "proof_documents", help: "The documents of which as many as possible are proven equal before the freeze.",
		of: known(proven, func(p migration.Proven) float64 { return float64(p.OfDocs) }),
	},
	{
		name: "proof_proven_documents", help: "Those that are proven equal.",
		of: known(proven, func(p migration.Proven) float64 { return float64(p.Docs) }),
	},
	{
		name: "proof_shards", help: "The shards of which as many as possible are proven equal before the freeze.",
		of: known(proven, func(p migration.Proven) float64 { return float64(p.OfShards) }),
	},
	{
		name: "proof_proven_shards", help: "Those that are proven equal.",
		of: known(proven, func(p migration.Proven) float64 { return float64(p.Shards) }),
	},
	{
		name: "proof_unlike_shards", help: "Shards that were found unequal while they stood still.",
		of: known(proven, func(p migration.Proven) float64 { return float64(p.UnlikeShards) }),
	},
	{
		name: "verify_documents", help: "The documents that the verification compares, of both clusters together.",
		of: known(verifying, func(p migration.Progress) float64 { return float64(p.DocsTotal) }),
	},
	{
		name: "verify_done_documents", help: "Those that it has read.",
		of: known(verifying, func(p migration.Progress) float64 { return float64(p.DocsDone) }),
	},
}
