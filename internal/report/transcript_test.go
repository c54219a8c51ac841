package report

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

// hostile is what a name or a body might hold.
const hostile = `</pre></details><script>alert("x")</script><img src=x onerror=alert(1)>{{.}}&amp;` + "\u202e\x1b[2J"

// exchange is a request that was sent so many seconds after the begin.
func exchange(second int, side, step, method, path string) migration.Exchange {
	return migration.Exchange{
		At: time.UnixMilli(begin).Add(time.Duration(second) * time.Second), Millis: 35, Side: side, Step: step,
		Method: method, Path: path, Status: 200,
	}
}

// story are the requests of a migration with one round before the final one.
func story() []migration.Exchange {
	snapshot := func(second int, round string) migration.Exchange {
		e := exchange(second, "source", migration.ActivityTakeSnapshot, "PUT",
			"/_snapshot/snapferry-movies-1/movies-"+round+"?wait_for_completion=false")
		e.Body, e.Answer = `{"indices":"movies,catalog","include_global_state":false}`, "{\"accepted\":true}\n"
		return e
	}
	restore := func(second int, round string) migration.Exchange {
		return exchange(second, "target", migration.ActivityRestoreSnapshot, "POST",
			"/_snapshot/snapferry-movies-1/movies-"+round+"/_restore")
	}
	closing := func(second int) migration.Exchange {
		return exchange(second, "target", migration.ActivityCloseTarget, "POST", "/movies/_close")
	}
	opening := func(second int) migration.Exchange {
		return exchange(second, "target", migration.ActivityOpenTarget, "POST", "/movies/_open")
	}
	probe := exchange(4802, "source", migration.ActivityBlockSource, "POST", "/_bulk")
	probe.Body, probe.Status = "{\"index\":{}}\n{\"a\":1}\n", 403
	lost := restore(4810, "r0002-g1-a2")
	lost.Status, lost.Attempt, lost.Failure = 0, 2, "connection\nreset"
	return []migration.Exchange{
		exchange(0, "source", migration.ActivityRegisterRepositories, "PUT", "/_snapshot/snapferry-movies-1"),
		snapshot(1, "r0000-a1"), restore(900, "r0000-a1"), opening(950),
		closing(1799), snapshot(1800, "r0001-a1"), restore(1850, "r0001-a1"), opening(1860),
		exchange(4800, "source", migration.ActivityBlockSource, "PUT", "/movies/_settings"), probe,
		closing(4803), snapshot(4804, "r0002-g1-a2"), lost, restore(4811, "r0002-g1-a2"),
		exchange(5400, "target", migration.ActivityHandOver, "PUT", "/movies/_settings"),
		exchange(5401, "target", migration.ActivityUnregisterRepositories, "DELETE", "/_snapshot/snapferry-movies-1"),
	}
}

// transcripts are those of the golden pages.
func transcripts() map[string]*Transcript {
	refused := exchange(60, "target", migration.ActivityAbortSnapshot, "DELETE", "/_snapshot/r/"+hostile)
	refused.Status, refused.Answer = 500, hostile
	return map[string]*Transcript{
		"completed": {Exchanges: story(), Command: "starter transcript movies"},
		"aborted":   {Exchanges: []migration.Exchange{refused}, Command: "starter transcript movies", Unreadable: 1},
		"rehearsed": {Missing: "a rehearsal has none, since it leaves nothing behind."},
	}
}

func TestRequestsStandBelowTheirRound(t *testing.T) {
	page := pageOf(t, completed(), transcripts()["completed"])
	var told []string
	for _, group := range with(page.all("details"), "group") {
		told = append(told, strings.Join(strings.Fields(group.all("summary")[0].text), " "))
		require.NotContains(t, group.attributes, "open")
	}
	require.Equal(t, []string{
		"Before the first round 1 request, from 2026-03-02 22:00:00 UTC",
		"Round 0 (baseline) 3 requests, from 2026-03-02 22:00:01 UTC",
		"Round 1 (incremental) 4 requests, from 2026-03-02 22:29:59 UTC",
		"Block of writes 2 requests, from 2026-03-02 23:20:00 UTC 1 without success",
		"Round 2 (final) 4 requests, from 2026-03-02 23:20:03 UTC 1 without success",
		"Handover 2 requests, from 2026-03-02 23:30:00 UTC",
	}, told)

	sent := with(page.all("details"), "sent")
	require.Len(t, sent, len(story()))
	require.Equal(t, "22:00:01.000 source 200 35ms PUT /_snapshot/snapferry-movies-1/movies-r0000-a1",
		sent[1].all("summary")[0].text)
	require.Equal(t, "PUT /_snapshot/snapferry-movies-1/movies-r0000-a1?wait_for_completion=false\n"+
		"{\n  \"indices\": \"movies,catalog\",\n  \"include_global_state\": false\n}\n# {\"accepted\":true}\n",
		sent[1].all("pre")[0].text)
	require.Equal(t, "Sent on 2026-03-02 22:00:01.000 UTC by TakeSnapshot to the source", sent[1].all("p")[0].text)
	for i, tone := range map[int]string{1: "good", 9: "warn", 12: "bad"} {
		require.Len(t, with(sent[i].all("span"), tone), 1)
	}
	require.Contains(t, sent[12].text, "no answer")
	require.Contains(t, sent[12].text, "RestoreSnapshot (attempt 2)")
	require.Contains(t, sent[12].all("pre")[0].text, "# no answer: connection reset\n")
}

