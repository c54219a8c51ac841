package elastic

import (
	"regexp"
	"slices"
	"strings"
	"sync"
)

const redacted = "[redacted]"

// secretSetting matches the names of repository settings whose values must never be shown.
var secretSetting = regexp.MustCompile(`(?i)secret|access_?key|token|password|passphrase|credential`)

// secretPair finds such settings in texts that quote them, as JSON or as Java's toString.
var secretPair = regexp.MustCompile(
	`(?i)("?[\w.]*(?:secret|access_?key|token|password|passphrase)[\w.]*"?\s*[:=]\s*)("[^"]*"|[^\s,;}\]"]+)`)

// redactor removes from texts known secrets and whatever looks like a secret. All calls of a client
// share it.
type redactor struct {
	mu      sync.RWMutex
	secrets []string // longest first, so that a secret within another leaves no rest
}

// shortestSecret, in bytes, keeps a trivial value such as "a" from removing that letter everywhere.
const shortestSecret = 4

func (r *redactor) add(secrets ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, secret := range secrets {
		if len(secret) >= shortestSecret && !slices.Contains(r.secrets, secret) {
			r.secrets = append(r.secrets, secret)
		}
	}
	slices.SortFunc(r.secrets, func(a, b string) int { return len(b) - len(a) })
}

// addSettings adds the secrets among a repository's settings.
func (r *redactor) addSettings(settings map[string]any) {
	for name, value := range settings {
		if text, ok := value.(string); ok && secretSetting.MatchString(name) {
			r.add(text)
		}
	}
}

func (r *redactor) text(s string) string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, secret := range r.secrets {
		s = strings.ReplaceAll(s, secret, redacted)
	}
	return secretPair.ReplaceAllString(s, "${1}"+redacted)
}

func (r *redactor) error(e *Error) {
	e.Reason = r.text(e.Reason)
	e.Subject = r.text(e.Subject)
	for i, cause := range e.Causes {
		e.Causes[i] = r.text(cause)
	}
}
