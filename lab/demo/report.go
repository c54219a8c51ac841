package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/lab/writer"
	"github.com/snapferry/snapferry/migration"
)

// Report is what the demo writes as report.json: the migration's own report, and the writer's
// judgement of it.
type Report struct {
	Result       string                  `json:"result"`
	WorkflowID   string                  `json:"workflowId"`
	Rounds       []migration.Round       `json:"rounds"`
	Indices      []migration.IndexResult `json:"indices"`
	FrozenWindow *migration.FrozenWindow `json:"frozenWindow"`
	Hooks        []migration.HookCall    `json:"hooks"`
	// AcknowledgedWrites are those of the writer, LostWrites the documents that the target does not
	// hold in the state of their last acknowledged write. A write without an answer counts neither
	// way.
	AcknowledgedWrites int64 `json:"acknowledgedWrites"`
	UnansweredWrites   int   `json:"unansweredWrites"`
	LostWrites         int   `json:"lostWrites"`
}

func newReport(report migration.Report, written writer.Result) Report {
	return Report{
		Result: report.Result, WorkflowID: report.WorkflowID, Rounds: report.Rounds, Indices: report.Indices,
		FrozenWindow: report.FrozenWindow, Hooks: report.Hooks, AcknowledgedWrites: written.Acknowledged,
		UnansweredWrites: written.Unanswered, LostWrites: written.Lost,
	}
}

func (r Report) write(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// check is the demo's own judgement: what must be true for it to end well.
func (r Report) check() error {
	switch {
	case r.Result != migration.ResultCompleted:
		return fmt.Errorf("the migration ended as %s", r.Result)
	case len(r.Rounds) < 4:
		return fmt.Errorf("the migration ran %d rounds, at least 4 were expected", len(r.Rounds))
	case r.AcknowledgedWrites < leastWrites:
		return fmt.Errorf("only %d writes were acknowledged, at least %d were expected", r.AcknowledgedWrites,
			leastWrites)
	case r.LostWrites > 0:
		return fmt.Errorf("%d acknowledged writes are lost", r.LostWrites)
	case r.FrozenWindow == nil:
		return fmt.Errorf("the report has no frozen window")
	}
	for _, made := range r.Hooks {
		if made.Outcome != migration.HookDone {
			return errors.New(made.Sentence())
		}
	}
	if len(r.Hooks) != 2 {
		return fmt.Errorf("%d hooks were called, 2 were expected", len(r.Hooks))
	}
	for _, index := range r.Indices {
		if !index.Equal {
			return fmt.Errorf("index %s is not equal: %d documents at the source, %d on the target", index.Name,
				index.SourceDocs, index.TargetDocs)
		}
	}
	return nil
}

func (r Report) print(out io.Writer) {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	millis := func(n int64) string {
		return (time.Duration(n) * time.Millisecond).Round(10 * time.Millisecond).String()
	}
	fmt.Fprintln(table, "round\tsnapshot\tblobs copied\tskipped\tbytes\tsnapshot took\tcopy\trestore\t")
	for _, round := range r.Rounds {
		fmt.Fprintf(table, "%d %s\t%s\t%d\t%d\t%s\t%s\t%s\t%s\t\n", round.Number, round.Kind, round.Snapshot,
			round.BlobsCopied, round.BlobsSkipped,
			human.Size(round.BytesCopied), millis(round.SnapshotMillis), millis(round.CopyMillis),
			millis(round.RestoreMillis))
	}
	fmt.Fprintln(table)
	table.Flush()
	fmt.Fprintln(table, "index\tdocuments at the source\ton the target\tequal\t")
	for _, index := range r.Indices {
		fmt.Fprintf(table, "%s\t%d\t%d\t%t\t\n", index.Name, index.SourceDocs, index.TargetDocs, index.Equal)
	}
	table.Flush()
	w := r.FrozenWindow
	fmt.Fprintf(out, "\nwrites were blocked for %s, until the target took them; the frozen window, from the block "+
		"until it was verified: %s (block %s, snapshot %s, copy %s, restore %s, verification %s)\n",
		millis(w.BlockedMillis), millis(w.Millis), millis(w.BlockMillis), millis(w.SnapshotMillis),
		millis(w.CopyMillis), millis(w.RestoreMillis), millis(w.VerifyMillis))
	fmt.Fprintf(out, "nobody could write for %s: from the hook that stopped the writer until the hook had started it "+
		"on the target\n", millis(w.DownMillis))
	for _, made := range r.Hooks {
		fmt.Fprintf(out, "%s (took %s)\n", made.Sentence(), millis(made.Millis))
	}
	fmt.Fprintf(out, "%d writes were acknowledged while it ran, %d are lost\n", r.AcknowledgedWrites, r.LostWrites)
}
