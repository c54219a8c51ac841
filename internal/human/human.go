// Package human prints numbers as a person reads them: spans of time, sizes, counts, rates, clock
// times and tables. It is the only place that formats them, so that a size or a span looks the same
// in a status, a report, a warning and on a terminal.
//
// Everything is a pure function of its arguments, so workflow code may call it. Sizes are binary
// (MiB), because Elasticsearch counts so; limits on a rate are decimal (MB/s), because plans and
// network providers write them so.
package human

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"
)

// Span prints milliseconds as a person would say them: 230ms, 12.3s, 3m12s, 2h5m, 2d3h.
func Span(millis int64) string {
	d := time.Duration(millis) * time.Millisecond
	switch {
	case d < 0:
		return "-" + Span(-millis)
	case d < time.Second:
		return d.String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return withoutZeros(d.Round(time.Second))
	case d < 48*time.Hour:
		return withoutZeros(d.Round(time.Minute))
	}
	const day = 24 * time.Hour
	return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
}

// withoutZeros leaves out the zeros at the end: 4m0s is 4m.
func withoutZeros(d time.Duration) string {
	text := d.String()
	if minutes, ok := strings.CutSuffix(text, "m0s"); ok {
		text = minutes + "m"
	}
	if hours, ok := strings.CutSuffix(text, "h0m"); ok {
		text = hours + "h"
	}
	return text
}

// Size prints bytes in binary units, such as 512 MiB; a negative number, which means unknown, is
// "?".
func Size(bytes int64) string {
	if bytes < 0 {
		return "?"
	}
	return humanize.IBytes(uint64(bytes))
}

// Count prints a number with separators: 1,000.
func Count(n int64) string { return humanize.Comma(n) }

// Amount prints an amount of money, or another number with a fraction: 1,234.50. What is more than
// nothing is never printed as nothing.
func Amount(amount float64) string {
	const least = 0.01
	switch {
	case amount == 0:
		return "0"
	case amount > 0 && amount < least:
		return "<0.01"
	}
	return humanize.FormatFloat("#,###.##", amount)
}

// Things prints a number and what it counts: 1 index, 1,000 indices.
func Things(n int, one, many string) string {
	return Count(int64(n)) + " " + english.PluralWord(n, one, many)
}

// Rate prints how many bytes per second went over in so many milliseconds, in binary units; nothing
// if there were none.
func Rate(bytes, millis int64) string {
	if millis <= 0 || bytes <= 0 {
		return ""
	}
	return Size(int64(math.Round(float64(bytes)*1000/float64(millis)))) + "/s"
}

// DecimalRate prints bytes per second in the units in which people write a limit on them: 50 MB/s.
func DecimalRate(bytesPerSecond int64) string {
	return humanize.Bytes(uint64(max(bytesPerSecond, 0))) + "/s"
}

// Clock prints epoch milliseconds with the zone, so that a report that travels stays clear; nothing
// for 0, which means never.
func Clock(millis int64, zone *time.Location) string {
	if millis == 0 {
		return ""
	}
	return time.UnixMilli(millis).In(zone).Format("2006-01-02 15:04:05 MST")
}

// TimeOfDay prints a time without its day, for what is at most hours away: 15:04:05 UTC.
func TimeOfDay(at time.Time) string { return at.UTC().Format("15:04:05 UTC") }
