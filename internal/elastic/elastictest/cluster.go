package elastictest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
)

// Cluster is one cluster. Its exported fields are set before the first request.
type Cluster struct {
	URL string
	// Version is the version that the cluster reports, 5.5.2 by default.
	Version string
	// User and Password are required in each request if set.
	User, Password string
	// Looks is how many reads still find a snapshot or restore running before it is done.
	Looks int
	// Done tells which shards of a running snapshot have reached the stage DONE; none if it is nil.
	Done func(index string, shard int) bool
	// MaxScrolls is how many scroll contexts may be open; any number if 0.
	MaxScrolls int
	// UnknownSettings are index settings that this version doesn't know, as patterns: a restore keeps
	// them as archived. Policies are its lifecycle policies.
	UnknownSettings, Policies []string
	// Free is the room on the only node, in bytes; of Total.
	Free, Total int64
	// Queue is how long a change of the cluster's state waits for the elected master, and Apply how
	// long the nodes take to apply it. No time passes: a request that doesn't give the cluster so
	// much gets the answer that it would get.
	Queue, Apply time.Duration
	// NoExplicitIndices has the cluster refuse bulk requests whose body names indices, as
	// rest.action.multi.allow_explicit_index: false does.
	NoExplicitIndices bool
	// NoPrimary are indices whose primary is missing, for writes.
	NoPrimary map[string]bool
	// Recovered are the files that a restored shard recovered: lengths by name.
	Recovered func(index string, shard int) map[string]int64
	// Unknown are types of analysis parts, stores, fields and queries that no node knows.
	Unknown []string

	mu           sync.Mutex
	server       *httptest.Server
	indices      map[string]*index
	repositories map[string]*repository
	store        *Store
	scrolls      map[string]*scroll
	hooks        []*hook
	requests     []string
	bodies       []string
	lastID       int
	restoring    string                       // the restore that holds the slot
	block        string                       // of the cluster, against writes
	automatic    int                          // looks for which the vendor's own snapshot holds the slot
	settings     map[string]map[string]string // the cluster's own, persistent and transient
	pipelines    []string
	cold         []string            // in Amazon's cold storage, sorted
	refused      map[string]*failure // the next write to an index
}

// New starts a cluster on a store of snapshots. Close it.
func New(store *Store) *Cluster {
	c := &Cluster{
		Version: "5.5.2", Free: 900 << 30, Total: 1000 << 30,
		indices: map[string]*index{}, repositories: map[string]*repository{}, store: store,
		scrolls: map[string]*scroll{}, refused: map[string]*failure{},
		settings: map[string]map[string]string{"persistent": {}, "transient": {}},
	}
	c.server = httptest.NewServer(c)
	c.URL = c.server.URL
	return c
}

// Close stops the server.
func (c *Cluster) Close() { c.server.Close() }

type hook struct {
	pattern string
	times   int
	do      func(http.ResponseWriter, *http.Request) bool
}

// On has the next requests that match (method and path, with * and ?, such as "PUT
// /_snapshot/*/movies-*") handled by do, which returns true if it answered.
func (c *Cluster) On(pattern string, times int, do func(http.ResponseWriter, *http.Request) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hooks = append(c.hooks, &hook{pattern, times, do})
}

// Refuse answers the next requests that match with an Elasticsearch error.
func (c *Cluster) Refuse(pattern string, times, status int, exception, reason string) {
	c.On(pattern, times, func(w http.ResponseWriter, _ *http.Request) bool {
		write(w, &failure{status, exception, reason})
		return true
	})
}

// Lose executes the next requests that match and loses their answers.
func (c *Cluster) Lose(pattern string, times int) {
	c.On(pattern, times, func(_ http.ResponseWriter, r *http.Request) bool {
		c.answer(r)
		panic(http.ErrAbortHandler)
	})
}

