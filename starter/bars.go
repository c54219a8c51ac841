package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// bars is the screen of a terminal: lines about what has happened scroll by, and below them are a
// headline and one progress bar for each activity. The bars need a terminal's own sequences, so
// they write past the starter's VisibleWriter, and make each text visible themselves.
type bars struct {
	*app
	narrator narrator
	progress *mpb.Progress
	headline *mpb.Bar
	steps    map[string]*step

	mu   sync.Mutex // guards what the headline's renderer reads
	last view
}

// step is one of the bars.
type step struct {
	bar *mpb.Bar

	mu    sync.Mutex // guards what the bar's renderer reads
	shown row
}

// row is what a bar shows.
type row struct {
	name, text string
	// done of total; total is 0 if it is unknown.
	done, total int64
	// plain is a line without a bar.
	plain bool
}

func (s *step) set(r row) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shown = r
}

func (s *step) get() row {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shown
}

func newBars(a *app, options ...mpb.ContainerOption) *bars {
	b := &bars{app: a, narrator: narrator{app: a}, steps: map[string]*step{}}
	options = append([]mpb.ContainerOption{
		mpb.WithOutput(human.Raw(a.out)), mpb.WithRefreshRate(200 * time.Millisecond),
	}, options...)
	b.progress = mpb.New(options...)
	headline := decor.Any(func(decor.Statistics) string { return human.Line(b.headlineText()) })
	b.headline = b.progress.New(0, mpb.NopStyle(), mpb.PrependDecorators(headline))
	return b
}

func (b *bars) show(v view) {
	b.mu.Lock()
	b.last = v
	b.mu.Unlock()
	for _, line := range b.narrator.lines(v) {
		b.say(line)
	}
	present := map[string]bool{}
	put := func(id string, r row) {
		present[id] = true
		b.put(id, r)
	}
	for _, a := range v.others {
		done, total := measure(a.Progress)
		put("activity "+a.ID, row{name: a.Type, text: describeBar(a), done: done, total: total})
	}
	if c := v.copied; c != nil {
		done, total := c.measure()
		put("copy", row{name: "copy", text: withPercent(done, total, c.facts()), done: done, total: total})
		for i, line := range b.failingPages(c.failing) {
			put(fmt.Sprintf("failing %d", i), row{text: line, plain: true})
		}
	}
	for id, s := range b.steps {
		if !present[id] {
			s.bar.Abort(true)
			delete(b.steps, id)
		}
	}
}

func (b *bars) put(id string, r row) {
	s, ok := b.steps[id]
	if !ok {
		s = &step{}
		s.set(r)
		if r.plain {
			line := decor.Any(func(decor.Statistics) string { return "    " + human.Line(s.get().text) })
			s.bar = b.progress.New(0, mpb.NopStyle(), mpb.PrependDecorators(line))
		} else {
			s.bar = b.progress.New(0, mpb.BarStyle(), mpb.BarWidth(24),
				mpb.PrependDecorators(decor.Any(func(decor.Statistics) string {
					return "  " + human.Line(s.get().name) + " "
				}, decor.WCSyncSpaceR)),
				mpb.AppendDecorators(decor.Any(func(decor.Statistics) string {
					return " " + human.Line(s.get().text)
				})))
		}
		b.steps[id] = s
	}
	s.set(r)
	// A bar with a final total would count as complete at 100 %. The end of the step ends the bar.
	s.bar.SetTotal(r.total, false)
	s.bar.SetCurrent(min(r.done, r.total))
}

func withPercent(done, total int64, facts []string) string {
	if total > 0 {
		facts = append([]string{fmt.Sprintf("%d %%", 100*done/total)}, facts...)
	}
	return strings.Join(facts, "  ")
}

// describeBar is the text beside an activity's bar.
func describeBar(a activity) string {
	var parts []string
	if text := progressText(a.Progress); text != "" {
		parts = append(parts, text)
	}
	switch {
	case a.State == stateScheduled && a.Attempt > 1:
		parts = append(parts, "waits for its next attempt")
	case a.State == stateScheduled:
		parts = append(parts, "waits for a worker")
	}
	if a.Attempt > 1 {
		parts = append(parts, fmt.Sprintf("attempt %d", a.Attempt))
	}
	done, total := measure(a.Progress)
	return withPercent(done, total, parts)
}

// headlineText is the line above the bars. It is drawn several times a second, so its clock runs.
func (b *bars) headlineText() string {
	b.mu.Lock()
	v := b.last
	b.mu.Unlock()
	s := v.Status
	if s == nil {
		return "waiting for an answer ..."
	}
	now := b.now().UnixMilli()
	parts := []string{string(s.Phase) + " for " + seconds(now-s.PhaseSinceMillis)}
	switch {
	case s.Attention != nil:
		parts = append(parts, "NEEDS ATTENTION: starter retry, or abort")
	case s.Step != "":
		parts = append(parts, s.Step)
	case s.WaitsFor != "":
		parts = append(parts, "waits for "+s.WaitsFor)
	}
	if s.NextRoundMillis > now && s.Phase == migration.PhaseRounds && s.Step == "" && !s.Paused {
		parts = append(parts, "next round in "+seconds(s.NextRoundMillis-now))
	}
	if s.DownSinceMillis > 0 && s.Phase.Frozen() {
		parts = append(parts, "writers stopped for "+human.Span(now-s.DownSinceMillis))
	}
	if s.FrozenSinceMillis > 0 && s.Phase.Frozen() {
		parts = append(parts, "writes blocked for "+human.Span(now-s.FrozenSinceMillis))
	}
	return strings.Join(parts, "  |  ")
}

// say prints above the bars.
func (b *bars) say(line string) {
	// The bars may be closed already. Then nobody needs this line.
	text := fmt.Sprintf("%s  %s\n", b.now().In(b.zone).Format("15:04:05"), human.Visible(indented(line)))
	_, _ = io.WriteString(b.progress, b.fold(text))
}

func (b *bars) close() {
	for _, s := range b.steps {
		s.bar.Abort(true)
	}
	b.headline.Abort(true)
	b.progress.Wait()
}
