package migration

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Duration is a time.Duration that reads and prints like "30s" or "1h30m" in plans, statuses and
// reports. A bare JSON number is refused: nobody means nanoseconds when they write 30.
type Duration time.Duration

// Std is the value as a time.Duration.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String prints the shortest form that parses back, such as "15m" or "1h30m".
func (d Duration) String() string {
	text := time.Duration(d).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// MarshalJSON prints the duration as a string.
func (d Duration) MarshalJSON() ([]byte, error) { return []byte(strconv.Quote(d.String())), nil }

// UnmarshalJSON reads a string such as "30s".
func (d *Duration) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return fmt.Errorf("%s is not a duration: write a string with a unit, such as \"30s\" or \"15m\"", data)
	}
	parsed, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("%q is not a duration: write a number with a unit, such as \"30s\" or \"15m\"", text)
	}
	*d = Duration(parsed)
	return nil
}
