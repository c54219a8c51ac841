package audit_test

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/snapferry/snapferry/internal/audit"
	"github.com/snapferry/snapferry/internal/objectstore/memory"
	"github.com/snapferry/snapferry/internal/repository/repositorytest"
	"github.com/snapferry/snapferry/migration"
)

// A snapshot was copied. Then somebody deleted one of its blobs in OSS, and wrote a file of their
// own.
func ExampleRun() {
	cluster := repositorytest.New(1)
	uuid := cluster.Snapshot("nightly", repositorytest.CreateIndex("movies", 2))
	s3, oss := memory.NewSource(), memory.NewSink()
	for key, data := range cluster.Objects() {
		s3.Store(key, data)
		oss.Store(key, data)
	}
	oss.Remove(slices.Min(slices.Collect(maps.Keys(cluster.Blobs(uuid)))))
	oss.Store("notes.txt", []byte("hello"))

	report, err := audit.Run(context.Background(), audit.Options{Source: s3, Sink: oss}, migration.AuditRequest{})
	if err != nil {
		panic(err)
	}
	fmt.Println("complete:", report.Whole, "broken snapshots:", report.Broken)
	for _, class := range report.Classes {
		if class.Class == "data" {
			fmt.Println("data blobs:", class.Needed.Blobs, "needed,", class.Proven.Blobs, "proven")
		}
	}
	for _, found := range report.Missing.Examples {
		fmt.Printf("missing %s: %s\n", found.Class, found.Reason)
	}
	for _, found := range report.Surplus.Examples {
		fmt.Printf("surplus %s: %s\n", found.Key, found.Reason)
	}
	// Output:
	// complete: false broken snapshots: [nightly]
	// data blobs: 8 needed, 7 proven
	// missing data: it is not in OSS
	// surplus notes.txt: Elasticsearch neither writes nor reads such an object; find out who wrote it
}
