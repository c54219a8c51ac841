package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// Transcript is what the page of a migration shows of its transcript.
type Transcript struct {
	// Exchanges are all that are known, in the order of time.
	Exchanges []migration.Exchange
	// Unreadable counts parts of the transcript that could not be read.
	Unreadable int
	// Missing says why there is none. It is empty if the transcript was read.
	Missing string
	// Command prints all of it.
	Command string
}

// Bounds of the transcript on a page. The first quarter of what is shown is the beginning of the
// migration, the rest is its end: there the frozen window is.
const (
	mostSent = 1000
	// mostSentBytes bounds the requests with their bodies and answers.
	mostSentBytes = 1 << 20
	// longestRequest bounds a path on its line, in bytes. Below the line it is complete, with its query.
	longestRequest = 160
)

// sentView is a transcript in words.
type sentView struct {
	// Note says what is shown, and Command prints all of it.
	Note, Command string
	Groups        []sentGroup
}

// sentGroup are requests that belong together, such as those of a round.
type sentGroup struct {
	Title, About string
	// Odd is how many were refused, or had no answer.
	Odd  string
	Sent []sent
	// LeftOut says in a group's place how many requests are left out.
	LeftOut string
}

// sent is one request. Text is what the console of Kibana's Dev Tools takes, with the answer.
type sent struct {
	// At is a time of day, and Sent a sentence with the day.
	At, Sent     string
	Took, Side   string
	Request      string
	Status, Tone string
	Text         string
}

func newSentView(t *Transcript, r migration.Report, zone *time.Location) *sentView {
	switch {
	case t == nil:
		return nil
	case t.Missing != "":
		return &sentView{Note: "The transcript is not here: " + t.Missing}
	case len(t.Exchanges) == 0:
		return &sentView{Note: "The transcript is empty: nothing was changed on the clusters, or what was known of " +
			"it was removed, as starter cleanup does."}
	}
	all := make([]sent, len(t.Exchanges)) // in words as far as they are shown
	head, tail := fitting(len(all), func(i int) int {
		all[i] = newSent(t.Exchanges[i], zone)
		return len(all[i].Request) + len(all[i].Text)
	})
	v := &sentView{Note: sentNote(t, len(all)-tail+head), Command: t.Command}
	titles := sentTitles(t.Exchanges, r)
	add := func(from, to int) {
		for ; from < to; from++ {
			if n := len(v.Groups); n == 0 || v.Groups[n-1].Title != titles[from] {
				v.Groups = append(v.Groups, sentGroup{
					Title: titles[from], About: "from " + human.Clock(t.Exchanges[from].At.UnixMilli(), zone),
				})
			}
			group := &v.Groups[len(v.Groups)-1]
			group.Sent = append(group.Sent, all[from])
		}
	}
	add(0, head)
	if left := tail - head; left > 0 {
		v.Groups = append(v.Groups, sentGroup{LeftOut: human.Things(left, "request is", "requests are") +
			" left out here."})
	}
	add(tail, len(all))
	for i := range v.Groups {
		v.Groups[i].count()
	}
	return v
}

// count says how many requests a group has, and how many of them were refused.
func (g *sentGroup) count() {
	if g.LeftOut != "" {
		return
	}
	odd := 0
	for _, s := range g.Sent {
		if s.Tone != "good" {
			odd++
		}
	}
	g.About = human.Things(len(g.Sent), "request", "requests") + ", " + g.About
	if odd > 0 {
		g.Odd = human.Count(int64(odd)) + " without success"
	}
}

func sentNote(t *Transcript, shown int) string {
	note := "Each request that changed something on a cluster, in the form that the console of Kibana's Dev Tools " +
		"takes. Secrets are left out."
	if total := len(t.Exchanges); shown < total {
		note += fmt.Sprintf(" Shown are %s of %s.", human.Count(int64(shown)),
			human.Things(total, "request", "requests"))
	} else {
		note += fmt.Sprintf(" There are %s.", human.Things(total, "request", "requests"))
	}
	if t.Unreadable > 0 {
		note += fmt.Sprintf(" %s could not be read.", human.Things(t.Unreadable, "part of it", "parts of it"))
	}
	return note
}

// fitting chooses what of n requests the page has room for: all before head, and all from tail on.
func fitting(n int, size func(i int) int) (head, tail int) {
	const quarters = 4
	used := 0
	room := func(i, count, part int) bool {
		if count >= mostSent*part/quarters {
			return false
		}
		more := used + size(i)
		if more > mostSentBytes*part/quarters {
			return false
		}
		used = more
		return true
	}
	if n <= mostSent {
		for head < n && room(head, head, quarters) {
			head++
		}
		if head == n {
			return n, n
		}
	}
	head, tail, used = 0, n, 0
	for head < n && room(head, head, 1) {
		head++
	}
	for tail > head && room(tail-1, head+n-tail, quarters) {
		tail--
	}
	return head, tail
}

