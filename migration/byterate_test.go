package migration_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

func TestRate(t *testing.T) {
	for text, want := range map[string]int64{
		"50MB/s": 50e6, "100MiB/s": 100 << 20, "1 GiB/s": 1 << 30, "1GB/s": 1e9, "64KiB/s": 64 << 10, "64kB/s": 64e3,
		"64KB/s": 64e3, "7B/s": 7, "none": 0,
	} {
		rate, err := migration.ParseByteRate(text)
		require.NoError(t, err, text)
		require.Equal(t, want, rate.Bytes(), text)
		again, err := migration.ParseByteRate(rate.String())
		require.NoError(t, err, "%s prints as %s", text, rate)
		require.Equal(t, rate, again)
		data, err := json.Marshal(rate)
		require.NoError(t, err)
		var back migration.ByteRate
		require.NoError(t, json.Unmarshal(data, &back))
		require.Equal(t, rate, back)
	}
	require.Equal(t, "50MB/s", migration.ByteRate(50e6).String())
	require.Equal(t, "1536KiB/s", migration.ByteRate(1536<<10).String())
	for _, text := range []string{
		"", "50", "50MB", "50MBit/s", "0MB/s", "-1MB/s", "1.5MB/s", "50 MB", "1234567890B/s",
		"MB/s",
	} {
		_, err := migration.ParseByteRate(text)
		require.ErrorContains(t, err, "is not a rate", text)
		require.ErrorContains(t, err, "50MB/s", text)
	}
	require.Error(t, new(migration.ByteRate).UnmarshalJSON([]byte("50")))
}

func TestBandwidthInput(t *testing.T) {
	read := func(text string) migration.BandwidthInput {
		var in migration.BandwidthInput
		require.NoError(t, json.Unmarshal([]byte(text), &in), text)
		return in
	}
	limit := func(r migration.ByteRate) *migration.ByteRate { return &r }
	require.Equal(t, migration.BandwidthInput{Limit: limit(50e6)}, read(`"50MB/s"`))
	require.Equal(t, migration.BandwidthInput{Limit: limit(0)}, read(`"none"`))
	require.Equal(t, migration.BandwidthInput{Limit: limit(50e6), By: "ann", Reason: "office hours"},
		read(`{"limit": "50MB/s", "by": "ann", "reason": "office hours"}`))
	require.Empty(t, read(`"none"`).Problem())
	require.Contains(t, migration.BandwidthInput{}.Problem(), "names no limit")
	for text, problem := range map[string]string{
		`"fast"`: "is not a rate", `50`: "cannot unmarshal", `{"limit": "fast"}`: "is not a rate",
		`{"limt": "50MB/s"}`: "unknown field", `{}`: "names no limit", `{"by": "ann"}`: "names no limit",
		`null`: "names no limit", `[]`: "cannot unmarshal",
	} {
		in := read(text)
		require.Contains(t, in.Problem(), problem, text)
		require.Nil(t, in.Limit, text)
	}
}
