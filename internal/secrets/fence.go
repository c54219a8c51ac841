// Package secrets reads the secrets that plans refer to, and decides which of them a plan may name.
//
// Whoever may start a workflow writes the plan: which secret is read, and where it is sent. So a
// worker has a [Fence]. By default plans may read only environment variables with a prefix of their
// own, and regular files below one folder. Whoever runs the worker may add single references, and may
// list the endpoints that plans can use. What belongs to the worker itself is never read: variables
// that begin with AWS_ or TEMPORAL_, the files that these name, and /proc, /sys and /dev.
package secrets

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// The defaults of a worker.
const (
	DefaultEnvPrefix = "SNAPFERRY_SECRET_"
	DefaultDir       = "/run/secrets"
)

// ownPrefixes begin the variables of the worker itself: credentials of the AWS SDK's chain, and of
// Temporal's client.
var ownPrefixes = []string{"AWS_", "TEMPORAL_"}

// ownFolders hold the worker's environment and memory, and devices.
var ownFolders = []string{"/proc", "/sys", "/dev"}

// platformFolders are what platforms mount into containers: credentials of the worker itself.
var platformFolders = []string{
	"/secrets/kubernetes.io/", "/secrets/eks.amazonaws.com/", "/secrets/pods.eks.amazonaws.com/",
	"/secrets/azure/tokens/", "/secrets/tokens/",
}

// Fence says what plans may read, and where they may send it. The zero value has the defaults.
type Fence struct {
	// EnvPrefix begins the environment variables that plans may name. Default: SNAPFERRY_SECRET_.
	EnvPrefix string
	// Dir is the folder below which plans may name files. Default: /run/secrets.
	Dir string
	// Allowed are references that plans may name besides, such as env:TARGET_PASSWORD.
	Allowed []string
	// Endpoints are the hosts that plans may name, such as *.es.amazonaws.com or 10.0.0.7:9200. None
	// means any.
	Endpoints []string

	opened bool
}

func (f Fence) prefix() string {
	if f.EnvPrefix == "" {
		return DefaultEnvPrefix
	}
	return f.EnvPrefix
}

func (f Fence) dir() string {
	if f.Dir == "" {
		return DefaultDir
	}
	return filepath.Clean(f.Dir)
}

// Flags that widen a fence, as the errors name them.
const (
	FlagEnvPrefix = "secrets-env-prefix"
	FlagDir       = "secrets-dir"
	FlagAllowed   = "allow-references"
	FlagEndpoints = "allow-endpoints"
)

var (
	variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	// hostPattern is a host name or an address, with *. for any subdomain and an optional port.
	hostPattern = regexp.MustCompile(`^(\*\.)?([a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(:[0-9]{1,5})?$`)
)

// Problem says what is wrong with a fence, by the worker's flag; empty if nothing is.
func (f Fence) Problem() (flag, problem string) {
	if own := ownPrefix(f.prefix()); own != "" || !variable.MatchString(f.prefix()) {
		return FlagEnvPrefix, fmt.Sprintf("%q can't begin the names of variables that plans may read: use one such "+
			"as %s; variables that begin with AWS_ or TEMPORAL_ are never read", f.prefix(), DefaultEnvPrefix)
	}
	if dir := f.dir(); !filepath.IsAbs(dir) || dir == "/" || ownFolder(dir) || ownFolder(resolved(dir)) ||
		resolved(dir) == "/" {
		return FlagDir, fmt.Sprintf("%s can't be the folder of the plans' secrets: use one that holds nothing else, "+
			"such as %s", dir, DefaultDir)
	}
	for _, ref := range f.Allowed {
		kind, place, _ := strings.Cut(ref, ":")
		switch {
		case kind == "env" && variable.MatchString(place), kind == "file" && filepath.IsAbs(place):
		default:
			return FlagAllowed, "it takes references as plans have them, such as env:TARGET_PASSWORD or " +
				"file:/etc/snapferry/key"
		}
		if why := own(kind, place); why != "" {
			return FlagAllowed, fmt.Sprintf("%s is never read for a plan: %s", ref, why)
		}
	}
	for _, pattern := range f.Endpoints {
		if !hostPattern.MatchString(strings.ToLower(pattern)) {
			return FlagEndpoints, fmt.Sprintf("%q is no host: use names, addresses, or *.example.com for all below "+
				"it; a port is optional", pattern)
		}
	}
	return "", ""
}

// Refusal is what the fence says to a reference or an endpoint.
type Refusal struct {
	What string // the reference, or the host
	Why  string
	// Flag is the worker's flag that would let it pass; empty if none does.
	Flag string
	// Instead is what the plan could say.
	Instead string
}