// During runs something just before the next request that matches.
func (c *Cluster) During(pattern string, do func()) {
	c.On(pattern, 1, func(http.ResponseWriter, *http.Request) bool { do(); return false })
}

// After runs something once the next request that matches is executed, before its answer is sent.
func (c *Cluster) After(pattern string, do func()) {
	c.On(pattern, 1, func(w http.ResponseWriter, r *http.Request) bool {
		answer := c.answer(r)
		do()
		write(w, answer)
		return true
	})
}

// Requests lists method and path of what was asked and matches the pattern.
func (c *Cluster) Requests(pattern string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var matching []string
	for _, request := range c.requests {
		if ok, _ := path.Match(pattern, request); ok {
			matching = append(matching, request)
		}
	}
	return matching
}

// Bodies lists the bodies of what was asked and matches the pattern.
func (c *Cluster) Bodies(pattern string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var matching []string
	for i, request := range c.requests {
		if ok, _ := path.Match(pattern, request); ok {
			matching = append(matching, c.bodies[i])
		}
	}
	return matching
}

// HoldSlot has a snapshot of the vendor's own run for as many attempts at a snapshot.
func (c *Cluster) HoldSlot(attempts int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.automatic = attempts
}

func (c *Cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := readBody(r)
	request := r.Method + " " + r.URL.Path
	c.mu.Lock()
	c.requests = append(c.requests, request)
	c.bodies = append(c.bodies, body)
	var do func(http.ResponseWriter, *http.Request) bool
	for _, h := range c.hooks {
		if ok, _ := path.Match(h.pattern, request); ok && h.times > 0 {
			h.times--
			do = h.do
			break
		}
	}
	c.mu.Unlock()
	if do != nil && do(w, r) {
		return
	}
	write(w, c.answer(r))
}

// failure is an answer that refuses.
type failure struct {
	status            int
	exception, reason string
}

func (f *failure) Error() string { return f.reason }

func refuse(status int, exception, format string, args ...any) *failure {
	return &failure{status, exception, fmt.Sprintf(format, args...)}
}

func write(w http.ResponseWriter, answer any) {
	w.Header().Set("Content-Type", "application/json")
	if b, ok := answer.(bare); ok {
		w.WriteHeader(b.status)
		answer = b.body
	}
	if f, ok := answer.(*failure); ok {
		cause := map[string]any{"type": f.exception, "reason": f.reason}
		w.WriteHeader(f.status)
		answer = map[string]any{"error": map[string]any{
			"root_cause": []any{cause}, "type": f.exception,
			"reason": f.reason,
		}, "status": f.status}
	}
	_ = json.NewEncoder(w).Encode(answer)
}

var acknowledged = map[string]any{"acknowledged": true}

// answer executes a request. Its result is JSON or a *failure.
func (c *Cluster) answer(r *http.Request) any {
	c.mu.Lock()
	defer c.mu.Unlock()
	if user, password, _ := r.BasicAuth(); c.Password != "" && (user != c.User || password != c.Password) {
		return refuse(http.StatusUnauthorized, "security_exception", "failed to authenticate user [%s]", user)
	}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if changesState(r, parts) {
		return c.change(r, parts)
	}
	return c.route(r, parts)
}

// changesState tells whether the elected master has to make a change.
func changesState(r *http.Request, parts []string) bool {
	switch last := parts[len(parts)-1]; {
	case r.Method == http.MethodGet, r.Method == http.MethodHead:
		return false
	case parts[0] == "_snapshot", r.Method == http.MethodPut, parts[0] == "_aliases":
		return true
	case r.Method == http.MethodDelete:
		return parts[0] != "_search"
	default:
		return last == "_close" || last == "_open"
	}
}

