//go:build lab

package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/lab/cluster"
	"github.com/snapferry/snapferry/migration"
)

// threes are the labs whose clusters have three nodes each.
var threes *pool

// allOfThem has all tests on three nodes run, which takes a quarter of an hour: make test-nodes.
var allOfThem = flag.Bool("nodes", false, "run all tests on clusters of three nodes")

var within710 = versions{"7.10.2", "7.10.2"}

// crowd is a migration between clusters of three nodes, which kills some.
type crowd struct {
	*scenario
	dead map[lab.Part]int
}

// newCrowd loads an index, whose copies lie on all nodes, and has snapshots and restores take some
// seconds.
func newCrowd(t *testing.T, between versions, name string, replicas int) *crowd {
	c := &crowd{dead: map[lab.Part]int{}}
	c.scenario = newScenarioOf(t, threes.take(t, between),
		lab.CatalogOptions{Index: name, Documents: 20_000, Shards: 3, Replicas: replicas})
	// Before 6.0 a shard with operations that are not committed has no mark.
	require.NoError(t, c.at(lab.PartSource).Do(c.ctx, http.MethodPost, "/"+name+"/_flush", nil, nil))
	c.noRoundBesides()
	c.plan.Source.Repository.Settings = map[string]any{"max_snapshot_bytes_per_sec": slowly}
	c.plan.Target.Repository.Settings = map[string]any{"max_restore_bytes_per_sec": slowly}
	keep := migration.ThrottleKeep
	c.plan.Throttles.Window = migration.Limits{Snapshot: keep, Restore: keep, Recovery: keep}
	t.Cleanup(func() { // the next test finds all nodes
		ctx, cancel := context.WithTimeout(context.Background(), lab.Patience)
		defer cancel()
		for part, number := range c.dead {
			require.NoError(t, c.lab.RestartNode(ctx, part, number))
		}
	})
	return c
}

// slowly is some five seconds for the index.
const slowly = "300kb"

func (c *crowd) kill(part lab.Part, number int) {
	c.t.Helper()
	require.NoError(c.t, c.lab.KillNode(part, number))
	c.dead[part] = number
	c.t.Logf("node %d of the %s is killed", number, part)
}

// revive starts the node again that was killed, and waits until nothing is missing.
func (c *crowd) revive(part lab.Part) {
	c.t.Helper()
	require.NoError(c.t, c.lab.RestartNode(c.ctx, part, c.dead[part]))
	delete(c.dead, part)
	const all = "/_cluster/health?wait_for_nodes=3&timeout=60s"
	require.NoError(c.t, c.at(part).Do(c.ctx, http.MethodGet, all, nil, nil))
}

func (c *crowd) at(part lab.Part) *cluster.Client {
	if part == lab.PartSource {
		return c.lab.Source.Direct()
	}
	return c.lab.Target.Direct()
}

// worksOn waits until a shard is in the midst of something on a node that does not manage its
// cluster, and returns the node. busy names such shards.
func (c *crowd) worksOn(part lab.Part, busy func() (shards []int, err error)) (node int) {
	c.t.Helper()
	require.Eventually(c.t, func() bool {
		shards, err := busy()
		if err != nil || len(shards) == 0 {
			return false
		}
		manager, err := c.lab.Manager(c.ctx, part)
		if err != nil {
			return false
		}
		for _, shard := range shards {
			if holder, err := c.lab.Holder(c.ctx, part, c.index, shard); err == nil && holder != manager {
				node = holder
				return true
			}
		}
		return false
	}, lab.Patience, 20*time.Millisecond)
	return node
}

// snapshotting are the shards that a running snapshot copies.
func (c *crowd) snapshotting() (shards []int, err error) {
	var answer struct {
		Snapshots []struct {
			Indices map[string]struct {
				Shards map[string]struct{ Stage string }
			}
		}
	}
	if err := c.at(lab.PartSource).Do(c.ctx, http.MethodGet, "/_snapshot/_status", nil, &answer); err != nil {
		return nil, err
	}
	for _, snapshot := range answer.Snapshots {
		for number, shard := range snapshot.Indices[c.index].Shards {
			if shard.Stage == "STARTED" {
				n, err := strconv.Atoi(number)
				if err != nil {
					return nil, err
				}
				shards = append(shards, n)
			}
		}
	}
	return shards, nil
}

