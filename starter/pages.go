package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// pagedCopy is a copy in pages: many activities, which people see as one step. It adds what the
// migration knows about the pages that have ended to the heartbeats of those that run.
type pagedCopy struct {
	// CopyProgress has no totals while no worker answers for the migration, unless a watch
	// remembers them.
	migration.CopyProgress
	// ended is the part of the pages that have ended.
	ended migration.CopyProgress
	// How many pages are in which state.
	running, waiting, retrying, stopping, paused int
	// rate is in bytes per second, negative if it is unknown.
	rate int64
	// lasting reports whether the rate allows a forecast.
	lasting bool
	limit   migration.ByteRate
	// failing are the pages after their first attempt, those with the most attempts first.
	failing []activity
}

func (a activity) isPage() bool { return a.Type == migration.ActivityCopyPage }

// steps are the activities, with all that copy pages as one copy. The copy is nil if no delta is
// copied in pages now.
func (v view) steps() (others []activity, copied *pagedCopy) {
	var pages []activity
	for _, a := range v.Execution.Activities {
		if a.isPage() {
			pages = append(pages, a)
		} else {
			others = append(others, a)
		}
	}
	known := v.Status != nil && v.Copy != nil
	if len(pages) == 0 && (!known || v.Copy.PagesDone == v.Copy.PagesTotal) {
		return others, nil
	}
	copied = &pagedCopy{rate: -1}
	if v.Status != nil {
		copied.limit, _ = limitOf(*v.Status)
	}
	if known {
		copied.add(*v.Copy)
	}
	copied.sumUp(pages)
	return others, copied
}

// add counts the pages that have ended.
func (c *pagedCopy) add(ended migration.CopyProgress) {
	c.ended = ended
	ended.BlobsDone += c.BlobsDone
	ended.BytesDone += c.BytesDone
	c.CopyProgress = ended
}

// clamp limits what is done to what there is to do, whatever heartbeats say.
func (c *pagedCopy) clamp() {
	if c.PagesTotal > 0 {
		c.BlobsDone, c.BytesDone = min(c.BlobsDone, c.BlobsTotal), min(c.BytesDone, c.BytesTotal)
	}
}

func (c *pagedCopy) sumUp(pages []activity) {
	var bytes, millis int64
	for _, a := range pages {
		switch {
		case a.State == statePaused:
			c.paused++
		case a.State == stateCancelRequested:
			c.stopping++
		case a.State == stateStarted:
			c.running++
		case a.Attempt > 1:
			c.retrying++
		default:
			c.waiting++
		}
		if a.Attempt > 1 {
			c.failing = append(c.failing, a)
		}
		if a.Progress == nil {
			continue
		}
		c.BlobsDone += a.Progress.BlobsDone
		c.BytesDone += a.Progress.BytesDone
		if a.State == stateStarted && a.HeartbeatMillis > a.StartedMillis {
			bytes += a.Progress.BytesDone
			millis += a.HeartbeatMillis - a.StartedMillis
		}
	}
	c.clamp()
	// The average of a page, times the number that run. That is all that a single look can tell,
	// and it needs something to average.
	if millis >= 10_000 && bytes >= 1<<20 {
		c.rate, c.lasting = int64(float64(bytes)/float64(millis)*1000*float64(c.running)), true
	}
	slices.SortFunc(c.failing, func(a, b activity) int {
		return cmp.Or(cmp.Compare(b.Attempt, a.Attempt), cmp.Compare(len(a.ID), len(b.ID)), cmp.Compare(a.ID, b.ID))
	})
}

// measure is the progress for a bar. total is 0 if it is unknown.
func (c *pagedCopy) measure() (done, total int64) {
	if c.BytesTotal > 0 {
		return c.BytesDone, c.BytesTotal
	}
	return c.BlobsDone, c.BlobsTotal
}

