package main

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/snapferry/snapferry/internal/report"
	"github.com/snapferry/snapferry/migration"
)

// bars is the screen of a terminal: lines about what has happened scroll by
// above, below them stand a headline and one progress bar for each activity.
type bars struct {
	*app
	narrator narrator
	progress *mpb.Progress
	headline *mpb.Bar
	steps    map[string]*step

	mu   sync.Mutex // guards what the headline's renderer reads
	last view
}

// step is the bar of one activity.
type step struct {
	bar *mpb.Bar

	mu sync.Mutex // guards what the bar's renderer reads
	a  activity
}

func (s *step) set(a activity) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.a = a
}

func (s *step) get() activity {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.a
}

func newBars(a *app, options ...mpb.ContainerOption) *bars {
	b := &bars{app: a, narrator: narrator{app: a}, steps: map[string]*step{}}
	options = append([]mpb.ContainerOption{mpb.WithOutput(a.out), mpb.WithRefreshRate(200 * time.Millisecond)}, options...)
	b.progress = mpb.New(options...)
	b.headline = b.progress.New(0, mpb.NopStyle(), mpb.PrependDecorators(decor.Any(func(decor.Statistics) string { return b.headlineText() })))
	return b
}

func (b *bars) show(v view) {
	b.mu.Lock()
	b.last = v
	b.mu.Unlock()
	for _, line := range b.narrator.lines(v) {
		b.say(line)
	}
	pending := map[string]bool{}
	for _, a := range v.Execution.Activities {
		pending[a.ID] = true
		b.step(a)
	}
	for id, s := range b.steps {
		if !pending[id] {
			s.bar.Abort(true)
			delete(b.steps, id)
		}
	}
}

func (b *bars) step(a activity) {
	s, ok := b.steps[a.ID]
	if !ok {
		s = &step{a: a}
		s.bar = b.progress.New(0, mpb.BarStyle(), mpb.BarWidth(24),
			mpb.PrependDecorators(decor.Any(func(decor.Statistics) string { return "  " + s.get().Type + " " }, decor.WCSyncSpaceR)),
			mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return " " + s.text() })))
		b.steps[a.ID] = s
	}
	s.set(a)
	done, total := measure(a.Progress)
	// A bar whose total is final would be taken for complete at 100 %: it is the
	// end of the activity that ends it.
	s.bar.SetTotal(total, false)
	s.bar.SetCurrent(min(done, total))
}

func (s *step) text() string {
	a := s.get()
	var parts []string
	if done, total := measure(a.Progress); total > 0 {
		parts = append(parts, fmt.Sprintf("%d %%", 100*done/total))
	}
	if text := progressText(a.Progress); text != "" {
		parts = append(parts, text)
	}
	switch {
	case a.State == "scheduled" && a.Attempt > 1:
		parts = append(parts, "waits for its next attempt")
	case a.State == "scheduled":
		parts = append(parts, "waits for a worker")
	}
	if a.Attempt > 1 {
		parts = append(parts, fmt.Sprintf("attempt %d", a.Attempt))
	}
	return strings.Join(parts, "  ")
}

// headlineText is the line above the bars; it is drawn several times a second,
// so its clock runs.
func (b *bars) headlineText() string {
	b.mu.Lock()
	v := b.last
	b.mu.Unlock()
	s := v.Status
	if s == nil {
		return "waiting for an answer ..."
	}
	now := b.now().UnixMilli()
	parts := []string{string(s.Phase) + " for " + whole(now-s.PhaseSinceMillis)}
	switch {
	case s.Attention != nil:
		parts = append(parts, "NEEDS ATTENTION: starter retry, or abort")
	case s.Step != "":
		parts = append(parts, s.Step)
	case s.WaitsFor != "":
		parts = append(parts, "waits for "+s.WaitsFor)
	}
	if s.NextRoundMillis > now && s.Phase == migration.PhaseRounds && s.Step == "" && !s.Paused {
		parts = append(parts, "next round in "+whole(s.NextRoundMillis-now))
	}
	if s.FrozenSinceMillis > 0 && s.Phase.Frozen() {
		parts = append(parts, "writes blocked for "+report.Span(now-s.FrozenSinceMillis))
	}
	return strings.Join(parts, "  |  ")
}

// say prints above the bars.
func (b *bars) say(line string) {
	// The bars may be closed already, which loses nothing that matters.
	_, _ = fmt.Fprintf(b.progress, "%s  %s\n", b.now().In(b.zone).Format("15:04:05"), line)
}

func (b *bars) close() {
	for _, s := range b.steps {
		s.bar.Abort(true)
	}
	b.headline.Abort(true)
	b.progress.Wait()
}
