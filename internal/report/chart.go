package report

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// chart is the rounds over time, as pictures: a strip of the migration's time with each round on it,
// and two plots with a column for each round, of what it took and of what it copied. Places and
// lengths are percents, so the pictures fit each width.
type chart struct {
	Strip        *strip
	Took, Copied plot
	// Labels stand below the columns of both plots.
	Labels []mark
	Legend []step
	// Frozen says that a column stands for a frozen window.
	Frozen bool
	// Note says what is cut off or summed up.
	Note string
}

// strip is the migration's time from left to right.
type strip struct {
	About string
	Parts []box
	// Lines says that rounds are drawn as lines, since their parts would be too short.
	Lines bool
	// Blocked is the time for which writes were blocked, Gap the one of rounds that aren't kept.
	Blocked, Gap *box
	Window       *mark
	Ticks        []mark
}

// plot has a column for each round.
type plot struct {
	Name, About string
	Grid        []mark
	Columns     []column
}

type column struct {
	box // all of its place, for a pointer
	// Title is what the column says in words.
	Title string
	Boxes []box
	// Frame is around a frozen window.
	Frame *box
	// Cut is the true value of a column that is too high for the plot, and CutAt where that is said.
	Cut   string
	CutAt float64
}

// box is a rectangle of one colour.
type box struct {
	Class               string
	X, Y, Width, Height float64
}

// mark is a text at a place. Anchor is SVG's text-anchor. Wide is one for which a telephone has no
// room. Top is a line's place from the top of a plot, where At is that from the bottom.
type mark struct {
	At, Top      float64
	Text, Anchor string
	Wide         bool
}

// step is a part of a round, or of the frozen window. Class has its colour, in all pictures the same.
type step struct {
	Class, Name string
	millis      int64 // of the picture of what was copied: bytes
}

// The classes of steps.
const (
	classBlock    = "p0"
	classSnapshot = "p1"
	classCopy     = "p2"
	classRestore  = "p3"
	classVerify   = "p4"
	classHooks    = "p5"
	classGroups   = "p6"
)

// windowSteps are the parts of a frozen window, in order.
func windowSteps(w migration.FrozenWindow) []step {
	steps := []step{{classBlock, "block and standstill", w.BlockMillis}}
	if w.HookMillis > 0 {
		steps = append(steps, step{classHooks, "hooks after the block", w.HookMillis})
	}
	steps = append(steps, roundSteps(migration.Round{
		SnapshotMillis: w.SnapshotMillis, CopyMillis: w.CopyMillis, RestoreMillis: w.RestoreMillis,
		Groups: w.Groups, GroupedMillis: w.GroupedMillis,
	})...)
	return append(steps, step{classVerify, "verification", w.VerifyMillis})
}

// roundSteps are the parts of a round, in order. Those of groups overlap, so they are one part.
func roundSteps(r migration.Round) []step {
	if r.Groups > 0 {
		return []step{{
			classGroups, fmt.Sprintf("snapshot, copy and restore, in %d groups", r.Groups), r.GroupedMillis,
		}}
	}
	return []step{
		{classSnapshot, "snapshot", r.SnapshotMillis},
		{classCopy, "copy", r.CopyMillis},
		{classRestore, "restore", r.RestoreMillis},
	}
}

func sum(steps []step) (millis int64) {
	for _, s := range steps {
		millis += s.millis
	}
	return millis
}

// mostColumns is for how many columns a telephone has room. Of more rounds, some share a column.
const mostColumns = 60

// slot is what a column stands for: a round, the average of several, or rounds that aren't kept.
type slot struct {
	name, label string
	steps       []step
	bytes       int64
	frozen, gap bool
}

