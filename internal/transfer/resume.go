package transfer

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/snapferry/snapferry/internal/objectstore"
)

// An attempt that is interrupted leaves its upload in the sink. The next attempt finds the upload
// by its key and adopts it. Before an upload is completed, nothing tells which version of the blob
// it holds. So its parts are adopted only if the proof decides about them: if they are the source's
// own parts, whose MD5s must give the source's ETag in the end. If a part is of another version,
// the proof fails. Then the upload is aborted, and the blob begins again, with hashing. In all
// other cases nothing is adopted.

// begin adopts an upload that fits, or creates one.
func (u *upload) begin(ctx context.Context, first bool) error {
	resumable := u.aligned && !u.hash
	if (resumable || first) && !u.mayNotList.Load() {
		adopted, err := u.adopt(ctx, resumable, first)
		if adopted || err != nil {
			return err
		}
	}
	metadata := u.blob.metadata(proof{})
	metadata[MetadataParts] = fmt.Sprint(len(u.parts))
	var err error
	u.id, err = ask(ctx, u.Mover, "InitiateMultipartUpload", u.blob.Key,
		func(ctx context.Context) (objectstore.Upload, error) {
			return u.sink.CreateUpload(ctx, u.blob.Key, metadata)
		})
	return err
}

// adopt takes the upload of the blob's key that has the most parts, if one fits. It aborts the
// others, but only in the first try. An attempt may begin again because another attempt, which
// Temporal has given up but which still runs, has aborted its upload. It must not abort that one's
// upload in turn.
func (u *upload) adopt(ctx context.Context, resumable, first bool) (bool, error) {
	uploads, err := ask(ctx, u.Mover, "ListMultipartUploads", u.blob.Key,
		func(ctx context.Context) ([]objectstore.Upload, error) {
			return u.sink.ListUploads(ctx, u.blob.Key)
		})
	if objectstore.KindOf(err) == objectstore.Forbidden {
		// The key of an older setup may not list uploads. Then nothing is resumed, and everything
		// is copied.
		u.mayNotList.Store(true)
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var useless []objectstore.Upload
	var best []objectstore.Part
	found := false
	for _, id := range uploads {
		if id.Key != u.blob.Key { // the key is a prefix of another key
			continue
		}
		var parts []objectstore.Part
		if resumable {
			parts, err = ask(ctx, u.Mover, "ListParts", u.blob.Key,
				func(ctx context.Context) ([]objectstore.Part, error) {
					return u.sink.ListParts(ctx, id)
				})
			if objectstore.KindOf(err) == objectstore.NotFound {
				continue
			} else if err != nil {
				return false, err
			}
		}
		switch {
		case !resumable || !u.fit(parts) || found && len(parts) <= len(best):
			useless = append(useless, id)
			continue
		case found:
			useless = append(useless, u.id)
		}
		found, best, u.id = true, parts, id
	}
	if first {
		for _, id := range useless {
			if err := u.abort(ctx, id); err != nil {
				return false, err
			}
		}
	}
	if !found {
		return false, nil
	}
	u.adopted = true
	for _, p := range best {
		u.parts[p.Number-1].done = p
	}
	u.options.Stats.BytesResumed.Add(u.moved())
	u.progress(0, u.moved())
	return true, nil
}

// fit reports whether these can be parts of the blob, by their numbers and sizes.
func (u *upload) fit(parts []objectstore.Part) bool {
	for _, p := range parts {
		if p.Number < 1 || p.Number > len(u.parts) || p.Size != u.parts[p.Number-1].size ||
			!objectstore.LooksLikeMD5(p.ETag) {
			return false
		}
	}
	return true
}

// confirm checks the object that an adopted upload has become. Its bytes are proven, but its
// metadata is that with which the upload began. If that names another version, the object would
// count as a copy of that version later, so it is deleted.
func (u *upload) confirm(ctx context.Context) error {
	info, err := ask(ctx, u.Mover, "HeadObject", u.blob.Key,
		func(ctx context.Context) (objectstore.Info, error) { return u.sink.Head(ctx, u.blob.Key) })
	if err != nil {
		return err
	}
	if u.blob.is(info) {
		return nil
	}
	if err := u.remove(ctx); err != nil {
		return err
	}
	return fmt.Errorf("%w: that of ETag %q", errStale, info.Metadata[MetadataETag])
}

func (m *Mover) abort(ctx context.Context, id objectstore.Upload) error {
	return command(ctx, m, "AbortMultipartUpload", id.Key,
		func(ctx context.Context) error { return m.sink.Abort(ctx, id) })
}

// sweepConcurrency is how many uploads are aborted at the same time.
const sweepConcurrency = 8

// Sweep aborts all uploads of keys that begin with the prefix, and tells how many there were. It is
// for the end of a round, when no copy is under way. Uploads that interrupted attempts left cost as
// much as objects, and no listing of objects shows them.
func (m *Mover) Sweep(ctx context.Context, prefix string) (int, error) {
	uploads, err := ask(ctx, m, "ListMultipartUploads", prefix,
		func(ctx context.Context) ([]objectstore.Upload, error) {
			return m.sink.ListUploads(ctx, prefix)
		})
	if err != nil {
		return 0, err
	}
	group, working := errgroup.WithContext(ctx)
	group.SetLimit(sweepConcurrency)
	for _, id := range uploads {
		group.Go(func() error { return m.abort(working, id) })
	}
	return len(uploads), group.Wait()
}
