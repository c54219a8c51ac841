package report

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// Span prints milliseconds as a person would say them: 230ms, 12.3s, 3m12s,
// 2h5m.
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
		return short(d.Round(time.Second))
	case d < 48*time.Hour:
		return short(d.Round(time.Minute))
	}
	const day = 24 * time.Hour
	return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
}

// short leaves out the zeros at the end: 4m0s is 4m.
func short(d time.Duration) string {
	text := d.String()
	if whole, ok := strings.CutSuffix(text, "m0s"); ok {
		text = whole + "m"
	}
	if whole, ok := strings.CutSuffix(text, "h0m"); ok {
		text = whole + "h"
	}
	return text
}

// Size prints bytes in binary units.
func Size(bytes int64) string {
	if bytes < 0 {
		return "?"
	}
	return humanize.IBytes(uint64(bytes))
}

// Count prints a number with separators.
func Count(n int64) string { return humanize.Comma(n) }

// Rate prints bytes per second.
func Rate(bytes, millis int64) string {
	if millis <= 0 || bytes <= 0 {
		return ""
	}
	return Size(int64(math.Round(float64(bytes)*1000/float64(millis)))) + "/s"
}

// Clock prints epoch milliseconds with the zone, so that a report that travels
// stays clear.
func Clock(millis int64, zone *time.Location) string {
	if millis == 0 {
		return ""
	}
	return time.UnixMilli(millis).In(zone).Format("2006-01-02 15:04:05 MST")
}
