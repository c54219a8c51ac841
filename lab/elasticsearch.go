package lab

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/snapferry/snapferry/lab/cluster"
)

// readyLine is what the launcher in lab/elasticsearch prints when its node answers.
var readyLine = regexp.MustCompile(`(?m)^READY http=(127\.0\.0\.1:(\d+))\s*$`)

// node is one Elasticsearch node.
type node struct {
	server
	dir string
	url string
}

// nodeSettings become key=value arguments of the launcher.
type nodeSettings map[string]string

const (
	defaultHeapMB = 512
	diskThreshold = "cluster.routing.allocation.disk.threshold_enabled"
)

// quickStart halves the CPU time that a node takes to start. Its code is never compiled to be as
// fast as it can be.
var quickStart = []string{"-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"}

// newNode is a node that is a cluster of its own, unless more says otherwise.
func newNode(name, version, dir string, t *toolbox, o Options, more nodeSettings) *node {
	n := &node{dir: dir}
	port := 0 // the node chooses, and keeps its choice over a restart
	n.server = server{
		name: name,
		spec: func() processSpec {
			java, _ := javaPath() // EnsureTools has seen that it is there
			heap := strconv.Itoa(cmp.Or(o.HeapMB, defaultHeapMB)) + "m"
			args := []string{"-Xms" + heap, "-Xmx" + heap, "-Djava.io.tmpdir=" + filepath.Join(dir, "tmp")}
			if !o.Measured {
				args = append(args, quickStart...)
			}
			for _, pkg := range []string{"java.lang", "java.nio", "sun.nio.ch"} {
				args = append(args, "--add-opens", "java.base/"+pkg+"=ALL-UNNAMED")
			}
			args = append(args, "-cp", filepath.Join(t.elasticsearch(version).path, "*"), "io.snapferry.lab.Launcher",
				"path.home="+filepath.Join(dir, "home"), "path.data="+filepath.Join(dir, "data"), "path.repo="+
					filepath.Join(dir, "repo"),
				"cluster.name="+name, "node.name="+nodeName(name, 1), fmt.Sprintf("http.port=%d", port),
				// However full the disk of this computer is, it decides nothing in the lab.
				diskThreshold+"=false")
			for key, value := range more {
				args = append(args, key+"="+value)
			}
			return processSpec{name: name, path: java, args: args, env: plainEnv(), dir: dir}
		},
		ready: func(ctx context.Context, p *Process) error {
			m := readyLine.FindStringSubmatch(p.log())
			if m == nil {
				return fmt.Errorf("the node %s has not said that it is ready", name)
			}
			n.url = "http://" + m[1]
			if _, err := fmt.Sscan(m[2], &port); err != nil {
				return err
			}
			if more["discovery.type"] != "" {
				return nil // it has found a manager, and others may have the shards
			}
			c := cluster.Client{URL: n.url, HTTP: &http.Client{Transport: loopback}}
			return c.Do(ctx, http.MethodGet, "/_cluster/health?wait_for_status=yellow&timeout=5s", nil, nil)
		},
	}
	return n
}

func (n *node) start(ctx context.Context) error {
	for _, folder := range []string{"home/config", "data", "repo", "tmp"} {
		if err := os.MkdirAll(filepath.Join(n.dir, folder), 0o755); err != nil {
			return fmt.Errorf("no folder for %s: %w", n.name, err)
		}
	}
	return n.server.start(ctx)
}
