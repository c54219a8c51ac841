package workflows

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/testsuite"
)

// newEnvironment is Temporal's test environment, in which no payload may be too large.
func newEnvironment(t *testing.T) *testsuite.TestWorkflowEnvironment {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	env := suite.NewTestWorkflowEnvironment()
	env.SetTestTimeout(slowest)
	env.SetDataConverter(limitedPayloads(func(problem string) { t.Error(problem) }))
	return env
}

// largestPayload is how large a payload may be, in bytes. A server warns above that, and terminates
// the workflow above 2 MiB.
const largestPayload = 256 << 10

// limitedPayloads is the SDK's data converter. It reports each payload above the limit, made or
// read, with the type of its value, and refuses it. report is called from any goroutine.
func limitedPayloads(report func(problem string)) converter.DataConverter {
	return limited{converter.GetDefaultDataConverter(), report}
}

type limited struct {
	converter.DataConverter
	report func(problem string)
}

func (l limited) check(payload *commonpb.Payload, value any) error {
	if size := len(payload.GetData()); size > largestPayload {
		problem := fmt.Sprintf("a payload of %d bytes (%T): at most %d are possible", size, value, largestPayload)
		l.report(problem)
		return fmt.Errorf("%s", problem)
	}
	return nil
}

// ToPayload implements [converter.DataConverter].
func (l limited) ToPayload(value any) (*commonpb.Payload, error) {
	payload, err := l.DataConverter.ToPayload(value)
	if err == nil {
		err = l.check(payload, value)
	}
	return payload, err
}

// ToPayloads implements [converter.DataConverter].
func (l limited) ToPayloads(values ...any) (*commonpb.Payloads, error) {
	payloads, err := l.DataConverter.ToPayloads(values...)
	for i, payload := range payloads.GetPayloads() {
		if failure := l.check(payload, values[i]); failure != nil {
			return nil, failure
		}
	}
	return payloads, err
}

// FromPayload implements [converter.DataConverter].
func (l limited) FromPayload(payload *commonpb.Payload, value any) error {
	if err := l.check(payload, value); err != nil {
		return err
	}
	return l.DataConverter.FromPayload(payload, value)
}

// FromPayloads implements [converter.DataConverter].
func (l limited) FromPayloads(payloads *commonpb.Payloads, values ...any) error {
	for i, payload := range payloads.GetPayloads() {
		if i < len(values) {
			if err := l.check(payload, values[i]); err != nil {
				return err
			}
		}
	}
	return l.DataConverter.FromPayloads(payloads, values...)
}

func TestPayloadsAboveTheLimitAreReportedAndRefused(t *testing.T) {
	var problems []string
	limited := limitedPayloads(func(problem string) { problems = append(problems, problem) })
	small, large := strings.Repeat("x", largestPayload-2), strings.Repeat("x", largestPayload-1) // with quotes

	payloads, err := limited.ToPayloads(7, small)
	require.NoError(t, err)
	var number int
	var text string
	require.NoError(t, limited.FromPayloads(payloads, &number, &text))
	require.Equal(t, small, text)
	payload, err := limited.ToPayload(small)
	require.NoError(t, err)
	require.NoError(t, limited.FromPayload(payload, &text))
	require.Empty(t, problems)

	_, err = limited.ToPayload(large)
	require.ErrorContains(t, err, "262145 bytes (string)")
	_, err = limited.ToPayloads(7, large)
	require.Error(t, err)
	payloads, err = converter.GetDefaultDataConverter().ToPayloads(7, large)
	require.NoError(t, err)
	require.Error(t, limited.FromPayloads(payloads, &number, &text))
	require.Error(t, limited.FromPayload(payloads.GetPayloads()[1], &text))
	require.Len(t, problems, 4)
}
