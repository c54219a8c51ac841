package main

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) iamCommand() *cobra.Command {
	var file string
	command := &cobra.Command{
		Use:   "iam -f PLAN",
		Short: "Print the IAM and RAM policies that a plan needs",
		Long: `Prints, for exactly this plan, the policies of the role that the source domain
assumes, of the worker on AWS, of the key that the worker writes OSS with, and of
the read-only key that the target cluster reads OSS with. Creates nothing. What
can't be derived from the plan is printed as a placeholder in angle brackets and
named on stderr.`,
		Example: `  starter iam -f movies.yaml
  starter iam -f movies.yaml -o json | jq .snapshotRole.trustPolicy > trust.json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			plan, err := a.readPlan(file)
			if err != nil {
				return err
			}
			p := newPermissions(plan)
			for _, warning := range p.Warnings {
				fmt.Fprintf(a.err, "Warning: %s\n", warning)
			}
			if a.json() {
				return a.printJSON(p)
			}
			text, err := p.text()
			if err != nil {
				return fail(exitFailed, "the policies can't be written: %w", err)
			}
			a.printf("%s", text)
			a.next("create these, then starter start -f " + file)
			return nil
		},
	}
	command.Flags().StringVarP(&file, "file", "f", "", "plan in YAML or JSON; - for stdin")
	return command
}

// text is all documents, each with what it is for.
func (p permissions) text() (string, error) {
	var out bytes.Buffer
	number := 0
	section := func(title, text string, document policy) error {
		number++
		fmt.Fprintf(&out, "# %d. %s\n", number, title)
		fmt.Fprintf(&out, "%s\n", comment(text))
		raw, err := marshal(document)
		if err != nil {
			return err
		}
		fmt.Fprintf(&out, "%s\n", raw)
		return nil
	}
	for _, s := range []struct {
		title, text string
		document    policy
	}{
		{"AWS: trust policy of the snapshot role", "Who may assume " + p.SnapshotRole.ARN + ": the source domain, and no other of this service.", p.SnapshotRole.TrustPolicy},
		{"AWS: policy of the snapshot role", "Attach it to " + p.SnapshotRole.ARN + ". The domain reads, writes and deletes its snapshots with it.", p.SnapshotRole.Policy},
		{"AWS: policy of the worker", "Attach it to the user or role whose credentials the workers have. They sign requests to the domain with it, hand it the snapshot role, and read the snapshots.", p.Worker.Policy},
		{"Alibaba Cloud: RAM policy of the key that the worker writes OSS with", "Attach it to the RAM user of target.repository.writer.", p.OSSWriter.Policy},
		{"Alibaba Cloud: RAM policy of the key that the target cluster reads OSS with", "Attach it to a RAM user of its own, that of target.repository.accessKeyId: Elasticsearch keeps this key and, on 5.x, shows it.", p.OSSReader.Policy},
	} {
		if err := section(s.title, s.text, s.document); err != nil {
			return "", err
		}
	}
	out.WriteString("# Notes\n")
	for _, note := range p.Notes {
		out.WriteString(comment("- " + note))
		out.WriteByte('\n')
	}
	return out.String(), nil
}

// comment wraps a text into lines that begin with #.
func comment(text string) string {
	const width = 100
	var out bytes.Buffer
	column := 0
	for word := range bytes.FieldsSeq([]byte(text)) {
		switch {
		case column == 0:
			out.WriteString("# ")
		case column+1+len(word) > width:
			out.WriteString("\n# ")
			column = 0
		default:
			out.WriteByte(' ')
			column++
		}
		out.Write(word)
		column += len(word)
	}
	return out.String()
}

// marshal prints a document as the consoles of both clouds take it.
func marshal(document policy) (string, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false) // placeholders are in angle brackets
	err := encoder.Encode(document)
	return out.String(), err
}
