package sides

import (
	"context"
	"errors"
	"fmt"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/transfer"
)

// ErrMoved says that a repository isn't what it was when it was read. Who rests on it begins again
// with what the repository is now.
var ErrMoved = errors.New("the repository has changed")

// Side is a repository as it stood on one side when it was read.
type Side struct {
	// Root is nil if there is none, or if it can't be understood: then Flaw says why.
	*repository.Root
	// Found says that there is a root.
	Found bool
	// Generation is the N of the root index-N: -1 if there is no root, and for the root of
	// Elasticsearch 2.x.
	Generation int64
	// Data are the root's bytes, ETag names their version.
	Data []byte
	ETag string
	// Info describes the root's object.
	Info objectstore.Info
	// Objects are those of the root folder, by key.
	Objects map[string]objectstore.Object
	// Flaw says why a root that is there can't be read: it is a *repository.FormatError, or what
	// [Damaged] recognises.
	Flaw error

	store Store
}

// ReadSide reads the root folder and the highest root in it. A root that is damaged is a Flaw, not
// an error. The error is [ErrMoved] if the root vanished after it was listed.
func (s Store) ReadSide(ctx context.Context) (Side, error) { return s.ReadSideExpecting(ctx, -1) }

// ReadSideExpecting is ReadSide for who expects a generation to be the highest: that root is read
// while the folder is listed, and again if it is not the one that is listed. -1 expects none.
func (s Store) ReadSideExpecting(ctx context.Context, expected int64) (Side, error) {
	side := Side{Generation: -1, store: s}
	var objects map[string]objectstore.Object
	var generation int64
	var found bool
	var early rootObject
	err := Together(ctx,
		func(ctx context.Context) (err error) { objects, generation, found, err = s.Highest(ctx); return err },
		func(ctx context.Context) error {
			if expected >= 0 {
				early = s.readRoot(ctx, expected)
			}
			return nil
		})
	if err != nil {
		return side, err
	}
	side.Objects = objects
	if generation, found = orLegacy(objects, generation, found); !found {
		return side, nil
	}
	side.Found, side.Generation = true, generation
	side.ETag = objects[side.Key()].ETag
	root := early
	if generation != expected || root.err != nil || root.info.ETag != side.ETag {
		root = s.readRoot(ctx, generation)
	}
	switch {
	case Gone(root.err):
		return side, fmt.Errorf("%w: %w", ErrMoved, root.err)
	case Damaged(root.err):
		side.Flaw = root.err
		return side, nil
	case root.err != nil:
		return side, root.err
	}
	side.Data, side.Info, side.ETag = root.data, root.info, root.info.ETag
	side.Root, side.Flaw = repository.ParseRoot(generation, root.data)
	return side, nil
}

// rootObject is a root as it was read, or why it could not be.
type rootObject struct {
	data []byte
	info objectstore.Info
	err  error
}

func (s Store) readRoot(ctx context.Context, generation int64) (o rootObject) {
	o.data, o.info, o.err = s.Read(ctx, repository.RootIndexKey(generation))
	return o
}

// Known is a side whose root is known from an earlier look.
func (s Store) Known(root *repository.Root, data []byte, etag string) Side {
	return Side{
		Root: root, Found: true, Generation: root.Generation, Data: data, ETag: etag, store: s,
	}
}

// Key is the root's own key.
func (s Side) Key() string { return repository.RootIndexKey(s.Generation) }

// Object is an object of the root folder; nil if there is none under the key.
func (s Side) Object(key string) *objectstore.Object {
	if o, ok := s.Objects[key]; ok {
		return &o
	}
	return nil
}

// WithRoot is the side after another root was written there.
func (s Side) WithRoot(root *repository.Root, data []byte) Side {
	s.Root, s.Found, s.Generation, s.Data, s.ETag, s.Info, s.Flaw = root, true, root.Generation, data, "",
		objectstore.Info{}, nil
	return s
}

// Unchanged makes sure that the highest root is still the one that was read; else the error is
// [ErrMoved].
func (s Side) Unchanged(ctx context.Context) error {
	objects, generation, found, err := s.store.Highest(ctx)
	if err != nil {
		return err
	}
	if generation, found = orLegacy(objects, generation, found); !found {
		generation = -1
	}
	if found != s.Found || generation != s.Generation || found && objects[s.Key()].ETag != s.ETag {
		return ErrMoved
	}
	return nil
}

// Gone tells whether a read failed because there is no such object.
func Gone(err error) bool {
	lost, ok := errors.AsType[*transfer.Error](err)
	return ok && lost.Kind == transfer.Vanished || objectstore.KindOf(err) == objectstore.NotFound
}

// Damaged tells whether a read failed because of the object itself: it can't be read unharmed, or
// is larger than such an object may be.
func Damaged(err error) bool {
	broken, ok := errors.AsType[*transfer.Error](err)
	return ok && broken.Kind == transfer.Corrupt || objectstore.KindOf(err) == objectstore.Invalid
}
