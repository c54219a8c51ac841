package elastic_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/stretchr/testify/require"
)

func TestChangeRepositoryVerifiesNothing(t *testing.T) {
	fake, client := newFake(t, "5.5.2", map[string]answer{"PUT /_snapshot/mig": ok(`{"acknowledged":true}`)})
	require.NoError(t, client.ChangeRepository(t.Context(), "mig",
		elastic.Repository{Type: "s3", Settings: map[string]any{"bucket": "b", "max_snapshot_bytes_per_sec": "4gb"}}))
	require.Equal(t, "PUT /_snapshot/mig?master_timeout=200000ms&timeout=75000ms&verify=false", fake.last().line)
	require.Equal(t, `{"type":"s3","settings":{"bucket":"b","max_snapshot_bytes_per_sec":"4gb"}}`, fake.last().body)
	require.Equal(t, elastic.Invalid, elastic.KindOf(client.ChangeRepository(t.Context(), "_all",
		elastic.Repository{})))

	fake.answers["PUT /_snapshot/mig"] = answer{
		500,
		`{"error":{"type":"illegal_state_exception","reason":"trying to modify or unregister repository that is currently used "},"status":500}`,
	}
	require.Equal(t, elastic.SlotTaken, elastic.KindOf(client.ChangeRepository(t.Context(), "mig",
		elastic.Repository{Type: "s3"})))

	fake.answers["PUT /_snapshot/mig"] = answer{
		500,
		`{"error":{"type":"repository_exception","reason":"[mig] no access with planted-secret"},"status":500}`,
	}
	err := client.ChangeRepository(t.Context(), "mig", elastic.Repository{
		Type:     "oss",
		Settings: map[string]any{"secret_access_key": "planted-secret"},
	})
	require.ErrorContains(t, err, "no access")
	require.NotContains(t, err.Error(), "planted-secret")
}

func TestRepositoriesAreListedWithoutTheirSettings(t *testing.T) {
	fake, client := newFake(t, "5.5.2",
		map[string]answer{"GET /_snapshot": ok(`{"cs-automated":{"type":"s3"},"mig":{"type":"s3"}}`)})
	types, err := client.Repositories(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[string]string{"cs-automated": "s3", "mig": "s3"}, types)
	require.Equal(t, "GET /_snapshot?filter_path=%2A.type", fake.last().line)

	fake.answers["GET /_snapshot"] = ok(`{}`)
	types, err = client.Repositories(t.Context())
	require.NoError(t, err)
	require.Empty(t, types)
}

func TestHiddenSettings(t *testing.T) {
	_, client := newFake(t, "5.5.3", map[string]answer{"GET /_snapshot/mig": ok(`{"mig":{"type":"oss","settings":{"bucket":"b","secret_access_key":"s3cret",
		"client":{"default":{"access_key":"k3y","endpoint":"e"}},"readonly":"true","other":{"a":{"b":"c"}}}}}`)})
	found, err := client.GetRepository(t.Context(), "mig")
	require.NoError(t, err)
	require.Equal(t, []string{"client", "secret_access_key"}, found.Hidden())
	require.Empty(t, elastic.Repository{Settings: map[string]any{"bucket": "b"}}.Hidden())
}

func TestCurrentSnapshotsOfARepository(t *testing.T) {
	_, client := newFake(t, "5.5.2",
		map[string]answer{"GET /_snapshot/mig/_current": ok(
			`{"snapshots":[{"snapshot":"s1","state":"IN_PROGRESS","start_time_in_millis":5}]}`)})
	running, err := client.CurrentSnapshots(t.Context(), "mig")
	require.NoError(t, err)
	require.Len(t, running, 1)
	require.Equal(t, "s1", running[0].Name)
	_, err = client.CurrentSnapshots(t.Context(), "a,b")
	require.Equal(t, elastic.Invalid, elastic.KindOf(err))
}

// Of many snapshots whose names tell the time only the latest are read; else all are.
func TestLatestSnapshots(t *testing.T) {
	list := func(names ...string) answer {
		var all []string
		for i, name := range names {
			all = append(all, fmt.Sprintf(`{"snapshot":%q,"state":"SUCCESS","start_time_in_millis":%d}`, name, i))
		}
		return ok(`{"snapshots":[` + strings.Join(all, ",") + `]}`)
	}
	dated := []string{
		"2026-01-31t04-05-06.b", "2026-01-31t02-05-06.d", "2026-01-31t03-05-06.c",
		"2026-01-31t05-05-06.a",
	}
	for name, test := range map[string]struct {
		version string
		names   []string
		lines   []string
		read    int
	}{
		"dated": {"5.5.2", dated, []string{
			"GET /_snapshot/r/_all?verbose=false",
			"GET /_snapshot/r/2026-01-31t04-05-06.b,2026-01-31t05-05-06.a",
		}, 2},
		"few": {"7.10.2", dated[:2], []string{"GET /_snapshot/r/_all?verbose=false", "GET /_snapshot/r/_all"}, 2},
		"undated": {
			"7.10.2", append([]string{"by-hand"}, dated...),
			[]string{"GET /_snapshot/r/_all?verbose=false", "GET /_snapshot/r/_all"},
			5,
		},
		"too old":  {"5.4.3", dated, []string{"GET /_snapshot/r/_all"}, 4},
		"none yet": {"6.8.23", nil, []string{"GET /_snapshot/r/_all?verbose=false", "GET /_snapshot/r/_all"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			fake, client := newFake(t, test.version, map[string]answer{
				"GET /_snapshot/r/_all": list(test.names...),
				"GET /_snapshot/r/2026-01-31t04-05-06.b,2026-01-31t05-05-06.a": list(dated[0], dated[3]),
			})
			found, err := client.LatestSnapshots(context.Background(), "r", 2)
			require.NoError(t, err)
			require.Equal(t, test.lines, fake.lines()[1:], "after the version")
			require.Len(t, found, test.read)
			if name == "dated" {
				require.Equal(t, "2026-01-31t05-05-06.a", found[1].Name)
			}
		})
	}
	_, client := newFake(t, "5.5.2", map[string]answer{"GET /_snapshot/r/_all": {
		404,
		`{"error":{"type":"repository_missing_exception","reason":"[r] missing"},"status":404}`,
	}})
	_, err := client.LatestSnapshots(t.Context(), "r", 2)
	require.Equal(t, elastic.Missing, elastic.KindOf(err))
	_, err = client.LatestSnapshots(t.Context(), "_all", 2)
	require.Equal(t, elastic.Invalid, elastic.KindOf(err))
}
