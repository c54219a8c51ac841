package lab

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
)

// server is one part that runs as a child process. It keeps its ports and its data over a restart.
type server struct {
	name  string
	ports []*int // free ports are chosen for those that are 0
	spec  func() processSpec
	ready func(context.Context, *Process) error

	mu      sync.Mutex
	proc    *Process
	settled bool // its ports are known to others: a restart takes the same
}

// portAttempts bounds the tries to find ports that nobody takes between our looking and the child's
// listening.
const portAttempts = 5

func (s *server) start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc != nil && s.running() {
		return fmt.Errorf("%s is already running (pid %d)", s.name, s.proc.PID)
	}
	for attempt := 1; ; attempt++ {
		if !s.settled {
			if err := freePorts(s.ports); err != nil {
				return fmt.Errorf("no free port for %s: %w", s.name, err)
			}
		}
		err := s.launch(ctx)
		if err == nil {
			s.settled = true
			return nil
		}
		if attempt == portAttempts || !strings.Contains(err.Error(), "address already in use") {
			return err
		}
	}
}

func (s *server) launch(ctx context.Context) error {
	p, err := startProcess(s.spec())
	if err != nil {
		return err
	}
	s.proc = p
	if err := p.await(ctx, Patience, func(ctx context.Context) error { return s.ready(ctx, p) }); err != nil {
		_ = p.Kill()
		return err
	}
	return nil
}

func (s *server) running() bool {
	select {
	case <-s.proc.Done():
		return false
	default:
		return true
	}
}

// process is the child, or nil if there never was one.
func (s *server) process() *Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proc
}

func (s *server) stop() error {
	if p := s.process(); p != nil {
		return p.Stop()
	}
	return nil
}

func (s *server) kill() error {
	if p := s.process(); p != nil {
		return p.Kill()
	}
	return nil
}

// The ports that freePorts chooses from. Those that Linux gives to connections, and to who asks for any,
// begin at 32768, on other systems higher. One of them may be taken until the child listens, which is a
// minute on a busy computer, and while it is killed.
const (
	lowestPort   = 20000
	portsToTry   = 32768 - lowestPort
	attemptsEach = 100
)

// freePorts chooses ports of 127.0.0.1 that nobody listens on now. Listening on all of them at once
// keeps them apart.
func freePorts(ports []*int) error {
	for _, port := range ports {
		l, err := listenOnAny()
		if err != nil {
			return err
		}
		defer l.Close()
		*port = l.Addr().(*net.TCPAddr).Port
	}
	return nil
}

func listenOnAny() (l net.Listener, err error) {
	for range attemptsEach {
		l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", lowestPort+rand.IntN(portsToTry)))
		if err == nil {
			break
		}
	}
	return l, err
}
