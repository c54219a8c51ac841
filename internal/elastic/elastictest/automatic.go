package elastictest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Automatic registers a repository of the vendor's own, with a snapshot that began, and ended, at
// each of the times.
func (c *Cluster) Automatic(repository string, began ...time.Time) {
	for _, at := range began {
		c.BeginAutomatic(repository, at)
		c.EndAutomatic(repository)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.automaticRepository(repository)
}

// BeginAutomatic has the vendor begin a snapshot of its own; it runs until EndAutomatic.
func (c *Cluster) BeginAutomatic(name string, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	folder := c.automaticRepository(name).folder()
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	c.store.snapshots[folder] = append(c.store.snapshots[folder], &snapshot{
		name: strings.ToLower(at.UTC().Format("2006-01-02T15-04-05")) + ".uuid", uuid: c.id("snapshot"),
		state: "IN_PROGRESS", end: "SUCCESS",
		looks: 1 << 30, start: at.UnixMilli(),
	})
}

// EndAutomatic ends what BeginAutomatic began.
func (c *Cluster) EndAutomatic(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	for _, snap := range c.store.snapshots[c.repositories[name].folder()] {
		snap.state = snap.end
	}
}

func (c *Cluster) automaticRepository(name string) *repository {
	if c.repositories[name] == nil {
		c.repositories[name] = &repository{"s3", map[string]any{"base_path": "automatic/" + name}}
	}
	return c.repositories[name]
}

// asked tells whether a GET names a snapshot.
func asked(names string, snap *snapshot) bool {
	switch names {
	case "_all":
		return true
	case "_current":
		return snap.state == "IN_PROGRESS"
	}
	return slices.Contains(strings.Split(names, ","), snap.name)
}

// allRunning is what GET /_snapshot/_status shows.
func (c *Cluster) allRunning() []any {
	running := []any{}
	for _, name := range sortedKeys(c.repositories) {
		c.store.mu.Lock()
		for _, snap := range c.store.snapshots[c.repositories[name].folder()] {
			if snap.state == "IN_PROGRESS" {
				running = append(running, map[string]any{"snapshot": snap.name, "repository": name, "state": "STARTED"})
			}
		}
		c.store.mu.Unlock()
	}
	return running
}

// uses tells whether a snapshot or a restore is at work in a repository.
func (c *Cluster) uses(repo *repository) bool {
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	for _, snap := range c.store.snapshots[repo.folder()] {
		if snap.state == "IN_PROGRESS" || c.restoring == snap.name {
			return true
		}
	}
	return false
}

func (c *Cluster) listRepositories() any {
	all := map[string]any{}
	for name, repo := range c.repositories {
		all[name] = map[string]any{"type": repo.kind, "settings": repo.settings}
	}
	return all
}

// clusterSettings reads and changes the cluster's own settings, in flat form.
func (c *Cluster) clusterSettings(r *http.Request) any {
	if r.Method == http.MethodPut {
		var changes map[string]map[string]any
		decode(r, &changes)
		for kind, settings := range changes {
			for name, value := range settings {
				if value == nil {
					delete(c.settings[kind], name)
				} else {
					c.settings[kind][name] = fmt.Sprint(value)
				}
			}
		}
		return acknowledged
	}
	return c.settings
}

// ClusterSetting is a setting of the cluster's own, persistent or transient; "" if not set.
func (c *Cluster) ClusterSetting(kind, name string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.settings[kind][name]
}

// SetClusterSetting sets one as an operator would.
func (c *Cluster) SetClusterSetting(kind, name, value string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settings[kind][name] = value
}

// SetRepositorySetting changes a registration as an operator would; nil takes a setting away.
func (c *Cluster) SetRepositorySetting(repository, name string, value any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if value == nil {
		delete(c.repositories[repository].settings, name)
		return
	}
	c.repositories[repository].settings[name] = value
}
