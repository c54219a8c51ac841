package demo

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/snapferry/snapferry/lab/rig"
	"github.com/snapferry/snapferry/migration"
)

const (
	hookQueue  = "demo-hooks"
	signingRef = "SNAPFERRY_SECRET_DEMO_SIGNING"
	// leastMoved is how many acknowledged writes on the target show that the writer goes on there.
	leastMoved = 50
)

// switchboard stops and starts the demo's writer when the migration's hooks say so. It is what a
// deployment tool is for a real application. The hook before the block runs a shell command, on the
// worker of examples/hooks: it asks for the stop with a file, and waits for the answer. The hooks that
// start the writer call the switchboard themselves, signed.
type switchboard struct {
	d      *demo
	server *http.Server
	url    string
	secret string
	// asked and stopping are the files by which the shell command asks and is answered.
	asked, stopping string
	end             context.CancelFunc

	mu   sync.Mutex
	done map[string]bool // by idempotency key
	// stopped is how many writes had been acknowledged when the writer was stopped, -1 before.
	stopped int64
	// moved is set once the writer writes to the target.
	moved bool
}

func (d *demo) newSwitchboard() (*switchboard, error) {
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &switchboard{
		d: d, url: "http://" + listener.Addr().String(), secret: hex.EncodeToString(key), done: map[string]bool{},
		stopped: -1,
	}
	s.asked, s.stopping = filepath.Join(d.o.Dir, "stop-writer"), filepath.Join(d.o.Dir, "writer-stopped")
	s.forget()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /start", s.start)
	s.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.server.Serve(listener) }() // until close
	watching, end := context.WithCancel(context.Background())
	s.end = end
	go s.watch(watching)
	return s, nil
}

func (s *switchboard) close() {
	s.end()
	_ = s.server.Close()
}

// forget removes the files, so that the next stop asks again.
func (s *switchboard) forget() {
	_ = os.Remove(s.asked)
	_ = os.Remove(s.stopping)
}

// command asks for the stop, and prints the answer.
func (s *switchboard) command() string {
	return fmt.Sprintf("cat >'%[1]s.new' && mv '%[1]s.new' '%[1]s' && until [ -e '%[2]s' ]; do sleep 0.1; done; "+
		"cat '%[2]s'", s.asked, s.stopping)
}

// watch stops the writer when the command asks for it.
func (s *switchboard) watch(ctx context.Context) {
	ticker := time.NewTicker(looks)
	defer ticker.Stop()
	for {
		if text, err := os.ReadFile(s.asked); err == nil {
			s.stop(text)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// hooks are those of the demo's plan.
func (s *switchboard) hooks() migration.Hooks {
	start := migration.Hook{
		Name: "start-writer",
		HTTP: migration.HookHTTP{URL: s.url + "/start", SigningSecret: migration.SecretRef("env:" + signingRef)},
	}
	return migration.Hooks{
		BeforeBlock: []migration.Hook{{
			Name: "stop-writer", Activity: migration.HookTask{Type: "StopWriter", TaskQueue: hookQueue},
		}},
		AfterHandover: []migration.Hook{start},
		AfterThaw:     []migration.Hook{start},
	}
}

// worker starts the worker of examples/hooks.
func (s *switchboard) worker(ctx context.Context, r *rig.Rig) error {
	path, err := r.HookWorker(ctx)
	if err != nil {
		return err
	}
	_, err = r.Lab.Run("hooks", []string{
		path, "--queue", hookQueue, "--activity", "StopWriter=" + s.command(),
	}, "TEMPORAL_ADDRESS="+r.Temporal.Address)
	return err
}

// stop answers once no request of the writer is under way.
func (s *switchboard) stop(text []byte) {
	var in migration.HookInput
	if err := json.Unmarshal(text, &in); err != nil {
		s.d.say("what asks for the stop is no hook: %v", err)
		return
	}
	s.once(in, func() {
		s.d.write.Pause()
		s.stopped = s.d.write.Stats().Acknowledged
		s.d.say("the hook %s stopped the writer after %d acknowledged writes", in.Hook, s.stopped)
		answer := fmt.Sprintf("the writer has stopped after %d writes\n", s.stopped)
		if err := os.WriteFile(s.stopping+".new", []byte(answer), 0o644); err == nil {
			_ = os.Rename(s.stopping+".new", s.stopping) // else the hook fails, and the freeze ends
		}
	})
}

// start starts the writer again: on the target after the handover, else where it was.
func (s *switchboard) start(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	var in migration.HookInput
	switch {
	case err != nil || !s.signed(r.Header, body):
		http.Error(rw, "the signature is wrong", http.StatusUnauthorized)
		return
	case json.Unmarshal(body, &in) != nil:
		http.Error(rw, "this is no hook", http.StatusBadRequest)
		return
	}
	s.once(in, func() {
		where := "source"
		if in.Moment == migration.HookAfterHandover {
			s.d.write.MoveTo(s.d.lab.Target.Client())
			where, s.moved = "target", true
		}
		s.forget()
		s.d.write.Resume()
		s.d.say("the hook %s started the writer on the %s", in.Hook, where)
	})
	fmt.Fprintln(rw, `{"message": "the writer writes again"}`)
}

// signed checks a request as docs/plan.md describes it.
func (s *switchboard) signed(header http.Header, body []byte) bool {
	const oldest = 5 * time.Minute
	timestamp := header.Get("Snapferry-Timestamp")
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || time.Since(time.Unix(seconds, 0)).Abs() > oldest {
		return false
	}
	mac := hmac.New(sha256.New, []byte(s.secret))
	mac.Write([]byte(timestamp + "."))
	mac.Write(body)
	want := "v1=" + hex.EncodeToString(mac.Sum(nil))
	return hmac.Equal([]byte(want), []byte(header.Get("Snapferry-Signature")))
}

// once does what a hook wants one time, however often the call comes.
func (s *switchboard) once(in migration.HookInput, do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.done[in.IdempotencyKey] {
		s.done[in.IdempotencyKey] = true
		do()
	}
}

// state is how many writes there were when the writer was stopped, and whether it has moved.
func (s *switchboard) state() (stopped int64, moved bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopped, s.moved
}
