package activities

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/migration"
)

// transcripts keeps what activities change on the clusters. It is for people, and best effort:
// nothing waits for it, and what can't be written is lost. A worker that is killed loses what its
// activities under way have sent.
type transcripts struct {
	// open opens the folder of a run's transcript.
	open func(context.Context, migration.Run) (objectstore.Sink, error)
	// id tells the objects of this worker from those of others.
	id string

	mu      sync.Mutex
	count   int
	bytes   map[string]int // written or waiting, by folder
	waiting map[string][]byte
	writing sync.WaitGroup
}

// Bounds of a transcript, in bytes of text.
const (
	// longestTranscript is how much a worker writes of one run.
	longestTranscript = 64 << 20
	// mostWaiting is what a worker keeps of a run while OSS doesn't take it.
	mostWaiting = 4 << 20
	// transcriptPart is the size from which an activity doesn't wait for its end.
	transcriptPart = 64 << 10
	// longestPart bounds an object that is read.
	longestPart = mostWaiting + transcriptPart
	// transcriptPage bounds a page, compressed, and but for its last part.
	transcriptPage = 96 << 10
)

// transcriptTime bounds the writing of a part.
const transcriptTime = 30 * time.Second

func newTranscripts(k keys) *transcripts {
	return &transcripts{open: k.openTranscript, id: rand.Text()[:8]}
}

func (k keys) openTranscript(ctx context.Context, run migration.Run) (objectstore.Sink, error) {
	return k.openBeside(ctx, run, run.TranscriptPath())
}

// transcribed is what one activity has sent that is not kept yet.
type transcribed struct {
	to   *transcripts
	keep context.Context // outlives the activity
	step string
	try  int32

	mu    sync.Mutex
	run   migration.Run
	lines []byte
}

type transcribedKey struct{}

// transcribe has the requests of the activity kept, whatever its end. The caller calls end after it.
// What removes a run's remains isn't kept: it removes its transcript as well.
func (t *transcripts) transcribe(ctx context.Context) (_ context.Context, end func()) {
	info := activity.GetInfo(ctx)
	if t == nil || info.ActivityType.Name == migration.ActivityRemoveRemains {
		return ctx, func() {}
	}
	to := &transcribed{
		to: t, keep: context.WithoutCancel(ctx), step: info.ActivityType.Name, try: info.Attempt,
	}
	return context.WithValue(ctx, transcribedKey{}, to), to.flush
}

// watched gives clients whose requests are transcribed, where those of the activity are.
func watched(get getClient) getClient {
	return func(ctx context.Context, at side, run migration.Run) (*elastic.Client, error) {
		client, err := get(ctx, at, run)
		to, ok := ctx.Value(transcribedKey{}).(*transcribed)
		if err != nil || !ok {
			return client, err
		}
		return client.Observed(func(e elastic.Exchange) { to.add(at, run, e) }), nil
	}
}

// add keeps an exchange of a migration. A rehearsal leaves nothing behind, so nothing is kept of it.
func (t *transcribed) add(at side, run migration.Run, e elastic.Exchange) {
	if run.Plan.Rehearsal || run.Token == "" {
		return
	}
	line, err := json.Marshal(migration.Exchange{
		At: e.At.UTC(), Millis: e.Took.Milliseconds(), Side: string(at), Step: t.step, Attempt: t.try,
		Method: e.Method, Path: e.Path, Body: e.Body, Status: e.Status, Answer: e.Answer, Failure: e.Failure,
	})
	if err != nil {
		return
	}
	t.mu.Lock()
	t.run = run
	t.lines = append(append(t.lines, line...), '\n')
	full := len(t.lines) >= transcriptPart
	t.mu.Unlock()
	if full {
		t.flush()
	}
}

// flush has what was sent so far written, and doesn't wait for that.
func (t *transcribed) flush() {
	t.mu.Lock()
	lines, run := t.lines, t.run
	t.lines = nil
	t.mu.Unlock()
	if len(lines) > 0 {
		t.to.write(t.keep, run, lines)
	}
}

// write writes lines in the background, with those that wait already.
func (t *transcripts) write(ctx context.Context, run migration.Run, lines []byte) {
	folder := run.TranscriptPath()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.bytes == nil {
		t.bytes, t.waiting = map[string]int{}, map[string][]byte{}
	}
	if t.bytes[folder] += len(lines); t.bytes[folder] > longestTranscript ||
		len(t.waiting[folder])+len(lines) > mostWaiting {
		return
	}
	lines = append(t.waiting[folder], lines...)
	delete(t.waiting, folder)
	t.count++
	key := fmt.Sprintf("%013d-%s-%06d", time.Now().UnixMilli(), t.id, t.count)
	t.writing.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, transcriptTime)
		defer cancel()
		sink, err := t.open(ctx, run)
		if err == nil {
			_, err = sink.Put(ctx, key, bytes.NewReader(lines), int64(len(lines)), nil)
		}
		if err == nil {
			return
		}
		activity.GetLogger(ctx).Warn("A part of the transcript could not be written. It is written with the next one",
			"migration", run.Plan.Name, "error", messageOf(classify(err)))
		t.mu.Lock()
		defer t.mu.Unlock()
		t.waiting[folder] = append(lines, t.waiting[folder]...)
	})
}

// settleTime is how long a worker that stops waits for what is being written.
const settleTime = 5 * time.Second

// wait waits until nothing is being written, for a bounded time.
func (t *transcripts) wait(longest time.Duration) {
	if t == nil {
		return
	}
	done := make(chan struct{})
	go func() { t.writing.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(longest):
	}
}

// ReadTranscript reads a part of a run's transcript. A part that can't be read is left out: the
// others are worth as much without it.
func (a *Activities) ReadTranscript(ctx context.Context, in migration.TranscriptRequest,
) (migration.TranscriptPage, error) {
	return perform(ctx, a, "reading the transcript",
		func(ctx context.Context, _ *pulse) (page migration.TranscriptPage, err error) {
			sink, err := a.transcripts.open(ctx, in.Run)
			if err != nil {
				return page, err
			}
			last := in.After
			var compressed bytes.Buffer
			lines := gzip.NewWriter(&compressed)
			for object, err := range sink.List(ctx, "") {
				if err != nil {
					return page, err
				}
				if object.Key <= in.After {
					continue
				}
				if compressed.Len() >= transcriptPage {
					page.After = last
					break
				}
				text, _, err := sink.Get(ctx, object.Key, longestPart)
				switch {
				case err == nil && validLines(text):
					_, _ = lines.Write(text) // into memory
				case ctx.Err() != nil:
					return page, err
				default:
					page.Unreadable++
				}
				_ = lines.Flush()
				last = object.Key
			}
			_ = lines.Close()
			page.Lines = compressed.Bytes()
			return page, nil
		})
}

func validLines(text []byte) bool {
	for line := range strings.Lines(string(text)) {
		if !json.Valid([]byte(line)) {
			return false
		}
	}
	return true
}
