package elastictest

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Store is what S3 or OSS holds: snapshots by base path. Copy stands in for the copy between them.
type Store struct {
	mu        sync.Mutex
	snapshots map[string][]*snapshot
}

// NewStore makes an empty store.
func NewStore() *Store { return &Store{snapshots: map[string][]*snapshot{}} }

// Copy publishes everything of one store in another.
func (s *Store) Copy(to *Store) {
	s.mu.Lock()
	defer s.mu.Unlock()
	to.mu.Lock()
	defer to.mu.Unlock()
	for folder, snapshots := range s.snapshots {
		to.snapshots[folder] = slices.Clone(snapshots)
	}
}

// SetUUID gives a snapshot the uuid that it has in a repository beside this store.
func (s *Store) SetUUID(name, uuid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, snapshots := range s.snapshots {
		for _, snap := range snapshots {
			if snap.name == name {
				snap.uuid = uuid
			}
		}
	}
}

func (s *Store) world() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, folder := range sortedKeys(s.snapshots) {
		for _, snap := range s.snapshots[folder] {
			fmt.Fprintf(&b, "snapshot %s/%s %s %s %v\n", folder, snap.name, snap.uuid, snap.state,
				sortedKeys(snap.indices))
		}
	}
	return b.String()
}

func (s *Store) find(folder, name string) *snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, snap := range s.snapshots[folder] {
		if snap.name == name {
			return snap
		}
	}
	return nil
}

type snapshot struct {
	name, uuid, state string
	looks             int
	start             int64 // epoch milliseconds
	indices           map[string]*index
	failures          []any
	shards, failed    int
	end               string // the state that it ends in
}

// goOn brings a running snapshot nearer to its end.
func (s *snapshot) goOn() {
	if s.state != "IN_PROGRESS" {
		return
	}
	if s.looks--; s.looks < 0 {
		s.state = s.end
	}
}

// goOnIn has the snapshots of a repository go on although nobody follows them: who waits for the
// repository may not know of them.
func (c *Cluster) goOnIn(repo *repository) {
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	for _, snap := range c.store.snapshots[repo.folder()] {
		snap.goOn()
	}
}

type repository struct {
	kind     string
	settings map[string]any
}

func (r *repository) folder() string { return fmt.Sprint(r.settings["base_path"]) }

// EndNextAs has the next snapshot end in another state than SUCCESS, with a reason for its first
// shard.
func (c *Cluster) EndNextAs(state, reason string) {
	c.On("PUT /_snapshot/*/*", 1, func(w http.ResponseWriter, r *http.Request) bool {
		answer := c.answer(r)
		c.mu.Lock()
		defer c.mu.Unlock()
		if snap := c.running(); snap != nil {
			snap.end, snap.failed = state, 1
			snap.failures = []any{map[string]any{"index": sortedKeys(snap.indices)[0], "shard_id": 0, "reason": reason}}
		}
		write(w, answer)
		return true
	})
}

// Forget leaves an index out of a snapshot that is running, as versions before 6.0.1 do with one
// that they don't find.
func (c *Cluster) Forget(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.running().indices, name)
}

func (c *Cluster) running() *snapshot {
	for _, folder := range sortedKeys(c.store.snapshots) {
		for _, snap := range c.store.snapshots[folder] {
			if snap.state == "IN_PROGRESS" {
				return snap
			}
		}
	}
	return nil
}

var accepted = map[string]any{"accepted": true}

