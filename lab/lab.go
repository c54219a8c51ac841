package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/snapferry/snapferry/internal/osstest"
	"github.com/snapferry/snapferry/lab/cluster"
)

// Part names what a lab is made of.
type Part string

// The parts. The source's repository type s3 needs PartS3.
const (
	PartSource   Part = "source"   // Elasticsearch 5.5.2 and Amazon's front end
	PartTarget   Part = "target"   // Elasticsearch 5.5.3 and Alibaba's
	PartS3       Part = "s3"       // versitygw
	PartOSS      Part = "oss"      // internal/osstest
	PartTemporal Part = "temporal" // Temporal's dev server
)

// AllParts is everything that a migration needs.
var AllParts = []Part{PartS3, PartOSS, PartTemporal, PartTarget, PartSource}

// What the lab's clouds know. Nothing of it is worth hiding, but it is distinctive: a test searches
// for it where secrets must not be.
const (
	Region          = "ap-southeast-1"
	Account         = "123456789012"
	AWSAccessKey    = "LABAWSACCESSKEYID"
	AWSSecretKey    = "lab/aws+secret-that-must-not-leak"
	RoleARN         = "arn:aws:iam::" + Account + ":role/snapferry-lab-snapshots"
	Bucket          = "snapferry-lab"
	OSSBucket       = "snapferry-lab-oss"
	TargetUser      = "elastic"
	TargetPassword  = "lab-target-password-that-must-not-leak"
	copierKeyID     = "LABOSSCOPIERKEYID"
	copierKeySecret = "lab-oss-copier-secret-that-must-not-leak"
	readerKeyID     = "LABOSSCLUSTERKEYID"
	readerKeySecret = "lab-oss-cluster-secret-that-must-not-leak"
)

// Patience bounds a wait for what is certain to come: a node that starts, a migration that ends. It
// ends what hangs. Nothing that works takes that long, on the slowest computer with the most other
// things to do.
const Patience = 20 * time.Minute

// Options choose what Start brings up. Only Dir is required.
type Options struct {
	Dir           string    // the run directory: data and logs, a folder a part
	Parts         []Part    // default AllParts
	UI            bool      // Temporal's Web UI
	Fresh         bool      // remove what an earlier run left in Dir
	Out           io.Writer // progress; default none
	S3Region      string    // default Region; of the domain, too
	SourceVersion string    // default 5.5.2
	TargetVersion string    // default 5.5.3
	MaxBody       int64     // Amazon's limit on requests; default 10 MiB
	Measured      bool      // the nodes run as fast as they can, and start more slowly
	HeapMB        int       // of each node; default 512
	SourceNodes   int       // default 1
	TargetNodes   int       // default 1
	// S3Endpoint is a server that the caller runs in place of PartS3, in path style; it must have
	// Bucket and take AWSAccessKey.
	S3Endpoint string
	// SourceSettings are further settings of the source's node, such as thread_pool.snapshot.max.
	SourceSettings map[string]string
	// TargetSettings are those of the target's.
	TargetSettings map[string]string
}

// Source is the domain on Amazon's side.
type Source struct {
	Endpoint  string // Amazon's front end: signed requests only
	DirectURL string // the node behind it; of several nodes, a way to those that are up
	Region    string
	AccessKey string
	SecretKey string
	RoleARN   string       // the one role that the key may pass
	Front     *AmazonProxy // its Faults
}

// Target is the instance on Alibaba's side.
type Target struct {
	Endpoint  string // Alibaba's front end: basic authentication
	DirectURL string // the node behind it; of several nodes, a way to those that are up
	User      string
	Password  string
	Front     *AlibabaProxy // its Faults
}

// Client speaks to the source through Amazon's front end, signed.
func (s Source) Client() *cluster.Client {
	return &cluster.Client{URL: s.Endpoint, HTTP: SigningClient(s.Region, s.AccessKey, s.SecretKey)}
}

// Direct speaks to the source's node, past the front end.
func (s Source) Direct() *cluster.Client {
	return &cluster.Client{URL: s.DirectURL, HTTP: &http.Client{Transport: loopback}}
}

// Client speaks to the target through Alibaba's front end.
func (t Target) Client() *cluster.Client {
	return &cluster.Client{URL: t.Endpoint, HTTP: BasicClient(t.User, t.Password)}
}

// Direct speaks to the target's node, past the front end.
func (t Target) Direct() *cluster.Client {
	return &cluster.Client{URL: t.DirectURL, HTTP: &http.Client{Transport: loopback}}
}

// Lab is a running set of parts. The structs of parts that were not asked for hold no addresses.
type Lab struct {
	Dir      string
	Source   Source
	Target   Target
	S3       S3
	OSS      OSS
	Temporal Temporal

	out     *syncWriter
	dirLock *os.File

	mu       sync.Mutex
	servers  map[Part][]*server // one, or the nodes of a cluster
	closers  []func() error     // front ends and OSS, in this process
	children []*Process         // started by Run
	closed   bool
}

