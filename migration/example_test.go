package migration_test

import (
	"errors"
	"fmt"

	"github.com/snapferry/snapferry/migration"
)

// A plan is YAML or JSON. What it leaves out gets a default; what it must not leave out, or gets
// wrong, is listed field by field.
func ExampleDecode() {
	const text = `
name: movies
source:
  endpoint: https://search-movies.ap-southeast-1.es.amazonaws.com
  repository: {bucket: from-bucket, region: ap-southeast-1, roleArn: "arn:aws:iam::123456789012:role/Snapshots"}
target:
  endpoint: http://es-cn-movies.elasticsearch.aliyuncs.com:9200
  auth: {user: elastic, password: "env:TARGET_PASSWORD"}
  repository:
    bucket: to-bucket
    region: ap-southeast-1
    endpoint: http://oss-ap-southeast-1-internal.aliyuncs.com
    accessKeyId: env:READER_ID
    secretAccessKey: env:READER_SECRET
    writer: {endpoint: "https://oss-ap-southeast-1.aliyuncs.com", accessKeyId: "env:WRITER_ID", accessKeySecret: "env:WRITER_SECRET"}
indices: [movies, "catalog-*"]
`
	plan, err := migration.Decode([]byte(text))
	fmt.Println(plan.Name, err)
	fmt.Println("rounds every", plan.Rounds.Interval)
	fmt.Println("workflow", plan.WorkflowID())

	_, err = migration.Decode([]byte(text + "rounds: {interval: 15}\nfreeze: {maxDuration: 2 hours}\n"))
	var invalid *migration.InvalidPlanError
	if errors.As(err, &invalid) {
		for _, problem := range invalid.Problems {
			fmt.Println("a problem in", problem.Field)
		}
	}
	// Output:
	// movies <nil>
	// rounds every 15m
	// workflow migration/movies
	// a problem in rounds.interval
	// a problem in freeze.maxDuration
}
