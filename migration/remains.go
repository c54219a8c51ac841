package migration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// The names under which the workflows are registered that look for what a run left behind, and
// remove it on request.
const (
	// RecoverWorkflowType is for what an interrupted run left in force.
	RecoverWorkflowType = "Recover"
	// CleanupWorkflowType is for what a run that has ended left lying around.
	CleanupWorkflowType = "Cleanup"
)

// RecoverWorkflowID and CleanupWorkflowID are the one id of each for a plan: they run one after
// another.
func RecoverWorkflowID(planName string) string { return "recover/" + planName }

// CleanupWorkflowID is the id of a plan's cleanup.
func CleanupWorkflowID(planName string) string { return "cleanup/" + planName }

// RemainsKind is a kind of what a run may leave behind.
type RemainsKind string

// The kinds.
const (
	// RemainsBlocks are write blocks on the source's indices.
	RemainsBlocks RemainsKind = "blocks"
	// RemainsRunning are snapshots of ours that still run on the source.
	RemainsRunning RemainsKind = "runningSnapshots"
	// RemainsThrottles are limits of the clusters that a run has raised.
	RemainsThrottles RemainsKind = "throttles"
	// RemainsIndices are indices on the target that a run restored and did not hand over.
	RemainsIndices RemainsKind = "indices"
	// RemainsSnapshots are the snapshots in our repositories on the source.
	RemainsSnapshots RemainsKind = "snapshots"
	// RemainsRepositories are registrations on both clusters.
	RemainsRepositories RemainsKind = "repositories"
	// RemainsUploads are unfinished uploads in OSS.
	RemainsUploads RemainsKind = "uploads"
	// RemainsObjects are the objects in S3 and OSS.
	RemainsObjects RemainsKind = "objects"

	// RemainsAll stands for all kinds of the workflow, as far as they are proven to be ours.
	RemainsAll RemainsKind = "all"
)

// RecoverKinds and CleanupKinds are the kinds that each workflow looks for and removes, in the
// order in which it removes them. What uses something else goes first.
var (
	RecoverKinds = []RemainsKind{
		RemainsBlocks, RemainsRunning, RemainsThrottles, RemainsIndices, RemainsRepositories, RemainsUploads,
	}
	CleanupKinds = []RemainsKind{
		RemainsThrottles, RemainsIndices, RemainsSnapshots, RemainsRepositories, RemainsUploads, RemainsObjects,
	}
)

// RemainsRequest asks what a plan's runs left behind, and for some of it to be removed.
type RemainsRequest struct {
	Plan Plan `json:"plan" required:"true"`
	// Remove are the kinds to remove, or all. Without any, nothing is changed. All removes what is
	// proven to be ours. The kinds blocks and throttles, when they are named, also remove what is
	// perhaps ours.
	Remove []RemainsKind `json:"remove,omitempty" example:"[all]"`
	// Indices are names and patterns. If there are any, blocks and indices are removed from these
	// only, also where it is not proven that they are ours. A block of a source that was handed
	// over is removed only from an index that is named in full.
	Indices []string `json:"indices,omitempty" example:"[movies]"`
	// Token limits it to one run: the last part of its folder in both buckets. Objects and uploads
	// of a run that nobody remembers are removed only if it is named.
	Token string `json:"token,omitempty" example:"0f3c9a71"`
}

// RemainsInput is a RemainsRequest as it arrived. Like Input, it decodes from any JSON, and Request
// says what was wrong.
type RemainsInput struct {
	raw     json.RawMessage
	request RemainsRequest
	// problems are those of its form, and those of its plan.
	problems []Problem
}

// NewRemainsInput wraps a request for a start.
func NewRemainsInput(request RemainsRequest) (RemainsInput, error) {
	raw, err := json.Marshal(request)
	if err != nil {
		return RemainsInput{}, err
	}
	var in RemainsInput
	return in, in.UnmarshalJSON(raw)
}

// MarshalJSON gives back the JSON that the input was decoded from.
func (in RemainsInput) MarshalJSON() ([]byte, error) {
	if in.raw == nil {
		return []byte("null"), nil
	}
	return in.raw, nil
}

