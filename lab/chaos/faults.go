package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"go.temporal.io/api/history/v1"

	"github.com/snapferry/snapferry/internal/osstest"
	"github.com/snapferry/snapferry/internal/pause"
	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/lab/rig"
	"github.com/snapferry/snapferry/migration"
)

// fault is something that happens to a migration at night.
type fault struct {
	name string
	// person says why no program can cure it, so that the migration may ask for a person; empty if it
	// must not.
	person string
	// ends says that the migration ends by it.
	ends bool
	// at are the events after which it can happen; all of them if there are none.
	at []event
	// clock says that the workers' clock has to be one that can be set.
	clock bool
	// inflict does it. It returns when it is over: what was killed runs again, unless that is for the
	// migration to do.
	inflict func(ctx context.Context, m *migrating) error
}

// How long what is away stays away.
const (
	awayShortly = 3 * time.Second
	// awayLong is longer than a heartbeat's timeout.
	awayLong = 15 * time.Second
	// storeAway is how long S3 or OSS is down.
	storeAway = 20 * time.Second
	// clockOff is by how much a clock is wrong: more than Amazon (5 minutes), S3 and OSS (15) accept.
	clockOff = 20 * time.Minute
)

// faults are all that a campaign draws from.
var faults = []fault{
	{name: "a worker is killed", inflict: func(_ context.Context, m *migrating) error {
		return m.replaceWorker(0)
	}},
	{name: "the copy worker is killed", inflict: func(_ context.Context, m *migrating) error {
		return m.replaceWorker(1)
	}},
	{name: "all workers are stopped", inflict: func(ctx context.Context, m *migrating) error {
		return m.withoutWorkers(ctx, awayLong)
	}},
	{name: "a worker's clock is fast", clock: true, inflict: clockIsOff(clockOff)},
	{name: "a worker's clock is slow", clock: true, inflict: clockIsOff(-clockOff)},
	{name: "Temporal is killed", inflict: part(lab.PartTemporal)},
	{name: "the source's node is killed", inflict: part(lab.PartSource)},
	{name: "the target's node is killed", inflict: part(lab.PartTarget)},
	{name: "the migration is terminated", ends: true, inflict: func(ctx context.Context, m *migrating) error {
		return m.field.Rig.Client.TerminateWorkflow(ctx, m.id, "", "a campaign of faults")
	}},
	{name: "the migration is reset", inflict: func(ctx context.Context, m *migrating) error {
		newest := func(events []*history.HistoryEvent) int { return len(events) - 1 }
		return rig.Reset(ctx, m.field.Rig.Client, m.id, newest)
	}},
	{name: "the guard is terminated", at: inWindow, inflict: func(ctx context.Context, m *migrating) error {
		return m.field.Rig.Client.TerminateWorkflow(ctx, migration.GuardID(m.name), "", "a campaign of faults")
	}},
	{name: "S3 is down", inflict: down(func(m *migrating) *osstest.Server { return m.field.S3 })},
	{name: "OSS is down", inflict: down(func(m *migrating) *osstest.Server { return m.field.Lab.OSS.Server })},
	{name: "S3 fails now and then", inflict: sometimes(func(m *migrating) *osstest.Server { return m.field.S3 })},
	{name: "OSS fails now and then", inflict: sometimes(func(m *migrating) *osstest.Server {
		return m.field.Lab.OSS.Server
	})},
	{name: "lines are slow", inflict: func(_ context.Context, m *migrating) error {
		for _, server := range []*osstest.Server{m.field.S3, m.field.Lab.OSS.Server} {
			server.SetLimits("", osstest.Limits{Received: 4 << 20, Sent: 4 << 20, Latency: 20 * time.Millisecond})
		}
		return nil // until the run ends
	}},
	{name: "bodies are corrupt", inflict: spoiled(osstest.CorruptDownload(osstest.Anywhere))},
	{name: "bodies are cut", inflict: spoiled(osstest.TruncateDownload(osstest.Anywhere))},
	{name: "another tool takes the slot", inflict: anotherSnapshot},
	{name: "an index is created", inflict: func(ctx context.Context, m *migrating) error {
		return m.load(ctx, m.name+"-new")
	}},
	{name: "an index is deleted", inflict: func(ctx context.Context, m *migrating) error { return m.dropSide(ctx) }},
	{name: "an index is made again", inflict: func(ctx context.Context, m *migrating) error {
		if err := m.dropSide(ctx); err != nil {
			return err
		}
		return m.load(ctx, m.side())
	}},
	{name: "the target's disk is full", inflict: func(ctx context.Context, m *migrating) error {
		if err := m.fillDisk(ctx, true); err != nil {
			return err
		}
		return errors.Join(pause.For(ctx, awayLong), m.fillDisk(ctx, false))
	}},
	{
		name: "credentials expire", person: "only a person can renew credentials",
		inflict: func(ctx context.Context, m *migrating) error {
			front := &m.field.Lab.Source.Front.Faults
			front.FailNext(1_000_000, nil, http.StatusForbidden,
				`{"message":"The security token included in the request is expired"}`)
			defer front.Clear()
			return pause.For(ctx, awayLong)
		},
	},
	{
		name: "OSS is full", person: "only a person can raise a quota",
		inflict: func(ctx context.Context, m *migrating) error {
			remove := m.field.Lab.OSS.Server.Inject(osstest.Rule{
				Match: osstest.Ops("PutObject", "UploadPart"),
				Fault: osstest.Fail(http.StatusForbidden, "QuotaExceeded", "The bucket's capacity is used up."),
			})
			defer remove()
			return pause.For(ctx, awayLong)
		},
	},
}

