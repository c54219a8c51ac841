package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

func (o Options) prepare(ctx context.Context) (Options, *toolbox, error) {
	if o.Dir == "" {
		return o, nil, errors.New("a lab needs a run directory: Options.Dir")
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return o, nil, fmt.Errorf("no path of the run directory: %w", err)
	}
	o.Dir = dir
	if len(o.Parts) == 0 {
		o.Parts = AllParts
	}
	for name, value := range map[*string]string{
		&o.S3Region: Region, &o.SourceVersion: SourceVersion,
		&o.TargetVersion: TargetVersion,
	} {
		if *name == "" {
			*name = value
		}
	}
	if o.Out == nil {
		o.Out = io.Discard
	}
	t, err := newToolbox(o.Out)
	if err != nil {
		return o, nil, err
	}
	tools := map[Part]tool{
		PartS3: t.versitygw(), PartTemporal: t.temporal(),
		PartSource: t.elasticsearch(o.SourceVersion), PartTarget: t.elasticsearch(o.TargetVersion),
	}
	var needed []tool
	for _, part := range o.Parts {
		if !slices.Contains(AllParts, part) {
			return o, nil, fmt.Errorf("a lab has no part %q: choose from %v", part, AllParts)
		}
		if tool, ok := tools[part]; ok {
			needed = append(needed, tool)
		}
	}
	return o, t, t.ensure(ctx, needed...)
}

// lockDir keeps a second lab out of the run directory. A lab that was killed has given its lock
// back.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("no run directory for the lab: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lab.lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("no lock for the lab's run directory: %w", err)
	}
	if got, err := tryLock(f); err != nil || !got {
		f.Close()
		return nil, errors.Join(fmt.Errorf("another lab runs in %s: end it, or choose another directory", dir), err)
	}
	return f, nil
}

func (l *Lab) startParts(ctx context.Context, o Options, t *toolbox) error {
	if o.Fresh {
		for _, folder := range append([]Part{"run"}, AllParts...) {
			if err := os.RemoveAll(filepath.Join(o.Dir, string(folder))); err != nil {
				return fmt.Errorf("what an earlier lab left in %s can't be removed: %w", o.Dir, err)
			}
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	s3Up := make(chan struct{})
	begin := func(part Part, start func(ctx context.Context, dir string) (address string, err error)) {
		if !slices.Contains(o.Parts, part) {
			return
		}
		group.Go(func() error {
			began := time.Now()
			address, err := start(ctx, filepath.Join(o.Dir, string(part)))
			if err != nil {
				return fmt.Errorf("the lab's part %s is not up: %w", part, err)
			}
			fmt.Fprintf(l.out, "%s is up after %.1f s at %s\n", part, time.Since(began).Seconds(), address)
			return nil
		})
	}
	begin(PartS3, func(ctx context.Context, dir string) (string, error) { return l.startS3(ctx, dir, t, s3Up) })
	begin(PartOSS, func(_ context.Context, dir string) (string, error) { return l.startOSS(dir) })
	begin(PartTemporal, func(ctx context.Context, dir string) (string, error) {
		return l.startTemporal(ctx, dir, t,
			o.UI)
	})
	begin(PartTarget, func(ctx context.Context, dir string) (string, error) { return l.startTarget(ctx, dir, t, o) })
	begin(PartSource, func(ctx context.Context, dir string) (string, error) {
		if slices.Contains(o.Parts, PartS3) { // the node is told where S3 is
			select {
			case <-s3Up:
			case <-ctx.Done():
				return "", context.Cause(ctx)
			}
		}
		return l.startSource(ctx, dir, t, o)
	})
	return group.Wait()
}

func (l *Lab) startS3(ctx context.Context, dir string, t *toolbox, up chan<- struct{}) (string, error) {
	if err := s3Folders(dir); err != nil {
		return "", err
	}
	s := newVersitygw(dir, t, &l.S3)
	l.own(PartS3, s)
	if err := s.start(ctx); err != nil {
		return "", err
	}
	if err := l.S3.createBucket(ctx); err != nil {
		return "", err
	}
	close(up)
	return l.S3.Endpoint, nil
}

func (l *Lab) startOSS(dir string) (string, error) {
	if err := l.OSS.start(dir); err != nil {
		return "", err
	}
	l.closing(l.OSS.Server.Close)
	return l.OSS.Endpoint, nil
}

func (l *Lab) startTemporal(ctx context.Context, dir string, t *toolbox, ui bool) (string, error) {
	if err := temporalFolder(dir); err != nil {
		return "", err
	}
	s := newTemporal(dir, t, ui, &l.Temporal)
	l.own(PartTemporal, s)
	err := s.start(ctx)
	return l.Temporal.Address, err
}

func (l *Lab) startSource(ctx context.Context, dir string, t *toolbox, o Options) (string, error) {
	settings := nodeSettings{}
	if l.S3.Endpoint != "" {
		settings = nodeSettings{
			"lab.s3.endpoint": l.S3.Endpoint, "lab.s3.region": l.S3.Region,
			"lab.s3.access_key": l.S3.AccessKey, "lab.s3.secret_key": l.S3.SecretKey,
		}
	}
	maps.Copy(settings, o.SourceSettings)
	nodes, err := newNodes(PartSource, o.SourceVersion, dir, o.SourceNodes, t, o, settings)
	if err != nil {
		return "", err
	}
	urls, err := l.startCluster(ctx, PartSource, nodes)
	if err != nil {
		return "", err
	}
	front, err := NewAmazonProxy(AmazonOptions{
		Upstream: urls[0], Region: l.Source.Region, AccessKey: AWSAccessKey, SecretKey: AWSSecretKey, Account: Account,
		Domain:  "lab",
		Version: o.SourceVersion, PassableRoles: []string{RoleARN}, MaxBody: o.MaxBody,
	})
	if err != nil {
		return "", err
	}
	l.closing(front.Close)
	l.Source.Front, l.Source.Endpoint = front, front.URL()
	l.Source.DirectURL, err = l.balance(&front.frontend, urls)
	return l.Source.Endpoint, err
}

func (l *Lab) startTarget(ctx context.Context, dir string, t *toolbox, o Options) (string, error) {
	nodes, err := newNodes(PartTarget, o.TargetVersion, dir, o.TargetNodes, t, o, o.TargetSettings)
	if err != nil {
		return "", err
	}
	urls, err := l.startCluster(ctx, PartTarget, nodes)
	if err != nil {
		return "", err
	}
	front, err := NewAlibabaProxy(AlibabaOptions{Upstream: urls[0], User: l.Target.User, Password: l.Target.Password})
	if err != nil {
		return "", err
	}
	l.closing(front.Close)
	l.Target.Front, l.Target.Endpoint = front, front.URL()
	l.Target.DirectURL, err = l.balance(&front.frontend, urls)
	return l.Target.Endpoint, err
}

// balance has a front end speak to all nodes, and returns the way to them that has no rules.
func (l *Lab) balance(front *frontend, urls []string) (string, error) {
	if len(urls) == 1 {
		return urls[0], nil
	}
	if err := front.SetUpstreams(urls...); err != nil {
		return "", err
	}
	open, err := newOpenProxy(urls...)
	if err != nil {
		return "", err
	}
	l.closing(open.Close)
	return open.URL(), nil
}

func (l *Lab) own(part Part, servers ...*server) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.servers[part] = servers
}

func (l *Lab) closing(f func() error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closers = append(l.closers, f)
}
