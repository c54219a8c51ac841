package activities

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/objectstore/memory"
	"github.com/snapferry/snapferry/migration"
)

// transcribing is a world whose activities keep a transcript.
func transcribing(t *testing.T) (*world, *memory.Store) {
	w := newWorld(t)
	store := memory.NewSink()
	w.activities.cluster = watched(w.activities.cluster)
	w.activities.transcripts = &transcripts{
		id:   "worker",
		open: func(context.Context, migration.Run) (objectstore.Sink, error) { return store, nil },
	}
	t.Cleanup(w.activities.transcripts.writing.Wait)
	return w, store
}

// transcript is all of it, page by page.
func (w *world) transcript() (all []migration.Exchange, pages, unreadable int) {
	w.t.Helper()
	w.activities.transcripts.writing.Wait()
	request := migration.TranscriptRequest{Run: w.run}
	for {
		page := must[migration.TranscriptPage](w, w.activities.ReadTranscript, request)
		pages, unreadable = pages+1, unreadable+page.Unreadable
		lines, err := gzip.NewReader(bytes.NewReader(page.Lines))
		require.NoError(w.t, err)
		decoder := json.NewDecoder(lines)
		for decoder.More() {
			var e migration.Exchange
			require.NoError(w.t, decoder.Decode(&e))
			all = append(all, e)
		}
		if page.After == "" {
			return all, pages, unreadable
		}
		request.After = page.After
	}
}

// Each request that changes something is kept, with the activity that sent it, whether it succeeded or
// not, and no secret.
func TestTranscript(t *testing.T) {
	w, store := transcribing(t)
	must[any](w, w.activities.RegisterRepositories, w.run)
	must[migration.Blocks](w, w.activities.ReadBlocks, w.request())
	w.from.Refuse("PUT /*/_settings", 1, 403, "security_exception", "no permission for settings")
	must[any](w, w.activities.BlockWrites, w.request()) // each index apart, after the refusal

	all, pages, unreadable := w.transcript()
	require.Equal(t, 1, pages)
	require.Zero(t, unreadable)
	var steps []string
	for _, e := range all {
		path, _, _ := strings.Cut(e.Path, "?")
		last := path[strings.LastIndexByte(path, '/'):]
		steps = append(steps, fmt.Sprintf("%s %s %s %d", e.Side, e.Method, last, e.Status))
		require.NotEmpty(t, e.Step)
		require.WithinDuration(t, time.Now(), e.At, time.Hour)
	}
	repository := w.run.RepositoryName() + " 200"
	require.Equal(t, []string{
		"source PUT /" + repository, "target PUT /" + repository,
		"source PUT /_settings 403", "source PUT /_settings 200", "source PUT /_settings 200",
	}, steps)
	require.Contains(t, all[2].Answer, "no permission for settings")
	require.Contains(t, all[3].Body, `"index.blocks.write":true`)
	require.Len(t, store.Objects(), 2, "one for each activity that sent something")
	for _, object := range store.Objects() {
		w.secret(errors.New(string(object)))
	}
}

// What OSS doesn't take waits for the next part, and is no failure of the activity.
func TestATranscriptIsBestEffort(t *testing.T) {
	w, store := transcribing(t)
	down := true
	w.activities.transcripts.open = func(context.Context, migration.Run) (objectstore.Sink, error) {
		if down {
			return nil, errors.New("OSS is down")
		}
		return store, nil
	}
	must[any](w, w.activities.BlockWrites, w.request())
	w.activities.transcripts.writing.Wait()
	require.Empty(t, store.Objects())
	down = false
	must[any](w, w.activities.RegisterRepositories, w.run)
	all, _, _ := w.transcript()
	require.Len(t, all, 3)
	require.Contains(t, all[0].Path, "/_settings")

	// A part that somebody has damaged is left out, and the others are read.
	store.Store("0000000000001-x-000001", []byte(`{"at":`))
	again, _, unreadable := w.transcript()
	require.Equal(t, all, again)
	require.Equal(t, 1, unreadable)
}

// However long it is, each page fits into a payload.
func TestATranscriptIsReadInPages(t *testing.T) {
	w, store := transcribing(t)
	const seed, parts = 7, 30
	random := rand.New(rand.NewPCG(seed, seed))
	for part := range parts {
		var lines strings.Builder
		for lines.Len() < transcriptPart {
			line, err := json.Marshal(migration.Exchange{
				Millis: int64(part), Body: fmt.Sprint(random.Uint64(), random.Uint64()),
			})
			require.NoError(t, err)
			lines.Write(append(line, '\n'))
		}
		store.Store(fmt.Sprintf("%013d-x-000001", part), []byte(lines.String()))
	}
	all, pages, _ := w.transcript()
	require.Greater(t, pages, 1, "seed %d", seed)
	require.Equal(t, int64(parts-1), all[len(all)-1].Millis)
	for i := 1; i < len(all); i++ {
		require.LessOrEqual(t, all[i-1].Millis, all[i].Millis)
	}
}

// A rehearsal leaves nothing behind.
func TestRehearsalsHaveNoTranscript(t *testing.T) {
	w, store := transcribing(t)
	w.run.Plan.Rehearsal = true
	must[any](w, w.activities.RegisterRepositories, w.run)
	w.activities.transcripts.writing.Wait()
	require.Empty(t, store.Objects())
}

// A worker keeps only so much of one run.
func TestATranscriptIsBounded(t *testing.T) {
	w, store := transcribing(t)
	kept := w.activities.transcripts
	kept.bytes, kept.waiting = map[string]int{w.run.TranscriptPath(): longestTranscript}, map[string][]byte{}
	must[any](w, w.activities.BlockWrites, w.request())
	kept.writing.Wait()
	require.Empty(t, store.Objects())
}