func (r *Refusal) Error() string {
	text := r.What + " is refused: " + r.Why + ". Either " + r.Instead
	if r.Flag != "" {
		text += ", or start the worker with --" + r.Flag
	}
	return text
}

// Check says whether a plan may name a reference, an env:NAME or file:/PATH that is valid. It reads
// nothing but the names of the worker's own files.
func (f Fence) Check(ref string) error {
	kind, place, _ := strings.Cut(ref, ":")
	if why := own(kind, place); why != "" {
		return &Refusal{What: ref, Why: why, Instead: "put the plan's secret into " + f.wanted(kind)}
	}
	if slices.Contains(f.Allowed, ref) {
		return nil
	}
	inside := strings.HasPrefix(place, f.prefix()) && place != f.prefix()
	if kind == "file" {
		_, inside = f.inside(place)
	}
	if inside {
		return nil
	}
	return &Refusal{
		What: ref, Why: "plans may name only " + f.wanted(kind), Flag: FlagAllowed + " " + ref,
		Instead: "write such a reference into the plan",
	}
}

func (f Fence) wanted(kind string) string {
	if kind == "file" {
		return "files below " + f.dir() + " (--" + FlagDir + ")"
	}
	return "environment variables that begin with " + f.prefix() + " (--" + FlagEnvPrefix + ")"
}

// inside is a path relative to the folder of the secrets.
func (f Fence) inside(path string) (string, bool) {
	relative, err := filepath.Rel(f.dir(), filepath.Clean(path))
	if err != nil || relative == "." || !filepath.IsLocal(relative) {
		return "", false
	}
	return relative, true
}

// own says why something belongs to the worker itself; empty if it doesn't.
func own(kind, place string) string {
	if kind == "env" {
		if prefix := ownPrefix(place); prefix != "" {
			return "variables that begin with " + prefix + " are the worker's own"
		}
		return ""
	}
	path := filepath.Clean(place)
	for _, path := range []string{path, resolved(path)} {
		if ownFolder(path) {
			return "it is a file of the system"
		}
		if slices.ContainsFunc(platformFolders, func(part string) bool { return strings.Contains(path, part) }) {
			return "it is a credential of the worker itself"
		}
	}
	for _, entry := range os.Environ() {
		name, value, _ := strings.Cut(entry, "=")
		if ownPrefix(name) != "" && filepath.IsAbs(value) && sameFile(path, value) {
			return name + " names this file for the worker itself"
		}
	}
	return ""
}

func ownPrefix(name string) string {
	for _, prefix := range ownPrefixes {
		if strings.HasPrefix(strings.ToUpper(name), prefix) {
			return prefix
		}
	}
	return ""
}

func ownFolder(path string) bool {
	return slices.ContainsFunc(ownFolders, func(folder string) bool {
		return path == folder || strings.HasPrefix(path, folder+"/")
	})
}

// resolved is a path without links, as far as it exists.
func resolved(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return path
}

func sameFile(a, b string) bool {
	if filepath.Clean(a) == filepath.Clean(b) {
		return true
	}
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}

// Endpoint says whether a plan may name an endpoint: a URL, or a host with or without a port.
func (f Fence) Endpoint(endpoint string) error {
	if len(f.Endpoints) == 0 || endpoint == "" {
		return nil
	}
	refusal := &Refusal{
		What: "the endpoint", Why: "this worker connects only to the endpoints of --" + FlagEndpoints,
		Instead: "correct the endpoint in the plan",
	}
	text := endpoint
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	parsed, err := url.Parse(text)
	if err != nil || parsed.Hostname() == "" || parsed.User != nil || parsed.Opaque != "" {
		return refusal
	}
	host := strings.ToLower(strings.TrimSuffix(parsed.Hostname(), "."))
	refusal.What, refusal.Flag = parsed.Host, FlagEndpoints+" ...,"+host
	for _, pattern := range f.Endpoints {
		if matches(strings.ToLower(pattern), host, port(parsed)) {
			return nil
		}
	}
	return refusal
}

func port(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "http":
		return "80"
	}
	return "443"
}

// matches tells whether a host is that of a pattern. A pattern without a port is for all ports.
func matches(pattern, host, port string) bool {
	name := pattern
	if at := strings.LastIndexByte(pattern, ':'); at > strings.LastIndexByte(pattern, ']') {
		name = pattern[:at]
		if pattern[at+1:] != port {
			return false
		}
	}
	name = strings.Trim(name, "[]")
	if below, ok := strings.CutPrefix(name, "*"); ok {
		return strings.HasSuffix(host, below) && len(host) > len(below)
	}
	return host == name
}
