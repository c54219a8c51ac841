//go:build lab

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/lab/rig"
)

// mostLabs is how many labs run at once. Each has two nodes, of some 800 MB.
const mostLabs = 2

// versions are those of a lab's source and target.
type versions struct{ source, target string }

// usual are the versions of the procedure that snapferry replaces.
var usual = versions{lab.SourceVersion, lab.TargetVersion}

// pool lends labs to tests. Starting a lab takes long, so one that is given back serves the next
// test between the same versions. A test has its lab for itself: migrations between the same
// clusters wait for each other's snapshots. All tests here run in parallel, so that most of them
// stand at the pool from the beginning, and it can see what is wanted.
type pool struct {
	dir   string // of the labs, a folder each
	bin   string // holds the programs
	most  int    // labs that run at once
	nodes int    // of each cluster

	mu      sync.Mutex
	changed *sync.Cond
	open    []*lent
	serial  int
	waiting map[versions]int
}

// lent is a lab that is open, or about to be.
type lent struct {
	versions
	rig  *rig.Rig
	busy bool
}

func newPool(dir, bin string, most, nodes int) *pool {
	p := &pool{dir: dir, bin: bin, most: most, nodes: nodes, waiting: map[versions]int{}}
	p.changed = sync.NewCond(&p.mu)
	return p
}

// take returns a lab between two versions, which is the test's own until it ends.
func (p *pool) take(t *testing.T, v versions) *rig.Rig {
	t.Helper()
	came := time.Now()
	l, old := p.reserve(v)
	got := time.Now()
	t.Cleanup(func() {
		t.Logf("%.0f s on its lab, after %.0f s of waiting for it", time.Since(got).Seconds(), got.Sub(came).Seconds())
		if l.rig != nil {
			for _, problem := range l.rig.Payloads.TakeTooLarge() {
				t.Error(problem)
			}
		}
		p.giveBack(l)
	})
	if old != nil {
		require.NoError(t, old.close())
	}
	if l.rig == nil {
		started, err := p.start(t.Context(), v)
		require.NoError(t, err)
		l.rig = started
		t.Logf("starting the lab took %.0f s", time.Since(got).Seconds())
	}
	return l.rig
}

// reserve waits for a lab: one that stands idle, or the place of one, which is then to be started.
// A lab between other versions that nobody waits for gives up its place; the caller closes it.
func (p *pool) reserve(v versions) (l, old *lent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting[v]++
	defer func() { p.waiting[v]-- }()
	for ; ; p.changed.Wait() {
		dispensable := -1
		for i, l := range p.open {
			switch {
			case l.busy:
			case l.versions == v:
				l.busy = true
				return l, nil
			case p.waiting[l.versions] == 0:
				dispensable = i
			}
		}
		l := &lent{versions: v, busy: true}
		if len(p.open) < p.most {
			p.open = append(p.open, l)
			return l, nil
		}
		if dispensable >= 0 {
			old, p.open[dispensable] = p.open[dispensable], l
			return l, old
		}
	}
}

func (p *pool) giveBack(l *lent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l.busy = false
	if l.rig == nil { // it did not start
		for i := range p.open {
			if p.open[i] == l {
				p.open = append(p.open[:i], p.open[i+1:]...)
				break
			}
		}
	}
	p.changed.Broadcast()
}

func (p *pool) start(ctx context.Context, v versions) (*rig.Rig, error) {
	p.mu.Lock()
	p.serial++
	dir := filepath.Join(p.dir, fmt.Sprintf("%d-from-%s-to-%s", p.serial, v.source, v.target))
	p.mu.Unlock()
	l, err := lab.Start(ctx, lab.Options{
		Dir: dir, Out: os.Stderr, SourceVersion: v.source, TargetVersion: v.target, SourceSettings: pluginSettings,
		SourceNodes: p.nodes, TargetNodes: p.nodes,
	})
	if err != nil {
		return nil, err
	}
	r, err := rig.Connect(ctx, l, p.bin)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return r, nil
}

func (l *lent) close() error {
	l.rig.Close()
	return l.rig.Lab.Close()
}

// close ends all labs.
func (p *pool) close() error {
	var all error
	for _, l := range p.open {
		if l.rig != nil {
			all = errors.Join(all, l.close())
		}
	}
	return all
}