// UnmarshalJSON never fails; Request tells what was wrong.
func (in *RemainsInput) UnmarshalJSON(data []byte) error {
	*in = RemainsInput{}
	if !bytes.Equal(bytes.TrimSpace(data), []byte("null")) {
		in.raw = slices.Clone(data)
		in.request, in.problems = decodeRequest[RemainsRequest](in.raw, "a request to recover or clean up")
		if len(in.problems) == 0 {
			in.request.Plan = in.request.Plan.withDefaults()
			// Not the rules that came later: the run that left something behind may be older.
			in.problems = inPlan(in.request.Plan.problems())
		}
	}
	return nil
}

// Request is the validated request of a workflow that knows these kinds, or an *InvalidPlanError.
func (in RemainsInput) Request(kinds []RemainsKind) (RemainsRequest, error) {
	if in.raw == nil {
		return RemainsRequest{}, &InvalidPlanError{Problems: []Problem{{
			Field: "(input)", Message: "no request was given",
			Remedy: `pass {"plan": {...}} as the workflow's one input; {"plan": {...}, "remove": ["all"]} also removes`,
		}}}
	}
	if problems := slices.Concat(in.problems, in.request.problems(kinds)); len(problems) > 0 {
		return RemainsRequest{}, &InvalidPlanError{Problems: problems}
	}
	return in.request, nil
}

// TokenPattern matches the tokens of runs, see TokenOf.
var TokenPattern = regexp.MustCompile(`^[0-9a-f]{8}$`)

func (r RemainsRequest) problems(kinds []RemainsKind) (problems []Problem) {
	var known []string
	for _, kind := range append(slices.Clone(kinds), RemainsAll) {
		known = append(known, string(kind))
	}
	for i, kind := range r.Remove {
		if !slices.Contains(known, string(kind)) {
			problems = append(problems, Problem{
				Field: fmt.Sprintf("remove[%d]", i), Value: string(kind),
				Message: "is not a kind that this workflow removes",
				Remedy:  "use " + strings.Join(known, ", "),
			})
		}
	}
	for i, name := range r.Indices {
		if name == "" || strings.ContainsAny(name, ",/ ") || strings.HasPrefix(name, "-") {
			problems = append(problems, Problem{
				Field: fmt.Sprintf("indices[%d]", i), Value: name, Message: "is not the name or pattern of indices",
				Remedy: "for example indices: [movies, \"logs-*\"]",
			})
		}
	}
	if r.Token != "" && !TokenPattern.MatchString(r.Token) {
		problems = append(problems, Problem{
			Field: "token", Message: "must be the last part of the run's folder in S3: eight digits from 0 to f",
			Remedy: "for example token: 0f3c9a71",
		})
	}
	return problems
}

// Removes tells whether a kind is to be removed, and whether it was named itself.
func (r RemainsRequest) Removes(kind RemainsKind) (removes, byName bool) {
	byName = slices.Contains(r.Remove, kind)
	return byName || slices.Contains(r.Remove, RemainsAll), byName
}

// inPlan are problems of a plan that is a field of a request.
func inPlan(problems []Problem) []Problem {
	for i := range problems {
		problems[i].Field = join("plan", problems[i].Field)
	}
	return problems
}

// decodeRequest reads a request that has a plan as a field, as strictly as a plan. What is the name
// of such a request in messages.
func decodeRequest[T any](data []byte, what string) (request T, problems []Problem) {
	invalid := func(field, message, remedy string) (T, []Problem) {
		return request, []Problem{{Field: field, Message: message, Remedy: remedy}}
	}
	tree, err := readTree(data)
	if err != nil {
		return invalid("(input)", err.Error(), "fix the syntax")
	}
	problems = checkShape("", tree, reflect.TypeFor[T](), reflect.StructField{})
	for i, p := range problems {
		if p.Message == "is not a field of a plan" && !strings.HasPrefix(p.Field, "plan.") {
			problems[i].Message = "is not a field of " + what
		}
	}
	if len(problems) > 0 {
		return request, problems
	}
	checked, err := json.Marshal(tree)
	if err != nil {
		return invalid("(input)", err.Error(), "fix the syntax")
	}
	if err := json.Unmarshal(checked, &request); err != nil {
		return invalid("(input)", err.Error(), "fix the field")
	}
	return request, nil
}