// facts are all parts of the line about a copy, the most useful first, since a terminal may be
// narrow.
func (c *pagedCopy) facts() []string {
	progress := migration.Progress{BytesDone: c.BytesDone, BytesTotal: c.BytesTotal}
	facts := []string{progressText(&progress)}
	if c.BytesTotal == 0 && c.BytesDone == 0 {
		facts = nil
	}
	if c.rate >= 0 {
		rate := human.DecimalRate(c.rate) // decimal, as limits are
		if c.limit > 0 {
			rate += fmt.Sprintf(" (limit %s)", c.limit)
		}
		facts = append(facts, rate)
	}
	if c.rate > 0 && c.lasting {
		if left := c.BytesTotal - c.BytesDone; left > 0 {
			facts = append(facts, seconds(int64(float64(left)/float64(c.rate)*1000))+" left")
		}
	}
	if c.PagesTotal > 0 {
		facts = append(facts,
			fmt.Sprintf("%s of %s pages", human.Count(int64(c.PagesDone)), human.Count(int64(c.PagesTotal))))
	}
	if c.BlobsTotal > 0 || c.BlobsDone > 0 {
		facts = append(facts, progressText(&migration.Progress{BlobsDone: c.BlobsDone, BlobsTotal: c.BlobsTotal}))
	}
	for _, of := range []struct {
		pages int
		how   string
	}{
		{c.running, "running"},
		{c.waiting, "waiting for a free worker"},
		{c.retrying, "waiting for the next attempt"},
		{c.stopping, "being stopped"},
		{c.paused, "paused by an operator of Temporal"},
	} {
		if of.pages > 0 {
			facts = append(facts, fmt.Sprintf("%d %s", of.pages, of.how))
		}
	}
	return facts
}

func (c *pagedCopy) line() string { return "copy: " + strings.Join(c.facts(), ", ") }

// shownFailing is how many failing pages get a line of their own.
const shownFailing = 3

// failingPages are lines about pages after their first attempt.
func (a *app) failingPages(pages []activity) []string {
	var lines []string
	for i, page := range pages {
		if i == shownFailing {
			lines = append(lines, fmt.Sprintf("and %d more", len(pages)-i))
			break
		}
		lines = append(lines, a.failingPage(page))
	}
	return lines
}

// failingPage names a page by its activity's id, which the Temporal UI shows too.
func (a *app) failingPage(page activity) string {
	text := fmt.Sprintf("page in activity %s: attempt %d", page.ID, page.Attempt)
	if page.State == stateScheduled && page.NextAttemptMillis > 0 {
		text += " at " + a.clock(page.NextAttemptMillis)
	}
	if page.Worker != "" {
		text += ", worker " + page.Worker
	}
	if page.LastFailure != "" {
		text += "; last failure: " + oneLine(page.LastFailure)
	}
	return text
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// rateWindow is the time over which a rate is measured: several heartbeats of each page.
const rateWindow = 15 * time.Second

// meter measures the rate of a copy from one look to the next.
type meter struct {
	ended   migration.CopyProgress
	done    int64 // bytes
	moved   int64 // bytes since the first look; a page that begins again subtracts nothing
	samples []sample
}

type sample struct {
	at    time.Time
	moved int64
}

// measure replaces the copy's estimated rate by the rate over the last seconds. While no worker
// answers, it uses the totals that the migration told last.
func (m *meter) measure(now time.Time, c *pagedCopy) {
	if c == nil || c.PagesTotal > 0 && (m.ended.BytesTotal != c.BytesTotal || m.ended.PagesTotal != c.PagesTotal) {
		*m = meter{}
	}
	switch {
	case c == nil:
		return
	case c.PagesTotal > 0:
		m.ended = c.ended
	case m.ended.PagesTotal > 0:
		c.add(m.ended)
		c.clamp()
	default:
		return
	}
	if len(m.samples) > 0 {
		m.moved += max(c.BytesDone-m.done, 0)
	}
	m.done = c.BytesDone
	c.rate, c.lasting = -1, false
	m.samples = append(m.samples, sample{now, m.moved})
	for len(m.samples) > 2 && now.Sub(m.samples[1].at) >= rateWindow {
		m.samples = m.samples[1:]
	}
	first := m.samples[0]
	if took := now.Sub(first.at); took >= rateWindow/3 {
		c.rate, c.lasting = int64(float64(m.moved-first.moved)/took.Seconds()), took >= rateWindow
	}
}
