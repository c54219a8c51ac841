package migration

import "math"

// Costs are what a migration adds to the bills of both clouds, as far as a price table and a check can
// tell.
type Costs struct {
	Currency string `json:"currency"`
	// Days is how long the copies are kept. There are rounds on each of them.
	Days  int        `json:"days"`
	Items []CostItem `json:"items"`
	// Baseline comes once, Daily each day, Total is both in all days.
	Baseline float64 `json:"baseline"`
	Daily    float64 `json:"daily"`
	Total    float64 `json:"total"`
	// NoRounds says why no rounds are in it; empty if they are.
	NoRounds string `json:"noRounds,omitempty"`
}

// CostItem is one line of a bill. Each amount is a quantity times the price.
type CostItem struct {
	Item  string  `json:"item"`
	Unit  string  `json:"unit"`
	Price float64 `json:"price"`

	BaselineQuantity float64 `json:"baselineQuantity"`
	Baseline         float64 `json:"baseline"`
	DailyQuantity    float64 `json:"dailyQuantity"`
	Daily            float64 `json:"daily"`
}

// The units of a bill.
const (
	// gigabyte is what both clouds call a GB: Amazon's examples divide by it.
	gigabyte = 1 << 30
	// daysOfMonth are those by which OSS divides the price of a month. S3 divides by those of the
	// calendar.
	daysOfMonth = 30

	UnitGB       = "GB"
	UnitGBMonth  = "GB-month"
	UnitRequests = "thousand"
)

// What requests are counted by.
const (
	// filesOfSegment is how many files a segment has at most, about: Lucene's formats have 14 to 18.
	filesOfSegment = 18
	// newSegments is how many small segments a round finds new in a shard that was written: Lucene
	// merges ten of about the same size (TieredMergePolicy: segmentsPerTier). A small one has four
	// files (compound: cfs, cfe and si; and liv). One more comes of a merge.
	newSegments, filesOfSmallSegment = 10, 4
	// unknownSegments is how many a shard has if nobody could count them: Lucene's policy keeps about
	// ten of each size.
	unknownSegments = 30
	// partBytes is from which size on Elasticsearch puts a file in parts (repository-s3: buffer_size).
	partBytes = 100_000_000
	// ownRequests are those that a round has beside what it copies: for its lists, its transcript, and to
	// look at the buckets.
	ownRequests = 20
)

// requests are those that a round causes.
type requests struct{ s3Writes, s3Reads, ossWrites, ossReads float64 }

// requestsFor are those for so many blobs and bytes of so many shards and indices. Each shard has two
// lists, each index its metadata, and the root four objects.
func requestsFor(blobs, bytes float64, shards, indices int) requests {
	data := blobs + bytes/partBytes
	lists := float64(2*shards + indices + 4 + ownRequests)
	return requests{
		// The snapshot and the copy each list every shard's folder.
		s3Writes: data + lists + float64(2*shards),
		// Before it puts a blob, Elasticsearch asks whether it is there; then the copy gets it.
		s3Reads:   blobs + data + lists,
		ossWrites: data + lists,
		ossReads:  data + lists,
	}
}

// times are the requests of so many rounds.
func (r requests) times(n float64) requests {
	return requests{r.s3Writes * n, r.s3Reads * n, r.ossWrites * n, r.ossReads * n}
}

// blobsPerSegment is how many files a segment of the plan has: as many as in the probe.
func (r CheckReport) blobsPerSegment() float64 {
	if r.Probed != nil && r.Probed.Blobs > 0 && r.ProbeSegments > 0 {
		return float64(r.Probed.Blobs) / float64(r.ProbeSegments)
	}
	return filesOfSegment
}

// Costs are what this migration costs: rather too much than too little. The rounds count with the
// most that they may copy.
func (p Prices) Costs(r CheckReport) Costs {
	c := Costs{Currency: p.Currency, Days: p.Days}
	perSegment, segments := r.blobsPerSegment(), r.Segments
	if segments == 0 {
		segments = unknownSegments * int64(r.Shards)
	}
	baseline := requestsFor(float64(segments)*perSegment, float64(r.Bytes), r.Shards, r.Indices)

	var daily requests
	var dailyBytes float64
	switch round := r.Round; {
	case round != nil:
		const day = 24 * 60 * 60 * 1000
		// The shorter a round takes, the more there are. They copy no more than what is written.
		rounds := day / float64(max(round.IntervalMillis+round.Least.Millis, 1))
		written := day * float64(r.Written.NewBytes+r.Written.MergedBytes) / float64(max(r.Written.Millis, 1))
		dailyBytes = min(rounds*float64(round.Most.Bytes), written)
		blobs := float64(r.Written.Shards) * (newSegments*filesOfSmallSegment + perSegment)
		daily = requestsFor(blobs, float64(round.Most.Bytes), r.Written.Shards, r.Written.Indices).times(rounds)
	case r.Written != nil:
		c.NoRounds = "nothing was written on the source while it was watched"
	default:
		c.NoRounds = "what is written on the source is not known"
	}
	bytes := float64(r.Bytes)
	// What each day's rounds add is kept for half of the days, on the average.
	kept := (bytes + dailyBytes*float64(p.Days)/2) / gigabyte / daysOfMonth

	add := func(item, unit string, price, baseline, daily float64) {
		c.Items = append(c.Items, CostItem{
			Item: item, Unit: unit, Price: price,
			BaselineQuantity: baseline, Baseline: baseline * price, DailyQuantity: daily, Daily: daily * price,
		})
	}
	thousand := func(n float64) float64 { return math.Ceil(n) / 1000 }
	add("Storage in S3", UnitGBMonth, p.S3.Storage, 0, kept)
	add("Writing requests to S3", UnitRequests, p.S3.Writes, thousand(baseline.s3Writes), thousand(daily.s3Writes))
	add("Reading requests to S3", UnitRequests, p.S3.Reads, thousand(baseline.s3Reads), thousand(daily.s3Reads))
	add("Traffic from S3", UnitGB, p.S3.Traffic, bytes/gigabyte, dailyBytes/gigabyte)
	add("Storage in OSS", UnitGBMonth, p.OSS.Storage, 0, kept)
	add("Writing requests to OSS", UnitRequests, p.OSS.Writes, thousand(baseline.ossWrites), thousand(daily.ossWrites))
	add("Reading requests to OSS", UnitRequests, p.OSS.Reads, thousand(baseline.ossReads), thousand(daily.ossReads))
	add("Traffic from OSS", UnitGB, p.OSS.Traffic, bytes/gigabyte, dailyBytes/gigabyte)
	for _, item := range c.Items {
		c.Baseline, c.Daily = c.Baseline+item.Baseline, c.Daily+item.Daily
	}
	c.Total = c.Baseline + c.Daily*float64(p.Days)
	return c
}
