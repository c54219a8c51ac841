package transfer

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/snapferry/snapferry/internal/objectstore"
)

// An attempt that is killed leaves its upload in the sink. The next one finds it by its key and goes on with it. Whose upload it is, and of
// which version of the blob, can't be read before it is completed, so the parts are only taken over where the proof decides: in the source's
// own parts, whose MD5s must make its ETag in the end. A part of another version breaks that chain; then the upload is
// ended, and the blob begins anew with hashing. Where no chain holds, nothing could show what a part has, so nothing is taken over.

// begin takes over an upload that fits, or creates one.
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
	u.id, err = ask(ctx, u.Mover, "InitiateMultipartUpload", u.blob.Key, func(ctx context.Context) (objectstore.Upload, error) {
		return u.sink.CreateUpload(ctx, u.blob.Key, metadata)
	})
	return err
}

// adopt takes over the upload of the blob's key that has most of it, if one fits. The others are ended, but only in the first try: an
// attempt that begins again because another one, which doesn't know that it is dead, has ended its upload must not do the same to
// that one.
func (u *upload) adopt(ctx context.Context, resumable, first bool) (bool, error) {
	uploads, err := ask(ctx, u.Mover, "ListMultipartUploads", u.blob.Key, func(ctx context.Context) ([]objectstore.Upload, error) {
		return u.sink.ListUploads(ctx, u.blob.Key)
	})
	if objectstore.KindOf(err) == objectstore.Forbidden {
		// The key of an older setup has no right to it: then nothing is resumed, but all is copied.
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
		if id.Key != u.blob.Key { // the prefix of another
			continue
		}
		var parts []objectstore.Part
		if resumable {
			parts, err = ask(ctx, u.Mover, "ListParts", u.blob.Key, func(ctx context.Context) ([]objectstore.Part, error) {
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

// fit tells whether these could be parts of the blob, as far as their places and sizes say.
func (u *upload) fit(parts []objectstore.Part) bool {
	for _, p := range parts {
		if p.Number < 1 || p.Number > len(u.parts) || p.Size != u.parts[p.Number-1].size || !objectstore.LooksLikeMD5(p.ETag) {
			return false
		}
	}
	return true
}

// confirm looks at the object that an upload which was taken over has become. Its bytes are proven, but its metadata is what the upload was
// begun with: if that names another version, it would be taken for a copy of that one.
func (u *upload) confirm(ctx context.Context) error {
	info, err := ask(ctx, u.Mover, "HeadObject", u.blob.Key, func(ctx context.Context) (objectstore.Info, error) { return u.sink.Head(ctx, u.blob.Key) })
	if err != nil {
		return err
	}
	if u.blob.is(info) {
		return nil
	}
	if err := u.remove(ctx); err != nil {
		return err
	}
	return fmt.Errorf("%w: it was begun for the ETag %q", errStale, info.Metadata[MetadataETag])
}

func (m *Mover) abort(ctx context.Context, id objectstore.Upload) error {
	return command(ctx, m, "AbortMultipartUpload", id.Key, func(ctx context.Context) error { return m.sink.Abort(ctx, id) })
}

// sweepConcurrency is how many uploads are ended at once.
const sweepConcurrency = 8

// Sweep ends all uploads of keys that begin with the prefix, and tells how many there were. It is for the end of a round, when nothing
// is on its way: what killed attempts have left costs as much as objects do, and isn't seen in any listing of them.
func (m *Mover) Sweep(ctx context.Context, prefix string) (int, error) {
	uploads, err := ask(ctx, m, "ListMultipartUploads", prefix, func(ctx context.Context) ([]objectstore.Upload, error) {
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
