package version

import (
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhatABuildIsCalled(t *testing.T) {
	commit := []debug.BuildSetting{
		{Key: "vcs.revision", Value: "0123456789abcdef0123456789abcdef01234567"},
		{Key: "vcs.time", Value: "2026-03-02T22:30:00Z"},
	}
	modified := append(commit[:2:2], debug.BuildSetting{Key: "vcs.modified", Value: "true"})
	where := runtime.Version() + ", " + runtime.GOOS + "/" + runtime.GOARCH + ")"
	for name, test := range map[string]struct {
		build        *debug.BuildInfo
		release      string
		short, whole string
	}{
		"without any knowledge": {nil, "", "devel", "devel (unknown revision, " + where},
		"with -buildvcs=false": {
			&debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, "", "devel",
			"devel (unknown revision, " + where,
		},
		"a revision and no tag": {
			&debug.BuildInfo{Main: debug.Module{Version: "(devel)"}, Settings: commit}, "",
			"devel-0123456789ab", "devel (revision 0123456789ab of 2026-03-02T22:30:00Z, " + where,
		},
		"a tag": {
			&debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}, Settings: commit}, "",
			"v1.2.3", "v1.2.3 (revision 0123456789ab of 2026-03-02T22:30:00Z, " + where,
		},
		"changed sources": {
			&debug.BuildInfo{Main: debug.Module{Version: "v1.2.3+dirty"}, Settings: modified}, "",
			"v1.2.3+dirty",
			"v1.2.3+dirty (revision 0123456789ab of 2026-03-02T22:30:00Z, with changes that are not " +
				"committed, " + where,
		},
		"named by the linker": {
			&debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, "v2.0.0", "v2.0.0",
			"v2.0.0 (unknown revision, " + where,
		},
		"a name that is no token": {
			&debug.BuildInfo{}, "v2 (of ours)", "v2-of-ours-",
			"v2 (of ours) (unknown revision, " + where,
		},
		"a revision that is short": {&debug.BuildInfo{Settings: []debug.BuildSetting{{
			Key:   "vcs.revision",
			Value: "abc",
		}}}, "", "devel-abc", "devel (revision abc, " + where},
	} {
		t.Run(name, func(t *testing.T) {
			before := release
			release = test.release
			t.Cleanup(func() { release = before })
			info := of(test.build, test.build != nil)
			require.Equal(t, test.short, info.short())
			require.Equal(t, test.whole, info.String())
		})
	}
	require.Equal(t, "snapferry/"+Get().short(), UserAgent())
}
