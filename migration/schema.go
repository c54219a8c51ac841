package migration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"

	"sigs.k8s.io/yaml"
)

// Schema is the JSON schema of a plan (draft 7, which editors know best), for editors that complete
// and check plans while they are written. It is made from the types and struct tags that Decode
// reads, from the defaults and from the patterns of the validation, and printed with indentation.
//
// Whatever the schema refuses, Decode refuses as well, with two exceptions: Decode takes an empty
// string for an optional field that is left out, and an unknown field without a value. The reverse
// does not hold, since rules about several fields, ports or lengths are Decode's alone.
func Schema() ([]byte, error) {
	root := shapeOf("", reflect.TypeFor[Plan](), reflect.StructField{})
	root.Draft = "http://json-schema.org/draft-07/schema#"
	root.Title = "snapferry plan"
	root.Description = "The input of one migration. See docs/plan.md."
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(root); err != nil {
		return nil, fmt.Errorf("write the schema of plans: %w", err)
	}
	return out.Bytes(), nil
}

// schema is the part of JSON schema that plans need.
type schema struct {
	Draft       string     `json:"$schema,omitempty"`
	Title       string     `json:"title,omitempty"`
	Description string     `json:"description,omitempty"`
	Type        any        `json:"type,omitempty"`
	AnyOf       []schema   `json:"anyOf,omitempty"`
	Enum        []any      `json:"enum,omitempty"`
	Pattern     string     `json:"pattern,omitempty"`
	Minimum     *int64     `json:"minimum,omitempty"`
	Maximum     *int64     `json:"maximum,omitempty"`
	Items       *schema    `json:"items,omitempty"`
	MinItems    int        `json:"minItems,omitempty"`
	Unique      bool       `json:"uniqueItems,omitempty"`
	Properties  properties `json:"properties,omitempty"`
	Required    []string   `json:"required,omitempty"`
	// Additional is false, or the schema of values with any name.
	Additional any   `json:"additionalProperties,omitempty"`
	Default    any   `json:"default,omitempty"`
	Examples   []any `json:"examples,omitempty"`
}

// properties keep the order of the Go type, which is the order of the documentation.
type properties []property

type property struct {
	name string
	schema
}

