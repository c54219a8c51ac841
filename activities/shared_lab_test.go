//go:build lab

package activities

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/osstest"
	"github.com/snapferry/snapferry/internal/secrets"
	"github.com/snapferry/snapferry/lab"
)

// The tests on nodes of the usual versions share a lab, since starting one takes long. They run one
// after another, and each removes what it has made.
var shared struct {
	once  sync.Once
	dir   string
	lab   *lab.Lab
	front *s3Front
	err   error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if err := stopDevServer(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if shared.front != nil {
		shared.front.server.Close()
	}
	if shared.lab != nil {
		if err := shared.lab.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	if code == 0 && shared.dir != "" {
		_ = os.RemoveAll(shared.dir)
	}
	os.Exit(code)
}

// useSharedLab starts the shared lab if no test has done so before, and makes its secrets known to
// the activities.
func useSharedLab(t *testing.T) (*lab.Lab, *s3Front) {
	t.Helper()
	shared.once.Do(func() {
		if shared.dir, shared.err = os.MkdirTemp("", "snapferry-activities-"); shared.err != nil {
			return
		}
		shared.front = newS3Front()
		// Several shards at once, or one that is held would hold up all others; a node on few cores
		// takes one.
		shared.lab, shared.err = lab.Start(context.Background(), lab.Options{
			Dir: shared.dir, Out: os.Stderr, Parts: []lab.Part{lab.PartS3, lab.PartOSS, lab.PartSource, lab.PartTarget},
			SourceSettings: map[string]string{
				"thread_pool.snapshot.max": "5",
				"lab.s3.endpoint":          shared.front.server.URL,
			},
		})
		if shared.err == nil {
			shared.err = shared.front.forwardTo(shared.lab.S3.Endpoint)
		}
		if shared.err == nil {
			shared.err = shared.lab.OSS.Server.CreateBucket(shared.lab.OSS.Bucket, osstest.BucketOptions{})
		}
	})
	require.NoError(t, shared.err)
	setEnvironment(t, shared.lab)
	return shared.lab, shared.front
}

// copierAlone makes a Copier that asks no workflow for its share of the bandwidth, as each copy of more
// than bandwidthInterval would. Temporal's test environment has no workflow to ask: it ends the process.
func copierAlone() *Copier {
	c := NewCopier(secrets.Fence{})
	c.ask = nil
	return c
}

// setEnvironment makes a lab's secrets known to the activities.
func setEnvironment(t *testing.T, l *lab.Lab) {
	t.Helper()
	for _, variable := range l.Environment() {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
}

// s3Front stands between the source's node and S3. It holds what the node writes, so that a
// snapshot runs for as long as a test wants, however fast or slow the computer is. Signatures pass:
// the host that they cover stays the front's.
type s3Front struct {
	server  *httptest.Server
	forward *httputil.ReverseProxy

	mu   sync.Mutex
	hold *s3Hold
}

// s3Hold is what is held.
type s3Hold struct {
	match   func(path string) bool
	arrived chan struct{} // closed when the first request is held
	release chan struct{} // closed when they may go on
	once    sync.Once
}

func newS3Front() *s3Front {
	f := &s3Front{}
	f.server = httptest.NewServer(f)
	return f
}

func (f *s3Front) forwardTo(endpoint string) error {
	to, err := url.Parse(endpoint)
	if err != nil {
		return err
	}
	f.forward = &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = r.In.Host
	}}
	return nil
}

func (f *s3Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	hold := f.hold
	f.mu.Unlock()
	if hold != nil && r.Method == http.MethodPut && hold.match(r.URL.Path) {
		hold.once.Do(func() { close(hold.arrived) })
		select {
		case <-hold.release:
		case <-r.Context().Done():
			return
		}
	}
	f.forward.ServeHTTP(w, r)
}

// holdBlobs holds what the node writes under the paths that match, until release or the end of the
// test.
func (f *s3Front) holdBlobs(t *testing.T, match func(path string) bool) (arrived <-chan struct{}, release func()) {
	hold := &s3Hold{match: match, arrived: make(chan struct{}), release: make(chan struct{})}
	f.mu.Lock()
	f.hold = hold
	f.mu.Unlock()
	release = sync.OnceFunc(func() {
		f.mu.Lock()
		f.hold = nil
		f.mu.Unlock()
		close(hold.release)
	})
	t.Cleanup(release)
	return hold.arrived, release
}
