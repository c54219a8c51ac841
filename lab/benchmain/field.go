package benchmain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/snapferry/snapferry/internal/osstest"
	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/lab/rig"
)

// FieldOptions say what a field has.
type FieldOptions struct {
	Dir string // everything temporary; emptied at the start
	Out io.Writer
	// From and To are the versions of the clusters, HeapMB the memory of each node; 0 for the lab's.
	From, To string
	HeapMB   int
	// SourceSettings are settings of the source's node, TargetSettings those of the target's.
	SourceSettings, TargetSettings map[string]string
	// Quick has the nodes start quickly, and run more slowly: for what measures nothing.
	Quick bool
	// NoWorker leaves the workers to the caller.
	NoWorker bool
}

// Field is everything that a migration between real nodes needs, with an S3 and an OSS that can be
// slowed down.
type Field struct {
	FieldOptions
	S3 *osstest.Server
	// SourceKey is the source cluster's own on S3: whoever copies has another one, so that their
	// requests can be told apart.
	SourceKey osstest.Key
	Lab       *lab.Lab
	Rig       *rig.Rig
	OSSAsS3   string // OSS's face for S3 clients, which rclone needs

	began   time.Time
	closers []func() error
}

// NewField starts the nodes, S3, OSS, Temporal and, unless it is told otherwise, a worker. Close it.
func NewField(ctx context.Context, o FieldOptions) (_ *Field, err error) {
	f := &Field{
		FieldOptions: o, began: time.Now(),
		SourceKey: osstest.Key{ID: "LABAWSCLUSTERKEYID", Secret: "lab/aws+cluster-secret-that-must-not-leak"},
	}
	if err := os.RemoveAll(o.Dir); err != nil { // of a run that was killed
		return nil, fmt.Errorf("what an earlier run left can't be removed: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(false))
		}
	}()
	if err := os.MkdirAll(filepath.Join(o.Dir, "s3"), 0o755); err != nil {
		return nil, err
	}
	f.S3, err = osstest.Start(osstest.Options{
		Dir:  filepath.Join(o.Dir, "s3"),
		Keys: []osstest.Key{{ID: lab.AWSAccessKey, Secret: lab.AWSSecretKey}, f.SourceKey},
		S3:   &osstest.S3Options{Region: lab.Region},
	})
	if err != nil {
		return nil, err
	}
	f.closers = append(f.closers, f.S3.Close)
	if err := f.S3.CreateBucket(lab.Bucket, osstest.BucketOptions{}); err != nil {
		return nil, err
	}
	sourceSettings := map[string]string{
		"lab.s3.access_key": f.SourceKey.ID, "lab.s3.secret_key": f.SourceKey.Secret,
	}
	maps.Copy(sourceSettings, o.SourceSettings)
	f.Say("starting Elasticsearch %s and %s, S3, OSS, Temporal and a worker", o.From, o.To)
	f.Lab, err = lab.Start(ctx, lab.Options{
		Dir:        filepath.Join(o.Dir, "lab"),
		Parts:      []lab.Part{lab.PartOSS, lab.PartTemporal, lab.PartTarget, lab.PartSource},
		S3Endpoint: f.S3.S3URL(), SourceVersion: o.From, TargetVersion: o.To, Measured: !o.Quick, HeapMB: o.HeapMB,
		SourceSettings: sourceSettings, TargetSettings: o.TargetSettings,
	})
	if err != nil {
		return nil, err
	}
	f.closers = append(f.closers, f.Lab.Close)
	if err := f.Lab.OSS.Server.CreateBucket(f.Lab.OSS.Bucket, osstest.BucketOptions{}); err != nil {
		return nil, err
	}
	if err := f.serveOSSAsS3(); err != nil {
		return nil, err
	}
	if f.Rig, err = rig.New(ctx, f.Lab); err != nil {
		return nil, err
	}
	f.closers = append(f.closers, func() error { f.Rig.Close(); return nil })
	if !o.NoWorker {
		_, err = f.Rig.Worker("worker")
	}
	return f, err
}

func (f *Field) serveOSSAsS3() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: f.Lab.OSS.Server.S3Handler(), ReadHeaderTimeout: time.Minute}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(l) // ends with ErrServerClosed
	}()
	f.closers = append(f.closers, func() error {
		err := server.Close()
		<-served
		return err
	})
	f.OSSAsS3 = "http://" + l.Addr().String()
	return nil
}

// Close ends everything, and removes what is temporary unless it is to be kept.
func (f *Field) Close(keep bool) error {
	var all error
	for len(f.closers) > 0 {
		last := len(f.closers) - 1
		all = errors.Join(all, f.closers[last]())
		f.closers = f.closers[:last]
	}
	if keep {
		return all
	}
	return errors.Join(all, os.RemoveAll(f.Dir))
}

// Say prints a line with the seconds since the start.
func (f *Field) Say(format string, arguments ...any) {
	fmt.Fprintf(f.Out, "%6.0fs  %s\n", time.Since(f.began).Seconds(), fmt.Sprintf(format, arguments...))
}
