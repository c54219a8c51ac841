package elastic

import (
	"context"
	"math"
	"strconv"
	"strings"

	"github.com/elastic/go-elasticsearch/v7/esapi"
)

const (
	diskThreshold = "cluster.routing.allocation.disk.threshold_enabled"
	lowWatermark  = "cluster.routing.allocation.disk.watermark.low"
	lowHeadroom   = lowWatermark + ".max_headroom" // from 8.5 on
	defaultLow    = "85%"
)

// Watermark is how full the disk of a data node may be before the cluster gives it no more shards.
type Watermark struct {
	// Low is cluster.routing.allocation.disk.watermark.low: the part that may be used, such as 85%,
	// or what must stay free, such as 100gb. It is empty if the cluster looks at no disk.
	Low string
	// Headroom bounds what a percentage keeps free; empty if nothing does.
	Headroom string
}

// LowWatermark reads it. A service that hides the cluster's settings counts as one with the default.
func (c *Client) LowWatermark(ctx context.Context) (Watermark, error) {
	var answer struct {
		Persistent flatSettings `json:"persistent"`
		Transient  flatSettings `json:"transient"`
		Defaults   flatSettings `json:"defaults"` // and what stands in the nodes' configuration
	}
	err := c.do(ctx, call{operation: "read cluster settings"},
		esapi.ClusterGetSettingsRequest{FlatSettings: ptr(true), IncludeDefaults: ptr(true)}, &answer)
	if err != nil && !hidden(err) {
		return Watermark{}, err
	}
	setting := func(name string) string {
		for _, kind := range []flatSettings{answer.Transient, answer.Persistent, answer.Defaults} {
			if value, set := kind[name]; set {
				return value
			}
		}
		return ""
	}
	if setting(diskThreshold) == "false" {
		return Watermark{}, nil
	}
	w := Watermark{Low: setting(lowWatermark), Headroom: setting(lowHeadroom)}
	if w.Low == "" {
		w.Low = defaultLow
	}
	return w, nil
}

// Full counts the data nodes that get no more shards.
func (w Watermark) Full(disk Disk) (nodes int) {
	for _, room := range disk.Rooms {
		if float64(room.Available) < w.keepsFree(float64(room.Total)) {
			nodes++
		}
	}
	return nodes
}

// Room is how many bytes the data nodes can still take together before they get no more shards.
func (w Watermark) Room(disk Disk) int64 {
	var bytes float64
	for _, room := range disk.Rooms {
		bytes += math.Max(0, float64(room.Available)-w.keepsFree(float64(room.Total)))
	}
	return int64(bytes)
}

// keepsFree is how many bytes of a disk must stay free; 0 if the watermark can't be read.
func (w Watermark) keepsFree(total float64) float64 {
	if free, ok := sizeOf(w.Low); ok {
		return free
	}
	number, percent := strings.CutSuffix(w.Low, "%")
	used, err := strconv.ParseFloat(number, 64)
	if percent {
		used /= 100
	}
	if err != nil || used < 0 || used > 1 {
		return 0
	}
	free := (1 - used) * total
	if headroom, ok := sizeOf(w.Headroom); ok && headroom > 0 {
		free = math.Min(free, headroom)
	}
	return free
}

// sizeOf reads a number of bytes as Elasticsearch writes it; false if it is none.
func sizeOf(text string) (float64, bool) {
	text = strings.ToLower(strings.TrimSpace(text))
	for i, unit := range []string{"pb", "tb", "gb", "mb", "kb", "b"} { // b last: all end with it
		number, found := strings.CutSuffix(text, unit)
		if !found {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		return n * math.Pow(1024, float64(5-i)), err == nil && n >= 0
	}
	return 0, false
}