// Start brings the parts up and returns when all of them answer. ctx bounds the start only. If a
// part does not come up, the others are ended again and the error says which, why and where its log
// is.
func Start(ctx context.Context, o Options) (*Lab, error) {
	o, t, err := o.prepare(ctx)
	if err != nil {
		return nil, err
	}
	lock, err := lockDir(o.Dir)
	if err != nil {
		return nil, err
	}
	l := &Lab{
		Dir: o.Dir, out: &syncWriter{w: o.Out}, dirLock: lock, servers: map[Part][]*server{},
		Source: Source{Region: o.S3Region, AccessKey: AWSAccessKey, SecretKey: AWSSecretKey, RoleARN: RoleARN},
		Target: Target{User: TargetUser, Password: TargetPassword},
		S3: S3{
			Endpoint: o.S3Endpoint, Region: o.S3Region, AccessKey: AWSAccessKey, SecretKey: AWSSecretKey,
			Bucket: Bucket,
		},
		OSS: OSS{
			Region: Region, Bucket: OSSBucket, CopierKey: osstest.Key{ID: copierKeyID, Secret: copierKeySecret},
			ClusterKey: osstest.Key{ID: readerKeyID, Secret: readerKeySecret, ReadOnly: true},
		},
	}
	if err := l.startParts(ctx, o, t); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Close ends everything that Start and Run started and returns when it is gone. Closing twice is
// fine. Data and logs stay.
func (l *Lab) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	servers := slices.Concat(slices.Collect(maps.Values(l.servers))...)
	errs := make(chan error, len(l.children)+len(servers)+len(l.closers))
	var ending sync.WaitGroup
	end := func(f func() error) { ending.Go(func() { errs <- f() }) }
	for _, p := range l.children { // first: they are clients of the rest
		end(p.Stop)
	}
	ending.Wait()
	for _, f := range l.closers {
		end(f)
	}
	for _, s := range servers {
		end(s.stop)
	}
	ending.Wait()
	close(errs)
	var all error
	for err := range errs {
		all = errors.Join(all, err)
	}
	return errors.Join(all, l.dirLock.Close())
}

// Kill ends the process of a part at once (SIGKILL), or all nodes of a cluster. OSS runs in this
// process and can't be killed.
func (l *Lab) Kill(part Part) error {
	servers, err := l.serversOf(part)
	for _, s := range servers {
		err = errors.Join(err, s.kill())
	}
	return err
}

// Restart starts a part again after Kill, on the same ports and the same data, and returns when it
// answers.
func (l *Lab) Restart(ctx context.Context, part Part) error {
	servers, err := l.serversOf(part)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range servers {
		group.Go(func() error { return s.start(ctx) })
	}
	return group.Wait()
}

func (l *Lab) serversOf(part Part) ([]*server, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, ok := l.servers[part]
	switch {
	case l.closed:
		return nil, errors.New("the lab is closed")
	case !ok:
		return nil, fmt.Errorf("the lab runs no process for its part %q", part)
	}
	return s, nil
}

// Processes are the children that were started, the parts' and those of Run.
func (l *Lab) Processes() []*Process {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []*Process
	for _, part := range AllParts {
		for _, s := range l.servers[part] {
			if p := s.process(); p != nil {
				all = append(all, p)
			}
		}
	}
	return append(all, l.children...)
}

// Environment is what a worker of the lab needs beside its plan: credentials for Amazon, Temporal's
// address and the secrets that the lab's plans refer to as env:NAME.
func (l *Lab) Environment() []string {
	return []string{
		"AWS_ACCESS_KEY_ID=" + l.Source.AccessKey,
		"AWS_SECRET_ACCESS_KEY=" + l.Source.SecretKey,
		"AWS_REGION=" + l.Source.Region,
		"AWS_EC2_METADATA_DISABLED=true",
		"TEMPORAL_ADDRESS=" + l.Temporal.Address,
		"SNAPFERRY_SECRET_TARGET_PASSWORD=" + l.Target.Password,
		"SNAPFERRY_SECRET_OSS_ACCESS_KEY_ID=" + l.OSS.CopierKey.ID,
		"SNAPFERRY_SECRET_OSS_ACCESS_KEY_SECRET=" + l.OSS.CopierKey.Secret,
		"SNAPFERRY_SECRET_OSS_CLUSTER_ACCESS_KEY_ID=" + l.OSS.ClusterKey.ID,
		"SNAPFERRY_SECRET_OSS_CLUSTER_ACCESS_KEY_SECRET=" + l.OSS.ClusterKey.Secret,
	}
}

// Run starts a program, for instance a worker, that lives no longer than the lab: its environment
// is this process's without AWS_* and TEMPORAL_*, then Environment, then env; its log is
// <Dir>/run/<name>.log.
func (l *Lab) Run(name string, command []string, env ...string) (*Process, error) {
	path, err := exec.LookPath(command[0])
	if err != nil {
		return nil, fmt.Errorf("%s can't be run: %w", name, err)
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, fmt.Errorf("%s can't be run: %w", name, err)
	}
	inherited := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "AWS_") || strings.HasPrefix(v, "TEMPORAL_")
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errors.New("the lab is closed")
	}
	p, err := startProcess(processSpec{
		name: name, path: path, args: command[1:], dir: filepath.Join(l.Dir, "run"),
		env: slices.Concat(inherited, l.Environment(), env), grace: 30 * time.Second,
	})
	if err == nil {
		l.children = append(l.children, p)
	}
	return p, err
}

// syncWriter keeps the lines of parallel starts apart.
type syncWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *syncWriter) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(b)
}
