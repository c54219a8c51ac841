package migration

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const pricesYAML = `
currency: EUR
days: 10
s3: {storage: 0.3, writes: 5, reads: 0.5, traffic: 10}
oss: {storage: 0.6, writes: 2, reads: 0.25, traffic: 0}
`

func TestPrices(t *testing.T) {
	prices, err := DecodePrices([]byte(pricesYAML))
	require.NoError(t, err)
	require.Equal(t, Prices{
		Currency: "EUR", Days: 10,
		S3:  StorePrices{Storage: 0.3, Writes: 5, Reads: 0.5, Traffic: 10},
		OSS: StorePrices{Storage: 0.6, Writes: 2, Reads: 0.25},
	}, prices)
}

func TestPricesThatAreNotValid(t *testing.T) {
	for name, tt := range map[string]struct{ old, with, want string }{
		"missing": {"reads: 0.5, ", "", "s3.reads is missing; for example reads: 1.25 (0 if it costs you nothing)"},
		"empty":   {"storage: 0.6", "storage: ", "oss.storage is missing; for example storage: 1.25"},
		"no store": {
			"oss: {storage: 0.6, writes: 2, reads: 0.25, traffic: 0}", "",
			"oss.traffic is missing; for example traffic: 1.25",
		},
		"text":     {"writes: 5", "writes: cheap", `s3.writes ("cheap") must be a number; for example writes: 1.25`},
		"quoted":   {"writes: 5", `writes: "5"`, `s3.writes ("5") must be a number; for example writes: 1.25`},
		"negative": {"writes: 5", "writes: -5", `s3.writes (-5) must be at least 0; for example writes: 1.25`},
		"too much": {"writes: 5", "writes: 5e7", "s3.writes (5e+07) must be at most 1000000; write the price of one GB"},
		"days":     {"days: 10", "days: 0", "days (0) must be at least 1; for example days: 14"},
		"years":    {"days: 10", "days: 36500", "days (36500) must be at most 3650; for example days: 14"},
		"half":     {"days: 10", "days: 1.5", "days (1.5) must be a whole number; for example days: 14"},
		"currency": {"EUR", `""`, "currency must be a short text of up to 20 characters; for example currency: USD"},
		"unknown": {
			"traffic: 10", "transfer: 10",
			"s3.transfer is not a field of a price table; use one of storage, writes, reads, traffic",
		},
		"not YAML": {"days: 10", "days: [", "(file) is neither YAML nor JSON"},
		"twice":    {"days: 10", "days: 10\ndays: 10", "(file) is neither YAML nor JSON"},
		"two":      {"days: 10", "days: 10\n---\n", "keep one price table per file"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := DecodePrices([]byte(strings.Replace(pricesYAML, tt.old, tt.with, 1)))
			invalid, ok := errors.AsType[*InvalidPricesError](err)
			require.True(t, ok, "%v", err)
			require.NotEmpty(t, invalid.Problems)
			require.ErrorContains(t, err, "the price table is not valid")
			require.ErrorContains(t, err, tt.want)
		})
	}
}

// The table that the starter prints has each field, and no price.
func TestTheTableToFillInIsComplete(t *testing.T) {
	text, err := os.ReadFile("../starter/examples/prices.yaml")
	require.NoError(t, err)
	_, err = DecodePrices(text)
	invalid, ok := errors.AsType[*InvalidPricesError](err)
	require.True(t, ok, "%v", err)
	require.Len(t, invalid.Problems, 10)
	for _, problem := range invalid.Problems {
		require.Equal(t, "is missing", problem.Message, problem.Field)
	}
	filled := fillIn(string(text))
	_, err = DecodePrices([]byte(filled))
	require.NoError(t, err, filled)
}

// fillIn writes 1 into each field that has nothing behind it but a comment.
func fillIn(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		field, comment, found := strings.Cut(line, ":")
		name := strings.TrimSpace(field)
		if found && !strings.HasPrefix(name, "#") && name != "s3" && name != "oss" {
			value := " 1"
			if name == "currency" {
				value = " EUR"
			}
			lines[i] = field + ":" + value + comment
		}
	}
	return strings.Join(lines, "\n")
}