// restoring are the shards that a restore reads.
func (c *crowd) restoring() (shards []int, err error) {
	var answer map[string]struct {
		Shards []struct {
			ID          int
			Type, Stage string
		}
	}
	path := "/" + c.index + "/_recovery?active_only=true"
	if err := c.at(lab.PartTarget).Do(c.ctx, http.MethodGet, path, nil, &answer); err != nil {
		return nil, err
	}
	for _, shard := range answer[c.index].Shards {
		if shard.Type == "SNAPSHOT" && shard.Stage == "INDEX" {
			shards = append(shards, shard.ID)
		}
	}
	return shards, nil
}

// add writes documents that the next snapshot has to copy.
func (c *crowd) add(documents int) {
	c.t.Helper()
	const batch = 1000
	for from := 0; from < documents; from += batch {
		var some []cluster.Document
		for n := from; n < from+batch; n++ {
			some = append(some, cluster.Document{ID: fmt.Sprintf("added-%d", n), Source: lab.NewProduct(9, n)})
		}
		require.NoError(c.t, c.at(lab.PartSource).Bulk(c.ctx, c.index, lab.CatalogType, some))
	}
}

// failedOnly requires that snapshots of this round failed, and that nobody was asked about them.
func (c *crowd) failedOnly(report migration.Report, round int) {
	c.t.Helper()
	require.NotEmpty(c.t, report.Failed)
	for _, failed := range report.Failed {
		c.t.Log(failed.Snapshot, failed.Reason)
		require.Equal(c.t, round, failed.Round)
		require.True(c.t, failed.Again)
		require.Contains(c.t, failed.Reason, c.index)
	}
	for _, decision := range report.Decisions {
		require.NotEqual(c.t, migration.RequestRetry, decision.Request)
	}
}

// complete compares every byte in OSS.
func (c *crowd) complete() {
	c.t.Helper()
	out, err := c.rig.Starter(c.ctx, "audit", "-f", filepath.Join(c.lab.Dir, c.name+".yaml"), "--deep")
	require.NoError(c.t, err)
	require.Zero(c.t, out.Code, out.Stdout+out.Stderr)
	require.Contains(c.t, out.Stdout, "complete")
}

// A data node of the source dies in the middle of a snapshot. The round takes another one, nobody is
// asked, and nothing is lost.
func TestNodesADataNodeDiesInMidSnapshot(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, from6to7, "nodesnapshot", 1)
	c.write()
	c.worker()
	c.start()
	c.kill(lab.PartSource, c.worksOn(lab.PartSource, c.snapshotting))
	c.await(func(status migration.Status) bool { return len(status.Failed) > 0 })
	c.revive(lab.PartSource)
	c.await(func(status migration.Status) bool { return status.RoundsEnded >= 1 })
	c.failedOnly(c.finish(), 0)
	c.complete()
}

// onAllNodes skips what make test has no time for.
func onAllNodes(t *testing.T) {
	if !*allOfThem {
		t.Skip("make test-nodes runs it")
	}
	t.Parallel()
}

// Without replicas, the next snapshot fails at once: in state FAILED up to 6.x, with an error later.
// The one after it waits until the node is back.
func TestNodesAPrimaryIsMissing(t *testing.T) {
	onAllNodes(t)
	for name, between := range map[string]versions{"nodemissing6": from6to7, "nodemissing7": within710} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCrowd(t, between, name, 0)
			c.worker()
			held := c.lab.Source.Front.HoldNext(lab.Requests(http.MethodPut, "/"+name+"-r"))
			c.start()
			c.awaitHeld(held)
			c.kill(lab.PartSource, c.worksOn(lab.PartSource, func() ([]int, error) { return []int{0, 1, 2}, nil }))
			require.Eventually(t, func() bool { // the cluster has noticed
				var health struct{ Status string }
				err := c.at(lab.PartSource).Do(c.ctx, http.MethodGet, "/_cluster/health/"+name, nil, &health)
				return err == nil && health.Status == "red"
			}, lab.Patience, 20*time.Millisecond)
			held.Release()
			status := c.await(func(status migration.Status) bool { return len(status.Failed) > 0 })
			require.Nil(t, status.Attention)
			c.revive(lab.PartSource)
			c.await(func(status migration.Status) bool { return status.RoundsEnded >= 1 })
			report := c.finish()
			c.failedOnly(report, 0)
			require.Len(t, report.Failed, 1, "the second one waited")
			require.Contains(t, report.Failed[0].Reason, "primary shard")
		})
	}
}