// answerSnapshot is for everything below /_snapshot/.
func (c *Cluster) answerSnapshot(r *http.Request, rest []string) any {
	if len(rest) == 0 {
		return c.listRepositories()
	}
	if len(rest) == 1 && rest[0] == "_status" {
		running := c.allRunning()
		if c.automatic > 0 {
			running = append(running, map[string]any{
				"snapshot": "2026-01-01t00-00-00", "repository": "cs-automated",
				"state": "STARTED",
			})
		}
		return map[string]any{"snapshots": running}
	}
	repo := c.repositories[rest[0]]
	if len(rest) == 1 {
		return c.answerRepository(r, rest[0], repo)
	}
	if repo == nil {
		return refuse(http.StatusNotFound, "repository_missing_exception", "[%s] missing", rest[0])
	}
	name := rest[1]
	switch {
	case len(rest) == 2 && name == "_status":
		return c.runningIn(rest[0], repo)
	case len(rest) == 3 && rest[2] == "_restore":
		return c.restore(r, rest[0], repo, name)
	case len(rest) == 3 && rest[2] == "_status":
		return c.status(rest[0], repo, name)
	case r.Method == http.MethodPut:
		return c.createSnapshot(r, rest[0], repo, name)
	case r.Method == http.MethodDelete:
		return c.deleteSnapshot(rest[0], repo, name)
	}
	return c.getSnapshot(rest[0], repo, name)
}

func (c *Cluster) answerRepository(r *http.Request, name string, repo *repository) any {
	if repo != nil && r.Method != http.MethodGet && c.uses(repo) {
		c.goOnIn(repo)
		return refuse(http.StatusInternalServerError, "illegal_state_exception",
			"trying to modify or unregister repository that is currently used ")
	}
	switch r.Method {
	case http.MethodPut:
		var body struct {
			Type     string         `json:"type"`
			Settings map[string]any `json:"settings"`
		}
		decode(r, &body)
		c.repositories[name] = &repository{body.Type, body.Settings}
		return acknowledged
	case http.MethodDelete:
		if repo == nil {
			return refuse(http.StatusNotFound, "repository_missing_exception", "[%s] missing", name)
		}
		delete(c.repositories, name)
		return acknowledged
	}
	if repo == nil {
		return refuse(http.StatusNotFound, "repository_missing_exception", "[%s] missing", name)
	}
	return map[string]any{name: map[string]any{"type": repo.kind, "settings": repo.settings}}
}

// Repository gives a registration's type and settings.
func (c *Cluster) Repository(name string) (kind string, settings map[string]any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if repo := c.repositories[name]; repo != nil {
		return repo.kind, maps.Clone(repo.settings)
	}
	return "", nil
}

func (c *Cluster) createSnapshot(r *http.Request, repoName string, repo *repository, name string) any {
	var body struct {
		Indices string `json:"indices"`
	}
	decode(r, &body)
	switch {
	case repo.settings["readonly"] == true:
		return refuse(http.StatusInternalServerError, "repository_exception",
			"[%s] cannot create snapshot in a readonly repository", repoName)
	case c.store.find(repo.folder(), name) != nil:
		return refuse(http.StatusBadRequest, "invalid_snapshot_name_exception",
			"[%s:%s] Invalid snapshot name [%s], snapshot with the same name already exists", repoName, name, name)
	case c.automatic > 0, c.running() != nil:
		c.automatic = max(0, c.automatic-1)
		return refuse(http.StatusServiceUnavailable, "concurrent_snapshot_execution_exception",
			"[%s:%s]  a snapshot is already running", repoName, name)
	}
	found, absent := c.resolve(body.Indices)
	if mixesTiers(found) { // the text is not Amazon's
		return refuse(http.StatusBadRequest, "illegal_argument_exception", "a snapshot takes one warm index alone")
	}
	if absent != nil {
		return absent
	}
	snap := &snapshot{
		name: name, uuid: c.id("snapshot"), state: "IN_PROGRESS", end: "SUCCESS", looks: c.Looks,
		indices: map[string]*index{},
	}
	for _, x := range found {
		saved := &index{name: x.name, settings: maps.Clone(x.settings), types: x.types, aliases: maps.Clone(x.aliases)}
		for _, s := range x.shards {
			saved.shards = append(saved.shards, &shard{docs: maps.Clone(s.docs), operations: s.operations})
		}
		snap.indices[x.name] = saved
		snap.shards += len(x.shards)
		if !x.open {
			snap.end = "FAILED"
		}
	}
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	snap.start = int64(1000 + len(c.store.snapshots[repo.folder()]))
	c.store.snapshots[repo.folder()] = append(c.store.snapshots[repo.folder()], snap)
	return accepted
}

