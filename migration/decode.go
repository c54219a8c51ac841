package migration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// Input is a plan as it arrived: the workflow's argument. It decodes from any JSON, so that a
// mistake in the plan becomes an InvalidPlanError with every problem in it. The data converter
// would report the first one only.
type Input struct {
	raw  json.RawMessage
	plan Plan
	err  error
	// errBefore is err without the rules of Plan.newerProblems.
	errBefore error
	// asIs is the plan without defaults and rules; nil if it can't be read at all.
	asIs *Plan
}

// ResolvedInput wraps the plan of a migration for its next run: see Resolved.
func ResolvedInput(plan Plan) Input { return Input{asIs: &plan} }

// NewInput wraps a plan for a start.
func NewInput(plan Plan) (Input, error) {
	raw, err := json.Marshal(plan)
	if err != nil {
		return Input{}, err
	}
	return decodeInput(raw), nil
}

// Plan is the validated plan with its defaults filled in, or an *InvalidPlanError.
func (in Input) Plan() (Plan, error) {
	if in.raw == nil {
		return Plan{}, &InvalidPlanError{Problems: []Problem{{
			Field: "(input)", Message: "no plan was given",
			Remedy: "pass the plan as the workflow's only input, for example {\"name\": \"movies\", " +
				"...}; `starter plan example` prints a complete one",
		}}}
	}
	if in.err != nil {
		return Plan{}, in.err
	}
	return in.plan, nil
}

// PlanBefore is Plan as runs see it that began before they remembered their plan. They read it again
// at each replay, so no rule may be added to those that it keeps to.
func (in Input) PlanBefore() (Plan, error) {
	if in.raw == nil {
		return in.Plan()
	}
	return in.plan, in.errBefore
}

// Running is the plan of a migration that runs already: it was valid once, and has today's defaults
// where it says nothing. It is an error only if it can't be read.
func (in Input) Running() (Plan, error) {
	plan, err := in.Resolved()
	return plan.withDefaults(), err
}

// Resolved is the plan exactly as it was handed on: no default and no rule of today changes it.
func (in Input) Resolved() (Plan, error) {
	if in.asIs == nil {
		return Plan{}, errors.New("the plan of the run before can't be read")
	}
	return *in.asIs, nil
}

// MarshalJSON returns the JSON that the input was decoded from, or that of a resolved plan.
func (in Input) MarshalJSON() ([]byte, error) {
	if in.raw == nil && in.asIs != nil {
		return json.Marshal(*in.asIs)
	}
	if in.raw == nil {
		return []byte("null"), nil
	}
	return in.raw, nil
}

// UnmarshalJSON never fails: Plan reports what is wrong.
func (in *Input) UnmarshalJSON(data []byte) error {
	if bytes.Equal(bytes.TrimSpace(data), []byte("null")) {
		*in = Input{}
		return nil
	}
	*in = decodeInput(data)
	return nil
}

func decodeInput(data []byte) Input {
	in := Input{raw: slices.Clone(data)}
	in.plan, in.err = decodeJSON(data, Plan.allProblems)
	if in.err != nil {
		in.plan, in.errBefore = decodeJSON(data, Plan.problems)
	}
	var asIs Plan
	if json.Unmarshal(data, &asIs) == nil {
		in.asIs = &asIs
	}
	return in
}

// Decode reads a plan from YAML or JSON, strictly, fills in the defaults and validates it. The
// error is an *InvalidPlanError that lists every problem.
func Decode(data []byte) (Plan, error) {
	asJSON, problem := yamlToJSON(data, "plan", "`starter plan example` prints a complete plan")
	if problem != nil {
		return Plan{}, &InvalidPlanError{Problems: []Problem{*problem}}
	}
	return decodeJSON(asJSON, Plan.allProblems)
}

// yamlToJSON reads one document. What is what a file should hold one of, and remedy where to see such
// a file.
func yamlToJSON(data []byte, what, remedy string) ([]byte, *Problem) {
	if hasSecondDocument(data) {
		return nil, &Problem{
			Field: "(file)", Message: "contains more than one YAML document",
			Remedy: "keep one " + what + " per file: everything after --- would be ignored",
		}
	}
	asJSON, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return nil, &Problem{
			Field: "(file)", Message: "is neither YAML nor JSON: " + strings.TrimPrefix(err.Error(), "yaml: "),
			Remedy: "fix the syntax; " + remedy,
		}
	}
	return asJSON, nil
}

