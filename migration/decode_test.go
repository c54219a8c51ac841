package migration_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

// A field that can't be read does not keep the others from being checked, and is not blamed on
// them.
func TestOneBadValueIsOneProblem(t *testing.T) {
	good := `{"name":"movies",
		"source":{"endpoint":"https://search-x.ap-southeast-1.es.amazonaws.com",
			"repository":{"bucket":"from-bucket","region":"ap-southeast-1",
				"roleArn":"arn:aws:iam::123456789012:role/Snap"}},
		"target":{"endpoint":"http://es.example.com:9200","auth":{"user":"elastic","password":"env:P"},
			"repository":{"bucket":"to-bucket","region":"ap-southeast-1","endpoint":"http://oss.example.com",
				"accessKeyId":"env:A","secretAccessKey":"env:B",
				"writer":{"endpoint":"https://oss.example.com","accessKeyId":"env:C","accessKeySecret":"env:D"}}},
		"indices":["movies"]%s}`
	for more, fields := range map[string][]string{
		``:                                nil,
		`,"rounds":{"interval":15}`:       {"rounds.interval"},
		`,"copy":{"bandwidth":"200MB"}`:   {"copy.bandwidth"},
		`,"freeze":{"maxDuration":"2 h"}`: {"freeze.maxDuration"},
		`,"rounds":{"interval":"1d"},"verify":{"checksum":"some"}`: {"rounds.interval", "verify.checksum"},
	} {
		_, err := migration.Decode(fmt.Appendf(nil, good, more))
		var invalid *migration.InvalidPlanError
		var got []string
		if errors.As(err, &invalid) {
			for _, problem := range invalid.Problems {
				got = append(got, problem.Field)
			}
		}
		require.ElementsMatch(t, fields, got, "%s: %v", more, err)
	}
}

func TestAMissingSecretIsNoLeakedOne(t *testing.T) {
	_, err := migration.Decode([]byte(`{"name":"movies","target":{}}`))
	require.ErrorContains(t, err, "target.auth.password is missing")
}
