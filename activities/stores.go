package activities

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"time"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/objectstore/oss"
	"github.com/snapferry/snapferry/internal/objectstore/s3"
	"github.com/snapferry/snapferry/migration"
)

// openSource opens the run's folder in S3 as the copy reads it.
func (k keys) openSource(ctx context.Context, run migration.Run) (objectstore.Source, error) {
	return k.openS3(ctx, run)
}

// openSink opens the run's folder in OSS as the copy writes it.
func (k keys) openSink(ctx context.Context, run migration.Run) (objectstore.Sink, error) {
	return k.openOSS(ctx, run)
}

// openS3 is openSource with what only S3 can be asked. Credentials come from the AWS SDK's own
// chain.
func (k keys) openS3(ctx context.Context, run migration.Run) (*s3.Source, error) {
	o, err := k.s3Options(ctx, run)
	if err != nil {
		return nil, err
	}
	return s3.New(ctx, o)
}

func (k keys) s3Options(ctx context.Context, run migration.Run) (s3.Options, error) {
	repository := run.Plan.Source.Repository
	o := s3.Options{
		Bucket: repository.Bucket, BasePath: run.SourceBasePath(), Region: repository.Region,
		Endpoint: repository.Reader.Endpoint, PathStyle: repository.Reader.PathStyle,
		Concurrency: run.Plan.Copy.Concurrency,
	}
	const field = "source.repository.reader"
	err := k.endpoint(field+".endpoint", o.Endpoint)
	if err == nil {
		o.CACert, err = k.roots(ctx, field+".caFile", repository.Reader.CAFile)
	}
	return o, err
}

// bucket is a folder whose objects can be deleted.
type bucket interface {
	objectstore.Reader
	Delete(ctx context.Context, key string) error
}

// openS3Folder opens the plan's folder in S3, with those of all its runs.
func (k keys) openS3Folder(ctx context.Context, plan migration.Plan) (bucket, error) {
	o, err := k.s3Options(ctx, migration.Run{Plan: plan})
	if err != nil {
		return nil, err
	}
	o.BasePath = plan.Source.Repository.BasePath
	return s3.New(ctx, o)
}

// openOSSFolder opens the plan's folder in OSS, with those of all its runs.
func (k keys) openOSSFolder(ctx context.Context, plan migration.Plan) (objectstore.Sink, error) {
	o, err := k.ossOptions(ctx, migration.Run{Plan: plan})
	if err != nil {
		return nil, err
	}
	o.BasePath = plan.Target.Repository.BasePath
	return oss.New(o)
}

// openOSS is openSink with what only OSS can be asked.
func (k keys) openOSS(ctx context.Context, run migration.Run) (*oss.Sink, error) {
	o, err := k.ossOptions(ctx, run)
	if err != nil {
		return nil, err
	}
	return oss.New(o)
}

// ossOptions resolves the writer's key again each time, since it may be replaced while a migration
// runs. A sink that is in use reads it again as well, once OSS refuses the old one.
func (k keys) ossOptions(ctx context.Context, run migration.Run) (oss.Options, error) {
	repository := run.Plan.Target.Repository
	o := oss.Options{
		Endpoint: repository.Writer.Endpoint, Bucket: repository.Bucket, BasePath: run.TargetBasePath(),
		Region:      repository.Region,
		Concurrency: run.Plan.Copy.Concurrency,
		Again: func(ctx context.Context) (oss.Key, error) {
			return k.writerKey(ctx, repository.Writer)
		},
	}
	const field = "target.repository.writer"
	if err := k.endpoint(field+".endpoint", o.Endpoint); err != nil {
		return o, err
	}
	var err error
	if o.CACert, err = k.roots(ctx, field+".caFile", repository.Writer.CAFile); err != nil {
		return o, err
	}
	key, err := k.writerKey(ctx, repository.Writer)
	o.AccessKeyID, o.AccessKeySecret, o.SecurityToken = key.AccessKeyID, key.AccessKeySecret, key.SecurityToken
	return o, err
}

func (k keys) writerKey(ctx context.Context, writer migration.TargetWriter) (key oss.Key, err error) {
	for _, secret := range []struct {
		field string
		ref   migration.SecretRef
		into  *string
	}{
		{"accessKeyId", writer.AccessKeyID, &key.AccessKeyID},
		{"accessKeySecret", writer.AccessKeySecret, &key.AccessKeySecret},
		{"securityToken", writer.SecurityToken, &key.SecurityToken},
	} {
		if secret.ref == "" {
			continue // the token, of a key that is not temporary; the others are required
		}
		*secret.into, err = k.secret(ctx, "target.repository.writer."+secret.field, secret.ref)
		if err != nil {
			return key, err
		}
	}
	return key, nil
}

// stores keeps the clients of both buckets, and with them their connections: the copies of a worker
// share these, and each finds those open that the last one has used.
type stores struct {
	keys
	mu      sync.Mutex
	now     func() time.Time
	sources map[string]kept[*s3.Source]
	sinks   map[string]kept[*oss.Sink]
}

type kept[T any] struct {
	store T
	since time.Time
}

const (
	// keptFor is after how long a client is made again, for whatever it has read only once.
	keptFor = 10 * time.Minute
	// mostKept is beyond what any worker needs at a time. What is dropped closes its connections
	// automatically when they were idle for a while.
	mostKept = 32
	// copiesSharing is how many copies a worker has at once by default. So many share the
	// connections, each with as many as the plan says.
	copiesSharing = 4
)

func newStores(k keys) *stores {
	return &stores{
		keys: k, now: time.Now, sources: map[string]kept[*s3.Source]{}, sinks: map[string]kept[*oss.Sink]{},
	}
}

func (s *stores) source(ctx context.Context, run migration.Run) (objectstore.Source, error) {
	o, err := s.s3Options(ctx, run)
	if err != nil {
		return nil, err
	}
	o.Concurrency *= copiesSharing
	s.mu.Lock()
	defer s.mu.Unlock()
	key := digest(o.Bucket, o.BasePath, o.Region, o.Endpoint, o.PathStyle, o.Concurrency, o.CACert)
	return keep(s.now(), s.sources, key, func() (*s3.Source, error) { return s3.New(ctx, o) })
}

func (s *stores) sink(ctx context.Context, run migration.Run) (objectstore.Sink, error) {
	o, err := s.ossOptions(ctx, run)
	if err != nil {
		return nil, err
	}
	o.Concurrency *= copiesSharing
	s.mu.Lock()
	defer s.mu.Unlock()
	key := digest(o.Bucket, o.BasePath, o.Region, o.Endpoint, o.Key(), o.Concurrency, o.CACert)
	return keep(s.now(), s.sinks, key, func() (*oss.Sink, error) { return oss.New(o) })
}

// digest names a client by what it was made of, secrets included.
func digest(parts ...any) string {
	sum := sha256.New()
	for _, part := range parts {
		_, _ = fmt.Fprintf(sum, "%q\x00", fmt.Sprint(part))
	}
	return string(sum.Sum(nil))
}

func keep[T any](now time.Time, all map[string]kept[T], key string, open func() (T, error)) (T, error) {
	if known, ok := all[key]; ok && now.Sub(known.since) < keptFor {
		return known.store, nil
	}
	store, err := open()
	if err != nil {
		return store, err
	}
	if len(all) >= mostKept {
		clear(all)
	}
	all[key] = kept[T]{store, now}
	return store, nil
}
