package activities

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/snapferry/snapferry/migration"
)

// resolveSecret reads a secret when it is used, so that no plan, history or log holds it. Its error
// is classified, and names the reference, never the value.
func resolveSecret(ref migration.SecretRef) (string, error) {
	if err := ref.Validate(); err != nil {
		// The error doesn't quote the reference: it may be the secret itself.
		return "", fail(migration.ErrorSecret, "a reference to a secret can't be used: it %w", err)
	}
	kind, place, _ := strings.Cut(string(ref), ":")
	if kind == "env" {
		value := strings.TrimSpace(os.Getenv(place))
		if value == "" {
			return "", fail(migration.ErrorSecret, "read the secret %s: the environment variable is not set for this "+
				"worker, or it is empty", ref)
		}
		return value, nil
	}
	content, err := os.ReadFile(place)
	if err != nil {
		reason := err
		if cause, ok := errors.AsType[*fs.PathError](err); ok {
			reason = cause.Err // the reference names the path already
		}
		return "", fail(migration.ErrorSecret, "read the secret %s: %w", ref, reason)
	}
	value := strings.TrimSpace(string(content))
	if value == "" {
		return "", fail(migration.ErrorSecret, "read the secret %s: the file is empty", ref)
	}
	return value, nil
}
