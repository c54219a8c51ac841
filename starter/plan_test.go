package main

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/golden"
	"github.com/snapferry/snapferry/migration"
)

func TestEveryExampleIsAValidPlan(t *testing.T) {
	paths, err := filepath.Glob("examples/plan*")
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	for _, path := range paths {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		_, err = migration.Decode(data)
		require.NoError(t, err, path)
	}
}

// A field that is added to plans must be added to the example as well, commented out if need be.
func TestTheExampleHasEveryField(t *testing.T) {
	var check func(path string, shape reflect.Type)
	check = func(path string, shape reflect.Type) {
		for i := range shape.NumField() {
			field := shape.Field(i)
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			require.Regexp(t, regexp.MustCompile(`(?m)^[# ]*`+name+`:`), examplePlan, "%s.%s is missing", path, name)
			if field.Type.Kind() == reflect.Struct {
				check(path+"."+name, field.Type)
			}
		}
	}
	check("", reflect.TypeFor[migration.Plan]())
}

func TestPlanExample(t *testing.T) {
	c := newConsole(t, nil)
	out, _ := c.run(exitOK, "plan", "example")
	require.Equal(t, examplePlan, out)
	out, _ = c.run(exitOK, "plan", "example", "--minimal", "-o", "json")
	var plan migration.Plan
	require.NoError(t, json.Unmarshal([]byte(out), &plan))
	require.Equal(t, "movies", plan.Name)
}

// It is the schema that editors find in docs/, whatever the form of output.
func TestPlanSchema(t *testing.T) {
	want, err := os.ReadFile("../docs/plan.schema.json")
	require.NoError(t, err)
	c := newConsole(t, nil)
	for _, args := range [][]string{{"plan", "schema"}, {"plan", "schema", "-o", "json"}} {
		out, _ := c.run(exitOK, args...)
		require.Equal(t, string(want), out)
	}
}

func TestPlanValidate(t *testing.T) {
	c := newConsole(t, nil)
	out, _ := c.run(exitOK, "plan", "validate", "-f", "examples/plan-minimal.yaml")
	golden.Equal(t, "testdata/plan-validate.txt", out)
	out, _ = c.run(exitOK, "plan", "validate", "-f", "examples/plan-minimal.yaml", "-o", "json")
	require.Contains(t, out, `"valid": true`)

	c.deps.in = strings.NewReader("name: movies\nindexes: [a]\n")
	out, err := c.run(exitUsage, "plan", "validate", "-f", "-")
	require.Empty(t, out)
	require.Contains(t, err, "indexes is not a field of a plan; did you mean indices?")
	require.Contains(t, err, "\n  - source.endpoint is missing")

	c.deps.in = strings.NewReader("name: movies\nindexes: [a]\n")
	out, err = c.run(exitUsage, "plan", "validate", "-f", "-", "-o", "json")
	require.Empty(t, err, "with json nothing is said twice")
	var said validation
	require.NoError(t, json.Unmarshal([]byte(out), &said))
	require.False(t, said.Valid)
	require.NotEmpty(t, said.Problems)
}

// What plan json prints is a plan again, and the same one.
func TestPlanJSON(t *testing.T) {
	c := newConsole(t, nil)
	out, _ := c.run(exitOK, "plan", "json", "-f", "examples/plan.yaml")
	again, err := migration.Decode([]byte(out))
	require.NoError(t, err)
	want, err := migration.Decode([]byte(examplePlan))
	require.NoError(t, err)
	require.Equal(t, want, again)
	require.Equal(t, "sigv4", again.Source.Auth.Type)
}

func TestAFileThatIsNotThere(t *testing.T) {
	c := newConsole(t, nil)
	_, err := c.run(exitUsage, "plan", "validate", "-f", "nowhere.yaml")
	require.Contains(t, err, "can't read the plan")
	_, err = c.run(exitUsage, "start")
	require.Contains(t, err, "no plan is given: use -f PLAN")
	c.deps.in = io.MultiReader(strings.NewReader("{"))
	_, err = c.run(exitUsage, "plan", "json", "-f", "-")
	require.Contains(t, err, "is neither YAML nor JSON")
}

func TestWrongUsage(t *testing.T) {
	c := newConsole(t, newFake(t))
	for want, args := range map[string][]string{
		`unknown command "frobnicate"`: {"frobnicate"},
		"unknown flag: --nope":         {"status", "movies", "--nope"},
		"which migration?":             {"status"},
		"only one of them":             {"status", "movies", "-w", "migration/movies"},
		"accepts at most 1 arg":        {"status", "movies", "books"},
		"--output yaml is not known":   {"status", "movies", "-o", "yaml"},
		"unknown command \"x\" for":    {"plan", "example", "x"},
		`did you mean validate?`:       {"plan", "valdate", "-f", "x"},
		"--until nap is not a phase":   {"watch", "movies", "--until", "nap"},
		"--interval must be more":      {"watch", "movies", "--interval", "0s"},
	} {
		out, err := c.run(exitUsage, args...)
		require.Empty(t, out)
		require.Contains(t, err, want)
		require.True(t, strings.HasPrefix(err, "Error: "))
	}
}

func TestWatchKnowsEveryPhase(t *testing.T) {
	text, err := os.ReadFile("../migration/phase.go")
	require.NoError(t, err)
	found := regexp.MustCompile(`Phase = "(\w+)"`).FindAllStringSubmatch(string(text), -1)
	require.NotEmpty(t, found)
	for _, match := range found {
		if name := migration.Phase(match[1]); !name.Ended() {
			require.Contains(t, migration.OpenPhases(), name)
		}
	}
}

// The exit codes and every command are in the help.
func TestHelp(t *testing.T) {
	c := newConsole(t, nil)
	out, _ := c.run(exitOK, "--help")
	require.Contains(t, out, exitCodesHelp)
	for _, request := range migration.Requests() {
		require.Contains(t, out, "\n  "+string(request))
		help, _ := c.run(exitOK, string(request), "--help")
		require.Contains(t, help, request.Description())
	}
}

// A plan that is started must not hold a secret. One that runs already is still found by its file.
func TestAWebhookThatIsASecretIsRefused(t *testing.T) {
	data, err := os.ReadFile(minimal)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "slack.yaml")
	text := string(data) + "\ncutover: {webhook: {url: https://hooks.slack.com/services/T0/B0/planted}}\n"
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	for _, args := range [][]string{{"plan", "validate"}, {"plan", "json"}, {"start"}} {
		_, errs := newConsole(t, newFake(t)).run(exitUsage, append(args, "-f", file)...)
		require.Contains(t, errs, "cutover.webhook.url has a secret in its path")
		require.Contains(t, errs, "url: env:SNAPFERRY_SECRET_WEBHOOK_URL")
		require.NotContains(t, errs, "planted")
	}
	newConsole(t, newFake(t, moment{status: inRounds(t)})).run(exitOK, "status", "-f", file)
}
