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
		Long: `Prints the policies that this plan needs:
  - of the role that the source domain assumes
  - of the worker on AWS
  - of the key with which the worker writes OSS
  - of the read-only key with which the target cluster reads OSS

It creates nothing. Where the plan does not tell a value, the policies have a
placeholder in angle brackets, and a warning on stderr names it.`,
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
				return fail(exitFailed, "can't write the policies as JSON: %w", err)
			}
			a.printf("%s", text)
			a.next("create these, then starter start -f " + file)
			return nil
		},
	}
	command.Flags().StringVarP(&file, "file", "f", "", "plan in YAML or JSON; - for stdin")
	return command
}

// text is all documents, each with its purpose.
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
		{
			"AWS: trust policy of the snapshot role",
			"Only the source domain may assume " + p.SnapshotRole.ARN + ", and no other domain of this service.",
			p.SnapshotRole.TrustPolicy,
		},
		{
			"AWS: policy of the snapshot role",
			"Attach it to " + p.SnapshotRole.ARN + ". The domain needs it to read, write and delete its snapshots.",
			p.SnapshotRole.Policy,
		},
		{
			"AWS: policy of the worker",
			"Attach it to the user or role whose credentials the workers have. They need it to send " +
				"requests to the domain, to pass the snapshot role to it, and to read the snapshots.",
			p.Worker.Policy,
		},
		{
			"Alibaba Cloud: RAM policy of the key with which the worker writes OSS",
			"Attach it to the RAM user of target.repository.writer.",
			p.OSSWriter.Policy,
		},
		{
			"Alibaba Cloud: RAM policy of the key with which the target cluster reads OSS",
			"Attach it to a RAM user of its own, that of target.repository.accessKeyId. Elasticsearch " +
				"keeps this key, and Elasticsearch 5.x shows it.",
			p.OSSReader.Policy,
		},
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

// marshal prints a document in the form that the consoles of both clouds accept.
func marshal(document policy) (string, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false) // placeholders are in angle brackets
	err := encoder.Encode(document)
	return out.String(), err
}
