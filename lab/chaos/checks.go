package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"go.temporal.io/api/enums/v1"

	"github.com/snapferry/snapferry/internal/pause"
	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/lab/cluster"
	"github.com/snapferry/snapferry/migration"
)

// check holds a run to what must be so, whatever has happened to it.
func (m *migrating) check(ctx context.Context) error {
	if err := m.writer.Stop(); err != nil {
		return err
	}
	m.field.S3.ClearFaults()
	m.field.Lab.OSS.Server.ClearFaults()
	if m.result.Verdict == parked && !m.person {
		m.violates("a person was asked for, although a program can cure all of its faults: %s",
			strings.Join(m.result.Attention, "; "))
	}
	if m.result.Verdict == terminated && !m.ends {
		m.violates("it was terminated, and nobody had asked for that")
	}
	handedOver, err := m.settled(ctx)
	if err != nil {
		return err
	}
	if err := m.lost(ctx, handedOver); err != nil {
		return err
	}
	if handedOver {
		if err := m.equal(ctx); err != nil {
			return err
		}
	}
	if err := m.writable(ctx, handedOver); err != nil {
		return err
	}
	if m.result.Verdict == completed || m.result.Verdict == parked {
		if err := m.leftovers(ctx); err != nil {
			return err
		}
	}
	return m.secrets(ctx)
}

// settled waits until exactly one of the clusters takes writes: after a termination that is the
// guard's work. It tells whether it is the target.
func (m *migrating) settled(ctx context.Context) (handedOver bool, err error) {
	if m.result.Verdict == completed || m.result.Verdict == parked {
		return true, nil
	}
	// A guard that fails to watch its migration looks again after ten minutes.
	const soon = 5 * time.Minute
	ctx, cancel := context.WithTimeout(ctx, soon)
	defer cancel()
	for {
		blockedThere, thereErr := m.blocked(ctx, m.field.Lab.Source.Direct())
		blockedHere, hereErr := m.blocked(ctx, m.field.Lab.Target.Direct())
		switch {
		case thereErr == nil && !blockedThere:
			return false, nil
		case thereErr == nil && hereErr == nil && !blockedHere:
			return true, nil
		}
		if pause.For(ctx, 200*time.Millisecond) != nil {
			m.violates("writes are still blocked %s after the end: source %v, %v, target %v, %v", soon, blockedThere,
				thereErr, blockedHere, hereErr)
			return false, nil
		}
	}
}

// blocked tells whether the main index has our block, or isn't open.
func (m *migrating) blocked(ctx context.Context, c *cluster.Client) (bool, error) {
	blocks, err := m.blocks(ctx, c)
	if err != nil {
		return false, err
	}
	block, there := blocks[m.main()]
	return block || !there, nil
}

// blocks tell of each open index of the run whether it has a write block.
func (m *migrating) blocks(ctx context.Context, c *cluster.Client) (map[string]bool, error) {
	var found map[string]struct {
		Settings map[string]string `json:"settings"`
	}
	err := c.Do(ctx, http.MethodGet, "/"+m.name+"-*/_settings?flat_settings&expand_wildcards=open", nil, &found)
	blocks := map[string]bool{}
	for name, index := range found {
		blocks[name] = index.Settings["index.blocks.write"] == "true"
	}
	return blocks, err
}

// targetStaysBlocked looks at the target's indices all the time before the cutover.
func (m *migrating) targetStaysBlocked(ctx context.Context) {
	for pause.For(ctx, 300*time.Millisecond) == nil {
		blocks, err := m.blocks(ctx, m.field.Lab.Target.Direct())
		for name, blocked := range blocks {
			if err == nil && !blocked && ctx.Err() == nil {
				m.violates("%s on the target takes writes before the cutover", name)
				return
			}
		}
	}
}

// lost compares what the writer remembers with the cluster that has its index now.
func (m *migrating) lost(ctx context.Context, handedOver bool) error {
	at := m.field.Lab.Source.Direct()
	if handedOver {
		at = m.field.Lab.Target.Direct()
	}
	found, err := m.writer.Verify(ctx, at)
	m.result.LostWrites, m.result.Acknowledged = found.Lost, found.Acknowledged
	if found.Lost > 0 {
		m.violates("%d acknowledged writes are lost: %s", found.Lost, strings.Join(found.Details[:1], ""))
	}
	if err == nil && found.Acknowledged == 0 {
		m.violates("no write was acknowledged, so nothing is proven")
	}
	return err
}

// writable makes sure that the source takes writes exactly when it should, and the target when the
// source does not.
func (m *migrating) writable(ctx context.Context, handedOver bool) error {
	for _, at := range []struct {
		name  string
		c     *cluster.Client
		takes bool
	}{{"source", m.field.Lab.Source.Direct(), !handedOver}, {"target", m.field.Lab.Target.Direct(), handedOver}} {
		blocks, err := m.blocks(ctx, at.c)
		if err != nil {
			return err
		}
		if blocked, there := blocks[m.main()]; there && blocked == at.takes {
			m.violates("%s on the %s: blocked is %v", m.main(), at.name, blocked)
			continue
		}
		if !at.takes {
			continue
		}
		path := "/" + m.main() + "/" + lab.CatalogType + "/one-more"
		if err := at.c.Do(ctx, http.MethodPut, path, map[string]any{"name": "one more"}, nil); err != nil {
			m.violates("%s on the %s refuses a write: %v", m.main(), at.name, err)
		}
	}
	return nil
}

// stored is a document as a search shows it.
type stored struct {
	Version int64
	Routing string
	Source  string
}

