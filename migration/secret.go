package migration

import (
	"errors"
	"path/filepath"
	"regexp"
	"strings"
)

// SecretRef says where a secret is to be found and never holds one: "env:NAME" for an environment
// variable of the worker, "file:/PATH" for a file that the worker can read. It is resolved in the
// worker at the moment of use, so that no secret reaches a plan, a workflow history or a log.
type SecretRef string

var environmentName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// Validate reports a reference that is no reference. The value is not repeated in the error: a
// mistake here may well be the secret itself.
func (r SecretRef) Validate() error {
	kind, rest, found := strings.Cut(string(r), ":")
	switch {
	case found && kind == "env" && environmentName.MatchString(rest):
		return nil
	case found && kind == "file" && filepath.IsAbs(rest):
		return nil
	}
	return errors.New("must be a reference to a secret, not the secret itself: " +
		"env:NAME (an environment variable of the worker) or file:/PATH (an absolute path that the worker can read)")
}

// ownOfWorker tells whether the reference is to what no worker reads for a plan: its own credentials,
// environment, memory and devices. The worker's fence knows more of them (package secrets).
func (r SecretRef) ownOfWorker() bool {
	kind, place, _ := strings.Cut(string(r), ":")
	if kind == "env" {
		place = strings.ToUpper(place)
		return strings.HasPrefix(place, "AWS_") || strings.HasPrefix(place, "TEMPORAL_")
	}
	place = filepath.Clean(place) + "/"
	return kind == "file" && (strings.HasPrefix(place, "/proc/") || strings.HasPrefix(place, "/sys/") ||
		strings.HasPrefix(place, "/dev/"))
}
