package activities

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"

	"github.com/snapferry/snapferry/internal/secrets"
	"github.com/snapferry/snapferry/migration"
)

// Every name in the vocabulary has its activity, and none has two.
func TestEveryActivityIsRegisteredOnce(t *testing.T) {
	var registered registry
	all := New(secrets.Fence{})
	all.Register(&registered)
	NewCopier(secrets.Fence{}).Register(&registered)
	NewGuards(all, nil).Register(&registered)
	require.ElementsMatch(t, migration.ActivityNames(), registered.names)
}

type registry struct{ names []string }

func (r *registry) RegisterActivity(any) { panic("every activity has a name of its own") }

func (r *registry) RegisterActivityWithOptions(_ any, options activity.RegisterOptions) {
	r.names = append(r.names, options.Name)
}

func (r *registry) RegisterDynamicActivity(any, activity.DynamicRegisterOptions) {
	panic("no activity is dynamic")
}
