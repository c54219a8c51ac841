package activities

import (
	"context"

	"github.com/snapferry/snapferry/internal/notify"
	build "github.com/snapferry/snapferry/internal/version"
	"github.com/snapferry/snapferry/migration"
)

// SendNotification sends a message to one receiver. The receiver may get it more than once: after a
// lost answer it is sent again, with the same id.
func (a *Activities) SendNotification(ctx context.Context, in migration.SendRequest) error {
	_, err := perform(ctx, a, "telling "+in.Receiver.Name, func(ctx context.Context, _ *pulse) (none, error) {
		return none{}, a.sendNotification(ctx, in)
	})
	return err
}

func (a *Activities) sendNotification(ctx context.Context, in migration.SendRequest) error {
	target, err := a.receiver(ctx, in.Receiver)
	if err != nil {
		return err
	}
	return notify.Send(ctx, target, in.Notification, a.now())
}

// receiver reads the secrets of a receiver when they are used.
func (a *Activities) receiver(ctx context.Context, r migration.Receiver) (notify.Target, error) {
	field := "notify: receiver " + r.Name + ": "
	target := notify.Target{Kind: r.Kind, Email: r.Email, UserAgent: build.UserAgent()}
	endpoint := r.Email.Server
	for _, secret := range []struct {
		name string
		ref  migration.SecretRef
		into *string
	}{
		{"url", r.URL, &target.URL},
		{"authorization", r.Authorization, &target.Authorization},
		{"signingSecret", r.SigningSecret, &target.SigningSecret},
		{"email.password", r.Email.Password, &target.Password},
	} {
		if secret.ref == "" {
			continue
		}
		var err error
		if *secret.into, err = a.keys.secret(ctx, field+secret.name, secret.ref); err != nil {
			return target, err
		}
	}
	name := "email.server"
	if r.Kind != migration.KindEmail {
		name, endpoint = "url", target.URL
	}
	if err := a.keys.receiverEndpoint(field+name, endpoint, r.Kind != migration.KindEmail); err != nil {
		return target, err
	}
	var err error
	target.Roots, err = a.keys.roots(ctx, field+"caFile", r.CAFile)
	return target, err
}

// receiverEndpoint is endpoint, whose error names the host unless that is a part of a secret.
func (k keys) receiverEndpoint(field, url string, secret bool) error {
	err := k.endpoint(field, url)
	if err == nil || !secret {
		return err
	}
	return fail(migration.ErrorSecret, "%s: this worker connects only to the endpoints of --allow-endpoints, and the "+
		"host of this URL is none of them", field)
}