func faultNamed(name string) fault {
	for _, f := range faults {
		if f.name == name {
			return f
		}
	}
	panic("there is no fault " + name) // blows come from draw
}

// part kills a process of the lab, and starts it again.
func part(p lab.Part) func(context.Context, *migrating) error {
	return func(ctx context.Context, m *migrating) error {
		if err := m.field.Lab.Kill(p); err != nil {
			return err
		}
		if err := pause.For(ctx, awayShortly); err != nil {
			return err
		}
		return m.field.Lab.Restart(ctx, p)
	}
}

// clockIsOff puts the clock of the worker ahead of everyone else's for a while.
func clockIsOff(ahead time.Duration) func(context.Context, *migrating) error {
	return func(ctx context.Context, m *migrating) error {
		if err := m.clock.Set(ahead); err != nil {
			return err
		}
		return errors.Join(pause.For(ctx, storeAway), m.clock.Set(0))
	}
}

// watchedDisk has the target's node look at its disk often, and find it good as long as it has room
// for a byte.
var watchedDisk = map[string]string{
	"cluster.info.update.interval":                      "10s", // no less is allowed
	"cluster.routing.allocation.disk.threshold_enabled": "true",
	"cluster.routing.allocation.disk.watermark.low":     "1b",
	"cluster.routing.allocation.disk.watermark.high":    "1b",
}

// fillDisk has the target's disk count as too full, or as it is again. While it does, no shard is
// allocated to the node. If another fault has killed that, it is asked when it is back.
func (m *migrating) fillDisk(ctx context.Context, full bool) error {
	const mark = "cluster.routing.allocation.disk.watermark."
	settings := map[string]any{mark + "low": nil, mark + "high": nil}
	if full {
		settings = map[string]any{mark + "low": "90tb", mark + "high": "80tb"}
	}
	for {
		err := m.field.Lab.Target.Direct().Do(ctx, http.MethodPut, "/_cluster/settings",
			map[string]any{"transient": settings}, nil)
		if err == nil {
			return nil
		}
		if pause.For(ctx, 200*time.Millisecond) != nil {
			return err
		}
	}
}

// down has a store refuse everything for a while.
func down(of func(*migrating) *osstest.Server) func(context.Context, *migrating) error {
	return func(ctx context.Context, m *migrating) error {
		remove := of(m).Inject(osstest.Rule{
			Fault: osstest.Fail(http.StatusServiceUnavailable, "ServiceUnavailable", "The store is down."),
		})
		defer remove()
		return pause.For(ctx, storeAway)
	}
}

// sometimes has a store refuse one request in twenty, until the run ends. The clusters' own requests
// are spared: Elasticsearch's plug-ins retry them three times only, and a failed snapshot is another
// matter.
func sometimes(of func(*migrating) *osstest.Server) func(context.Context, *migrating) error {
	return func(_ context.Context, m *migrating) error {
		of(m).Inject(osstest.Rule{
			Match: func(c osstest.Call) bool { return strings.Contains(c.Key, "/__") },
			Rate:  0.05,
			Fault: osstest.Fail(http.StatusServiceUnavailable, "SlowDown", "Please reduce your request rate."),
		})
		return nil
	}
}

// spoiled damages the next bodies that are read of S3. Only the copy reads blobs there.
func spoiled(f osstest.Fault) func(context.Context, *migrating) error {
	return func(_ context.Context, m *migrating) error {
		m.field.S3.Inject(osstest.Rule{
			Match: func(c osstest.Call) bool { return c.Op == "GetObject" && strings.Contains(c.Key, "/__") },
			Times: 5, Fault: f,
		})
		return nil
	}
}

// anotherSnapshot takes the source's only slot for some seconds, as another tool does. If ours has
// it, that is asked for again.
func anotherSnapshot(ctx context.Context, m *migrating) error {
	source := m.field.Lab.Source.Direct()
	repository := "/_snapshot/other-" + m.name
	var settings map[string]struct {
		Type     string         `json:"type"`
		Settings map[string]any `json:"settings"`
	}
	if err := source.Do(ctx, http.MethodGet, "/_snapshot/snapferry-"+m.name+"-*", nil, &settings); err != nil {
		return err
	}
	for _, ours := range settings {
		ours.Settings["base_path"] = "other/" + m.name
		ours.Settings["max_snapshot_bytes_per_sec"] = "100kb"
		if err := source.Do(ctx, http.MethodPut, repository, ours, nil); err != nil {
			return err
		}
		break
	}
	for {
		err := source.Do(ctx, http.MethodPut, repository+"/theirs?wait_for_completion=true",
			map[string]any{"indices": m.main()}, nil)
		if err == nil || !strings.Contains(err.Error(), "concurrent_snapshot_execution_exception") {
			return err
		}
		if err := pause.For(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

// dropSide deletes the index that nobody writes to.
func (m *migrating) dropSide(ctx context.Context) error {
	for {
		err := m.field.Lab.Source.Direct().Do(ctx, http.MethodDelete, "/"+m.side(), nil, nil)
		if err == nil {
			return nil
		}
		if !strings.Contains(err.Error(), "snapshot") { // 5.x deletes no index while it is snapshotted
			return fmt.Errorf("%s was not deleted: %w", m.side(), err)
		}
		if err := pause.For(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}
