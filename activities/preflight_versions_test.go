package activities

import (
	"strings"
	"testing"

	"github.com/snapferry/snapferry/internal/elastic"
)

func version(t *testing.T, number string) elastic.Version {
	t.Helper()
	v, err := elastic.ParseVersion(number)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestVersionsOfTheClusters(t *testing.T) {
	for _, tt := range []struct {
		source, target string
		problem        string // a part of it; empty means compatible
	}{
		{"5.5.2", "5.5.3", ""},
		{"5.5.2", "5.5.2", ""},
		{"5.6.16", "5.5.3", "older patch level"},
		{"5.5.3", "5.5.2", "older patch level"},
		{"7.10.2", "7.10.0", "older patch level"},
		{"5.0.0", "5.5.3", ""},
		{"2.4.6", "5.5.3", ""},
		{"2.3.2", "5.6.16", ""},
		{"2.4.6", "6.8.23", "to the same or the next major version only"},
		{"2.4.6", "2.4.6", "restores to 5.0 and later"},
		{"1.5.2", "5.5.3", "the source runs 1.5.2, and snapferry copies snapshots of 2.0 and later"},
		{"5.5.2", "6.7.0", ""},
		{"5.5.2", "7.10.0", "to the same or the next major version only"},
		{"6.8.0", "7.10.0", ""},
		{"6.8.0", "8.5.0", "to the same or the next major version only"},
		{"7.10.2", "7.16.2", ""},
		{"7.10.2", "8.5.0", ""},
		{"7.10.2", "8.17.0", ""},
		{"7.10.2", "9.0.0", "to the same or the next major version only"},
		{"8.17.2", "8.17.0", "older patch level"},
		{"8.17.2", "9.0.0", ""},
	} {
		info := func(number string) elastic.Info {
			return elastic.Info{Version: version(t, number), Distribution: "elasticsearch"}
		}
		check(t, tt.source+" to "+tt.target, versionProblem(info(tt.source), info(tt.target)), tt.problem)
	}
	v := version(t, "7.10.2")
	check(t, "OpenSearch source", versionProblem(elastic.Info{Version: v, Distribution: "opensearch"},
		elastic.Info{Version: v, Distribution: "elasticsearch"}), "can't restore snapshots of OpenSearch")
	check(t, "OpenSearch target", versionProblem(elastic.Info{Version: v, Distribution: "elasticsearch"},
		elastic.Info{Version: v, Distribution: "opensearch"}), "restores to Elasticsearch only")
}

// A person is told what to buy instead.
func TestVersionsThatFitAreNamed(t *testing.T) {
	for _, tt := range []struct{ source, target, fitting string }{
		{"5.5.2", "7.10.0", "5.5 if it is 5.5.2 or later, 5.6, 6.3, 6.7, 6.8"},
		{"5.6.16", "5.5.3", "5.6 if it is 5.6.16 or later, 6.3, 6.7, 6.8"},
		{"6.8.23", "8.17.2", "6.8 if it is 6.8.23 or later, 7.7, 7.10, 7.16"},
		{"7.10.2", "7.10.0", "7.10 if it is 7.10.2 or later, 7.16, 8.5, 8.9, 8.13, 8.15, 8.17"},
		{"2.4.6", "2.4.6", "5.5, 5.6"},
		{"8.19.0", "8.17.2", ""},
	} {
		problem := versionProblem(elastic.Info{Version: version(t, tt.source)},
			elastic.Info{Version: version(t, tt.target)})
		_, fitting, _ := strings.Cut(problem, ". These versions of Alibaba Cloud fit: ")
		if problem == "" || fitting != tt.fitting {
			t.Errorf("%s to %s: got %q, want %q to fit", tt.source, tt.target, problem, tt.fitting)
		}
	}
	for _, tt := range []struct{ created, source, target, way string }{
		{
			"6.8.23", "7.10.2", "8.17.2", "index movies was created by Elasticsearch 6.8.23, and 8.17.2 holds only " +
				"indices created by 7.0 or later: choose a version of Alibaba Cloud that can (7.10 if it is 7.10.2 " +
				"or later, 7.16), or reindex it on the source into a new index",
		},
		{
			"5.6.16", "6.8.23", "7.10.2", "choose a version of Alibaba Cloud that can (6.8 if it is 6.8.23 or " +
				"later), or reindex it",
		},
		{"6.8.0", "6.8.0", "7.1.0", "that can (6.8, 7.7, 7.10, 7.16), or reindex it"},
		{"1.7.5", "2.4.6", "5.5.3", "created by 2.0 or later: reindex it on the source into a new index"},
	} {
		problem := createdProblem("movies", version(t, tt.created).ID, version(t, tt.source), version(t, tt.target))
		check(t, tt.created+" to "+tt.target, problem, tt.way)
	}
}

// From 8.11 on ids of created indices are no version numbers.
func TestIndicesThatALater8xCreated(t *testing.T) {
	const created = 8521000 // by 8.17.2
	for target, problem := range map[string]string{
		"8.17.2": "", "8.11.0": "", "9.0.0": "",
		"8.10.4": "8.11 or later", "7.17.28": "8.11 or later",
	} {
		check(t, target, createdProblem("movies", created, version(t, "8.17.2"), version(t, target)), problem)
	}
	for number, warning := range map[string]string{
		"7.16.2": "", "8.17.0": "", "8.17.2": "",
		"8.5.1": "snapferry was tried with 8.17 only", "8.18.0": "knows Alibaba Cloud Elasticsearch up to 8.17",
		"9.0.0": "knows Alibaba Cloud Elasticsearch up to 8.17",
	} {
		check(t, number, untried(version(t, number)), warning)
	}
}

// Each row of the table in Elastic's and Alibaba's documentation.
func TestVersionsThatCreatedAnIndex(t *testing.T) {
	targets := []string{"5.5.3", "6.8.0", "7.1.0", "7.10.0", "8.2.0", "8.17.2"}
	for created, fits := range map[string]string{
		"1.7.5":  "no no no no no no",
		"2.3.2":  "yes no no no no no",
		"5.0.0":  "yes yes no no no no",
		"5.5.2":  "yes yes no no no no",
		"5.6.16": "no yes no no no no",
		"6.2.3":  "no yes yes yes no no",
		"6.8.0":  "no yes no yes no no",
		"7.0.1":  "no no yes yes yes yes",
		"7.4.2":  "no no no yes yes yes",
	} {
		for i, fit := range strings.Fields(fits) {
			problem := createdProblem("movies", version(t, created).ID, version(t, created), version(t, targets[i]))
			if (problem == "") != (fit == "yes") {
				t.Errorf("created by %s on %s: got %q, want it to fit: %s", created, targets[i], problem, fit)
			}
			if problem != "" && (!strings.Contains(problem, "movies") || !strings.Contains(problem, created)) {
				t.Errorf("%q doesn't name the index and the version", problem)
			}
		}
	}
	if problem := createdProblem("movies", 0, version(t, "5.5.2"), version(t, "5.5.3")); problem != "" {
		t.Errorf("an unknown version is not refused before the restore: %q", problem)
	}
}

func check(t *testing.T, what, problem, want string) {
	t.Helper()
	if (want == "") != (problem == "") || !strings.Contains(problem, want) {
		t.Errorf("%s: got %q, want %q", what, problem, want)
	}
}
