package payloads

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/converter"
)

func TestPayloadsAboveTheLimitAreReportedAndRefused(t *testing.T) {
	var problems []string
	limited := Converter(func(problem string) { problems = append(problems, problem) })

	payloads, err := limited.ToPayloads(7, largest)
	require.NoError(t, err)
	var number int
	var text string
	require.NoError(t, limited.FromPayloads(payloads, &number, &text))
	require.Equal(t, largest, text)
	payload, err := limited.ToPayload(largest)
	require.NoError(t, err)
	require.NoError(t, limited.FromPayload(payload, &text))
	require.Empty(t, problems)

	_, err = limited.ToPayload(tooLarge)
	require.ErrorContains(t, err, "262145 bytes (string)")
	_, err = limited.ToPayloads(7, tooLarge)
	require.Error(t, err)
	payloads, err = converter.GetDefaultDataConverter().ToPayloads(7, tooLarge)
	require.NoError(t, err)
	require.Error(t, limited.FromPayloads(payloads, &number, &text))
	require.Error(t, limited.FromPayload(payloads.GetPayloads()[1], &text))
	require.Len(t, problems, 4)
}