func TestCosts(t *testing.T) {
	prices, err := DecodePrices([]byte(pricesYAML))
	require.NoError(t, err)
	const gib = 1 << 30
	check := CheckReport{
		// 20 segments with up to 18 files each are 360 blobs, and 10 GiB are 107.4 parts: 467.4.
		// The lists are 2*4 + 2 + 4 + 20 = 34.
		Checked: Checked{Bytes: 10 * gib, Shards: 4, Indices: 2, Segments: 20},
	}
	item := func(c Costs, name string) CostItem {
		for _, i := range c.Items {
			if i.Item == name {
				return i
			}
		}
		t.Fatalf("there is no %s", name)
		return CostItem{}
	}

	c := prices.Costs(check)
	require.Equal(t, "what is written on the source is not known", c.NoRounds)
	require.Equal(t, CostItem{
		Item: "Traffic from S3", Unit: UnitGB, Price: 10, BaselineQuantity: 10, Baseline: 100,
	}, item(c, "Traffic from S3"))
	storage := item(c, "Storage in S3")
	require.InDelta(t, 10.0/30, storage.DailyQuantity, 1e-9, "a month has 30 days")
	require.InDelta(t, 0.1, storage.Daily, 1e-9)
	require.Zero(t, storage.Baseline)
	require.InDelta(t, 0.2, item(c, "Storage in OSS").Daily, 1e-9)
	require.InDelta(t, 0.510, item(c, "Writing requests to S3").BaselineQuantity, 1e-9, "467.4 + 34 + 8")
	require.InDelta(t, 0.862, item(c, "Reading requests to S3").BaselineQuantity, 1e-9, "360 + 467.4 + 34")
	require.InDelta(t, 0.502, item(c, "Writing requests to OSS").BaselineQuantity, 1e-9, "467.4 + 34")
	require.InDelta(t, 0.502, item(c, "Reading requests to OSS").BaselineQuantity, 1e-9)
	require.Zero(t, item(c, "Traffic from OSS").Baseline)
	// 100 + 0.510*5 + 0.862*0.5 + 0.502*2 + 0.502*0.25
	require.InDelta(t, 104.1105, c.Baseline, 1e-9)
	require.InDelta(t, 0.3, c.Daily, 1e-9)
	require.InDelta(t, 107.1105, c.Total, 1e-9)

	// 96 rounds of at most 10 MiB a day are 0.9375 GiB. Five days of it are kept on the average of ten.
	// That a round may take two hours makes it no cheaper.
	check.Written = &Written{
		Indexed: 1, Millis: 900_000, NewBytes: 8 << 20, MergedBytes: 2 << 20, Shards: 2, Indices: 1,
	}
	check.Round = &RoundForecast{
		IntervalMillis: 890_000, Least: RoundEstimate{Millis: 10_000},
		Most: RoundEstimate{Bytes: 10 << 20, Millis: 7_200_000},
	}
	c = prices.Costs(check)
	require.Empty(t, c.NoRounds)
	require.InDelta(t, 0.9375, item(c, "Traffic from S3").DailyQuantity, 1e-9)
	require.InDelta(t, 9.375, item(c, "Traffic from S3").Daily, 1e-9)
	require.InDelta(t, (10+5*0.9375)/30, item(c, "Storage in S3").DailyQuantity, 1e-9)
	// A round: 2*(10*4 + 18) = 116 blobs, 0.105 parts, 2*2 + 1 + 4 + 20 lists; 96 of them.
	require.InDelta(t, 13.931, item(c, "Writing requests to OSS").DailyQuantity, 1e-9, "96 * 145.105 = 13,930.1")
	require.InDelta(t, c.Baseline+10*c.Daily, c.Total, 1e-9)

	// All rounds of a day copy no more than what is written in it.
	check.Round.Most.Bytes = 90 << 20
	require.InDelta(t, 0.9375, item(prices.Costs(check), "Traffic from S3").DailyQuantity, 1e-9)
	check.Round.Most.Bytes = 10 << 20

	// Nobody could count the segments: 4*30 with 18 files each are 2,160 blobs.
	unknown := check
	unknown.Segments = 0
	require.InDelta(t, 2.302, item(prices.Costs(unknown), "Writing requests to OSS").BaselineQuantity, 1e-9,
		"2160 + 107.4 + 34")

	// The probe's files tell how many a segment has: 30 of 5 segments.
	check.Probed, check.ProbeSegments = &Probed{Blobs: 30}, 5
	c = prices.Costs(check)
	require.InDelta(t, 0.262, item(c, "Writing requests to OSS").BaselineQuantity, 1e-9, "20*6 + 107.4 + 34")

	check.Round, check.Written = nil, &Written{Millis: 1}
	c = prices.Costs(check)
	require.Equal(t, "nothing was written on the source while it was watched", c.NoRounds)
	require.Zero(t, item(c, "Traffic from S3").Daily)
}
