package oss

import (
	"context"
	"sync"
	"time"

	"github.com/aliyun/aliyun-oss-go-sdk/oss"

	"github.com/snapferry/snapferry/internal/redact"
)

// renewedKey is the key of a sink. Temporary keys last an hour, and a copy may take longer: once OSS
// refuses the key, it is read again.
type renewedKey struct {
	again  func(context.Context) (Key, error)
	now    func() time.Time
	hidden redact.Redactor

	mu      sync.Mutex
	key     Key
	read    time.Time
	changed time.Time
}

const (
	// leastBetween bounds how often refusals have the key read again.
	leastBetween = time.Second
	// freshFor is how long after a change a refusal may still be about the key before it.
	freshFor = time.Minute
)

func newRenewedKey(o Options) *renewedKey {
	k := &renewedKey{again: o.Again, now: time.Now, key: o.Key()}
	k.hide(k.key)
	return k
}

func (k *renewedKey) hide(key Key) {
	k.hidden.Add(key.AccessKeyID, key.AccessKeySecret, key.SecurityToken)
}

// GetCredentials implements oss.CredentialsProvider.
func (k *renewedKey) GetCredentials() oss.Credentials {
	k.mu.Lock()
	defer k.mu.Unlock()
	return credentials{k.key}
}

// refused is told that OSS has refused the key. It reports whether there is another one by now.
func (k *renewedKey) refused(ctx context.Context) bool {
	if k.again == nil {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	if now.Sub(k.read) >= leastBetween {
		k.read = now
		if key, err := k.again(ctx); err == nil && key != k.key {
			k.hide(key)
			k.key, k.changed = key, now
		}
	}
	return !k.changed.IsZero() && now.Sub(k.changed) < freshFor
}

// credentials is a key as the SDK reads it.
type credentials struct{ key Key }

func (c credentials) GetAccessKeyID() string     { return c.key.AccessKeyID }
func (c credentials) GetAccessKeySecret() string { return c.key.AccessKeySecret }
func (c credentials) GetSecurityToken() string   { return c.key.SecurityToken }