// What clusters and people say is text on the page, wherever it stands.
func TestATranscriptIsNoMarkup(t *testing.T) {
	e := migration.Exchange{
		At: time.UnixMilli(begin), Side: hostile, Step: hostile, Attempt: 2, Method: hostile, Path: "/" + hostile,
		Body: hostile, Answer: hostile, Failure: hostile,
	}
	page := pageOf(t, completed(), &Transcript{Exchanges: []migration.Exchange{e}, Command: hostile})
	require.Len(t, page.all("pre"), 1)
	require.Len(t, page.all("details"), 2)
	for _, name := range []string{"script", "img"} {
		require.Empty(t, page.all(name))
	}
	visible := strings.NewReplacer("\u202e", `\u202e`, "\x1b", `\u001b`).Replace(hostile)
	require.Equal(t, 5, strings.Count(page.all("pre")[0].text, visible), "method, path, body, answer and failure")
	require.Contains(t, page.text, " by "+visible+" (attempt 2) to the "+visible)

	page = pageOf(t, completed(), &Transcript{Missing: hostile})
	require.Empty(t, page.all("script"))
	require.Contains(t, page.text, "The transcript is not here: "+visible)
}

// A hostile name of a plan or a snapshot is text in the pictures, too.
func TestAPictureIsNoMarkup(t *testing.T) {
	r := completed()
	r.Plan = hostile
	for i := range r.Rounds {
		r.Rounds[i].Kind = hostile
	}
	page := pageOf(t, r, nil)
	require.Empty(t, page.all("script"))
	columns := page.picture(t, "How long each round took").all("g")
	require.Contains(t, columns[0].text, "Round 0 (</pre></details><script>")
}

func TestALongTranscriptIsBounded(t *testing.T) {
	var all []migration.Exchange
	for i := range 5000 {
		all = append(all, exchange(i, "source", migration.ActivityTakeSnapshot, "PUT",
			fmt.Sprintf("/_snapshot/snapferry-movies-1/movies-r%04d-a1", i/20)))
	}
	page := pageOf(t, completed(), &Transcript{Exchanges: all, Command: "starter transcript movies", Unreadable: 3})
	sent := with(page.all("details"), "sent")
	require.Len(t, sent, mostSent)
	require.Contains(t, sent[0].text, "movies-r0000-a1", "the beginning is there")
	require.Contains(t, sent[249].text, "22:04:09.000")
	require.Contains(t, sent[250].text, "23:10:50.000", "the end is there")
	require.Contains(t, sent[mostSent-1].text, "23:23:19.000")
	require.Contains(t, page.text, "Shown are 1,000 of 5,000 requests. 3 parts of it could not be read. "+
		"starter transcript movies prints all.")
	require.Contains(t, page.text, "4,000 requests are left out here.")

	// Large bodies leave room for fewer.
	for i := range all {
		all[i].Body = strings.Repeat("x", 16<<10)
	}
	html, err := HTML(completed(), &Transcript{Exchanges: all}, time.UTC)
	require.NoError(t, err)
	require.Less(t, len(html), 2<<20)
	sent = with(parsed(t, html).all("details"), "sent")
	require.Len(t, sent, 63)
	require.Contains(t, sent[0].text, "movies-r0000-a1")
	require.Contains(t, sent[62].text, "23:23:19.000")
}

// A path with the names of hundreds of indices is complete below its line only.
func TestALongPathIsCutOnItsLine(t *testing.T) {
	path := "/" + strings.Repeat("index,", 500) + "/_close"
	page := pageOf(t, completed(), &Transcript{Exchanges: []migration.Exchange{
		exchange(0, "target", migration.ActivityCloseTarget, "POST", path),
	}})
	sent := with(page.all("details"), "sent")[0]
	require.Less(t, len(sent.all("summary")[0].text), 250)
	require.Equal(t, "POST "+path+"\n", sent.all("pre")[0].text)
}

func TestAPageWithoutATranscript(t *testing.T) {
	require.NotContains(t, strings.ToLower(pageOf(t, completed(), nil).text), "transcript")
	require.Contains(t, pageOf(t, completed(), &Transcript{Missing: "none reads it."}).text,
		"The transcript is not here: none reads it.")
	require.Contains(t, pageOf(t, completed(), &Transcript{}).text, "The transcript is empty: nothing was changed")
}
