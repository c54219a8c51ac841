package activities

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
)

// Every name in the vocabulary has its activity, and none has two.
func TestEveryActivityIsRegisteredOnce(t *testing.T) {
	var registered registry
	New().Register(&registered)
	NewCopier().Register(&registered)
	require.ElementsMatch(t, activityNames(t), registered.names)
}

// activityNames reads the constants Activity... from their source, so that a
// new one can't be forgotten here.
func activityNames(t *testing.T) []string {
	file, err := parser.ParseFile(token.NewFileSet(), "../migration/activities.go", nil, 0)
	require.NoError(t, err)
	var names []string
	ast.Inspect(file, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Activity") {
			return true
		}
		name, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		require.NoError(t, err)
		names = append(names, name)
		return true
	})
	require.Greater(t, len(names), 10)
	return names
}

type registry struct{ names []string }

func (r *registry) RegisterActivity(any) { panic("every activity has a name of its own") }

func (r *registry) RegisterActivityWithOptions(_ any, options activity.RegisterOptions) {
	r.names = append(r.names, options.Name)
}

func (r *registry) RegisterDynamicActivity(any, activity.DynamicRegisterOptions) {
	panic("no activity is dynamic")
}