func decodeJSON(data []byte, rules func(Plan) []Problem) (Plan, error) {
	tree, err := readTree(data)
	if err != nil {
		return Plan{}, &InvalidPlanError{Problems: []Problem{{
			Field: "(input)", Message: err.Error(), Remedy: "fix the syntax",
		}}}
	}
	problems := checkShape("", tree, reflect.TypeFor[Plan](), reflect.StructField{})
	// The plan is decoded from the tree that was checked, not from the text. Otherwise what
	// encoding/json does with duplicates and letter case could bring in something unchecked.
	for _, problem := range problems {
		drop(tree, problem.Field) // one bad field must not keep the others from being checked
	}
	checked, err := json.Marshal(tree)
	if err != nil {
		return Plan{}, &InvalidPlanError{Problems: []Problem{{
			Field: "(input)", Message: err.Error(),
			Remedy: "fix the syntax",
		}}}
	}
	var plan Plan
	if err := json.Unmarshal(checked, &plan); err != nil && len(problems) == 0 {
		// checkShape accepts nothing that the decoder refuses. This is for the day on which one of
		// them changes.
		return Plan{}, &InvalidPlanError{Problems: []Problem{{
			Field: "(input)", Message: err.Error(),
			Remedy: "fix the field",
		}}}
	}
	plan = plan.withDefaults()
	// What could be read is checked as well, so that a person sees all mistakes at once.
	for _, problem := range rules(plan) {
		if !covered(problems, problem.Field) {
			problems = append(problems, problem)
		}
	}
	if len(problems) > 0 {
		return Plan{}, &InvalidPlanError{Problems: problems}
	}
	return plan, nil
}

// drop removes a field from decoded JSON. For an element of a list it removes the list.
func drop(tree any, path string) {
	object, ok := tree.(map[string]any)
	if !ok {
		return
	}
	for name := range object {
		switch {
		case name == path || strings.HasPrefix(path, name+"["):
			delete(object, name)
			return
		case strings.HasPrefix(path, name+"."):
			drop(object[name], path[len(name)+1:])
		}
	}
}

// checkShape compares decoded JSON with a Go type. It reports unknown fields, wrong types and
// missing required fields with their full path.
func checkShape(path string, value any, shape reflect.Type, field reflect.StructField) []Problem {
	wrong := func(expected string) []Problem {
		return []Problem{{
			Field: or(path, "(input)"), Value: describeValue(path, value, shape),
			Message: "must be " + expected, Remedy: example(field, path),
		}}
	}
	if shape == reflect.TypeFor[Duration]() {
		raw, _ := json.Marshal(value)
		var d Duration
		if err := d.UnmarshalJSON(raw); err != nil {
			return wrong("a duration: a string with a unit")
		}
		if least := minimum(field, time.ParseDuration); d.Std() < least {
			return wrong("at least " + Duration(least).String())
		}
		return nil
	}
	if shape == reflect.TypeFor[ByteRate]() {
		raw, _ := json.Marshal(value)
		if err := new(ByteRate).UnmarshalJSON(raw); err != nil {
			return wrong("a rate: a string with a unit, or none")
		}
		return nil
	}
	switch shape.Kind() {
	case reflect.Struct:
		object, ok := value.(map[string]any)
		if !ok {
			return wrong("an object with fields")
		}
		return checkFields(path, object, shape)
	case reflect.Slice:
		list, ok := value.([]any)
		if !ok {
			return wrong("a list")
		}
		var problems []Problem
		for i, element := range list {
			problems = append(problems, checkShape(fmt.Sprintf("%s[%d]", path, i), element, shape.Elem(), field)...)
		}
		return problems
	case reflect.Map:
		object, ok := value.(map[string]any)
		if !ok {
			return wrong("an object of settings")
		}
		for _, name := range slices.Sorted(mapKeys(object)) {
			switch object[name].(type) {
			case string:
			case bool, json.Number:
				if shape.Elem().Kind() == reflect.String {
					return []Problem{{
						Field: path + "." + name, Message: "must be a string", Remedy: example(field, path),
					}}
				}
			default:
				return []Problem{{
					Field: path + "." + name, Message: "must be a string, a number or a boolean",
					Remedy: example(field, path),
				}}
			}
		}
	case reflect.String:
		if _, ok := value.(string); !ok {
			return wrong("a string")
		}
	case reflect.Bool:
		if _, ok := value.(bool); !ok {
			return wrong("true or false")
		}
	case reflect.Int:
		number, ok := value.(json.Number)
		if !ok {
			return wrong("a whole number")
		}
		whole, err := number.Int64()
		if err != nil {
			return wrong("a whole number")
		}
		if least := minimum(field, parseInt); whole < least {
			return wrong(fmt.Sprintf("at least %d", least))
		}
	case reflect.Float64:
		number, _ := value.(json.Number)
		price, err := number.Float64()
		if err != nil {
			return wrong("a number")
		}
		if least := minimum(field, parseFloat); price < least {
			return wrong(fmt.Sprintf("at least %g", least))
		}
	}
	return nil
}

func checkFields(path string, object map[string]any, shape reflect.Type) []Problem {
	var problems []Problem
	known := make([]string, 0, shape.NumField())
	for i := range shape.NumField() {
		field := shape.Field(i)
		name := fieldName(field)
		known = append(known, name)
		value, given := object[name]
		if given && value != nil {
			problems = append(problems, checkShape(join(path, name), value, field.Type, field)...)
			continue
		}
		if field.Tag.Get("required") == "true" {
			problems = append(problems, missing(join(path, name), field)...)
		}
	}
	for _, name := range slices.Sorted(mapKeys(object)) {
		if !slices.Contains(known, name) {
			remedy := "use one of " + strings.Join(known, ", ")
			if near := nearest(name, known); near != "" {
				remedy = "did you mean " + join(path, near) + "? If not, " + remedy
			}
			problems = append(problems, Problem{
				Field: join(path, name), Message: "is not a field of a plan",
				Remedy: remedy,
			})
		}
	}
	return problems
}

