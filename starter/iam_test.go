package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/golden"
	"github.com/snapferry/snapferry/migration"
)

func TestIAM(t *testing.T) {
	c := newConsole(t, nil)
	out, errs := c.run(exitOK, "iam", "-f", "examples/plan.yaml")
	require.Empty(t, errs)
	golden.Equal(t, "testdata/iam.txt", out)
	out, errs = c.run(exitOK, "iam", "-f", "examples/plan-vpc-useast1.json", "-o", "json")
	require.Empty(t, errs)
	golden.Equal(t, "testdata/iam-vpc.json", out)
	require.Contains(t, out, "arn:aws:es:us-east-1:123456789012:domain/shop-orders")
	require.NotContains(t, out, "oss:PutBucket", "the plan creates no bucket")
}

// Nothing may be allowed on everything, and the key that the cluster keeps may only read.
func TestPoliciesAreNarrow(t *testing.T) {
	plan, err := migration.Decode([]byte(examplePlan))
	require.NoError(t, err)
	p := newPermissions(plan)
	for _, document := range []policy{p.SnapshotRole.Policy, p.Worker.Policy, p.OSSWriter.Policy, p.OSSReader.Policy} {
		for _, statement := range document.Statement {
			for _, resource := range statement.Resource {
				require.True(t, strings.Contains(resource, "shop") ||
					strings.HasSuffix(resource, "EsSnapshotRole"), resource)
			}
			for _, action := range statement.Action {
				require.NotContains(t, []string{"*", "s3:*", "oss:*", "iam:*", "es:*"}, action)
			}
		}
	}
	text, err := json.Marshal(p.OSSReader)
	require.NoError(t, err)
	require.NotContains(t, string(text), "Put")
	require.NotContains(t, string(text), "Delete")
}

func TestTheDomainIsDerivedFromTheEndpoint(t *testing.T) {
	for _, test := range []struct{ endpoint, region, role, want, warns string }{
		{
			"https://search-shop-abc123.ap-southeast-1.es.amazonaws.com", "", "arn:aws:iam::123456789012:role/R",
			"arn:aws:es:ap-southeast-1:123456789012:domain/shop", "",
		},
		{
			"https://search-a-b-c-xyz.ap-southeast-1.es.amazonaws.com:443", "", "arn:aws:iam::123456789012:role/R",
			"arn:aws:es:ap-southeast-1:123456789012:domain/a-b-c", "",
		},
		{
			"https://vpc-shop-abc123.cn-north-1.es.amazonaws.com.cn", "cn-north-1",
			"arn:aws-cn:iam::123456789012:role/R",
			"arn:aws-cn:es:cn-north-1:123456789012:domain/shop", "",
		},
		{
			"https://vpc-shop-abc123.aos.eu-west-1.on.aws", "eu-west-1", "arn:aws:iam::123456789012:role/R",
			"arn:aws:es:eu-west-1:123456789012:domain/shop", "",
		},
		{
			"https://search-shop-abc123.us-west-2.es.amazonaws.com", "", "arn:aws:iam::123456789012:role/R",
			"arn:aws:es:us-west-2:123456789012:domain/shop", "set source.auth.region",
		},
		{
			"https://search.example.com", "", "arn:aws:iam::123456789012:role/R",
			"arn:aws:es:ap-southeast-1:123456789012:domain/<DOMAIN-NAME>", "is not one of Amazon's own",
		},
	} {
		plan := moviesPlan(t)
		plan.Source.Endpoint, plan.Source.Repository.RoleARN = test.endpoint, test.role
		if test.region != "" {
			plan.Source.Auth.Region = test.region
		}
		d, warnings := newDomain(plan)
		require.Equal(t, test.want, d.arn())
		if test.warns == "" {
			require.Empty(t, warnings)
		} else {
			require.Contains(t, strings.Join(warnings, "\n"), test.warns)
		}
	}
}

// The placeholder is named where people look, and JSON stays JSON.
func TestIAMWithAPlaceholder(t *testing.T) {
	c := newConsole(t, nil)
	text := strings.ReplaceAll(minimalPlan, "https://search-shop-abc123.ap-southeast-1.es.amazonaws.com",
		"https://search.example.com")
	c.deps.in = strings.NewReader(text)
	out, errs := c.run(exitOK, "iam", "-f", "-", "-o", "json")
	require.Contains(t, errs, "Warning: the endpoint https://search.example.com is not one of Amazon's own and "+
		"does not tell the domain's name")
	require.True(t, json.Valid([]byte(out)))
	require.Contains(t, out, "domain/<DOMAIN-NAME>/*")
}

func TestBasicAuthenticationCanNotPassARole(t *testing.T) {
	plan := moviesPlan(t)
	plan.Source.Auth = migration.Auth{Type: migration.AuthBasic, User: "u", Password: "env:P"}
	require.Contains(t, strings.Join(newPermissions(plan).Warnings, "\n"), "only from signed requests")
}