// sentTitles says for each exchange to which part of the migration it belongs. A round begins with
// the request that names its snapshot, and with the closing of the target's indices that comes just
// before.
func sentTitles(all []migration.Exchange, r migration.Report) []string {
	titles := make([]string, len(all))
	next := ""
	for i := len(all) - 1; i >= 0; i-- {
		if round := roundTitle(all[i], r); round != "" {
			next = round
			titles[i] = round
		} else if all[i].Step == migration.ActivityCloseTarget {
			titles[i] = next
		}
	}
	title := "Before the first round"
	for i, e := range all {
		switch e.Step {
		case migration.ActivityBlockSource, migration.ActivityBlockWrites:
			titles[i] = "Block of writes"
		case migration.ActivityUnblockSource, migration.ActivityLiftBlock:
			titles[i] = "Removal of the block"
		case migration.ActivityHandOver, migration.ActivityOpenTargetForWrites:
			titles[i] = "Handover"
		}
		if titles[i] == "" {
			titles[i] = title
		}
		title = titles[i]
	}
	return titles
}

// roundTitle is the round whose snapshot a request names; empty if it names none.
func roundTitle(e migration.Exchange, r migration.Report) string {
	path, _, _ := strings.Cut(e.Path, "?")
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	if len(parts) < 3 || parts[0] != "_snapshot" {
		return ""
	}
	turn, ours := migration.TurnOf(r.Plan, parts[2])
	if !ours {
		return ""
	}
	for _, round := range r.Rounds {
		if round.Number == turn.Round {
			return roundName(round)
		}
	}
	return fmt.Sprintf("Round %d", turn.Round)
}

func roundName(r migration.Round) string { return fmt.Sprintf("Round %d (%s)", r.Number, r.Kind) }

func newSent(e migration.Exchange, zone *time.Location) sent {
	path, _, _ := strings.Cut(e.Path, "?")
	at := e.At.In(zone)
	s := sent{
		At:   at.Format("15:04:05.000"),
		Sent: fmt.Sprintf("Sent on %s by %s to the %s", at.Format("2006-01-02 15:04:05.000 MST"), stepOf(e), e.Side),
		Took: human.Span(e.Millis), Side: e.Side,
		Request: e.Method + " " + human.Shorten(path, longestRequest), Text: request(e),
		Status: fmt.Sprint(e.Status), Tone: "good",
	}
	switch {
	case e.Status == 0:
		s.Status, s.Tone = "no answer", "bad"
		s.Text += "# no answer: " + oneLine(e.Failure) + "\n"
	case e.Status/100 != 2:
		s.Tone = "warn"
	}
	return s
}

// Console is an exchange in the form that the console of Kibana's Dev Tools takes: a comment, the
// request, and its answer as a comment.
func Console(e migration.Exchange) string {
	outcome := fmt.Sprintf("%d after %d ms", e.Status, e.Millis)
	if e.Status == 0 {
		outcome = fmt.Sprintf("no answer after %d ms: %s", e.Millis, oneLine(e.Failure))
	}
	return fmt.Sprintf("# %s, %s, %s: %s\n", e.At.UTC().Format("2006-01-02 15:04:05.000"), e.Side, stepOf(e),
		outcome) + request(e)
}

// stepOf is the activity that sent a request, and which attempt it was.
func stepOf(e migration.Exchange) string {
	if e.Attempt > 1 {
		return fmt.Sprintf("%s (attempt %d)", e.Step, e.Attempt)
	}
	return e.Step
}

// request is what was sent, and the answer as a comment.
func request(e migration.Exchange) string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s %s\n", e.Method, e.Path)
	if body := strings.TrimRight(e.Body, "\n"); body != "" {
		text.WriteString(consoleBody(body) + "\n")
	}
	if answer := oneLine(e.Answer); answer != "" {
		text.WriteString("# " + answer + "\n")
	}
	return text.String()
}

// consoleBody shows JSON over several lines. What is no JSON, such as the lines of a bulk request or a
// body that was cut off, stays as it is.
func consoleBody(body string) string {
	var pretty bytes.Buffer
	if json.Indent(&pretty, []byte(body), "", "  ") != nil {
		return body
	}
	return pretty.String()
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