// FindRemainsRequest asks for what a plan's runs left behind.
type FindRemainsRequest struct {
	RemainsRequest
	Kinds []RemainsKind `json:"kinds"`
}

// RemoveRemainsRequest asks for one kind to be removed.
type RemoveRemainsRequest struct {
	RemainsRequest
	Kind RemainsKind `json:"kind"`
}

// RemainsOrigin says whose something is.
type RemainsOrigin string

// The origins.
const (
	// OriginOurs is proven: a run of this plan made it, and left it behind.
	OriginOurs RemainsOrigin = "ours"
	// OriginPerhaps looks like ours, and nothing proves it.
	OriginPerhaps RemainsOrigin = "perhaps"
	// OriginKept stays: it is the product of a migration, or belongs to somebody else.
	OriginKept RemainsOrigin = "kept"
)

// Remains is what was found, in groups. It is bounded: counts are of all, names are the first ones.
type Remains struct {
	Found []RemainsGroup `json:"found,omitempty"`
	// Warnings say what could not be looked at.
	Warnings []string `json:"warnings,omitempty"`
}

// RemainsGroup is what was found of one kind, in one place and of one origin.
type RemainsGroup struct {
	Kind   RemainsKind   `json:"kind"`
	Origin RemainsOrigin `json:"origin"`
	// Where is the cluster or the folder, in words.
	Where string `json:"where"`
	// Token is the run that it is from, empty if it is from none or unknown.
	Token string `json:"token,omitempty"`
	// Why says what tells the origin, in words.
	Why   string `json:"why"`
	Count int64  `json:"count"`
	Bytes int64  `json:"bytes,omitempty"`
	// Names are the first ones.
	Names []string `json:"names,omitempty"`
}

// The most that remains list.
const (
	RemainsNames  = 20
	RemainsGroups = 100
)

// Add counts one more of a group, and keeps the first names.
func (g *RemainsGroup) Add(name string) {
	g.Count++
	if name != "" && len(g.Names) < RemainsNames {
		g.Names = append(g.Names, name)
	}
}

// Removed is what became of one kind.
type Removed struct {
	Kind  RemainsKind `json:"kind"`
	Count int64       `json:"count"`
	Bytes int64       `json:"bytes,omitempty"`
	// Left is what could not be removed, and why: the first RemainsNames of LeftCount.
	LeftCount int64    `json:"leftCount,omitempty"`
	Left      []string `json:"left,omitempty"`
}

// Leave notes something that could not be removed.
func (r *Removed) Leave(count int64, why string) {
	r.LeftCount += count
	if len(r.Left) < RemainsNames {
		r.Left = append(r.Left, shorten(why, longestLeft))
	}
}

const longestLeft = 300

// RemainsReport is the result of both workflows.
type RemainsReport struct {
	Plan string `json:"plan"`
	// Remains are those before anything was removed.
	Remains
	// Removed has an entry for each kind that was to be removed, in the order of removal.
	Removed []Removed `json:"removed,omitempty"`
	// After are those that were found at the end; nil if nothing was to be removed.
	After *Remains `json:"after,omitempty"`
}

// Left is what remains now and is not meant to stay.
func (r RemainsReport) Left() (left []RemainsGroup) {
	now := r.Remains
	if r.After != nil {
		now = *r.After
	}
	for _, group := range now.Found {
		if group.Origin != OriginKept {
			left = append(left, group)
		}
	}
	return left
}

// ErrorRunning says that a run of the plan is under way: what it made is not left behind.
const ErrorRunning ErrorType = "StillRunning"

// Add puts in what became of a kind. One that is removed twice counts once, with what was left the
// second time.
func (r *RemainsReport) Add(removed Removed) {
	for i, before := range r.Removed {
		if before.Kind == removed.Kind {
			removed.Count += before.Count
			removed.Bytes += before.Bytes
			r.Removed[i] = removed
			return
		}
	}
	r.Removed = append(r.Removed, removed)
}
