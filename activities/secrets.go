package activities

import (
	"context"
	"crypto/x509"

	"github.com/snapferry/snapferry/internal/secrets"
	"github.com/snapferry/snapferry/migration"
)

// keys reads what plans refer to, within the fence of this worker. Its errors are classified. They
// name the plan's field and the reference, never the value.
type keys struct{ fence secrets.Fence }

// secret reads a secret when it is used, so that no plan, history or log holds it, and a renewed one
// is seen.
func (k keys) secret(ctx context.Context, field string, ref migration.SecretRef) (string, error) {
	if err := ref.Validate(); err != nil {
		// The error doesn't quote the reference: it may be the secret itself.
		return "", fail(migration.ErrorSecret, "%s can't be used: it %w", field, err)
	}
	value, err := k.fence.Read(ctx, string(ref))
	if err != nil && ctx.Err() != nil {
		return "", ctx.Err()
	}
	if err != nil {
		return "", fail(migration.ErrorSecret, "%s: %w", field, err)
	}
	return value, nil
}

// endpoint refuses an endpoint that this worker may not connect to.
func (k keys) endpoint(field, url string) error {
	if err := k.fence.Endpoint(url); err != nil {
		return fail(migration.ErrorSecret, "%s: %w", field, err)
	}
	return nil
}

// roots reads the certificate authorities of a plan; nil means the system's.
func (k keys) roots(ctx context.Context, field, path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	pem, err := k.fence.File(ctx, path)
	if err != nil && ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, fail(migration.ErrorSecret, "%s: %w", field, err)
	}
	if !x509.NewCertPool().AppendCertsFromPEM(pem) {
		return nil, fail(migration.ErrorSecret, "%s: the file %s holds no certificate in PEM form (-----BEGIN "+
			"CERTIFICATE-----)", field, path)
	}
	return pem, nil
}