// The same rules hold while writes are blocked.
func TestNodesADataNodeDiesInTheWindow(t *testing.T) {
	onAllNodes(t)
	c := newCrowd(t, from6to7, "nodewindow", 1)
	c.write()
	c.worker()
	c.start()
	c.await(func(status migration.Status) bool { return status.RoundsEnded >= 1 })
	c.add(15_000)
	c.signal(migration.RequestFreeze)
	c.kill(lab.PartSource, c.worksOn(lab.PartSource, c.snapshotting))
	c.await(func(status migration.Status) bool { return len(status.Failed) > 0 })
	c.revive(lab.PartSource)
	c.awaitPhase(migration.PhaseAwaitCutover)
	c.signal(migration.RequestCutover)
	report := c.completed()
	c.failedOnly(report, report.Rounds[len(report.Rounds)-1].Number)
	c.complete()
}

// A data node of the target dies while it reads a snapshot: in the first round, and in the window.
func TestNodesADataNodeDiesInMidRestore(t *testing.T) {
	onAllNodes(t)
	c := newCrowd(t, from6to7, "noderestore", 1)
	c.write()
	c.worker()
	c.start()
	die := func() {
		c.kill(lab.PartTarget, c.worksOn(lab.PartTarget, c.restoring))
		c.revive(lab.PartTarget)
	}
	die()
	c.await(func(status migration.Status) bool { return status.RoundsEnded >= 1 })
	c.add(15_000)
	c.signal(migration.RequestFreeze)
	die()
	c.awaitPhase(migration.PhaseAwaitCutover)
	c.signal(migration.RequestCutover)
	report := c.completed()
	require.Empty(t, report.Failed)
	require.Len(t, report.Decisions, 2, "nobody was asked")
	c.complete()
}

// move has a primary move to a node without a copy of it, and waits until it is there.
func (c *crowd) move() {
	c.t.Helper()
	from, err := c.lab.Holder(c.ctx, lab.PartSource, c.index, 0)
	require.NoError(c.t, err)
	var rows []struct{ Node string }
	require.NoError(c.t, c.at(lab.PartSource).Do(c.ctx, http.MethodGet,
		"/_cat/shards/"+c.index+"?format=json&h=node,shard&s=shard", nil, &rows))
	free := map[string]bool{"source-1": true, "source-2": true, "source-3": true}
	for _, row := range rows[:2] { // the copies of shard 0
		delete(free, row.Node)
	}
	require.Len(c.t, free, 1)
	for to := range free {
		require.NoError(c.t, c.at(lab.PartSource).Do(c.ctx, http.MethodPost, "/_cluster/reroute", map[string]any{
			"commands": []any{map[string]any{"move": map[string]any{
				"index": c.index, "shard": 0, "from_node": fmt.Sprintf("source-%d", from), "to_node": to,
			}}},
		}, nil))
		c.t.Logf("[%s][0] moves from source-%d to %s", c.index, from, to)
	}
	require.NoError(c.t, c.at(lab.PartSource).Do(c.ctx, http.MethodGet,
		"/_cluster/health?wait_for_no_relocating_shards=true&timeout=60s", nil, nil))
	now, err := c.lab.Holder(c.ctx, lab.PartSource, c.index, 0)
	require.NoError(c.t, err)
	require.NotEqual(c.t, from, now)
}

// A shard moves between rounds, and while the window begins: it takes part again. It moves after the
// verification: from 6.0 on sequence numbers tell that nothing was written. Before that, counters
// do, here since it moves back to the node on which it stood. Nothing is lost.
func TestNodesAShardMoves(t *testing.T) {
	onAllNodes(t)
	for name, between := range map[string]versions{"nodemove5": from5to6, "nodemove6": from6to7} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCrowd(t, between, name, 1)
			c.worker()
			c.start()
			c.await(func(status migration.Status) bool { return status.RoundsEnded >= 1 })
			c.move()
			c.signal(migration.RequestRound)
			status := c.await(func(status migration.Status) bool { return status.RoundsEnded >= 2 })
			reason := migration.ReasonMoved
			if between == from5to6 { // a shard that moves commits, which looks like a write
				reason = migration.ReasonWritten
			}
			require.Equal(t, map[migration.Reason]int{reason: 1}, status.Rounds[1].Taken)

			require.NoError(t, c.put(c.lab.Source.Direct()))
			held := c.lab.Source.Front.HoldNext(lab.Requests(http.MethodPut, "/"+name+"-r"))
			c.signal(migration.RequestFreeze)
			c.awaitHeld(held)
			c.move()
			held.Release()
			c.awaitPhase(migration.PhaseAwaitCutover)

			c.move()
			c.signal(migration.RequestCutover)
			c.completed()
			c.complete()
		})
	}
}