// equal compares the documents of the blocked source with those of the target, with code of its own.
func (m *migrating) equal(ctx context.Context) error {
	blocks, err := m.blocks(ctx, m.field.Lab.Source.Direct())
	if err != nil {
		return err
	}
	for name, blocked := range blocks {
		if !blocked {
			continue // it came after the freeze
		}
		there, err := documentsOf(ctx, m.field.Lab.Source.Direct(), name)
		if err != nil {
			return err
		}
		here, err := documentsOf(ctx, m.field.Lab.Target.Direct(), name)
		if err != nil {
			m.violates("%s can't be read on the target: %v", name, err)
			continue
		}
		different := 0
		for id, document := range there {
			if here[id] != document {
				different++
			}
		}
		if different > 0 || len(there) != len(here) {
			m.violates("%s: %d of %d documents differ, and the target has %d", name, different, len(there), len(here))
		}
	}
	return nil
}

// documentsOf reads all documents of a small index.
func documentsOf(ctx context.Context, c *cluster.Client, index string) (map[string]stored, error) {
	if err := c.Refresh(ctx, index); err != nil {
		return nil, err
	}
	var found struct {
		Hits struct {
			Total int
			Hits  []struct {
				ID      string          `json:"_id"`
				Version int64           `json:"_version"`
				Routing string          `json:"_routing"`
				Source  json.RawMessage `json:"_source"`
			}
		}
	}
	const most = 10_000 // index.max_result_window
	err := c.Do(ctx, http.MethodPost, "/"+index+"/_search", map[string]any{"size": most, "version": true}, &found)
	if err != nil {
		return nil, err
	}
	if found.Hits.Total > most || found.Hits.Total != len(found.Hits.Hits) {
		return nil, fmt.Errorf("%s has %d documents, and %d were read", index, found.Hits.Total, len(found.Hits.Hits))
	}
	all := map[string]stored{}
	for _, hit := range found.Hits.Hits {
		all[hit.ID] = stored{hit.Version, hit.Routing, string(hit.Source)}
	}
	return all, nil
}

// leftovers looks for what a completed migration must have removed.
func (m *migrating) leftovers(ctx context.Context) error {
	for side, c := range map[string]*cluster.Client{
		"source": m.field.Lab.Source.Direct(), "target": m.field.Lab.Target.Direct(),
	} {
		var repositories map[string]any
		if err := c.Do(ctx, http.MethodGet, "/_snapshot", nil, &repositories); err != nil {
			return err
		}
		for name := range repositories {
			if strings.HasPrefix(name, "snapferry-"+m.name+"-") {
				m.violates("repository %s is still registered on the %s", name, side)
			}
		}
		var settings struct{ Transient map[string]any }
		if err := c.Do(ctx, http.MethodGet, "/_cluster/settings?flat_settings", nil, &settings); err != nil {
			return err
		}
		if len(settings.Transient) > 0 {
			m.violates("the %s still has the transient settings %v", side, settings.Transient)
		}
		var indices map[string]any
		if err := c.Do(ctx, http.MethodGet, "/snapferry*/_settings", nil, &indices); err != nil {
			return err
		}
		for name := range indices {
			m.violates("the throw-away index %s is left on the %s", name, side)
		}
	}
	return nil
}

// secrets looks for the lab's secrets in the histories and in the workers' logs.
func (m *migrating) secrets(ctx context.Context) error {
	secrets := []string{
		lab.AWSSecretKey, lab.TargetPassword, m.field.Lab.OSS.CopierKey.Secret, m.field.Lab.OSS.ClusterKey.Secret,
		m.field.SourceKey.Secret,
	}
	look := func(what string, text []byte) {
		for _, secret := range secrets {
			if bytes.Contains(text, []byte(secret)) {
				m.violates("a secret stands in %s", what)
			}
		}
	}
	for _, id := range []string{m.id, migration.GuardID(m.name)} {
		events := m.field.Rig.Client.GetWorkflowHistory(ctx, id, "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
		for events.HasNext() {
			event, err := events.Next()
			if err != nil {
				break // there may have been no guard
			}
			look("the history of "+id, []byte(event.String()))
		}
	}
	for _, process := range m.field.Lab.Processes() {
		if !strings.HasPrefix(process.Name, "worker-"+m.name+"-") {
			continue
		}
		log, err := os.ReadFile(process.LogPath)
		if err != nil {
			return err
		}
		look("the log of "+process.Name, log)
	}
	return nil
}

// cleanUp makes room for the next run.
func (m *migrating) cleanUp(ctx context.Context) error {
	l := m.field.Lab
	l.Source.Front.Faults.Clear()
	m.field.S3.ClearFaults()
	l.OSS.Server.ClearFaults()
	m.field.S3.SetLimits("", noLimits)
	l.OSS.Server.SetLimits("", noLimits)
	all := m.fillDisk(ctx, false) // unless the run has ended in the middle of that, nothing changes
	if m.writer != nil {
		all = errors.Join(all, m.writer.Stop())
	}
	for _, id := range []string{m.id, migration.GuardID(m.name)} {
		_ = m.field.Rig.Client.TerminateWorkflow(ctx, id, "", "the run is over") // most have ended
	}
	for _, worker := range m.workers {
		all = errors.Join(all, worker.Kill())
	}
	for _, c := range []*cluster.Client{l.Source.Direct(), l.Target.Direct()} {
		for _, path := range []string{"/_snapshot/*" + m.name + "*", "/" + m.name + "-*"} {
			var status *cluster.StatusError
			err := c.Do(ctx, http.MethodDelete, path, nil, nil)
			if err != nil && (!errors.As(err, &status) || status.Status != http.StatusNotFound) {
				all = errors.Join(all, err)
			}
		}
	}
	return all
}