// newChart draws the rounds of a report; nil if there are none.
func newChart(r migration.Report, zone *time.Location) *chart {
	if len(r.Rounds) == 0 {
		return nil
	}
	window := r.FrozenWindow
	if r.Rehearsal != nil {
		window = r.Rehearsal.Window
	}
	slots, shared := newSlots(r, window)
	c := &chart{Strip: newStrip(r, zone), Labels: labels(slots)}
	took := func(s slot) []step { return s.steps }
	copied := func(s slot) []step { return []step{{classCopy, "copied", s.bytes}} }
	var tookCut, copiedCut bool
	c.Took, tookCut = newPlot("How long each round took", slots, took, human.Span, spanStep)
	c.Copied, copiedCut = newPlot("How much each round copied", slots, copied, human.Size, sizeStep)
	for _, s := range slots {
		c.Frozen = c.Frozen || s.frozen
		for _, part := range s.steps {
			known := slices.ContainsFunc(c.Legend, func(l step) bool { return l.Class == part.Class })
			if !known {
				c.Legend = append(c.Legend, step{Class: part.Class, Name: part.Name})
			}
		}
	}
	var notes []string
	if c.Strip != nil && c.Strip.Lines {
		notes = append(notes, "A thin line is a round that was too short to show its parts there.")
	}
	if tookCut || copiedCut {
		notes = append(notes, "The first column is cut off: its number stands above it.")
	}
	if shared > 1 {
		notes = append(notes, fmt.Sprintf("Between the first and the last round, each column is the average of up "+
			"to %d rounds.", shared))
	}
	if r.RoundsOmitted > 0 {
		notes = append(notes, human.Things(r.RoundsOmitted, "round", "rounds")+" after the baseline can't be shown: "+
			"the report doesn't hold them.")
	}
	c.Note = strings.Join(notes, " ")
	return c
}

// newSlots are the columns, and how many rounds share one.
func newSlots(r migration.Report, window *migration.FrozenWindow) (slots []slot, shared int) {
	last := len(r.Rounds) - 1
	slots = []slot{newSlot(r.Rounds[:1])}
	if r.RoundsOmitted > 0 {
		slots = append(slots, slot{
			name: human.Things(r.RoundsOmitted, "round that the report doesn't hold",
				"rounds that the report doesn't hold"), gap: true,
		})
	}
	if last > 0 {
		middle := r.Rounds[1:last]
		shared = max(1, (len(middle)+mostColumns-1)/mostColumns)
		for some := range slices.Chunk(middle, shared) {
			slots = append(slots, newSlot(some))
		}
		slots = append(slots, newSlot(r.Rounds[last:]))
	}
	end := &slots[len(slots)-1]
	if kind := r.Rounds[last].Kind; window != nil &&
		(kind == migration.RoundFinal || kind == migration.RoundRehearsed) {
		end.steps, end.frozen = windowSteps(*window), true
	}
	return slots, shared
}

// newSlot is a round, or the average of several.
func newSlot(rounds []migration.Round) slot {
	first, n := rounds[0], int64(len(rounds))
	s := slot{
		name: roundName(first), label: strconv.Itoa(first.Number), steps: roundSteps(first), bytes: first.BytesCopied,
	}
	if n == 1 {
		return s
	}
	s.name = fmt.Sprintf("Rounds %d to %d, on average", first.Number, rounds[n-1].Number)
	s.steps, s.bytes = nil, 0
	for _, r := range rounds {
		s.bytes += r.BytesCopied
		for _, part := range roundSteps(r) {
			at := slices.IndexFunc(s.steps, func(known step) bool { return known.Class == part.Class })
			if at < 0 {
				s.steps = append(s.steps, part)
			} else {
				s.steps[at].millis += part.millis
			}
		}
	}
	s.bytes /= n
	for i := range s.steps {
		s.steps[i].millis /= n
	}
	return s
}

// The heights in a plot. The rest is for a number above a column that is cut off.
const (
	plotted = 88.0
	// widest is a column where there are few.
	widest = 12.0
	// towering is how many times higher than all others the baseline is where its column is cut off.
	towering = 3
)