// The node that manages a cluster dies in the window.
func TestNodesTheManagerDiesInTheWindow(t *testing.T) {
	onAllNodes(t)
	for name, part := range map[string]lab.Part{"managersource": lab.PartSource, "managertarget": lab.PartTarget} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCrowd(t, from6to7, name, 1)
			c.write()
			c.worker()
			c.start()
			c.await(func(status migration.Status) bool { return status.RoundsEnded >= 1 })
			c.awaitWrites(c.writer.Stats().Acknowledged + 100)
			front, request := &c.lab.Source.Front.Faults, lab.Requests(http.MethodPut, "/"+name+"-r")
			if part == lab.PartTarget {
				front, request = &c.lab.Target.Front.Faults, lab.Requests(http.MethodPost, "/_restore")
			}
			held := front.HoldNext(request)
			c.signal(migration.RequestFreeze)
			c.awaitHeld(held)
			manager, err := c.lab.Manager(c.ctx, part)
			require.NoError(t, err)
			c.kill(part, manager)
			held.Release()
			require.Eventually(t, func() bool {
				now, err := c.lab.Manager(c.ctx, part)
				return err == nil && now != manager
			}, lab.Patience, 100*time.Millisecond)
			c.revive(part)
			c.awaitPhase(migration.PhaseAwaitCutover)
			c.signal(migration.RequestCutover)
			report := c.completed()
			require.Len(t, report.Decisions, 2, "nobody was asked")
			c.complete()
		})
	}
}

// fill has every disk of the target count as too full, or as it is again.
func (c *crowd) fill(full bool) {
	c.t.Helper()
	const disk = "cluster.routing.allocation.disk."
	settings := map[string]any{
		disk + "threshold_enabled": nil, disk + "watermark.low": nil, disk + "watermark.high": nil,
		disk + "watermark.flood_stage": nil, "cluster.info.update.interval": nil,
	}
	if full {
		settings = map[string]any{
			disk + "threshold_enabled": true, disk + "watermark.low": "90tb", disk + "watermark.high": "80tb",
			disk + "watermark.flood_stage": "1b", "cluster.info.update.interval": "10s",
		}
	}
	target := c.at(lab.PartTarget)
	require.NoError(c.t, target.Do(c.ctx, http.MethodPut, "/_cluster/settings", map[string]any{"transient": settings},
		nil))
	if !full {
		return
	}
	// The cluster looks at its disks from time to time only.
	require.Eventually(c.t, func() bool {
		defer func() { _ = target.Do(c.ctx, http.MethodDelete, "/probe", nil, nil) }()
		err := target.Do(c.ctx, http.MethodPut, "/probe?wait_for_active_shards=0", `{"settings":{"number_of_replicas":0}}`,
			nil)
		require.NoError(c.t, err)
		err = target.Do(c.ctx, http.MethodGet, "/_cluster/health/probe?wait_for_status=yellow&timeout=1s", nil, nil)
		status, refused := errors.AsType[*cluster.StatusError](err)
		return refused && status.Status == http.StatusRequestTimeout
	}, lab.Patience, time.Second)
}

// Disks over the watermark: preflight says so. If they fill later, the restore does.
func TestNodesDisksOverTheWatermark(t *testing.T) {
	onAllNodes(t)
	c := newCrowd(t, from6to7, "nodedisks", 1)
	c.worker()
	t.Cleanup(func() {
		_ = c.lab.Target.Direct().Do(context.Background(), http.MethodPut, "/_cluster/settings",
			`{"transient":{"cluster.routing.allocation.disk.*":null,"cluster.info.update.interval":null}}`, nil)
	})
	c.fill(true)
	c.start()
	attention := c.awaitAttention()
	require.Equal(t, string(migration.ErrorPreflight), attention.Type)
	require.Contains(t, attention.Message, "cluster.routing.allocation.disk.watermark.low (90tb)")

	c.fill(false)
	held := c.lab.Target.Front.HoldNext(lab.Requests(http.MethodPost, "/_restore"))
	c.signal(migration.RequestRetry)
	c.awaitHeld(held)
	c.fill(true)
	held.Release()
	attention = *c.await(func(status migration.Status) bool {
		return status.Attention != nil && status.Phase == migration.PhaseBaseline
	}).Attention
	require.Equal(t, string(migration.ErrorRestoreFailed), attention.Type)
	require.Contains(t, attention.Message, "watermark")
	t.Log(attention.Message)

	c.fill(false)
	c.signal(migration.RequestRetry)
	c.await(func(status migration.Status) bool { return status.RoundsEnded >= 1 })
	c.finish()
	c.complete()
}
