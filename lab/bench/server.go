package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/snapferry/snapferry/internal/osstest"
)

// What both servers know. A bucket each; the source is read through the S3 face, the sink is
// written through either face.
const (
	sourceBucket = "bench-source"
	sinkBucket   = "bench-sink"
	region       = "ap-southeast-1"
	accessKey    = "BENCHKEY"
	secretKey    = "bench-secret"
)

// keyName is the access key of the n-th worker of a fan-out.
func keyName(n int) string { return fmt.Sprintf("%s%d", accessKey, n) }

// maxWorkers is how many workers with a key of their own there can be.
const maxWorkers = 8

func keys() []osstest.Key {
	all := []osstest.Key{{ID: accessKey, Secret: secretKey}}
	for n := range maxWorkers {
		all = append(all, osstest.Key{ID: keyName(n), Secret: secretKey})
	}
	return all
}

// serverOptions are the flags of the server process.
type serverOptions struct {
	sourceDir, sinkDir string
	tls                bool
	seed               uint64 // of the faults
	ready              string // a file that gets the addresses once all is served
}

// addresses is what the server process tells once it serves.
type addresses struct {
	SourceS3 string `json:"sourceS3"`
	SourceCA string `json:"sourceCa,omitempty"` // PEM, with TLS
	SinkS3   string `json:"sinkS3"`
	SinkOSS  string `json:"sinkOss"`
	Admin    string `json:"admin"`
}

// Where the process's admin interface has the two servers' own, and what both together have seen.
const (
	adminSource = "/source"
	adminSink   = "/sink"
	adminTally  = "/tally"
)

// tally is what the servers' own counts don't tell. A request counts when it has ended.
type tally struct {
	Served int64 `json:"served"` // bytes of data blobs that the source has sent
	Twice  int64 `json:"twice"`  // of those, what is beyond each blob's length
	Stored int64 `json:"stored"` // bytes of bodies that the sink has taken and kept
}

// watch sees each request on both sides.
type watch struct {
	mu     sync.Mutex
	served map[string]int64 // by key, of data blobs
	stored int64
}

func (w *watch) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.served, w.stored = map[string]int64{}, 0
}

func (w *watch) source(e osstest.Event) {
	if name, ok := relative(sourceBase, e.Key); ok && e.Op == "GetObject" && isData(name) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.served[e.Key] += e.BytesOut
	}
}

func (w *watch) sink(e osstest.Event) {
	if e.Status == http.StatusOK && (e.Op == "PutObject" || e.Op == "UploadPart") {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.stored += e.BytesIn
	}
}

func (w *watch) tally(objects []osstest.Object) tally {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := tally{Stored: w.stored}
	for _, bytes := range w.served {
		t.Served += bytes
	}
	for _, o := range objects {
		t.Twice += max(0, w.served[o.Key]-o.Size)
	}
	return t
}

// serve runs both servers until ctx ends.
func serve(ctx context.Context, o serverOptions) (err error) {
	open := func(dir, bucket string, tls bool) (*osstest.Server, error) {
		server, err := osstest.Start(osstest.Options{
			Dir: dir, Region: region, Keys: keys(), Seed: o.seed,
			S3: &osstest.S3Options{TLS: tls},
		})
		if err != nil {
			return nil, err
		}
		return server, server.CreateBucket(bucket, osstest.BucketOptions{})
	}
	source, err := open(o.sourceDir, sourceBucket, o.tls)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	sink, err := open(o.sinkDir, sinkBucket, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sink.Close()) }()
	w := &watch{served: map[string]int64{}}
	source.Observe(w.source)
	sink.Observe(w.sink)

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("the admin interface: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle(adminSource+"/", http.StripPrefix(adminSource, source.AdminHandler()))
	mux.Handle(adminSink+"/", http.StripPrefix(adminSink, sink.AdminHandler()))
	mux.HandleFunc("DELETE "+adminTally, func(http.ResponseWriter, *http.Request) { w.reset() })
	mux.HandleFunc("GET "+adminTally, func(rw http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(rw).Encode(w.tally(source.Objects(sourceBucket)))
	})
	admin := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = admin.Serve(l) // ends with ErrServerClosed
	}()
	defer func() {
		_ = admin.Close()
		<-done
	}()
	told, err := json.Marshal(addresses{
		SourceS3: source.S3URL(), SourceCA: string(source.CA()), SinkS3: sink.S3URL(), SinkOSS: sink.URL(),
		Admin: "http://" + l.Addr().String(),
	})
	if err != nil {
		return err
	}
	if err := os.WriteFile(o.ready+".new", told, 0o644); err != nil {
		return err
	}
	if err := os.Rename(o.ready+".new", o.ready); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// conditions are what the servers do to every request until the next reset.
type conditions struct {
	latency   time.Duration
	faultRate float64 // the share of requests that are spoiled
	// bandwidth limits the body bytes a second of each worker's key, on each side.
	bandwidth int64
}

// spoil shares a rate between kinds of faults.
func spoil(rate float64, kinds ...string) []osstest.FaultSpec {
	if rate == 0 {
		return nil
	}
	var specs []osstest.FaultSpec
	for _, kind := range kinds {
		spec := osstest.FaultSpec{Kind: kind, Rate: rate / float64(len(kinds))}
		if kind == osstest.FaultLoseAnswer {
			spec.Ops = []string{"PutObject", "UploadPart", "CompleteMultipartUpload"}
		}
		specs = append(specs, spec)
	}
	return specs
}

// reset lets the servers count from 0 again, under other conditions.
func (st *stage) reset(ctx context.Context, c conditions) error {
	source := spoil(c.faultRate, osstest.FaultThrottle, osstest.FaultResetDownload, osstest.FaultTruncateDownload,
		osstest.FaultCorruptDownload)
	sink := spoil(c.faultRate, osstest.FaultThrottle, osstest.FaultResetUpload, osstest.FaultShortenUpload,
		osstest.FaultCorruptUpload, osstest.FaultLoseAnswer)
	for _, side := range []struct {
		admin  *osstest.Admin
		faults []osstest.FaultSpec
	}{{st.sourceAdmin, source}, {st.sinkAdmin, sink}} {
		err := errors.Join(side.admin.SetFaults(ctx, side.faults...),
			side.admin.SetLimits(ctx, "", osstest.Limits{Latency: c.latency}))
		for n := range maxWorkers {
			err = errors.Join(err, side.admin.SetLimits(ctx, keyName(n), osstest.Limits{Bandwidth: c.bandwidth}))
		}
		if err = errors.Join(err, side.admin.Reset(ctx)); err != nil {
			return fmt.Errorf("the servers can't be prepared: %w", err)
		}
	}
	_, err := st.askTally(ctx, http.MethodDelete)
	return err
}

func (st *stage) tally(ctx context.Context) (t tally, err error) {
	data, err := st.askTally(ctx, http.MethodGet)
	if err == nil {
		err = json.Unmarshal(data, &t)
	}
	return t, err
}

func (st *stage) askTally(ctx context.Context, method string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, st.at.Admin+adminTally, nil)
	if err != nil {
		return nil, err
	}
	answer, err := st.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("the servers don't answer: %w", err)
	}
	defer answer.Body.Close()
	return io.ReadAll(answer.Body)
}
