package migration

import (
	"encoding/json"
	"fmt"
	"math/bits"
	"regexp"
	"strconv"
	"strings"
)

// ByteRate is a number of bytes per second that reads and prints like "50MB/s" or "1GiB/s". Zero is
// no limit, printed as "none".
type ByteRate int64

var (
	rateText  = regexp.MustCompile(`^([0-9]{1,9}) ?([kKMG]i?)?B/s$`)
	rateUnits = []struct {
		name  string
		bytes int64
	}{{"GB", 1e9}, {"GiB", 1 << 30}, {"MB", 1e6}, {"MiB", 1 << 20}, {"kB", 1e3}, {"KiB", 1 << 10}, {"B", 1}}
)

// ParseByteRate reads what String prints.
func ParseByteRate(text string) (ByteRate, error) {
	if text == "none" {
		return 0, nil
	}
	wrong := fmt.Errorf("%.100q is not a rate: write a number with a unit, such as \"50MB/s\" or \"100MiB/s\", or "+
		"\"none\"", text)
	m := rateText.FindStringSubmatch(text)
	if m == nil {
		return 0, wrong
	}
	number, err := strconv.ParseUint(m[1], 10, 64)
	if err != nil || number == 0 {
		return 0, wrong
	}
	for _, unit := range rateUnits {
		if strings.EqualFold(unit.name, m[2]+"B") {
			if high, low := bits.Mul64(number, uint64(unit.bytes)); high == 0 && low < 1<<62 {
				return ByteRate(low), nil
			}
		}
	}
	return 0, wrong
}

// Bytes is the rate in bytes per second, 0 if there is no limit.
func (r ByteRate) Bytes() int64 { return int64(r) }

// String prints the largest unit that gives a whole number.
func (r ByteRate) String() string {
	if r <= 0 {
		return "none"
	}
	for _, unit := range rateUnits {
		if int64(r)%unit.bytes == 0 {
			return fmt.Sprintf("%d%s/s", int64(r)/unit.bytes, unit.name)
		}
	}
	return fmt.Sprintf("%dB/s", int64(r))
}

// MarshalJSON prints the rate as a string.
func (r ByteRate) MarshalJSON() ([]byte, error) { return []byte(strconv.Quote(r.String())), nil }

// UnmarshalJSON reads a string such as "50MB/s".
func (r *ByteRate) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return fmt.Errorf("%.100s is not a rate: write a string with a unit, such as \"50MB/s\"", data)
	}
	parsed, err := ParseByteRate(text)
	*r = parsed
	return err
}
