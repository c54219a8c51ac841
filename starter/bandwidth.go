package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/snapferry/snapferry/migration"
)

func (a *app) bandwidthCommand() *cobra.Command {
	var flags targetFlags
	var options requestOptions
	command := &cobra.Command{
		Use:   "bandwidth",
		Short: "Limit what all copies together read from S3, or remove the limit",
		Long: `Limits how many bytes per second all copies of a migration together read from S3:
on all workers, in this round and in those that follow. The limit is a number with a
unit, such as 50MB/s or 100MiB/s, or none. It replaces the plan's copy.bandwidth. You
can change it at any time: running copies follow it.

` + updateHelp,
		Example: `  starter bandwidth movies 50MB/s --reason "office hours"
  starter bandwidth movies none`,
		RunE: func(c *cobra.Command, args []string) error {
			last := len(args) - 1
			limit, err := migration.ParseByteRate(args[last])
			if err != nil {
				return fail(exitUsage, "the last argument is the limit: %w", err)
			}
			t, err := a.target(flags, args[:last])
			if err != nil {
				return err
			}
			if options.by == "" {
				options.by = a.user()
			}
			connection, err := a.connect(c.Context())
			if err != nil {
				return err
			}
			defer connection.Close()
			input := migration.BandwidthInput{Limit: &limit, By: options.by, Reason: options.reason}
			return a.request(c.Context(), connection, t, message{migration.Bandwidth, input, "watch"}, options)
		},
	}
	flags.add(command)
	command.Use += " LIMIT"
	command.Args = cobra.RangeArgs(1, 2)
	options.add(command, "reason, for the worker's log")
	return command
}

// limitOf is what all copies of a migration together may read now, and whether it differs from the
// plan's.
func limitOf(s migration.Status) (limit migration.ByteRate, changed bool) {
	if s.Bandwidth == nil {
		return s.Plan.Copy.Bandwidth, false
	}
	return *s.Bandwidth, *s.Bandwidth != s.Plan.Copy.Bandwidth
}

// unlimited is what is said of copies without a limit.
const unlimited = "copies read without a limit"

// bandwidth says how copies are limited. It is empty if they have no limit and never had one.
func bandwidth(s migration.Status) string {
	limit, changed := limitOf(s)
	text := unlimited
	switch {
	case limit > 0:
		text = fmt.Sprintf("all copies together read at most %s", limit)
	case !changed:
		return ""
	}
	if changed {
		text += fmt.Sprintf(" (the plan's limit: %s)", s.Plan.Copy.Bandwidth)
	}
	return text
}