// MarshalJSON writes an object.
func (p properties) MarshalJSON() ([]byte, error) {
	var out bytes.Buffer
	out.WriteByte('{')
	for i, one := range p {
		if i > 0 {
			out.WriteByte(',')
		}
		name, err := json.Marshal(one.name)
		if err != nil {
			return nil, err
		}
		out.Write(name)
		out.WriteByte(':')
		encoder := json.NewEncoder(&out)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(one.schema); err != nil {
			return nil, err
		}
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

const (
	// goDuration is what time.ParseDuration reads, but for negative ones, which no field takes.
	goDuration = `^\+?(([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$`
	// secretReference is what SecretRef.Validate takes.
	secretReference = `^(env:[A-Za-z_][A-Za-z0-9_]*|file:/.*)$`
	// throttleSize is throttleText, which is matched in lower case.
	throttleSize = `^[1-9][0-9]{0,11}([bB]|[kKmMgGtT][bB])$`
	httpURL      = `^[hH][tT][tT][pP][sS]?://`
)

// fieldPatterns are the patterns of strings by field: those of the validation, where it has one.
var fieldPatterns = map[string]string{
	"name":                              planName.String(),
	"source.endpoint":                   httpURL,
	"source.auth.region":                region.String(),
	"source.repository.bucket":          bucketS3.String(),
	"source.repository.region":          region.String(),
	"source.repository.endpoint":        s3Hostname.String(),
	"source.repository.roleArn":         roleARN.String(),
	"source.repository.basePath":        basePath.String(),
	"source.repository.reader.endpoint": httpURL,
	"source.caFile":                     "^/",
	"source.repository.reader.caFile":   "^/",
	"target.caFile":                     "^/",
	"target.repository.writer.caFile":   "^/",
	"target.endpoint":                   httpURL,
	"target.auth.region":                region.String(),
	"target.repository.bucket":          bucketOSS.String(),
	"target.repository.region":          region.String(),
	"target.repository.endpoint":        httpURL,
	"target.repository.basePath":        basePath.String(),
	"target.repository.writer.endpoint": httpURL,
	"cutover.webhook.url":               `^([hH][tT][tT][pP][sS]?://|env:|file:/)`,
	"hooks.*.name":                      planName.String(),
	"hooks.*.http.url":                  `^([hH][tT][tT][pP][sS]?://|env:|file:/)`,
	"notify.receivers[].name":           receiverName.String(),
	"notify.receivers[].caFile":         "^/",
}

// fieldMaxima are the largest whole numbers by field.
var fieldMaxima = map[string]int64{
	"copy.concurrency": MaxConcurrency,
	"copy.pages":       MaxPages,
	"restore.replicas": mostReplicas,
	"hooks.*.attempts": MaxHookAttempts,
}

var fieldDefaults = sync.OnceValue(defaults)

// defaults are the values of fields that a plan leaves out, by path. One that depends on the plan's
// other fields differs between two plans and is none.
func defaults() map[string]any {
	plan := func(text string) reflect.Value {
		p := Plan{Name: text}
		p.Source.Repository.Region = text
		return reflect.ValueOf(p.withDefaults())
	}
	found := map[string]any{}
	var walk func(path string, a, b reflect.Value)
	walk = func(path string, a, b reflect.Value) {
		for i := range a.NumField() {
			field := a.Type().Field(i)
			name := join(path, fieldName(field))
			one, other := a.Field(i), b.Field(i)
			switch kind := field.Type.Kind(); {
			case kind == reflect.Struct:
				walk(name, one, other)
			case field.Tag.Get("required") == "true", !reflect.DeepEqual(one.Interface(), other.Interface()):
			case one.IsZero() && kind != reflect.Bool && kind != reflect.Int &&
				field.Type != reflect.TypeFor[ByteRate]():
			default:
				found[name] = one.Interface()
			}
		}
	}
	walk("", plan("a"), plan("b"))
	return found
}

// shapeOf is the schema of a field, or of the plan if the path is empty.
func shapeOf(path string, shape reflect.Type, field reflect.StructField) schema {
	s := bare(path, shape, field)
	s.Description = describe(path)
	if value, ok := fieldDefaults()[path]; ok {
		s.Default = value
	}
	var example any
	if text := field.Tag.Get("example"); text != "" && yaml.Unmarshal([]byte(text), &example) == nil {
		s.Examples = []any{example}
	}
	if path != "" && field.Tag.Get("required") != "true" {
		s.orNull()
	}
	return s
}

// describe finds a field's description; * stands for one part of the path.
func describe(path string) string { return byPath(descriptions, path) }

// byPath finds what is known of a field, by its path or by that with * for the second part.
func byPath[T any](known map[string]T, path string) T {
	if value, ok := known[path]; ok {
		return value
	}
	return known[anySecond(path)]
}

// anySecond is a path with * for its second part.
func anySecond(path string) string {
	if parts := strings.SplitN(path, ".", 3); len(parts) == 3 {
		return parts[0] + ".*." + parts[2]
	}
	return path
}

// orNull lets a field be null as well, which is the same as absent: a YAML file has it where all
// that stands below a name is a comment.
func (s *schema) orNull() {
	switch {
	case len(s.AnyOf) > 0:
		s.AnyOf = append(s.AnyOf, schema{Type: "null"})
		return
	case len(s.Enum) > 0:
		s.Enum = append(s.Enum, nil)
	}
	s.Type = []any{s.Type, "null"}
}

// bare is the schema of a type, without what is said about the field.
func bare(path string, shape reflect.Type, field reflect.StructField) schema {
	words := func(pattern string, allowed ...any) schema {
		return schema{AnyOf: []schema{{Enum: allowed}, {Type: "string", Pattern: pattern}}}
	}
	switch shape {
	case reflect.TypeFor[Duration]():
		return schema{Type: "string", Pattern: goDuration}
	case reflect.TypeFor[ByteRate]():
		return words(rateText.String(), ByteRate(0).String())
	case reflect.TypeFor[SecretRef]():
		return schema{Type: "string", Pattern: secretReference}
	case reflect.TypeFor[Throttle]():
		return words(throttleSize, ThrottleKeep, ThrottleUnlimited)
	}
	switch shape.Kind() {
	case reflect.Struct:
		s := schema{Type: "object", Additional: false}
		for i := range shape.NumField() {
			field := shape.Field(i)
			name := fieldName(field)
			s.Properties = append(s.Properties, property{name, shapeOf(join(path, name), field.Type, field)})
			if field.Tag.Get("required") == "true" {
				s.Required = append(s.Required, name)
			}
		}
		return s
	case reflect.Map:
		if shape.Elem().Kind() == reflect.String {
			return schema{Type: "object", Additional: schema{Type: []any{"string", "null"}}}
		}
		return schema{Type: "object", Additional: schema{Type: []any{"string", "number", "boolean", "null"}}}
	case reflect.Slice:
		if ofStructs(shape) {
			element := bare(path+"[]", shape.Elem(), reflect.StructField{})
			return schema{Type: "array", Items: &element}
		}
		s := schema{Type: "array", Items: &schema{Type: "string", Enum: enumOf(field)}}
		if path == "indices" {
			s.Items.Pattern, s.MinItems, s.Unique = indexPattern.String(), 1, true
		}
		return s
	case reflect.Bool:
		return schema{Type: "boolean"}
	case reflect.Int:
		s := schema{Type: "integer"}
		least := minimum(field, parseInt)
		s.Minimum = &least
		if most := byPath(fieldMaxima, path); most > 0 {
			s.Maximum = &most
		}
		return s
	}
	s := schema{Type: "string", Pattern: byPath(fieldPatterns, path)}
	s.Enum = enumOf(field)
	return s
}

// enumOf lists the allowed values of a field, or of a list's elements; none if all are allowed.
func enumOf(field reflect.StructField) (values []any) {
	if allowed := field.Tag.Get("enum"); allowed != "" {
		for value := range strings.SplitSeq(allowed, ",") {
			values = append(values, value)
		}
	}
	return values
}