// missing reports a required field that is absent. For an object it reports the required fields in
// it, which says more.
func missing(path string, field reflect.StructField) []Problem {
	if field.Type.Kind() == reflect.Struct {
		return checkFields(path, nil, field.Type)
	}
	return []Problem{{Field: path, Message: "is missing", Remedy: example(field, path)}}
}

func example(field reflect.StructField, path string) string {
	text := field.Tag.Get("example")
	if text == "" {
		return "`starter plan example` prints a complete plan"
	}
	name := path[strings.LastIndexByte(path, '.')+1:]
	if i := strings.IndexByte(name, '['); i >= 0 {
		name = name[:i]
	}
	return fmt.Sprintf("for example %s: %s", name, text)
}

// describeValue shows a value in an error, unless it may be a secret that was written there by
// mistake. That may be: a value in the place of an object, an object, a list, and any field whose
// name sounds like a secret's.
func describeValue(path string, value any, shape reflect.Type) string {
	switch value.(type) {
	case map[string]any, []any:
		return ""
	}
	if shape.Kind() == reflect.Struct || shape.Kind() == reflect.Map || secretName.MatchString(path) {
		return ""
	}
	raw, err := json.Marshal(value)
	if err != nil {
		return ""
	}
	const enough = 60
	if len(raw) > enough {
		return string(raw[:enough]) + "..."
	}
	return string(raw)
}

// covered reports whether a field, its parent or one of its parts has a problem already. Then the
// value says nothing.
func covered(problems []Problem, field string) bool {
	return slices.ContainsFunc(problems, func(p Problem) bool {
		return p.Field == "(input)" || within(field, p.Field) || within(p.Field, field)
	})
}

func within(field, outer string) bool {
	return field == outer || strings.HasPrefix(field, outer+".") || strings.HasPrefix(field, outer+"[")
}

// minimum reads a field's min tag.
func minimum[T any](field reflect.StructField, parse func(string) (T, error)) T {
	least, _ := parse(field.Tag.Get("min")) // without a tag, the zero value
	return least
}

func parseFloat(text string) (float64, error) { return strconv.ParseFloat(text, 64) }

func parseInt(text string) (int64, error) { return strconv.ParseInt(text, 10, 64) }

// readTree decodes JSON into maps, lists and scalars; null is the same as absent. Two fields of the
// same name are an error, since one of them would silently win.
func readTree(data []byte) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	tree, err := readValue(decoder, "")
	if err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("contains more text after the plan")
	}
	return tree, nil
}

func readValue(decoder *json.Decoder, path string) (any, error) {
	token, err := decoder.Token()
	if err != nil {
		return nil, fmt.Errorf("is not JSON: %w", err)
	}
	switch token {
	case json.Delim('{'):
		object := map[string]any{}
		for decoder.More() {
			key, err := decoder.Token()
			if err != nil {
				return nil, fmt.Errorf("is not JSON: %w", err)
			}
			name := key.(string) // the decoder accepts nothing else here
			if _, twice := object[name]; twice {
				return nil, fmt.Errorf("contains the field %s twice", join(path, name))
			}
			if object[name], err = readValue(decoder, join(path, name)); err != nil {
				return nil, err
			}
		}
		_, err := decoder.Token()
		for _, name := range slices.Collect(mapKeys(object)) {
			if object[name] == nil {
				delete(object, name)
			}
		}
		return object, err
	case json.Delim('['):
		list := []any{}
		for decoder.More() {
			element, err := readValue(decoder, fmt.Sprintf("%s[%d]", path, len(list)))
			if err != nil {
				return nil, err
			}
			list = append(list, element)
		}
		_, err := decoder.Token()
		return list, err
	}
	return token, nil
}

// hasSecondDocument looks for a document separator behind the first content. The YAML library would
// read the first document and ignore the rest.
func hasSecondDocument(data []byte) bool {
	content := false
	for line := range strings.Lines(string(data)) {
		line = strings.TrimRight(line, " \t\r\n")
		switch {
		case line == "---" || strings.HasPrefix(line, "--- "):
			if content {
				return true
			}
		case line != "" && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "%"):
			content = true
		}
	}
	return false
}

func fieldName(field reflect.StructField) string {
	name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
	return name
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func mapKeys[T any](m map[string]T) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for key := range m {
			if !yield(key) {
				return
			}
		}
	}
}

// nearest finds the known name that a misspelt one probably means.
func nearest(name string, known []string) string {
	best, bestDistance := "", 3
	for _, candidate := range known {
		if d := distance(strings.ToLower(name), strings.ToLower(candidate)); d < bestDistance {
			best, bestDistance = candidate, d
		}
	}
	return best
}

// distance is the Levenshtein distance of two short names.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
