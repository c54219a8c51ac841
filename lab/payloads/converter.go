// Package payloads holds tests to the size that a payload in Temporal may have. [Converter] is for
// the SDK's test environments. [Proxy] is for tests whose workers and starters are processes of
// their own, which no data converter of a test reaches.
package payloads

import (
	"fmt"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
)

// Largest is how large a payload may be, in bytes. A server warns above that, and terminates the
// workflow above 2 MiB.
const Largest = 256 << 10

// Converter is the SDK's data converter. It reports each payload above the limit, made or read,
// with the type of its value, and refuses it. report is called from any goroutine.
func Converter(report func(problem string)) converter.DataConverter {
	return limited{converter.GetDefaultDataConverter(), report}
}

type limited struct {
	converter.DataConverter

	report func(problem string)
}

func (l limited) check(payload *commonpb.Payload, value any) error {
	if size := len(payload.GetData()); size > Largest {
		problem := fmt.Sprintf("a payload of %d bytes (%T): at most %d are possible", size, value, Largest)
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