// change is a change of the cluster's state by a master that may be slow.
func (c *Cluster) change(r *http.Request, parts []string) any {
	if within(r, "master_timeout") < c.Queue {
		return refuse(http.StatusServiceUnavailable, "process_cluster_event_timeout_exception",
			"failed to process cluster event (%s) within %s", parts[len(parts)-1], within(r, "master_timeout"))
	}
	answer := c.route(r, parts)
	if fmt.Sprint(answer) == fmt.Sprint(acknowledged) && within(r, "timeout") < c.Apply {
		return map[string]any{"acknowledged": false}
	}
	return answer
}

// within is how long a request gives the cluster: 30 seconds if it doesn't say.
func within(r *http.Request, parameter string) time.Duration {
	if given, err := time.ParseDuration(r.URL.Query().Get(parameter)); err == nil {
		return given
	}
	return 30 * time.Second
}

func (c *Cluster) route(r *http.Request, parts []string) any {
	if typed := c.withoutTypes(r, parts); typed != nil {
		return typed
	}
	switch {
	case r.URL.Path == "/":
		return map[string]any{
			"name": "node-1", "cluster_name": "test", "cluster_uuid": "cluster",
			"version": map[string]any{"number": c.Version}, "tagline": "You Know, for Search",
		}
	case parts[0] == "_snapshot":
		return c.answerSnapshot(r, parts[1:])
	case parts[0] == "_cluster":
		return c.answerCluster(r, parts[1:])
	case parts[0] == "_nodes":
		return map[string]any{"nodes": map[string]any{"n1": map[string]any{
			"roles": []string{"master", "data"},
			"fs": map[string]any{"total": map[string]any{
				"total_in_bytes": c.Total, "free_in_bytes": c.Free,
				"available_in_bytes": c.Free,
			}},
		}}}
	case parts[0] == "_aliases" && r.Method == http.MethodPost:
		return c.updateAliases(r)
	case parts[0] == "_alias" && len(parts) == 1:
		return c.allAliases(r)
	case r.URL.Path == "/_ingest/pipeline":
		return c.answerPipelines()
	case r.URL.Path == "/_ilm/policy":
		policies := map[string]any{}
		for _, name := range c.Policies {
			policies[name] = map[string]any{"version": 1}
		}
		return policies
	case parts[0] == "_all" && parts[1] == "_settings" && r.URL.Query().Get("expand_wildcards") == "closed":
		return map[string]any{}
	case parts[0] == "_cold":
		return c.answerCold(r)
	case r.URL.Path == "/_bulk":
		return c.bulk(r)
	case parts[0] == "_search":
		return c.answerScroll(r)
	case len(parts) == 1 && r.Method == http.MethodGet:
		return byIndex(c.present(parts[0]), c.described)
	case len(parts) == 1 && r.Method == http.MethodPut:
		return c.createIndex(r, parts[0])
	case len(parts) == 1 && r.Method == http.MethodDelete:
		return c.deleteIndices(parts[0])
	case len(parts) >= 2:
		return c.answerIndex(r, parts[0], parts[1:])
	}
	return errNoHandler(r)
}

func (c *Cluster) id(kind string) string {
	c.lastID++
	return fmt.Sprintf("%s-%d", kind, c.lastID)
}

// World is everything that the cluster holds, as text, to compare.
func (c *Cluster) World() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b strings.Builder
	for _, name := range sortedKeys(c.indices) {
		x := c.indices[name]
		fmt.Fprintf(&b, "index %s %s open=%v settings=%v aliases=%v\n", name, x.uuid, x.open, x.settings,
			sortedKeys(x.aliases))
		for number, s := range x.shards {
			fmt.Fprintf(&b, "  shard %d %s from %s/%s: %v\n", number, s.state, s.repository, s.snapshot, s.docs)
		}
	}
	for _, name := range sortedKeys(c.repositories) {
		fmt.Fprintf(&b, "repository %s %v\n", name, c.repositories[name])
	}
	fmt.Fprintf(&b, "settings %v\n", c.settings)
	b.WriteString(c.store.world())
	return b.String()
}

func sortedKeys[T any](m map[string]T) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
