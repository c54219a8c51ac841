package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/snapferry/snapferry/lab/cluster"
)

// nodeName is what a node of a cluster is called. Nodes count from 1.
func nodeName(clusterName string, number int) string { return clusterName + "-" + strconv.Itoa(number) }

// startCluster starts the nodes of a source or target, and returns their addresses.
func (l *Lab) startCluster(ctx context.Context, part Part, nodes []*node) ([]string, error) {
	servers := make([]*server, len(nodes))
	for i, n := range nodes {
		servers[i] = &n.server
	}
	l.own(part, servers...)
	// At once: none is ready until enough of them have found each other to elect a manager.
	group, starting := errgroup.WithContext(ctx)
	for _, n := range nodes {
		group.Go(func() error { return n.start(starting) })
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	urls := make([]string, len(nodes))
	for i, n := range nodes {
		urls[i] = n.url
	}
	if len(nodes) == 1 {
		return urls, nil
	}
	c := cluster.Client{URL: urls[0], HTTP: &http.Client{Transport: loopback}}
	path := fmt.Sprintf("/_cluster/health?wait_for_nodes=%d&timeout=60s", len(nodes))
	return urls, c.Do(ctx, http.MethodGet, path, nil, nil)
}

// newNodes are the nodes of a source or target: one that is a cluster of its own, or some with fixed
// transport ports that know each other.
func newNodes(part Part, version, dir string, count int, t *toolbox, o Options, settings nodeSettings) ([]*node,
	error,
) {
	if count <= 1 {
		return []*node{newNode(string(part), version, dir, t, o, settings)}, nil
	}
	ports := make([]int, count)
	places := make([]*int, count)
	for i := range ports {
		places[i] = &ports[i]
	}
	if err := freePorts(places); err != nil {
		return nil, fmt.Errorf("no free ports for the nodes of %s: %w", part, err)
	}
	var addresses, names []string
	for i, port := range ports {
		addresses = append(addresses, fmt.Sprintf("127.0.0.1:%d", port))
		names = append(names, nodeName(string(part), i+1))
	}
	nodes := make([]*node, count)
	for i := range nodes {
		more := discovery(version, ports[i], addresses, names)
		more["cluster.name"], more["node.name"] = string(part), names[i]
		maps.Copy(more, settings)
		nodes[i] = newNode(names[i], version, filepath.Join(dir, strconv.Itoa(i+1)), t, o, more)
	}
	return nodes, nil
}

// discovery are the settings with which nodes find each other, and elect a manager only if more than
// half of them have.
func discovery(version string, port int, addresses, names []string) nodeSettings {
	all := strings.Join(addresses, ",")
	if olderThan(version, 7, 0) {
		return nodeSettings{
			"discovery.type": "zen", "transport.tcp.port": strconv.Itoa(port),
			"discovery.zen.ping.unicast.hosts":   all,
			"discovery.zen.minimum_master_nodes": strconv.Itoa(len(addresses)/2 + 1),
		}
	}
	kind := "zen"
	if !olderThan(version, 8, 0) {
		kind = "multi-node"
	}
	return nodeSettings{
		"discovery.type": kind, "transport.port": strconv.Itoa(port),
		"discovery.seed_hosts":         all,
		"cluster.initial_master_nodes": strings.Join(names, ","),
	}
}

// KillNode ends a node of a cluster at once (SIGKILL). Nodes count from 1.
func (l *Lab) KillNode(part Part, number int) error {
	s, err := l.node(part, number)
	if err != nil {
		return err
	}
	return s.kill()
}

// RestartNode starts a node again after KillNode, on the same ports and the same data, and returns
// when it has found its cluster.
func (l *Lab) RestartNode(ctx context.Context, part Part, number int) error {
	s, err := l.node(part, number)
	if err != nil {
		return err
	}
	return s.start(ctx)
}

func (l *Lab) node(part Part, number int) (*server, error) {
	servers, err := l.serversOf(part)
	if err != nil {
		return nil, err
	}
	if number < 1 || number > len(servers) {
		return nil, fmt.Errorf("the lab's part %s has no node %d: it has %d", part, number, len(servers))
	}
	return servers[number-1], nil
}

// Manager is the number of the node that the source or the target has elected to manage the cluster.
func (l *Lab) Manager(ctx context.Context, part Part) (int, error) {
	var rows []struct{ Node string }
	if err := l.direct(part).Do(ctx, http.MethodGet, "/_cat/master?format=json&h=node", nil, &rows); err != nil {
		return 0, err
	}
	if len(rows) == 0 {
		return 0, errors.New("the cluster has no manager now")
	}
	return nodeNumber(rows[0].Node)
}

// Holder is the number of the node that holds a primary.
func (l *Lab) Holder(ctx context.Context, part Part, index string, shard int) (int, error) {
	var rows []struct{ Shard, Prirep, Node string }
	path := "/_cat/shards/" + index + "?format=json&h=shard,prirep,node"
	if err := l.direct(part).Do(ctx, http.MethodGet, path, nil, &rows); err != nil {
		return 0, err
	}
	for _, row := range rows {
		if row.Shard == strconv.Itoa(shard) && row.Prirep == "p" {
			return nodeNumber(strings.Fields(row.Node + " -")[0]) // a relocating one shows both nodes
		}
	}
	return 0, fmt.Errorf("index %s has no shard %d", index, shard)
}

func nodeNumber(name string) (int, error) {
	_, number, _ := strings.Cut(name, "-")
	n, err := strconv.Atoi(number)
	if err != nil {
		return 0, fmt.Errorf("%q is no node of the lab", name)
	}
	return n, nil
}

func (l *Lab) direct(part Part) *cluster.Client {
	if part == PartSource {
		return l.Source.Direct()
	}
	return l.Target.Direct()
}
