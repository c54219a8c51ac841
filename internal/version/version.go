// Package version says which build of snapferry is running: for `version` on both commands, for the
// worker's log, for the status of a migration and for the User-Agent of every request. Two workers
// of different builds may serve one migration, so whoever looks for the cause of a failure asks
// this first.
//
// The version comes from the linker if the build names one, as `make build` and the Dockerfile do.
// Otherwise it comes from what the Go toolchain has recorded in the binary.
package version

import (
	"fmt"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
)

// release is set by the linker: -ldflags "-X
// github.com/snapferry/snapferry/internal/version.release=v1.2.3".
var release string

// development is the version of a build that nobody has named.
const development = "devel"

// Info is what is known of a build. As JSON it is what `version -o json` prints.
type Info struct {
	// Version is the release or tag, such as v1.2.3, or devel.
	Version string `json:"version"`
	// Revision is the commit; empty if the build did not look at the repository (-buildvcs=false).
	Revision string `json:"revision,omitempty"`
	// Time is that of the commit, in RFC 3339; empty together with Revision.
	Time string `json:"time,omitempty"`
	// Modified tells that the sources held changes that were not committed.
	Modified bool `json:"modified,omitempty"`
	// Go is the toolchain, Platform is os/architecture.
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

var running = of(debug.ReadBuildInfo())

// Get is about the running binary.
func Get() Info { return running }

// Short is the version alone, such as v1.2.3 or devel. Without a release it names the revision as
// well, since "devel" says nothing: devel-0123456789ab.
func Short() string { return running.short() }

// UserAgent is how snapferry names itself in HTTP requests, such as snapferry/v1.2.3.
func UserAgent() string { return "snapferry/" + Short() }

func of(build *debug.BuildInfo, ok bool) Info {
	info := Info{Version: development, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if ok {
		// (devel) is what the toolchain writes if it knows no version.
		if v := build.Main.Version; v != "" && v != "(devel)" {
			info.Version = v
		}
		for _, setting := range build.Settings {
			switch setting.Key {
			case "vcs.revision":
				info.Revision = setting.Value
			case "vcs.time":
				info.Time = setting.Value
			case "vcs.modified":
				info.Modified = setting.Value == "true"
			}
		}
	}
	if release != "" {
		info.Version = release
	}
	return info
}

// shortRevision is how many hexadecimal digits of a commit people read, as git's own abbreviation.
const shortRevision = 12

func (i Info) revision() string { return i.Revision[:min(len(i.Revision), shortRevision)] }

// unusable is what a product's version in a User-Agent must not hold (RFC 9110: token).
var unusable = regexp.MustCompile(`[^A-Za-z0-9.+_-]+`)

func (i Info) short() string {
	text := i.Version
	if text == development && i.Revision != "" {
		text += "-" + i.revision()
	}
	return unusable.ReplaceAllString(text, "-")
}

// String is a line for people, such as
//
//	v1.2.3 (revision 0123456789ab of 2026-03-02T22:30:00Z, go1.26.0, linux/amd64)
func (i Info) String() string {
	facts := []string{"unknown revision"}
	if i.Revision != "" {
		facts[0] = "revision " + i.revision()
		if i.Time != "" {
			facts[0] += " of " + i.Time
		}
	}
	if i.Modified {
		facts = append(facts, "with changes that are not committed")
	}
	return fmt.Sprintf("%s (%s)", i.Version, strings.Join(append(facts, i.Go, i.Platform), ", "))
}
