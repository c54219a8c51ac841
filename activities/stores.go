package activities

import (
	"context"
	"sync"
	"time"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/objectstore/oss"
	"github.com/snapferry/snapferry/internal/objectstore/s3"
	"github.com/snapferry/snapferry/migration"
)

// openSource opens the run's folder in S3 as the copy reads it.
func openSource(ctx context.Context, run migration.Run) (objectstore.Source, error) {
	return openS3(ctx, run)
}

// openSink opens the run's folder in OSS as the copy writes it.
func openSink(_ context.Context, run migration.Run) (objectstore.Sink, error) { return openOSS(run) }

// openS3 is openSource with what only S3 can be asked. Credentials come from the AWS SDK's own
// chain.
func openS3(ctx context.Context, run migration.Run) (*s3.Source, error) {
	return s3.New(ctx, s3Options(run))
}

func s3Options(run migration.Run) s3.Options {
	repository := run.Plan.Source.Repository
	return s3.Options{
		Bucket: repository.Bucket, BasePath: run.SourceBasePath(), Region: repository.Region,
		Endpoint: repository.Reader.Endpoint, PathStyle: repository.Reader.PathStyle,
		Concurrency: run.Plan.Copy.Concurrency,
	}
}

// openOSS is openSink with what only OSS can be asked.
func openOSS(run migration.Run) (*oss.Sink, error) {
	o, err := ossOptions(run)
	if err != nil {
		return nil, err
	}
	return oss.New(o)
}

// ossOptions resolves the writer's key again each time, since it may be replaced while a migration
// runs.
func ossOptions(run migration.Run) (oss.Options, error) {
	repository := run.Plan.Target.Repository
	o := oss.Options{
		Endpoint: repository.Writer.Endpoint, Bucket: repository.Bucket, BasePath: run.TargetBasePath(),
		Region:      repository.Region,
		Concurrency: run.Plan.Copy.Concurrency,
	}
	for _, secret := range []struct {
		ref  migration.SecretRef
		into *string
	}{
		{repository.Writer.AccessKeyID, &o.AccessKeyID},
		{repository.Writer.AccessKeySecret, &o.AccessKeySecret},
		{repository.Writer.SecurityToken, &o.SecurityToken},
	} {
		if secret.ref == "" {
			continue // the token, of a key that is not temporary; the others are required
		}
		var err error
		if *secret.into, err = resolveSecret(secret.ref); err != nil {
			return o, err
		}
	}
	return o, nil
}

// stores keeps the clients of both buckets, and with them their connections: the copies of a worker
// share these, and each finds those open that the last one has used.
type stores struct {
	mu      sync.Mutex
	now     func() time.Time
	sources map[s3.Options]kept[*s3.Source]
	sinks   map[oss.Options]kept[*oss.Sink]
}

type kept[T any] struct {
	store T
	since time.Time
}

const (
	// keptFor is after how long a client is made again: the AWS SDK reads its files of credentials
	// only once.
	keptFor = 10 * time.Minute
	// mostKept is beyond what any worker needs at a time. What is dropped closes its connections
	// automatically when they were idle for a while.
	mostKept = 32
	// copiesSharing is how many copies a worker has at once by default. So many share the
	// connections, each with as many as the plan says.
	copiesSharing = 4
)

func newStores() *stores {
	return &stores{now: time.Now, sources: map[s3.Options]kept[*s3.Source]{}, sinks: map[oss.Options]kept[*oss.Sink]{}}
}

func (s *stores) source(ctx context.Context, run migration.Run) (objectstore.Source, error) {
	o := s3Options(run)
	o.Concurrency *= copiesSharing
	s.mu.Lock()
	defer s.mu.Unlock()
	return keep(s.now(), s.sources, o, func() (*s3.Source, error) { return s3.New(ctx, o) })
}

func (s *stores) sink(_ context.Context, run migration.Run) (objectstore.Sink, error) {
	o, err := ossOptions(run)
	if err != nil {
		return nil, err
	}
	o.Concurrency *= copiesSharing
	s.mu.Lock()
	defer s.mu.Unlock()
	return keep(s.now(), s.sinks, o, func() (*oss.Sink, error) { return oss.New(o) })
}

func keep[O comparable, T any](now time.Time, all map[O]kept[T], options O, open func() (T, error)) (T, error) {
	if known, ok := all[options]; ok && now.Sub(known.since) < keptFor {
		return known.store, nil
	}
	store, err := open()
	if err != nil {
		return store, err
	}
	if len(all) >= mostKept {
		clear(all)
	}
	all[options] = kept[T]{store, now}
	return store, nil
}
