package secrets

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// MaxFile is the most that a file with a secret may hold, in bytes.
const MaxFile = 64 << 10

// shortest is the least length of a secret in bytes. A shorter one couldn't be kept out of messages:
// package redact ignores it.
const shortest = 4

// Read gives the secret behind a reference that the fence lets pass, without white space around it.
// Its errors name the reference, never the value. It ends with the context, whatever the file is.
func (f Fence) Read(ctx context.Context, ref string) (string, error) {
	content, err := f.content(ctx, ref)
	if err != nil {
		return "", err
	}
	value := strings.TrimSpace(string(content))
	if len(value) < shortest && !f.opened {
		return "", fmt.Errorf("read the secret %s: it has fewer than %d characters, too few to keep it out of "+
			"messages; use a longer one", ref, shortest)
	}
	return value, nil
}

// Opened is the fence with some more references, any endpoint, and short secrets, for a caller who
// knows that these went to the same place before. What belongs to the worker itself is refused as
// ever.
func (f Fence) Opened(refs ...string) Fence {
	f.Allowed = slices.Concat(f.Allowed, refs)
	f.Endpoints, f.opened = nil, true
	return f
}

// File is the content of a file that the fence lets pass.
func (f Fence) File(ctx context.Context, path string) ([]byte, error) {
	return f.content(ctx, "file:"+path)
}

func (f Fence) content(ctx context.Context, ref string) ([]byte, error) {
	return within(ctx, func() ([]byte, error) { return f.read(ref) })
}

func (f Fence) read(ref string) ([]byte, error) {
	if err := f.Check(ref); err != nil {
		return nil, err
	}
	kind, place, _ := strings.Cut(ref, ":")
	if kind == "env" {
		value := os.Getenv(place)
		if strings.TrimSpace(value) == "" {
			return nil, fmt.Errorf("read the secret %s: the environment variable is not set for this worker, or it "+
				"is empty", ref)
		}
		return []byte(value), nil
	}
	content, err := f.readRegular(place)
	if err != nil {
		return nil, fmt.Errorf("read the secret %s: %w", ref, f.reason(err))
	}
	if len(bytes.TrimSpace(content)) == 0 {
		return nil, fmt.Errorf("read the secret %s: the file is empty", ref)
	}
	return content, nil
}

// reason is an error without the path, which the reference names already.
func (f Fence) reason(err error) error {
	failure, ok := errors.AsType[*fs.PathError](err)
	if !ok {
		return err
	}
	if strings.Contains(failure.Err.Error(), "escapes") { // os.Root has no error of its own for it
		return fmt.Errorf("it is a link that leads out of %s (--%s)", f.dir(), FlagDir)
	}
	return failure.Err
}

// within bounds work on files: a file system that doesn't answer holds the work, not the caller.
func within(ctx context.Context, work func() ([]byte, error)) ([]byte, error) {
	type result struct {
		content []byte
		err     error
	}
	done := make(chan result, 1)
	go func() {
		content, err := work()
		done <- result{content, err}
	}()
	select {
	case r := <-done:
		return r.content, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

var errNotRegular = errors.New("it is not a regular file")

func (f Fence) readRegular(path string) ([]byte, error) {
	file, err := f.open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errNotRegular
	}
	content, err := io.ReadAll(io.LimitReader(file, MaxFile+1))
	if err == nil && len(content) > MaxFile {
		err = fmt.Errorf("it has more than %d KiB", MaxFile>>10)
	}
	return content, err
}

// nonBlocking opens a FIFO without waiting for its writer. The type is checked afterwards as well,
// since the file may be another one by then.
const nonBlocking = os.O_RDONLY | syscall.O_NONBLOCK | syscall.O_NOCTTY

func (f Fence) open(path string) (*os.File, error) {
	relative, inside := f.inside(path)
	if !inside { // named by whoever runs the worker: its links are theirs
		if info, err := os.Stat(path); err != nil {
			return nil, err
		} else if !info.Mode().IsRegular() {
			return nil, errNotRegular
		}
		return os.OpenFile(filepath.Clean(path), nonBlocking, 0)
	}
	root, err := os.OpenRoot(f.dir())
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	if info, err := root.Stat(relative); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, errNotRegular
	}
	return root.OpenFile(relative, nonBlocking, 0)
}