// newPlot draws a column for each slot. Of a baseline that would make all others flat, the column is
// cut off.
func newPlot(name string, slots []slot, parts func(slot) []step, text func(int64) string,
	gridStep func(int64) int64,
) (p plot, cut bool) {
	p.Name = name
	first, others, highest := sum(parts(slots[0])), int64(0), slots[0]
	for _, s := range slots[1:] {
		value := sum(parts(s))
		if value > sum(parts(highest)) {
			highest = s
		}
		others = max(others, value)
	}
	top := max(first, others)
	if others > 0 && first > towering*others {
		top, cut = others+others/4, true
	}
	each := 100 / float64(len(slots))
	for i, s := range slots {
		place := box{Class: "hit", X: float64(i) * each, Y: 100 - plotted, Width: each, Height: plotted}
		if i == 0 && cut {
			c := newColumn(s, place, parts(s), first, text)
			c.Cut, c.CutAt = text(first), c.Boxes[0].X
			p.Columns = append(p.Columns, c)
			continue
		}
		p.Columns = append(p.Columns, newColumn(s, place, parts(s), top, text))
	}
	interval := gridStep(top)
	for value := interval; value <= top; value += interval {
		at := hundredth(plotted * float64(value) / float64(top))
		p.Grid = append(p.Grid, mark{At: at, Top: hundredth(100 - at), Text: text(value)})
	}
	p.About = fmt.Sprintf("%s. The highest: %s with %s. The last: %s.", human.Things(len(slots), "column", "columns"),
		highest.name, text(sum(parts(highest))), p.Columns[len(slots)-1].Title)
	return p, cut
}

// newColumn stacks the steps of a slot in its place. A column of the value top reaches up to the top.
func newColumn(s slot, place box, steps []step, top int64, text func(int64) string) column {
	width := min(widest, place.Width*3/4)
	x, height := hundredth(place.X+(place.Width-width)/2), 0.0
	c := column{box: place, Title: s.name + ": " + saying(steps, text)}
	if s.gap {
		c.Class, c.Title = "gap", s.name
	}
	c.X, c.Width = hundredth(place.X), hundredth(place.Width)
	for _, part := range steps {
		if part.millis <= 0 {
			continue
		}
		grows := plotted * float64(part.millis) / float64(top)
		height += grows
		c.Boxes = append(c.Boxes, box{
			Class: part.Class, X: x, Y: hundredth(100 - height), Width: hundredth(width), Height: hundredth(grows),
		})
	}
	if s.frozen {
		wider := width / 8 //nolint:mnd // on each side
		c.Frame = &box{X: hundredth(x - wider), Y: place.Y, Width: hundredth(width + 2*wider), Height: place.Height}
	}
	return c
}

// saying lists the steps of a column.
func saying(steps []step, text func(int64) string) string {
	var all []string
	for _, s := range steps {
		all = append(all, s.Name+" "+text(s.millis))
	}
	if len(all) > 1 {
		return text(sum(steps)) + " (" + strings.Join(all, ", ") + ")"
	}
	return strings.Join(all, "")
}

// labels are the numbers of rounds below the columns, of which not too many fit side by side.
func labels(slots []slot) (all []mark) {
	const most = 10
	each := 100 / float64(len(slots))
	apart := (len(slots) + most - 1) / most
	last := len(slots) - 1
	for i, s := range slots {
		if i == last || i%apart == 0 && last-i >= apart {
			all = append(all, mark{At: hundredth((float64(i) + 0.5) * each), Text: s.label})
		}
	}
	return all
}

// leastParted is how wide a round must be on the strip to be drawn by its parts.
const leastParted = 0.5

