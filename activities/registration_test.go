package activities

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

// A migration takes weeks: somebody tidies up registrations, and keys are rotated. Neither needs
// more than what the worker knows.
func TestALostRegistrationIsMadeAgain(t *testing.T) {
	t.Run("on the source", func(t *testing.T) {
		w := newWorld(t)
		w.prepared()
		require.NoError(t, clientOf(w, onSource).DeleteRepository(t.Context(), w.run.RepositoryName()))
		taken := w.snapshot("s")
		require.Equal(t, "s", taken.Name)
		kind, settings := w.from.Repository(w.run.RepositoryName())
		require.Equal(t, "s3", kind)
		require.Equal(t, w.run.SourceBasePath(), settings["base_path"])
	})
	t.Run("on the target", func(t *testing.T) {
		w := newWorld(t)
		w.prepared()
		taken := w.snapshot("s")
		require.NoError(t, clientOf(w, onTarget).DeleteRepository(t.Context(), w.run.RepositoryName()))
		w.restored(taken)
		kind, settings := w.to.Repository(w.run.RepositoryName())
		require.Equal(t, "oss", kind)
		require.Equal(t, true, settings["readonly"])
	})
	t.Run("before the throttles are read", func(t *testing.T) {
		w := newWorld(t)
		w.prepared()
		require.NoError(t, clientOf(w, onSource).DeleteRepository(t.Context(), w.run.RepositoryName()))
		require.NoError(t, clientOf(w, onTarget).DeleteRepository(t.Context(), w.run.RepositoryName()))
		found := must[migration.ThrottlesFound](w, w.activities.ReadThrottles, w.run)
		require.Equal(t, "80mb", found.Snapshot)
	})
}

// ossRefusesAllKeysBut answers as Alibaba's plugin does when OSS refuses the key of a registration.
func ossRefusesAllKeysBut(w *world, key string) {
	w.to.On("GET /_snapshot/*/s", 100, func(rw http.ResponseWriter, _ *http.Request) bool {
		_, settings := w.to.Repository(w.run.RepositoryName())
		if settings["access_key_id"] == key {
			return false
		}
		rw.WriteHeader(http.StatusInternalServerError)
		_, _ = fmt.Fprint(rw, `{"error":{"root_cause":[],"type":"o_s_s_exception","reason":"The OSS Access Key Id `+
			`you provided does not exist in our records.\n[ErrorCode]: InvalidAccessKeyId"},"status":500}`)
		return true
	})
}

func TestAKeyThatWasRotatedReachesTheRegistration(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	request := w.restoreRequest(w.snapshot("s"))
	ossRefusesAllKeysBut(w, "planted-newer-key-id")

	// As long as the worker has the old key, a person is needed.
	refused(w, migration.ErrorUnauthorized, w.activities.RestoreSnapshot, request, "InvalidAccessKeyId")
	t.Setenv("TEST_CLUSTER_KEY_ID", "planted-newer-key-id")
	must[migration.RestoreResult](w, w.activities.RestoreSnapshot, request)
	_, settings := w.to.Repository(w.run.RepositoryName())
	require.Equal(t, "planted-newer-key-id", settings["access_key_id"])
}

// Which of two snapshots is the earlier one is asked of the repository as well, at the same time as
// whether the target sees the snapshot.
func TestALostRegistrationIsMadeAgainForAResetRun(t *testing.T) {
	w := newWorld(t)
	w.prepared()
	w.round("movies-r0003-a1")
	request := w.restoreRequest(w.snapshot("movies-r0002-a2"))
	require.NoError(t, clientOf(w, onTarget).DeleteRepository(t.Context(), w.run.RepositoryName()))
	asked := make(chan struct{})
	w.to.After("GET /_snapshot/*/movies-r0003-a1", func() { close(asked) })
	w.to.On("GET /_snapshot/*/movies-r0002-a2", 1, func(http.ResponseWriter, *http.Request) bool {
		select { // the other look is made without a registration, too
		case <-asked:
		case <-t.Context().Done():
		}
		return false
	})
	must[migration.RestoreResult](w, w.activities.RestoreSnapshot, request)
}