func (c *Cluster) getSnapshot(repoName string, repo *repository, name string) any {
	var found []any
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	for _, snap := range c.store.snapshots[repo.folder()] {
		if !asked(name, snap) {
			continue
		}
		snap.goOn()
		end := 0
		if snap.state != "IN_PROGRESS" {
			end = 2000
		}
		found = append(found, map[string]any{
			"snapshot": snap.name, "uuid": snap.uuid, "state": snap.state, "version": c.Version,
			"indices":              sortedKeys(snap.indices),
			"start_time_in_millis": snap.start, "end_time_in_millis": end, "failures": snap.failures,
			"shards": map[string]any{
				"total": snap.shards, "failed": snap.failed,
				"successful": snap.shards - snap.failed,
			},
		})
	}
	if len(found) == 0 && name != "_all" && name != "_current" {
		return refuse(http.StatusNotFound, "snapshot_missing_exception", "[%s:%s] is missing", repoName, name)
	}
	return map[string]any{"snapshots": found}
}

func (c *Cluster) deleteSnapshot(repoName string, repo *repository, name string) any {
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	all := c.store.snapshots[repo.folder()]
	at := slices.IndexFunc(all, func(s *snapshot) bool { return s.name == name })
	if at < 0 {
		return refuse(http.StatusNotFound, "snapshot_missing_exception", "[%s:%s] is missing", repoName, name)
	}
	c.store.snapshots[repo.folder()] = slices.Delete(all, at, at+1)
	return acknowledged
}

// Snapshot tells the state of a snapshot, "" if there is none.
func (c *Cluster) Snapshot(repository, name string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if snap := c.store.find(c.repositories[repository].folder(), name); snap != nil {
		return snap.state
	}
	return ""
}

func (c *Cluster) status(repoName string, repo *repository, name string) any {
	snap := c.store.find(repo.folder(), name)
	if snap == nil {
		return refuse(http.StatusNotFound, "snapshot_missing_exception", "[%s:%s] is missing", repoName, name)
	}
	return map[string]any{"snapshots": []any{c.statusOf(repoName, snap)}}
}

// runningIn is what GET /_snapshot/REPOSITORY/_status shows.
func (c *Cluster) runningIn(repoName string, repo *repository) any {
	running := []any{}
	for _, snap := range c.store.snapshots[repo.folder()] {
		if snap.state == "IN_PROGRESS" {
			running = append(running, c.statusOf(repoName, snap))
		}
	}
	return map[string]any{"snapshots": running}
}

func (c *Cluster) statusOf(repoName string, snap *snapshot) any {
	done, indices := 0, map[string]any{}
	for index, of := range snap.indices {
		shards := map[string]any{}
		for n := range of.shards {
			stage := "STARTED"
			if c.Done != nil && c.Done(index, n) {
				stage = "DONE"
				done++
			}
			shards[strconv.Itoa(n)] = map[string]any{"stage": stage}
		}
		indices[index] = map[string]any{"shards": shards}
	}
	state := snap.state
	if state == "IN_PROGRESS" {
		state = "STARTED"
	}
	return map[string]any{
		"snapshot": snap.name, "repository": repoName, "uuid": snap.uuid, "state": state, "indices": indices,
		"shards_stats": map[string]any{"done": done, "failed": 0, "total": snap.shards},
		"stats": map[string]any{
			"number_of_files": 10, "processed_files": 5, "total_size_in_bytes": 1000,
			"processed_size_in_bytes": 500,
		},
	}
}