// newStrip is the time of the migration, with its rounds and its window; nil if it took none.
func newStrip(r migration.Report, zone *time.Location) *strip {
	from, to := r.StartedMillis, r.EndedMillis
	if to <= from {
		return nil
	}
	place := func(millis int64) float64 {
		return hundredth(100 * float64(min(max(millis, from), to)-from) / float64(to-from))
	}
	span := func(class string, from, to int64) box {
		const least = 0.01 // what has no width has no border, and isn't seen
		x, end := min(place(from), 100-least), place(to)
		return box{Class: class, X: x, Width: hundredth(max(end-x, least))}
	}
	s := &strip{About: fmt.Sprintf("From %s to %s.", human.Clock(from, zone), human.Clock(to, zone))}
	for i, round := range r.Rounds {
		at, steps := round.StartTimeMillis, roundSteps(round)
		if at == 0 {
			continue
		}
		if i == 0 || i == len(r.Rounds)-1 {
			s.About += fmt.Sprintf(" %s began at %s.", roundName(round), human.Clock(at, zone))
		}
		if i == 1 && r.RoundsOmitted > 0 {
			before := r.Rounds[0]
			gap := span("", before.StartTimeMillis+sum(roundSteps(before)), at)
			s.Gap = &gap
		}
		if w := r.FrozenWindow; w != nil && i == len(r.Rounds)-1 && round.Kind == migration.RoundFinal {
			at, steps = w.StartedMillis, windowSteps(*w)
		}
		if all := span("ran", at, at+sum(steps)); all.Width < leastParted {
			s.Parts, s.Lines = append(s.Parts, all), true
			continue
		}
		for _, part := range steps {
			if part.millis > 0 {
				s.Parts = append(s.Parts, span(part.Class, at, at+part.millis))
			}
			at += part.millis
		}
	}
	if w := r.FrozenWindow; w != nil {
		blocked := span("", w.StartedMillis, w.StartedMillis+max(w.Millis, w.BlockedMillis))
		s.Blocked = &blocked
		s.Window = &mark{At: blocked.X, Text: "writes blocked", Anchor: "start"}
		if blocked.X > 50 { //nolint:mnd // in the right half the text stands on the left
			s.Window.Anchor, s.Window.At = "end", hundredth(blocked.X+blocked.Width)
		}
		s.About += fmt.Sprintf(" Writes were blocked from %s for %s.", human.Clock(w.StartedMillis, zone),
			human.Span(max(w.Millis, w.BlockedMillis)))
	}
	s.Ticks = ticks(from, to, zone)
	return s
}

// ticks are five times below the strip.
func ticks(from, to int64, zone *time.Location) (all []mark) {
	layout := "Jan 2 15:04"
	switch span := time.Duration(to-from) * time.Millisecond; {
	case span < time.Hour:
		layout = time.TimeOnly
	case span < 24*time.Hour:
		layout = "15:04"
	}
	const quarters = 4
	for i := range int64(quarters + 1) {
		tick := mark{
			At: float64(100 * i / quarters), Anchor: "middle", Wide: i%2 == 1,
			Text: time.UnixMilli(from + (to-from)*i/quarters).In(zone).Format(layout),
		}
		switch i {
		case 0:
			tick.Anchor = "start"
		case quarters:
			tick.Anchor = "end"
		}
		all = append(all, tick)
	}
	return all
}

// mostLines is how many lines of a grid a plot has.
const mostLines = 4

// spanStep is the time between two lines of a plot that reaches up to top, in milliseconds.
func spanStep(top int64) int64 {
	const second, minute, hour = int64(1000), int64(60_000), int64(3_600_000)
	for _, step := range []int64{
		1, 2, 5, 10, 20, 50, 100, 200, 500, second, 2 * second, 5 * second, 10 * second, 15 * second, 30 * second,
		minute, 2 * minute, 5 * minute, 10 * minute, 15 * minute, 30 * minute,
		hour, 2 * hour, 3 * hour, 6 * hour, 12 * hour, 24 * hour, 48 * hour,
	} {
		if top/step <= mostLines {
			return step
		}
	}
	return top / mostLines
}

// sizeStep is the bytes between two lines of a plot: a power of two.
func sizeStep(top int64) int64 {
	step := int64(1)
	for top/step > mostLines {
		step *= 2
	}
	return step
}

// hundredth rounds a percent, so that the page stays short.
func hundredth(percent float64) float64 {
	return math.Round(percent*100) / 100 //nolint:mnd // hundredths
}
